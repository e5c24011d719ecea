"""An evaluation in its run folder: what is in it, how it is listed, and how it ends when it is interrupted."""

from __future__ import annotations

import io
import os
import shlex
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from report_folders import embedded
from toy_trainings import trained, with_broken_image

import raynas
from raynas.api import listing, report
from raynas.cli import main
from raynas.data.opening import open_dataset
from raynas.errors import StoreError
from raynas.evaluation.config import EvaluateConfig
from raynas.evaluation.folder import load_evaluation, read_evaluation
from raynas.evaluation.run import EvaluationListener
from raynas.evaluation.session import command_of
from raynas.interruption import Interrupted
from raynas.training.images import eval_transform

HERE: dict[str, Any] = {"listener": EvaluationListener(), "device": "cpu", "loader_processes": 0, "batch_size": 20}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    trained(folder, epochs=1, max_images=150, val_fraction=0.3)
    return folder


def test_the_folder_is_a_run_with_a_page(run: Path, tmp_path: Path) -> None:
    found = raynas.evaluate(run, out=tmp_path / "test", shown_images=5, **HERE)
    (row,) = listing("runs", tmp_path)
    assert {name: row[name] for name in ("kind", "status", "progress")} == {
        "kind": "evaluation", "status": "completed", "progress": "45 of 45 images"}  # fmt: skip
    top1, low, high = (f"{100 * share:.2f} %" for share in (found.top1, found.top1_low, found.top1_high))
    assert row["found"] == f"top-1 {top1} ({low} to {high})"
    assert load_evaluation(tmp_path / "test").plain() == found.plain()
    page = report(tmp_path / "test").read_text()
    assert f"{100 * found.top1:.2f} %" in page
    stored = read_evaluation(tmp_path / "test")
    words = shlex.split(stored.description["command"])
    assert words[:3] == ["raynas", "evaluate", str(run)]
    assert words[-2:] == ["--out", str(tmp_path / "test")]
    with pytest.raises(StoreError, match="holds a run of the kind evaluation"):
        raynas.load_training(tmp_path / "test")


def test_pictures_are_what_the_network_sees_of_the_images_that_are_most_wrong_and_least_certain(
    run: Path, tmp_path: Path
) -> None:
    raynas.evaluate(run, out=tmp_path / "test", shown_images=3, **HERE)
    rows = pq.read_table(tmp_path / "test" / "predictions.parquet").to_pylist()
    wrong = [k for k, row in enumerate(rows) if row["label"] != row["prediction"]]
    expected = {*sorted(wrong, key=lambda k: -rows[k]["probability"])[:3]}
    expected |= {*sorted(range(len(rows)), key=lambda k: rows[k]["probability"])[:3]}
    pictures = read_evaluation(tmp_path / "test").pictures()
    assert set(pictures) == expected
    for position, content in pictures.items():
        (image,), _ = open_dataset("digits").read([int(rows[position]["name"].removeprefix("row "))])
        seen = eval_transform(32)(image).numpy().transpose(1, 2, 0)
        pixels = seen * np.array([0.229, 0.224, 0.225]) + np.array([0.485, 0.456, 0.406])
        np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(content))), pixels * 255, atol=0.51)


def test_images_that_were_trained_on_are_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Of 150 images, 45 are held out; the other 1,647 of the 1,797 digits were never seen.
    told = "the network was trained on 105 of these 1,797 images"
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(run), "--data", "digits", "--out", str(tmp_path / "all"), "--device", "cpu",
              "--loader-processes", "0"])  # fmt: skip
    assert not end.value.code
    assert told in capsys.readouterr().err
    assert told in load_evaluation(tmp_path / "all").note
    assert embedded(report(tmp_path / "all").read_text())["note"].startswith(told)
    assert raynas.evaluate(run, **HERE).note == ""


def test_images_of_files_that_were_trained_on_are_told_by_the_record(tmp_path: Path) -> None:
    data, other = (with_broken_image(tmp_path / f"{name}.parquet", row=None, rows=40) for name in ("own", "other"))
    trained(tmp_path / "run", epochs=1, data=data, max_images=None, val_fraction=0.25, batch_size=16)
    told = raynas.evaluate(tmp_path / "run", data=data, **HERE).note
    assert told.startswith("the network was trained on 30 of these 40 images")
    assert raynas.evaluate(tmp_path / "run", data=other, **HERE).note == ""


def test_a_folder_with_a_run_of_another_kind_is_refused_by_its_kind(run: Path) -> None:
    for resume in (False, True):
        with pytest.raises(StoreError, match="holds a run of the kind training, not evaluation"):
            raynas.evaluate(run, out=run, resume=resume, **HERE)


class StopsAfterAPass(EvaluationListener):
    def on_progress(self, done: int, total: int, images_per_s: float) -> None:
        if done == 20:
            os.kill(os.getpid(), signal.SIGTERM)


def test_what_is_interrupted_is_carried_out_again_and_comes_out_the_same(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "test"
    with pytest.raises(Interrupted):
        raynas.evaluate(run, out=out, **{**HERE, "listener": StopsAfterAPass()})
    stored = read_evaluation(out)
    assert (stored.summary["status"], stored.summary["images_done"], stored.report) == ("interrupted", 20, None)
    assert b"--resume" in report(out).read_bytes()
    with pytest.raises(StoreError, match="holds another run: img_size was 32 and is now 64"):
        raynas.evaluate(run, out=out, resume=True, img_size=64, **HERE)
    again = raynas.evaluate(run, out=out, resume=True, **HERE)
    whole = raynas.evaluate(run, out=tmp_path / "whole", **HERE)
    assert again.predictions.table().equals(whole.predictions.table())
    assert load_evaluation(out).top1 == whole.top1


def test_the_command_says_how_to_go_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raynas.console.evaluation.EvaluationConsole.on_progress", StopsAfterAPass.on_progress)
    out = tmp_path / "a test"
    arguments = ["evaluate", str(run), "--batch-size", "20", "--loader-processes", "0", "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 143
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("continue with: "))
    monkeypatch.undo()
    with pytest.raises(SystemExit) as end:
        main(shlex.split(line.removeprefix("continue with: raynas ")))
    assert not end.value.code
    printed, said = capsys.readouterr()
    assert "calibration error" in printed
    assert f"report {out / 'report.html'}" in said
    assert load_evaluation(out).images == 45


def test_the_command_of_an_evaluation_has_all_that_was_asked_for(tmp_path: Path) -> None:
    asked = {"data": "folder:my test", "pixel_range": (0, 4095), "skipped_images": ("a.png", "b.png"), "seed": 3}
    config = EvaluateConfig.make({**asked, "skip_unreadable": True})
    told = {"source": "runs/a", "space": None, "pick": ["macs<=1e9"], "trust_code": True}
    words = shlex.split(command_of(told, config, Path("runs/test")))
    assert words[:5] == ["raynas", "evaluate", "runs/a", "--pick", "macs<=1e9"]
    assert words[-2:] == ["--out", "runs/test"]
    between = " ".join(words[5:-2])
    for part in ("--data folder:my test", "--pixel-range 0,4095", "--skip-image a.png --skip-image b.png", "--seed 3"):
        assert part in between
    assert {"--skip-unreadable", "--trust-code"} <= set(words)
    assert "--batch-size" not in words
