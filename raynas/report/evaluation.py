"""What the page of an evaluation shows: classes, what is taken for what, calibration, the images that went wrong."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.data.opening import described
from raynas.report.embedding import finite, short_number
from raynas.report.model_points import model_points
from raynas.report.next_trained import next_of_evaluation
from raynas.report.status import run_status
from raynas.report.text import Rows, machine_rows
from raynas.stats.calibration import BINS, calibration_bins
from raynas.stats.proportion import wilson_interval
from raynas.wording import duration, percent, plural, setting_text, settings_text

if TYPE_CHECKING:
    from raynas.evaluation.folder import StoredEvaluation
    from raynas.evaluation.report import EvaluationReport, Predictions

_OF_IMAGES = ("pixel_range", "renumber_labels", "skip_unreadable", "skipped_images", "max_images", "seed")
_COLUMNS = ("image_column", "label_column")
_SHOWN_NAMES = 20


def evaluation_report_data(stored: StoredEvaluation) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        stored: The folder of an evaluation, finished or not.

    Returns:
        A value for `json.dumps`; `evaluated` is None where the evaluation is not finished.
    """
    description, summary, report = stored.description, stored.summary, stored.report
    identity = description["identity"]
    data: dict[str, Any] = finite(
        {
            "layout": "evaluation",
            "title": "Evaluation",
            "headline": f"{description['network']['text']} of {identity['source']}",
            "subline": " · ".join(
                [
                    f"{plural(int(identity['images']), 'image', 'images')} of {identity['data']}",
                    f"{identity['img_size']} pixels",
                    weights_text(identity["weights"]),
                ]
            ),
            "status": run_status(stored.folder, summary, f"{description['command']} --resume"),
            "facts": _progress(summary) if report is None else _facts(report, summary),
            **model_points("", [], {}, texts=[], img_size=0),
            "note": "" if report is None else report.note,
            "evaluated": None if report is None else _evaluated(stored, report),
            "next": next_of_evaluation(stored),
            "groups": _groups(stored),
        }
    )
    return data


def _progress(summary: Mapping[str, Any]) -> list[list[str | None]]:
    """How far an evaluation is that is not finished."""
    return [["images", f"{summary['images_done']:,} of {summary['images']:,}"]] if "images_done" in summary else []


def _facts(report: EvaluationReport, summary: Mapping[str, Any]) -> list[list[str | None]]:
    top5 = report.top5
    low, high = wilson_interval(0.0 if top5 is None else top5, report.images)
    return [
        ["top-1", percent(report.top1)],
        ["its 95 % interval", _interval(report.top1_low, report.top1_high)],
        ["top-5", None if top5 is None else percent(top5)],
        ["its 95 % interval", None if top5 is None else _interval(float(low), float(high))],
        ["calibration error", None if report.ece is None else percent(report.ece)],
        ["its 95 % interval", None if report.ece_low is None else _interval(report.ece_low, report.ece_high or 0.0)],
        ["loss", f"{report.loss:.4f}" if math.isfinite(report.loss) else None],
        ["duration", duration(summary["seconds"]) if summary.get("seconds") else None],
    ]


def weights_text(weights: Mapping[str, Any]) -> str:
    """What is known of weights, in words, such as last weights after 3 epochs."""
    said = ("trained", "of_epochs")  # weights that were never trained are not evaluated
    known = {name.replace("_", " "): value for name, value in weights.items() if name not in said and value is not None}
    words = [f"{known.pop('checkpoint')} weights"] if "checkpoint" in known else []
    if words and "epochs" in known:
        words = [f"{words[0]} after {plural(int(known.pop('epochs')), 'epoch', 'epochs')}"]
    if known.pop("moving average", False):
        words.append("of the moving average")
    return ", ".join([*words, *([settings_text(known)] if known else [])])


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {percent(high)}"


def _evaluated(stored: StoredEvaluation, report: EvaluationReport) -> dict[str, Any]:
    found = report.predictions
    return {
        "images": report.images,
        "classes": _classes(report),
        "confusion": _confusion(found, len(report.classes)),
        "calibration": _calibration(report),
        **_pictures(stored, report),
    }


def _classes(report: EvaluationReport) -> list[dict[str, Any]]:
    """All classes in the order of their numbers, with Wilson's intervals of their accuracies."""
    rows = []
    for one in report.classes:
        low, high = (None, None) if one.accuracy is None else map(float, wilson_interval(one.accuracy, one.images))
        rows.append(
            {
                "name": one.name or str(one.number),
                "images": one.images,
                "correct": one.correct,
                "predicted": one.predicted,
                "low": None if low is None else short_number(low),
                "high": None if high is None else short_number(high),
            }
        )
    return rows


def _confusion(found: Predictions, classes: int) -> list[list[int]]:
    """Class, class that is predicted, and number of images, wherever there are any."""
    pairs, counts = np.unique(found.labels * classes + found.predictions, return_counts=True)
    found_pairs = zip(pairs.tolist(), counts.tolist(), strict=True)
    return [[*divmod(pair, classes), count] for pair, count in found_pairs]


def _calibration(report: EvaluationReport) -> dict[str, Any] | None:
    if report.ece is None:
        return None
    found = report.predictions
    known = np.isfinite(found.probabilities)
    confidences, is_correct = found.probabilities[known].astype(float), found.is_correct[known]
    bins = calibration_bins(confidences, is_correct)
    low, high = wilson_interval(bins.accuracy, np.maximum(bins.images, 1))
    rows = [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "images": int(bins.images[number]),
            "correct": int(bins.correct[number]),
            **{
                name: short_number(float(values[number]))
                for name, values in (("confidence", bins.confidence), ("low", low), ("high", high))
            },
        }
        for number in range(BINS)
    ]
    return {
        "bins": rows,
        "images": int(known.sum()),
        "error": report.ece,
        "low": report.ece_low,
        "high": report.ece_high,
        "by_chance": report.ece_by_chance,
        "confidence": float(confidences.mean()),
        "accuracy": float(is_correct.mean()),
    }


def _pictures(stored: StoredEvaluation, report: EvaluationReport) -> dict[str, list[dict[str, Any]]]:
    """The most confidently wrong images, and the least certain ones, as data URIs with what is known of them."""
    found, count = report.predictions, int(stored.description["config"]["shown_images"])
    pictures = stored.pictures()

    def shown(position: int) -> dict[str, Any]:
        return {
            "source": f"data:image/png;base64,{base64.b64encode(pictures[position]).decode()}",
            "name": found.names[position],
            "label": int(found.labels[position]),
            "prediction": int(found.predictions[position]),
            "probability": short_number(float(found.probabilities[position])),
            "label_probability": short_number(float(found.label_probabilities[position])),
        }

    chosen = {"wrong": found.most_wrong(count), "uncertain": found.least_certain(count)}
    return {name: [shown(one) for one in positions.tolist() if one in pictures] for name, positions in chosen.items()}


def _groups(stored: StoredEvaluation) -> list[dict[str, Any]]:
    """What was evaluated and how, as titled lists of (term, text)."""
    description, report = stored.description, stored.report
    config, identity, network = description["config"], description["identity"], description["network"]
    names = [str(name) for name in network["class_names"]]
    more = f", and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else ""
    classes = f"{network['num_classes']:,}" + (f" ({', '.join(names[:_SHOWN_NAMES])}{more})" if names else "")
    of_network: Rows = [
        ("source", str(identity["source"])),
        ("network", str(network["text"])),
        ("weights", weights_text(identity["weights"])),
        ("classes", classes),
    ]
    of_images: Rows = [
        ("data", described(str(identity["data"]))),
        ("images", f"{identity['images']:,}"),
        ("image side", f"{identity['img_size']} pixels"),
        ("eval_crop", setting_text(identity["eval_crop"])),
    ]
    said = [name for name in (*_COLUMNS, *_OF_IMAGES) if config.get(name) not in (None, [], False)]
    of_images += [(name, setting_text(config[name])) for name in said]
    how: Rows = [("device", str(description["device"])), ("precision", str(identity["precision"]))]
    how += [("images of a pass", f"{config['batch_size']:,}")]
    if report is not None:
        how += [("images a second", f"{report.images_per_s:,.0f}")]
    groups = [
        ("The network", of_network),
        ("The images", of_images),
        ("How", how),
        ("Made with", machine_rows(description)),
    ]
    return [{"title": title, "rows": rows} for title, rows in groups]
