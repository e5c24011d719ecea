"""Trainings, distillations and pre-trainings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from raynas.api.arguments import ArchitectureSource, own_space, source_text
from raynas.api.layers import base_values, laid_over
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError
from raynas.recipes.reading import recipe_settings
from raynas.registry import is_in_file, runs_named_code
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.storage.run_folder import kind_of, read_description
from raynas.storage.runs import default_folder
from raynas.storage.session import as_interrupted
from raynas.training.config import TrainConfig
from raynas.training.defaults import DISTILLATION_DEFAULTS, PRETRAINING_DEFAULTS
from raynas.training.folder import KIND as TRAINING
from raynas.training.folder import Training, load_training
from raynas.wording import meant, nearest

_OF_IMAGES = ("data", "val_data", *DataOptions.model_fields, "skipped_val_images")
"""Settings that say which images there are, and how they are read."""

Defaults: TypeAlias = Callable[[Mapping[str, Any], Path | None], Mapping[str, Any]]
"""Finds defaults of a command from fields of TrainConfig that something says, and the folder of the run that is trained
from, None if it is none."""

if TYPE_CHECKING:
    from raynas.training.run import TrainingListener


@runs_named_code
def train(
    source: ArchitectureSource | SearchSpace | None = None,
    *,
    space: str | SearchSpace | None = None,
    architecture: str | None = None,
    pick: Sequence[str] = (),
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: TrainingListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Training:
    """Train an architecture on images.

    Args:
        source: A run folder, a file with one architecture, or an architecture as a value, JSON or text; or a space, by
            its name or itself, of which `architecture` says what to train. None: what the file or the training in `out`
            says.
        space: The space of the source, where several spaces can read it; or a space of your own.
        architecture: An architecture of the space that is the source: JSON, the space's text or a published name.
        pick: Bounds that choose a member of a run folder, such as num_params<=30e6.
        config: A YAML file of settings, which the other arguments override.
        recipe: Published settings by their name (`raynas list recipes`), which all other arguments override.
        out: The training's folder; default runs/<space>-training-<date>-<time>.
        resume: Continue the training in `out`, with its settings where none are given; start it if there is none.
        listener: Receives progress; default: shown on standard error. `raynas.training.run.TrainingListener()` is
            silent.
        trust_code: Whether to run code that a folder names, such as that of the source, and go on at an address that it
            names; what the arguments name is run anyway.
        fields: Fields of `raynas.training.config.TrainConfig`, such as data="parquet:train.parquet", epochs=30; None
            where nothing is said. Without data, the images are those that the run that is the source records, else the
            digits.

    Returns:
        The finished training, with its metrics and its model.

    Raises:
        RaynasError: Bad input, before anything is started or written; or what fails later.
    """
    where: dict[str, Any] = {"config": config, "recipe": recipe, "out": out, "resume": resume, "listener": listener}
    return trained({}, source, space, architecture, pick, **where, **fields)


@runs_named_code
def distill(
    source: ArchitectureSource | SearchSpace | None = None,
    *,
    teacher: str | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Training:
    """Train an architecture on images and on what a trained network says of them.

    It is a training with a teacher, in which label smoothing, Mixup and CutMix are off unless they are given.

    Args:
        source: What to train, in any form that `train` takes.
        teacher: A training's folder or checkpoint, timm:NAME:FILE, or random:NAME; None: that of the file or of the
            training in `out`.
        trust_code: Argument with the meaning that it has in `train`.
        settings: Further arguments of `train`.

    Returns:
        The finished training.

    Raises:
        RaynasError: As for `train`; also if there is no teacher.
    """
    if teacher is None and settings.get("config") is None and not settings.get("resume"):
        raise ConfigError("say whom to learn from with --teacher: a training's folder or checkpoint, or timm:NAME:FILE")
    return trained(DISTILLATION_DEFAULTS, source, command="distill", teacher=teacher, **settings)


@runs_named_code
def pretrain(
    source: ArchitectureSource | SearchSpace | None = None,
    *,
    method: str | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Training:
    """Train an architecture on images without a look at their labels.

    Labels, where there are some, only tell the accuracy of nearest neighbours among the images to evaluate on.

    Args:
        source: What to train, in any form that `train` takes.
        method: One of `raynas.training.defaults.PRETRAINING_DEFAULTS`: mae, moco-v3, d-mae, d2-mae, tiny-mim, and for a
            space, whose largest architecture is taken unless another is named, supernet-mae and supernet-d-mae. None:
            that of the file, of the recipe or of the training in `out`.
        trust_code: Argument with the meaning that it has in `train`.
        settings: Further arguments of `train`, such as a teacher for d-mae, d2-mae and tiny-mim.

    Returns:
        The finished training.

    Raises:
        RaynasError: As for `train`; also if there is no method, or another one than `out` was made by.
    """
    if settings.get("objective") is not None:
        raise ConfigError("pretrain has methods in place of an objective: --method names one")
    if method is not None and method not in PRETRAINING_DEFAULTS:
        raise ConfigError(f"there is no method {method!r}.{meant(method, PRETRAINING_DEFAULTS)} {_METHODS}")
    said = {"method": method, **settings}
    if not any(said.get(name) is not None for name in ("method", "config", "recipe")) and not said.get("resume"):
        raise ConfigError(f"say how to pre-train with --method. {_METHODS}")
    if method is not None and method.startswith("supernet") and settings.get("architecture") is None:
        settings["architecture"] = _largest(source)
    return trained(_of_method, source, command="pretrain", objective=method, **settings)


def _largest(source: ArchitectureSource | SearchSpace | None) -> str | None:
    """The largest architecture of a space; None of what is none."""
    if isinstance(source, SearchSpace):
        return source.largest().to_json()
    text = None if source is None or isinstance(source, Mapping) else source_text(source)
    return spaces.get(text).largest().to_json() if text is not None and (is_in_file(text) or text in spaces) else None


_METHODS = f"Methods: {', '.join(PRETRAINING_DEFAULTS)}"


def _of_method(said: Mapping[str, Any], of_run: Path | None) -> Mapping[str, Any]:
    """Defaults of a pre-training, from all that is said of it."""
    method = str(said.get("objective") or "")
    if method not in PRETRAINING_DEFAULTS:
        raise ConfigError(f"{f'{method} is no method' if method else 'no method is named'}: --method is. {_METHODS}")
    return PRETRAINING_DEFAULTS[method]


def trained(
    defaults: Mapping[str, Any] | Defaults,
    source: ArchitectureSource | SearchSpace | None,
    space: str | SearchSpace | None = None,
    architecture: str | None = None,
    pick: Sequence[str] = (),
    *,
    command: str = "train",
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: TrainingListener | None = None,
    **fields: Any,
) -> Training:
    """Train as `train` does, with other defaults.

    Args:
        defaults: Fields in place of the configuration's own defaults, or what finds them.
        source, space, architecture, pick, config, recipe, out, resume, listener, fields: What `train` takes.
        command: The command that a recipe must be for.
    """
    said = recipe_settings(recipe, command)
    base = base_values(TrainConfig, TRAINING, config=config, recipe=said, out=out, resume=resume, given=fields)
    given, found, of_run = what_to_train(source, space, architecture, pick)
    values = with_defaults(defaults, laid_over(laid_over(base, given), fields), of_run)
    values, note = with_images(with_weights(values, of_run), of_run)
    if "space" not in values:
        nothing = f"there is no training in {out} to continue; " if resume else ""
        raise ConfigError(
            f"{nothing}say what to train: a space with --architecture, a genotype, an architecture's JSON, or a run"
        )
    train_config = TrainConfig.make(values)

    from raynas.console.training import TrainingConsole  # torch is behind these
    from raynas.training.image_record import read_record
    from raynas.training.plan import make_training_plan
    from raynas.training.run import execute_training

    record = read_record(as_path(out)) if resume and out is not None else None
    with naming_record(of_run if note else None):
        plan = make_training_plan(train_config, space=found or own_space(space), record=record)
    folder = as_path(out) if out is not None else default_folder(f"{plan.space.name}-training")
    with as_interrupted(folder), TrainingConsole() if listener is None else nullcontext(listener) as receiver:
        execute_training(plan, folder, resume=resume, listener=receiver, note=note)
        return load_training(folder)


def with_defaults(
    defaults: Mapping[str, Any] | Defaults, said: Mapping[str, Any], of_run: Path | None
) -> dict[str, Any]:
    """Settings with defaults where nothing is said.

    Args:
        defaults: The defaults, or what finds them.
        said: Fields of TrainConfig that something says.
        of_run: The folder of the run that is trained from; None: it is none.
    """
    return {**(defaults(said, of_run) if callable(defaults) else defaults), **said}


def of_space(space: str, name: str) -> bool:
    """Whether the models of a space can be built with a keyword.

    Raises:
        RaynasError: There is no such space, or its models cannot be imported.
    """
    from raynas.space.build import takes  # torch may be behind the models

    return takes(spaces.get(space), name)


def with_images(
    values: Mapping[str, Any], of_run: Path | None, varied: Collection[str] = ()
) -> tuple[dict[str, Any], str]:
    """Settings with those of the images that a run records, where nothing is said of them, and a line that says which.

    Args:
        values: Fields of TrainConfig.
        of_run: The folder of the run that is trained from; None: it is none.
        varied: Fields that have several values, none of which is among the others.

    Raises:
        StoreError: The run cannot be read.
    """
    if values.get("data") is not None or "data" in varied:
        return dict(values), ""
    recorded = {} if of_run is None else read_description(of_run)["config"]
    data, has_own = recorded.get("data"), values.get("val_data") or "val_data" in varied
    if not isinstance(data, str) or data == "random":
        return dict(values), "trains on digits, since nothing names other images: --data does"
    left_out = {*varied, *(["skipped_val_images"] if has_own else [])}
    names = [name for name in _OF_IMAGES if recorded.get(name) and name not in left_out]
    found = {**{name: recorded[name] for name in names}, **values}
    evaluated = f" and evaluates on {found['val_data']}" if found.get("val_data") else ""
    return found, f"trains on {data}{evaluated}, as {of_run} records it: --data names other images"


def with_weights(values: Mapping[str, Any], of_run: Path | None) -> dict[str, Any]:
    """Settings with the weights of the supernet that a run has searched, where they are to be inherited.

    Where those of an encoder are to be taken, they are the last ones of the training that is trained from.

    Args:
        values: Fields of TrainConfig.
        of_run: The folder of the run that is trained from; None: it is none.

    Raises:
        ConfigError: Weights are to be inherited or taken, and no file is named, nor a run that has them.
    """
    if str(values.get("weights_policy")).startswith("encoder") and values.get("weights") is None:
        if of_run is None or kind_of(read_description(of_run)) != TRAINING:
            raise ConfigError(
                f"weights_policy {values['weights_policy']} needs weights to start from: a training as SOURCE, or a "
                "file as --weights"
            )
        return {**values, "weights": str(checkpoint_file(of_run))}
    if values.get("weights_policy") != "inherited" or values.get("weights") is not None:
        return dict(values)
    supernet = None if of_run is None else read_description(of_run)["config"].get("supernet")
    if not isinstance(supernet, str):
        raise ConfigError(
            "weights_policy inherited needs a SOURCE that was found in a supernet, or the last checkpoint of one as "
            "--weights"
        )
    return {**values, "weights": str(checkpoint_file(as_path(supernet)))}


def checkpoint_file(folder: Path) -> Path:
    """The last checkpoint of a training."""
    return folder / "checkpoints" / "last.pt"


@contextmanager
def naming_record(of_run: Path | None) -> Iterator[None]:
    """A context in which images that cannot be used are said to be those that a run records.

    Raises:
        DataError: There are such images.
    """
    try:
        yield
    except DataError as error:
        if of_run is None:
            raise
        raise DataError(f"{error}; {of_run} records these images, and --data names others") from None


def what_to_train(
    source: ArchitectureSource | SearchSpace | None,
    space: str | SearchSpace | None,
    architecture: str | None,
    pick: Sequence[str],
) -> tuple[dict[str, Any], SearchSpace | None, Path | None]:
    """Fields of the configuration: space, architecture and, of a run, its image side; the space; the run's folder."""
    if source is None:
        if architecture is not None or pick:
            raise ConfigError("--architecture and --pick need a SOURCE: a space, or a run")
        return {}, None, None
    found: SearchSpace | None
    if isinstance(source, SearchSpace):
        text, found = spaces.reference(source), source
    else:
        text = source_text(source)
        is_space = not isinstance(source, Mapping) and (is_in_file(text) or text in spaces)
        found = spaces.get(text) if is_space else None
    if found is not None:
        if architecture is None:
            known = f", such as {', '.join(found.named)}" if found.named else ""
            raise ConfigError(f"{text} is a space: say with --architecture which of its architectures to train{known}")
        return {"space": text, "architecture": architecture}, found, None
    if architecture is not None:
        near = nearest(text, spaces)
        hint = f"; did you mean {near!r}?" if near is not None else ""
        raise ConfigError(f"--architecture goes with a space, not with {text!r}{hint}")

    from raynas.storage.sources import read_source

    taken = read_source(text, space=space, pick=pick)
    values = {"space": spaces.reference(taken.space), "architecture": taken.architecture.to_json()}
    return values | ({} if taken.img_size is None else {"img_size": taken.img_size}), taken.space, taken.folder
