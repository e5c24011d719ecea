"""Trainings against each other: finalists of a search, and variants of one training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import ArchitectureSource, own_space, source_text, space_name
from raynas.api.layers import base_values, check_address, laid_over, said_in_files
from raynas.api.trainings import Defaults, naming_record, what_to_train, with_defaults, with_images, with_weights
from raynas.errors import ConfigError
from raynas.finalists.config import KIND as FINALISTS
from raynas.finalists.config import FinalistsConfig
from raynas.recipes.reading import recipe_settings
from raynas.registry import runs_named_code
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run, kind_of, read_description
from raynas.storage.runs import default_folder
from raynas.storage.session import as_interrupted
from raynas.trials.folder import Trials, load_trials
from raynas.variants.config import KIND as VARIANTS
from raynas.variants.config import VariantsConfig

if TYPE_CHECKING:
    from raynas.trials.plan import TrialsPlan
    from raynas.trials.run import TrialsListener


@runs_named_code
def finalists(
    source: str | Path | None = None,
    *,
    space: str | SearchSpace | None = None,
    top: int | None = None,
    grace: int | None = None,
    reduction: int | None = None,
    halving: str | None = None,
    compare: str | None = None,
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: TrialsListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Trials:
    """Train the best architectures of a search against each other, as Ray Tune trials, most of them stopped early.

    They run on all nodes of the joined cluster that see the folder.

    Args:
        source: The folder of a search; None: that of the finalists in `out`.
        space: The space of the architectures, where it is not the search's; or a space of your own.
        top, grace, reduction, halving, compare: Fields of `raynas.finalists.config.FinalistsConfig`; None where nothing
            is said.
        config: A YAML file of fields of `raynas.training.config.TrainConfig`, which `fields` override.
        recipe: Published settings of trainings by their name (`raynas list recipes`), which all others override.
        out: The folder, which has a training folder for each finalist; default runs/finalists-<date>-<time>.
        resume: Continue the finalists in `out`, with their settings where none are given; start if there are none.
        listener: Receives progress; default: shown on standard error. `raynas.trials.run.TrialsListener()` is
            silent.
        trust_code: Argument with the meaning that it has in `train`.
        fields: Fields of `raynas.training.config.TrainConfig`, for all trainings; None where nothing is said.

    Returns:
        The finalists: their `summary` has them by accuracy. A training that failed raises nothing; the summary reports
        it, and it is tried again when the finalists are resumed.

    Raises:
        RaynasError: As for `train`.
    """
    base = base_values(FinalistsConfig, FINALISTS, config=None, out=out, resume=resume, given={})
    training = _with_files(base.get("training", {}), recipe, "train", config, fields)
    training, note = laid_over(training, fields), ""
    searched = as_path(source) if source is not None and holds_run(as_path(source)) else None
    if not base:
        training, note = with_images(with_weights(training, searched), searched)
    given: dict[str, Any] = {"source": None if source is None else source_text(source), "space": space_name(space)}
    given |= {"top": top, "grace": grace, "reduction": reduction, "halving": halving, "compare": compare}
    finalists_config = FinalistsConfig.make({**laid_over(base, given), "training": training})

    from raynas.finalists.plan import make_finalists_plan  # torch is behind it

    with naming_record(searched if note else None):
        plan = make_finalists_plan(finalists_config, space=own_space(space), resumed=_resumed(out, resume))
    return _tried(plan, out, resume, listener, note)


@runs_named_code
def variants(
    source: ArchitectureSource | SearchSpace | None = None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    space: str | SearchSpace | None = None,
    architecture: str | None = None,
    pick: Sequence[str] = (),
    trust_code: bool = False,
    **settings: Any,
) -> Trials:
    """Train one architecture under different settings, each combination of them as a Ray Tune trial.

    They run on all nodes of the joined cluster that see the folder.

    Args:
        source: What to train, in any form that `train` takes; None: that of the variants in `out`.
        vary: Values of fields of `raynas.training.config.TrainConfig` by name, such as {"lr": [1e-4, 1e-3]}; None:
            those of the variants in `out`.
        space, architecture, pick: Arguments with the meaning that they have in `train`.
        trust_code: Argument with the meaning that it has in `train`.
        settings: Further arguments of `finalists`: how variants are stopped early (none is, unless `halving` is given),
            where they go, and fields of `raynas.training.config.TrainConfig` that they have in common.

    Returns:
        The variants, as `finalists` returns them.

    Raises:
        RaynasError: As for `train`.
    """
    return varied({}, source, space, architecture, pick, vary=vary, **settings)


def kind_to_resume(out: str | Path | None, resume: bool) -> str | None:
    """The kind of the run in the folder to go on with; None if there is none."""
    if out is None or not resume or not holds_run(as_path(out)):
        return None
    return kind_of(read_description(as_path(out)))


def varied(
    defaults: Mapping[str, Any] | Defaults,
    source: ArchitectureSource | SearchSpace | None,
    space: str | SearchSpace | None = None,
    architecture: str | None = None,
    pick: Sequence[str] = (),
    *,
    vary: Mapping[str, Sequence[Any]] | None,
    grace: int | None = None,
    reduction: int | None = None,
    halving: str | None = None,
    command: str = "train",
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: TrialsListener | None = None,
    **fields: Any,
) -> Trials:
    """Train as `variants` does, with other defaults.

    Args:
        defaults: Fields in place of the configuration's own defaults, or what finds them.
        source, space, architecture, pick, config, recipe, out, resume, fields: What `train` takes.
        vary, grace, reduction, halving: Fields of `raynas.variants.config.VariantsConfig`.
        command: The command that a recipe must be for.
        listener: Receives progress; default: shown on standard error.
    """
    base = base_values(VariantsConfig, VARIANTS, config=None, out=out, resume=resume, given={})
    taken = {**base.get("vary", {})} if vary is None else {name: _as_list(values) for name, values in vary.items()}
    if both := [name for name in taken if fields.get(name) is not None]:
        raise ConfigError(f"{both[0]} is varied, and set for all variants: one of the two")
    training = _with_files(base.get("training", {}), recipe, command, config, fields)
    given, found, of_run = what_to_train(source, space, architecture, pick)
    training, note = laid_over(laid_over(training, given), fields), ""
    training = with_defaults({} if base else defaults, training, of_run)
    training = {name: value for name, value in training.items() if name not in taken}
    if not base:
        training = training if "weights" in taken else with_weights(training, of_run)
        training, note = with_images(training, of_run, taken)
    if "space" not in training:
        raise ConfigError(
            "say what to train: a space with --architecture, a genotype, an architecture's JSON, or a run"
        )
    said = {"vary": taken or None, "grace": grace, "reduction": reduction, "halving": halving}
    variants_config = VariantsConfig.make({**laid_over(base, said), "training": training})

    from raynas.variants.plan import make_variants_plan  # torch is behind it

    with naming_record(of_run if note else None):
        plan = make_variants_plan(variants_config, space=found or own_space(space), resumed=_resumed(out, resume))
    return _tried(plan, out, resume, listener, note)


def _resumed(out: str | Path | None, resume: bool) -> Path | None:
    """The folder of the trainings to go on with; None: there are none."""
    return as_path(out) if out is not None and resume else None


def _as_list(values: Any) -> Any:
    """Values of a setting as plain ones, of an array, too."""
    return values.tolist() if hasattr(values, "tolist") else values


def _with_files(
    base: Mapping[str, Any], recipe: str | None, command: str, config: str | Path | None, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of stored trainings, with those of a recipe and a file of settings of trainings over them.

    Args:
        base: Fields of TrainConfig.
        recipe: The name of the recipe.
        command: The command that it must be for.
        config: The file.
        fields: What will be laid over all of them.
    """
    over = said_in_files(recipe_settings(recipe, command), config)
    check_address(base.get("address"), {**fields, **over})
    return {**base, **over}


def _tried(
    plan: TrialsPlan, out: str | Path | None, resume: bool, listener: TrialsListener | None, note: str
) -> Trials:
    """Carry out trainings against each other, and read what came of them."""
    from raynas.console.trials import TrialsConsole  # torch is behind these
    from raynas.trials.run import execute_trials

    folder = as_path(out) if out is not None else default_folder(plan.kind)
    with as_interrupted(folder):
        execute_trials(plan, folder, resume=resume, listener=listener or TrialsConsole(), note=note)
        return load_trials(folder, plan.kind)
