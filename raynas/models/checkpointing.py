"""Activations that are not kept for gradients, and computed again when these are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


class Blocks(nn.Sequential):
    """Blocks of a stage, one after another, which a network can checkpoint."""

    grad_checkpointing = False

    def forward(self, x: Any) -> Any:
        """What the last block gives."""
        for block in self:
            x = checkpointed(block, x) if self.grad_checkpointing else block(x)
        return x


def checkpointed(module: nn.Module, *given: Any) -> Any:
    """What a module gives; its activations are not kept, and computed again when gradients are asked for."""
    if not any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in module.modules()):
        return checkpoint(module, *given, use_reentrant=False)
    return checkpoint(module, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), _counted_once(module)))


@contextmanager
def _counted_once(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorms from taking a batch into their averages again, when it is computed again."""
    norms = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    before = [(one, one.momentum, one.num_batches_tracked) for one in norms]
    for norm, _, counted in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None if counted is None else counted.clone()
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted
