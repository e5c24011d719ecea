"""Measurements of networks on this machine: what is measured, in which order, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import raynas
from raynas.cli import main
from raynas.errors import RaynasError
from raynas.latency.config import LatencyConfig
from raynas.latency.measuring import LatencyListener, measure
from raynas.latency.source import MeasuredNetwork

SMALL = {"img_size": 32, "runs": 4, "warmup": 1, "rounds": 2, "listener": LatencyListener()}
TINY = "p16-w96-d4-h3-m2"


class Sleeping(nn.Module):
    """Takes as long as it is told, and notes who asked."""

    def __init__(self, seconds: list[float]) -> None:
        super().__init__()
        self.seconds = seconds
        self.batches: list[int] = []
        self.dtypes: list[bool] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        self.dtypes.append(torch.is_autocast_enabled("cpu"))
        return images.mean((1, 2, 3))


def test_passes_are_warmed_up_and_engines_take_turns() -> None:
    model = Sleeping([])
    config = LatencyConfig.make(
        {"engines": ("torch",), "precisions": ("float32", "bfloat16"), "runs": 5, "warmup": 2, "rounds": 2}
    )
    report = measure(MeasuredNetwork(model, "it", 8), config, LatencyListener())
    # To see that they work; then 2 passes to warm up and 3 that count of each, then 1 and the other 2.
    assert model.dtypes == [False, True] + [False] * 5 + [True] * 5 + [False] * 3 + [True] * 3
    assert [one.precision for one in report.measurements] == ["float32", "bfloat16"]
    for one in report.measurements:
        assert one.low_ms is not None and one.high_ms is not None and one.median_ms is not None
        assert 0 < one.low_ms <= one.median_ms <= one.high_ms and one.runs == 5
        assert one.images_per_s == pytest.approx(1000 / one.median_ms)


def test_each_number_of_images_and_threads_is_measured() -> None:
    threads = torch.get_num_threads()
    model = Sleeping([])
    config = LatencyConfig.make(
        {"engines": ("torch",), "batch_sizes": (1, 3), "threads": (1, 2), "runs": 2, "rounds": 1}
    )
    report = measure(MeasuredNetwork(model, "it", 8), config, LatencyListener())
    assert [(one.threads, one.batch_size) for one in report.measurements] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert set(model.batches) == {1, 3}
    assert torch.get_num_threads() == threads


def test_there_are_five_rounds_or_as_many_as_there_are_runs() -> None:
    assert [LatencyConfig.make({"runs": runs}).num_rounds for runs in (3, 5, 30)] == [3, 5, 5]
    model = Sleeping([])
    (one,) = measure(
        MeasuredNetwork(model, "it", 8), LatencyConfig.make({"engines": ("torch",), "runs": 3}), LatencyListener()
    ).measurements
    assert one.runs == 3


class Noting(LatencyListener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float | None]] = []

    def on_progress(self, done: int, total: int, doing: str, left_s: float | None = None) -> None:
        self.told.append((doing, left_s))


def test_time_left_is_told_once_passes_are_timed_and_nothing_is_prepared_any_more() -> None:
    noting = Noting()
    config = LatencyConfig.make({"engines": ("torch",), "batch_sizes": (1, 2), "runs": 3})
    measure(MeasuredNetwork(Sleeping([]), "it", 8), config, noting)
    known = [doing for doing, left in noting.told if left is not None]
    assert known == ["measures, round 3 of 3"] and noting.told[-1][0] == known[0]
    assert [doing for doing, _ in noting.told if doing.startswith("prepares")] == [
        "prepares torch, 1 image, 1 thread",
        "prepares torch, 2 images, 1 thread",
    ]


def test_onnx_runtime_measures_beside_torch() -> None:
    found = raynas.measure_latency("vit", architecture=TINY, engines=["torch", "onnxruntime"], **SMALL)
    assert [one.engine for one in found.measurements] == ["torch", "onnxruntime"]
    assert all(one.median_ms is not None and one.reason is None for one in found.measurements)
    assert found.network == f"vit {TINY}" and found.img_size == 32


@pytest.mark.slow
def test_compiled_networks_are_measured() -> None:
    found = raynas.measure_latency("vit", architecture=TINY, engines=["compile"], **SMALL)
    (one,) = found.measurements
    assert one.median_ms is not None


def test_without_a_compiler_the_others_are_measured_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RaynasError, match=r"engine 'compile': torch\.compile needs a compiler of C\+\+.*g\+\+"):
        raynas.measure_latency("vit", architecture=TINY, engines=["compile"], **SMALL)
    found = raynas.measure_latency("vit", architecture=TINY, **SMALL)
    reasons = {one.engine: one.reason for one in found.measurements}
    assert "compiler" in (reasons["compile"] or "") and reasons["torch"] is None


def test_without_onnx_runtime_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(RaynasError, match=r"needs the package onnxruntime: \w+ .*onnx"):
        raynas.measure_latency("no-such-space", architecture=TINY, engines=["torch", "onnxruntime"], **SMALL)


def test_exports_and_networks_of_timm_are_sources(tmp_path: Path) -> None:
    exported = raynas.export("deit-tiny", tmp_path / "it", untrained=True, num_classes=3, img_size=32)
    told = {**SMALL, "img_size": None, "engines": ["torch"]}
    assert raynas.measure_latency(exported, **told).img_size == 32
    assert "mobilenetv3" in raynas.measure_latency("timm:mobilenetv3_small_100", **{**told, "img_size": 32}).network


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vit", "-a", TINY, "--engine", "tensorrt"], "known engines are torch, compile, onnxruntime"),
        (["vit", "-a", TINY, "--batch-size", "0"], "each is a whole number from 1 to 4,096"),
        (["vit", "-a", TINY, "--precision", "int8"], "precisions"),
        (["vit", "-a", TINY, "--precision", "float16"], "precision float16 needs a GPU"),
        (["vit", "-a", TINY, "--img-size", "33"], "vit"),
        (["vit", "-a", TINY, "--device", "tpu"], "device is 'tpu'"),
        (["vit", "-a", TINY, "--rounds", "9", "--runs", "3"], "rounds is an integer of at most 3"),
        (["vit", "-a", TINY, "--measurements", "20"], "--measurements goes with a space alone"),
        (["vit", "-a", TINY, "--seconds", "1"], "--seconds goes with a space alone"),
        (["vit", "--engine", "torch"], "--engine goes with a network"),
        (["vit", "--batch-size", "1", "--batch-size", "2"], "a space is measured in one way"),
        (["vit", "--measurements", "5"], "measurements"),
        (["timm:no_such_network"], "no_such_network"),
        (["nowhere"], "nowhere"),
        (["vitt", "--img-size", "32"], "'vitt' is no network and no space; did you mean the space 'vit'?"),
        (["deit-tny"], "did you mean 'deit-tiny'?"),
        ([], "name what to measure"),
        (
            ["nowhere", "--predict", "deit-tiny"],
            "--predict takes the folder of `raynas latency SPACE`, and 'nowhere' is none",
        ),
    ],
)
def test_wrong_input_is_refused_in_a_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["latency", *arguments])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("raynas: ") and error.count("\n") == 1 and said in error
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["latency", "vit", "-a", TINY, "--engine", "torch", "--img-size", "32", "--runs", "3", "--rounds", "1"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--json"])
    assert end.value.code == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["img_size"] == 32 and found["measurements"][0]["engine"] == "torch"
