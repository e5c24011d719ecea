"""num_params and macs of an architecture, from closed forms or, where a space has none, counted on the built model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from raynas.errors import RaynasError, SpaceError, error_line
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace

COSTS = {
    "num_params": "Number of parameters, as trained.",
    "macs": "Multiply-adds of one forward pass of one image.",
}
"""Costs by name, with what they are; lower is better. With closed forms they are known before scoring."""


def costs_of(space: SearchSpace) -> tuple[str, ...]:
    """Names of all costs of a space: those of `COSTS`, and what is more in this run."""
    return (*COSTS, *space.more_costs)


def closed_form(space: SearchSpace, name: str) -> Callable[[Architecture, int, int], float] | None:
    """The function (architecture, img_size, num_classes) -> cost of a space, by the cost's name; None without one."""
    if name in space.more_costs:
        return space.more_costs[name]
    return space.num_params if name == "num_params" else space.macs


def counted_costs(space: SearchSpace) -> tuple[str, ...]:
    """Names of the costs without a closed form, which only a built model tells."""
    return tuple(name for name in COSTS if closed_form(space, name) is None)


def cost(
    space: SearchSpace, architecture: Architecture, name: str, *, img_size: int, num_classes: int, **settings: Any
) -> int:
    """Number of trained parameters, or multiply-adds of one forward pass of one image.

    MACs count convolutions and matrix products, attention's included, with the true number of tokens; norms, biases,
    softmax and activations are left out.

    Args:
        space: The space whose closed form counts; without one, the model is built on the meta device and counted there.
        architecture: The architecture whose cost is counted.
        name: "num_params" or "macs".
        img_size: Side of the images in pixels.
        num_classes: Number of classes, which is the number of the head's outputs.
        settings: Settings of the model family's own by which a network has other layers, which no closed form knows:
            with any, the model is counted.

    Raises:
        SpaceError: There is no closed form, and the model cannot be built, or has no pass that can be counted.
    """
    closed = closed_form(space, name)
    if closed is not None and not settings:
        return int(closed(architecture, img_size, num_classes))
    from raynas.space.build import build, counted  # torch is needed only without a closed form

    try:
        make = partial(build, space, architecture, img_size=img_size, num_classes=num_classes, **settings)
        return counted(make, name, img_size)
    except RaynasError:
        raise
    except (Exception, SystemExit) as error:  # the model is the user's code
        raise SpaceError(f"{name} of {space.text(architecture)} cannot be counted: {error_line(error)}") from error
