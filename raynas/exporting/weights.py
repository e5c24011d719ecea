"""The weights of a model as a file keeps them: a tensor for each name, which of them are one, and a hash of all."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor, nn


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights by name, each with memory of its own, as safetensors asks for it.

    Args:
        model: The model; a tensor that stands in several places of it is copied for each of them.
    """
    taken: set[int] = set()
    found = {}
    for name, value in model.state_dict().items():
        place = value.untyped_storage().data_ptr()
        is_whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
        found[name] = value if is_whole and place not in taken else value.clone(memory_format=torch.contiguous_format)
        taken.add(place)
    return found


def tied_parameters(model: nn.Module) -> dict[str, str]:
    """The further names of each parameter that stands in several places, and the first one of each."""
    first: dict[int, str] = {}
    every = model.named_parameters(remove_duplicate=False)
    return {name: of for name, value in every if (of := first.setdefault(id(value), name)) != name}


def values_hash(weights: Mapping[str, Tensor]) -> str:
    """Eight hexadecimal digits that differ where names, shapes, types or values of weights differ.

    Args:
        weights: Tensors by name, in any order.
    """
    digest = blake2b(digest_size=4)
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
