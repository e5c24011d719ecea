"""Costs without closed forms: counted where scores are computed, so that a model costs its own row at most."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_runs import Recorder, content

import raynas
from raynas import Architecture, Choice, SearchSpace
from raynas.errors import ConfigError, RaynasError, SpaceError
from raynas.proxies.probe import Probe, Proxy
from raynas.report.page import write_report
from raynas.searching.scaling import growth_plan
from raynas.space.build import build
from raynas.space.cost import cost
from raynas.space.growth import Growth
from raynas.storage.sources import Source

SIZE = {"img_size": 8, "num_classes": 10}
IN_PROCESS = ("raise", "exit", "interrupt", "forward", "meta", "gone")
DEADLY = ("die", "hang", "hog")


class Failing(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise ValueError("no pass\nfor these images \udce9")


def network(architecture: Any, *, img_size: int, num_classes: int) -> nn.Module:
    harm, width = architecture["harm"], architecture["width"]
    if harm == "raise":
        raise ValueError(f"width {width} is not possible here")
    if harm == "exit":
        sys.exit(3)
    if harm == "interrupt":
        raise KeyboardInterrupt
    if harm == "forward":
        return Failing()
    if harm == "meta" and torch.empty(0).device.type == "meta":
        raise RuntimeError("only with memory")
    if harm == "gone":
        return None  # type: ignore[return-value]
    if harm == "die":
        os._exit(0)
    if harm == "hang":
        time.sleep(10_000)
    if harm == "hog":
        hoard = []
        while True:
            hoard.append(bytearray(b"x") * (1 << 27))
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * img_size**2, width), nn.Linear(width, num_classes))


def num_params(architecture: Any, img_size: int = 8, num_classes: int = 10) -> int:
    return int(3 * img_size**2 * architecture["width"] + (1 + num_classes) * architecture["width"] + num_classes)


def macs(architecture: Any, img_size: int = 8, num_classes: int = 10) -> int:
    return int((3 * img_size**2 + num_classes) * architecture["width"])


def space(*harms: str, **settings: Any) -> SearchSpace:
    fields = {"width": Choice(*range(1, 25)), "harm": Choice("none", *harms)}
    return SearchSpace("counted", fields, network, search_img_size=8, **settings)


def weights(probe: Probe, log: str = "") -> float:
    """How many weights there are, negative for every third width."""
    if log:
        with Path(log).open("a") as file:
            file.write(f"{probe.architecture['width']}\n")
    return float(sum(p.numel() for p in probe.model.parameters()) * (-1 if probe.architecture["width"] % 3 else 1))


def failing(probe: Probe) -> float:
    return float(probe.model(torch.zeros(1, 3, 8, 8)).sum())


WEIGHTS = Proxy("weights", weights)


def searched(folder: Path, own: SearchSpace, **settings: Any) -> raynas.Run:
    chosen = {"searcher": "regularized_evolution", "budget": 20, "window": 4, "workers": 0, **settings}
    proxies = chosen.pop("proxies", [WEIGHTS])
    return raynas.search(own, proxies=proxies, objectives=["weights"], out=folder, **chosen)


def rows(run: raynas.Run, name: str) -> dict[str, dict[str, Any]]:
    """Rows of a score by the harm of their architecture."""
    found = [row for row in run.evaluations.to_pylist() if row["proxy"] == name]
    return {json.loads(row["architecture"])["harm"]: row for row in found}


@pytest.mark.parametrize("given", ["num_params", "macs", None])
def test_counted_costs_give_the_run_that_closed_forms_give(tmp_path: Path, given: str | None) -> None:
    some = {"num_params": {"num_params": num_params}, "macs": {"macs": macs}, None: {}}[given]
    closed = searched(tmp_path / "closed", space(num_params=num_params, macs=macs))
    counted = searched(tmp_path / "counted", space(**some))
    assert content(counted) == content(closed)
    assert counted.summary["best"] == closed.summary["best"]
    again = searched(tmp_path / "again", space(num_params=num_params, macs=macs), reuse=[tmp_path / "counted"])
    assert content(again) != [] and again.summary["reused"] == len({row["architecture_key"] for row in content(again)})


def test_a_model_costs_its_own_architecture_whatever_it_does(tmp_path: Path) -> None:
    architectures = [{"width": 2, "harm": harm} for harm in ("none", *IN_PROCESS)]
    chosen = [WEIGHTS, Proxy("failing", failing)]
    run = raynas.score(space(*IN_PROCESS), architectures, proxies=chosen, workers=0, out=tmp_path / "run")
    cost_rows, scored = rows(run, "macs"), rows(run, "weights")
    assert {harm: row["status"] for harm, row in cost_rows.items()} == {
        harm: "ok" if harm == "none" else "failed" for harm in ("none", *IN_PROCESS)
    }
    assert cost_rows["none"]["value"] == macs({"width": 2})
    assert {harm for harm, row in scored.items() if row["status"] == "ok"} == {"none", "forward", "meta"}
    assert rows(run, "num_params")["forward"]["value"] == 0  # it has no parameters, and its pass is not needed for it
    for row in run.evaluations.to_pylist():
        assert (row["error"] is None) == (row["status"] == "ok")
        assert "\n" not in (row["error"] or "") and len(row["error"] or "") < 1000
    assert "no pass for these images \\udce9" in cost_rows["forward"]["error"]
    assert "width 2 is not possible here" in cost_rows["raise"]["error"]
    assert run.summary["failed"] == len(IN_PROCESS)
    write_report(run.folder)


def test_a_row_is_stored_once_where_one_cost_is_taken_from_another_run_and_the_other_is_counted(tmp_path: Path) -> None:
    architectures = [{"width": width, "harm": harm} for width in (2, 3) for harm in ("none", "forward", "raise")]
    own, chosen = space(*IN_PROCESS), {"proxies": [WEIGHTS], "workers": 0}
    first = raynas.score(own, architectures, out=tmp_path / "first", **chosen)
    assert {rows(first, name)["forward"]["status"] for name in ("num_params", "macs")} == {"ok", "failed"}
    second = raynas.score(own, architectures, reuse=[tmp_path / "first"], out=tmp_path / "second", **chosen)
    assert [{**row, "reused": False} for row in content(second)] == content(first)
    assert len({(row["architecture_key"], row["proxy"]) for row in content(second)}) == len(content(second)) == 18


def test_what_violates_a_bound_on_a_counted_cost_is_not_scored_and_answered_so_again(tmp_path: Path) -> None:
    own, log = space(), tmp_path / "log"
    settings: dict[str, Any] = {"constraints": ["num_params<=2500"], "searcher": "random", "budget": 16}
    proxies = [Proxy("weights", weights, settings={"log": str(log)})]
    recorder = Recorder()
    run = searched(tmp_path / "whole", own, proxies=proxies, listener=recorder, **settings)
    assert {int(line) for line in log.read_text().split()} == {
        e.architecture["width"] for e in recorder.told if num_params(e.architecture) <= 2500
    }
    assert {e.is_feasible for e in recorder.told} == {True, False}
    for evaluation in recorder.told:
        is_within = num_params(evaluation.architecture) <= 2500
        assert (evaluation.is_ok, evaluation.is_feasible) == (True, is_within)
        assert set(evaluation.scores) == {"num_params", "macs", *(["weights"] if is_within else [])}
    searched(tmp_path / "grown", own, proxies=proxies, **{**settings, "budget": 7})
    again = Recorder()
    grown = searched(tmp_path / "grown", own, proxies=proxies, listener=again, resume=True, **settings)
    assert [(e.id, e.architecture, e.scores, e.violations) for e in again.told] == [
        (e.id, e.architecture, e.scores, e.violations) for e in recorder.told
    ]
    assert content(grown) == content(run)
    for searcher in ("reinforce", "regularized_evolution", "nsga2", "tpe"):
        found = searched(tmp_path / searcher, own, **{**settings, "searcher": searcher})
        assert all(one["num_params"] <= 2500 for one in found.best)
    write_report(run.folder)


def test_a_bounded_cost_that_cannot_be_counted_is_the_evaluation_s_status(tmp_path: Path) -> None:
    own, settings = space("raise", "meta"), {"constraints": ["macs<=2500"], "searcher": "random"}
    recorder, again = Recorder(), Recorder()
    run = searched(tmp_path / "run", own, listener=recorder, **settings)
    for evaluation in recorder.told:
        is_failed = evaluation.architecture["harm"] != "none"
        assert evaluation.status == ("failed" if is_failed else "ok")
        assert "weights" in evaluation.scores or is_failed or macs(evaluation.architecture) > 2500
    assert {row["proxy"] for row in content(run) if '"meta"' in row["architecture"]} == {"num_params", "macs"}
    searched(tmp_path / "run", own, listener=again, resume=True, **settings)
    assert [(e.id, e.status, e.error) for e in again.told] == [(e.id, e.status, e.error) for e in recorder.told]


def test_a_cost_that_is_not_known_is_null_in_the_summary_and_the_page(tmp_path: Path) -> None:
    own = SearchSpace("counted", {"width": Choice(1, 2, 3), "harm": Choice("meta")}, network, search_img_size=8)
    run = searched(tmp_path / "run", own, searcher="random")
    assert {one["num_params"] for one in run.summary["best"]} == {None}
    assert run.summary["failed"] == 0
    assert '"num_params"' in write_report(run.folder).read_text()


def test_growth_refuses_a_space_without_closed_forms() -> None:
    own = SearchSpace(
        "growing", {"depth": Choice(1, 2), "embed_dim": Choice(8, 16)}, network, macs=macs, growth=Growth()
    )
    source = Source(own, Architecture({"depth": 1, "embed_dim": 8}), "text")
    with pytest.raises(ConfigError, match=r"'growing' cannot be grown: .* no closed form of num_params$"):
        growth_plan({"proxies": ["snip"]}, source, stop="num_params>=1e6")


@pytest.mark.parametrize("harm", ["raise", "exit"])
def test_who_builds_such_a_model_is_told_in_a_line(harm: str) -> None:
    architecture = Architecture({"width": 2, "harm": harm})
    with pytest.raises(SpaceError, match="cannot be built: ") as error:
        build(space(harm), architecture, **SIZE)
    assert "\n" not in str(error.value)
    with pytest.raises(SpaceError, match="cannot be built: "):
        cost(space(harm), architecture, "macs", **SIZE)
    with pytest.raises(SpaceError, match=r"macs of .* cannot be counted: ValueError: no pass for these images"):
        cost(space("forward"), Architecture({"width": 2, "harm": "forward"}), "macs", **SIZE)


def test_a_training_of_such_a_model_is_refused_in_a_line(tmp_path: Path) -> None:
    own, architecture = space("raise", num_params=num_params, macs=macs), {"width": 2, "harm": "raise"}
    with pytest.raises(RaynasError, match="cannot be built: ValueError: width 2 is not possible here") as error:
        raynas.train(
            own,
            architecture=json.dumps(architecture),
            data="digits",
            img_size=8,
            epochs=1,
            batch_size=16,
            max_images=64,
            out=tmp_path / "run",
        )
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_a_model_that_ends_hangs_or_grows_costs_its_own_architecture_on_workers(tmp_path: Path) -> None:
    architectures = [{"width": width, "harm": "none"} for width in range(1, 9)]
    architectures[3:3] = [{"width": 2, "harm": harm} for harm in (*DEADLY, "interrupt", "raise")]
    run = raynas.score(
        space(*DEADLY, "interrupt", "raise"),
        architectures,
        proxies=[WEIGHTS],
        workers=1,
        time_limit_s=10,
        worker_memory_gib=2,
        out=tmp_path / "run",
    )
    for name in ("weights", "macs"):
        assert {harm: row["status"] for harm, row in rows(run, name).items()} == {
            "none": "ok", "die": "crashed", "hang": "timeout", "hog": "out_of_memory", "interrupt": "failed",
            "raise": "failed",
        }  # fmt: skip
    assert "GiB of memory, of which it may have 2.00 GiB" in rows(run, "macs")["hog"]["error"]
    assert run.summary["failed"] == 5
