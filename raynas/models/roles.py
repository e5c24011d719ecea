"""Which parts of a network play which role: as the model says, or as it is known of timm's classes.

Proxies ask for roles and never look at names or shapes: a projection from 64 x heads to embed_dim is square by chance.
A model of one's own has a method `roles()`; of timm's models, the classes of the modules and the model's own accessors
say it. What stays unknown is empty, and a proxy that needs it is not applicable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from raynas.hooks import offered

_ATTENTION = {
    "Attention",
    "AttentionRope",
    "WindowAttention",
    "ClassAttn",
    "TalkingHeadAttn",
    "EvaAttention",
    "Attention2d",
    "MultiQueryAttentionV2",
    "MultiQueryAttention2d",
}
_MLP = {"Mlp", "GluMlp", "GatedMlp", "SwiGLU", "SwiGLUPacked", "ConvMlp", "GlobalResponseNormMlp"}
_PRE_NORM_BLOCKS = {
    "timm.models.vision_transformer": {"Block"},
    "timm.models.deit": {"Block"},
    "timm.models.pit": {"Block"},
    "timm.models.beit": {"Block"},
    "timm.models.eva": {"EvaBlock"},
    "timm.models.swin_transformer": {"SwinTransformerBlock"},
}
"""Classes of blocks that run on all tokens, with a norm2 between both parts, by the module of the model's class."""


@dataclass(frozen=True)
class Block:
    """A module whose output is the state of the residual stream, or a feature map of a ConvNet.

    Args:
        module: The block itself, whose output is (B, tokens, C), (B, h, w, C) or (B, C, h, w).
        middle: The module of a transformer block that takes in the state after attention; None: not known.
        prefix_tokens: Number of class tokens and the like that stand before the tokens of the grid, in (B, tokens, C).
        channels_first: Whether an output of four dimensions is (B, C, h, w), and not (B, h, w, C).
    """

    module: nn.Module
    middle: nn.Module | None = None
    prefix_tokens: int = 0
    channels_first: bool = False

    def feature_map(self, output: torch.Tensor) -> torch.Tensor:
        """The output as (B, C, h, w), without its prefix tokens; a grid of tokens is a square.

        Raises:
            ValueError: The tokens form no square.
        """
        if output.ndim == 4:
            return output if self.channels_first else output.permute(0, 3, 1, 2)
        tokens = output[:, self.prefix_tokens :]
        side = round(tokens.shape[1] ** 0.5)
        if side * side != tokens.shape[1]:
            raise ValueError(f"{tokens.shape[1]} tokens form no square grid")
        return tokens.mT.reshape(len(tokens), -1, side, side)

    def tokens(self, output: torch.Tensor) -> torch.Tensor:
        """The output as (B, tokens, C), prefix tokens included."""
        if output.ndim == 4:
            return output.flatten(2).mT if self.channels_first else output.flatten(1, 2)
        return output


@dataclass(frozen=True)
class Roles:
    """Modules by role; empty where a network has none, or none is known.

    Args:
        attention: The linear layers of attention: of queries, keys and values, and of the output.
        mlp: The linear layers, or 1 x 1 convolutions, of MLPs.
        head: The layers that give out logits.
        final_norms: The norms between the last block and the head.
        blocks: The transformer blocks in order, or what gives the feature maps of a ConvNet's stages.
    """

    attention: tuple[nn.Module, ...] = ()
    mlp: tuple[nn.Module, ...] = ()
    head: tuple[nn.Module, ...] = ()
    final_norms: tuple[nn.Module, ...] = ()
    blocks: tuple[Block, ...] = ()


@runtime_checkable
class HasRoles(Protocol):
    """A model that says which of its parts play which role, for scores that ask for roles."""

    def roles(self) -> Roles:
        """The model's parts by role."""
        ...


def roles_of(model: nn.Module) -> Roles:
    """The roles of a model's parts: those that it names itself, else those that timm's classes have in it.

    Raises:
        ConfigError: The model's `roles` is no method without arguments.
    """
    own = offered(model, HasRoles)
    if own is not None:
        return own.roles()
    attentions = [module for module in model.modules() if _is_timms(module, _ATTENTION)]
    mlps = [module for module in model.modules() if _is_timms(module, _MLP)]
    return Roles(
        attention=_layers(attentions),
        mlp=_layers(mlps),
        head=_head(model),
        final_norms=_final_norms(model),
        blocks=_transformer_blocks(model) or _stages(model),
    )


def block_roles(block: nn.Module, *, prefix_tokens: int = 0) -> Block:
    """The role of a pre-norm transformer block.

    Args:
        block: A module with the attributes norm1, attn, norm2 and mlp, which it goes through in this order.
        prefix_tokens: Number of class tokens and the like that stand before the tokens of the grid.
    """
    return Block(block, middle=block.norm2, prefix_tokens=prefix_tokens)  # type: ignore[arg-type]


def transformer_roles(
    blocks: Iterable[nn.Module], *, head: nn.Module, norm: nn.Module, prefix_tokens: int = 0
) -> Roles:
    """The roles of a network of blocks that have the parts attn and mlp.

    Args:
        blocks: The blocks, in the order in which they compute.
        head: The layer that gives the logits.
        norm: The norm before it.
        prefix_tokens: How many tokens stand before those of patches.
    """
    parts = list(blocks)
    return Roles(
        attention=linear_layers(block.attn for block in parts),  # type: ignore[misc]
        mlp=linear_layers(block.mlp for block in parts),  # type: ignore[misc]
        head=(head,),
        final_norms=(norm,),
        blocks=tuple(block_roles(block, prefix_tokens=prefix_tokens) for block in parts),
    )


def linear_layers(modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
    """The linear layers and convolutions in some modules."""
    return _layers(modules)


def _layers(modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
    """Layers that modules are or hold directly; what lies deeper, as the net of a position bias, has another role."""
    own = [child for module in modules for child in (module, *module.children())]
    return tuple({id(m): m for m in own if isinstance(m, nn.Linear | nn.Conv2d)}.values())


def _is_timms(module: nn.Module, names: set[str]) -> bool:
    return any(kind.__module__.startswith("timm.") and kind.__name__ in names for kind in type(module).__mro__)


def _head(model: nn.Module) -> tuple[nn.Module, ...]:
    if not hasattr(model, "get_classifier"):
        return ()
    found = model.get_classifier()  # type: ignore[operator]
    heads = found if isinstance(found, tuple | list) else (found,)
    return _layers(head for head in heads if isinstance(head, nn.Module))


def _final_norms(model: nn.Module) -> tuple[nn.Module, ...]:
    """The norms before the head, which timm calls norm or fc_norm, of the model or of its head."""
    if not hasattr(model, "get_classifier"):
        return ()
    places = [model, getattr(model, "head", None)]
    norms = [getattr(place, name, None) for place in places for name in ("norm", "fc_norm")]
    return tuple(norm for norm in norms if isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity))


def _transformer_blocks(model: nn.Module) -> tuple[Block, ...]:
    names = {name for kind in type(model).__mro__ for name in _PRE_NORM_BLOCKS.get(kind.__module__, ())}
    blocks = [module for module in model.modules() if _is_timms(module, names)]
    return tuple(block_roles(block, prefix_tokens=num_prefix_tokens(model)) for block in blocks)


def num_prefix_tokens(model: nn.Module) -> int:
    """How many tokens stand before those of the grid, such as a class token, as timm's models say it."""
    number = getattr(model, "num_prefix_tokens", None)
    if number is None:  # PiT has none, and keeps its class tokens in a parameter (1, tokens, C)
        token = getattr(model, "cls_token", None)
        number = token.shape[1] if isinstance(token, nn.Parameter) else 0
    return int(number)


def _stages(model: nn.Module) -> tuple[Block, ...]:
    """What timm lists as the feature maps of a ConvNet."""
    info = getattr(model, "feature_info", None)
    if not info:
        return ()
    modules = dict(model.named_modules())
    names = [entry["module"] for entry in info]
    return tuple(Block(modules[name], channels_first=True) for name in names if name in modules)
