"""What benchmarks share: interleaved medians, and the machine in words."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def interleaved_medians(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each task; a round runs every task once, so that a busy machine slows all of them alike.

    One round before the first is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for counted in [False] + [True] * rounds:
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if counted:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def hardware() -> str:
    """Processor, threads and torch version."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"


def verdict(ratio: float, expected: float) -> str:
    """A ratio beside what is expected of it."""
    return f"{ratio:.1f} x (expected at least {expected:g} x: {'met' if ratio >= expected else 'NOT met'})"
