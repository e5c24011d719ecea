"""num_params and macs of an architecture, from closed forms or, where a space has none, counted on the built model."""

from __future__ import annotations

from functools import partial

from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace

COSTS = {
    "num_params": "Number of parameters, as trained.",
    "macs": "Multiply-adds of one forward pass of one image.",
}
"""Costs by name, with what they are; they are known before scoring, and lower is better."""


def cost(space: SearchSpace, architecture: Architecture, name: str, *, img_size: int, num_classes: int) -> int:
    """Number of trained parameters, or multiply-adds of one forward pass of one image.

    MACs count convolutions and matrix products, attention's included, with the true number of tokens; norms, biases,
    softmax and activations are left out.

    Args:
        space: The space whose closed form counts; without one, the model is built on the meta device and counted there.
        architecture: The architecture whose cost is counted.
        name: "num_params" or "macs".
        img_size: Side of the images in pixels.
        num_classes: Number of classes, which is the number of the head's outputs.
    """
    closed_form = space.num_params if name == "num_params" else space.macs
    if closed_form is not None:
        return closed_form(architecture, img_size, num_classes)
    from raynas.space.build import build, counted  # torch is needed only without a closed form

    return counted(partial(build, space, architecture, img_size=img_size, num_classes=num_classes), name, img_size)
