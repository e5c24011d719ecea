"""raynas: vision-transformer architecture search on Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raynas.api import Run, build, load_run, score, search
    from raynas.errors import RaynasError
    from raynas.proxies.probe import Probe, proxy
    from raynas.space import Architecture, Choice, PerLayer, SearchSpace

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Choice",
    "PerLayer",
    "Probe",
    "RaynasError",
    "Run",
    "SearchSpace",
    "build",
    "load_run",
    "proxy",
    "score",
    "search",
]

# Imported on first use: behind some of these is torch, Ray or NumPy, and `raynas --help` should answer at once.
_HOMES = {
    "Architecture": "raynas.space",
    "Choice": "raynas.space",
    "PerLayer": "raynas.space",
    "Probe": "raynas.proxies.probe",
    "RaynasError": "raynas.errors",
    "Run": "raynas.api",
    "SearchSpace": "raynas.space",
    "build": "raynas.api",
    "load_run": "raynas.api",
    "proxy": "raynas.proxies.probe",
    "score": "raynas.api",
    "search": "raynas.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'raynas' has no attribute {name!r}")
