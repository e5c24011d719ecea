"""Runs side by side: values, what differs, what is said of them, the table, the page."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import toy_bench
import yaml
from report_folders import (
    AS_VIT,
    Row,
    embedded,
    epoch_rows,
    sampled_rows,
    write_finalists,
    write_folder,
    write_training,
)
from report_pages import check_layout, sections
from wrong_input import places, with_value

import raynas
from raynas.cli import main
from raynas.errors import ConfigError, RaynasError, StoreError
from raynas.report.compared import compare_runs
from raynas.report.compared_page import comparison_data
from raynas.report.listing import run_row, seconds_left
from raynas.space.results import Outcome

pytest_plugins = ["report_browser"]

MACS = AS_VIT.macs(AS_VIT.named["seed"], 64, 10)  # type: ignore[misc]
TWO = ("length_distortion", "naswot")
OF_TWO = {"scores": TWO, "objectives": ["length_distortion:max", "naswot:min"], "searcher": "nsga2"}


def rows_with(*values: tuple[float, ...]) -> list[Row]:
    """Architectures whose scores are these."""
    names = TWO[: len(values[0])]
    return [
        (architecture, {**outcomes, **{n: Outcome(v, "ok", None, 2.0, 0.1) for n, v in zip(names, own, strict=True)}})
        for (architecture, outcomes), own in zip(sampled_rows(len(values), names), values, strict=True)
    ]


def training(
    folder: Path, top1: float, *, epochs: int = 4, summary: Mapping[str, Any] | None = None, **more: Any
) -> Path:
    rows = epoch_rows(epochs, macs=MACS, top1=top1)
    return write_training(folder, rows, epochs=epochs, summary=summary, **more)


def values(found: Any, name: str) -> list[Any]:
    return [None if one is None else one.value for one in found.values[name]]


# -- values ------------------------------------------------------------------------------------------------------------


def test_searches_are_compared_by_their_best(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", rows_with((1.0,), (3.0,), (2.0,)))
    two = write_folder(tmp_path / "two", rows_with((2.0,), (2.5,)), searcher="regularized_evolution")
    found = compare_runs([one, two])
    assert values(found, "best length_distortion") == [3.0, 2.5]
    assert values(found, "evaluations") == [3, 2]
    assert values(found, "workers' time") == [6.0, 4.0]
    assert found.best_of("best length_distortion") == (0,)
    assert found.best_of("evaluations") == ()
    assert {name: found.differences[name] for name in ("searcher", "budget")} == {
        "searcher": ("random", "regularized_evolution"),
        "budget": (3, 2),
    }
    assert "space" in found.common
    assert found.notes == ()
    (course,) = comparison_data(found)["courses"]
    assert [(line["at"], line["values"], line["end"]) for line in course["lines"]] == [
        ([1, 2], [1, 3], 3),
        ([1, 2], [2, 2.5], 2),
    ]
    assert [line["seconds"] for line in course["lines"]] == [[2.0, 4.0], [2.0, 4.0]]


def test_settings_that_differ_between_those_that_have_them_are_told_beside_others(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", rows_with((1.0,)), constraints=["macs<=2e7"])
    two = write_folder(tmp_path / "two", rows_with((2.0, 1.0)), **{**OF_TWO, "searcher": "random"})
    found = compare_runs([one, two, training(tmp_path / "trained", 0.5)])
    texts = found.difference_texts()
    assert texts["objectives"] == ["length_distortion:max", "length_distortion:max naswot:min", "-"]
    assert texts["constraints"] == ["macs<=2e7", "none", "-"]
    assert "searcher" not in texts  # which is the same in both searches
    assert "augment" not in texts  # which only trainings have
    shown = {row["name"]: row["texts"] for row in comparison_data(found)["differences"]}
    assert shown == texts


def test_the_recommended_architecture_is_told_from_the_best(tmp_path: Path) -> None:
    best = {"architecture": dict(AS_VIT.named["seed"]), "scores": {"length_distortion": 3.0}}
    other = {"architecture": dict(rows_with((1.0,))[0][0]), "scores": {"length_distortion": 2.0}}
    same = write_folder(tmp_path / "same", rows_with((3.0,)), summary={"best": [best], "recommended": best})
    differs = write_folder(tmp_path / "differs", rows_with((3.0,)), summary={"best": [best], "recommended": other})
    assert comparison_data(compare_runs([same, differs]))["points"]["note"] == [
        "",
        "recommended by its searcher, not its best",
    ]


def test_runs_are_listed_by_what_made_them(tmp_path: Path) -> None:
    assert run_row(write_folder(tmp_path / "search", rows_with((1.0,))))["kind"] == "search"
    assert run_row(write_folder(tmp_path / "score", rows_with((1.0,)), objectives=[]))["kind"] == "score"


def test_the_lower_end_is_better_where_that_was_looked_for(tmp_path: Path) -> None:
    folders = [
        write_folder(tmp_path / name, rows_with(*own), objectives=["length_distortion:min"])
        for name, own in {"one": ((1.0,), (3.0,)), "two": ((2.0,), (4.0,))}.items()
    ]
    found = compare_runs(folders)
    assert values(found, "best length_distortion") == [1.0, 2.0]
    assert found.best_of("best length_distortion") == (0,)


def test_fronts_are_compared_in_one_box(tmp_path: Path) -> None:
    # The box is from (0, 0) to (4, 2), of which higher is better in the first and lower in the second.
    one = write_folder(tmp_path / "one", rows_with((0.0, 0.0), (4.0, 2.0), (2.0, 1.0)), **OF_TWO)
    two = write_folder(tmp_path / "two", rows_with((4.0, 1.0), (1.0, 2.0)), **OF_TWO)
    found = compare_runs([one, two])
    assert values(found, "hypervolume") == pytest.approx([2 * 1 / 8, 4 * 1 / 8])
    assert values(found, "architectures on the front") == [3, 1]
    assert found.best_of("hypervolume") == (1,)
    fronts = comparison_data(found)["fronts"]
    assert (fronts["x"]["name"], fronts["y"]["name"]) == ("naswot", "length_distortion")
    assert fronts["fronts"] == [[[0, 0], [1, 2], [2, 4]], [[1, 4]]]


def test_trainings_have_the_intervals_of_their_accuracies(tmp_path: Path) -> None:
    one = training(tmp_path / "one", 0.6)
    two = training(tmp_path / "two", 0.9, batch_size=64)
    found = compare_runs([one, two])
    for value in found.values["final top-1"]:
        assert value is not None
        assert isinstance(value.value, float)
        assert value.low is not None
        assert value.high is not None
        # Wilson's bounds are those at which the share lies 1.96 deviations away (100 images).
        for bound in (value.low, value.high):
            assert abs(value.value - bound) == pytest.approx(1.959964 * (bound * (1 - bound) / 100) ** 0.5, rel=1e-5)
    assert found.best_of("final top-1") == (1,)
    assert found.differences == {"batch_size": (128, 64)}
    assert [course["name"] for course in comparison_data(found)["courses"]] == [
        "top-1",
        "validation loss",
        "training loss",
    ]


def test_it_is_said_when_a_difference_may_be_chance(tmp_path: Path) -> None:
    near = compare_runs([training(tmp_path / "a", 0.60), training(tmp_path / "b", 0.62)])
    assert near.notes[0].startswith("The 95 % intervals of b and a overlap: the difference may be chance.")
    far = compare_runs([tmp_path / "a", training(tmp_path / "c", 0.95)])
    assert far.notes == ()


def test_scores_that_are_not_the_same_are_not_ranked(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", rows_with((1.0,)))
    two = write_folder(tmp_path / "two", rows_with((2.0,)))
    text = (two / "run.yaml").read_text()
    (two / "run.yaml").write_text(text.replace("repeats: 5", "repeats: 1"))
    found = compare_runs([one, two])
    assert found.best_of("best length_distortion") == ()
    assert found.notes == (
        "Best length_distortion does not compare: it was computed with repeats 5 and 1, so none is marked as the best.",
    )


def test_benchmarks_are_compared_by_their_correlations(tmp_path: Path) -> None:
    chosen = toy_bench.architectures(40)
    table = toy_bench.write_table(tmp_path / "truth.csv", chosen, toy_bench.labels(chosen))
    first = toy_bench.bench(table, tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    found = compare_runs([tmp_path / "first", tmp_path / "second"])
    tau = {r["proxy"]: r["tau"] for r in first.correlations.to_pylist() if r["label"] == "top1" and r["within"] is None}
    assert values(found, "tau of toy with top1") == [tau["toy"]] * 2
    assert found.best_of("tau of toy with top1") == ()  # they are equal


def test_different_kinds_are_compared_by_what_they_share(tmp_path: Path) -> None:
    search = write_folder(tmp_path / "search", rows_with((1.0,)))
    finalists = write_finalists(
        tmp_path / "finalists", [{"top1": 0.7, "epochs_done": 2, "status": "completed", "score": {}}], epochs=2
    )
    found = compare_runs([search, training(tmp_path / "training", 0.6), finalists])
    assert list(found.values) == ["found", "progress", "duration", "started"]
    assert "1 search, 1 training and 1 folder of finalists, which have little in common" in found.notes[0]
    assert not found.is_of_one_family
    two = compare_runs([finalists, shutil.copytree(finalists, tmp_path / "others")])
    assert values(two, "best top-1") == [pytest.approx(0.7 * (1 - 2.718281828459045**-1))] * 2


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_wrong_runs_are_refused_in_a_line(tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", rows_with((1.0,)))
    (tmp_path / "alias").symlink_to(run)
    (tmp_path / "none").mkdir()
    jungle = shutil.copytree(run, tmp_path / "jungle")
    (jungle / "run.yaml").write_text("kind: jungle\n" + (run / "run.yaml").read_text().replace("kind: search\n", ""))
    later = shutil.copytree(run, tmp_path / "later")
    (later / "run.yaml").write_text("config: {}\nidentity: {scores: [1], objectives: 7}\n")
    for given, error, message in [
        ([], ConfigError, "two runs or more are compared, and none is given"),
        ([run], ConfigError, f"and {run} is one: name a second run folder"),
        ([run, run], ConfigError, f"{run} is given twice"),
        ([run, tmp_path / "alias"], ConfigError, f"{run} and {tmp_path / 'alias'} are the same run"),
        ([run, tmp_path / "none"], StoreError, "holds no run"),
        ([run, jungle], StoreError, "of the kind 'jungle'; runs of the kinds .*search.* are compared"),
        ([run, later], StoreError, str(later)),
    ]:
        with pytest.raises(error, match=message) as raised:
            compare_runs(given)
        assert "\n" not in str(raised.value)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    one = write_folder(tmp_path / "a" / "run", rows_with((1.0,), (3.0,)), summary={"recommended": None})
    yield one, write_folder(tmp_path / "b" / "run", rows_with((2.0,), (2.5,)), searcher="regularized_evolution")


def test_the_command_prints_a_table_or_json_and_writes_a_page(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["compare", *map(str, two), *more])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    page = tmp_path / "new" / "page.html"
    code, out, err = run("--out", str(page))
    assert (code, err) == (0, f"page {page}\n")
    lines = [line.split() for line in out.splitlines()]
    assert ["a/run", "b/run"] in lines
    assert ["best", "length_distortion", "3", "*", "2.5"] in lines
    assert ["searcher", "random", "regularized_evolution"] in lines
    assert embedded(page.read_text())["title"] == "2 searches compared"
    told = json.loads(run("--json")[1])
    assert [one["name"] for one in told["runs"]] == ["a/run", "b/run"]
    assert told["values"]["best length_distortion"][0] == {"value": 3.0, "low": None, "high": None}
    assert run("--out", "page.txt") == (1, "", "raynas: --out is 'page.txt'; a page is FILE.html\n")
    found = raynas.compare(two)
    assert [row["best length_distortion"] for row in found.table] == [3.0, 2.5]
    assert repr(found) == "Comparison(a/run, b/run)"


def test_many_runs_are_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(write_folder(tmp_path / f"run{i}", rows_with((float(i),)))) for i in range(7)]
    with pytest.raises(SystemExit):
        main(["compare", *folders])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["run", "status"]
    assert [line[0] for line in lines[1:8]] == [f"run{i}" for i in range(7)]


FOLDERS = Path(__file__).parents[1] / "folders"


@pytest.mark.parametrize("name", ["search_39bb60e", "training_39bb60e"])
@pytest.mark.parametrize("file", ["run.yaml", "summary.json"])
@pytest.mark.filterwarnings("ignore::raynas.errors.RaynasWarning")
def test_whatever_a_run_says_it_is_compared_or_refused(tmp_path: Path, name: str, file: str) -> None:
    good, other = (shutil.copytree(FOLDERS / name, tmp_path / to) for to in ("good", "other"))
    said = yaml.safe_load((good / file).read_text())  # which reads JSON, too
    rng = random.Random(0)
    everywhere = list(places(said))
    for place in rng.sample(everywhere, min(25, len(everywhere))):
        value = rng.choice([None, -1.5, "x", [], [[1]], {}, {"x": {}}, True, 10**30])
        changed = with_value(said, place, value)
        (other / file).write_text(yaml.safe_dump(changed) if file == "run.yaml" else json.dumps(changed))
        try:
            found = compare_runs([good, other])
        except RaynasError as error:
            assert "\n" not in str(error), (place, value)
        else:
            json.dumps([found.plain(), comparison_data(found)], allow_nan=False)


# -- the time that is left ---------------------------------------------------------------------------------------------


def test_the_rest_takes_as_long_as_what_is_done() -> None:
    assert seconds_left(0.25, 30.0, None) == pytest.approx(90.0)
    assert seconds_left(1.0, 30.0, None) == 0.0
    assert seconds_left(0.0, 30.0, None) is None
    assert seconds_left(None, 30.0, None) is None


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_fits_and_shows_all(opened: Any, tmp_path: Path, width: int, scheme: str) -> None:
    best = [
        {"architecture": dict(AS_VIT.named["seed"]), "scores": {"length_distortion": 3.0}, "num_params": 1, "macs": 2}
    ]
    folders = [
        write_folder(tmp_path / name, rows_with((1.0,), (2.0 + i,)), summary={"best": best}, searcher=searcher)
        for i, (name, searcher) in enumerate({"one": "random", "two": "regularized_evolution"}.items())
    ]
    raynas.compare(folders, out=tmp_path / "page.html")
    page = opened(tmp_path / "page.html", width, color_scheme=scheme)
    assert sections(page) == ["results", "differences", "courses", "fronts", "best", "setup"]
    check_layout(page)
    assert page.locator("#results-table td.best").all_inner_texts() == ["3"]
    page.get_by_label("Across").select_option("seconds of workers")
    page.locator("#courses-plots .axis-title", has_text="seconds of workers").wait_for()
    check_layout(page)
    trainings = [training(tmp_path / f"training{i}", 0.5 + i / 20) for i in range(8)]
    raynas.compare(trainings, out=tmp_path / "many.html")
    many = opened(tmp_path / "many.html", width, color_scheme=scheme)
    assert many.locator("#results-table tbody th.run").count() == 8
    check_layout(many)
