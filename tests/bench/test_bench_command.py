"""`raynas bench proxies` as a user types it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from toy_bench import write_table

import raynas
from raynas.cli import main
from raynas.space.registered import spaces

VIT = spaces.get("vit")
SMALL = ["--img-size", "16", "--set", "length_distortion.repeats=1", "--resamples", "20", "--workers", "0"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    chosen = list({a.key: a for a in (VIT.sample(rng) for _ in range(30))}.values())
    sizes = [float(np.log(VIT.num_params(a, 16, 10))) for a in chosen]  # type: ignore[misc]
    columns = {
        "top1": [round(50 + size + rng.standard_normal(), 2) for size in sizes],
        "loss": [round(9 - size / 3 + rng.standard_normal(), 2) for size in sizes],
        "same": [3] * len(chosen),
        "recipe": ["plain"] * len(chosen),
        "empty": [""] * len(chosen),
    }
    return write_table(tmp_path_factory.mktemp("truth") / "trained.csv", chosen, columns)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    return code if isinstance(code, int) else 0


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "proxies", "--help") == 0
    assert re.search(r"Examples:\s+raynas bench proxies", capsys.readouterr().out)


def test_predictors_are_ranked_for_each_label(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ["--space", "vit", "--truth", str(table), "-l", "top1", "-l", "loss:min", "-p", "length_distortion"]
    more = ["--combine", "length_distortion+macs", "--within", "depth", "--rows", "12", "--title", "A <b>title</b>"]
    assert run("bench", "proxies", *arguments, *more, *SMALL, "--out", str(out)) == 0
    shown = capsys.readouterr()
    assert "loss, lower is better, of 12 architectures" in shown.out
    for label in ("top1", "loss"):
        rows = [row for row in raynas.load_bench(out).correlations.to_pylist() if row["within"] is None]
        rows = sorted((row for row in rows if row["label"] == label), key=lambda row: -row["tau"])
        section = shown.out[shown.out.index(f"{label}, ") :]
        marked = [f" {row['proxy']} " + "(baseline)" * (row["kind"] == "baseline") for row in rows]
        places = [section.index(name) for name in marked]
        assert places == sorted(places)
        assert len(places) == 7
        assert f"{rows[0]['tau']:.2f}" in section
    assert str(out) in shown.err.replace("\n", "")
    page = (out / "report.html").read_text()
    assert "A &lt;b&gt;title&lt;/b&gt;" in page
    (out / "report.html").unlink()
    (out / "correlations.parquet").unlink()
    assert run("report", str(out)) == 0
    assert (out / "report.html").read_text() == page
    assert (out / "correlations.parquet").exists()


def test_what_failed_is_said_with_its_reason(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from raynas.proxies.probe import Probe, Proxy\n\n\n"
        "def fails(probe: Probe) -> float:\n    raise ValueError('no luck')\n\n\nbroken = Proxy('broken', fails)\n"
    )
    arguments = ["--space", "vit", "--truth", str(table), "-l", "top1", "-p", "macs", "-p", f"{own}:broken"]
    arguments += ["--rows", "12", "--img-size", "16", "--resamples", "20", "--workers", "0"]
    assert run("bench", "proxies", *arguments, "--out", str(tmp_path / "run")) == 0
    told = capsys.readouterr().err.replace("\n", " ")
    assert "broken: failed 12 x, such as: ValueError: no luck" in told
    assert "macs: " not in told


@pytest.mark.parametrize("repeated", [0, 1, 3])
def test_rows_of_one_architecture_are_said_to_be_averaged(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], repeated: int
) -> None:
    lines = table.read_text().splitlines()
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([*lines, *lines[1 : 1 + repeated]]) + "\n")
    arguments = ["--space", "vit", "--truth", str(twice), "-l", "top1", "-p", "macs"]
    arguments += ["--img-size", "16", "--resamples", "20", "--workers", "0", "--out", str(tmp_path / "run")]
    assert run("bench", "proxies", *arguments) == 0
    said = f"labels averaged: {repeated} of {len(lines) - 1} architectures stand in several rows of the table"
    assert (said in capsys.readouterr().out) == (repeated > 0)


def test_a_file_of_settings_is_overridden_by_the_command_line(table: Path, tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    values = {"space": "vit", "truth": str(table), "labels": ["loss:min"], "proxies": ["macs"], "top": 3, "workers": 0}
    file.write_text(yaml.safe_dump({**values, "resamples": 20, "combine": ["macs+num_params"], "img_size": 16}))
    out = tmp_path / "run"
    assert run("bench", "proxies", "--config", str(file), "--top", "5", "--aggregates-only", "--out", str(out)) == 0
    bench = raynas.load_bench(out)
    assert (bench.settings.top, bench.settings.labels, bench.settings.aggregates_only) == (5, ("loss:min",), True)
    assert "macs+num_params" in bench.correlations["proxy"].to_pylist()
    assert run("bench", "proxies", "--resume", "--out", str(out), "-l", "top1") == 0
    bench = raynas.load_bench(out)
    assert (bench.settings.top, bench.settings.labels) == (5, ("top1",))


@pytest.mark.long
def test_an_interrupted_benchmark_prints_the_command_that_resumes_it(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    arguments = ["--space", "vit", "--truth", str(table), "-l", "top1", "-p", "length_distortion", *SMALL]
    process = subprocess.Popen(
        [sys.executable, "-m", "raynas.cli", "bench", "proxies", *arguments, "--out", str(out),
         "--set", "length_distortion.repeats=15"],
        stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list((out / "evaluations").glob("part*"))) < 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130
    line = next(line for line in shown.splitlines() if line.startswith("continue with: "))
    resume = shlex.split(line.removeprefix("continue with: "))
    assert resume == ["raynas", "bench", "proxies", "--resume", "--out", str(out)]
    part = raynas.load_bench(out)
    assert part.run.summary["status"] == "interrupted"
    assert (out / "report.html").exists()
    assert run(*resume[1:]) == 0
    assert raynas.load_bench(out).run.summary["evaluations"] == len(part.truth)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a space with --space"),
        (["--space", "nowhere"], "unknown space 'nowhere'"),
        (["--space", "vit"], "needs a truth table: --truth FILE.csv"),
        (["--space", "vit", "--truth", "TABLE"], "name a label of "),
        (["--space", "vit", "--truth", "TABLE", "-l", "top5"], "has no label 'top5'"),
        (["--space", "vit", "--truth", "TABLE", "-l", "same"], "label 'same' of"),
        (["--space", "vit", "--truth", "TABLE", "-l", "recipe"], "is no number in row 1: 'plain'"),
        (["--space", "vit", "--truth", "TABLE", "-l", "empty"], "has a value for 0 architectures"),
        (["--space", "as-vit", "--truth", "TABLE", "-l", "top1"], "has no column 'kernel', 'split'"),
        (["--space", "vit", "--truth", "TABLE", "-l", "top1", "--within", "width"], "has no field 'width'"),
        (["--space", "vit", "--truth", "TABLE", "-l", "top1", "--combine", "macs+dss"], "'dss' is not computed"),
        (["--space", "vit", "--truth", "TABLE", "-l", "top1", "-p", "luck"], "unknown proxy 'luck'"),
        (["--space", "vit", "--truth", "TABLE", "-l", "top1", "-p", "tvt"], "tvt needs a teacher: --teacher takes"),
        (["--space", "vit", "--truth", "TABLE", "-l", "top1", "--rows", "3"], "rows: "),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "none"], "none holds no run to resume; name a space"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_on_standard_error_and_leaves_nothing(
    arguments: list[str],
    message: str,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("bench", "proxies", *(str(table) if one == "TABLE" else one for one in arguments)) != 0
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("raynas: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []
