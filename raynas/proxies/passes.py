"""Passes through a network that several proxies share, and what they are made of.

Gradients are those of the weights (not the biases) of all linear layers and convolutions, the classifier's included:
the weight set of the zero-cost proxies (Abdelfattah 2021, arXiv 2101.08134).

Letters: B images, N tokens, C channels, O and I outputs and inputs of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import NotApplicableError
from raynas.models import features
from raynas.models.feature_maps import with_outputs
from raynas.models.features import batch_norms, hooked, left_out, without_inplace
from raynas.models.roles import Roles, roles_of
from raynas.proxies.probe import Probe

Layer = nn.Linear | nn.Conv2d


def weight_layers(model: nn.Module) -> list[Any]:
    """All linear layers and convolutions, each weight once, in the order of the modules."""
    found = {id(m.weight): m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear | nn.Conv2d)}
    return list(reversed(found.values()))


def sum_of_weight_norms(model: nn.Module) -> float:
    """Frobenius norms of the weights of all linear layers and convolutions added up."""
    weights = [layer.weight.detach() for layer in weight_layers(model)]
    return math.fsum(float(torch.linalg.vector_norm(weight, dtype=torch.float64)) for weight in weights)


def roles(probe: Probe) -> Roles:
    """The roles of the network's parts."""
    return roles_of(probe.model)


@contextmanager
def requiring_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """A context within which frozen parameters have gradients."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


# -- first-order saliencies --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelledGradients:
    """What one forward and backward pass of the mean cross-entropy leaves behind.

    Args:
        layers: All linear layers and convolutions, each weight once.
        gradients: Gradients of the loss by the layers' weights, in their order; zeros where a weight has no effect.
        fisher: The sum over layers and channels of half the mean over images of (sum over tokens of a * dL/da)^2, a a
            layer's output.
        fisher_compat: The value of `fisher` as the code of the source has it: the sum is over all axes from the third
            on, which for tokens are the channels, and each value counts as often as an output channel has weights.
    """

    layers: Sequence[Any]
    gradients: Sequence[Tensor]
    fisher: float
    fisher_compat: float


def labelled_gradients(probe: Probe) -> LabelledGradients:
    """One forward and backward pass of the batch; a batch that must be split gives the same gradients."""
    layers = weight_layers(probe.model)
    fisher = _Fisher(layers, len(probe.images))
    with without_inplace(probe.model), fisher.watching():
        gradients = loss_gradients(probe, [layer.weight for layer in layers], slice(None))
    return LabelledGradients(layers, gradients, fisher.fisher, fisher.compat)


def loss_gradients(probe: Probe, weights: Sequence[nn.Parameter], rows: slice) -> list[Tensor]:
    """Gradients of the mean cross-entropy of some of the images by weights; zeros where a weight has no effect."""
    start, end, _ = rows.indices(len(probe.images))
    total = [torch.zeros_like(weight) for weight in weights]
    with requiring_gradients(weights):
        for part in probe.slices(end - start):
            loss = summed_loss(probe, slice(start + part.start, start + part.stop)) / (end - start)
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            for sum_, gradient in zip(total, found, strict=True):
                if gradient is not None:
                    sum_ += gradient
    return total


def summed_loss(probe: Probe, rows: slice) -> Tensor:
    """The cross-entropy of some of the images added up.

    Raises:
        NotApplicableError: The network tells no two classes apart, or has not the class of an image.
    """
    outputs, labels = logits(probe.model, probe.images[rows]), probe.labels[rows]
    num_classes = outputs.shape[1]
    if num_classes < 2:
        raise NotApplicableError(f"needs a loss, which takes at least two classes, and the network has {num_classes}")
    if int(labels.max()) >= num_classes:
        raise NotApplicableError(
            f"needs labels below {num_classes}, the network's number of classes, and an image has {int(labels.max())}"
        )
    return F.cross_entropy(outputs, labels, reduction="sum")


class _Fisher:
    """Sums up activations times their gradients as these pass by, so that none is kept."""

    def __init__(self, layers: Sequence[Any], images: int) -> None:
        self._layers = layers
        self._images = images
        self.fisher = 0.0
        self.compat = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        with hooked(self._layers, self._watch):
            yield

    def _watch(self, layer: Any, args: Any, output: Tensor) -> None:
        if not output.requires_grad:
            return
        activation = output.detach()

        def add(gradient: Tensor) -> None:
            product = activation * gradient
            by_channel = from_third = product.flatten(2).sum(2) if product.ndim > 2 else product
            if isinstance(layer, nn.Linear) and product.ndim > 2:
                by_channel = product.flatten(1, -2).sum(1)
            scale = 0.5 / self._images
            self.fisher += float(by_channel.double().square().sum()) * scale
            self.compat += float(from_third.double().square().sum()) * scale * layer.weight[0].numel()

        output.register_hook(add)  # type: ignore[no-untyped-call]


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of images, (B, num_classes).

    Raises:
        NotApplicableError: The network returns something else.
    """
    output = model(images)
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise NotApplicableError(f"needs logits (B, num_classes), which {type(model).__name__} does not return")
    return output


# -- passes without data -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AbsoluteGradients:
    """What a pass of ones through the network with absolute weights leaves behind.

    Args:
        layers: All linear layers and convolutions, each weight once.
        weights: Absolute values of the layers' weights.
        gradients: Gradients of the sum of the outputs by these absolute values.
    """

    layers: Sequence[Any]
    weights: Sequence[Tensor]
    gradients: Sequence[Tensor]


def absolute_gradients(probe: Probe) -> AbsoluteGradients:
    """A pass of ones through the network with the absolute values of all its state, and its sum's gradients."""
    model = probe.model
    layers = weight_layers(model)
    ones = torch.ones(1, 3, probe.img_size, probe.img_size, dtype=probe.dtype, device=probe.device)
    with absolute_state(model), left_out(batch_norms(model)), requiring_gradients([layer.weight for layer in layers]):
        weights = [layer.weight for layer in layers]
        values = [weight.detach() for weight in weights]
        found = torch.autograd.grad(logits(model, ones).sum(), weights, allow_unused=True)
    gradients = [torch.zeros_like(v) if g is None else g for g, v in zip(found, values, strict=True)]
    return AbsoluteGradients(layers, values, gradients)


@contextmanager
def absolute_state(model: nn.Module) -> Iterator[None]:
    """A context within which all parameters and floating buffers have their absolute values."""
    state = [t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    before = [tensor.data for tensor in state]
    try:
        for tensor in state:
            tensor.data = tensor.data.abs()
        yield
    finally:
        for tensor, values in zip(state, before, strict=True):
            tensor.data = values


# -- inputs and features -----------------------------------------------------------------------------------------------


class InputGradients(NamedTuple):
    """Gradients of the sum of the logits by the images, (B, 3 * img_size * img_size), and how many logits there are."""

    rows: Tensor
    num_classes: int


def input_gradients(probe: Probe) -> InputGradients:
    """One forward and backward pass of the images."""
    rows = []
    with torch.enable_grad():
        for part in probe.slices(len(probe.images)):
            images = probe.images[part].clone().requires_grad_(True)
            outputs = logits(probe.model, images)
            rows.append(torch.autograd.grad(outputs.sum(), images)[0].flatten(1))
    return InputGradients(torch.cat(rows), outputs.shape[1])


def noise(probe: Probe, batch_size: int) -> Tensor:
    """Standard normal images, (batch_size, 3, img_size, img_size), equal for all candidates of a repeat."""
    shape = (batch_size, 3, probe.img_size, probe.img_size)
    return torch.as_tensor(probe.rng().standard_normal(shape)).to(probe.device, probe.dtype)


def head_inputs(probe: Probe, images: Tensor) -> Tensor:
    """What the network's head is given, (B, C).

    Raises:
        NotApplicableError: Which layer gives out logits is not known.
    """
    heads = roles(probe).head
    if not heads:
        raise NotApplicableError(f"needs a head that is known, which {type(probe.model).__name__} lacks")
    return features.head_inputs(probe.model, heads[0], images)


def block_outputs(probe: Probe, images: Tensor) -> list[Tensor]:
    """Outputs of the blocks, in order, as (B, N, C); without gradients.

    Raises:
        NotApplicableError: The network has no blocks that are known.
    """
    blocks = roles(probe).blocks
    if not blocks:
        raise NotApplicableError(f"needs blocks, and those of {type(probe.model).__name__} are not known")
    with torch.no_grad():
        _, outputs = with_outputs(probe.model, images, blocks)
    return [block.tokens(output) for block, output in zip(blocks, outputs, strict=True)]
