"""Fixtures for pages of benchmarks; test modules name this one in `pytest_plugins` and do not import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_benches import made

import raynas


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("runs") / "bench")


@pytest.fixture(scope="module")
def correlations(bench: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = raynas.load_bench(bench.parent).correlations.to_pylist()
    return rows
