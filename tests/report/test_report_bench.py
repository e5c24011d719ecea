"""What the page of a benchmark holds: its data against the tables in the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_benches import PROXIES, made, near, row_of
from report_folders import embedded

import raynas
import raynas.report.bench
from raynas.proxies.probe import Probe, Proxy
from raynas.report.page import write_report

pytest_plugins = ["report_browser", "report_bench_fixtures"]


def test_head_says_what_was_compared_and_at_which_setting(bench: Path, correlations: list[dict[str, Any]]) -> None:
    data = embedded(bench.read_text())
    assert data["title"] == "vit: proxies against bench.csv"
    assert data["headline"] == "2 proxies and 1 combination against 2 labels of 60 architectures"
    assert data["subline"].split(" · ")[:2] == ["images of 32 pixels", "1 draw of weights"]
    assert "all 60 architectures of the table" in data["subline"]
    useful = [row["proxy"] for row in correlations if row["useful"] and row["label"] == "top1"]
    both = [name for name in useful if row_of(correlations, name, "loss")["useful"]]
    assert dict(data["facts"])["above size on all labels"] == f"{len(both)} of 3"
    setup = {title: dict(rows) for title, rows in ((one["title"], one["rows"]) for one in data["groups"])}
    assert setup["Benchmark"]["truth table"] == "bench.csv"
    assert setup["Benchmark"]["combination"] == "wide+shallow, logarithms of ranks added"


def test_architectures_that_lack_several_scores_count_once(tmp_path: Path) -> None:
    def never(probe: Probe) -> float:
        raise ValueError

    page = made(tmp_path / "failing", proxies=[*PROXIES, Proxy("never", never)])
    assert dict(embedded(page.read_text())["facts"])["without some score"] == "60"


def test_page_holds_the_statistics_of_the_table(bench: Path, correlations: list[dict[str, Any]]) -> None:
    found = embedded(bench.read_text())["bench"]
    names = [one["name"] for one in found["predictors"]]
    labels = [one["name"] for one in found["labels"]]
    assert len(found["rows"]) == len(names) * len(labels)
    for row in found["rows"]:
        shown = dict(zip(found["columns"], row, strict=True))
        stored = row_of(correlations, names[shown.pop("predictor")], labels[shown.pop("label")])
        assert shown == {name: near(stored[name]) for name in shown}
    strata = [row for row in correlations if row["within"] is not None]
    assert [row[4:6] for row in found["strata"]] == [[row["n"], near(row["tau"])] for row in strata]


def test_predictors_that_agree_stand_side_by_side(bench: Path) -> None:
    found = embedded(bench.read_text())["bench"]["agreement"]
    counts = ["num_params", "macs", "depth", "width", "depth*width"]
    assert sorted(found["names"]) == sorted(["wide", "shallow", "wide+shallow", *counts])
    at = {name: i for i, name in enumerate(found["names"])}
    assert abs(at["wide"] - at["width"]) == 1
    assert found["tau"][at["wide"]][at["width"]] > 0.9
    # Both are turned so that more is better: a shallow network has a low depth, and a low value is good.
    assert found["tau"][at["shallow"]][at["depth"]] == found["tau"][at["depth"]][at["shallow"]]


def test_aggregates_only_leaves_no_architecture_and_no_label_in_the_page(bench: Path, tmp_path: Path) -> None:
    page = made(tmp_path / "bench", aggregates_only=True, title="Aggregates").read_text()
    data = embedded(page)
    truth = raynas.load_bench(tmp_path / "bench").truth
    assert data["points"]["text"] == data["points"]["fields"] == []
    assert all(values == [] for values in data["points"]["values"].values())
    content = json.dumps(data)
    assert not any(text in page for text in truth.texts)
    assert not any(f"{value}" in content for value in truth.labels["top1"])
    assert any(text in bench.read_text() for text in truth.texts)
    assert data["bench"]["rows"] == embedded(bench.read_text())["bench"]["rows"]


def test_pages_of_many_architectures_hold_a_sample_with_the_best(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedded(bench.read_text())
    monkeypatch.setattr(raynas.report.bench, "MAX_POINTS", 45)
    monkeypatch.setattr(raynas.report.bench, "_SHOWN_BEST", 2)
    data = embedded(write_report(bench.parent).read_text())
    monkeypatch.undo()
    write_report(bench.parent)
    assert (data["total"], len(data["points"]["text"])) == (60, 45)
    assert data["bench"] == whole["bench"]
    assert max(data["points"]["values"]["top1"]) == max(whole["points"]["values"]["top1"])
    assert min(v for v in data["points"]["values"]["loss"] if v) == min(
        v for v in whole["points"]["values"]["loss"] if v
    )


def test_the_page_names_no_folder_of_its_author(tmp_path: Path) -> None:
    (tmp_path / "a secret place").mkdir()
    path = made(tmp_path / "a secret place" / "bench")
    description = (path.parent / "run.yaml").read_text()
    assert "data: random" in description
    for spec in ("folder:{}/pictures", "parquet:{}/train.parquet", "torchvision:CIFAR10:{}/cifar"):
        given = spec.format(tmp_path / "a secret place")
        (path.parent / "run.yaml").write_text(description.replace("data: random", f"data: {given}"))
        page = write_report(path.parent).read_text()
        assert "a secret place" not in page
        assert str(tmp_path) not in page
        assert given.rpartition("/")[2] in page
