"""The benchmarks run on a small setting, their own assertions hold, and what they print becomes a table."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import figures
from benchmarks.__main__ import main
from benchmarks.registry import BENCHMARKS, FOLDER, HELPERS, Benchmark, Figure, Shown, get
from benchmarks.running import compared

ROOT = FOLDER.parent


MARKS = {
    **dict.fromkeys(("length_distortion", "ntk_condition"), ()),
    **dict.fromkeys(("growth_workers", "proxy_passes", "as_vit_scores", "loop_throughput"), pytest.mark.long),
    **dict.fromkeys(("training_workers", "supernet_search", "supernet_sampling"), pytest.mark.long),
    **dict.fromkeys(("scoring_workers", "proxies_vit_bench", "build_share", "scaling", "soak"), pytest.mark.long),
    **dict.fromkeys(("elasticity", "pretraining_study"), pytest.mark.long),
    **dict.fromkeys(("retokenization", "data_waiting", "proxy_rates"), pytest.mark.long),  # in part in that of GPUs
}
"""Of benchmarks by name; others are slow."""


def run_small(benchmark: Benchmark, folder: Path, *arguments: str) -> str:
    command = [sys.executable, str(benchmark.path), "--quick", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "benchmark",
    [
        pytest.param(one, id=one.name, marks=MARKS.get(one.name, pytest.mark.slow))
        for one in BENCHMARKS
        if not one.needs_gpu
    ],
)
def test_a_benchmark_runs_and_says_its_figures(benchmark: Benchmark, tmp_path: Path) -> None:
    check_figures(benchmark, run_small(benchmark, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",  # the first one's is the small setting
    ["pit", "vit", *(pytest.param(name, marks=pytest.mark.long) for name in ("resnet", "convnext", "efficientnet"))],
)
def test_scores_are_those_that_their_definitions_say(family: str, tmp_path: Path) -> None:
    check_figures(get("score_definitions"), run_small(get("score_definitions"), tmp_path, "--family", family))


def check_figures(benchmark: Benchmark, printed: str) -> None:
    """It says what it should, and has each of its figures."""
    for text in benchmark.says:
        assert text in printed
    found = benchmark.found_in(printed)
    assert {one.figure.name for one in found} == {figure.name for figure in benchmark.figures}
    assert all(math.isfinite(one.value) for one in found)


def test_every_script_is_a_benchmark_or_a_helper() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*(one.name for one in BENCHMARKS), *HELPERS}


def test_the_list_has_the_question_and_the_expectation_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    for benchmark in BENCHMARKS:
        assert "\n" not in benchmark.question, benchmark.name
        assert f"{benchmark.name}\n  {benchmark.question}\n  expected: {benchmark.expectation}; on" in listed


def test_figures_are_read_with_their_items_and_verdicts() -> None:
    printed = """AMD EPYC, 1 thread(s), torch 2.15.0
zico: 1,204 ms a score, 11.5% of it building (expected building under 10%: NOT met)
width: 4 ms a score, 94.8% of it building
dss: 36 ms a score, 2.5% of it building (expected under 2 s: met, building under 10%: met)
"""
    building = [one for one in get("build_share").found_in(printed.replace("1,204", "1204")) if one.figure.unit == "%"]
    assert [(one.item, one.value, one.is_met) for one in building] == [("zico", 11.5, False), ("dss", 2.5, True)]
    (rate,) = get("loop_throughput").found_in("100,000 evaluations: 8,150 per second (expected at least 5,000)\n")
    assert (rate.figure.name, rate.value, rate.is_met) == ("rate", 8150.0, None)


def row(figure: str, value: float, **fields: object) -> figures.Row:
    given: dict[str, object] = {
        "benchmark": "toy", "arguments": "", "item": "", "unit": "s", "is_met": None, "when": "2026-01-01 00:00:00",
        "commit": "abc1234", "command": "python benchmarks/toy.py", "hardware": "one core", "versions": "torch 1",
    }  # fmt: skip
    return figures.Row(**{**given, "figure": figure, "value": value, **fields})  # type: ignore[arg-type]


def test_the_table_keeps_what_was_added(tmp_path: Path) -> None:
    first = [row("time", 1.5, item='a, "b"'), row("time", 2.0, is_met=True)]
    second = [row("rate", -3e-7, is_met=False, when="2026-01-02 00:00:00")]
    figures.add(tmp_path / "results" / "table.csv", first)
    figures.add(tmp_path / "results" / "table.csv", second)
    assert figures.read(tmp_path / "results" / "table.csv") == [*first, *second]


def test_a_row_of_the_page_is_of_the_last_run_and_has_medians_over_rounds() -> None:
    old = row("time", 100.0)
    new = [
        row("time", value, item=item, when="2026-01-02 00:00:00")
        for item, value in [("a", 1.0), ("a", 9.0), ("a", 2.0), ("b", 5.0)]
    ]
    assert figures.latest([*new, old], "toy", "") == new
    shown = Shown("it", "{time_least:.0f} to {time_most:.0f} s ({time_most_item})")
    assert figures.measured(shown, new) == "2 to 5 s (b)"


def test_two_commits_are_compared_by_the_medians_of_their_rounds() -> None:
    rows = [row("time", value, commit="here") for value in (4.0, 2.0, 3.0)]
    rows += [row("time", value, commit="there", is_met=False) for value in (6.0, 5.0, 90.0)]
    (line,) = compared(rows)
    assert line == {"figure": "time", "here": "3 s", "there": "6 s", "ratio": "0.500", "expected": ""}


def test_the_page_has_the_table_of_the_latest_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["page", "--check"]) == 0, capsys.readouterr().out
    rows = figures.read(figures.TABLE)
    assert figures.section(rows) in figures.PAGE.read_text()
    headlines = figures.section(rows, headlines=True)
    assert headlines in figures.README.read_text()
    assert 5 <= len(headlines.splitlines()) < 10


def test_every_row_of_the_page_has_a_figure() -> None:
    rows = figures.read(figures.TABLE)
    for benchmark in BENCHMARKS:
        for shown in benchmark.shown:
            assert figures.latest(rows, benchmark.name, shown.arguments), (benchmark.name, shown.arguments)


def test_a_section_is_made_anew_between_its_marks() -> None:
    start, end = figures.MARKS
    head = "| what | measured | on | command |\n|---|---|---|---|\n"
    made = figures.with_section(f"before\n{start}old\n{end}after\n", [])
    assert made == f"before\n{start}\n{head}\n{end}after\n"
    with pytest.raises(ValueError, match="no section"):
        figures.with_section("before\n", [])


@pytest.mark.slow
def test_a_benchmark_runs_side_by_side_with_another_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.csv"
    command = ["run", "length_distortion", "--quick", "--against", "HEAD", "--rounds", "2", "--out", str(table)]
    assert main(command) == 0
    rows = figures.read(table)
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {found.commit.rstrip("+") for found in rows} == {head.stdout.strip()}
    assert [(found.benchmark, found.arguments, found.figure) for found in rows] == 4 * [
        ("length_distortion", "--quick", "ratio")
    ]
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "/tree" not in worktrees.stdout


@pytest.mark.long
def test_what_needs_a_gpu_has_figures_shrinks_to_its_time_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    benchmark = get("gpu")
    check_figures(benchmark, run_small(benchmark, tmp_path, "--out", "found"))
    kept = pq.read_table(tmp_path / "found" / "gpu_search.parquet")
    assert {"command", "hardware", "versions", "says"} <= {str(name, "utf-8") for name in kept.schema.metadata}
    before = (tmp_path / "found" / "gpu_search.parquet").read_bytes()
    printed = run_small(benchmark, tmp_path, "--out", "found", "--only", "rates", "--seconds", "1")
    assert "rates: 0 of 3 proxies" in printed or "rates: ended, as it took longer than it should" in printed
    again = run_small(benchmark, tmp_path, "--out", "found", "--seconds", "1")
    assert again.count("done before") >= 5  # all but the rates, if one second was too short for them
    assert (tmp_path / "found" / "gpu_search.parquet").read_bytes() == before


def test_a_figure_needs_no_item() -> None:
    found = Benchmark("toy", "", (Figure("ratio", r"ratio (?P<value>\d+)", "x", True),)).found_in(
        "ratio 3\nratio 4: met\n"
    )
    assert [(one.item, one.value, one.is_met) for one in found] == [("", 3.0, None), ("", 4.0, True)]
