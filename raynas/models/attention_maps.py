"""What heads attend to, taken from any network whose attention is a softmax, or torch's fused function.

Nothing is asked of the network: its calls of the two are seen while it computes.

Tensor letters: B images, H heads, N tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from raynas.errors import ConfigError
from raynas.models.token_stages import TokenStages

_SOFTMAX = (Tensor.softmax, torch.softmax, F.softmax)


class _Recording(TorchFunctionMode):
    """Notes what attention has before its softmax."""

    def __init__(self, note: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self._note(_logits(*args, **kwargs))
        elif func in _SOFTMAX:
            given = args[0] if args else kwargs.get("input")
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            if isinstance(given, Tensor) and given.ndim >= 3 and dim in (-1, given.ndim - 1):
                self._note(given)
        return func(*args, **kwargs)


def _logits(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What torch's fused function has before its softmax."""
    logits = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.mT
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits


@contextmanager
def attention_noted(note: Callable[[Tensor], None]) -> Iterator[None]:
    """A context in which what each attention has before its softmax, (B, H, N, N), is noted when it is computed.

    Args:
        note: Called with it; gradients flow through. Other softmaxes over the last of three or more dimensions come.
    """
    with _Recording(note):
        yield


@contextmanager
def attention_logits() -> Iterator[list[Tensor]]:
    """A context that gives a list to which `attention_noted` adds what it notes."""
    found: list[Tensor] = []
    with attention_noted(found.append):
        yield found


def through_noting(
    stages: TokenStages, tokens: Tensor, blocks: Sequence[int], *, to_the_end: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """What blocks make of tokens, and the attention (B, H, N, N) of some of them, before the softmax.

    Args:
        stages: The parts of a network.
        tokens: (B, N, C) what stands before its first block.
        blocks: Numbers of the blocks whose attention is noted, from 0, ascending; one may be there several times.
        to_the_end: Whether to go through all blocks, and not only to the last of these.

    Returns:
        The output of the last block, or of the last of these, and the attention of each of these.

    Raises:
        ConfigError: A block has no attention that is seen.
    """
    noted: dict[int, Tensor] = {}
    done = 0
    for block in dict.fromkeys(blocks):
        tokens = stages.through(tokens, done, block)
        with attention_logits() as found:
            tokens = stages.through(tokens, block, block + 1)
        if not found:
            raise ConfigError(f"block {block} has no attention of a softmax")
        noted[block] = found[0]
        done = block + 1
    if to_the_end:
        tokens = stages.through(tokens, done)
    return tokens, [noted[block] for block in blocks]


@dataclass(frozen=True)
class TokenNetwork:
    """What a network of tokens is like.

    Args:
        side: Patches a side of its grid.
        prefix: How many tokens stand before those of patches.
        dim: Width of its tokens, C.
        heads: Number of heads of each block.
    """

    side: int
    prefix: int
    dim: int
    heads: tuple[int, ...]

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        return len(self.heads)


@torch.no_grad()
def looked_at(model: nn.Module, img_size: int) -> TokenNetwork:
    """What a network is like, by what it makes of an empty image; the network may be on the meta device.

    Args:
        model: The network, which is left in eval mode.
        img_size: Image side in pixels.

    Raises:
        ConfigError: It cannot be computed on some of its patches, they form no square, or a block has no attention.
    """
    stages = TokenStages(model.eval())
    device = next(model.parameters()).device
    tokens = stages.embedded(torch.zeros(1, 3, img_size, img_size, device=device))
    found = through_noting(stages, tokens, range(stages.depth))[1]
    return TokenNetwork(
        stages.grid_side(tokens), stages.prefix, tokens.shape[2], tuple(logits.shape[1] for logits in found)
    )
