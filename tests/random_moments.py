"""Moments at which tests kill processes, and how they do."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_LIMIT_S = 240.0


def random_moments(kills: int, *, most: int, seed: int = 0) -> tuple[int, ...]:
    """Moments at which to kill what is resumed each time, in order.

    Args:
        kills: How many.
        most: The last moment that may be drawn, in what a test counts, such as scores or epochs.
        seed: Of the draw.
    """
    return tuple(sorted(random.Random(seed).sample(range(1, most + 1), kills)))


def started(code: str) -> subprocess.Popen[bytes]:
    """Python code in a process group of its own, which sees the tests' helpers and no Ray of this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, start_new_session=True
    )


def killed_at(moments: Iterable[float], code: str, count: Callable[[], float], *, spread_s: float = 0.0) -> None:
    """Start what is resumed each time, and kill its whole process group at each of the moments.

    Args:
        moments: Moments in order, in what is counted.
        code: What is started.
        count: How far it is.
        spread_s: Most seconds that pass after a moment is reached, drawn at random by the moment.
    """
    for moment in moments:
        process = started(code)
        try:
            deadline = time.monotonic() + _LIMIT_S
            while count() < moment and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(random.Random(moment).random() * spread_s)
            assert process.poll() is None, f"ended with {process.poll()} before moment {moment}: {count()}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
