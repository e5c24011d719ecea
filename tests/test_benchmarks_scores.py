"""The benchmarks of scores run, and their own assertions hold, on a small setting."""

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(("name", "says"), [("length_distortion", "equal to 1e-9"), ("ntk_condition", "equal to 1e-5")])
def test_a_benchmark_runs_and_prints_its_ratio(name, says, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert says in printed
    assert "ratio" in printed
