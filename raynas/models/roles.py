"""Which parts of a network play which role: told by the model, or known of timm's classes.

Proxies ask for roles and never look at names or shapes: a projection from 64 x heads to embed_dim is square by chance.
A model of one's own has a method `roles()`; of timm's models, the classes of the modules and the model's own accessors
tell. What stays unknown is empty, and a proxy that needs it is not applicable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

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
"""By the module of the model's class: blocks that run on all tokens of the image, with a norm2 between both parts."""


@dataclass(frozen=True)
class Block:
    """A module whose output is the state of the residual stream, or a feature map of a ConvNet.

    Args:
        module: Its output is (B, tokens, C), (B, h, w, C) or (B, C, h, w).
        middle: In a transformer block, the module that takes in the state after attention; None: not known.
        prefix_tokens: Class tokens and the like before the tokens of the grid, in (B, tokens, C).
        channels_first: The output is (B, C, h, w).
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
        attention: Linear layers of attention: queries, keys, values and the output projection.
        mlp: Linear layers (or 1 x 1 convolutions) of MLPs.
        head: Layers that give out logits.
        final_norms: Norms between the last block and the head.
        blocks: In order: transformer blocks, or what gives the feature maps of a ConvNet's stages.
    """

    attention: tuple[nn.Module, ...] = ()
    mlp: tuple[nn.Module, ...] = ()
    head: tuple[nn.Module, ...] = ()
    final_norms: tuple[nn.Module, ...] = ()
    blocks: tuple[Block, ...] = ()


def roles_of(model: nn.Module) -> Roles:
    """The roles that the model tells, or that timm's classes have in it."""
    own = getattr(model, "roles", None)
    if own is not None:
        found: Roles = own()
        return found
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
    """The role of a pre-norm block with the attributes norm1, attn, norm2 and mlp."""
    return Block(block, middle=block.norm2, prefix_tokens=prefix_tokens)  # type: ignore[arg-type]


def linear_layers(modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
    """The linear layers and convolutions in some modules."""
    return _layers(modules)


def _layers(modules: Iterable[nn.Module]) -> tuple[nn.Module, ...]:
    """Those that a module holds directly; what lies deeper, as the network of a position bias, has another role."""
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
    """timm calls them norm or fc_norm, of the model or of its head."""
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
