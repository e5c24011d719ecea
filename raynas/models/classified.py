"""How many images a network classifies rightly."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def evaluated_classes(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sums over images of the cross-entropy, and of how many are classified rightly.

    Args:
        logits: (b, classes) logits of the images.
        labels: (b,) class numbers.
    """
    logits = logits.float()
    return {"loss": F.cross_entropy(logits, labels, reduction="sum"), "top1": (logits.argmax(1) == labels).sum()}
