"""Condition number of the neural tangent kernel (Chen 2021, arXiv 2102.11535; Chen 2022, arXiv 2202.11921).

The kernel is the Gram matrix of one gradient per image. It is the sum over layers of the Gram matrices of the layers'
gradients, and for the usual layers those follow from the layer's inputs and the gradients of its outputs, which one
forward and one backward pass through the whole batch leave behind for all images at once.

Letters: B images, T positions at which a layer applies its weight, I and O inputs and outputs of a group of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import NotApplicableError
from raynas.models.features import features_of, hooked
from raynas.proxies.curve import measured
from raynas.proxies.passes import logits, noise, requiring_gradients
from raynas.proxies.probe import Probe
from raynas.proxies.registered import counts, proxy

_BY_IMAGE = (
    "BatchNorm normalises by its running averages, so that a gradient is one image's; the source leaves the network in "
    "training mode."
)


@proxy(
    "ntk_condition",
    higher_is_better=False,
    needs_images=True,
    paper="arXiv 2102.11535, arXiv 2202.11921",
    departures=(
        "One draw of the weights is taken, where the source averages five: set `repeats`.",
        "It is the draw of the curve scores, where the code draws linear layers anew between the two.",
        "A kernel without a condition number has no value, where the code has -1; eigenvalues are of float64.",
        _BY_IMAGE,
    ),
)
def ntk_condition(probe: Probe) -> float:
    """Condition number of the neural tangent kernel of the pooled features; lower is better.

    One gradient per image: of the sum of its pooled features before the final norm, by all parameters whose name
    contains "weight", with the LayerNorms in place. This is what the code of As-ViT measures; there a kernel without a
    condition number counts as -1, here it has no value.

    Args:
        probe: A network whose pooled features are known, which treats images one by one, and images (B, 3, img_size,
            img_size), B >= 2.

    Returns:
        `ntk_condition`, largest over smallest eigenvalue of the (B, B) kernel, at least 1. Infinite where the smallest
        is at most eps times the largest, with the eps of the network's dtype.

    Raises:
        NotApplicableError: There are no images, or one only, or the network's pooled features are not known.
    """
    return condition_number(probe.once(kernel), torch.finfo(probe.dtype).eps)


@proxy(
    "ntk_condition_logits",
    check=counts(batch_size=2),
    higher_is_better=False,
    paper="arXiv 2102.11535",
    departures=(
        "One draw of the weights is taken, where the source averages several: set `repeats`.",
        "The value is positive and lower is better, where the source turns its sign.",
        "A kernel without a condition number has no value; eigenvalues are of float64.",
        _BY_IMAGE,
    ),
)
def ntk_condition_logits(probe: Probe, *, batch_size: int = 16) -> float:
    """Condition number of the neural tangent kernel of the logits, for noise; lower is better.

    As TE-NAS (Chen 2021) has it: one gradient per image, of the sum of its logits, for standard normal images.

    Args:
        probe: The network; its images are not needed.
        batch_size: Number of standard normal images, at least 2.

    Returns:
        `ntk_condition_logits`, as `ntk_condition`.

    Raises:
        NotApplicableError: There is one image only, or the network returns no logits.
    """
    gram = gram_of_gradients(probe, noise(probe, batch_size), partial(logits, probe.model))
    return condition_number(gram, torch.finfo(probe.dtype).eps)


def condition_number(gram: Tensor, eps: float) -> float:
    """Largest over smallest eigenvalue of a symmetric matrix; infinite if that exceeds 1 / eps, NaN if it holds NaN."""
    if not gram.isfinite().all():
        return float("nan")
    eigenvalues = torch.linalg.eigvalsh(gram.double())
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    return largest / smallest if smallest > eps * largest else float("inf")


def kernel(probe: Probe) -> Tensor:
    """Gram matrix of the gradients of the sum of the pooled features of each image, (B, B), float64 on the CPU."""
    return gram_of_gradients(probe, probe.images, features_of(probe.model))


def gram_of_gradients(probe: Probe, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Gram matrix of the gradients of the sum of what a function makes of each image, (B, B), float64 on the CPU.

    A batch that must be split is passed once for every pair of slices, so that no more than two are held at a time.
    """
    if len(images) < 2:
        raise NotApplicableError(f"needs at least two images, got {len(images)}")
    slices = list(probe.slices(len(images)))
    gram = torch.zeros(len(images), len(images), dtype=torch.float64)
    with measured(probe.model, norms=True):
        for i, rows in enumerate(slices):
            first = _gradients(probe.model, function, images[rows])
            for columns in slices[i:]:
                second = first if columns == rows else _gradients(probe.model, function, images[columns])
                block = torch.stack([_gram(first[name], second[name]) for name in first]).sum(0).cpu()
                gram[rows, columns] = block
                gram[columns, rows] = block.T
    return gram


class _Factors(NamedTuple):
    """The gradient of image b by a weight is sum over t of outputs[b, :, t]^T inputs[b, :, t], group by group."""

    inputs: Tensor  # (B, groups, T, I)
    outputs: Tensor  # (B, groups, T, O)


_PIECE = 1 << 14

_Gradients = _Factors | Tensor  # a tensor is the gradient itself, (B, size of the weight)


def _gram(first: _Gradients, second: _Gradients) -> Tensor:
    """Products of all gradients of two slices, (B1, B2), by the cheaper order of contraction."""
    if isinstance(first, _Factors) and isinstance(second, _Factors):
        (b1, _, t, i), (b2, o) = first.inputs.shape, (len(second.inputs), second.outputs.shape[3])
        by_pairs = b1 * b2 * t * t * (i + o)
        by_gradients = (b1 + b2) * t * i * o + b1 * b2 * i * o
        if by_pairs < by_gradients:
            pairs = _pairs(first.inputs, second.inputs) * _pairs(first.outputs, second.outputs)
            return pairs.reshape(-1, b1, t, b2, t).sum((0, 2, 4)).double()
    rows = _explicit(first)
    columns = rows if second is first else _explicit(second)
    # Float32 products of millions of numbers lose three digits here; in pieces they lose none and take no longer.
    pieces = [slice(start, start + _PIECE) for start in range(0, rows.shape[1], _PIECE)]
    return torch.stack([rows[:, piece] @ columns[:, piece].T for piece in pieces]).double().sum(0)


def _pairs(first: Tensor, second: Tensor) -> Tensor:
    """(B1, groups, T, n) and (B2, groups, T, n) to (groups, B1 * T, B2 * T)."""
    return first.transpose(0, 1).flatten(1, 2) @ second.transpose(0, 1).flatten(1, 2).mT


def _explicit(gradients: _Gradients) -> Tensor:
    if isinstance(gradients, _Factors):
        return (gradients.outputs.mT @ gradients.inputs).flatten(1)
    return gradients


# -- one forward and one backward pass ---------------------------------------------------------------------------------

_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d, nn.LayerNorm)


class _Call(NamedTuple):
    """One call of a layer, with the versions of its tensors at that time."""

    module: Any
    input: Tensor
    output: Tensor
    versions: tuple[int, int]


def _gradients(model: nn.Module, function: Callable[[Tensor], Tensor], images: Tensor) -> dict[str, _Gradients]:
    """The images' gradients by every weight that they depend on, by the weight's name."""
    weights = {name: p for name, p in model.named_parameters() if "weight" in name}
    names = {id(p): name for name, p in weights.items()}
    layers = [m for m in model.modules() if isinstance(m, _LAYERS) and id(m._parameters.get("weight")) in names]
    calls: dict[str, list[_Call]] = {}

    def record(module: Any, args: tuple[Any, ...], output: Tensor) -> None:
        input = args[0] if args else torch.empty(0)
        call = _Call(module, input.detach(), output, (input._version, output._version))
        calls.setdefault(names[id(module.weight)], []).append(call)

    with hooked(layers, record), requiring_gradients(list(weights.values())):
        features = function(images)
        known = {name: made for name, made in calls.items() if all(_is_usual(call, len(images)) for call in made)}
        others = {name: p for name, p in weights.items() if name not in known}
        outputs = [call.output for made in known.values() for call in made]
        found = iter(torch.autograd.grad(features.sum(), [*outputs, *others.values()], allow_unused=True))
        of_calls = {name: [(call, next(found)) for call in made] for name, made in known.items()}
        used = {name: p for name, p in others.items() if next(found) is not None}
        gradients: dict[str, _Gradients] = dict(_one_by_one(function, images, used))
    for name, made in of_calls.items():
        parts = [_of_call(call, gradient) for call, gradient in made if gradient is not None]
        if parts:
            gradients[name] = _together(parts)
    return gradients


def _is_usual(call: _Call, batch: int) -> bool:
    """Whether the weight's gradient follows from the call's input and output in the way of its kind of layer."""
    module, x, y = call.module, call.input, call.output
    if (x._version, y._version) != call.versions or not y.requires_grad or len(x) != batch or len(y) != batch:
        return False  # changed in place afterwards, without a gradient, or not with one row per image
    if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        return False
    kind = next(kind for kind in _LAYERS if isinstance(module, kind))
    if type(module).forward is kind.forward and "forward" not in vars(module):
        return True
    with torch.no_grad():  # an own forward may still do the same
        try:
            expected = kind.forward(module, x)
        except RuntimeError:  # not even on inputs of this shape
            return False
        return expected.shape == y.shape and torch.allclose(expected, y, 1e-4, 1e-6)


def _of_call(call: _Call, gradient: Tensor) -> _Gradients:
    module, x, batch = call.module, call.input, len(call.input)
    if isinstance(module, nn.Linear):
        return _Factors(x.reshape(batch, 1, -1, x.shape[-1]), gradient.reshape(batch, 1, -1, gradient.shape[-1]))
    if isinstance(module, nn.Conv2d):
        padding: Any = module.padding
        patches = F.unfold(x, module.kernel_size, module.dilation, padding, module.stride)
        groups, positions = module.groups, patches.shape[-1]
        return _Factors(
            patches.reshape(batch, groups, -1, positions).mT, gradient.reshape(batch, groups, -1, positions).mT
        )
    normed = F.layer_norm(x, module.normalized_shape, eps=module.eps)
    return (gradient * normed).reshape(batch, -1, module.weight.numel()).sum(1)


def _together(parts: list[_Gradients]) -> _Gradients:
    """The sum of the gradients of several calls."""
    factors = [part for part in parts if isinstance(part, _Factors)]
    if len(factors) == len(parts):
        inputs, outputs = zip(*factors, strict=True)
        return _Factors(torch.cat(inputs, 2), torch.cat(outputs, 2)) if len(parts) > 1 else factors[0]
    return torch.stack([_explicit(part) for part in parts]).sum(0)


def _one_by_one(
    function: Callable[[Tensor], Tensor], images: Tensor, weights: dict[str, nn.Parameter]
) -> Iterator[tuple[str, Tensor]]:
    """Gradients by weights of which nothing is known, by one pass for each image."""
    if weights:
        parameters = list(weights.values())
        rows = [torch.autograd.grad(function(image[None]).sum(), parameters) for image in images]
        for name, column in zip(weights, zip(*rows, strict=True), strict=True):
            yield name, torch.stack([gradient.flatten() for gradient in column])
