"""A space and proxies whose scores are arithmetic, some of them harmful; importable on workers."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from torch import nn

from raynas import Choice, SearchSpace
from raynas.proxies.probe import Probe, Proxy

HARMS = ("raise", "nan", "exit", "kill", "hang", "deaf", "hog", "device")


def no_model(architecture: Any, *, img_size: int, num_classes: int) -> nn.Module:
    return nn.Identity()


def toy_space(**fields: Any) -> SearchSpace:
    """Architectures {"a", "b", "harm"}; costs in closed form."""
    return SearchSpace(
        "toy",
        fields or {"a": Choice(*range(40)), "b": Choice(*range(30)), "harm": Choice("none")},
        no_model,
        num_params=lambda architecture, img_size, num_classes: 100 * int(architecture["a"]) + 1,
        macs=lambda architecture, img_size, num_classes: 1000 * int(architecture["b"]) + 1,
        search_img_size=8,
    )


def value(architecture: Any, *, seed: int = 0) -> float:
    """What `toy` gives, for comparison."""
    return (7 * architecture["a"] + 13 * architecture["b"] + seed) / 97


def toy(probe: Probe, pause_s: float = 0.0, log: str = "") -> float:
    """An arithmetic score; does the harm that the architecture asks for first."""
    if log:
        with Path(log).open("a") as file:
            file.write(f"{probe.architecture.key} {os.getpid()}\n")
    time.sleep(pause_s)
    harm = probe.architecture["harm"]
    if harm == "raise":
        raise ValueError("this one raises")
    if harm == "nan":
        return float("nan")
    if harm == "device":
        raise RuntimeError("CUDA error: device-side assert triggered")
    if harm == "exit":
        sys.exit(3)
    if harm == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if harm == "hang":
        time.sleep(10_000)
    if harm == "deaf":
        ctypes.PyDLL(None).sleep(10_000)  # never gives the interpreter to another thread
    if harm == "hog":
        hoard = []
        while True:
            hoard.append(bytearray(b"x") * (1 << 28))
    return value(probe.architecture, seed=probe.score_seed)


def slope(probe: Probe) -> float:
    """Another arithmetic score."""
    return float(probe.architecture["a"]) - float(probe.architecture["b"])


def nothing(probe: Probe) -> float:
    """Costs nothing and builds nothing."""
    return 0.0


TOY = Proxy("toy", toy)
SLOPE = Proxy("slope", slope, higher_is_better=False)
NOTHING = Proxy("nothing", nothing)
