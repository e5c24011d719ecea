"""What pages of trainings side by side show: a search's best, and what its scores had said; or a model's variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.data.opening import described
from raynas.errors import RaynasError, StoreError
from raynas.report.embedding import finite, short_number
from raynas.report.model_points import has_report, model_points
from raynas.report.next_trained import next_of_trials
from raynas.report.status import KILLED, part_now, resumed_by, run_status
from raynas.report.text import Rows, machine_rows
from raynas.stats.kendall import kendall_taus
from raynas.stats.thinning import spread
from raynas.storage.paths import as_path
from raynas.storage.run_folder import kind_of, read_description, read_summary, setting_of
from raynas.training.best_epoch import counted_top1
from raynas.trials.folder import IN_SEARCH, search_scores
from raynas.wording import compact, duration, percent, plural, setting_text

if TYPE_CHECKING:
    from raynas.training.folder import Training

TOP1 = "top-1 (%)"
"""Name of the column of final accuracies."""

_MAX_EPOCHS = 400
_NOUNS = {"finalists": ("finalist", "finalists"), "variants": ("variant", "variants")}
_STATUSES = {
    "completed": "trained to the end",
    "stopped": "stopped early",
    "running": "running",
    "waiting": "waiting",
    "interrupted": "interrupted",
    KILLED: "killed",
    "failed": "failed",
}


def trials_report_data(folder: Path, write_report: Callable[[Path], Path]) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        folder: The folder of the trainings, finished or not.
        write_report: Writes the page of a trial, so that links lead somewhere.

    Returns:
        A value for `json.dumps`, in which a trial is a position in `points`.
    """
    description, summary = read_description(folder), read_summary(folder)
    kind = kind_of(description)
    one, several = _NOUNS[kind]
    trials = [part_now(folder, trial) for trial in sorted(summary.get("trials") or [], key=_order)]
    folders = [folder / str(trial.get("folder")) for trial in trials]
    trainings = [_training(path) for path in folders]
    histories = [[] if training is None else training.metrics.to_pylist() for training in trainings]
    models = [training.description["model"] for training in trainings if training is not None]
    space = str(models[0]["space"] if models else setting_of(description["config"], "space"))
    values = score_columns(trials, histories)
    data: dict[str, Any] = finite(
        {
            "layout": kind,
            "noun": [one, several],
            "title": f"{space} {several}",
            "headline": _headline(summary, trials, (one, several)),
            "subline": _subline(description, summary, histories),
            "status": run_status(
                folder, summary, resumed_by("train", folder, description["config"], is_registered=True)
            ),
            "facts": _facts(summary, trials, several),
            "comparison": summary.get("comparison"),
            **model_points(
                space if models else "",  # pictures need the side of the images, which no training says yet
                [trial["architecture"] for trial in trials],
                values,
                texts=[trial.get("text") for trial in trials],
                img_size=int(models[0]["img_size"]) if models else 0,
                needed=TOP1,
                errors=[trial.get("error") for trial in trials],
                notes=[_standing(trial) for trial in trials],
            ),
            **_rankings(values, _directions(summary.get("source"))),
            "trials": [
                {
                    "name": str(trial.get("name")),
                    "folder": str(trial.get("folder")),
                    "has_report": has_report(path, folder, write_report),
                    "status": str(trial.get("status")),
                    "epochs_done": len(history) or int(trial.get("epochs_done") or 0),
                    "epochs": trial.get("epochs"),
                    "error": trial.get("error"),
                    **_trace(history),
                }
                for trial, path, history in zip(trials, folders, histories, strict=True)
            ],
            "correlation": _correlation(values),
            "next": next_of_trials(folder, _best(folder, summary), kind),
            "groups": _groups(description, summary, several),
        }
    )
    return data


def score_columns(
    trials: Sequence[Mapping[str, Any]], histories: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, list[float | None]]:
    """What the trials can be compared by.

    Args:
        trials: The entry `trials` of summary.json: how far each training is.
        histories: Rows of their metrics.parquet.

    Returns:
        By name, a value or None for each: the accuracy in percent; where some trials ended earlier than others, also
        that after the last epoch which all that began have finished; further accuracies, such as those of members of
        supernets; settings that are numbers; the search's scores; the costs.
    """
    columns: dict[str, list[float | None]] = {TOP1: [_percent(trial.get("top1")) for trial in trials]}
    lengths = [len(history) for history in histories if history]
    if lengths and min(lengths) < max(lengths):
        common = min(lengths)
        columns[f"top-1 after epoch {common} (%)"] = [
            _percent(counted_top1(history[common - 1])) if history else None for history in histories
        ]
    for key, column_name in (("accuracies", "{} top-1 (%)"), ("settings", "{}")):
        own = [trial.get(key) or {} for trial in trials]
        for name in dict.fromkeys(name for values in own for name in values):
            found = [values.get(name) for values in own]
            if all(_is_number(value) for value in found if value is not None):
                columns[column_name.format(name)] = list(map(_percent, found)) if key == "accuracies" else found
    searched = [search_scores(trial) for trial in trials]
    for name in dict.fromkeys(name for scores in searched for name in scores):
        columns[name] = [scores.get(name) for scores in searched]
    for name in ("num_params", "macs"):
        column = [(trial.get("score") or {}).get(name, trial.get(name)) for trial in trials]
        if any(value is not None for value in column):
            columns[name] = column
    return columns


def _rankings(values: Mapping[str, Sequence[float | None]], directions: Mapping[str, str]) -> dict[str, Any]:
    """The page's scores and rankings; a score whose direction is not known has no ranking."""
    scores, rankings = [], []
    for name, column in values.items():
        is_cost = name in ("num_params", "macs")
        known_direction = directions.get(name.removesuffix(IN_SEARCH))
        direction = "max" if "top-1" in name else "min" if is_cost else known_direction
        score = {"name": name, "is_cost": is_cost, "is_objective": name == TOP1}
        known = [number for number, value in enumerate(column) if value is not None and np.isfinite(value)]
        if direction is not None:
            score["maximize"] = direction == "max"
            sign = -1 if direction == "max" else 1
            best = sorted(known, key=lambda number: sign * float(column[number] or 0))
            if best:
                label = f"{'highest' if direction == 'max' else 'lowest'} {name}"
                rankings.append({"name": name, "label": label, "members": best})
        scores.append(score)
    # The page's scatter plot begins with the first two.
    compared = [name for name in values if name not in ("num_params", "macs")]
    scored = [name for name in compared if "top-1" not in name]
    objectives = [{"name": name} for name in [TOP1, *scored[:1]]]
    return {"scores": scores, "rankings": rankings, "objectives": objectives}


def _correlation(values: Mapping[str, Sequence[float | None]]) -> dict[str, Any] | None:
    columns = {name: np.array([np.nan if v is None else v for v in column], float) for name, column in values.items()}
    columns = {name: column for name, column in columns.items() if np.isfinite(column).sum() > 2}
    if TOP1 not in columns or len(columns) < 2:
        return None
    tau = kendall_taus(list(columns.values()))
    total = int(np.isfinite(columns[TOP1]).sum())
    return {
        "names": list(columns),
        "tau": [[short_number(value) for value in row] for row in tau],
        "n": total,
        "total": total,
    }


def _training(folder: Path) -> Training | None:
    """A trial's folder; None if it has not begun or cannot be read."""
    from raynas.training.folder import load_training

    try:
        return load_training(folder)
    except (StoreError, OSError, ValueError):
        return None


def _best(folder: Path, summary: Mapping[str, Any]) -> Training | None:
    """What commands take of the folder, once all have ended; None if there is none, or it cannot be read."""
    best = summary.get("best") or [] if summary.get("status") in ("completed", "failed") else []
    return _training(folder / str(best[0]["folder"])) if best else None


def _trace(history: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    rows = [history[number] for number in spread(np.arange(len(history)), _MAX_EPOCHS)]
    return {
        "at": [int(row["epoch"]) + 1 for row in rows],
        "top1": [short_number(100 * counted_top1(row)) for row in rows],
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _order(trial: Mapping[str, Any]) -> tuple[float, float]:
    """A key that sorts trials by accuracy, those without one last, in the order of the search."""
    top1 = trial.get("top1")
    return (np.inf if top1 is None else -top1, trial.get("rank") or 0)


def _standing(trial: Mapping[str, Any]) -> str:
    status = str(trial.get("status"))
    return f"{trial.get('name')}, {_STATUSES.get(status, status)}"


def _directions(source: Any) -> Mapping[str, str]:
    """Whether "max" or "min" is better of each of the search's scores; empty if its folder is not there."""
    if source is None:
        return {}
    try:
        found = read_description(as_path(str(source))).get("directions")
    except RaynasError:
        return {}
    return found if isinstance(found, dict) else {}


def _headline(summary: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], noun: tuple[str, str]) -> str:
    lasted = f" in {duration(summary['seconds'])}" if summary.get("seconds") else ""
    known = [trial for trial in trials if trial.get("top1") is not None]
    count = plural(len(trials), *noun)
    if not known:
        return f"{count}: none has finished an epoch"
    best = known[0]
    size = f"{compact(best['num_params'])} parameters and {compact(best['macs'])} MACs"
    return f"{count} trained{lasted}; the best reaches top-1 {percent(best['top1'])} with {size}"


def _subline(
    description: Mapping[str, Any], summary: Mapping[str, Any], histories: Sequence[Sequence[Mapping[str, Any]]]
) -> str:
    epochs = sum(map(len, histories))
    parts = [f"the best of {summary['source']}"] if summary.get("source") else []
    parts.append(f"{plural(epochs, 'epoch', 'epochs')} in all")
    if data := setting_of(description["config"], "data"):
        parts.append(f"data {described(str(data))}")
    return " · ".join(parts)


def _facts(summary: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], several: str) -> list[list[str | None]]:
    count = {status: sum(trial.get("status") == status for trial in trials) for status in _STATUSES}
    top1 = trials[0].get("top1") if trials else None
    return [
        ["best top-1", None if top1 is None else percent(top1)],
        [several, f"{len(trials):,}"],
        *([words, f"{count[status]:,}" if count[status] else None] for status, words in _STATUSES.items()),
        ["duration", duration(summary["seconds"]) if summary.get("seconds") else None],
    ]


def _groups(description: Mapping[str, Any], summary: Mapping[str, Any], several: str) -> list[dict[str, Any]]:
    config = {"source": summary.get("source"), **description["config"]}
    own: Rows = [(name, setting_text(value)) for name, value in config.items() if value is not None]
    groups = [(several.capitalize(), own), ("Made with", machine_rows(description))]
    return [{"title": title, "rows": rows} for title, rows in groups if rows]
