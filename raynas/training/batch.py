"""What an objective is shown in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """The images of one pass of one worker.

    Args:
        views: One tensor (b, 3, side, side) for each view that the objective asks for, normalised; all show the same
            images in the same order, each with its own variation. They may be overwritten.
        labels: (b,) class numbers; None where the objective needs none.
        positions: (b,) places of the images in the step, from 0 to the number of its images less 1, over all workers.
    """

    views: tuple[torch.Tensor, ...]
    labels: torch.Tensor | None
    positions: torch.Tensor

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.positions)

    @property
    def images(self) -> torch.Tensor:
        """The first view; the only one where there are no others."""
        return self.views[0]

    def to(self, device: torch.device) -> Batch:
        """The same images on a device, without a wait for the copy where they are in pinned memory."""
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(views, labels, self.positions.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same images in pinned memory; torch's DataLoader calls it."""
        views = tuple(view.pin_memory() for view in self.views)
        return Batch(views, None if self.labels is None else self.labels.pin_memory(), self.positions.pin_memory())
