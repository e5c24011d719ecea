"""The scores of AZ-NAS (Lee 2024, arXiv 2403.19232) on the states of the residual stream of a transformer.

One forward pass of noise, and one sweep backwards in which every part of the network is passed once: each sub-layer
maps a random gradient of its output to one of its input.

Letters: B images, N tokens, C channels, F_1 to F_2d the states after every attention and every MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.errors import NotApplicableError
from raynas.models.features import hooked, inputs_noted
from raynas.models.roles import Block
from raynas.proxies.passes import noise, roles
from raynas.proxies.probe import Probe
from raynas.proxies.registered import counts, proxy
from raynas.seeds import seed_from

_AT_ONCE = 16
"""Most images in a pass: a larger one takes memory and is no faster on CPUs."""


@proxy(
    "az_nas",
    check=counts(batch_size=1),
    outputs=("az_expressivity", "az_progressivity", "az_trainability"),
    paper="arXiv 2403.19232",
    departures=(
        "Eigenvalues below 0, which are rounding errors, count as 0, and covariances are added up in float64; the "
        "code has float32 and no bound.",
        "Random signs follow from the score seed, the repeat, the name az_nas and the number of the state, where the "
        "code draws them from the process's generator.",
        "Sub-layers that change the number of tokens or channels are left out, which the code refuses.",
        "`az_progressivity` is that of the paper and its ConvNets; the code for transformers does not use it.",
        "Complexity is not among the values: it is `macs`.",
    ),
)
def az_nas(probe: Probe, *, batch_size: int = 64) -> dict[str, float]:
    """Expressivity, progressivity and trainability of a transformer, for noise; higher is better.

    Their ranks are combined with those of `macs`: `raynas bench proxies --combine`.

    Args:
        probe: The network, of whose blocks it is known where the state after attention is; its images are not needed.
        batch_size: Number of standard normal images.

    Returns:
        `az_expressivity`: sum over the F_i of the entropy, in nats, of the spectrum of their channels' covariance.
        `az_progressivity`: least growth of that entropy from one F_i to the next; not in the source's setting for
        transformers, whose width does not grow.
        `az_trainability`: mean over i of 2 - s - 1 / s, at most 0, with s the largest singular value of g_in^T g_out /
        (BN), where g_out is a random sign for every number of F_i and g_in what it becomes at F_(i-1). Sub-layers that
        change the number of tokens or channels are left out, and those where both are equal (our choice and the
        source's).

    Raises:
        NotApplicableError: The network has no transformer blocks that are known.
    """
    entropies, singular_values = probe.once(state_statistics, batch_size=batch_size)
    values = {
        "az_expressivity": float(entropies.sum()),
        "az_progressivity": float((entropies[1:] - entropies[:-1]).min()),
        "az_trainability": float("nan"),
    }
    if len(singular_values):
        terms = 2 - singular_values - 1 / (singular_values + 1e-6)
        values["az_trainability"] = float(terms.mean())
    return values


def state_statistics(probe: Probe, *, batch_size: int) -> tuple[Tensor, Tensor]:
    """Entropies of all states, and singular values of all sub-layers that have one."""
    blocks = roles(probe).blocks
    if not blocks or any(block.middle is None for block in blocks):
        raise NotApplicableError(
            f"needs transformer blocks and the states between their parts, which {type(probe.model).__name__} lacks"
        )
    images = noise(probe, batch_size)
    step = min(batch_size, probe.max_batch or _AT_ONCE, _AT_ONCE)
    states = [SubLayerState(seed_from(probe.score_seed, probe.repeat, "az_nas", i)) for i in range(2 * len(blocks))]
    with torch.enable_grad():
        for start in range(0, batch_size, step):
            tensors = _states(probe.model, blocks, images[start : start + step])
            for state, tensor in zip(states, tensors, strict=True):
                state.add_features(tensor.detach())
            for i in range(len(states) - 1, 0, -1):
                states[i].add_gradients(tensors[i - 1], tensors[i])
                del tensors[i]  # and with it what was kept for its gradient
    entropies = _by_shape([state.covariance() for state in states], _entropy)
    products = [state.product / state.count for state in states if state.product is not None]
    return entropies, _by_shape(products, _largest_singular_value)


def _states(model: nn.Module, blocks: Sequence[Block], images: Tensor) -> list[Tensor]:
    """F_1 to F_2d, each (B, N, C), in one graph."""
    found: list[Tensor] = []
    called: list[nn.Module] = []

    def note(module: nn.Module, state: Tensor) -> None:
        called.append(module)
        found.append(state)

    middles = [block.middle for block in blocks if block.middle is not None]
    with (
        inputs_noted(middles, note),
        hooked([block.module for block in blocks], lambda module, args, output: note(module, output)),
    ):
        model(images.clone().requires_grad_(True))
    # In this order, too: else a block that is called twice would stand for one that is never called.
    if called != [part for block in blocks for part in (block.middle, block.module)]:
        raise NotApplicableError(
            f"needs blocks that {type(model).__name__} calls once in a pass each, in their order, and their parts too"
        )
    return found


class SubLayerState:
    """What is summed up of one F over the slices of the batch."""

    def __init__(self, seed: int) -> None:
        self._signs = np.random.default_rng(seed)
        self._sum: Any = 0.0
        self._squares: Any = 0.0
        self.count = 0
        self.product: Tensor | None = None

    def add_features(self, features: Tensor) -> None:
        """Take in the features (b, N, C) of some images of the batch, for the covariance of their channels."""
        rows = features.reshape(-1, features.shape[-1]).double()
        self._sum = self._sum + rows.sum(0)
        self._squares = self._squares + rows.T @ rows
        self.count += len(rows)

    def covariance(self) -> Tensor:
        """The covariance (C, C) of the channels over all tokens."""
        mean = self._sum / self.count
        covariance: Tensor = self._squares / self.count - torch.outer(mean, mean)
        return covariance

    def add_gradients(self, before: Tensor, after: Tensor) -> None:
        """Send random signs from this state back to the one before."""
        if before.shape != after.shape:
            return
        g_out = self._random_signs(after)
        (g_in,) = torch.autograd.grad(after, before, g_out)
        if torch.equal(g_in, g_out):
            return
        rows = after.shape[-1]
        product = g_in.reshape(-1, rows).double().T @ g_out.reshape(-1, rows).double()
        self.product = product if self.product is None else self.product + product

    def _random_signs(self, like: Tensor) -> Tensor:
        """Random signs, the same for an image however the batch is cut: whole words are drawn for each."""
        numel = like[0].numel()
        words = self._signs.integers(0, 2**64 - 1, (len(like), -(-numel // 64)), np.uint64, endpoint=True)
        bits = np.unpackbits(words.view(np.uint8), axis=1)[:, :numel]
        signs = torch.from_numpy(bits).to(like.device, like.dtype).mul_(2).sub_(1)
        return signs.reshape(like.shape)


def _by_shape(matrices: Sequence[Tensor], function: Any) -> Tensor:
    """A function of square matrices, (K, C, C) to (K,), on all matrices of a size at once; (len(matrices),)."""
    values = torch.zeros(len(matrices), dtype=torch.float64)
    for size in {len(matrix) for matrix in matrices}:
        numbers = [i for i, matrix in enumerate(matrices) if len(matrix) == size]
        values[numbers] = function(torch.stack([matrices[i] for i in numbers])).cpu()
    return values


def _entropy(covariances: Tensor) -> Tensor:
    eigenvalues = torch.linalg.eigvalsh(covariances).clamp(min=0)
    p = eigenvalues / eigenvalues.sum(1, keepdim=True)
    entropies: Tensor = -(p * (p + 1e-8).log()).sum(1)
    return entropies


def _largest_singular_value(products: Tensor) -> Tensor:
    largest: Tensor = torch.linalg.eigvalsh(products.mT @ products)[:, -1]
    return largest.clamp(min=0).sqrt()
