"""Growing families, as the command and in Python, on real scores; one file, since most look at one growth."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_moments import random_moments
from toy_runs import content

import raynas
from raynas import Choice, SearchSpace
from raynas.cli import main
from raynas.cluster.joining import connect
from raynas.errors import ConfigError, SpaceError
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan
from raynas.searching.run import SearchListener
from raynas.space.build import builder
from raynas.space.cost import cost
from searchspaces.as_vit import as_vit

SEED = "8,2,3|4,1,2|4,1,4|4,1,6|32"
SETTINGS: dict[str, Any] = {"img_size": 32, "settings": {"length_distortion": {"repeats": 1}}}
STOP = "num_params>=6e6"
SMALL = ["--img-size", "32", "--set", "length_distortion.repeats=1", "--stop", STOP]
COMMAND = [sys.executable, "-m", "raynas.cli"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    code = ended.value.code
    return code if isinstance(code, int) else 0


def family(found: raynas.Run) -> list[dict[str, Any]]:
    return [dict(state) for state in found.family]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> raynas.Run:
    out = tmp_path_factory.mktemp("grown") / "run"
    return raynas.scale(SEED, stop=STOP, workers=0, out=out, listener=SearchListener(), **SETTINGS)


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    disconnect = connect(None, min_cpus=2)
    yield
    disconnect()


# -- what a growth is --------------------------------------------------------------------------------------------


def test_a_growth_ends_at_its_stop_and_says_how_it_came_there(grown: raynas.Run) -> None:
    states: list[Any] = family(grown)
    assert grown.summary["status"] == "completed"
    assert len(states) >= 3
    for step, state in enumerate(states):
        architecture = as_vit.read(state["text"])
        assert dict(architecture) == dict(as_vit.read(state["architecture"]))
        assert state["step"] == step
        assert sum(architecture["depth"]) == 4 + step  # type: ignore[arg-type]
        for name in ("num_params", "macs"):
            assert state[name] == cost(as_vit, architecture, name, img_size=32, num_classes=10)
        assert set(state["scores"]) == {"ntk_condition", "length_distortion"}
    assert [state["num_params"] >= 6e6 for state in states] == [False] * (len(states) - 1) + [True]
    assert sum(last - first for first, last in (state["asked"] for state in states)) == grown.table.num_rows
    assert grown.summary["recommended"] is None


def test_all_steps_follow_from_the_stored_scores(grown: raynas.Run) -> None:
    """The rule, done again by hand from the table of the run."""
    rows = {row["candidate"]: row for row in grown.table.to_pylist()}
    for state in family(grown)[1:]:
        step = [rows[number] for number in range(*state["asked"])]
        by_ntk = sorted({row["ntk_condition"] for row in step})
        by_length = sorted({row["length_distortion"] for row in step}, reverse=True)
        sums = [by_ntk.index(row["ntk_condition"]) + by_length.index(row["length_distortion"]) for row in step]
        best = [row for row, total in zip(step, sums, strict=True) if total == min(sums)]
        if len(best) == 1:
            assert best[0]["candidate"] == state["candidate"]
        else:
            assert state["candidate"] in [row["candidate"] for row in best]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.usefixtures("ray")
def test_any_number_of_workers_grows_the_same_family(grown: raynas.Run, tmp_path: Path, workers: int) -> None:
    again = raynas.scale(SEED, stop=STOP, workers=workers, out=tmp_path / "run", listener=SearchListener(), **SETTINGS)
    assert content(again) == content(grown)
    assert family(again) == family(grown)


def test_scores_of_another_growth_are_reused(grown: raynas.Run, tmp_path: Path) -> None:
    again = raynas.scale(
        SEED, stop=STOP, workers=0, out=tmp_path / "run", reuse=[grown.folder], listener=SearchListener(), **SETTINGS
    )
    assert family(again) == family(grown)
    assert again.summary["reused"] == again.table.num_rows


def test_growth_goes_on_from_a_family(grown: raynas.Run, tmp_path: Path) -> None:
    more = raynas.scale(
        grown.folder, workers=0, out=tmp_path / "run", listener=SearchListener(),
        **{**SETTINGS, "settings": {**SETTINGS["settings"], "searcher": {"max_steps": 1}}},
    )  # fmt: skip
    assert family(more)[0]["architecture"] == family(grown)[-1]["architecture"]
    assert len(family(more)) == 2


def test_objectives_rates_and_macs_are_settings(tmp_path: Path) -> None:
    found = raynas.scale(
        SEED, rates=[0.5], stop="macs>=1.2e7", objectives=["length_distortion"], width_divisor=2, workers=0,
        out=tmp_path / "run", listener=SearchListener(), **SETTINGS,
    )  # fmt: skip
    assert [state["architecture"]["embed_dim"] for state in family(found)] == [32, 48, 72][: len(family(found))]
    assert [state["macs"] >= 1.2e7 for state in family(found)] == [False] * (len(family(found)) - 1) + [True]
    assert found.description["config"]["settings"]["searcher"]["rates"] == [0.5]
    best = [max(found.table.to_pylist()[first:last], key=lambda row: row["length_distortion"]) for first, last in
            (state["asked"] for state in family(found))]  # fmt: skip
    assert [row["candidate"] for row in best] == [state["candidate"] for state in family(found)]


def test_vit_grows_in_units_of_its_heads(tmp_path: Path) -> None:
    start = raynas.space.registered.spaces.get("vit").read("p16-w48-d2-h3-m2")
    found = raynas.scale(
        start, stop="num_params>=1.5e5", rates=[0.1, 0.2], img_size=32, workers=0, out=tmp_path / "run",
        objectives=["length_distortion", "ntk_condition"], listener=SearchListener(),
        settings={"length_distortion": {"repeats": 1}},
    )  # fmt: skip
    fields = [state["architecture"] for state in family(found)]
    assert [one["depth"] for one in fields] == list(range(2, 2 + len(fields)))
    assert all(one["embed_dim"] % 3 == 0 for one in fields)
    assert found.summary["status"] == "completed"
    assert family(found)[-2]["num_params"] < 1.5e5 <= family(found)[-1]["num_params"]
    assert (found.folder / "run.yaml").exists()


# -- killed and resumed ------------------------------------------------------------------------------------------


def started(out: Path, *arguments: str, parts: int = 5) -> subprocess.Popen[str]:
    """A growth of its own process, as soon as so many parts of its scores are on disk."""
    process = subprocess.Popen(
        [*COMMAND, "scale", SEED, *SMALL, "--workers", "0", "--out", str(out), *arguments],
        stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if len(list((out / "evaluations").glob("part*"))) >= parts:
            return process
        time.sleep(0.005)
    raise AssertionError(f"the growth ended with {process.poll()} before it was stopped")


@pytest.mark.slow
@pytest.mark.parametrize("moments", [(2, 5), pytest.param(random_moments(5, most=6), marks=pytest.mark.long)])
def test_a_killed_growth_resumes_without_its_source_to_the_same_family(
    grown: raynas.Run, tmp_path: Path, moments: tuple[int, ...]
) -> None:
    out = tmp_path / "run"
    for moment in moments:
        process = started(out, "--resume", parts=moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert raynas.load_run(out).summary["status"] == "running"
    assert run("scale", "--resume", "--out", str(out)) == 0
    assert content(raynas.load_run(out)) == content(grown)
    assert family(raynas.load_run(out)) == family(grown)
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_an_interrupted_growth_prints_the_command_that_resumes_it(
    grown: raynas.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my run"
    process = started(out, "--pick", "num_params<=3e6")
    os.kill(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    line = next(line for line in shown.splitlines() if line.startswith("continue with: "))
    resume = shlex.split(line.removeprefix("continue with: "))
    assert resume == ["raynas", "scale", "--resume", "--out", str(out), "--pick", "num_params<=3e6"]
    assert run("scale", str(out), "--pick", "num_params<=3e6") == 1
    assert "is interrupted; continue it with raynas scale --resume" in capsys.readouterr().err
    assert run(*resume[1:]) == 0
    assert family(raynas.load_run(out)) == family(grown)
    small = [state for state in family(grown) if state["num_params"] <= 3e6][-1]
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(small["architecture"]))


# -- the command -------------------------------------------------------------------------------------------------


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scale", "--help") == 0
    assert "raynas scale runs/family --pick" in capsys.readouterr().out


def test_the_command_prints_the_family(grown: raynas.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "seed.json"
    file.write_text(as_vit.read(SEED).to_json())
    assert run("scale", str(file), *SMALL, "--workers", "0", "--out", str(tmp_path / "run")) == 0
    shown = capsys.readouterr().out
    for state in family(grown):
        assert state["change"] in shown
        assert f"{state['num_params']:,}" in shown
        assert ", ".join(map(str, state["architecture"]["depth"])) in shown
    assert family(raynas.load_run(tmp_path / "run")) == family(grown)


def test_a_member_is_picked_as_json_for_scripts(grown: raynas.Run, capsys: pytest.CaptureFixture[str]) -> None:
    states = family(grown)
    before = sorted(path.name for path in grown.folder.iterdir())
    for wanted in (states[1], states[-1]):
        assert run("scale", str(grown.folder), "--pick", f"num_params<={wanted['num_params']}") == 0
        shown = capsys.readouterr()
        assert shown.out == json.dumps(wanted["architecture"], sort_keys=True, separators=(",", ":")) + "\n"
        assert wanted["text"] in shown.err
    assert sorted(path.name for path in grown.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "scale takes a SOURCE"),
        (["runs/nothing"], "'runs/nothing' is no run folder, no file and no architecture"),
        (["seed", "--space", "as-vitt"], "unknown space 'as-vitt'"),
        (["deit-tiny"], "space 'vit' has no stop of its own"),
        (["8,2,3|4,1,2|4,1,4|4,1,6|32,30"], "starts from a multiple of 4 as embed_dim, not 30"),
        (["8,2,3|4,1,2|4,1,4|4,1,6|64,28"], "cannot be scored at its width / 4"),
        (["as-vit-large"], "which meets the stop num_params>=8e+07 already"),
        (
            ["seed", "--stop", "num_params>=1e9", "-c", "num_params<=1e8"],
            "is never met, as the constraint num_params<=",
        ),
        (["seed", "--stop", "length_distortion>=1"], "stop is a positive lower bound on num_params or macs"),
        (["seed", "-c", "macs<=1000"], "violates macs<=1000: its macs is"),
        (["seed", "--rate", "-0.5"], "a rate is a number from 0 to 10"),
        (["seed", "--width-divisor", "3"], "cannot be scored at its width / 3: embed_dim 32 is not divisible"),
        (["seed", "--width-divisor", "8"], "embed_dim grows in units of 4, which it must divide"),
        (["seed", "--width-divisor", "0"], "width_divisor: input should be greater than or equal to 1"),
        (
            ["seed", "--set", "ntk_condition.width_divisor=0"],
            "ntk_condition.width_divisor is an integer of at least 1, not 0",
        ),
        (["seed", "--set", "searcher.rates={a: 1}"], "settings.searcher.rates"),
        (["seed", "--pick", "num_params<=1e3"], "the start has num_params"),
        (
            ["seed", "--pick", "luck>=3"],
            "cannot pick by luck>=3: this growth computes ntk_condition, length_distortion",
        ),
        (["seed", "--objective", "luck"], "unknown score 'luck'"),
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "nowhere"], "scale takes a SOURCE"),
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
    assert run("scale", *arguments) != 0
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("raynas: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_pick_that_nothing_meets_says_what_there_is(grown: raynas.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scale", str(grown.folder), "--pick", "num_params<=1000") == 1
    smallest = f"{family(grown)[0]['num_params']:,}"
    assert f"meets num_params<=1000: num_params is from {smallest} to " in capsys.readouterr().err


def test_a_folder_of_another_search_is_not_grown_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    raynas.search(
        "as-vit", objectives=["macs"], searcher="random", budget=2, workers=0, out=out, listener=SearchListener()
    )
    assert run("scale", "--resume", "--out", str(out)) == 1
    assert "scale grows with the searcher 'growth'" in capsys.readouterr().err


def test_settings_may_be_lists_on_the_command_line(tmp_path: Path) -> None:
    start, rates = f"searcher.start={SEED}", "searcher.rates=[0.0, 0.3]"
    search = ["search", "as-vit", "--searcher", "growth", "-o", "macs", "--set", start, "--set", "searcher.max_steps=1"]
    assert run(*search, "--set", rates, "--workers", "0", "--out", str(tmp_path / "run")) == 0
    found = raynas.load_run(tmp_path / "run")
    assert {json.loads(text)["embed_dim"] for text in found.table["architecture"].to_pylist()} == {32, 40}
    assert found.description["config"]["settings"]["searcher"]["rates"] == [0.0, 0.3]
    assert run("search", "--resume", "--out", str(tmp_path / "run")) == 0


def test_a_space_that_does_not_grow_is_refused() -> None:
    space = SearchSpace("still", {"depth": Choice(1)}, "none")
    with pytest.raises(ConfigError, match="space 'still' does not say how it grows"):
        raynas.scale('{"depth": 1}', space=space)
    with pytest.raises(ConfigError, match="space 'still' does not say how it grows"):
        make_plan(RunConfig.make({"space": "still", "proxies": ["curvature"], "width_divisor": 2, "objectives": [],
                                  "architectures": ['{"depth": 1}']}), space=space)  # fmt: skip


def test_a_growth_that_cannot_reach_its_stop_is_exhausted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--workers", "0", "--out", str(tmp_path / "run")]
    assert run("scale", SEED, *SMALL, "-c", "macs<=9e6", *out) == 0
    assert "the last step left nothing to choose" in capsys.readouterr().out
    found = raynas.load_run(tmp_path / "run")
    assert found.summary["status"] == "exhausted"
    assert all(state["macs"] <= 9e6 for state in found.family)
    assert max(found.table["macs"].to_pylist()) <= 9e6


# -- scoring at another width ------------------------------------------------------------------------------------

WIDE, NARROW = "8,2,3,2|4,1,2|4,1,4|4,1,6|16,48", "8,2,3,2|4,1,2|4,1,4|4,1,6|16,12"
NAMES = ["length_distortion", "ntk_condition", "curvature"]


def scored(out: Path, architecture: str, **settings: Any) -> raynas.Run:
    chosen = {**SETTINGS, **settings}
    return raynas.score(
        "as-vit", [architecture], proxies=NAMES, workers=0, out=out, listener=SearchListener(), **chosen
    )


def test_scores_at_a_divided_width_are_those_of_the_narrower_architecture(tmp_path: Path) -> None:
    (wide,) = scored(tmp_path / "wide", WIDE, width_divisor=4).table.to_pylist()
    (narrow,) = scored(tmp_path / "narrow", NARROW).table.to_pylist()
    assert {name: wide[name] for name in NAMES} == {name: narrow[name] for name in NAMES}
    assert all(wide[name] is not None for name in NAMES)
    for name in ("num_params", "macs"):
        assert wide[name] == cost(as_vit, as_vit.read(WIDE), name, img_size=32, num_classes=10)


def test_proxies_of_one_visit_may_have_different_divisors(tmp_path: Path) -> None:
    settings = {name: {"width_divisor": 4} for name in ("length_distortion", "curvature")}
    settings["ntk_condition"] = {"width_divisor": 1}
    mixed = scored(tmp_path / "mixed", WIDE, settings=settings, width_divisor=2)
    (row,) = mixed.table.to_pylist()
    (wide,) = scored(tmp_path / "wide", WIDE, settings={}).table.to_pylist()
    (narrow,) = scored(tmp_path / "narrow", NARROW, settings={}).table.to_pylist()
    expected = {**{name: narrow[name] for name in NAMES}, "ntk_condition": wide["ntk_condition"]}
    assert {name: row[name] for name in NAMES} == expected
    assert wide["curvature"] != narrow["curvature"]


def width_and_weight(probe: Probe) -> float:
    return float(probe.architecture["embed_dim"]) + float(next(probe.model.parameters()).flatten()[0])  # type: ignore[arg-type]


def test_a_network_is_intact_while_another_of_another_width_is_there() -> None:
    """Three proxies of one visit, the first and the last of the same width."""
    plain = Proxy("first", width_and_weight)
    chosen = (plain, Proxy("second", width_and_weight, width_divisor=4), Proxy("third", width_and_weight))
    task = EvaluationTask(
        builder(as_vit), {"img_size": 32, "num_classes": 10, "pos_embed": False}, chosen, growth=as_vit.growth
    )
    first, second, third = (outcome.value for outcome in Evaluator(task)(as_vit.read(WIDE), range(3)))
    assert first == third
    assert round(first or 0) == 48
    assert round(second or 0) == 12


def test_the_divisor_enters_the_key_only_where_there_is_one() -> None:
    plans = [
        make_plan(RunConfig.make({"space": "as-vit", "proxies": NAMES, "width_divisor": divisor, **SETTINGS}))
        for divisor in (None, 1, 4)
    ]
    settings = [{score.name: score.identity.settings for score in plan.scores} for plan in plans]
    assert settings[0] == settings[1]
    assert settings[0]["ntk_condition"] == "{}"
    assert "width_divisor" not in "".join(settings[0].values())
    assert settings[2]["ntk_condition"] == '{"width_divisor":4}'
    assert {settings[2][name] == settings[0][name] for name in ("num_params", "macs")} == {True}


def test_a_width_that_is_not_divisible_is_refused_where_it_is_known(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"cannot be scored at its width / 5: embed_dim 48 is not divisible by 5"):
        scored(tmp_path / "run", WIDE, width_divisor=5)
    assert list(tmp_path.iterdir()) == []


def test_a_width_that_is_not_divisible_fails_alone_where_it_is_drawn(tmp_path: Path) -> None:
    fields = {**as_vit.fields, "num_heads": Choice(16), "embed_dim": Choice(32, 34), "mlp_ratio": (Choice(2),) * 4}
    fields |= {name: tuple(Choice(value) for value in as_vit.read(SEED)[name]) for name in ("kernel", "split")}  # type: ignore[union-attr]
    space = SearchSpace("widths", fields, "as-vit", scoring={"pos_embed": False}, growth=as_vit.growth)
    found = raynas.search(
        space, objectives=["curvature"], searcher="random", budget=2, width_divisor=4, img_size=32, workers=0,
        out=tmp_path / "run", listener=SearchListener(),
    )  # fmt: skip
    rows = {
        json.loads(row["architecture"])["embed_dim"]: row
        for row in found.evaluations.to_pylist()
        if row["proxy"] == "curvature"
    }
    assert (rows[32]["status"], rows[34]["status"]) == ("ok", "failed")
    assert "embed_dim 34 is not divisible by 4" in rows[34]["error"]


@pytest.mark.parametrize("value", ["x", 1.5, True])
def test_divisors_are_integers(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"ntk_condition\.width_divisor is of type int"):
        proxies.get("ntk_condition").configured(width_divisor=value)


def test_every_pair_of_states_differs_by_one_block(grown: raynas.Run) -> None:
    for before, after in itertools.pairwise(family(grown)):
        old, new = before["architecture"], after["architecture"]
        assert sorted(b - a for a, b in zip(old["depth"], new["depth"], strict=True)) == [0, 0, 0, 1]
        assert old["embed_dim"] <= new["embed_dim"] <= 1.25 * old["embed_dim"]
