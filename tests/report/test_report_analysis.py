"""The page of an analysis, and pictures of a pre-training, in a browser."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from report_pages import check_layout, sections
from toy_trainings import trained

import raynas
from raynas.analysis.folder import Analysis
from raynas.analysis.run import AnalysisListener
from raynas.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytest_plugins = ["report_browser"]
pytestmark = pytest.mark.slow

_ARE_SHOWN = "(list) => list.map((image) => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Analysis]:
    out = tmp_path_factory.mktemp("runs") / "analysis"
    settings: Any = {"data": "digits", "max_images": 64, "batch_size": 32, "loader_processes": 0, "threads": 1}
    found = raynas.analyze(
        "random:p8-w48-d3-h4-m2", against="random:p8-w24-d2-h3-m2", out=out, listener=AnalysisListener(), **settings
    )
    return write_report(out), found


def test_sections_hold_maps_heads_depths_and_pictures(opened: Any, analysed: tuple[Path, Analysis]) -> None:
    page = opened(analysed[0])
    assert sections(page) == ["likeness", "heads", "depths", "pictures", "setup"]
    assert page.locator("#likeness table.heat").count() == 3  # of each, and of both
    assert page.locator("#heads-plots svg.chart").count() == 2
    assert page.locator("#depths-plots svg.chart").count() == 2
    shown = page.locator("#pictures-list img").evaluate_all(_ARE_SHOWN)
    assert len(shown) > 3
    assert all(shown)


def test_a_cell_reads_what_the_table_has(opened: Any, analysed: tuple[Path, Analysis]) -> None:
    page, rows = opened(analysed[0]), analysed[1].cka.to_pylist()
    (between,) = (
        one for one in page.locator("#likeness figure").all() if "rows" in one.locator("figcaption").inner_text()
    )
    of_both = [row for row in rows if row["network"] != row["other_network"]]
    assert between.locator("td[data-row]").count() == len(of_both) == 4 * 3
    row = of_both[5]
    names = [list(dict.fromkeys(one[key] for one in of_both)) for key in ("point", "other_point")]
    i, j = names[0].index(row["point"]), names[1].index(row["other_point"])
    cell = between.locator(f'td[data-row="{i}"][data-column="{j}"]')
    assert float(cell.inner_text()) == pytest.approx(row["cka"], abs=0.005)
    cell.hover()
    assert float(page.locator("#likeness-reading").inner_text().rsplit(": ")[1]) == pytest.approx(row["cka"], abs=1e-3)
    diagonals = page.locator("#likeness figure").first.locator("td[data-row]").all()
    of_itself = [one for one in diagonals if one.get_attribute("data-row") == one.get_attribute("data-column")]
    assert of_itself and {one.inner_text() for one in of_itself} == {"1.00"}


def test_a_box_says_what_the_heads_of_its_block_are_like(opened: Any, analysed: tuple[Path, Analysis]) -> None:
    page, heads = opened(analysed[0]), analysed[1].attention.to_pylist()
    hints = page.locator("#heads-plots svg.chart").first.locator("g.box title").all_text_contents()
    assert len(hints) == 3 + 2
    values = [row["distance"] for row in heads if (row["network"], row["block"]) == ("model", 1)]
    assert len(values) == 4
    assert "block 1: " in hints[0]
    assert f"mean {statistics.mean(values):.3g}" in hints[0]
    assert "4 heads" in hints[0]


@pytest.mark.parametrize("width", [1280, 400])
def test_layout_of_an_analysis(opened: Any, analysed: tuple[Path, Analysis], width: int) -> None:
    check_layout(opened(analysed[0], width=width))


def test_a_pre_training_shows_reconstructions_over_the_epochs(opened: Any, tmp_path: Path) -> None:
    settings: Any = {"space": "vit", "architecture": "p8-w48-d3-h4-m2", "img_size": 32, "drop_path_rate": 0.0}
    trained(tmp_path / "run", **settings, objective="mae", epochs=2, max_images=80)
    page = opened(write_report(tmp_path / "run"))
    assert "pictures" in sections(page)
    figures = page.locator("#pictures-list figure").all()
    shown = page.locator("#pictures-list img").evaluate_all(_ARE_SHOWN)
    assert len(shown) == len(figures) == 2 + 2  # images and masks do not change, reconstructions do
    assert all(shown)
    captions = [one.locator("figcaption").inner_text() for one in figures]
    assert [one.partition(" after ")[2] for one in captions] == ["", "", "epoch 1", "epoch 2"]
    check_layout(page)
