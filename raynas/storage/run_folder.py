"""run.yaml: what a run folder holds, and whether a run may go on in it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from raynas.errors import ConfigError, RaynasError, StoreError, error_line, error_words
from raynas.registry import names_own_code
from raynas.storage.files import exists, files_below, is_folder, read_bytes, write_text
from raynas.storage.paths import ObjectPath, as_path
from raynas.storage.text_files import read_json, read_text, read_yaml
from raynas.texts import parse_yaml

# libyaml's, where PyYAML was built with it: in Python alone, a list of 100,000 architectures takes half a minute.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
RAY_LOG = "ray.log"
"""Name of the file of what Ray says by itself during a run; no result."""
_STARTED = re.compile(r"^started: .+$", re.MULTILINE)


def ray_log_place(folder: Path) -> Path | None:
    """Where the driver of a run in a folder keeps what Ray says; None in an object store, which cannot be added to."""
    return None if isinstance(folder, ObjectPath) else folder / RAY_LOG


def ray_log_keeper(folder: Path) -> Callable[[str], None] | None:
    """What adds a log that is kept elsewhere to that of a run's folder; None where it is there already.

    Args:
        folder: The folder of the run.
    """
    if not isinstance(folder, ObjectPath):
        return None

    def keep(text: str) -> None:
        before = ""
        with suppress(FileNotFoundError):
            before = read_bytes(folder / RAY_LOG).decode(errors="replace")
        write_text(folder / RAY_LOG, before + text)

    return keep


def check_folder(
    folder: Path,
    identity: Mapping[str, Any],
    *,
    resume: bool,
    kind: str = "search",
    complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> None:
    """Refuse a folder that holds something else than this run; writes nothing.

    Args:
        folder: The run's folder, which need not exist.
        identity: What the run must share with one that is stored there.
        resume: Whether a run of this identity may be there.
        kind: What the run is: search (also for score and scale), training, finalists, variants or sweep.
        complete: Adds the fields that an identity leaves out, to both that are compared; raises a ConfigError for a
            stored one that cannot be compared.

    Raises:
        StoreError: It holds another run, or files that are no run; the message shows the difference.
    """
    if not holds_run(folder):
        if exists(folder) and not is_folder(folder):
            raise StoreError(f"{folder} is no folder")
        foreign = [str(path.relative_to(folder)) for path in files_below(folder) if path.name not in (".lock", RAY_LOG)]
        if foreign:
            raise StoreError(f"{folder} is not empty and holds no run: {', '.join(sorted(foreign)[:5])}")
        return
    if not resume:
        there = _kind_there(folder)
        if there not in (None, kind):
            raise StoreError(f"{folder} holds a run of the kind {there}, not {kind}: another --out leaves it alone")
        raise StoreError(f"{folder} holds a run already: --resume continues it, another --out leaves it alone")
    stored = read_description(folder, kind=kind)["identity"]
    try:
        with reading(folder):
            before, now = complete(stored), complete(parse_yaml(yaml.safe_dump(_plain(identity))))
    except ConfigError as error:
        raise StoreError(f"{folder} cannot be resumed: {error}") from None
    differences = _differences(before, now)
    if differences:
        raise StoreError(f"{folder} holds another run: {'; '.join(differences)}")


def _kind_there(folder: Path) -> str | None:
    """What a folder holds that is not to be gone on with; None of a damaged one."""
    try:
        return kind_of(read_description(folder))
    except StoreError:
        return None


def run_description(kind: str, config: Mapping[str, Any], identity: Mapping[str, Any], **more: Any) -> str:
    """run.yaml: the resolved configuration, what identifies the run, and with what it was made."""
    packages = ("raynas", "ray", "torch", "timm", "numpy", "optuna", "pyarrow")
    content = {
        "kind": kind,
        "config": _plain(config),
        "identity": _plain(identity),
        **_plain(more),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False))


def with_first_start(folder: Path, description: str) -> str:
    """The text of run.yaml with the time at which the run in a folder was started first, if one is there.

    Args:
        folder: The folder of the run.
        description: What `run_description` returns.
    """
    try:
        stored = read_text(folder / "run.yaml")
    except (OSError, ValueError):  # none yet, or none that can be read, which is told elsewhere
        return description
    # Found by its line, since a long description takes seconds to parse.
    first = _STARTED.findall(stored)
    return _STARTED.sub(lambda _: first[-1], description) if first else description


def kind_of(description: Mapping[str, Any]) -> str:
    """What a run folder holds, from its run.yaml."""
    return str(description.get("kind", "search"))


def _version(package: str) -> str | None:
    """The version of a package; None if it is missing, as Ray may be where all is scored in one process."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def holds_run(folder: Path) -> bool:
    """Whether there is a run in a folder that could be continued, of whatever kind."""
    return exists(folder / "run.yaml")


def read_description(folder: Path, *, kind: str | None = None) -> dict[str, Any]:
    """run.yaml of a run folder.

    Args:
        folder: The folder of the run.
        kind: The kind that the run must have; None: any.

    Raises:
        StoreError: It is missing or not what a run writes; the run is of another kind.
    """
    path = as_path(folder) / "run.yaml"
    try:
        content = read_yaml(path)
    except OSError as error:
        raise StoreError(f"{folder} holds no run: cannot read {path.name} ({error_words(error)})") from None
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict) or not {"config", "identity"} <= content.keys():
        raise StoreError(f"{path} is not the description of a run")
    for name in ("config", "identity"):
        if not isinstance(content[name], dict) or not all(isinstance(key, str) for key in content[name]):
            raise StoreError(f"{path} is damaged: its {name} is no mapping of names to values")
    if kind is not None and kind_of(content) != kind:
        raise StoreError(f"{folder} holds a run of the kind {kind_of(content)}, not {kind}")
    return content


def setting_of(config: Mapping[str, Any], name: str) -> Any:
    """A setting of a run, or of the trainings that it consists of; None where neither says it.

    Args:
        config: What run.yaml says under `config`.
        name: The name of the setting.
    """
    return config.get(name) or (config.get("training") or {}).get(name)


def told_again(config: Mapping[str, Any]) -> list[str]:
    """Options that a command needs again to go on with a run, since its folder alone does not decide them.

    Args:
        config: What run.yaml says under `config`.
    """
    address = setting_of(config, "address")
    return [*(["--address", str(address)] if address else []), *(["--trust-code"] if names_own_code(config) else [])]


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """A context for what takes values from a folder as a run writes them.

    Args:
        folder: The folder of the run.

    Raises:
        StoreError: They are of another form.
    """
    try:
        yield
    except RaynasError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        told = error_line(error)
        raise StoreError(f"{folder} is damaged, or was changed: it holds what no run writes ({told})") from error


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run folder; empty if the run was killed before it wrote one.

    Raises:
        StoreError: It is damaged.
    """
    path = folder / "summary.json"
    try:
        summary = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error_words(error)}") from None
    if not isinstance(summary, dict):
        raise StoreError(f"{path} is not the summary of a run")
    return summary


def seconds_of_earlier_sessions(folder: Path) -> float:
    """How long the run in a folder took before it was resumed; 0 for a new one."""
    try:
        return float(read_summary(folder).get("seconds", 0.0))
    except (StoreError, TypeError, ValueError):
        return 0.0


def _plain(value: Any) -> Any:
    """Tuples as lists, so that YAML reads back what was written."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


_HASHED = {
    "images": "the images to train on",
    "space_fields": "the fields of the space",
    "architectures": "the architectures to score",
    "input_hash": "the images to score on",
    "weights": "the weights to start from",
}
"""What a hash in an identity stands for, by the last part of its name."""

_HASH = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")


def _differences(stored: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two identities, a line each: values are told, hashes and whole mappings said in words."""
    if isinstance(stored, dict) and isinstance(now, dict):
        names = list(dict.fromkeys([*stored, *now]))
        return [
            line
            for key in names
            for line in _differences(stored.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    is_same = stored == now and isinstance(stored, bool) == isinstance(now, bool)  # Python has True == 1
    if is_same:
        return []
    if now is None and isinstance(stored, dict):
        return [f"{name} is not asked for now"]
    if stored is None and isinstance(now, dict):
        return [f"{name} is new"]
    if _is_hash(stored) or _is_hash(now):
        what = _HASHED.get(name.rpartition(".")[2])
        others = f"{what} are others than those that it began with ({name})"
        return [others if what else f"{name} is another one than it began with"]
    return [f"{name} was {stored!r} and is now {now!r}"]


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
