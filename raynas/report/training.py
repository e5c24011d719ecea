"""What the page of a training shows: its curves, its phases, where the time went, and with which settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raynas.report.embedding import finite, registered_space, short_number
from raynas.report.model_points import model_points
from raynas.report.next_trained import next_of_training
from raynas.report.status import resumed_by, run_status
from raynas.report.text import Rows, machine_rows
from raynas.report.training_images import OF_IMAGES, image_rows
from raynas.stats.proportion import wilson_interval
from raynas.stats.thinning import spread
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import DISTILLATION, PRETRAINING, SUPERNET, WITHOUT_EFFECT
from raynas.training.folder import drawn_pictures
from raynas.training.identity import SECTIONS
from raynas.wording import compact, duration, percent, plural, setting_text, shown

if TYPE_CHECKING:
    from raynas.training.folder import Training

_MAX_EPOCHS = 1000
_LEVEL = 0.95

_SETTINGS = {
    "Objective": ("objective", "label_smoothing"),
    "Optimisation": (*SECTIONS["optimisation"], "accumulation", "drop_path_rate"),
    "Augmentation": ("augment", *SECTIONS["augmentation"]),
    "Start": SECTIONS["start"],
    "Workers": tuple(
        name
        for name in WITHOUT_EFFECT
        if name not in (*OF_IMAGES, "data", "val_data", "weights", "teacher", "accumulation")
    ),
}
"""Settings by the titles under which they are shown. Those of the model, the images and the teacher have their own."""


def training_report_data(training: Training) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        training: A training folder, of any status, also without any epoch finished.

    Returns:
        A value for `json.dumps`.
    """
    description, summary = training.description, training.summary
    config, model = description["config"], description["model"]
    rows = training.metrics.to_pylist()
    best = BestEpoch.of(description)
    phases = phases_of(rows, config.get("retokenize"), int(config["epochs"]), int(model["macs"]))
    is_registered = registered_space(str(model["space"])) is not None
    data: dict[str, Any] = finite(
        {
            "layout": "training",
            "title": f"{model['space']} {'supernet' if description.get('supernet') else 'training'}",
            "headline": _headline(best, summary, model, rows, int(config["epochs"])),
            "subline": _subline(summary, config, model, description.get("teacher")),
            "status": run_status(
                training.folder, summary, resumed_by("train", training.folder, config, is_registered=is_registered)
            ),
            "facts": _facts(best, summary, model, rows, int(config["epochs"])),
            "best_epoch": _best_epoch(best, rows),
            "uncertainty": uncertainty(best, training.metrics, summary),
            **model_points(
                str(model["space"]),
                [model["architecture"]],
                {"num_params": [model["num_params"]], "macs": [model["macs"]]},
                texts=[model.get("text")],
                img_size=int(model["img_size"]),
            ),
            "epochs": int(config["epochs"]),
            "curves": curves(training.metrics),
            "phases": phases,
            "saving": saving(phases, rows, summary),
            "measure": {
                "title": best.title,
                "column": best.column,
                "value": _value(best, rows[-1]) if rows else None,
            },
            **own_columns(training.metrics.column_names),
            "time": time_of_training(summary, rows),
            "pictures": _pictures(training.folder),
            "next": next_of_training(training),
            "groups": _groups(description, summary, phases),
        }
    )
    return data


def _pictures(folder: Path) -> list[dict[str, Any]]:
    """Pictures of what was learned, with their epochs, as data URIs."""
    return [
        {"name": name, "epoch": epoch, "source": f"data:image/png;base64,{base64.b64encode(content).decode()}"}
        for name, epoch, content in drawn_pictures(folder)
    ]


def curves(metrics: pa.Table) -> dict[str, list[Any]]:
    """Columns of metrics.parquet that are drawn, over at most 1,000 epochs; columns without any value are left out."""
    kept = spread(np.arange(metrics.num_rows), _MAX_EPOCHS)
    columns = {name: metrics[name].take(pa.array(kept)).to_pylist() for name in metrics.column_names}
    return {
        name: [None if value is None else short_number(value) for value in values]
        for name, values in columns.items()
        if any(value is not None for value in values)
    }


def uncertainty(best: BestEpoch, metrics: pa.Table, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far the accuracies may lie from those on any number of such images, for the epochs of `curves`.

    Args:
        best: What counts of an epoch.
        metrics: The content of metrics.parquet.
        summary: The content of summary.json, which says how many images were evaluated on.

    Returns:
        `column` of the curves, `n` images, the `level` of Wilson's intervals, and their bounds `low` and `high` as
        fractions; None where an accuracy is not what counts, or the number of images is not known.
    """
    images = _images_evaluated_on(summary)
    if not best.is_accuracy or not images or not metrics.num_rows:
        return None
    kept = spread(np.arange(metrics.num_rows), _MAX_EPOCHS)
    average = f"ema_{best.column}"
    column = best.column if metrics[average].null_count == metrics.num_rows else average
    low, high = wilson_interval(metrics[column].take(pa.array(kept)).to_numpy(), images, _LEVEL)
    return {
        "column": column,
        "n": images,
        "level": _LEVEL,
        "low": [short_number(bound) for bound in low],
        "high": [short_number(bound) for bound in high],
    }


def own_columns(names: Sequence[str]) -> dict[str, list[str]]:
    """Columns of metrics.parquet that depend on the objective: `terms` of its loss, and what else it is `evaluated` by.

    Args:
        names: Names of all columns; those of the objective stand before `val_loss`.
    """
    own = names[names.index("train_loss") + 1 : names.index("val_loss")]
    terms = [name for name in own if not name.startswith(("val_", "ema_val_"))]
    return {"terms": terms, "evaluated": [name for name in own if name.startswith("val_")]}


def phases_of(
    rows: Sequence[Mapping[str, Any]], schedule: Sequence[Sequence[int]] | None, epochs: int, full_macs: int
) -> list[dict[str, Any]]:
    """The phases of a re-tokenized training, with what was measured in each.

    Args:
        rows: The rows of metrics.parquet, one for each finished epoch.
        schedule: First epoch, stride and dilation of each phase; None: it is not re-tokenized.
        epochs: How many epochs the whole training has.
        full_macs: Multiply-adds of a forward pass of one image without re-tokenization.

    Returns:
        `start` and `end` (epochs from 0, half-open), `stride`, `dilation`, and over its finished epochs `done`, `macs`
        of a forward pass, their `share` of the full ones, `epoch_s` (mean seconds of training an epoch) and
        `images_per_s`; None where no epoch is finished.
    """
    if not schedule:
        return []
    starts = [int(phase[0]) for phase in schedule]
    found = []
    for (start, end), (_, stride, dilation) in zip(pairwise([*starts, epochs]), schedule, strict=True):
        own = [row for row in rows if start <= row["epoch"] < end]
        trained = sum(float(row["train_s"]) for row in own)
        images = sum(float(row["images_per_s"]) * float(row["train_s"]) for row in own)
        macs = int(own[0]["macs"]) if own else None
        found.append(
            {
                "start": start,
                "end": end,
                "stride": int(stride),
                "dilation": int(dilation),
                "done": len(own),
                "macs": macs,
                "share": None if macs is None else macs / full_macs,
                "epoch_s": trained / len(own) if own else None,
                "images_per_s": images / trained if trained else None,
            }
        )
    return found


def saving(
    phases: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What re-tokenization saved so far: the share of the training's MACs, and of its time.

    The time it would have taken without is the number of epochs times the mean of those with all tokens, so it is
    known only once there are such.

    Returns:
        `macs`, `full` and `share` from the summary, and `train_s` and `full_s`, None if not known; None for a
        training without phases, or without a finished epoch.
    """
    if not phases or not rows or not summary.get("training_macs_full"):
        return None
    full = [float(row["train_s"]) for row in rows if row["macs"] == summary["macs"]]
    return {
        "macs": summary["training_macs"],
        "full": summary["training_macs_full"],
        "share": summary["saved"],
        "train_s": sum(float(row["train_s"]) for row in rows),
        "full_s": len(rows) * sum(full) / len(full) if full else None,
    }


def time_of_training(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds by what they went to, with a sentence on them.

    What the epochs do not account for is starting, writing checkpoints, and work that a crash undid.
    """
    trained, waited, evaluated = (
        sum(float(row[name]) for row in rows) for name in ("train_s", "data_wait_s", "eval_s")
    )
    seconds = max(float(summary.get("seconds") or 0.0), trained + evaluated)
    parts = [
        {"name": "training steps", "seconds": max(0.0, trained - waited)},
        {"name": "steps waiting for images", "seconds": waited},
        {"name": "evaluation", "seconds": evaluated},
        {"name": "start, checkpoints and the rest", "seconds": seconds - trained - evaluated},
    ]
    if not trained:
        return {"parts": parts, "sentence": "No epoch is finished yet."}
    images = sum(float(row["images_per_s"]) * float(row["train_s"]) for row in rows)
    return {
        "parts": parts,
        "sentence": f"Steps waited for images for {percent(waited / trained, 1)} of their time; "
        f"{compact(images / trained)} images a second on average.",
    }


def _headline(
    best: BestEpoch,
    summary: Mapping[str, Any],
    model: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    epochs: int,
) -> str:
    size = f"{compact(model['num_params'])} parameters and {compact(model['macs'])} MACs"
    lasted = f" in {duration(summary['seconds'])}" if summary.get("seconds") else ""
    if not rows:
        return f"{size}: no epoch of {epochs:,} is finished"
    finished = plural(len(rows), "epoch", "epochs") if len(rows) == epochs else f"{len(rows):,} of {epochs:,} epochs"
    return f"{best.title} {_value(best, rows[-1])} with {size}, after {finished}{lasted}"


def _subline(
    summary: Mapping[str, Any], config: Mapping[str, Any], model: Mapping[str, Any], teacher: Mapping[str, Any] | None
) -> str:
    images = summary.get("images") or {}
    parts = [
        f"{name} {plural(images[key], 'image', 'images')}"
        for name, key in (("trained on", "train"), ("evaluated on", "val"))
        if key in images
    ]
    parts.append(f"images of {model['img_size']} pixels, {plural(int(model['num_classes']), 'class', 'classes')}")
    taught = [] if teacher is None else [f"teacher {teacher['name']}"]
    return " · ".join([*parts, *taught, f"batches of {config['batch_size']}", f"seed {config['seed']}"])


def _images_evaluated_on(summary: Mapping[str, Any]) -> int:
    """How many there are; 0 where that is not known."""
    return int((summary.get("images") or {}).get("val") or 0)


def _interval(top1: float, images: int) -> str | None:
    """What an accuracy on so many images may be on others, for people; None where their number is not known."""
    if not images or top1 != top1:
        return None
    low, high = wilson_interval(top1, images, _LEVEL)
    return f"{percent(float(low), 1)} to {percent(float(high), 1)}"


def _best_epoch(best: BestEpoch, rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The best epoch as people count them, from 1; None without an epoch that has a value."""
    row = best.best_of(rows)
    return None if row is None else int(row["epoch"]) + 1


def _value(best: BestEpoch, row: Mapping[str, Any]) -> str:
    """What counts of an epoch, as people read it."""
    return percent(best.value(row)) if best.is_accuracy else shown(best.value(row))


def _facts(
    best: BestEpoch,
    summary: Mapping[str, Any],
    model: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    epochs: int,
) -> list[list[str | None]]:
    best_row = best.best_of(rows)
    images = _images_evaluated_on(summary)
    is_best = best_row is not None and best_row["epoch"] == rows[-1]["epoch"]
    saved = summary.get("saved")
    return [
        [best.title, _value(best, rows[-1]) if rows else None],
        [
            f"best {best.title}",
            None if best_row is None or is_best else f"{_value(best, best_row)}, epoch {best_row['epoch'] + 1}",
        ],
        [
            f"{best.title}, {100 * _LEVEL:g} % interval",
            _interval(best.value(rows[-1]), images) if rows and best.is_accuracy else None,
        ],
        ["training MACs saved" if len(rows) == epochs else "MACs saved so far", percent(saved, 1) if saved else None],
        ["parameters", compact(model["num_params"])],
        ["MACs", compact(model["macs"])],
        ["epochs", f"{len(rows):,}" if len(rows) == epochs else f"{len(rows):,} of {epochs:,}"],
        ["duration", duration(summary["seconds"]) if summary.get("seconds") else None],
    ]


def _groups(
    description: Mapping[str, Any], summary: Mapping[str, Any], phases: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """All settings, as titled lists of (term, text); the identity has what a preset stands for."""
    config, model = description["config"], description["model"]
    identity = description["identity"]
    listed = identity.get("augmentation", identity)  # before identities had sections, it stood among the rest
    resolved = {**config, **{name: value for name, value in listed.items() if name in config}}
    resolved["workers"] = summary.get("workers", config.get("workers"))
    resolved["objective"] = (description.get("objective") or {}).get("name")
    groups: list[tuple[str, Rows]] = [
        ("Model", _model_rows(config, model)),
        ("Images", image_rows(config, model, summary, description.get("images"))),
    ]
    for title, names in _SETTINGS.items():
        known = [(name, resolved[name]) for name in names if name in resolved]
        groups.append((title, [(name, _text(name, value)) for name, value in known if value is not None]))
    objective = (description.get("identity") or {}).get("objective") or {}
    if isinstance(objective, Mapping) and (own := [name for name in PRETRAINING if objective.get(name) is not None]):
        groups.insert(2, ("Pre-training", [(name, setting_text(objective[name])) for name in own]))
    if teacher := description.get("teacher"):
        groups.insert(2, ("Distillation", _teacher_rows(config, teacher)))
    if supernet := description.get("supernet"):
        groups.insert(2, ("Sub-networks", _supernet_rows(config, supernet)))
    if phases:
        schedule = [f"{phase['start']}:{phase['stride']}:{phase['dilation']}" for phase in phases]
        groups.append(("Re-tokenization", [("schedule", f"{', '.join(schedule)} (epoch:stride:dilation)")]))
    groups.append(("Made with", machine_rows(description)))
    return [{"title": title, "rows": rows} for title, rows in groups if rows]


def _teacher_rows(config: Mapping[str, Any], teacher: Mapping[str, Any]) -> Rows:
    known = "" if teacher.get("top1") is None else f", top-1 {percent(teacher['top1'])} after its own training"
    weights = "random, never trained" if teacher["is_random"] else f"{teacher['hash']}{known}"
    rows = [("teacher", f"{teacher['name']}, images of {teacher['img_size']} pixels"), ("its weights", weights)]
    rows += [("from", str(config["teacher"]))]
    return [*rows, *((name, setting_text(config[name])) for name in DISTILLATION if config.get(name) is not None)]


def _supernet_rows(config: Mapping[str, Any], supernet: Mapping[str, Any]) -> Rows:
    """How sub-networks are sampled, which are compared, and from which epoch on which choices are drawn from."""
    rows = [(name, setting_text(config[name])) for name in SUPERNET if config.get(name) is not None]
    rows += [(name, str(supernet[name])) for name in ("largest", "uniform", "smallest") if supernet.get(name)]
    return [*rows, *((f"from epoch {start + 1}", str(words)) for start, words in supernet.get("in_play", ()))]


def _text(name: str, value: Any) -> str:
    if name == "workers":
        return "none: trained in the driver's process" if value == 0 else shown(value)
    return setting_text(value)


def _model_rows(config: Mapping[str, Any], model: Mapping[str, Any]) -> Rows:
    settings = {name: value for name, value in (model.get("settings") or {}).items() if name not in model}
    rows = [("space", str(model["space"])), ("architecture", str(model.get("text") or config["architecture"]))]
    rows += [("parameters", f"{model['num_params']:,}"), ("MACs", f"{model['macs']:,} for one image")]
    rows.append(("weights", f"from {config['weights']}" if config.get("weights") else "initialised afresh"))
    return [*rows, *((name, shown(value)) for name, value in settings.items())]
