"""What benchmarks share: interleaved medians, turns, and the machine in words."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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


class Turns:
    """Two threads that do their steps one after the other, so that both meet the same machine, whose speed drifts.

    The first side goes first in odd steps, the second in the others, from 0.

    Args:
        steps: Of each side.
        sides: What names them.
    """

    def __init__(self, steps: int, sides: tuple[Any, Any]) -> None:
        pairs = (sides[::-1], sides)
        self._order = [(step, side) for step in range(steps) for side in pairs[step % 2]]
        self._changed = threading.Condition()

    def wait_for(self, step: int, side: Any) -> None:
        """Until it is this side's turn to do this step.

        Raises:
            TimeoutError: The other side has not ended its step for two hours.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._order[:1] == [(step, side)], timeout=_PATIENCE_S):
                raise TimeoutError(f"the other side has not ended its step before {step}")

    def end(self) -> None:
        """Let the other side go on."""
        with self._changed:
            self._order.pop(0)
            self._changed.notify_all()


_PATIENCE_S = 7200.0


def hardware() -> str:
    """Processor, threads, GPU and torch version."""
    return f"{_processor()}, {torch.get_num_threads()} thread(s){_gpu()}, torch {torch.__version__}"


def machine() -> str:
    """Processor, cores and GPU."""
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores{_gpu()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str:
    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def package_versions() -> dict[str, str]:
    """Of Python and of the packages that figures depend on; a machine without Ray can still score in one process."""
    found = {"python": platform.python_version()}
    for package in ("raynas", "torch", "timm", "ray", "numpy", "scipy"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def provenance() -> dict[str, str]:
    """For the metadata of what is kept: command, hardware and versions."""
    return {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "hardware": hardware(),
        "versions": json.dumps(package_versions()),
    }


def verdict(ratio: float, expected: float) -> str:
    """A ratio beside what is expected of it."""
    return f"{ratio:.1f} x (expected at least {expected:g} x: {'met' if ratio >= expected else 'NOT met'})"
