"""What a network is worth on images that it was not trained on."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from raynas.training.images import Loader
from raynas.training.step import StepRunner


@torch.no_grad()
def evaluate(runner: StepRunner, network: nn.Module, images: Loader) -> dict[str, float]:
    """Means over all images, by the names of the objective's `evaluation_columns`.

    Args:
        runner: The runner with the objective, which says what is measured.
        network: The exported part of the objective, or its moving average; left in the mode that it was in.
        images: This worker's part of them.
    """
    objective, worker = runner.objective, runner.worker
    names = objective.evaluation_columns
    found = torch.zeros(len(names) + 1, dtype=torch.float64, device=worker.device)
    was_training = network.training
    objective.eval()
    network.eval()
    for batch in images:
        with runner.mixed_precision():
            sums = objective.evaluate(network, batch.to(worker.device))
        for place, name in enumerate(names):
            found[place] += sums[name]
        found[-1] += len(batch)
    if worker.world > 1:
        dist.all_reduce(found)
    objective.train()
    network.train(was_training)
    *totals, n = found.tolist()
    return {name: total / n for name, total in zip(names, totals, strict=True)}
