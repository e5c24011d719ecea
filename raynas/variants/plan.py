"""The variants of a training: all combinations of some of its settings, each checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from raynas.data.options import DataOptions
from raynas.errors import ConfigError, RaynasError
from raynas.space.search_space import SearchSpace
from raynas.training.config import TrainConfig
from raynas.training.image_choice import ChosenImages, choose_images
from raynas.training.plan import TrainingPlan
from raynas.trials.plan import Member, TrialsPlan, check_grace, record_of_any, trial_config, trial_plan
from raynas.variants.config import KIND, VariantsConfig
from raynas.wording import setting_text

_NAME_CHARACTERS = 60


def make_variants_plan(
    config: VariantsConfig, *, space: SearchSpace | None = None, resumed: Path | None = None
) -> TrialsPlan:
    """Make each combination of settings into a training, and check them all.

    Args:
        config: What was asked for; its `training` names the space and the architecture.
        space: The space itself, where it is neither registered nor in a file.
        resumed: The folder whose trainings are gone on with; None: they begin.

    Raises:
        RaynasError: As `raynas.training.plan.make_training_plan`; the message names the variant.
    """
    grid = [dict(zip(config.vary, values, strict=True)) for values in product(*config.vary.values())]
    made: dict[str, tuple[TrainConfig, dict[str, Any]]] = {}
    with_images: dict[str, list[str]] = {}  # names of variants by what chooses their images
    for number, given in enumerate(grid, start=1):
        with _naming(given):
            one = trial_config({**config.training, **given})
            settings = {name: getattr(one, name) for name in given}  # of the types that they are to have
            if any(settings == others for _, others in made.values()):
                raise ConfigError("it is there twice")
        name = f"{number:0{len(str(len(grid)))}d}-{file_name(settings)}"
        made[name] = one, settings
        with_images.setdefault(_what_chooses_images(one), []).append(name)
    members: list[Member] = []
    plans: dict[str, TrainingPlan] = {}
    images: dict[str, ChosenImages] = {}
    for name, (one, settings) in made.items():
        with _naming(settings):
            seen = _what_chooses_images(one)
            if seen not in images:
                images[seen] = choose_images(one, record_of_any(resumed, with_images[seen]))
            plans[name] = trial_plan(one, space=space, images=images[seen])
        members.append(Member(name, plans[name].architecture, _text(settings), settings=settings))
    first = next(iter(plans.values())).config
    used = ["space", "architecture", "image_choice"]
    if len(images) == 1:  # so that a file that is mended later changes nothing
        used += ["skipped_images", "skipped_val_images"]
    shared = {**config.training, **{name: getattr(first, name) for name in used if name not in config.vary}}
    vary = {name: tuple(dict.fromkeys(one.settings[name] for one in members)) for name in config.vary}
    made_plan = TrialsPlan(KIND, config.resolved(training=shared, vary=vary), members, plans)
    check_grace(made_plan)
    return made_plan


@contextmanager
def _naming(settings: Mapping[str, Any]) -> Iterator[None]:
    """A context whose errors begin with the variant that they are about."""
    try:
        yield
    except RaynasError as error:
        raise type(error)(f"variant {_text(settings)}: {error}") from None


def _what_chooses_images(config: TrainConfig) -> str:
    """What it follows from which images a training sees, in values that are equal where the images are."""
    names = ["data", "val_data", *DataOptions.model_fields, "skipped_val_images", "max_images", "max_val_images"]
    names += ["label_fraction"]
    if config.val_data is None:
        names += ["val_fraction", "image_choice", "seed"]
    elif config.max_images or config.max_val_images or config.label_fraction < 1:
        names += ["image_choice", "seed"]
    return repr([getattr(config, name) for name in names])


def _text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={setting_text(value)}" for name, value in settings.items())


def file_name(settings: Mapping[str, Any]) -> str:
    """The end of a variant's folder: its settings, in characters that every file system and store takes.

    Args:
        settings: What sets the variant apart, by name.
    """
    text = "-".join(f"{name}={setting_text(value)}" for name, value in settings.items())
    return re.sub(r"[^A-Za-z0-9.=_-]+", "_", text)[:_NAME_CHARACTERS]
