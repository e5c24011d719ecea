"""The runs below a folder: what they are, how they stand, how far they have come."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError, StoreError, error_words
from raynas.report.status import status_now
from raynas.storage.files import exists, files_below, files_of, written_at
from raynas.storage.kinds import RunKind, run_kinds
from raynas.storage.paths import as_path
from raynas.storage.run_folder import kind_of, read_description, read_summary, reading, setting_of

_AT_ONCE = 16


def runs_below(where: str | Path) -> list[dict[str, Any]]:
    """One row for each run folder in a folder and in the folders in it; not for runs that are parts of others.

    Whether a run goes on is told by its lock: in an object store, that takes up to the time that a lease lasts.

    Args:
        where: A folder on a disk, or the URI of one in an object store.

    Returns:
        `folder`; `kind`, `space`, `status` (as in summary.json, or killed), `progress` in words, `done` of `total` in
        `unit`, where they are known; `written`, when its summary was, in UTC; `error`, why it ended or cannot be read.

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
    kinds = {name: run_kinds.get(name) for name in run_kinds}  # which are imported here, by one thread
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # each waits for its lease, and all at once
        return list(pool.map(partial(_row, kinds), whole))


def _row(kinds: Mapping[str, RunKind], folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"folder": str(folder), "kind": None, "space": None, "status": "unreadable", "progress": None}
    row |= {"done": None, "total": None, "unit": None, "written": None, "error": None}
    try:
        description, summary = read_description(folder), read_summary(folder)
        row |= {"kind": kind_of(description), "status": status_now(folder, str(summary.get("status") or "unknown"))}
        with reading(folder):
            config = description["config"]
            row |= {"space": setting_of(config, "space"), "error": summary.get("error")}
            row |= _progress(kinds.get(row["kind"]), config, summary)
        written = written_at(folder / "summary.json") or written_at(folder / "run.yaml")
        row["written"] = written and f"{written:%Y-%m-%d %H:%M:%S}"
    except (RaynasError, OSError) as error:
        row["error"] = error_words(error)
    return row


def _progress(kind: RunKind | None, config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    if kind is None or kind.progress is None or not summary:
        return {}
    progress = kind.progress(config, summary)
    of_all = "" if progress.total is None else f" of {progress.total:,}"
    return {"progress": f"{progress.done:,}{of_all} {progress.unit}", **progress._asdict()}
