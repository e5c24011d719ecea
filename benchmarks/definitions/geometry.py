"""Definitions of scores of states, curves and kernels: a backward pass for every sub-layer, feature and image."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from definitions.case import Case, Values, left_out, outputs_of, weights_of
from torch import Tensor, nn

from raynas.seeds import seed_from

# -- states of the residual stream -------------------------------------------------------------------------------------


def _states(case: Case, model: nn.Module, images: Tensor) -> list[Tensor]:
    """The states after every attention, which the second norm takes in, and after every MLP, the block's outputs."""
    found: list[Tensor] = []
    for name in case.blocks:
        block = model.get_submodule(name)
        block.norm2.register_forward_pre_hook(lambda m, args: found.append(args[0]))
        block.register_forward_hook(lambda m, args, output: found.append(output))
    model(images)
    return found


def _signs(i: int, like: Tensor) -> Tensor:
    """Random signs of the state i, bit by bit of the words that its generator gives for each image."""
    rng = np.random.default_rng(seed_from(0, 0, "az_nas", i))
    numel = like[0].numel()
    words = rng.integers(0, 2**64 - 1, (len(like), -(-numel // 64)), np.uint64, endpoint=True)
    rows = [[(byte >> (7 - k)) & 1 for byte in row.tobytes() for k in range(8)][:numel] for row in words]
    return torch.tensor(rows, dtype=like.dtype).reshape(like.shape) * 2 - 1


def az_nas(case: Case) -> Values:
    """Spectral entropies of states, and how sub-layers pass random signs back."""
    if not case.attention:
        return None
    states = _states(case, case.in_eval(), case.noise(64).requires_grad_(True))
    entropies = []
    for state in states:
        rows = state.detach().reshape(-1, state.shape[-1]).numpy()
        rows = rows - rows.mean(0)
        values = np.linalg.eigvalsh(rows.T @ rows / len(rows)).clip(min=0)
        p = values / values.sum()
        entropies.append(-float((p * np.log(p + 1e-8)).sum()))
    terms = []
    for i in range(len(states) - 1, 0, -1):
        if states[i].shape != states[i - 1].shape:
            continue
        g_out = _signs(i, states[i])
        (g_in,) = torch.autograd.grad(states[i], states[i - 1], g_out, retain_graph=True)
        if not torch.equal(g_in, g_out):
            channels = g_out.shape[-1]
            matrix = g_in.reshape(-1, channels).T @ g_out.reshape(-1, channels) / g_out[..., 0].numel()
            s = float(torch.linalg.svdvals(matrix)[0])
            terms.append(-s - 1 / (s + 1e-6) + 2)
    return {
        "az_expressivity": sum(entropies),
        "az_progressivity": min(b - a for a, b in pairwise(entropies)),
        "az_trainability": sum(terms) / len(terms),
    }


# -- a teacher ---------------------------------------------------------------------------------------------------------


def tvt(case: Case) -> Values:
    """Mean squared differences of attention maps, image by image, and the weights' norms."""
    model = case.in_eval()
    with outputs_of(model, case.blocks[-1:]) as found:
        model(case.images)
    output = found[case.blocks[-1]].detach()
    if case.prefix_tokens is not None:
        tokens = output[:, case.prefix_tokens :]
        side = math.isqrt(tokens.shape[1])
        output = tokens.mT.reshape(len(tokens), -1, side, side)
    larger = [max(output.shape[axis], case.teacher.shape[axis]) for axis in (2, 3)]
    distances = []
    for student, teacher in zip(output, case.teacher, strict=True):
        maps = []
        for features in (student, teacher):
            resized = F.interpolate(features[None], larger, mode="bilinear", align_corners=False)[0]
            attention = (resized**2).mean(0).flatten()
            maps.append(attention / attention.norm())
        distances.append(float(((maps[0] - maps[1]) ** 2).mean()))
    capability = sum(float((m.weight**2).sum()) ** 0.5 for m in weights_of(case.model))
    return {"tvt_teacher": -sum(distances) / len(distances), "tvt_capability": capability}


# -- curves ------------------------------------------------------------------------------------------------------------


def _features(case: Case, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """What the head is given, with the final norm left out, or the mean over all tokens of the last block."""
    found: list[Tensor] = []
    if case.final_norm:
        parent, _, name = case.final_norm.rpartition(".")
        setattr(model.get_submodule(parent), name, nn.Identity())
    if case.pools_all_tokens:
        model.get_submodule(case.blocks[-1]).register_forward_hook(lambda m, args, out: found.append(out.mean(1)))
    else:
        model.get_submodule(case.head).register_forward_pre_hook(lambda m, args: found.append(args[0].flatten(1)))

    def features(images: Tensor) -> Tensor:
        found.clear()
        model(images)
        return found[0]

    return features


def _curve(case: Case, endpoint: bool) -> tuple[np.ndarray, np.ndarray]:
    """Velocity and acceleration at ten points of the circle, feature by feature, each (10, C)."""
    basis, _ = np.linalg.qr(case.rng().standard_normal((case.images[0].numel(), 2)))
    u0, u1 = torch.tensor(basis.T).reshape(2, *case.images.shape[1:])
    angles = torch.tensor(np.linspace(0, 2 * np.pi, 10, endpoint=endpoint), requires_grad=True)
    model = case.in_eval()
    features = _features(case, model)
    left_out(model, nn.LayerNorm)
    t = angles[:, None, None, None]
    v, a = [], []
    for feature in features(u0 * torch.cos(t) + u1 * torch.sin(t)).unbind(1):
        (speed,) = torch.autograd.grad(feature.sum(), angles, create_graph=True)
        (change,) = torch.autograd.grad(speed.sum(), angles, retain_graph=True)
        v.append(speed.detach().numpy())
        a.append(change.numpy())
    return np.stack(v, 1), np.stack(a, 1)


def curves(case: Case) -> Values:
    """Length, curvature and Gauss length by the textbook's formulas, and the sums of the authors' code."""
    values: dict[str, float] = {}
    for suffix, endpoint in (("", False), (" (repo_compat)", True)):
        v, a = _curve(case, endpoint)
        vv, aa, va = (v * v).sum(1), (a * a).sum(1), (v * a).sum(1)
        k = np.sqrt(np.maximum(vv * aa - va**2, 0)) / vv**1.5
        reduced = np.sum if endpoint else np.mean
        values[f"length_distortion{suffix}"] = reduced(np.sqrt(vv))
        values[f"curvature{suffix}"] = reduced(k)
        if not endpoint:
            values["gauss_length"] = reduced(k * np.sqrt(vv))
            continue
        total = 0.0
        for batch in (range(6), range(6, 10)):  # every acceleration over every speed of its mini-batch
            total += sum(math.sqrt(aa[j]) / math.sqrt(vv[i]) for i in batch for j in batch)
        values["gauss_length (repo_compat)"] = total
    return values


# -- kernels -----------------------------------------------------------------------------------------------------------


def _condition(model: nn.Module, function: Callable[[Tensor], Tensor], images: Tensor) -> float:
    rows = []
    for image in images:
        model.zero_grad()
        function(image[None]).sum().backward()
        gradients = [p.grad for name, p in model.named_parameters() if "weight" in name and p.grad is not None]
        rows.append(np.concatenate([gradient.flatten().numpy() for gradient in gradients]))
    values = np.linalg.eigvalsh([[one @ other for other in rows] for one in rows])
    return float(values[-1] / values[0])


def ntk_condition(case: Case) -> Values:
    """Condition number of the gradients of the pooled features."""
    model = case.in_eval()
    return {"ntk_condition": _condition(model, _features(case, model), case.images)}


def ntk_condition_logits(case: Case) -> Values:
    """Condition number of the gradients of the logits, for noise."""
    model = case.in_eval()
    return {"ntk_condition_logits": _condition(model, model, case.noise(16))}
