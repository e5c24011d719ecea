"""Saliencies of weights: sums over a network's weights of what a gradient says of each.

Those of the mean cross-entropy share one forward and one backward pass; those without data share the pass of ones
through absolute weights (`raynas.proxies.passes`). The weight set is that of Abdelfattah (2021, arXiv 2101.08134):
weights, not biases, of all linear layers and convolutions, the classifier's included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from raynas.errors import NotApplicableError
from raynas.models.roles import Roles
from raynas.proxies.passes import (
    AbsoluteGradients,
    absolute_gradients,
    labelled_gradients,
    loss_gradients,
    requiring_gradients,
    roles,
    sum_of_weight_norms,
    summed_loss,
    weight_layers,
)
from raynas.proxies.probe import Probe
from raynas.proxies.registered import RESTING, counts, proxy

ZERO_COST = "arXiv 2101.08134"


@proxy(
    "grad_norm",
    needs_images=True,
    needs_labels=True,
    paper=ZERO_COST,
    version=2,
    batch_norm="batch",
    departures=(RESTING,),
)
def grad_norm(probe: Probe) -> float:
    """Sum over layers of the norm of the gradient of the loss; higher is better."""
    found = probe.once(labelled_gradients)
    return float(sum(gradient.double().norm() for gradient in found.gradients))


@proxy(
    "snip",
    needs_images=True,
    needs_labels=True,
    paper="arXiv 1810.02340, arXiv 2101.08134",
    version=2,
    batch_norm="batch",
    departures=(RESTING,),
)
def snip(probe: Probe) -> float:
    """Sum over weights of |w * dL/dw| (Lee 2019); higher is better.

    The source has the gradient by a mask of ones, which is the same number.
    """
    found = probe.once(labelled_gradients)
    pairs = zip(found.layers, found.gradients, strict=True)
    return float(sum((layer.weight.detach() * g).abs().double().sum() for layer, g in pairs))


@proxy(
    "plain",
    needs_images=True,
    needs_labels=True,
    paper=ZERO_COST,
    version=2,
    batch_norm="batch",
    departures=(RESTING,),
)
def plain(probe: Probe) -> float:
    """Sum over weights of w * dL/dw, with its sign; higher is better."""
    found = probe.once(labelled_gradients)
    pairs = zip(found.layers, found.gradients, strict=True)
    return float(sum((layer.weight.detach().double() * g.double()).sum() for layer, g in pairs))


@proxy(
    "fisher",
    needs_images=True,
    needs_labels=True,
    paper="arXiv 1801.05787, arXiv 2101.08134",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "The sum is over tokens or pixels, and of one number for each channel; the code of the second source sums "
        "over the channels of tokens, and counts a number as often as a channel has weights: `fisher_compat`.",
    ),
)
def fisher(probe: Probe) -> float:
    """Sum over channels of half the mean square of activation times gradient (Theis 2018); higher is better.

    Activations are the outputs of linear layers and convolutions; the products are summed over tokens or pixels before
    they are squared. The code of the second source sums over the channels of tokens instead; that is `fisher_compat`.
    """
    return probe.once(labelled_gradients).fisher


@proxy(
    "fisher_compat",
    needs_images=True,
    needs_labels=True,
    paper=ZERO_COST,
    version=2,
    batch_norm="batch",
    departures=(RESTING,),
)
def fisher_compat(probe: Probe) -> float:
    """`fisher` as the source's code has it, which takes tokens for channels; higher is better.

    Products are summed over all axes from the third on, so a value is a token's where the layer works on tokens; and
    each value counts as often as an output channel has weights.
    """
    return probe.once(labelled_gradients).fisher_compat


@proxy(
    "l2_norm",
    paper=ZERO_COST,
    batch_norm="none",
    departures=(),
)
def l2_norm(probe: Probe) -> float:
    """Sum over layers of the norm of the weight; higher is better.

    At initialisation nearly a function of the layers' sizes. TVT's student capability is the same number.
    """
    return sum_of_weight_norms(probe.model)


@proxy(
    "grasp",
    needs_images=True,
    needs_labels=True,
    paper="arXiv 2002.07376, arXiv 2101.08134",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "The batch is that of the run, where the code of the second source takes one image of each class.",
    ),
)
def grasp(probe: Probe) -> float:
    """Minus the sum over weights of w * (H dL/dw), H the Hessian of the loss (Wang 2020); higher is better.

    With the sign of the second source's code, which also takes one image of each class; here it is the batch.
    """
    found = probe.once(labelled_gradients)
    weights = [layer.weight for layer in found.layers]
    n = len(probe.images)
    total = 0.0
    with requiring_gradients(weights):
        for part in probe.slices(n):
            gradients = torch.autograd.grad(summed_loss(probe, part) / n, weights, create_graph=True, allow_unused=True)
            product = sum(
                (g * whole).sum() for g, whole in zip(gradients, found.gradients, strict=True) if g is not None
            )
            if not isinstance(product, Tensor):
                raise NotApplicableError("needs a loss that depends on the weights")
            curved = _differentiated(product, weights)
            pairs = zip(weights, curved, strict=True)
            total -= sum(float((w.detach().double() * h.double()).sum()) for w, h in pairs if h is not None)
    return total


def _differentiated(product: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor | None]:
    try:
        return torch.autograd.grad(product, weights, allow_unused=True)
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise NotApplicableError(f"needs second derivatives: {error}") from None


@proxy(
    "zico",
    check=counts(batches=2),
    needs_images=True,
    needs_labels=True,
    paper="arXiv 2301.11300",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "Batches are parts of the run's batch, where the source has two whole batches of training images.",
        "It is ill-conditioned: a weight whose gradient nearly agrees in all batches counts by the rounding of their "
        "difference. At 32 pixels values in float32 are up to 0.5 % (transformers) and 2 % (ResNets) off those of "
        "`dtype` float64.",
    ),
)
def zico(probe: Probe, *, batches: int = 2) -> float:
    """Sum over layers of the log of the sum over weights of mean |g| over std g, across batches; higher is better.

    Li (2023). Weights whose gradient is the same in all batches are left out.

    Args:
        probe: The network, with at least as many labelled images as batches.
        batches: Number of parts that the images are cut into, at least 2.
    """
    images = probe.images
    if batches < 2 or len(images) < batches:
        raise NotApplicableError(f"needs at least 2 batches and as many images, got {batches} of {len(images)} images")
    weights = [layer.weight for layer in weight_layers(probe.model)]
    sums = [[torch.zeros_like(w) for w in weights] for _ in range(3)]  # of g, |g|, and g^2 around the first batch's
    first: list[Tensor] = []
    edges = [len(images) * i // batches for i in range(batches + 1)]
    for start, end in pairwise(edges):
        gradients = loss_gradients(probe, weights, slice(start, end))
        first = first or gradients
        for i, g in enumerate(gradients):
            shifted = g - first[i]
            sums[0][i] += shifted
            sums[1][i] += g.abs()
            sums[2][i] += shifted * shifted
    logs = []
    for shifted, absolute, squares in zip(*sums, strict=True):
        variance = (squares - shifted * shifted / batches) / batches
        varies = variance > 0
        total = (absolute[varies].double() / batches / variance[varies].double().sqrt()).sum()
        if total > 0:
            logs.append(float(total.log()))
    return sum(logs)


@proxy(
    "zico_layerwise",
    needs_images=True,
    needs_labels=True,
    paper="arXiv 2312.09059",
    version=2,
    batch_norm="batch",
    departures=(
        RESTING,
        "Means within the rounding of their terms count as 0: the source adds up the rounding errors.",
        "Parameters of a single number are left out, of which there is no deviation.",
    ),
)
def zico_layerwise(probe: Probe) -> float:
    """Log of the sum over layers of |mean g| over std g, moments over a layer's weights; higher is better.

    What the code of Auto-Prox (Wei 2024) has under the name of ZiCo. The mean of a layer's gradient is 0 where the
    layer follows or precedes a LayerNorm without scale and shift, as all do in a fresh pre-norm transformer, and the
    code's values are rounding errors there. Means within the rounding of their terms count as 0 here, and the score is
    not finite where all are.
    """
    gradients = [g.double() for g in probe.once(labelled_gradients).gradients if g.numel() > 1]
    means = [g.mean().abs() for g in gradients]
    eps = torch.finfo(probe.dtype).eps
    pairs = zip(gradients, means, strict=True)
    ratios = [mean / (g.std() + 1e-9) for g, mean in pairs if mean > eps * g.abs().mean()]
    return float(torch.stack(ratios).sum().log()) if ratios else -math.inf


# -- without data ------------------------------------------------------------------------------------------------------


@proxy(
    "synflow",
    dtype="float64",
    paper="arXiv 2006.05467, arXiv 2101.08134",
    batch_norm="left_out",
    departures=(RESTING,),
)
def synflow(probe: Probe) -> float:
    """Sum over weights of |w * dR/dw|, R the sum of the outputs for ones and absolute weights; higher is better.

    Tanaka (2020). As in the second source, all parameters and buffers get their absolute values, biases and norms
    too, and BatchNorms pass their input on.
    """
    found = probe.once(absolute_gradients)
    return float(sum((w * g).abs().sum() for w, g in zip(found.weights, found.gradients, strict=True)))


@proxy(
    "logsynflow",
    dtype="float64",
    paper="arXiv 2207.05135",
    batch_norm="left_out",
    departures=(
        RESTING,
        "1e-30 is added to a gradient before its logarithm, and weights without a gradient are left out, where the "
        "source is infinite.",
    ),
)
def logsynflow(probe: Probe) -> float:
    """Sum over weights of |w| * |log |dR/dw||, in the pass of `synflow`; higher is better.

    Our choice: the gradient's absolute value plus 1e-30 in the logarithm, and weights without any gradient left out.
    """
    found = probe.once(absolute_gradients)
    total = 0.0
    for weight, gradient in zip(found.weights, found.gradients, strict=True):
        logs = torch.where(gradient == 0, 0, (gradient.abs() + 1e-30).log().abs())
        total += float((weight * logs).sum())
    return total


@proxy(
    "dss",
    dtype="float64",
    paper="arXiv 2203.12217",
    batch_norm="left_out",
    departures=(
        RESTING,
        "The head counts once, where the released code adds it up twice.",
        "What is attention follows from the layer's role, where the code asks whether the layer is square.",
        "Passes are in float64, where the code has float32; nuclear norms agree with singular values to 1e-6.",
    ),
)
def dss(probe: Probe) -> float:
    """Diversity of attention plus saliency of MLPs and head, in the pass of `synflow`; higher is better.

    Zhou (2022): of each weight W of an attention layer, the nuclear norms of dR/dW and of |W| multiplied; of each
    weight of an MLP and of the head, the sum of |W * dR/dW|. Which is which follows from the layer's role, where the
    code looks for square layers; queries, keys and values are one matrix where they are one layer. Float64, where the
    code has float32.

    Raises:
        NotApplicableError: No attention, no MLP or no head is known.
    """
    found = probe.once(absolute_gradients)
    by_id = {id(layer): i for i, layer in enumerate(found.layers)}
    known = _whole_roles(probe)
    attention = [by_id[id(layer)] for layer in known.attention]
    others = [by_id[id(layer)] for layer in (*known.mlp, *known.head)]
    matrices = [t[i].flatten(1) for i in attention for t in (found.gradients, found.weights)]
    norms = nuclear_norms(matrices)
    diversity = sum(a * b for a, b in zip(norms[::2], norms[1::2], strict=True))
    return diversity + sum(float((found.weights[i] * found.gradients[i]).abs().sum()) for i in others)


@proxy(
    "autoprox_a",
    dtype="float64",
    paper="arXiv 2312.09059, arXiv 2501.03782",
    batch_norm="left_out",
    departures=(
        RESTING,
        "It is the repaired formula: of its 14 terms the released code keeps 2.",
        "The head counts once, and what is attention follows from the layer's role, as in `dss`.",
        "Means are over the number of gradients, to which the code adds 1e-9.",
        "Whether the formula is the one that the first source found is not certain: its code was not released.",
    ),
)
def autoprox_a(probe: Probe) -> float:
    """Absolute gradients of attention plus mean sigmoid of those of MLPs and head, in the pass of `synflow`.

    The proxy that Wei (2024) found, as the code of Ho (2024) has it; whether it is the same one is not certain. Higher
    is better.

    Raises:
        NotApplicableError: No attention, no MLP or no head is known.
    """
    found: AbsoluteGradients = probe.once(absolute_gradients)
    known = _whole_roles(probe)
    by_id = {id(layer): g for layer, g in zip(found.layers, found.gradients, strict=True)}
    attention = sum(float(by_id[id(layer)].abs().sum()) for layer in known.attention)
    return attention + sum(float(by_id[id(layer)].sigmoid().mean()) for layer in (*known.mlp, *known.head))


def _whole_roles(probe: Probe) -> Roles:
    known = roles(probe)
    lacking = [name for name in ("attention", "mlp", "head") if not getattr(known, name)]
    if lacking:
        raise NotApplicableError(
            f"needs the roles {', '.join(lacking)}, of which {type(probe.model).__name__} has none that are known"
        )
    return known


def nuclear_norms(matrices: Sequence[Tensor]) -> list[float]:
    """Sums of the singular values of matrices, by the eigenvalues of the smaller Gram matrix, equal sizes at once.

    In float64 they agree with a singular value decomposition to 1e-6 of the norm.
    """
    by_size: dict[int, list[int]] = {}
    for i, matrix in enumerate(matrices):
        by_size.setdefault(min(matrix.shape), []).append(i)
    norms = [0.0] * len(matrices)
    for numbers in by_size.values():
        grams = torch.stack([_smaller_gram(matrices[i].double()) for i in numbers])
        values = torch.linalg.eigvalsh(grams).clamp(min=0).sqrt().sum(1)
        for i, value in zip(numbers, values.tolist(), strict=True):
            norms[i] = value
    return norms


def _smaller_gram(matrix: Tensor) -> Tensor:
    rows, columns = matrix.shape
    return matrix @ matrix.T if rows <= columns else matrix.T @ matrix
