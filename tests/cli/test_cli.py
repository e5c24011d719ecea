"""The commands as a user types them."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import raynas
from raynas.cli import main
from searchspaces.as_vit import as_vit

SMALL = ["--workers", "0", "--img-size", "32", "--set", "length_distortion.repeats=1"]
COMMAND = [sys.executable, "-m", "raynas.cli"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("command", ["search", "score", "doctor", "report", "list"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert re.search(rf"Examples?:\s+raynas {command}", shown)


def test_search_ends_with_a_report_and_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert (
        run("search", "as-vit", *SMALL, "--budget", "6", "-p", "ntk_condition", "--data", "digits", "--out", str(out))
        == 0
    )
    shown = capsys.readouterr()
    assert "6 evaluations" in shown.out
    lines = shown.err.replace("\n", "")
    assert lines.count(str(out).replace("\n", "")) >= 3  # first, last, and the report
    assert (out / "report.html").stat().st_size > 10_000
    loaded = raynas.load_run(out)
    assert loaded.summary["evaluations"] == 6
    assert set(loaded.table.column_names) >= {"length_distortion", "ntk_condition", "num_params", "macs"}


def test_scores_without_a_value_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--img-size", "32", "--workers", "0", "--data", "digits"]
    given = ["timm", "-a", "resnet10t", "-a", "resnet14t", "-p", "az_nas", "-p", "synflow", *small]
    assert run("score", *given, "--out", str(tmp_path / "run")) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if " x, such as: " in line]
    assert len(lines) == 3  # one for each of its outputs
    assert all(re.fullmatch(r"az_\w+: not_applicable 2 x, such as: needs .*", line) for line in lines)


def test_search_without_arguments_is_a_search_of_as_vit_on_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("search", *SMALL, "--budget", "3") == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"as-vit-\d{8}-\d{6}", folder.name)
    config = raynas.load_run(folder).description["config"]
    assert (config["data"], config["searcher"], config["objectives"]) == (
        "digits",
        "reinforce",
        ["length_distortion:max"],
    )
    assert config["proxies"] == ["length_distortion", "ntk_condition"]


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    values = {"space": "as-vit", "budget": 50, "seed": 3, "searcher": "random", "img_size": 32, "workers": 0}
    file.write_text(yaml.safe_dump({**values, "settings": {"length_distortion": {"repeats": 1, "points": 4}}}))
    out = tmp_path / "run"
    assert (
        run("search", "--config", str(file), "--budget", "2", "--set", "length_distortion.points=3", "--out", str(out))
        == 0
    )
    config = raynas.load_run(out).description["config"]
    assert (config["budget"], config["seed"], config["searcher"]) == (2, 3, "random")
    assert config["settings"] == {"length_distortion": {"repeats": 1, "points": 3}}


def test_score_takes_texts_names_files_and_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architectures = [as_vit.read("8,2,3|4,1,2|4,1,4|4,1,6|32"), as_vit.read("4,4,2|2,2,3|3,1,4|2,1,5|16")]
    table = tmp_path / "architectures.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(as_vit.fields)
        for a in architectures:
            writer.writerow(" ".join(map(str, v)) if isinstance(v, tuple) else v for v in (a[f] for f in as_vit.fields))
    lines = tmp_path / "architectures.txt"
    lines.write_text("\n".join([as_vit.text(architectures[0]), architectures[1].to_json()]))
    expected = {a.key: float(as_vit.macs(a, 32, 10)) for a in architectures}  # type: ignore[misc]

    texts = [part for a in architectures for part in ("--architecture", as_vit.text(a))]
    for name, chosen in {"texts": texts, "csv": ["--file", str(table)], "lines": ["--file", str(lines)]}.items():
        out = tmp_path / name
        assert run("score", "as-vit", *SMALL, "-p", "length_distortion", *chosen, "--out", str(out)) == 0
        rows = raynas.load_run(out).table.to_pylist()
        assert {row["architecture_key"]: row["macs"] for row in rows} == expected
        assert all(row["length_distortion"] > 0 for row in rows)
    assert "8,2,3|4,1,2|4,1,4|4,1,6|32" in capsys.readouterr().out.replace("\n", "")

    assert run("score", "as-vit", "--samples", "5", "-p", "macs", "--workers", "0", "--out", str(tmp_path / "s")) == 0
    assert raynas.load_run(tmp_path / "s").table.num_rows == 5


@pytest.mark.parametrize("kind", ["spaces", "models", "proxies", "searchers", "datasets"])
def test_lists_are_for_people_and_for_programs(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", kind, "--json") == 0
    # Without what other tests of this process have registered.
    rows = [row for row in json.loads(capsys.readouterr().out) if not row.get("name", "").startswith("toy")]
    assert rows
    assert all(row["summary"] for row in rows)
    assert run("list", kind) == 0
    assert (rows[0].get("name") or rows[0]["form"])[:8] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "nowhere"], "unknown space 'nowhere'. Known spaces: as-vit"),
        (["search", "as-vit", "-p", "luck"], "unknown proxy 'luck'"),
        (["search", "as-vit", "--searcher", "luck"], "unknown searcher 'luck'"),
        (["search", "as-vit", "--constraint", "macs<=10"], "meets macs<=10: macs is from"),
        (["search", "as-vit", "--set", "points=3"], "--set takes PROXY.KEY=VALUE"),
        (["search", "as-vit", "--resume"], "--resume needs --out"),
        (["search", "--config", "missing.yaml"], "cannot read configuration missing.yaml"),
        (["search", "as-vit", "--data", "parquet:missing.parquet"], "missing.parquet"),
        (["search", "as-vit", "--data", "cifar"], "cifar"),
        (["score", "as-vit"], "give either --architecture, --file or --samples"),
        (["score", "as-vit", "--samples", "2", "-a", "seed"], "give either --architecture, --file or --samples"),
        (["score", "as-vit", "--file", "missing.csv"], "cannot read missing.csv"),
        (["score", "as-vit", "-p", "macs", "-a", "8,2|4"], "8,2|4"),
        (["score", "as-vit", "-p", "macs", "-a", '{"kernel": 3}'], "has the fields kernel, split"),
        (["report", "nowhere"], "nowhere holds no run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_on_standard_error_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) != 0
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("raynas: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_signal_during_start_up_ends_with_its_code(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "search", "as-vit", "--workers", "1", "--out", str(out)], stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out / "run.yaml").exists():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "continue with: raynas search --resume" in shown


def test_ctrl_c_while_results_are_shown_prints_the_command_that_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the search is done, and no session looks at signals any more."""
    monkeypatch.setattr("raynas.console.runs.show_best", lambda run: os.kill(os.getpid(), signal.SIGINT))
    out = tmp_path / "run"
    assert run("search", "as-vit", *SMALL, "--budget", "2", "--out", str(out)) == 130
    assert f"continue with: raynas search --resume --out {out}" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_command_without_a_run_says_so_in_a_line(tmp_path: Path) -> None:
    arguments = ["latency", "vit", "--architecture", "deit-tiny", "--engine", "torch", "--runs", "100000"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=tmp_path,
    )  # fmt: skip
    time.sleep(8)
    os.kill(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert shown.splitlines()[-1] == "raynas: interrupted by SIGINT"
    assert "Traceback" not in shown


@pytest.mark.slow
def test_an_interrupted_search_prints_the_command_that_resumes_it(tmp_path: Path) -> None:
    out = tmp_path / "my run"
    arguments = ["search", "as-vit", *SMALL, "--budget", "400", "--out", str(out)]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list((out / "evaluations").glob("part*"))) < 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    line = next(line for line in shown.splitlines() if line.startswith("continue with: "))
    resume = shlex.split(line.removeprefix("continue with: "))
    assert raynas.load_run(out).summary["status"] == "interrupted"
    done = raynas.load_run(out).summary["evaluations"]
    assert resume[0] == "raynas"
    assert run(*resume[1:], "--budget", str(done + 9)) == 0
    assert raynas.load_run(out).summary["evaluations"] == done + 9
    assert raynas.load_run(out).summary["status"] == "completed"
