"""Definitions of scores of attention, head by head, and of a masked autoencoder's first steps, patch by patch."""

from __future__ import annotations

import math
from typing import Any

import torch
from definitions.case import Case, Values, outputs_of
from torch import Tensor

from raynas.models.masked_decoder import MaskedDecoder
from raynas.models.masking import Masking
from raynas.seeds import input_seed

_STEPS, _LR, _RATIO = 10, 1e-3, 0.75


def _of_heads(case: Case) -> list[tuple[float, float]] | None:
    """Distance and entropy of each block, the mean over images, heads and patches."""
    if case.prefix_tokens is None:
        return None
    model: Any = case.in_eval()
    layers = [name for name in case.attention if name.endswith("qkv")]
    with outputs_of(model, layers) as found:
        model(case.images)
    values = []
    for name in layers:
        attn = model.get_submodule(name.rpartition(".")[0])
        qkv = found[name].detach()
        images, tokens, _ = qkv.shape
        side, heads = math.isqrt(tokens - case.prefix_tokens), attn.num_heads
        q, k, _ = qkv.reshape(images, tokens, 3, heads, -1).unbind(2)
        distances, entropies = [], []
        for image in range(images):
            for head in range(heads):
                for i in range(side * side):
                    first, query = case.prefix_tokens, q[image, case.prefix_tokens + i, head]
                    keys = [_key(attn, k[image, first + j, head], i, j, side) for j in range(side * side)]
                    logits = torch.stack([query @ key for key in keys])
                    shares = (logits * q.shape[-1] ** -0.5).softmax(0)
                    apart = [math.hypot(i // side - j // side, i % side - j % side) for j in range(side * side)]
                    distances.append(float((shares * torch.tensor(apart, dtype=torch.float64)).sum()))
                    entropies.append(-float((shares * (shares + 1e-6).log()).sum()))
        values.append((sum(distances) / len(distances), sum(entropies) / len(entropies)))
    return values


def _key(attn: Any, key: Tensor, i: int, j: int, side: int) -> Tensor:
    """A key, with the vectors of its place beside the query's where attention has such."""
    if getattr(attn, "rel_pos", None) is None:
        return key
    rows, columns = j // side - i // side, j % side - i % side  # vector 15 is of no distance
    return key + attn.rel_pos.key_rows[15 + rows].detach() + attn.rel_pos.key_columns[15 + columns].detach()


def _by_depth(name: str, values: list[float]) -> Values:
    half = len(values) // 2
    early, late = values[:half], values[-half:]
    means = (sum(values) / len(values), sum(early) / half, sum(late) / half)
    return dict(zip((name, f"{name}_early", f"{name}_late"), means, strict=True))


def attention_distance(case: Case) -> Values:
    """Mean distances."""
    found = _of_heads(case)
    return found and _by_depth("attention_distance", [distance for distance, _ in found])


def attention_entropy(case: Case) -> Values:
    """Mean entropies."""
    found = _of_heads(case)
    return found and _by_depth("attention_entropy", [entropy for _, entropy in found])


def mae_loss(case: Case) -> Values:
    """The loss after ten steps, of tokens that are gathered one by one."""
    model: Any = case.in_eval()
    if not hasattr(model, "_pos_embed") or not hasattr(model, "norm_pre"):
        return None
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(case.images))
    images, patches, dim = len(tokens), tokens.shape[1] - 1, tokens.shape[2]
    side = math.isqrt(patches)
    size = case.images.shape[-1] // side
    kept = math.floor(patches * (1 - _RATIO))
    noise = case.rng().random((_STEPS + 1, images, patches))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(input_seed(0, 0))
        decoder = MaskedDecoder(dim, width=64, depth=1, num_heads=2, side=side, values=3 * size**2, prefix=1).double()

    def loss_of(step: int) -> Tensor:
        orders = [sorted(range(patches), key=row.__getitem__) for row in noise[step].tolist()]
        tokens = model._pos_embed(model.patch_embed(case.images))
        rows = [
            torch.stack([one[0], *(one[1 + place] for place in order[:kept])])
            for one, order in zip(tokens, orders, strict=True)
        ]
        encoded = model.norm(model.blocks(torch.stack(rows)))
        places = torch.tensor([[order.index(j) for j in range(patches)] for order in orders])
        predicted = decoder(encoded, Masking(torch.tensor(orders)[:, :kept], places, torch.empty(0)))
        losses = []
        for image, order in enumerate(orders):
            for j in order[kept:]:
                row, column = j // side * size, j % side * size
                pixels = case.images[image, :, row : row + size, column : column + size].permute(1, 2, 0).flatten()
                target = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
                losses.append(((predicted[image, j] - target) ** 2).mean())
        return torch.stack(losses).mean()

    optimizer = torch.optim.AdamW([*model.parameters(), *decoder.parameters()], lr=_LR, weight_decay=0.0)
    for step in range(_STEPS):
        optimizer.zero_grad()
        loss_of(step).backward()
        optimizer.step()
    return {"mae_loss": float(loss_of(_STEPS).detach())}
