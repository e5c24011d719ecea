"""What `raynas train` and `raynas distill` do: options to a plan, and its execution."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from raynas.cli.commands import write_run_report
from raynas.console.terminal import say
from raynas.errors import ConfigError, TrainingError
from raynas.finalists.config import FinalistsConfig
from raynas.finalists.folder import KIND as FINALISTS
from raynas.interruption import Interrupted
from raynas.registry import is_in_file
from raynas.space.registered import spaces
from raynas.storage.run_folder import kind_of, read_description
from raynas.storage.runs import default_folder
from raynas.storage.sources import read_source
from raynas.training.config import TrainConfig

DISTILLATION_DEFAULTS: Mapping[str, Any] = {"label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0}
"""In which locality guidance differs from other trainings (arXiv 2207.10026)."""


def train_command(
    source: str | None,
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    space: str | None,
    architecture: str | None,
    pick: Sequence[str],
    config: Path | None,
    out: Path | None,
    resume: bool,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Carry out `train`.

    Args:
        source: A space, or what `read_source` reads; None where a file or a stored training says it.
        options: Fields of TrainConfig; None where the user said nothing.
        settings: KEY=VALUE, of fields without an option of their own.
        space: Where several can read the source.
        architecture: Of the space that is the source.
        pick: Which member of a run that is the source.
        config: A YAML file that the options override.
        out: The training's folder; None for a new one.
        resume: Continue the training in it.
        defaults: Fields of TrainConfig in place of its own defaults.

    Raises:
        RaynasError: Bad input, before anything is started; or what fails later.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the training to continue")
    base = dict(defaults or {})
    if resume and out is not None and (out / "run.yaml").exists():
        description = read_description(out)
        if kind_of(description) != "training":
            raise ConfigError(f"{out} holds a run of the kind {kind_of(description)}, not a training")
        base = description["config"]
    if config is not None:
        base |= TrainConfig.read(config)
    given = {name: value for name, value in options.items() if value is not None}
    if source is not None:
        given = {**_what(source, space, architecture, pick), **given}
    elif architecture is not None or pick:
        raise ConfigError("--architecture and --pick need a SOURCE: a space, or a run")
    values = {**base, **given, **_read_settings(settings)}
    if "space" not in values:
        nothing = f"there is no training in {out} to continue; " if resume else ""
        raise ConfigError(
            f"{nothing}say what to train: a space with --architecture, a genotype, an architecture's JSON, or a run"
        )
    train_config = TrainConfig.make(values)

    from raynas.console.training import TrainingConsole, show_training
    from raynas.training.plan import make_training_plan
    from raynas.training.run import execute_training

    plan = make_training_plan(train_config)
    folder = out or default_folder(f"{plan.space.name}-training")
    try:
        with TrainingConsole() as listener:
            summary = execute_training(plan, folder, resume=resume, listener=listener)
        show_training(summary)
        write_run_report(folder)
        say(f"run folder {folder}")
    except (Interrupted, KeyboardInterrupt) as error:
        _say_how_to_go_on(folder)
        if isinstance(error, Interrupted):
            raise
        raise Interrupted(signal.SIGINT, folder) from None


def distill_command(source: str | None, options: Mapping[str, Any], settings: Sequence[str], **more: Any) -> None:
    """Carry out `distill`: a training with a teacher, whose defaults are those of locality guidance.

    Arguments are those of `train_command`.

    Raises:
        RaynasError: Bad input, before anything is started; or what fails later.
    """
    is_stored = more["config"] is not None or more["resume"]
    if options["teacher"] is None and not is_stored:
        raise ConfigError("say whom to learn from with --teacher: a training's folder or checkpoint, or timm:NAME:FILE")
    train_command(source, options, settings, **more, defaults=DISTILLATION_DEFAULTS)


def finalists_command(
    source: Path | None,
    options: Mapping[str, Any],
    settings: Sequence[str],
    choice: Mapping[str, Any],
    *,
    config: Path | None,
    out: Path | None,
    resume: bool,
) -> None:
    """Carry out `train --finalists`.

    Args:
        source: Folder of a search; None where a stored run says it.
        options, settings: As for `train_command`, for all trainings.
        choice: Fields of FinalistsConfig beside these; None where the user said nothing.
        config: A YAML file of fields of TrainConfig that the options override.
        out, resume: As for `train_command`.

    Raises:
        RaynasError: Bad input, before anything is started; what fails later; a training that failed, when all have
            ended.
    """
    base: dict[str, Any] = {}
    if resume and out is not None and (out / "run.yaml").exists():
        base = read_description(out)["config"]
    training = {**base.get("training", {})}
    if config is not None:
        training |= TrainConfig.read(config)
    training |= {name: value for name, value in options.items() if value is not None} | _read_settings(settings)
    given = {name: value for name, value in choice.items() if value is not None}
    if source is not None:
        given["source"] = str(source)

    from raynas.console.finalists import FinalistsConsole, show_finalists
    from raynas.finalists.run import execute_finalists, make_finalists_plan

    plan = make_finalists_plan(FinalistsConfig.make({**base, **given, "training": training}))
    folder = out or default_folder("finalists")
    try:
        summary = execute_finalists(plan, folder, resume=resume, listener=FinalistsConsole())
        show_finalists(summary)
        write_run_report(folder)
        say(f"run folder {folder}")
        if summary["error"]:
            raise TrainingError(f"{summary['error']}. They are tried again with: {_resuming(folder)}")
    except (Interrupted, KeyboardInterrupt) as error:
        _say_how_to_go_on(folder)
        if isinstance(error, Interrupted):
            raise
        raise Interrupted(signal.SIGINT, folder) from None


def is_finalists(out: Path | None, resume: bool) -> bool:
    """Whether the folder to go on with holds finalists."""
    return bool(resume and out and (out / "run.yaml").exists() and kind_of(read_description(out)) == FINALISTS)


def _say_how_to_go_on(folder: Path) -> None:
    if (folder / "run.yaml").exists():
        write_run_report(folder)
        say(f"continue with: {_resuming(folder)}")


def _resuming(folder: Path) -> str:
    return shlex.join(["raynas", "train", "--resume", "--out", str(folder)])


def _what(source: str, space: str | None, architecture: str | None, pick: Sequence[str]) -> dict[str, Any]:
    """Space, architecture and, of a run, its image side."""
    if is_in_file(source) or source in spaces:
        named = spaces.get(source).named
        if architecture is None:
            known = f", such as {', '.join(named)}" if named else ""
            raise ConfigError(
                f"{source} is a space: say with --architecture which of its architectures to train{known}"
            )
        return {"space": source, "architecture": architecture}
    if architecture is not None:
        raise ConfigError(f"--architecture goes with a space, not with {source!r}")
    found = read_source(source, space=space, pick=pick)
    size = {} if found.img_size is None else {"img_size": found.img_size}
    return {"space": spaces.reference(found.space), "architecture": found.architecture.to_json(), **size}


def _read_settings(texts: Sequence[str]) -> dict[str, Any]:
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise ConfigError(f"--set takes KEY=VALUE, such as mixup=0.2, not {text!r}")
        values[name] = yaml.safe_load(value)
    return values
