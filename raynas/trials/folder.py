"""The folder of trainings that are trials, read, and the record of what was judged; without torch and Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.errors import StoreError
from raynas.notebook import html_table
from raynas.space.cost import COSTS
from raynas.storage.files import write_json
from raynas.storage.kinds import Bounds
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run, read_description, read_summary
from raynas.storage.sources import existing_summary, picked
from raynas.storage.text_files import read_json
from raynas.training.best_epoch import counted_top1
from raynas.wording import plural

if TYPE_CHECKING:
    from raynas.training.folder import Training

JUDGED = "judged.json"
"""Name of the file of the accuracies by which it was decided whether trainings go on."""


@dataclass(frozen=True, repr=False)
class Trials:
    """A folder of trainings against each other, such as finalists, finished or not.

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
        trainings = plural(len(self.summary.get("trials", ())), "training", "trainings")
        return f"Trials({str(self.folder)!r}, {status}, {trainings})"

    def _repr_html_(self) -> str:
        names = ("name", "status", "top1", "epochs", "num_params", "macs", "text")
        trials = self.summary.get("trials", ())
        return html_table(repr(self), [{name: trial[name] for name in names if name in trial} for trial in trials])

    @property
    def trainings(self) -> dict[str, Training]:
        """The trainings that have begun, by their names, the most accurate first."""
        from raynas.training.folder import load_training

        folders = {str(trial["name"]): self.folder / trial["folder"] for trial in self.summary.get("trials", ())}
        return {name: load_training(folder) for name, folder in folders.items() if holds_run(folder)}


IN_SEARCH = " (search)"
"""What stands behind the name of a score of the search where the training has a value of that name too."""


def search_scores(trial: Mapping[str, Any]) -> dict[str, float]:
    """The scores that an architecture had in a search, without costs, by names that no value of its training has.

    Args:
        trial: An entry of `trials` in summary.json.
    """
    found = {name: value for name, value in (trial.get("score") or {}).items() if name not in COSTS}
    return {f"{name}{IN_SEARCH}" if name in trial else name: value for name, value in found.items()}


def best_training(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Path:
    """The folder of the most accurate training that went to its end and meets the bounds.

    Raises:
        StoreError: There is none yet.
        ConfigError: Nothing meets the bounds.
    """
    best = existing_summary(folder).get("best")
    if not best:
        raise StoreError(f"{folder} holds no training yet that came to its end; resume it")
    # Costs among the scores are those of the search, whose head may have had other classes.
    entries = [{**one, "scores": {name: v for name, v in one["score"].items() if name not in one}} for one in best]
    return folder / str(picked(entries, bounds, f"the networks in {folder} that were trained to the end")["folder"])


def write_judged(folder: Path, judged: Mapping[str, Sequence[float]]) -> None:
    """Keep the accuracies by which it was decided whether trainings go on.

    Args:
        folder: The folder of the trainings.
        judged: Accuracies after each epoch, from the first on, by the name of the training.

    Raises:
        StoreError: They cannot be written.
    """
    write_json(folder / JUDGED, judged)


def read_judged(folder: Path, names: Sequence[str]) -> dict[str, list[float]]:
    """The accuracies by which it was decided whether trainings go on, by their names; some or none may be known.

    Where there is no record, as in folders of before, all epochs that the trainings hold count as judged.

    Args:
        folder: The folder of the trainings.
        names: Names of the trainings.
    """
    try:
        stored = read_json(folder / JUDGED)
        return {name: [float(top1) for top1 in stored[name]] for name in names if name in stored}
    except FileNotFoundError:
        return {name: own for name in names if (own := _reached(folder / name))}
    except (OSError, ValueError, TypeError):  # damaged: then trainings are judged anew
        return {}


def _reached(folder: Path) -> list[float]:
    from raynas.training.folder import load_training

    try:
        return [counted_top1(row) for row in load_training(folder).metrics.to_pylist()]
    except (StoreError, OSError, ValueError, TypeError):  # not begun, or damaged
        return []


def load_trials(folder: str | Path, kind: str) -> Trials:
    """Read a folder of trainings against each other.

    Args:
        folder: The folder.
        kind: The kind of run that it must hold, such as finalists.

    Raises:
        StoreError: It holds none.
    """
    folder = as_path(folder)
    return Trials(folder, read_description(folder, kind=kind), read_summary(folder))
