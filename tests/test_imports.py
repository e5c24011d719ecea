"""Spaces, searchers, store and reports work without torch and without Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = [
    "raynas",
    "raynas.api",
    "raynas.cli",
    "raynas.config",
    "raynas.cost",
    "raynas.data",
    "raynas.ranking",
    "raynas.registry",
    "raynas.report",
    "raynas.report_finalists",
    "raynas.report_growth",
    "raynas.report_sweep",
    "raynas.report_training",
    "raynas.results",
    "raynas.retokenization",
    "raynas.searchers",
    "raynas.source",
    "raynas.space",
    "raynas.store",
    "raynas.sweeps",
    "searchspaces.as_vit",
]


@pytest.mark.parametrize("heavy", ["torch", "ray"])
def test_light_modules_import_neither_torch_nor_ray(heavy: str) -> None:
    script = f"import sys, {', '.join(LIGHT)}\nassert {heavy!r} not in sys.modules, 'imported'"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_help_needs_no_numbers_or_tables() -> None:
    script = "import sys, raynas.cli\nassert not {'numpy', 'pyarrow', 'pydantic', 'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
