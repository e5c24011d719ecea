"""What has come of a run, in a few words for lists, from its run.yaml and its summary.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raynas.space.cost import COSTS
from raynas.space.results import Objective
from raynas.storage.learned import is_learned
from raynas.wording import compact, percent, plural

Content = Mapping[str, Any]


def found_by_search(description: Content, summary: Content) -> str | None:
    """The best value of the objective, or how many architectures are on the front of several."""
    objectives = [Objective.parse(str(text)) for text in description["identity"].get("objectives") or []]
    best = summary.get("best") or []
    if not objectives or not best:
        return None
    if is_learned(description["identity"]):
        return plural(int(summary.get("evaluations") or 0), "architecture measured", "architectures measured")
    if len(objectives) > 1:
        return f"{len(best):,} on the front"
    name = objectives[0].name
    return f"best {name} {value_text(name, {**best[0], **best[0]['scores']}[name])}"


def found_by_training(description: Content, summary: Content) -> str | None:
    """The value of the best epoch."""
    from raynas.training.best_epoch import BestEpoch

    best = BestEpoch.of(description)
    value = summary.get("best_top1" if best.is_accuracy else "best_value")
    if value is None:
        return None
    return f"best {best.title} {percent(value) if best.is_accuracy else f'{value:.4g}'}"


def found_by_trials(description: Content, summary: Content) -> str | None:
    """The accuracy of the most accurate training."""
    known = [trial["top1"] for trial in summary.get("trials") or [] if trial.get("top1") is not None]
    return f"best top-1 {percent(max(known))}" if known else None


def found_by_sweep(description: Content, summary: Content) -> str | None:
    """The searcher whose median is the best."""
    rows, measure = summary.get("rows") or [], summary.get("measure") or {}
    known = [row for row in rows if row["best"]["median"] is not None]
    if not known:
        return None
    best = (max if measure["maximize"] else min)(known, key=lambda row: row["best"]["median"])
    return f"{best['searcher']}, median {measure['name']} {value_text(measure['name'], best['best']['median'])}"


def found_by_analysis(description: Content, summary: Content) -> str | None:
    """How many images were looked at, or how well their nearest neighbours tell their classes."""
    known = (summary.get("knn_top1") or {}).get("model")
    if known is not None:
        return f"nearest neighbours {percent(known)}"
    return plural(int(summary["images"]), "image", "images") if summary.get("images") else None


def found_by_evaluation(description: Content, summary: Content) -> str | None:
    """The accuracy, with its 95 % interval."""
    if summary.get("top1") is None:
        return None
    low, high = (percent(summary[name]) for name in ("top1_low", "top1_high"))
    return f"top-1 {percent(summary['top1'])} ({low} to {high})"


def value_text(name: str, value: float) -> str:
    """A score or a cost as people read it."""
    return compact(value) if name in COSTS else f"{value:.4g}"
