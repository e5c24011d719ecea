"""Scores of what one forward pass activates: which units fire, and how rows of features correlate.

Letters: B images, N tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raynas.errors import NotApplicableError
from raynas.models.features import batch_norms, inputs_noted, without_inplace
from raynas.proxies.passes import block_outputs, head_inputs, noise, roles, weight_layers
from raynas.proxies.probe import Probe
from raynas.proxies.registered import RESTING, counts, proxy

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.GELU,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.SiLU,
    nn.Hardswish,
    nn.ELU,
    nn.Mish,
)


@dataclass(frozen=True)
class Firing:
    """Which units of the activation modules had a positive input.

    Args:
        agreement: (B, B) float64, for each two images the number of units that fire in both or in neither.
        units: Number of units of all modules together, for one image.
        positive: The fraction of positive inputs at each call of a module.
    """

    agreement: Tensor
    units: int
    positive: Sequence[float]


def firing(probe: Probe) -> Firing:
    """One forward pass of the images with hooks on the activation modules.

    Raises:
        NotApplicableError: There are none.
    """
    images = probe.images
    modules = [m for m in probe.model.modules() if isinstance(m, ACTIVATIONS) or _is_timms_activation(m)]
    codes: list[list[Tensor]] = []
    with without_inplace(probe.model), torch.no_grad():
        for part in probe.slices(len(images)):
            found: list[Tensor] = []

            def note(module: Any, given: Tensor, found: list[Tensor] = found) -> None:
                found.append((given > 0).flatten(1))

            with inputs_noted(modules, note):
                probe.model(images[part])
            codes.append(found)
    if not codes[0]:
        raise NotApplicableError(f"needs activation modules, of which {type(probe.model).__name__} calls none")
    layers = [torch.cat(pieces) for pieces in zip(*codes, strict=True)]
    agreement = torch.zeros(len(images), len(images), dtype=torch.float64)
    for layer in layers:
        # With signs s of +-1, agreeing minus disagreeing units are s s^T: exact, since counts stay below 2^24.
        signs = layer.to(torch.float32).mul_(2).sub_(1)
        agreement += (signs @ signs.T).double().cpu().add(layer.shape[1]).div(2)
    positive = [float(layer.double().mean()) for layer in layers]
    return Firing(agreement, sum(layer.shape[1] for layer in layers), positive)


def _is_timms_activation(module: nn.Module) -> bool:
    return type(module).__module__.startswith("timm.layers.activations")


@proxy(
    "naswot",
    init="normal",
    needs_images=True,
    paper="arXiv 2006.04647, arXiv 2312.09059",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "The first source has ReLU alone and the weights as they are; N(0, 1) weights and GELU are those of the "
        "second, whose code also leaves BatchNorm out.",
        "The value is minus infinity where two images fire the same units, of which the code takes the determinant's "
        "rounding.",
    ),
)
def naswot(probe: Probe) -> float:
    """Log determinant of the kernel of units that fire alike (Mellor 2021), in nats; higher is better.

    A unit fires where the input of its activation module is positive; with GELU as with ReLU. As in the code of the
    second source, weights are drawn from N(0, 1) and biases are 0.

    Returns:
        `naswot`; minus infinity where two images fire the same units.

    Raises:
        NotApplicableError: The network calls no activation modules.
    """
    kernel = probe.once(firing).agreement
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    # A determinant of whole numbers that is 0 comes out as rounding errors.
    if smallest <= len(kernel) * torch.finfo(torch.float64).eps * largest:
        return -float("inf")
    return float(torch.linalg.slogdet(kernel).logabsdet)


@proxy(
    "entropic_score",
    init="normal",
    needs_images=True,
    paper="arXiv 2310.04179",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "The definition is our reading of the source's name, not checked against the source.",
    ),
)
def entropic_score(probe: Probe) -> float:
    """Mean over activation modules of the entropy of firing, in nats, at most log 2; higher is better. Experimental.

    Our reading, not checked against the source: the binary entropy of the fraction of a module's units, over all
    images, that have a positive input.

    Raises:
        NotApplicableError: The network calls no activation modules.
    """
    fractions = np.clip(probe.once(firing).positive, 1e-12, 1 - 1e-12)
    return float(np.mean(-fractions * np.log(fractions) - (1 - fractions) * np.log1p(-fractions)))


@proxy(
    "entropy",
    check=counts(batch_size=1),
    init="normal",
    paper="arXiv 2312.09059",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "Class tokens are among the tokens of a block's output, where the code has its features without them.",
    ),
)
def entropy(probe: Probe, *, batch_size: int = 16) -> float:
    """Mean over blocks of log std plus log variance of the standardised output, for noise; higher is better.

    As the code of Auto-Prox has it; the second term is 0 by construction, up to 1e-9.

    Args:
        probe: The network; its images are not needed.
        batch_size: Number of standard normal images.
    """
    terms = []
    for output in _noise_outputs(probe, batch_size):
        values = output.double()
        std = values.std()
        terms.append(std.log() + (values / (std + 1e-9)).var().log())
    return float(torch.stack(terms).mean())


def _noise_outputs(probe: Probe, batch_size: int) -> list[Tensor]:
    images = noise(probe, batch_size)
    pieces = [block_outputs(probe, images[part]) for part in probe.slices(batch_size)]
    return [torch.cat(of_block) for of_block in zip(*pieces, strict=True)]


@proxy(
    "meco",
    paper="NeurIPS 2023, MeCo",
    version=2,
    batch_norm="batch",
    departures=(
        "Rows are the channels of the output of a block: the source takes the output of every module, and of tokens "
        "(N, C) its rows are the tokens.",
        "Negative eigenvalues, which are rounding errors, count as 0, and so does the smallest one of more rows than "
        "columns less one.",
        "The image has the run's size, where the code has 64 pixels.",
        RESTING,
    ),
)
def meco(probe: Probe) -> float:
    """Sum over blocks of the smallest eigenvalue of the correlation of channels, for noise; higher is better.

    Jiang (2023). One standard normal image; rows are the channels of a block's output, columns its tokens (our choice
    for transformers, where the source takes every layer of a ConvNet). With fewer tokens than channels, as in small
    images, every smallest eigenvalue is 0: see `meco_opt`.

    Raises:
        NotApplicableError: The network has no blocks that are known.
    """
    return sum(_smallest_eigenvalue(rows) for rows in _channel_rows(probe))


@proxy(
    "meco_opt",
    check=counts(rows=1),
    paper="NeurIPS 2023, MeCo; arXiv 2501.03782",
    version=2,
    batch_norm="batch",
    departures=(
        "As of `meco`; and of a block with fewer channels than rows are taken, all count, where the code multiplies "
        "by the number of channels over 8 even so.",
        "Blocks of one width have the same rows drawn, where the code draws anew for every module.",
        RESTING,
    ),
)
def meco_opt(probe: Probe, *, rows: int = 8) -> float:
    """`meco` with a few rows of every block, times the number of rows over those taken; higher is better.

    Args:
        probe: The network; its images are not needed.
        rows: Number of channels that are drawn of each block, the same ones for all blocks of a width.
    """
    total = 0.0
    for all_rows in _channel_rows(probe):
        count = len(all_rows)
        taken = probe.rng().permutation(count)[:rows].copy()
        total += _smallest_eigenvalue(all_rows[taken]) * count / len(taken)
    return total


def _channel_rows(probe: Probe) -> list[Tensor]:
    """The output of every block for one image of noise, as rows of channels, (C, N) float64 on the CPU."""
    return [output[0].T.double().cpu() for output in probe.once(_one_image_outputs)]


def _one_image_outputs(probe: Probe) -> list[Tensor]:
    return block_outputs(probe, noise(probe, 1))


def _smallest_eigenvalue(rows: Tensor) -> float:
    """The smallest eigenvalue of the rows' Pearson correlations; 0 where their rank says so.

    Rows without variance count as 0.
    """
    count, columns = rows.shape
    if count >= columns:  # centred rows of n columns span n - 1 dimensions at most
        return 0.0
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    unit = torch.where(norms > 0, centred / norms, 0)
    return float(torch.linalg.eigvalsh(unit @ unit.T)[0].clamp(min=0))


@proxy(
    "zen",
    check=counts(batch_size=1),
    init="normal",
    paper="arXiv 2102.01063",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "Features are those after pooling that the head is given; the first source has those before pooling.",
        "The variances of BatchNorm are those of the batch x, where the code has a running average of them, which "
        "starts at 1.",
        "The deviations of BatchNorm1d and BatchNorm3d count as those of BatchNorm2d.",
    ),
)
def zen(probe: Probe, *, batch_size: int = 16, mixing: float = 0.01) -> float:
    """Log of how far noise moves the features of noise, plus the logs of BatchNorm's deviations; higher is better.

    Lin (2021): the mean over images of the L1 distance between the head's inputs for x and for x + 0.01 e, with x and e
    standard normal, and N(0, 1) weights. BatchNorms, where a network has any, use the batch and add half the log of
    their mean variance, that of the batch where the code has a running average. LayerNorm saturates the first term.

    Args:
        probe: The network; its images are not needed.
        batch_size: Number of images x, and of images e.
        mixing: Factor by which e is multiplied before it is added to x.

    Raises:
        NotApplicableError: The network's head is not known.
    """
    both = noise(probe, 2 * batch_size)
    x, e = both[:batch_size], both[batch_size:]
    with _variances(probe.model) as variances, torch.no_grad():
        first = head_inputs(probe, x)
        variances_of_x = list(variances)
        second = head_inputs(probe, x + mixing * e)
    delta = (first - second).double().abs().sum(1).mean()
    return float(delta.log()) + sum(0.5 * float(v.double().mean().log()) for v in variances_of_x)


@contextmanager
def _variances(model: nn.Module) -> Iterator[list[Tensor]]:
    """A context within which a list has the variances, (C,), of what each BatchNorm is given, call by call."""
    found: list[Tensor] = []

    def note(module: Any, given: Tensor) -> None:
        axes = [axis for axis in range(given.ndim) if axis != 1]
        found.append(given.var(axes, unbiased=False))

    with inputs_noted(batch_norms(model), note):
        yield found


@proxy(
    "depth",
    batch_norm="none",
    departures=(),
)
def depth(probe: Probe) -> float:
    """Number of blocks; higher counts as better. A baseline.

    Raises:
        NotApplicableError: The network's blocks are not known.
    """
    blocks = roles(probe).blocks
    if not blocks:
        raise NotApplicableError(f"needs blocks, and those of {type(probe.model).__name__} are not known")
    return float(len(blocks))


@proxy(
    "width",
    batch_norm="none",
    departures=(),
)
def width(probe: Probe) -> float:
    """Inputs of the head; higher counts as better. A baseline.

    Raises:
        NotApplicableError: The network's head is not known.
    """
    heads = roles(probe).head
    if not heads:
        raise NotApplicableError(f"needs to know the head, which {type(probe.model).__name__} does not tell")
    return float(heads[0].weight.shape[1])  # type: ignore[index, union-attr, operator]


@proxy(
    "layer_width_sum",
    paper="arXiv 2312.09059",
    batch_norm="none",
    departures=(),
)
def layer_width_sum(probe: Probe) -> float:
    """Sum of the output widths of all linear layers and convolutions; higher counts as better. A baseline.

    The code of Auto-Prox calls it size.
    """
    return float(sum(layer.weight.shape[0] for layer in weight_layers(probe.model)))
