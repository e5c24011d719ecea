"""Folders of evaluations with chosen outcomes, for tests of what is made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raynas.data.png import png_of
from raynas.evaluation.config import EvaluateConfig
from raynas.evaluation.folder import KIND
from raynas.evaluation.report import EvaluationReport, Predictions
from raynas.evaluation.run import class_accuracies
from raynas.evaluation.writing import write_folder
from raynas.stats.calibration import calibration_error
from raynas.stats.proportion import wilson_interval
from raynas.storage.run_folder import run_description


def drawn_predictions(classes: int, images: int, seed: int = 0) -> Predictions:
    """Of a network that is right about as often as it says, whose mistakes are mostly for the next class."""
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, classes, images))
    probabilities = np.clip(rng.beta(4, 1, images), 1.01 / classes, 1).astype(np.float32)
    is_right = rng.random(images) < probabilities - 0.05
    others = (labels + np.where(rng.random(images) < 0.6, 1, rng.integers(1, classes, images))) % classes
    predictions = np.where(is_right, labels, others)
    own = np.where(is_right, probabilities, (1 - probabilities) * rng.random(images)).astype(np.float32)
    names = tuple(f"{label}/image {number:04d}.png" for number, label in enumerate(labels))
    return Predictions(names, labels, predictions, probabilities, own)


def evaluation(predictions: Predictions, class_names: Sequence[str]) -> EvaluationReport:
    """What an evaluation with these predictions returns."""
    n, classes = len(predictions.names), len(class_names)
    top1 = float(predictions.is_correct.mean())
    low, high = wilson_interval(top1, n)
    known = np.isfinite(predictions.probabilities)
    error = calibration_error(predictions.probabilities[known], predictions.is_correct[known])
    return EvaluationReport(
        source="runs/trained",
        model="4,2,2|2,1,2|2,1,2|2,1,2|8,8",
        weights={"checkpoint": "last", "epochs": 3, "moving_average": False},
        data="folder:test",
        images=n,
        img_size=32,
        eval_crop=1.0,
        device="cpu",
        precision="float32",
        loss=0.6931,
        top1=top1,
        top1_low=float(low),
        top1_high=float(high),
        top5=min(1.0, top1 + 0.1) if classes > 5 else None,
        ece=error.value,
        ece_low=error.low,
        ece_high=error.high,
        ece_by_chance=error.by_chance,
        seconds=12.5,
        images_per_s=n / 12.5,
        classes=class_accuracies(predictions.labels, predictions.predictions, classes, tuple(class_names)),
        predictions=predictions,
    )


def evaluation_folder(
    folder: Path, predictions: Predictions, class_names: Sequence[str], *, is_finished: bool = True
) -> EvaluationReport:
    """Write a run folder as an evaluation does, with pictures of noise."""
    report = evaluation(predictions, class_names)
    config = EvaluateConfig.make({"data": "folder:test"})
    folder.mkdir(parents=True)
    identity = {"source": report.source, "weights": dict(report.weights), "data": report.data, "images": report.images,
                "seed": 0, "img_size": 32, "eval_crop": 1.0, "precision": "float32"}  # fmt: skip
    network = {"text": report.model, "num_classes": len(class_names), "class_names": list(class_names)}
    told = {"source": report.source, "space": None, "pick": []}
    command = "raynas evaluate runs/trained --data folder:test --out runs/test"
    more = {"command": command, "network": network, "device": "a processor"}
    (folder / "run.yaml").write_text(run_description(KIND, {**told, **config.model_dump()}, identity, **more))
    summary = {"kind": KIND, "status": "completed" if is_finished else "interrupted", "images": report.images,
               "images_done": report.images if is_finished else 0, "seconds": 12.5, "error": None}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    if is_finished:
        shown = {*predictions.most_wrong(24).tolist(), *predictions.least_certain(24).tolist()}
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        write_folder(report, [(position, png_of(np.roll(noise, position, 0))) for position in sorted(shown)], folder)
    return report
