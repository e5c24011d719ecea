"""The benchmarks run, and their own assertions hold, on a small setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SAYS = {
    "length_distortion": ["equal to 1e-9", "ratio"],
    "ntk_condition": ["equal to 1e-5", "ratio"],
    "build_share": ["length_distortion: ", "of it building"],
    "proxy_passes": ["together: ", "dss: ", "features cached: ", "az_nas at batch 4: ", "MiB"],
    "proxy_rates": ["autoformer-tiny, 32 px", "synflow ", "of peak", "best pool against the loop"],
    "proxies_vit_bench": ["autoformer_tiny_plain: ", "c100_kd_acc: ", "imagenet_top1_supernet: ", "num_params "],
    "loop_throughput": ["2,000 evaluations: ", "load_run of 6,000 rows", "resume to the first new evaluation"],
    "scoring_workers": ["two actors are faster by"],
    "retokenization": [" epochs at stride 16: ", "multiply-adds saved: ", "time saved: "],
    "data_waiting": ["light: ", "of a step waiting for data"],
    "as_vit_search": [
        "search: 6 evaluations",
        "growth: ",
        "building ",
        "passes ",
        "transfers 0.00 s",
        "waiting ",
        "total ",
    ],
    "as_vit_scores": ["5 topologies", "partial_tau", "length_distortion + ntk_condition"],
    "growth_workers": ["2 steps without the first", "two actors are faster by"],
}
STARTS_RAY = ("loop_throughput", "scoring_workers", "growth_workers")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in STARTS_RAY else ()) for n in SAYS])
def test_a_benchmark_runs_and_says_its_figures(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in SAYS[name]:
        assert text in done.stdout


def test_every_benchmark_is_run() -> None:
    elsewhere = {"equal_to_commit"}  # by tests of its own
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {*SAYS, "timing", "as_vit_training", *elsewhere}
