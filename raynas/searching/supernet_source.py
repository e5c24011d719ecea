"""The network whose members are searched: a trained supernet, or any trained network that contains all of a space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from raynas.errors import ConfigError, SpaceError
from raynas.models.elastic.starting import ordered_weights
from raynas.models.elastic.supernet import Supernet
from raynas.space.architecture import Architecture
from raynas.space.build import builder, built
from raynas.space.registered import space_of_parts, spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.storage.run_folder import reading
from raynas.training.checkpoints import check_weights, checkpoint_folder, read_last, trained_weights
from raynas.training.config import TrainConfig
from raynas.training.folder import Training, load_training
from raynas.training.timm_weights import name_and_file, read_timm_vit


@dataclass(frozen=True)
class SupernetSource:
    """A network with its weights, of which the members of a space are parts.

    Args:
        text: What names it: the absolute path of a training's folder, or timm:NAME:FILE with that of the file.
        space: The space of its members.
        largest: The architecture of the network.
        settings: Keywords with which it is built, img_size and num_classes among them.
        weights: The network's parameters and buffers by name.
        training: The training; None: the weights are a file of another program's.
    """

    text: str
    space: SearchSpace
    largest: Architecture
    settings: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    training: Training | None

    @property
    def train_config(self) -> TrainConfig | None:
        """How it was trained; None where that is not known."""
        if self.training is None:
            return None
        with reading(self.training.folder):
            return TrainConfig.make(TrainConfig.of_stored(dict(self.training.description["config"])))


def read_supernet(text: str, space: SearchSpace | None = None) -> SupernetSource:
    """Read a network whose members are to be searched.

    Of what was not trained as a supernet, the most important heads, MLP units and channels are put first, which leaves
    what it computes as it is.

    Args:
        text: The folder of a training, or timm:NAME:FILE.
        space: The space itself, where it is not a registered one.

    Raises:
        ConfigError: The members of the space are no parts of the network.
        StoreError: There is no such training, or its weights cannot be read.
    """
    if text.strip().startswith("timm:"):
        found = read_timm_vit(text)
        space = space or space_of_parts(spaces.get("vit"), found.text)
        settings = {"img_size": found.img_size, "num_classes": found.num_classes, **space.training}
        name, file = name_and_file(f"supernet {text!r}", text.strip().removeprefix("timm:"))
        return _checked(
            SupernetSource(f"timm:{name}:{file.absolute()}", space, space.largest(), settings, found.weights, None),
            is_ordered=False,
        )
    training = load_training(as_path(text))
    with reading(training.folder):
        model = training.description["model"]
        own = space or spaces.get(model["space"])
        settings, largest = dict(model["settings"]), training.architecture
        if own.parts:
            own = space_of_parts(own, str(model["text"]))
        if set(largest) != set(own.fields):
            largest = own.largest()
            settings = {**{name: settings[name] for name in ("img_size", "num_classes")}, **own.training}
        is_ordered = training.description["objective"]["name"] == "supernet"
    weights = trained_weights(read_last(training.folder))
    return _checked(
        SupernetSource(str(as_path(text).absolute()), own, largest, settings, weights, training), is_ordered=is_ordered
    )


def _checked(source: SupernetSource, *, is_ordered: bool) -> SupernetSource:
    """A source whose members are parts of it, the most important ones first.

    Raises:
        ConfigError: They are none.
        StoreError: The weights are those of another network.
    """
    space, largest, settings = source.space, source.largest, source.settings
    space.validate(largest)
    with torch.device("meta"):
        whole = built(builder(space), largest, **settings)
    where = source.text if source.training is None else str(checkpoint_folder(source.training.folder))
    check_weights(whole, source.weights, where)
    try:
        Supernet(space, largest, whole, settings).check_members()
    except SpaceError as error:
        raise ConfigError(
            f"{source.text} holds a network of which the members of {space.name} are no parts, so that they cannot be "
            f"searched in it: {error}"
        ) from None
    weights = source.weights if is_ordered else ordered_weights(whole, source.weights)
    return SupernetSource(source.text, space, largest, settings, weights, source.training)
