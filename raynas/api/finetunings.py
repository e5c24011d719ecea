"""Fine-tuning of trained networks, and probes of what they know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import ArchitectureSource
from raynas.api.trainings import of_space, trained
from raynas.api.trials import varied
from raynas.errors import ConfigError
from raynas.registry import runs_named_code
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import read_description
from raynas.training.defaults import (
    CONTRAST_LAYER_DECAY,
    FINETUNING_DEFAULTS,
    PROBING_DEFAULTS,
    TAUGHT_FINETUNING_DEFAULTS,
)
from raynas.training.folder import Training

if TYPE_CHECKING:
    from raynas.trials.folder import Trials

METHODS: Mapping[str, Mapping[str, Any]] = {"full": FINETUNING_DEFAULTS, "linear": PROBING_DEFAULTS}
"""What is trained, all or the head alone, with the settings in which that differs from other trainings."""


@runs_named_code
def finetune(
    source: ArchitectureSource | SearchSpace | None = None,
    *,
    method: str | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Training:
    """Train a network on from the weights of a training, with a fresh head.

    Where models leave the choice, the head is given the mean over patches; with a teacher, a second head of the class
    token learns its most probable class, and what both say is averaged. The images are those that the training records,
    unless others are named.

    Args:
        source: The folder of a training, such as of a pre-training; or what `train` takes, with `weights`.
        method: full, all layers, earlier ones at lower learning rates; or linear, the head alone. None: full, or that
            of the training in `out`.
        trust_code: Argument with the meaning that it has in `train`.
        settings: Further arguments of `train`.

    Returns:
        The finished training.

    Raises:
        RaynasError: As for `train`; also if there are no weights to start from.
    """
    return trained(partial(_defaults, _checked(method)), source, command="finetune", **settings)


@runs_named_code
def finetuned_variants(
    source: ArchitectureSource | SearchSpace | None = None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    method: str | None = None,
    trust_code: bool = False,
    space: str | SearchSpace | None = None,
    architecture: str | None = None,
    pick: Sequence[str] = (),
    **settings: Any,
) -> Trials:
    """Fine-tune a network under different settings, each combination of them as a Ray Tune trial.

    Args:
        source, method: Arguments with the meaning that they have in `finetune`.
        vary: Values of fields of `raynas.training.config.TrainConfig` by name, such as {"label_fraction": [0.01, 0.1,
            1]} or {"data": ["folder:flowers", "folder:pets"]}; None: those of the variants in `out`.
        trust_code: Argument with the meaning that it has in `train`.
        space, architecture, pick: Arguments with the meaning that they have in `train`.
        settings: Further arguments of `raynas.api.variants`.

    Returns:
        The variants, as `raynas.api.finalists` returns them.

    Raises:
        RaynasError: As for `finetune`.
    """
    defaults = partial(_defaults, _checked(method))
    return varied(defaults, source, space, architecture, pick, vary=vary, command="finetune", **settings)


def _checked(method: str | None) -> str:
    if method is not None and method not in METHODS:
        raise ConfigError(f"there is no method {method!r}: it is one of {', '.join(METHODS)}")
    return method or "full"


def _defaults(method: str, said: Mapping[str, Any], of_run: Path | None) -> Mapping[str, Any]:
    """Defaults of a fine-tuning.

    Args:
        method: What is trained.
        said: Fields of TrainConfig that something says.
        of_run: The folder of the training that is the source; None: it is none.
    """
    found = dict(METHODS[method])
    if "layer_decay" in found and of_run is not None:
        objective = read_description(of_run).get("objective")
        if isinstance(objective, Mapping) and objective.get("name") == "moco-v3":
            found["layer_decay"] = CONTRAST_LAYER_DECAY
    is_taught = said.get("teacher") is not None
    if is_taught:
        found |= TAUGHT_FINETUNING_DEFAULTS
    if "pool" not in said and "space" in said and of_space(str(said["space"]), "pool"):
        found["pool"] = "both" if is_taught else "mean"
    return found
