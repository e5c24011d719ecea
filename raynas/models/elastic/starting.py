"""Starting a supernet from the weights of a network that was trained by itself: what matters most comes first.

Members have the first heads, MLP units and channels, so trained ones are put in order of their importance before the
supernet is trained on. The network computes what it computed before. Channels are ordered here and never again: in the
warm-up of a training, only heads and MLP units are (Liao 2021, arXiv 2109.00642).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from raynas.errors import SpaceError
from raynas.hooks import offered
from raynas.models.elastic.supernet import Supernet
from raynas.models.elastic.units import orders_of
from raynas.models.protocols import HasChannelUnits, HasUnits
from raynas.space.architecture import Architecture
from raynas.space.build import build
from raynas.space.search_space import SearchSpace


def ordered_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trained weights with the most important heads, MLP units and channels first; what they compute stays the same.

    Args:
        network: A network of their architecture, which says which of its parts may change places; it may be on the meta
            device. Of one that says nothing of its parts, all stay in their places.
        weights: The weights by name, such as a state dict; they are left as they are.
    """
    within, channels = offered(network, HasUnits), offered(network, HasChannelUnits)
    units = [*(within.units() if within else ()), *(channels.channel_units() if channels else ())]
    found = dict(weights)
    for name, dimension, order in orders_of(weights, units):
        found[name] = found[name].index_select(dimension, order.to(found[name].device))
    return found


def supernet_from(
    space: SearchSpace, weights: Mapping[str, Tensor], largest: Architecture | None = None, **settings: Any
) -> Supernet:
    """A supernet whose largest network computes what a trained network does, its most important parts first.

    Args:
        space: The space whose members share weights.
        weights: All weights of the trained network, by the names that they have in the space's largest network.
        largest: The architecture of the trained network; default: the largest choices of the space.
        settings: Keywords of the model, img_size and num_classes among them.

    Raises:
        SpaceError: The weights are those of another architecture; or a choice has no largest option.
    """
    architecture = largest or space.largest()
    whole = build(space, architecture, **settings)
    known = whole.state_dict()
    odd = [name for name in {**known, **weights} if _shape(known, name) != _shape(weights, name)]
    if odd:
        name = odd[0]
        raise SpaceError(
            f"the weights are those of another network than the largest of {space.name}: {name} is "
            f"{_shape(weights, name)} among them and {_shape(known, name)} in it"
        )
    whole.load_state_dict(ordered_weights(whole, weights))
    return Supernet(space, architecture, whole, settings)


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "missing"
