"""Weight-sharing supernets: trained, then searched by inherited weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import source_text, space_name
from raynas.api.layers import base_values, laid_over, said_in_files
from raynas.api.searches import executed, supernet_space
from raynas.api.trainings import trained
from raynas.api.trials import varied
from raynas.errors import ConfigError
from raynas.recipes.reading import recipe_settings
from raynas.registry import runs_named_code
from raynas.searching.config import KIND, RunConfig
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run
from raynas.storage.runs import Run
from raynas.training.folder import Training, load_training
from raynas.trials.folder import Trials

if TYPE_CHECKING:
    from raynas.searching.run import SearchListener
    from raynas.training.run import TrainingListener

TRAINING_DEFAULTS: Mapping[str, Any] = {"objective": "supernet"}
"""Settings in which the training of a supernet differs from other trainings."""

SEARCH_DEFAULTS: Mapping[str, Any] = {"objectives": ("top1",), "budget": 3350, "compare": 20}
"""Settings in which a search of a supernet differs from others; the budget is the published one."""


@runs_named_code
def train_supernet(
    space: str | SearchSpace | None = None,
    *,
    largest: str | None = None,
    init: str | Path | None = None,
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: TrainingListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Training:
    """Train the members of a space in shared weights: each step trains several of them, in those of the largest one.

    A part of the images is left out of the training, spread over the classes, and the members are compared on it.

    Args:
        space: A registered name, or a space; None: that of the file or of the training in `out`.
        largest: The architecture of which all members are parts: JSON, the space's text or a published name. None: the
            one with the largest choices of the space.
        config: A YAML file of settings, which the other arguments override.
        recipe: Published settings by their name (`raynas list recipes`), which all other arguments override.
        out: The training's folder; default runs/<space>-training-<date>-<time>.
        resume: Continue the training in `out`, with its settings where none are given; start it if there is none.
        listener: Receives progress; default: shown on standard error.
        trust_code: Whether to run code that a folder names, and go on at an address that it names; what the arguments
            name is run anyway.
        fields: Fields of `raynas.training.config.TrainConfig`, such as data="parquet:train.parquet", subnets=2; None
            where nothing is said.

    Returns:
        The finished training; its model is the largest member.

    Raises:
        RaynasError: Bad input, before anything is started or written; or what fails later.
    """
    where = {"config": config, "recipe": recipe, "out": out, "resume": resume, "listener": listener}
    space, largest, settings = _largest(space, largest, init, {**where, **fields})
    return trained(TRAINING_DEFAULTS, space, None, largest, command="supernet train", **settings)


@runs_named_code
def supernet_variants(
    space: str | SearchSpace | None = None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    largest: str | None = None,
    init: str | Path | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Trials:
    """Train a supernet under different settings, each combination of them as a Ray Tune trial.

    They run on all nodes of the joined cluster that see the folder.

    Args:
        space, largest, init: Arguments with the meaning that they have in `train_supernet`.
        vary: Values of fields of `raynas.training.config.TrainConfig` by name, such as {"subnets": [1, 2, 4]}; None:
            those of the variants in `out`.
        trust_code: Argument with the meaning that it has in `train_supernet`.
        settings: Further arguments of `raynas.api.variants`.

    Returns:
        The variants, each a training of a supernet, compared by the accuracy of the largest member; the summary has
        those of the smallest and the uniform one, too.

    Raises:
        RaynasError: As for `train_supernet`.
    """
    space, largest, settings = _largest(space, largest, init, settings, varied=vary or ())
    return varied(TRAINING_DEFAULTS, space, None, largest, vary=vary, command="supernet train", **settings)


def _largest(
    space: str | SearchSpace | None,
    largest: str | None,
    init: str | Path | None,
    settings: Mapping[str, Any],
    varied: Collection[str] = (),
) -> tuple[str | SearchSpace | None, str | None, dict[str, Any]]:
    """The space, its largest network, and settings of a training, of which some follow from the weights to start from.

    Args:
        space, largest, init: Arguments of `train_supernet`.
        settings: Further arguments of it; the recipe and the file among them may name the space.
        varied: Fields that have several values, none of which follows from the weights.

    Raises:
        RaynasError: They do not go together, or there are no such weights.
    """
    settings = dict(settings)
    if init is not None:
        space, largest, weights = _start(str(init), space, largest)
        weights = {name: value for name, value in weights.items() if name not in varied}
        settings = {**settings, **weights, **{name: value for name, value in settings.items() if value is not None}}
    if space is None:
        said = said_in_files(recipe_settings(settings.get("recipe"), "supernet train"), settings.get("config"))
        if "space" in said and "architecture" not in said:
            space = str(said["space"])
    if space is None and largest is not None:
        raise ConfigError("--largest needs a space")
    if space is not None and largest is None:
        largest = (space if isinstance(space, SearchSpace) else spaces.get(space)).largest().to_json()
    return space, largest, settings


def _start(
    init: str, space: str | SearchSpace | None, largest: str | None
) -> tuple[str | SearchSpace | None, str | None, dict[str, Any]]:
    """The space, the largest network, and settings of a training that starts from trained weights.

    Raises:
        ConfigError: Neither the weights nor the arguments say what the largest network is.
        RaynasError: There are no such weights.
    """
    if init.strip().startswith("timm:"):
        from raynas.training.timm_weights import read_timm_vit  # torch is behind it

        return space or supernet_space(init), largest, {"weights": init, "img_size": read_timm_vit(init).img_size}
    folder = as_path(init)
    if not holds_run(folder):
        if space is None:
            raise ConfigError(f"--init {init} is a file of weights, which does not say of which space: name the space")
        return space, largest, {"weights": init}
    training = load_training(folder)
    model = training.description["model"]
    found = supernet_space(folder)
    if found == model["space"]:
        largest = largest or training.architecture.to_json()
    weights = str(folder / "checkpoints" / "last.pt")
    return space or found, largest, {"weights": weights, "img_size": int(model["img_size"])}


@runs_named_code
def search_supernet(
    source: str | Path | None = None,
    *,
    space: SearchSpace | None = None,
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    listener: SearchListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Run:
    """Search the members of a trained supernet by their accuracy with inherited weights.

    Args:
        source: The folder of the supernet's training, or of that of a network that contains others, such as one of the
            space `vit`; or timm:NAME:FILE, a plain vision transformer of timm with its weights. None: that of the file
            or of the run in `out`.
        space: The space itself, where it is not a registered one.
        config: A YAML file of settings, which the other arguments override.
        recipe: Published settings by their name (`raynas list recipes`), which all other arguments override.
        out: The run folder; default runs/<space>-<date>-<time>.
        resume: Continue the run in `out`, with its settings where none are given; start it if there is none.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        listener: Receives progress; default: shown on standard error.
        trust_code: Argument with the meaning that it has in `train_supernet`.
        fields: Fields of `raynas.searching.config.RunConfig`, such as constraints=["macs<=1.8e9"], workers=2; None
            where nothing is said.

    Returns:
        The finished run; its summary sets the winner beside the uniform network and random ones of the same cost.

    Raises:
        RaynasError: As for `train_supernet`.
    """
    said = recipe_settings(recipe, "supernet search")
    base = base_values(RunConfig, KIND, config=config, recipe=said, out=out, resume=resume, given=fields)
    given = {**fields, "supernet": None if source is None else source_text(source)}
    values = laid_over({**SEARCH_DEFAULTS, **base}, given)
    if values.get("supernet") is None:
        raise ConfigError(
            "say which supernet to search: the folder of its training, as `raynas supernet train` makes it"
        )
    values.setdefault("space", space_name(space) or supernet_space(values["supernet"]))
    run_config = RunConfig.make(values)

    from raynas.searching.plan import make_plan  # torch is behind it

    return executed("search", make_plan(run_config, space=space), out, resume, reuse, listener)
