"""raynas: vision-transformer architecture search on Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raynas.api import Run, bench_proxies, build, load_run, scale, score, search, sweep, train
    from raynas.bench import Bench, load_bench
    from raynas.errors import RaynasError
    from raynas.exporting import export
    from raynas.proxies.probe import Probe, proxy
    from raynas.space import Architecture, Choice, PerLayer, SearchSpace
    from raynas.training.folder import Training, load_training

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Bench",
    "Choice",
    "PerLayer",
    "Probe",
    "RaynasError",
    "Run",
    "SearchSpace",
    "Training",
    "bench_proxies",
    "build",
    "export",
    "load_bench",
    "load_run",
    "load_training",
    "proxy",
    "scale",
    "score",
    "score_model",
    "search",
    "sweep",
    "train",
]

# Imported on first use: behind some of these is torch, Ray or NumPy, and `raynas --help` should answer at once.
_HOMES = {
    "Architecture": "raynas.space",
    "Bench": "raynas.bench",
    "Choice": "raynas.space",
    "PerLayer": "raynas.space",
    "Probe": "raynas.proxies.probe",
    "RaynasError": "raynas.errors",
    "Run": "raynas.api",
    "SearchSpace": "raynas.space",
    "Training": "raynas.training.folder",
    "bench_proxies": "raynas.api",
    "build": "raynas.api",
    "export": "raynas.exporting",
    "load_bench": "raynas.bench",
    "load_run": "raynas.api",
    "load_training": "raynas.training.folder",
    "proxy": "raynas.proxies.probe",
    "scale": "raynas.api",
    "score": "raynas.api",
    "score_model": "raynas.model_scores",
    "search": "raynas.api",
    "sweep": "raynas.api",
    "train": "raynas.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'raynas' has no attribute {name!r}")
