"""The page of finalists: its data against values worked out by hand and scipy, and what a browser draws of it."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from report_folders import embedded, epoch_rows, write_finalists, write_folder
from report_pages import check_layout, sections
from scipy.stats import kendalltau

from raynas.report.page import write_report
from raynas.report.trials import TOP1, score_columns
from raynas.storage.files import write_json
from raynas.storage.run_folder import run_description

pytest_plugins = ["report_browser"]


def trial(top1, epochs, status, length, condition, **more):
    """`top1` is where the curve goes, as in `epoch_rows`."""
    scores = {"length_distortion": length, "ntk_condition": condition}
    return {"top1": top1, "epochs_done": epochs, "status": status, "score": scores, **more}


TRIALS = [
    trial(0.70, 6, "completed", 4.1, 200.0),
    trial(0.75, 6, "completed", 4.0, 250.0),
    trial(0.50, 2, "stopped", 3.2, 500.0),
    trial(0.55, 3, "running", 3.9, 350.0),
    trial(0.40, 2, "failed", 3.4, 800.0, error="TrainingError: </script><b>nan</b>"),
    trial(0.90, 0, "running", 3.3, 900.0),
]


def reached(top1, epochs):
    """Percent after so many epochs, as `epoch_rows` has it."""
    return 100 * top1 * (1 - math.exp(-epochs / 2))


def column(data, name):
    return data["points"]["values"][name]


@pytest.fixture(scope="module")
def finalists(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finalists"
    return write_report(write_finalists(folder, TRIALS, summary={"status": "interrupted"}))


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Nine of equal length with a search that says which way its scores go, and one score less for the last."""
    root = tmp_path_factory.mktemp("runs")
    search = write_folder(root / "search", [])
    description = yaml.safe_load((search / "run.yaml").read_text())
    description["directions"] |= {"length_distortion": "max", "ntk_condition": "min"}
    (search / "run.yaml").write_text(yaml.safe_dump(description))
    trials = [trial(0.5 + k / 100, 4, "completed", float(k % 4), 100.0 + k) for k in range(9)]
    folder = write_finalists(root / "finalists", trials, epochs=4, summary={"source": str(search)})
    return write_report(folder)


# -- data -------------------------------------------------------------------------------------------------------------


def test_trials_are_ranked_by_accuracy(finalists):
    data = embedded(finalists.read_text())
    names = [entry["name"] for entry in data["trials"]]
    assert names == [f"finalist-{number:02d}" for number in (1, 0, 3, 2, 4, 5)]
    expected = [reached(*state) for state in ((0.75, 6), (0.7, 6), (0.55, 3), (0.5, 2), (0.4, 2))]
    assert column(data, TOP1)[:5] == pytest.approx(expected, rel=1e-6)
    assert column(data, TOP1)[5] is None
    assert data["rankings"][0]["members"] == [0, 1, 2, 3, 4]
    assert data["trials"][2]["top1"] == pytest.approx([reached(0.55, epochs) for epochs in (1, 2, 3)], rel=1e-6)
    assert data["trials"][5]["at"] == []


def test_accuracies_after_as_many_epochs_stand_beside_the_last_ones(finalists):
    data = embedded(finalists.read_text())
    expected = [reached(top1, 2) for top1 in (0.75, 0.7, 0.55, 0.5, 0.4)]
    found = column(data, "top-1 after epoch 2 (%)")
    assert found[:5] == pytest.approx(expected, rel=1e-6)
    assert found[5] is None


def test_equally_long_trainings_have_one_accuracy():
    trials = [{"top1": 0.5, "num_params": 10, "score": {"a": 1.0}}, {"top1": None, "num_params": 20, "score": None}]
    columns = score_columns(trials, [epoch_rows(2, macs=10), epoch_rows(2, macs=10)])
    assert columns == {TOP1: [50.0, None], "a": [1.0, None], "num_params": [10, 20]}


def test_accuracies_of_the_search_are_none_of_the_training():
    """Those of a supernet's members by inherited weights have the name that the training's accuracy has."""
    trials = [
        {"top1": 0.5, "num_params": 10, "macs": 1, "score": {"top1": 0.4, "loss": 2.0, "macs": 3}},
        {"top1": 0.3, "num_params": 20, "macs": 2, "score": {}},
    ]
    columns = score_columns(trials, [epoch_rows(2, macs=10), epoch_rows(2, macs=10)])
    expected = {TOP1: [50.0, 30.0], "top1 (search)": [0.4, None], "loss": [2.0, None]}
    assert columns == {**expected, "num_params": [10, 20], "macs": [3, 2]}


def test_rank_correlations_are_scipys(many):
    data = embedded(many.read_text())
    names, tau = data["correlation"]["names"], data["correlation"]["tau"]
    assert data["correlation"]["n"] == 9
    for name in ("length_distortion", "ntk_condition", "macs"):
        expected = kendalltau(column(data, TOP1), column(data, name)).statistic
        assert tau[names.index(TOP1)][names.index(name)] == pytest.approx(expected, abs=1e-6)


def test_directions_are_those_of_the_search(many, finalists):
    labels = [ranking["label"] for ranking in embedded(many.read_text())["rankings"]]
    assert labels == [
        "highest top-1 (%)",
        "highest length_distortion",
        "lowest ntk_condition",
        "lowest num_params",
        "lowest macs",
    ]
    # Where the search is gone, nothing says which way its scores go.
    labels = [ranking["label"] for ranking in embedded(finalists.read_text())["rankings"]]
    assert labels == ["highest top-1 (%)", "highest top-1 after epoch 2 (%)", "lowest num_params", "lowest macs"]


def test_head_counts_what_became_of_them(finalists):
    data = embedded(finalists.read_text())
    facts = {term: text for term, text in data["facts"] if text}
    assert facts == {
        "best top-1": f"{reached(0.75, 6):.2f} %",
        "finalists": "6",
        "trained to the end": "2",
        "stopped early": "1",
        "killed": "2",  # called running, and no process holds their folders
        "failed": "1",
        "duration": "1 min 40 s",
    }
    assert "19 epochs in all" in data["subline"]
    assert data["failures"] == [{"status": "failed", "error": TRIALS[4]["error"]}]


def test_trials_get_pages_of_their_own(finalists):
    data = embedded(finalists.read_text())
    reports = [(finalists.parent / entry["folder"] / "report.html").exists() for entry in data["trials"]]
    assert [entry["has_report"] for entry in data["trials"]] == reports == [True] * 5 + [False]


def test_folders_elsewhere_are_left_alone(tmp_path):
    folder = write_finalists(tmp_path / "finalists", TRIALS[:2])
    (folder / "finalist-00").rename(tmp_path / "outside")
    summary = json.loads((folder / "summary.json").read_text())
    summary["trials"][0]["folder"] = "../outside"
    write_json(folder / "summary.json", summary)
    data = embedded(write_report(folder).read_text())
    assert sorted(entry["has_report"] for entry in data["trials"]) == [False, True]
    assert not (tmp_path / "outside" / "report.html").exists()


def test_finalists_that_have_not_begun_are_reported(tmp_path):
    (tmp_path / "run.yaml").write_text(run_description("finalists", {"top": 4, "space": "as-vit"}, {}))
    data = embedded(write_report(tmp_path).read_text())
    assert data["title"] == "as-vit finalists"
    assert data["status"] | {"written": None} == {
        "name": "unknown",
        "error": None,
        "resume": f"raynas train --resume --out {tmp_path}",
        "written": None,
    }
    assert data["trials"] == []


def test_finalists_without_any_epoch_are_not_drawn_at_a_size_that_nobody_knows(tmp_path):
    (tmp_path / "run").mkdir()
    folder = write_finalists(tmp_path / "run", [trial(0.5, 0, "failed", 4.1, 200.0, error="E: no")] * 2)
    data = embedded(write_report(folder).read_text())
    assert data["points"]["stages"] is None
    assert data["title"] == "as-vit finalists"


# -- the page ---------------------------------------------------------------------------------------------------------


def test_page_shows_curves_and_table(opened, finalists):
    page = opened(finalists)
    assert sections(page) == ["trainings", "trials", "next", "best", "scatter", "correlation", "setup"]
    assert page.locator("#trainings-plot .plot path.line").count() == 5
    assert page.locator("#trainings-plot .mark").count() == 3  # stopped, failed, running
    assert "stopped early" in page.locator("#trainings-legend").inner_text()
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#trials-table tbody tr").all()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5", "–"]  # noqa: RUF001
    assert rows[0][2] == f"{reached(0.75, 6):.2f}"
    assert rows[0][4:6] == ["4", "250"]
    assert rows[2][8] == "3 of 6"
    assert "</script><b>nan</b>" in rows[4][9]
    assert page.locator("#trials-table b").count() == 0
    links = [link.get_attribute("href") for link in page.locator("#trials-table a").all()]
    assert links[0] == "./finalist-01/report.html"
    assert len(links) == 5


def test_scatter_names_the_rank_correlation(opened, many):
    data = embedded(many.read_text())
    page = opened(many)
    expected = kendalltau(column(data, TOP1), column(data, "length_distortion")).statistic
    assert f"τ-b {expected:.2f} between length_distortion and top-1 (%)" in page.locator("#scatter-tau").inner_text()
    page.get_by_label("across").select_option("ntk_condition")
    assert "τ-b 1.00" in page.locator("#scatter-tau").inner_text()
    page.get_by_label("up", exact=True).select_option("ntk_condition")
    assert "No rank correlation" in page.locator("#scatter-tau").inner_text()
    assert page.locator("#trainings-plot .plot path.line.thin").count() == 3  # six of nine have a colour


def test_cards_say_what_became_of_a_trial(opened, finalists):
    page = opened(finalists)
    cards = page.locator("#best-list .rank").all_inner_texts()
    assert cards[0].split("\n") == ["#1", "finalist-01, trained to the end"]
    assert "finalist-02, stopped early" in cards[3]
    assert "TrainingError" in page.locator("#best-list > li").nth(4).inner_text()


@pytest.mark.parametrize("width", [1280, 400])
def test_layout_of_finalists(opened, finalists, many, width):
    for path in (finalists, many):
        check_layout(opened(path, width=width))


def test_page_without_trials_opens(opened, tmp_path):
    (tmp_path / "run.yaml").write_text(run_description("finalists", {"top": 4, "space": "as-vit"}, {}))
    page = opened(write_report(tmp_path))
    assert "No epoch is finished yet" in page.locator("#trainings").inner_text()
    assert not page.locator("#trials").is_visible()
    assert not page.locator("#scatter").is_visible()
