"""Weights that a training starts from: which of a file's are loaded, and how they are made to fit.

exact            all of the model's, and no others
encoder          all of the model's but its head's, which stays fresh, with a norm before it that the file lacks;
                 what else the file has, as a decoder or another head, is left out
resized          as exact, with position embeddings resized to the model's grid
encoder-resized  both
inherited        the first parts of the tensors of a supernet's largest network, as members of it have them
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from raynas.errors import ConfigError, SpaceError, StoreError, error_words
from raynas.hooks import offered
from raynas.models.elastic.slices import parts_for, stacked_parameters
from raynas.models.image_side import resized_positions
from raynas.models.protocols import AdaptsWeights
from raynas.models.roles import num_prefix_tokens, roles_of
from raynas.storage.fetched import on_this_machine
from raynas.storage.files import opened
from raynas.storage.paths import as_path
from raynas.training.checkpoints import check_weights
from raynas.training.config import WeightsPolicy
from raynas.training.timm_weights import name_and_file, read_given_weights, read_timm_vit

_OF_TIMM = "timm:"

POLICIES: tuple[str, ...] = get_args(WeightsPolicy)


def fitted_weights(
    model: nn.Module, weights: Mapping[str, torch.Tensor], policy: str, where: str, *, kept_blocks: int | None = None
) -> dict[str, torch.Tensor]:
    """The weights of a file that a model starts from.

    Args:
        model: The model, which may be on the meta device.
        weights: All weights of the file, by name.
        policy: What of the file is loaded, one of `POLICIES`.
        where: The file, for messages.
        kept_blocks: How many of the first blocks are loaded; None: all.

    Raises:
        ConfigError: The policy leaves the head out, and it is not known which layer that is; or there are fewer blocks.
        StoreError: The weights are those of another architecture.
    """
    expected = dict(model.state_dict())
    adapts = offered(model, AdaptsWeights)
    found = dict(weights if adapts is None else adapts.adapted_weights(weights))
    if policy == "inherited":
        try:
            found = parts_for(weights, expected.items(), stacked_parameters(model))
        except SpaceError as error:
            raise StoreError(f"{where} is of no supernet with this architecture: {error}") from None
    if policy.startswith("encoder"):
        heads = {id(module) for module in roles_of(model).head}
        prefixes = tuple(f"{name}." for name, module in model.named_modules() if id(module) in heads)
        if not prefixes:
            raise ConfigError(f"weights_policy {policy} leaves the head fresh, and {type(model).__name__} has none")
        # A norm behind the pooling, which a network that pools otherwise does not have, stays fresh with the head.
        norms = {id(module) for module in roles_of(model).final_norms}
        fresh = [f"{name}." for name, module in model.named_modules() if id(module) in norms]
        prefixes += tuple(one for one in fresh if not any(name.startswith(one) for name in found))
        expected = {name: value for name, value in expected.items() if not name.startswith(prefixes)}
        found = {name: value for name, value in found.items() if name in expected}
    if policy.endswith("resized"):
        for name, value in found.items():
            if name.rpartition(".")[2] == "pos_embed" and name in expected:
                found[name] = resized_positions(value, expected[name].shape, num_prefix_tokens(model))
    if kept_blocks is not None:
        later = _of_later_blocks(model, kept_blocks)
        expected = {name: value for name, value in expected.items() if name not in later}
        found = {name: value for name, value in found.items() if name not in later}
    check_weights(expected, found, where)
    return found


def _of_later_blocks(model: nn.Module, first: int) -> set[str]:
    """Names of what belongs to the blocks from a number on, and to the norms behind them.

    Raises:
        ConfigError: There are fewer blocks before it than that.
    """
    roles = roles_of(model)
    if first > len(roles.blocks):
        raise ConfigError(f"kept_blocks is {first}, and {type(model).__name__} has {len(roles.blocks)} blocks")
    later = [*(block.module for block in roles.blocks[first:])]
    later += roles.final_norms if later else ()
    ids = {id(value) for module in later for value in (*module.parameters(), *module.buffers())}
    return {name for name, value in (*model.named_parameters(), *model.named_buffers()) if id(value) in ids}


def weights_file(text: str) -> Path:
    """The file that a text names: its path, or that of timm:NAME:FILE.

    Raises:
        RaynasError: There is no such file, or timm:NAME:FILE is not complete.
    """
    if text.strip().startswith(_OF_TIMM):
        return name_and_file(f"weights {text!r}", text.strip().removeprefix(_OF_TIMM))[1]
    return as_path(text)


def weights_hash(text: str) -> str:
    """A hash of what the file holds that a text names.

    Raises:
        RaynasError: It cannot be read, or as `weights_file`.
    """
    path = weights_file(text)
    try:
        with opened(on_this_machine(path)) as file:
            digest = blake2b(digest_size=8)
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise StoreError(f"cannot read weights {path}: {error_words(error)}") from None
    return digest.hexdigest()


def absolute_text(text: str) -> str:
    """The same text with an absolute path, since workers start in other folders."""
    path = str(weights_file(text).absolute())
    if text.strip().startswith(_OF_TIMM):
        return f"{_OF_TIMM}{name_and_file(text, text.strip().removeprefix(_OF_TIMM))[0]}:{path}"
    return path


def read_starting_weights(text: str) -> dict[str, torch.Tensor]:
    """All weights that a text names: a file's, or those of a plain vision transformer of timm, timm:NAME:FILE.

    Raises:
        RaynasError: They cannot be read.
    """
    return read_timm_vit(text).weights if text.strip().startswith(_OF_TIMM) else read_given_weights(as_path(text))


def load_starting_weights(model: nn.Module, file: str, policy: str, *, kept_blocks: int | None = None) -> None:
    """Put the weights of a file into a model.

    Raises:
        RaynasError: As `read_weights` and `fitted_weights`.
    """
    fitted = fitted_weights(model, read_starting_weights(file), policy, file, kept_blocks=kept_blocks)
    model.load_state_dict({**model.state_dict(), **fitted})
