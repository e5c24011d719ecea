"""Scores of another kind of device, of other libraries or threads: never taken for this one's, and always named."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

import raynas
from raynas.errors import ConfigError, PoolError, StoreError
from raynas.space.results import MIXED_DEVICES, Platform
from raynas.storage.result_store import SCHEMA

HERE = torch.backends.cpu.get_cpu_capability()
SEARCH: dict[str, Any] = {
    "space": "vit", "img_size": 32, "data": "digits", "batch_size": 4, "objectives": ["synflow"], "searcher": "random",
    "budget": 4, "workers": 0,
}  # fmt: skip
needs_vector_instructions = pytest.mark.skipif(HERE == "DEFAULT", reason="torch knows no other instructions here")


def search(out: Path, **settings: Any) -> raynas.Run:
    chosen = {**SEARCH, **settings}
    return raynas.search(str(chosen.pop("space")), out=out, **chosen)


def command(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same search by a process whose torch uses no vector instructions, as on a lesser machine."""
    config = out.parent / "search.yaml"
    config.write_text(yaml.safe_dump(SEARCH))
    return subprocess.run(
        [sys.executable, "-m", "raynas.cli", "search", "--config", str(config), "--out", str(out), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was carried out on this machine."""
    return search(tmp_path_factory.mktemp("made") / "run").folder


def platforms(run: raynas.Run) -> set[Platform]:
    """Those of all scores but the costs."""
    rows = [row for row in run.evaluations.to_pylist() if row["proxy"] == "synflow"]
    return {Platform(row["device_type"], row["threads"], row["libraries"]) for row in rows}


def values(run: raynas.Run) -> dict[str, float | None]:
    return {row["architecture_key"]: row["value"] for row in run.evaluations.to_pylist() if row["proxy"] == "synflow"}


def test_a_row_says_what_computed_it_and_a_cost_does_not(made: Path) -> None:
    run = raynas.load_run(made)
    (found,) = platforms(run)
    assert (found.device_type, found.threads) == (HERE, 1)
    assert f"torch {torch.__version__.partition('+')[0]}" in found.libraries
    costs = [row for row in run.evaluations.to_pylist() if row["proxy"] == "macs"]
    assert {(row["device_type"], row["threads"], row["libraries"]) for row in costs} == {("", 0, "")}
    assert run.description["platform"] == {
        "device_type": HERE, "threads": 1, "libraries": found.libraries,
    }  # fmt: skip


@pytest.mark.slow
@needs_vector_instructions
def test_scores_of_another_kind_of_processor_are_neither_gone_on_with_nor_taken(made: Path, tmp_path: Path) -> None:
    refused = command(made, "--resume", "--budget", "6")
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if not line.startswith("run folder")]
    assert (
        f"its scores were computed with device type {HERE}" in line
        or f"computes on DEFAULT, and the run on {HERE}" in line
    )
    assert raynas.load_run(made).summary["evaluations"] == 4

    other = tmp_path / "other"
    done = command(other, "--reuse", str(made))
    assert done.returncode == 0, done.stderr
    assert f"4 scores of {made} are not taken" in done.stderr
    run = raynas.load_run(other)
    assert run.summary["reused"] == 0
    assert {one.device_type for one in platforms(run)} == {"DEFAULT"}
    # The same to rounding, and not the same.
    here, there = values(raynas.load_run(made)), values(run)
    assert here.keys() == there.keys()
    assert here != there
    assert [there[key] for key in here] == pytest.approx(list(here.values()), rel=1e-4)


@pytest.mark.parametrize(
    "change", [{"threads": 2}, {"libraries": "numpy 1, timm 1, torch 1"}, {"device_type": "NVIDIA X"}]
)
def test_a_run_whose_scores_would_go_on_otherwise_is_refused(
    made: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    """What is stored is changed, as if another machine had written it."""
    folder = tmp_path / "run"
    search(folder)
    described = yaml.safe_load((folder / "run.yaml").read_text())
    described["platform"] |= change
    (folder / "run.yaml").write_text(yaml.safe_dump(described))
    (name,) = change
    with pytest.raises((StoreError, PoolError), match=name.replace("_", " ") if name != "device_type" else "NVIDIA X"):
        search(folder, resume=True)


def test_an_asked_device_type_that_is_not_here_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=f"this process computes on {HERE}, and the run on Z80"):
        search(tmp_path / "run", device_type="Z80")
    assert not (tmp_path / "run").exists()


def test_scores_with_other_threads_are_not_taken(made: Path, tmp_path: Path) -> None:
    assert search(tmp_path / "same", reuse=[made]).summary["reused"] == 4
    assert search(tmp_path / "other", reuse=[made], threads=2).summary["reused"] == 0


def test_mixed_devices_are_stored_and_their_scores_are_taken_by_nobody_else(made: Path, tmp_path: Path) -> None:
    mixed = search(tmp_path / "mixed", mixed_devices=True)
    (found,) = platforms(mixed)
    assert found.device_type == MIXED_DEVICES
    assert mixed.description["config"]["mixed_devices"]
    assert search(tmp_path / "run", reuse=[mixed.folder]).summary["reused"] == 0
    with pytest.raises(ConfigError, match=f"device_type is {HERE!r}, but mixed_devices"):
        search(mixed.folder, resume=True, device_type=HERE)


def test_a_part_that_another_platform_wrote_is_set_aside(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = search(folder)
    before = values(run)
    (part, *_) = sorted((folder / "evaluations").iterdir())
    table = pq.read_table(part)
    rows = [
        {**row, "device_type": "AVX9", "value": 1.0} if row["proxy"] == "synflow" else row for row in table.to_pylist()
    ]
    pq.write_table(type(table).from_pylist(rows, SCHEMA), part)
    again = search(folder, resume=True)
    assert values(again) == before
    assert [path.name for path in (folder / "set_aside").iterdir()] == [part.name]


def test_a_platform_in_words() -> None:
    platform = Platform("AVX2", 1, "torch 2")
    assert platform.in_words == "AVX2, 1 thread, torch 2"
    assert replace(platform, threads=2).in_words == "AVX2, 2 threads, torch 2"
