"""What benchmarks share: interleaved medians, and the machine in words."""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
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
    """Processor, threads, GPU and torch version."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {torch.get_num_threads()} thread(s){gpu}, torch {torch.__version__}"


def provenance() -> dict[str, str]:
    """For the metadata of what is kept: command, hardware and versions."""
    versions = {"python": platform.python_version()}
    for package in ("raynas", "torch", "timm", "ray", "numpy", "scipy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # a machine without Ray can still score in one process
    return {
        "command": shlex.join(["python", *sys.argv]),
        "hardware": hardware(),
        "versions": json.dumps(versions),
    }


def verdict(ratio: float, expected: float) -> str:
    """A ratio beside what is expected of it."""
    return f"{ratio:.1f} x (expected at least {expected:g} x: {'met' if ratio >= expected else 'NOT met'})"
