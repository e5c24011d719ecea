"""What raynas computes in the process of its caller, a notebook say, leaves this as it was."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.style  # noqa: F401  (draws from Python's generator when it is imported, as libraries may)
import torch
from torch import nn

import raynas
from raynas.proxies.probe import Probe, Proxy
from raynas.searching.run import SearchListener


def state_of_the_process() -> dict[str, Any]:
    """What code beside raynas computes with, and sees."""
    return {
        "torch": torch.get_rng_state().tolist(), "numpy": str(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(), "threads": torch.get_num_threads(), "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(), "empty": torch.empty(1).device, "gradients": torch.is_grad_enabled(),
        "precision": torch.get_float32_matmul_precision(), "mkldnn": torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(), "folder": Path.cwd(), "path": list(sys.path),
        "environment": {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "warnings": list(warnings.filters), "errors": np.geterr(), "collection": gc.isenabled(),
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)], "cudnn": cudnn(),
        "threads of Python": {thread.name for thread in threading.enumerate()}, "hook": sys.excepthook,
    }  # fmt: skip


def cudnn() -> tuple[bool, ...]:
    backend = torch.backends.cudnn
    return backend.enabled, backend.benchmark, backend.deterministic, backend.allow_tf32


def own(probe: Probe) -> float:
    """Draws, seeds and sets what it likes."""
    torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    return float(probe.model(probe.images).sum())


OWN = Proxy("own", own, needs_images=True)


class Drawing(nn.Module):
    """A network that draws, as is built and in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean((2, 3)) + torch.rand(3))


MODEL = Drawing()


def drawing(architecture: raynas.Architecture, *, img_size: int, num_classes: int) -> nn.Module:
    return Drawing()


SPACE = raynas.SearchSpace("small", {"a": raynas.Choice(1, 2, 3)}, drawing, search_img_size=8)

RUNS: dict[str, Callable[[Path], Any]] = {
    "score_model": lambda out: raynas.score_model(MODEL, [OWN, "snip"], img_size=8, threads=3),
    "score_model of a bad model": lambda out: raynas.score_model(MODEL, ["snip"], img_size=-1),
    "score": lambda out: raynas.score(SPACE, 2, proxies=[OWN], workers=0, out=out, listener=SearchListener()),
    "search": lambda out: raynas.search(
        SPACE, proxies=[OWN], objectives=["own"], searcher="random", budget=3, workers=0, threads=3, out=out,
        listener=SearchListener(),
    ),
    "search that fails": lambda out: raynas.search(
        SPACE, proxies=[OWN], objectives=["own"], searcher="random", budget=3, workers=0, address="here",
        out=out, listener=SearchListener(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
def test_what_runs_in_this_process_leaves_it_as_it_was(run: str, tmp_path: Path) -> None:
    random.seed(11), np.random.seed(12), torch.manual_seed(13)  # noqa: NPY002
    before = state_of_the_process()
    with contextlib.suppress(raynas.RaynasError, RuntimeError):
        RUNS[run](tmp_path / "run")
    after = state_of_the_process()
    assert {name for name in before if before[name] != after[name]} == set()
