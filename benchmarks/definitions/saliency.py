"""Definitions of saliencies of weights, a gradient at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from definitions.case import Case, Values, left_out, loss_of, weights_of
from torch import Tensor, nn

# -- gradients of the loss ---------------------------------------------------------------------------------------------


def loss_gradients(case: Case, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights and their gradients."""
    model = case.by_batch()
    loss_of(model, images, labels).backward()
    found = [layer.weight for layer in weights_of(model)]
    return [(w.detach(), torch.zeros_like(w) if w.grad is None else w.grad) for w in found]


def grad_norm(case: Case) -> Values:
    """Norms of the layers' gradients added up."""
    pairs = loss_gradients(case, case.images, case.labels)
    return {"grad_norm": sum(math.sqrt(float((g * g).sum())) for _, g in pairs)}


def plain(case: Case) -> Values:
    """Weights times gradients added up."""
    return {"plain": sum(float((w * g).sum()) for w, g in loss_gradients(case, case.images, case.labels))}


def snip(case: Case) -> Values:
    """Absolute gradients by a mask of ones on the weights, as the source has it."""
    model = case.by_batch()
    names = [f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    parameters = dict(model.named_parameters())
    masks = {name: torch.ones_like(parameters[name], requires_grad=True) for name in names}
    masked = {name: parameters[name].detach() * mask for name, mask in masks.items()}

    def call(images: Tensor) -> Tensor:
        return torch.func.functional_call(model, masked, (images,))

    gradients = torch.autograd.grad(loss_of(call, case.images, case.labels), list(masks.values()), allow_unused=True)
    return {"snip": sum(float(g.abs().sum()) for g in gradients if g is not None)}


def _activations(case: Case) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """Each layer with its output and the loss's gradient by it."""
    model = case.by_batch()
    outputs: list[tuple[nn.Module, Tensor]] = []
    for layer in weights_of(model):
        layer.register_forward_hook(
            lambda layer, args, output: (output.retain_grad(), outputs.append((layer, output)))[1]
        )
    loss_of(model, case.images, case.labels).backward()
    for layer, output in outputs:
        if output.grad is not None:
            yield layer, output.detach(), output.grad


def fisher(case: Case) -> Values:
    """Half the mean square over images of activation times gradient, of each channel."""
    total = 0.0
    for layer, a, gradient in _activations(case):
        product = (a * gradient).movedim(-1, 1) if isinstance(layer, nn.Linear) else a * gradient
        for channel in range(product.shape[1]):
            sums = [float(product[b, channel].sum()) for b in range(len(product))]
            total += 0.5 * sum(s * s for s in sums) / len(sums)
    return {"fisher": total}


def fisher_compat(case: Case) -> Values:
    """As `fisher` with the axis after the images' for channels, and a count for each of a channel's weights."""
    total = 0.0
    for layer, a, gradient in _activations(case):
        product = a * gradient
        for channel in range(product.shape[1]):
            sums = [float(product[b, channel].sum()) for b in range(len(product))]
            total += 0.5 * sum(s * s for s in sums) / len(sums) * layer.weight[0].numel()
    return {"fisher_compat": total}


def grasp(case: Case) -> Values:
    """Minus weights times the Hessian's product with the gradient."""
    model = case.by_batch()
    weights = [layer.weight for layer in weights_of(model)]
    loss = loss_of(model, case.images, case.labels)
    gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    sum((g * g.detach()).sum() for g in gradients if g is not None).backward()
    return {"grasp": -sum(float((w.detach() * w.grad).sum()) for w in weights if w.grad is not None)}


def zico(case: Case) -> Values:
    """Logs of the layers' sums of mean |g| over the deviation of g, across the halves of the batch."""
    half = len(case.images) // 2
    parts = [loss_gradients(case, case.images[s], case.labels[s]) for s in (slice(0, half), slice(half, None))]
    total = 0.0
    for layer in zip(*parts, strict=True):
        g = np.stack([gradient.numpy() for _, gradient in layer])
        deviations = g.std(0)
        kept = deviations > 0
        summed = (np.abs(g).mean(0)[kept] / deviations[kept]).sum()
        if summed > 0:
            total += math.log(summed)
    return {"zico": total}


def zico_layerwise(case: Case) -> Values:
    """Log of the sum of |mean g| over the deviation of g within a layer; means that are rounding errors are 0."""
    total = 0.0
    for _, gradient in loss_gradients(case, case.images, case.labels):
        g = gradient.numpy().ravel()
        mean = math.fsum(g) / len(g)
        if len(g) > 1 and abs(mean) > 1e-12 * np.abs(g).mean():
            total += abs(mean) / (g.std(ddof=1) + 1e-9)
    return {"zico_layerwise": math.log(total) if total > 0 else -math.inf}


def l2_norm(case: Case) -> Values:
    """Norms of the layers' weights added up."""
    return {"l2_norm": sum(math.sqrt(float((m.weight**2).sum())) for m in weights_of(case.model))}


# -- ones through absolute weights -------------------------------------------------------------------------------------


def _absolute(case: Case) -> dict[str, tuple[Tensor, Tensor]]:
    """Absolute weights, and the gradients of the summed outputs, of all layers by name."""
    model = case.in_eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.abs_()
    left_out(model, nn.BatchNorm2d)
    model(torch.ones(1, *case.images.shape[1:], dtype=torch.float64)).sum().backward()
    layers = {name: m.weight for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    return {name: (w.detach(), torch.zeros_like(w) if w.grad is None else w.grad) for name, w in layers.items()}


def synflow(case: Case) -> Values:
    """Absolute weights times gradients added up."""
    return {"synflow": sum(float((w * g).abs().sum()) for w, g in _absolute(case).values())}


def logsynflow(case: Case) -> Values:
    """Absolute weights times the absolute log of gradients."""
    total = 0.0
    for w, g in _absolute(case).values():
        kept = g != 0
        total += float((w[kept] * torch.log(g[kept].abs() + 1e-30).abs()).sum())
    return {"logsynflow": total}


def dss(case: Case) -> Values:
    """Products of nuclear norms of attention, and saliencies of MLPs and the head."""
    if not (case.attention and case.mlp):
        return None
    found = _absolute(case)
    total = 0.0
    for name in case.attention:
        total += math.prod(float(torch.linalg.svdvals(matrix.flatten(1)).sum()) for matrix in found[name])
    return {"dss": total + sum(float((found[n][0] * found[n][1]).abs().sum()) for n in (*case.mlp, case.head))}


def autoprox_a(case: Case) -> Values:
    """Absolute gradients of attention, and mean sigmoids of those of MLPs and the head."""
    if not (case.attention and case.mlp):
        return None
    found = _absolute(case)
    total = sum(float(found[name][1].abs().sum()) for name in case.attention)
    for name in (*case.mlp, case.head):
        total += float((1 / (1 + torch.exp(-found[name][1]))).mean())
    return {"autoprox_a": total}
