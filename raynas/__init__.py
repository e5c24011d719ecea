"""raynas: vision-transformer architecture search on Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError
from raynas.space import Architecture, Choice, PerLayer, SearchSpace

if TYPE_CHECKING:
    from raynas.api import Run, build, load_run, score, search
    from raynas.proxies.probe import Probe, proxy

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

# Behind these is torch or Ray, which take seconds to import.
_LAZY = {
    "Probe": "raynas.proxies.probe",
    "Run": "raynas.api",
    "build": "raynas.api",
    "load_run": "raynas.api",
    "proxy": "raynas.proxies.probe",
    "score": "raynas.api",
    "search": "raynas.api",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'raynas' has no attribute {name!r}")
