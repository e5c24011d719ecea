"""What is done with trained networks: lines to copy on the pages of trainings, of several of them, and of evaluations.

Of a training that is not over there are none: its page says at its head how it is gone on with.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.config import option_words
from raynas.registry import is_in_file
from raynas.report.embedding import registered_space
from raynas.report.next_steps import how_long, step
from raynas.space.architecture import Architecture
from raynas.storage.run_folder import told_again
from raynas.training.best_epoch import top1_of
from raynas.training.config import WITHOUT_OPTION, TrainConfig

if TYPE_CHECKING:
    from raynas.evaluation.folder import StoredEvaluation
    from raynas.training.folder import Training

_MEASURE = "Measure how long it takes on this device"

_LONGER = 4
"""How many times the epochs of finalists the best of them is trained for."""

_MEMBERS = 400
"""Evaluations of a search of a supernet: some minutes for a small one."""

_NO_TEXT = ("betas", "retokenize")
"""Settings whose values in run.yaml are no texts that an option reads."""


def next_of_training(training: Training) -> dict[str, Any]:
    """The `next` of a training's page, with what `raynas.report.next_steps.next_steps` returns."""
    is_over = training.summary.get("status") == "completed" and _is_known(training)
    return {
        "folder": str(training.folder),
        "command": _command(training) if is_over else None,
        "steps": _steps(training, training.folder) if is_over else [],
    }


def next_of_trials(folder: Path, best: Training | None, kind: str) -> dict[str, Any]:
    """The `next` of a page of trainings side by side.

    Args:
        folder: The folder of the trainings.
        best: The most accurate of those that were trained to the end, which commands take of the folder; None: there is
            none yet.
        kind: finalists or variants.
    """
    steps = [] if best is None or not _is_known(best) else _steps(best, folder)
    if best is not None and steps and kind == "finalists":
        epochs = _LONGER * int(best.description["config"]["epochs"])
        what = f"Train the most accurate one longer, for {epochs} epochs"
        again = told_again({"space": best.description["model"]["space"]})
        words = ["train", folder, *_settings(best, epochs=epochs, warmup_epochs=None)]
        steps.append(step(what, *words, "--out", f"{folder}-longer", *again))
    return {"folder": str(folder), "command": None, "steps": steps}


def next_of_evaluation(stored: StoredEvaluation) -> dict[str, Any]:
    """The `next` of an evaluation's page."""
    config = stored.description["config"]
    of_source = [word for bound in config.get("pick") or () for word in ("--pick", bound)]
    of_source += ["--space", config["space"]] if config.get("space") else []
    of_source += ["--checkpoint", config["checkpoint"]] if config.get("checkpoint") else []
    of_source += ["--trust-code"] if config.get("trust_code") else []
    steps, command = [], None
    if stored.report is not None:
        source = config["source"]
        again = shlex.split(str(stored.description["command"]))
        command = shlex.join([*again[:-1], f"{stored.folder}-again"])  # what stands last is its own folder
        if int(config["shown_images"]):
            steps.append(_prediction(source, stored.folder, *of_source))
        steps.append(step(_MEASURE, "latency", source, *of_source))
    return {"folder": str(stored.folder), "command": command, "steps": steps}


def _prediction(source: object, evaluation: object, *more: object) -> dict[str, str]:
    """The line that says of which classes the images are that the page of an evaluation shows."""
    what = (
        "Name the classes of images without labels: of those that the evaluation shows, or of any folder in their place"
    )
    return step(what, "predict", source, "--images", f"{evaluation}/pictures", *more)


def _is_known(training: Training) -> bool:
    """Whether commands find the space of a training."""
    space = str(training.description["model"]["space"])
    return is_in_file(space) or registered_space(space) is not None


def _steps(training: Training, source: Path) -> list[dict[str, str]]:
    """What is done with a training that is over.

    Args:
        training: The training.
        source: The folder that commands take it from.
    """
    description = training.description
    space = registered_space(str(description["model"]["space"]))
    again = told_again({"space": description["model"]["space"]})
    rows = training.metrics.to_pylist()
    if not rows:
        return []
    if top1_of(rows[-1]) is None:
        return [] if description.get("supernet") else _of_pretraining(training, source, again)
    if description.get("supernet"):
        words = ("supernet", "search", training.folder, "-o", "top1", "-o", "macs:min", "--budget", _MEMBERS)
        return [step(f"Search its members, {_MEMBERS} of them", *words, "--out", f"{source}-search", *again)]
    evaluation, export = f"{source}-evaluation", f"{source}-export"
    evaluated = step(
        "Evaluate it: a page of its classes, mistakes and calibration", "evaluate", source, "--out", evaluation, *again
    )
    if space is None or not isinstance(space.model, str):  # models of one's own need not have code that leaves
        return [evaluated, _prediction(source, evaluation, *again), step(_MEASURE, "latency", source, *again)]
    exported = step("Export it as plain code and weights", "export", source, "--out", export, *again)
    return [exported, evaluated, _prediction(export, evaluation), step(_MEASURE, "latency", export)]


def _of_pretraining(training: Training, source: Path, again: list[str]) -> list[dict[str, str]]:
    """What is done with a network that was trained without labels."""
    config, description = training.description["config"], training.description
    has_labels = bool(description["model"].get("label_names"))
    data = ["--data", config["data"], *option_words(TrainConfig, config, ("image_column", "label_column"))]
    analysed = step(
        "See what it has learned: likeness of layers, attention", "analyze", source, *data, "--out",
        f"{source}-analysis", *again,
    )  # fmt: skip
    tuned = step(
        f"Train it on, with labels and a fresh head{how_long()}",
        "finetune",
        source,
        "--out",
        f"{source}-finetuned",
        *again,
    )
    return [tuned, analysed] if has_labels else [analysed]


def _command(training: Training) -> str:
    """What is typed for such a training, by whatever command it was made: all set fields of one configuration."""
    model = training.description["model"]
    architecture = Architecture(model["architecture"]).to_json()
    words = ["train", model["space"], "--architecture", architecture, *_settings(training)]
    return step("", *words, "--out", f"{training.folder}-again")["command"]


def _settings(training: Training, **changed: Any) -> list[str]:
    """Options for all settings of a training that are not as they are by default."""
    names = [name for name in TrainConfig.model_fields if name not in ("space", "architecture")]
    config = {**training.description["config"], **changed}
    return option_words(TrainConfig, config, names, by_set=(*WITHOUT_OPTION, *_NO_TEXT))
