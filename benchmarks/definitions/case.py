"""One network to score by definitions, and what their loops share.

Letters: B images, N tokens, C channels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raynas.seeds import input_seed

Values = dict[str, float] | None


@dataclass
class Case:
    """One network and what it is scored on.

    Args:
        model: The network in eval mode and float64.
        attention, mlp, head: Names of the layers in these roles.
        final_norm: Name of the norm between the last block and the head; "" if there is none.
        blocks: Names of the blocks, or of the modules that give out a ConvNet's feature maps.
        prefix_tokens: Class tokens of a block's output; None: its output is a feature map (B, C, h, w).
        images, labels: (B, 3, S, S) and (B,).
        teacher: The last feature map of a teacher on the images, (B, C, h, w).
        pools_all_tokens: Whether the family's features are the mean over all tokens of the last block, and not what the
            head is given.
    """

    model: nn.Module
    attention: list[str]
    mlp: list[str]
    head: str
    final_norm: str
    blocks: list[str]
    prefix_tokens: int | None
    images: Tensor
    labels: Tensor
    teacher: Tensor
    pools_all_tokens: bool = False

    def in_eval(self) -> nn.Module:
        """A copy with gradients, even second ones, whose activations change nothing in place."""
        model = copy.deepcopy(self.model).eval().requires_grad_(True)
        for module in model.modules():
            if getattr(module, "inplace", False):
                module.inplace = False
            if hasattr(module, "fused_attn"):
                module.fused_attn = False  # which has no second derivatives
        return model

    def by_batch(self) -> nn.Module:
        """Such a copy with its BatchNorms in training mode, and nothing else."""
        model = self.in_eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        return model

    def rng(self) -> np.random.Generator:
        """The generator of noise and curves."""
        return np.random.default_rng(input_seed(0, 0))

    def noise(self, n: int) -> Tensor:
        """Standard normal images, (n, 3, S, S)."""
        return torch.tensor(self.rng().standard_normal((n, *self.images.shape[1:])))


def weights_of(model: nn.Module) -> list[nn.Module]:
    """All linear layers and convolutions."""
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy, image by image."""
    log_p = model(images).log_softmax(1)
    return -sum(log_p[i, label] for i, label in enumerate(labels.tolist())) / len(labels)


def left_out(model: nn.Module, kind: type[nn.Module]) -> None:
    """Put the identity in the place of all modules of a kind, with the activation that some of timm hold."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, kind):
                setattr(parent, name, nn.Identity())


@contextmanager
def outputs_of(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A context within which a mapping has the latest outputs of modules, by name."""
    found: dict[str, Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda m, args, out, name=name: found.__setitem__(name, out))
    yield found
