"""What workers are given once: everything that the score of an architecture follows from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from raynas.models.teachers import Teacher
from raynas.proxies.probe import Proxy
from raynas.space.growth import Growth


@dataclass(frozen=True)
class EvaluationTask:
    """All that a worker needs besides architectures; it is shipped once.

    Args:
        builder: Of the space's models.
        settings: Its keywords, img_size and num_classes among them.
        proxies: With their settings.
        growth: Of the space; for proxies that score narrower networks.
        score_seed: Of weights, curves and perturbations.
        images: One batch per repeat, (R, B, 3, img_size, img_size) float32; None if no proxy needs images.
        labels: (R, B) int64.
        teacher: Of proxies that compare with one.
        device: "cpu" or "cuda".
        threads: Of torch, for one evaluation.
    """

    builder: Callable[..., nn.Module]
    settings: Mapping[str, Any]
    proxies: tuple[Proxy, ...]
    growth: Growth | None = None
    score_seed: int = 0
    images: np.ndarray | None = None
    labels: np.ndarray | None = None
    teacher: Teacher | None = None
    device: str = "cpu"
    threads: int = 1
