"""Which part of a large network's tensors a smaller one computes with: the first entries along each dimension."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from raynas.errors import SpaceError
from raynas.hooks import offered
from raynas.models.protocols import StacksParameters


def first_part(whole: Tensor, shape: torch.Size, stacked: int = 1) -> Tensor:
    """The first entries of a tensor along each dimension, as a view where there can be one.

    Args:
        whole: The tensor of the large network.
        shape: The shape of the part; no dimension is longer than that of the whole.
        stacked: How many tensors are stacked along the first dimension, such as 3 where queries, keys and values come
            from one layer; the first entries of each of them are taken.
    """
    if stacked == 1:
        return whole[tuple(map(slice, shape))]
    each = whole.view(stacked, -1, *whole.shape[1:])
    return each[tuple(map(slice, (stacked, shape[0] // stacked, *shape[1:])))].reshape(shape)


def stacked_parameters(model: nn.Module) -> dict[str, int]:
    """How many tensors are stacked in parameters of a model, by their names; those that are not named are one."""
    found = offered(model, StacksParameters)
    return {} if found is None else dict(found.stacked_parameters())


def parts_for(
    tensors: Mapping[str, Tensor], member: Iterable[tuple[str, Tensor]], stacked: Mapping[str, int]
) -> dict[str, Tensor]:
    """What a smaller network computes with, by the names that its own tensors have.

    Args:
        tensors: Parameters and buffers of the large network.
        member: Names and tensors of the smaller one, which only their shapes are taken of.
        stacked: How many tensors are stacked in a parameter, where that is more than one.

    Raises:
        SpaceError: The large network lacks a tensor, or has a smaller one; the message names it.
    """
    found = {}
    for name, like in member:
        whole = tensors.get(name)
        if whole is None:
            raise SpaceError(f"the largest network has no {name}, which a member has")
        if whole.shape == like.shape:
            found[name] = whole
        elif whole.ndim == like.ndim and all(map(int.__ge__, whole.shape, like.shape)):
            found[name] = first_part(whole, like.shape, stacked.get(name, 1))
        else:
            raise SpaceError(
                f"{name} of a member is {_shown(like)}, and no part of the largest network's, which is {_shown(whole)}"
            )
    return found


def _shown(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
