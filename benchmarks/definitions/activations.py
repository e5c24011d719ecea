"""Definitions of scores of what passes activate, and of gradients by the images, image by image and unit by unit."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from definitions.case import Case, Values, outputs_of, weights_of
from torch import nn

# -- gradients by the images -------------------------------------------------------------------------------------------


def _image_gradients(case: Case) -> np.ndarray:
    images = case.images.clone().requires_grad_(True)
    case.by_batch()(images).sum().backward()
    return images.grad.flatten(1).numpy()


def jacob_cov(case: Case) -> Values:
    """From the eigenvalues of the images' correlations."""
    values = np.linalg.eigvalsh(np.corrcoef(_image_gradients(case))).clip(min=0)
    return {"jacob_cov": -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in values)}


def epe_nas(case: Case) -> Values:
    """From the correlations within classes."""
    rows, labels = _image_gradients(case), case.labels.numpy()
    is_many = case.model(case.images[:1]).shape[1] > 100
    scores = []
    for label in sorted(set(labels.tolist())):
        own = rows[labels == label]
        if len(own) > 1:
            score = sum(math.log(abs(r) + 1e-5) for r in np.corrcoef(own).ravel())
            scores.append(score / len(own) if is_many else score)
    if is_many:
        return {"epe_nas": sum(abs(a - b) for a, b in combinations(scores, 2)) / len(scores)}
    return {"epe_nas": sum(abs(score) for score in scores)}


# -- activations -------------------------------------------------------------------------------------------------------


def _firing(case: Case) -> list[np.ndarray]:
    """Which units of each activation fire, (B, units) each."""
    model, found = case.by_batch(), []
    for module in model.modules():
        if type(module).__name__ in ("GELU", "ReLU", "SiLU"):
            module.register_forward_hook(lambda m, args, output: found.append((args[0] > 0).flatten(1).numpy()))
    model(case.images)
    return found


def naswot(case: Case) -> Values:
    """Log determinant of the numbers of units on which two images agree."""
    codes = np.concatenate(_firing(case), 1)
    kernel = [[int((one == other).sum()) for other in codes] for one in codes]
    return {"naswot": float(np.linalg.slogdet(np.array(kernel, float))[1])}


def entropic_score(case: Case) -> Values:
    """Mean binary entropy of the fractions that fire."""
    fractions = [min(max(float(layer.mean()), 1e-12), 1 - 1e-12) for layer in _firing(case)]
    return {"entropic_score": -sum(p * math.log(p) + (1 - p) * math.log(1 - p) for p in fractions) / len(fractions)}


def entropy(case: Case) -> Values:
    """Log deviation of the blocks' outputs, and the log of the variance that is left."""
    model = case.by_batch()
    terms = []
    with outputs_of(model, case.blocks) as found:
        model(case.noise(16))
    for name in case.blocks:
        numbers = found[name].detach().numpy().ravel()
        std = numbers.std(ddof=1)
        terms.append(math.log(std) + math.log((numbers / (std + 1e-9)).var(ddof=1)))
    return {"entropy": sum(terms) / len(terms)}


def _channel_rows(case: Case) -> list[np.ndarray]:
    model = case.by_batch()
    with outputs_of(model, case.blocks) as found:
        model(case.noise(1))
    outputs = [found[name][0].detach() for name in case.blocks]
    return [(out.flatten(1) if case.prefix_tokens is None else out.T).numpy() for out in outputs]


def _smallest(rows: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.nan_to_num(np.corrcoef(rows), nan=0.0)
    return max(float(np.linalg.eigvalsh(matrix)[0]), 0.0)


def meco(case: Case) -> Values:
    """Smallest eigenvalues of the correlations of channels."""
    return {"meco": sum(_smallest(rows) for rows in _channel_rows(case))}


def meco_opt(case: Case) -> Values:
    """Those of eight channels, times the number of channels over eight."""
    total = 0.0
    for rows in _channel_rows(case):
        taken = rows[case.rng().permutation(len(rows))[:8]]
        total += _smallest(taken) * len(rows) / len(taken)
    return {"meco_opt": total}


def zen(case: Case) -> Values:
    """How far noise moves features, and the deviations of BatchNorm."""
    model, features, variances = case.by_batch(), [], []
    model.get_submodule(case.head).register_forward_pre_hook(
        lambda m, args: features.append(args[0].detach().flatten(1))
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(
                lambda m, args: variances.append(args[0].detach().movedim(1, 0).flatten(1).numpy().var(1).mean())
            )
    both = case.noise(32)
    model(both[:16])
    deviations = [math.sqrt(v) for v in variances]
    model(both[:16] + 0.01 * both[16:])
    moved = [float((a - b).abs().sum()) for a, b in zip(*features, strict=True)]
    return {"zen": math.log(sum(moved) / 16) + sum(math.log(d) for d in deviations)}


def depth(case: Case) -> Values:
    """Number of blocks."""
    return {"depth": len(case.blocks)}


def width(case: Case) -> Values:
    """Inputs of the head."""
    return {"width": case.model.get_submodule(case.head).weight.shape[1]}


def layer_width_sum(case: Case) -> Values:
    """Outputs of all layers."""
    return {"layer_width_sum": sum(len(m.weight) for m in weights_of(case.model))}
