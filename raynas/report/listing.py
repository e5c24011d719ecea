"""The runs below a folder: what they are, how they stand, how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError, StoreError, error_words
from raynas.report.status import status_now
from raynas.storage.files import exists, files_below, files_of, written_at
from raynas.storage.kinds import RunKind, run_kinds
from raynas.storage.paths import as_path
from raynas.storage.run_folder import kind_of, read_description, read_summary, reading, setting_of
from raynas.wording import duration

_AT_ONCE = 16

Describe = Callable[[Path], Mapping[str, Any]]
"""Reads run.yaml of a run folder."""


def runs_below(where: str | Path, describe: Describe = read_description) -> list[dict[str, Any]]:
    """One row for each run folder in a folder and in the folders in it; not for runs that are parts of others.

    Whether a run goes on is told by its lock: in an object store, that takes up to the time that a lease lasts.

    Args:
        where: A folder on a disk, or the URI of one in an object store.
        describe: Reads run.yaml; given by whoever looks again and again, and keeps what does not change.

    Returns:
        For each what `run_row` returns, sorted by folder.

    Raises:
        ConfigError: It is in no store that is known.
        StoreError: There is no such folder, or it cannot be read.
    """
    folder = as_path(where)
    try:
        if files_of(folder).has_folders and not exists(folder):
            raise StoreError(f"there is no folder {folder}")
        found = {path.parent for path in files_below(folder) if path.name == "run.yaml"}
    except OSError as error:
        raise StoreError(f"cannot look for runs in {folder}: {error_words(error)}") from error
    whole = sorted(run for run in found if found.isdisjoint(run.parents))
    list(map(run_kinds.get, run_kinds))  # which are imported here, by one thread
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # each waits for its lease, and all at once
        return list(pool.map(partial(run_row, describe=describe), whole))


def run_row(folder: Path, describe: Describe = read_description) -> dict[str, Any]:
    """What a run is, how it stands and how far it has come; of one that cannot be read, why.

    Args:
        folder: The run folder.
        describe: Reads run.yaml.

    Returns:
        `folder`; `kind`, as people call it, such as bench or score for searches of these sorts; `space`, `status` (as
        in summary.json, or killed, or unreadable), `progress` in words, `done` of `total` in `unit`, the `share` of the
        work that is done and the seconds that are `left_s` of a run that goes on, where they are known; `written`, when
        its summary was, in UTC; `found`, what came of it in words; `error`, why it ended or cannot be read.
    """
    row: dict[str, Any] = {"folder": str(folder), "kind": None, "space": None, "status": "unreadable", "progress": None}
    row |= dict.fromkeys(("done", "total", "unit", "share", "left_s", "written", "found", "error"))
    try:
        description, summary = describe(folder), read_summary(folder)
        row |= {"kind": kind_of(description), "status": status_now(folder, str(summary.get("status") or "unknown"))}
        written = written_at(folder / "summary.json") or written_at(folder / "run.yaml")
        row["written"] = written and f"{written:%Y-%m-%d %H:%M:%S}"
        with reading(folder):
            row |= {"space": setting_of(description["config"], "space"), "error": summary.get("error")}
            kind = run_kinds.get(row["kind"]) if row["kind"] in run_kinds else None
            if kind is not None and kind.called is not None:
                row["kind"] = kind.called(folder, description)
            if kind is not None and summary:
                row |= _how_far(kind, description, summary, row["status"] == "running", written)
    except (RaynasError, OSError) as error:
        row["error"] = error_words(error)
    return row


def _how_far(
    kind: RunKind,
    description: Mapping[str, Any],
    summary: Mapping[str, Any],
    is_running: bool,
    written: datetime | None,
) -> dict[str, Any]:
    known: dict[str, Any] = {"found": None if kind.found is None else kind.found(description, summary)}
    if kind.progress is None:
        return known
    progress = kind.progress(description["config"], summary)
    of_all = "" if progress.total is None else f" of {progress.total:,}"
    words = f"{progress.done:,}{of_all} {progress.unit}"
    share = progress.of_all
    left = seconds_left(share, float(summary.get("seconds") or 0.0), written) if is_running else None
    if left:  # nothing is said of one that takes longer than it was thought to
        words += f", about {duration(max(1, round(left)))} left"
    done = {name: getattr(progress, name) for name in ("done", "total", "unit")}
    return {**known, "progress": words, **done, "share": share, "left_s": left}


def seconds_left(share: float | None, seconds: float, written: datetime | None) -> float | None:
    """How long a run will go on if it goes on as before; None where nothing says it.

    Args:
        share: The share of its work that is done.
        seconds: How long that took.
        written: When that was so: what has passed since counts as work.
    """
    if not share or seconds <= 0:
        return None
    since = 0.0 if written is None else (datetime.now(UTC) - written).total_seconds()
    return float(max(0.0, seconds * (1 - share) / share - max(0.0, since)))
