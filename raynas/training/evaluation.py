"""What a network is worth on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raynas.models.nearest_neighbours import knn_accuracy
from raynas.training.images import Loader
from raynas.training.objectives.objective import Objective
from raynas.training.step import StepRunner

KNN = "knn_top1"
_MOST_PROBED = 10_000  # images whose features are kept


def evaluated_columns(objective: Objective) -> tuple[str, ...]:
    """Names of what `evaluate` can return."""
    return (*objective.evaluation_columns, *([KNN] if objective.probes_features else []))


@torch.no_grad()
def evaluate(runner: StepRunner, network: nn.Module, images: Loader) -> dict[str, float]:
    """Means over all images, by the names of the objective's `evaluation_columns`.

    With them, where the objective has features and the images have classes, is the accuracy with which the nearest
    neighbours of each among the others, or among the first ten thousand, tell its class.

    Args:
        runner: The runner with the objective, which says what is measured.
        network: The exported part of the objective, or its moving average; left in the mode that it was in.
        images: This worker's part of them.
    """
    objective, worker = runner.objective, runner.worker
    names = objective.evaluation_columns
    found = torch.zeros(len(names) + 1, dtype=torch.float64, device=worker.device)
    probed: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    was_training = network.training
    objective.eval()
    network.eval()
    for batch in images:
        moved = batch.to(worker.device)
        with runner.mixed_precision():
            sums = objective.evaluate(network, moved)
            if objective.probes_features and batch.labels is not None:
                probed.append((objective.features(network, moved).float().cpu(), batch.labels, batch.positions))
        for place, name in enumerate(names):
            found[place] += sums[name]
        found[-1] += len(batch)
    if worker.world > 1:
        dist.all_reduce(found)
    objective.train()
    network.train(was_training)
    *totals, n = found.tolist()
    told = {name: total / n for name, total in zip(names, totals, strict=True)}
    accuracy = _accuracy_of_neighbours(probed, worker.world)
    return told if accuracy is None else {**told, KNN: accuracy}


def _accuracy_of_neighbours(probed: Sequence[tuple[torch.Tensor, ...]], world: int) -> float | None:
    """The accuracy by neighbours among the images of all workers; None where no features are known."""
    parts: list[Any] = [probed]
    if world > 1:
        parts = [None] * world
        dist.all_gather_object(parts, probed)
    all_parts = [one for part in parts for one in part]
    if not all_parts:
        return None
    features, labels, positions = (torch.cat(tensors) for tensors in zip(*all_parts, strict=True))
    order = positions.argsort()[:_MOST_PROBED]
    order = order[labels[order] >= 0]
    return knn_accuracy(features[order], labels[order]) if len(order) > 1 else None
