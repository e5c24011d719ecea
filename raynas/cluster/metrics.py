"""Metrics of a pool for Prometheus, by way of Ray, which passes them on where its nodes have `ray[default]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHUNK_SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]


class PoolMetrics:
    """Evaluations, queue, chunks and workers of one run; each has the run's name as a label.

    Args:
        run: The name of the run.
    """

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        def made(kind: Any, name: str, description: str, *labels: str, **more: Any) -> Any:
            metric = kind(f"raynas_{name}", description=description, tag_keys=("run", *labels), **more)
            metric.set_default_tags({"run": run})
            return metric

        self._evaluations = made(Counter, "evaluations", "Evaluations that came back, by their status.", "status")
        self._chunks = made(
            Histogram, "chunk_seconds", "Seconds that a worker took for what it was sent.", boundaries=_CHUNK_SECONDS
        )
        self._workers = made(Gauge, "workers", "Workers, by what they are doing.", "state")
        self._queue = made(Gauge, "queue", "Candidates that have not come back, by where they are.", "state")

    def count(self, statuses: Mapping[str, int]) -> None:
        """Evaluations came back, so many with each status."""
        for status, number in statuses.items():
            self._evaluations.inc(number, tags={"status": status})

    def chunk(self, seconds: float) -> None:
        """A chunk came back after so many seconds of work."""
        self._chunks.observe(seconds)

    def show(self, workers: Mapping[str, int], queue: Mapping[str, int]) -> None:
        """How many workers and candidates are in each state, of which every one is named."""
        for state, number in workers.items():
            self._workers.set(number, tags={"state": state})
        for state, number in queue.items():
            self._queue.set(number, tags={"state": state})
