"""Files of the user's own code that a run's scores came from, and whether they have changed since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raynas.storage.run_folder import holds_run, read_description

IF_VALUES_CHANGE = "raise version= or begin anew if values change"
"""What to do about a file that has changed. It is no error: most edits change no value."""


def stored_files(folder: Path) -> dict[str, str]:
    """A hash of each file by its path, as when the run in a folder began; none for a run that does not say it.

    Args:
        folder: The folder of the run, which need not exist.

    Raises:
        StoreError: There is a run that cannot be read.
    """
    stored = read_description(folder).get("own_files") if holds_run(folder) else None
    pairs = stored.items() if isinstance(stored, dict) else ()
    return {path: found for path, found in pairs if isinstance(path, str) and isinstance(found, str)}


def changed_files(own_files: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """Paths of the files that both know, and that hold something else now."""
    return [path for path, found in own_files.items() if before.get(path, found) != found]
