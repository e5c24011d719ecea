"""Units of a network that may stand in any order: heads, MLP units, channels; and how the most important come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raynas.models.protocols import Place, Units


class UnitOrder(NamedTuple):
    """A new order of the units along one dimension of a parameter or buffer.

    Args:
        name: Name of the parameter or buffer, such as "blocks.0.mlp.fc1.weight".
        dim: The dimension along which its units lie.
        order: (entries,) the entry that comes to each new place.
    """

    name: str
    dim: int
    order: torch.Tensor


def block_units(name: str, block: nn.Module) -> list[Units]:
    """Heads and MLP units of a pre-norm transformer block.

    Args:
        name: The block's name in the network.
        block: A module with the parts attn (qkv, proj, num_heads) and mlp (fc1, fc2), linear layers with biases.
    """
    attn, mlp = f"{name}.attn", f"{name}.mlp"
    heads = (Place(f"{attn}.qkv.weight", 0, 3), Place(f"{attn}.qkv.bias", 0, 3), Place(f"{attn}.proj.weight", 1))
    hidden = (Place(f"{mlp}.fc1.weight", 0), Place(f"{mlp}.fc1.bias", 0), Place(f"{mlp}.fc2.weight", 1))
    return [
        Units("heads", block.attn.num_heads, heads),  # type: ignore[union-attr, arg-type]
        Units("MLP units", block.mlp.fc1.out_features, hidden),  # type: ignore[union-attr, arg-type]
    ]


def block_channels(name: str) -> list[Place]:
    """Where the channels of the tokens stand in a pre-norm transformer block.

    Args:
        name: The block's name in the network; its parts are norm1, attn (qkv, proj), norm2 and mlp (fc1, fc2), whose
            linear layers have biases.
    """
    into = [Place(f"{name}.{layer}.weight", 1) for layer in ("attn.qkv", "mlp.fc1")]
    others = ("norm1", "attn.proj", "norm2", "mlp.fc2")
    return into + [Place(f"{name}.{layer}.{kind}", 0) for layer in others for kind in ("weight", "bias")]


def stacked_qkv(model: nn.Module) -> dict[str, int]:
    """The parameters of layers named qkv, each of which are three tensors in one; see `StacksParameters`."""
    return {name: 3 for name, _ in model.named_parameters() if ".qkv." in name}


def importance(units: Units, tensors: Mapping[str, Tensor]) -> Tensor:
    """The sum of the absolute values of all that belongs to each unit, (count,) in float64.

    Args:
        units: The units.
        tensors: The parameters that they stand in, by name.
    """
    total = torch.zeros(units.number, dtype=torch.float64)
    for place in units.places:
        apart = _apart(tensors[place.name].detach(), place, units.number)
        total += apart.abs().double().sum((0, 1, *range(3, apart.ndim))).cpu()
    return total


def orders_by_importance(model: nn.Module, units: Iterable[Units]) -> list[UnitOrder]:
    """The orders in which the most important units come first; what the network computes stays as it is.

    Args:
        model: The network.
        units: Sets of units, as the network tells them; equally important ones keep their order.
    """
    return orders_of(dict(model.named_parameters()), units)


def orders_of(tensors: Mapping[str, Tensor], units: Iterable[Units]) -> list[UnitOrder]:
    """As `orders_by_importance`, of the parameters of a network by name."""
    found = []
    for one in units:
        order = torch.argsort(importance(one, tensors), descending=True, stable=True)
        for place in one.places:
            entries = torch.arange(tensors[place.name].shape[place.dimension])
            of_each = entries.view(place.stacked, one.number, -1)
            found.append(UnitOrder(place.name, place.dimension, of_each[:, order].flatten()))
    return found


def _apart(tensor: Tensor, place: Place, count: int) -> Tensor:
    """A view with dimensions (before, stacked, count, ...), of which the third is that of the units."""
    moved = tensor.movedim(place.dimension, 0) if place.dimension else tensor
    return moved.unflatten(0, (place.stacked, count, -1)).unsqueeze(0)  # type: ignore[no-untyped-call, no-any-return]
