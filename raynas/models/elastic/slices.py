"""Which part of a large network's tensors a smaller one computes with: the first entries along each dimension."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    return _first_of_each(whole, shape, stacked).reshape(shape)


def _first_of_each(whole: Tensor, shape: torch.Size, stacked: int) -> Tensor:
    """The view that `first_part` is of; with a dimension for the number of what is stacked, where that is several."""
    if stacked == 1:
        return whole[tuple(map(slice, shape))]
    each = whole.view(stacked, -1, *whole.shape[1:])
    return each[tuple(map(slice, (stacked, shape[0] // stacked, *shape[1:])))]


class _Parts(torch.autograd.Function):
    """Parts of a tensor for several members, whose gradients are added up in place.

    Of plain slices, autograd would fill a gradient of the whole with zeros for each dimension of each part, and add all
    of them: several times what has to be read and written.
    """

    @staticmethod
    def forward(ctx: Any, whole: Tensor, stacked: int, *shapes: torch.Size) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.like, ctx.stacked, ctx.shapes = whole.detach(), stacked, shapes
        return tuple(first_part(whole, shape, stacked) for shape in shapes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        total = torch.zeros_like(ctx.like, memory_format=torch.contiguous_format)
        for shape, gradient in zip(ctx.shapes, gradients, strict=True):
            if gradient is not None:
                place = _first_of_each(total, shape, ctx.stacked)
                place.add_(gradient.reshape(place.shape))
        return total, None, *(None for _ in ctx.shapes)


def parts_for_members(
    tensors: Mapping[str, Tensor], members: Sequence[Sequence[tuple[str, Tensor]]], stacked: Mapping[str, int]
) -> list[dict[str, Tensor]]:
    """What several smaller networks compute with in one pass, each by the names of its own tensors; see `parts_for`."""
    found = [parts_for({name: whole.detach() for name, whole in tensors.items()}, one, stacked) for one in members]
    if not torch.is_grad_enabled():
        return found
    for name, whole in tensors.items():
        having = [parts for parts in found if name in parts]
        if not whole.requires_grad or not having:
            continue
        shapes = [parts[name].shape for parts in having]
        if all(shape == whole.shape for shape in shapes):
            given: Sequence[Tensor] = [whole] * len(having)
        else:
            given = _Parts.apply(whole, stacked.get(name, 1), *shapes)
        for parts, part in zip(having, given, strict=True):
            parts[name] = part
    return found


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
