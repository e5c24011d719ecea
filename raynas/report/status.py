"""What a page says of how its run stands: ended, going on, or left behind by a process that is no more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raynas.interruption import resuming_line
from raynas.registry import is_in_file
from raynas.storage.locks import is_free, is_in_use
from raynas.storage.run_folder import told_again

KILLED = "killed"
"""Status of a run that its summary calls running, though no process holds its folder."""

_ENDED_WELL = ("completed", "exhausted")


def status_now(folder: Path, status: str) -> str:
    """The status of a run as it is now: one that says it is running may have been killed, which the lock tells.

    Where the lock cannot be looked at, the summary is believed.

    Args:
        folder: The folder of the run.
        status: What its summary.json says, or "unknown" where there is none, as before a run's workers have started.
    """
    if status not in ("running", "unknown"):
        return status
    if is_in_use(folder):
        return "running"
    return KILLED if status == "running" and is_free(folder) else status


def part_now(folder: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a run that is part of another, with its status now; as it was told beyond the other's folder.

    The other's summary is behind of it where their driver was killed.

    Args:
        folder: The folder of the sweep, finalists or variants.
        told: What is told of one search or one training, with its `folder`, relative to that, and its `status`.
    """
    path, status = folder / str(told.get("folder")), str(told.get("status"))
    is_inside = path.resolve().is_relative_to(folder.resolve())
    return {**told, "status": status_now(path, status) if is_inside else status}


def resumed_by(command: str, folder: Path, config: Mapping[str, Any], *, is_registered: bool) -> str | None:
    """What is typed to go on with a run; None if no command finds its space, as one that was passed in Python.

    Args:
        command: The command as it is typed, such as "bench proxies".
        folder: The folder of the run.
        config: What run.yaml says under `config`.
        is_registered: Whether the space is found by its name alone, without a file.
    """
    if not is_registered and not is_in_file(str(config.get("space"))):
        return None
    return resuming_line(command, folder, *told_again(config))


def run_status(folder: Path, summary: Mapping[str, Any], resume: str | None) -> dict[str, Any]:
    """The page's `status`.

    Args:
        folder: The folder of the run.
        summary: The content of its summary.json; empty if there is none.
        resume: What continues the run, where this is known.

    Returns:
        `name`, the status now; `error`; `resume`, None for a run that goes on or is complete; and, unless the run
        has ended by its own account, `written`, the time at which this was looked at: what the page says of a run that
        has ended follows from its folder alone.
    """
    name = status_now(folder, str(summary.get("status") or "unknown"))
    status = {
        "name": name,
        "error": summary.get("error"),
        "resume": None if name in (*_ENDED_WELL, "running") else resume,
    }
    if name in ("running", KILLED, "unknown"):
        status["written"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return status
