"""Where a network is looked at: what stands before each of its blocks, and what its head is given.

Of a transformer these are the outputs of each block's first norm, and the last block's output after the final norm
(of each token by itself, where the network pools before it), without prefix tokens: L + 1 points for L blocks, as in
arXiv 2205.14443. There, the last point of a purely pre-trained network is behind a fresh norm; here it is the trained
one. Of other networks, they are the outputs of what gives their feature maps.

Tensor letters: B images, N tokens, P prefix tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

from raynas.errors import ConfigError
from raynas.models.attention_maps import attention_noted
from raynas.models.attention_statistics import between_patches
from raynas.models.features import hooked
from raynas.models.roles import Block, roles_of


class Attention(NamedTuple):
    """The attention of a block: (B, H, L, L) between patches; and (B, H, P, L) of prefix tokens to patches."""

    patches: Tensor
    prefix: Tensor


class Seen(NamedTuple):
    """What a network makes of images.

    Args:
        tokens: What stands at each point, (B, N, C) without prefix tokens.
        attention: The attention of each block, if all their heads attend over a whole grid of patches; else nothing.
    """

    tokens: list[Tensor]
    attention: list[Attention]


class Points:
    """The points of a network.

    Args:
        model: The network, in eval mode.

    Attributes:
        names: A name for each point: the number of the block before which it stands, from 1, and "end".

    Raises:
        ConfigError: It is not known where the network's blocks are.
    """

    def __init__(self, model: nn.Module) -> None:
        roles = roles_of(model)
        if not roles.blocks:
            raise ConfigError(f"{type(model).__name__} does not say where its blocks are, and has nothing to look at")
        self._model = model
        self._blocks = roles.blocks
        norms = [getattr(block.module, "norm1", None) for block in roles.blocks]
        self._norms: list[nn.Module] = [norm for norm in norms if isinstance(norm, nn.Module)]
        are_blocks = all(block.middle is not None for block in roles.blocks)
        self._is_transformer = are_blocks and len(self._norms) == len(norms)
        self._final = roles.final_norms[0] if roles.final_norms else nn.Identity()
        self.prefix = roles.blocks[0].prefix_tokens
        numbers = [str(number) for number in range(1, len(norms) + 1)]
        self.names = [*numbers, "end"] if self._is_transformer else numbers

    def seen(self, images: Tensor, *, attention: bool = True) -> Seen:
        """What the network makes of images (B, 3, S, S), from one pass.

        Args:
            images: The images as the network takes them.
            attention: Whether attention is looked at.
        """
        found: dict[int, Any] = {}
        heads: list[Attention] = []

        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            found[id(module)] = output

        def note(logits: Tensor) -> None:
            # Attention within windows has more rows than there are images.
            between = between_patches(logits, self.prefix) if len(logits) == len(images) else None
            if between is not None:
                of_prefix = logits[:, :, : self.prefix, self.prefix :].float().softmax(-1)
                heads.append(Attention(between, of_prefix))

        modules = [*self._norms, self._blocks[-1].module] if self._is_transformer else [b.module for b in self._blocks]
        with ExitStack() as stack:
            stack.enter_context(hooked(modules, keep))
            if attention and self._is_transformer:
                stack.enter_context(attention_noted(note))
            self._model(images)
        if missing := [module for module in modules if id(module) not in found]:
            raise ConfigError(f"{type(self._model).__name__} never calls its {type(missing[0]).__name__}")
        outputs = [found[id(module)] for module in modules]
        return Seen(self._tokens(outputs), heads if len(heads) == len(self._blocks) else [])

    def _tokens(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        if not self._is_transformer:
            return [_without_prefix(block, output) for block, output in zip(self._blocks, outputs, strict=True)]
        *before, last = outputs
        tokens = [_without_prefix(block, output) for block, output in zip(self._blocks, before, strict=True)]
        return [*tokens, _without_prefix(self._blocks[-1], self._final(last))]


def _without_prefix(block: Block, output: Tensor) -> Tensor:
    """The tokens (B, N, C) of a grid."""
    if output.ndim == 2:  # pooled already
        return output[:, None]
    return block.tokens(output)[:, block.prefix_tokens if output.ndim == 3 else 0 :]
