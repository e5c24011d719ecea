"""The page of a sweep: its data against traces made by hand, and what a browser draws of it."""

from __future__ import annotations

import pytest
import yaml
from report_folders import AS_VIT, embedded, sampled_rows, write_folder
from report_pages import check_layout, sections

from raynas.report.page import write_report
from raynas.report.sweep import level_calls
from raynas.space.results import Outcome
from raynas.storage.files import write_json
from raynas.storage.run_folder import read_description, run_description
from raynas.sweeps.config import SweepConfig

pytest_plugins = ["report_browser"]

# Values of the objective, call by call, of each searcher's seeds; None fails.
VALUES = {
    "random": [[1, 2, 2, 5], [3, 3, 3, 3], [1, 1, 4, 4]],
    "tpe": [[2, 6, 6, 7], [None, 5, 1, 8], [1, 1, 1, 2]],
}


def write_sweep(folder, *, level=4.0, unfinished=(), summary=None):
    """A sweep's folder with a search for each of the rows above; `unfinished` ones have begun only."""
    architectures = [architecture for architecture, _ in sampled_rows(4)]
    for searcher, seeds in VALUES.items():
        for seed, values in enumerate(seeds):
            rows = []
            for architecture, value in zip(architectures, values, strict=True):
                is_known = value is not None
                outcome = Outcome(float(value), "ok") if is_known else Outcome(None, "failed", "no", 0.1)
                costs = {name: Outcome(getattr(AS_VIT, name)(architecture, 64, 10), "ok") for name in COSTS}
                rows.append((architecture, {"score": outcome, **costs}))
            name = f"{searcher}-seed{seed}"
            status = "running" if name in unfinished else "completed"
            identity = {"searcher": searcher, "seed": seed}
            write_folder(folder / name, rows, scores=("score",), identity=identity, summary={"status": status})
    first = read_description(folder / "random-seed0")
    shared = {name: value for name, value in first["identity"].items() if not name.startswith(("searcher", "window"))}
    given = {**first["config"], "searcher": None, "searchers": list(VALUES), "repeat": 3, "budget": 4, "level": level}
    config = SweepConfig.make(given).model_dump()
    identity = {**shared, "searchers": {name: {"window": 4, "searcher_settings": {}} for name in VALUES}}
    (folder / "run.yaml").write_text(run_description("sweep", config, identity, directions=first["directions"]))
    whole = {"kind": "sweep", "status": "completed", "seconds": 70.0, "error": None, "searches": []}
    write_json(folder / "summary.json", {**whole, **(summary or {})})
    return folder


COSTS = ("num_params", "macs")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return write_report(write_sweep(tmp_path_factory.mktemp("runs") / "sweep"))


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    failed = {"name": "tpe-seed2", "status": "failed", "error": "PoolError: <b>lost</b>"}
    folder = tmp_path_factory.mktemp("runs") / "unfinished"
    names = ["tpe-seed0", "tpe-seed1", "tpe-seed2"]
    summary = {"status": "interrupted", "searches": [failed]}
    return write_report(write_sweep(folder, unfinished=names, level=None, summary=summary))


# -- data -------------------------------------------------------------------------------------------------------------


def test_medians_of_the_best_so_far(sweep):
    data = embedded(sweep.read_text())
    random, tpe = data["curves"]
    # Best so far: 1 2 2 5, 3 3 3 3 and 1 1 4 4; after call 2 the values are 2, 3 and 1.
    assert dict(zip(random["at"], random["median"], strict=True)) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert dict(zip(random["at"], random["low"], strict=True)) == {1: 1, 2: 1.5, 3: 2.5, 4: 3.5}
    assert tpe["median"][-1] == 7
    assert data["measure"] == {"name": "score", "maximize": True}


def test_calls_of_each_seed_to_reach_a_level(sweep):
    levels = embedded(sweep.read_text())["levels"]
    assert [level["value"] for level in levels] == [4.0, 4.0]  # the named one, and the worse of the medians 4 and 7
    assert levels[0]["searchers"] == [
        {"searcher": "random", "seeds": [0, 1, 2], "calls": [4, None, 3]},
        {"searcher": "tpe", "seeds": [0, 1, 2], "calls": [2, 2, None]},
    ]


def test_levels_of_what_is_minimised():
    curves = [{"searcher": "a", "searches": [{"name": "a-seed0", "seed": 0, "at": [1, 3], "values": [5.0, 2.0]}]}]
    levels = [{"value": value, "label": ""} for value in (6.0, 2.0, 1.0)]
    found = level_calls(levels, curves, {"name": "score", "maximize": False})
    assert [level["searchers"][0]["calls"] for level in found] == [[1], [3], [None]]


def test_head_and_setup(sweep):
    data = embedded(sweep.read_text())
    assert data["title"] == "as-vit sweep"
    assert data["headline"] == "random against tpe: 6 searches of 4 calls each, with 3 seeds in 1 min 10 s"
    assert "the largest score" in data["subline"]
    assert dict(data["facts"])["calls"] == "24"
    assert data["status"]["resume"] is None
    rows = dict(next(group["rows"] for group in data["groups"] if group["title"] == "Search"))
    assert rows["random"].startswith("window 4; combine min_max")
    assert rows["budget"] == "4 calls of each search"


def test_searches_get_pages_of_their_own(sweep):
    data = embedded(sweep.read_text())
    assert [search["has_report"] for search in data["searches"]] == [True] * 6
    assert all((sweep.parent / search["folder"] / "report.html").exists() for search in data["searches"])
    assert [search["best"] for search in data["searches"]] == [5, 7, 3, 8, 4, 2]


def test_searches_that_have_not_ended_are_not_compared(unfinished):
    data = embedded(unfinished.read_text())
    assert [curve["searcher"] for curve in data["curves"]] == ["random"]
    assert data["status"]["resume"] == f"raynas search --resume --out {unfinished.parent}"
    assert {search["name"]: search["status"] for search in data["searches"]}["tpe-seed0"] == "killed"
    assert dict(data["facts"])["failed"] == "1"


def test_sweep_that_has_not_begun_is_reported(tmp_path):
    folder = write_sweep(tmp_path / "sweep")
    description = yaml.safe_load((folder / "run.yaml").read_text())
    new = tmp_path / "new"
    new.mkdir()
    (new / "run.yaml").write_text(yaml.safe_dump(description))
    data = embedded(write_report(new).read_text())
    assert data["curves"] == []
    assert [level["searchers"] for level in data["levels"]] == [[]]
    assert [search["status"] for search in data["searches"]] == ["waiting"] * 6
    assert not any(search["has_report"] for search in data["searches"])


# -- the page ---------------------------------------------------------------------------------------------------------


def test_page_shows_traces_and_tables(opened, sweep):
    page = opened(sweep)
    assert sections(page) == ["traces", "levels", "searches", "setup"]
    assert page.locator("#traces-plot .plot path.line:not(.thin)").count() == 2
    assert page.locator("#traces-plot .plot path.line.thin").count() == 6
    assert page.locator("#traces-plot path.spread").count() == 2
    cells = page.locator("#traces-table tbody tr").first.locator("td").all_inner_texts()
    assert [cell.split("\n")[0] for cell in cells] == ["random", "1", "2", "4", "12", "5 min 00 s"]
    links = [link.get_attribute("href") for link in page.locator("#searches-table a").all()]
    assert links[:2] == ["./random-seed0/report.html", "./tpe-seed0/report.html"]


def test_cursor_reads_the_medians(opened, sweep):
    page = opened(sweep)
    plot = page.locator("#traces-plot .plot")
    for _ in range(3):
        plot.press("ArrowRight")
    assert page.locator("#traces-plot figcaption").inner_text().split() == [
        *("score", "call", "3:", "random:", "3", "tpe:", "5"),
    ]


def test_levels_have_a_dot_for_each_seed_that_reached_them(opened, sweep):
    page = opened(sweep)
    figure = page.locator("#levels-plots figure").first
    assert figure.locator(".dot.filled").count() == 4
    assert figure.locator(".mark.failed").count() == 2
    assert figure.get_by_text("2 of 3", exact=True).count() == 2
    assert figure.locator(".median").count() == 2
    titles = {title.text_content() for title in figure.locator("path title").all()}
    assert titles == {"seed 0: 4 calls", "seed 1: not reached", "seed 2: 3 calls", "seed 0: 2 calls"} | {
        "seed 1: 2 calls",
        "seed 2: not reached",
    }


def test_failures_are_shown_as_text(opened, unfinished):
    page = opened(unfinished)
    assert "PoolError: <b>lost</b>" in page.locator("#searches-table").inner_text()
    assert page.locator("#searches-table b").count() == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_layout_of_sweep(opened, sweep, unfinished, width):
    for path in (sweep, unfinished):
        check_layout(opened(path, width=width))


def test_page_without_an_ended_search_opens(opened, tmp_path):
    folder = write_sweep(tmp_path / "sweep", unfinished=[f"{name}-seed{k}" for name in VALUES for k in range(3)])
    page = opened(write_report(folder))
    assert "No search has ended yet" in page.locator("#traces").inner_text()
    assert not page.locator("#levels").is_visible()
    assert page.locator("#searches-table tbody tr").count() == 6
