"""What the page of a run of `raynas latency SPACE` shows beyond that of a search: how well latencies are predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raynas.errors import StoreError
from raynas.space.search_space import SearchSpace
from raynas.storage.latencies import LEVEL, LatencyPredictor, Quality, latency_predictor
from raynas.wording import duration, percent, plural, settings_text

if TYPE_CHECKING:
    from raynas.storage.runs import Run


def latency_page(run: Run, space: SearchSpace | None) -> dict[str, Any]:
    """Head and prediction of the page, in place of those of a search.

    Args:
        run: A run of `raynas latency SPACE`, of any status.
        space: The space as it was measured; None: it is not registered here, or has changed.

    Returns:
        Entries of the page's data, among them `prediction`: `measured`, `predicted`, `low`, `high` and `text` of each
        measurement, predicted from all others, in milliseconds; or `reason`, why there is none.
    """
    predictor, reason = _predictor(run, space)
    identity, summary = run.description["identity"], run.summary
    number = int(summary.get("evaluations") or 0) if predictor is None else len(predictor.latencies_ms)
    lasted = duration(summary["seconds"]) if summary.get("seconds") else None
    learned = f"latency learned from {plural(number, 'measurement', 'measurements')}"
    return {
        "layout": "latency",
        "title": f"{identity.get('space')} latency",
        "headline": f"{identity.get('space')}: {learned}" + ("" if lasted is None else f" in {lasted}"),
        "subline": _subline(identity, predictor),
        "facts": [
            ["measurements", f"{number:,}"],
            *([] if predictor is None else _facts(predictor.quality())),
            ["failed", f"{summary['failed']:,}" if summary.get("failed") else None],
            ["duration", lasted],
        ],
        "prediction": {"reason": reason} if predictor is None else _prediction(predictor),
    }


def _predictor(run: Run, space: SearchSpace | None) -> tuple[LatencyPredictor | None, str]:
    if space is None:
        return None, "The space of this name is not registered here, or has changed, so that nothing is predicted."
    try:
        return latency_predictor(run, space), ""
    except StoreError as error:
        return None, f"Nothing is predicted yet: {error}."


def _prediction(predictor: LatencyPredictor) -> dict[str, Any]:
    found = predictor.left_out()
    return {
        "level": percent(LEVEL, 0),
        "measured": list(predictor.latencies_ms),
        "predicted": [one.latency_ms for one in found],
        "low": [one.low_ms for one in found],
        "high": [one.high_ms for one in found],
        "text": [predictor.space.text(one) for one in predictor.architectures],
    }


def _facts(quality: Quality) -> list[list[str | None]]:
    return [
        ["Spearman's rho", f"{quality.spearman_rho:.3f}"],
        ["median error", percent(quality.error, 1)],
        [f"in {percent(LEVEL, 0)} intervals", percent(quality.covered, 1)],
        ["which reach above by", percent(quality.reach, 1)],
    ]


def _subline(identity: Mapping[str, Any], predictor: LatencyPredictor | None) -> str:
    parts = [f"images of {identity.get('img_size')} pixels"]
    if predictor is not None:
        conditions = {name: value for name, value in predictor.conditions.items() if value is not None}
        device = conditions.pop("device", None)
        parts = [*([] if device is None else [f"on {device}"]), *parts, settings_text(conditions)]
    return " · ".join([*parts, f"seed {identity.get('seed')}"])
