"""Architecture to model, and counts on a model that has no closed forms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError, SpaceError, error_line
from raynas.space.architecture import Architecture
from raynas.space.registered import models
from raynas.space.search_space import SearchSpace

if TYPE_CHECKING:
    from torch import nn


def builder(space: SearchSpace) -> Callable[..., nn.Module]:
    """The callable that makes a space's models: (architecture, *, img_size, num_classes, ...) -> nn.Module."""
    return models.get(space.model) if isinstance(space.model, str) else space.model


def takes(space: SearchSpace, keyword: str) -> bool:
    """Whether the models of a space can be built with a keyword."""
    parameters = inspect.signature(builder(space)).parameters
    return keyword in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def build(
    space: SearchSpace, architecture: Architecture, *, img_size: int = 224, num_classes: int = 1000, **settings: Any
) -> nn.Module:
    """The model that an architecture stands for, initialised as for training.

    Args:
        space: The space that the architecture comes from.
        architecture: What is built; it is checked against the space's grammar.
        img_size: Side of the images in pixels.
        num_classes: Number of classes, which is the number of the head's outputs.
        settings: Settings of the model family's own, such as drop_path_rate.

    Raises:
        SpaceError: The architecture cannot be built: it is outside the grammar, or its builder fails.
    """
    space.validate(architecture)
    return built(builder(space), architecture, img_size=img_size, num_classes=num_classes, **settings)


def built(make: Callable[..., nn.Module], architecture: Architecture, **settings: Any) -> nn.Module:
    """What a builder makes of an architecture.

    Args:
        make: The builder of a space.
        architecture: What is built; it is not checked.
        settings: Keywords of the builder, img_size and num_classes among them.

    Raises:
        SpaceError: The builder fails; the message is one line.
    """
    try:
        return make(architecture, **settings)
    except RaynasError:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code
        raise SpaceError(f"{architecture.to_json()} cannot be built: {error_line(error)}") from error


def counted(make: Callable[[], nn.Module], name: str, img_size: int, in_chans: int = 3) -> int:
    """A cost of a model, counted without memory or arithmetic on the meta device.

    Args:
        make: Builds the model.
        name: "num_params", the number of trained parameters, or "macs", the multiply-adds of one forward pass.
        img_size: Side in pixels of the one image of that pass.
        in_chans: Number of channels of that image.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = make()
        if name == "num_params":
            return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            # Frozen, since torch's counter fails on a view of a parameter, such as an expanded class token.
            model.eval().requires_grad_(False)(torch.empty(1, in_chans, img_size, img_size))
    return int(counter.get_total_flops()) // 2
