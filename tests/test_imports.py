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
    "raynas.space.cost",
    "raynas.data.dataset",
    "raynas.searching.ranking",
    "raynas.registry",
    "raynas.report.page",
    "raynas.report.trials",
    "raynas.report.growth",
    "raynas.report.sweep",
    "raynas.report.training",
    "raynas.space.results",
    "raynas.space.tokens",
    "raynas.searchers",
    "raynas.storage.sources",
    "raynas.space.search_space",
    "raynas.storage.result_store",
    "raynas.sweeps.folder",
    "searchspaces.as_vit",
]


@pytest.mark.parametrize("heavy", ["torch", "ray"])
def test_light_modules_import_neither_torch_nor_ray(heavy: str) -> None:
    script = f"import sys, {', '.join(LIGHT)}\nassert {heavy!r} not in sys.modules, 'imported'"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_help_needs_no_numbers_or_tables() -> None:
    script = "import sys, raynas.cli\nassert not {'numpy', 'pyarrow', 'pydantic', 'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
