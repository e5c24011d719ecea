"""Files of the user's own code that a run's scores came from, and whether they have changed since.

What a file holds decides, and not where it lies: of a space or proxy that comes from another path now, the file there
is compared with the one that it came from before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from raynas.registry import is_in_file
from raynas.storage.run_folder import holds_run, read_description

IF_VALUES_CHANGE = "raise version= or begin anew if values change"
"""What to do about a file that has changed. It is no error: most edits change no value."""


class OwnFiles(NamedTuple):
    """Files of the user's own code that a run uses.

    Args:
        hashes: A hash of each by its path.
        paths: The paths by the names of the spaces and proxies that come from them.
    """

    hashes: Mapping[str, str]
    paths: Mapping[str, str]

    @classmethod
    def of(cls, hashes: Mapping[str, str], references: Iterable[object]) -> OwnFiles:
        """The files behind texts, of which those of the form FILE.py:NAME count.

        Args:
            hashes: A hash of each file by its path; those without one are left out.
            references: What a run calls its space and its proxies.
        """
        found = [one.rpartition(":") for one in references if isinstance(one, str) and is_in_file(one)]
        return cls(hashes, {name.partition("@")[0]: path for path, _, name in found if path in hashes})

    def before(self, path: str, names: Mapping[str, str]) -> str | None:
        """The path at which a file lay when these were used, which is mostly the same; None if they know nothing of it.

        Args:
            path: Where it lies now.
            names: What comes from which path now.
        """
        if path in self.hashes:
            return path
        return next((self.paths[name] for name, now in names.items() if now == path and name in self.paths), None)


NO_FILES = OwnFiles({}, {})
"""What a run has that uses no file of the user's, or does not say it."""


def stored_files(folder: Path) -> OwnFiles:
    """The files as when the run in a folder began; none for a run that does not say it.

    Args:
        folder: The folder of the run, which need not exist.

    Raises:
        StoreError: There is a run that cannot be read.
    """
    if not holds_run(folder):
        return NO_FILES
    description = read_description(folder)
    stored, config = description.get("own_files"), description["config"]
    pairs = stored.items() if isinstance(stored, dict) else ()
    hashes = {path: found for path, found in pairs if isinstance(path, str) and isinstance(found, str)}
    proxies = config.get("proxies")
    return OwnFiles.of(hashes, [config.get("space"), *(proxies if isinstance(proxies, list) else ())])


def changed_files(now: OwnFiles, then: OwnFiles) -> list[str]:
    """Those that hold something else than they did, in words: their paths, and where they lay if it was elsewhere."""
    found = []
    for path, own in now.hashes.items():
        before = then.before(path, now.paths)
        if before is not None and then.hashes[before] != own:
            found.append(path if before == path else f"{path}, which was {before},")
    return found


def kept_hashes(now: OwnFiles, then: OwnFiles) -> dict[str, str]:
    """What run.yaml says of the files: for each the hash that it had when the run began to use it."""
    before = {path: then.before(path, now.paths) for path in now.hashes}
    moved = {path: then.hashes[old] for path, old in before.items() if old is not None}
    return {**now.hashes, **moved, **then.hashes}
