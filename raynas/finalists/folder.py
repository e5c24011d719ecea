"""The folder of finalists, read; neither torch nor Ray is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.errors import StoreError
from raynas.storage.kinds import Bounds
from raynas.storage.run_folder import holds_run, read_description, read_summary
from raynas.storage.sources import existing_summary, picked

if TYPE_CHECKING:
    from raynas.training.folder import Training

KIND = "finalists"
STOP_FILE = ".stop"
"""Name of a file that is in the folder once its trainings are to end."""


@dataclass(frozen=True, repr=False)
class Finalists:
    """A folder of finalists, finished or not.

    Args:
        folder: The folder that was read.
        description: run.yaml: `config`, `identity`, `versions`, `machine`.
        summary: summary.json; empty if the trainings were killed before it was written.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]

    def __repr__(self) -> str:
        status = self.summary.get("status", "unknown")
        return f"Finalists({str(self.folder)!r}, {status}, {len(self.summary.get('trials', ()))} trainings)"

    @property
    def trainings(self) -> dict[str, Training]:
        """The trainings that have begun, by their names, the most accurate first."""
        from raynas.training.folder import load_training

        folders = {str(trial["name"]): self.folder / trial["folder"] for trial in self.summary.get("trials", ())}
        return {name: load_training(folder) for name, folder in folders.items() if holds_run(folder)}


def best_training(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Path:
    """The folder of the most accurate training that went to its end and meets the bounds.

    Raises:
        StoreError: There is none yet.
        ConfigError: Nothing meets the bounds.
    """
    best = existing_summary(folder).get("best")
    if not best:
        raise StoreError(f"{folder} holds no finalist yet that was trained to the end; resume it")
    # Costs among the scores are those of the search, whose head may have had other classes.
    entries = [{**one, "scores": {name: v for name, v in one["score"].items() if name not in one}} for one in best]
    return folder / str(picked(entries, bounds, f"the finalists in {folder} that were trained to the end")["folder"])


def load_finalists(folder: str | Path) -> Finalists:
    """Read a folder of finalists.

    Raises:
        StoreError: It holds none.
    """
    folder = Path(folder)
    return Finalists(folder, read_description(folder, kind=KIND), read_summary(folder))
