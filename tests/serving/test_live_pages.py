"""Pages of runs that go on, in a browser: they follow their run, say one number, and stay as the reader left them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_folders import epoch_rows, sampled_rows, write_folder, write_training

from raynas.storage.locks import held

pytest_plugins = ["report_browser", "served_pages"]
pytestmark = pytest.mark.slow

_NUMBERS = """() => {
    window.isSamePage = true;
    window.pairs = [];
    const numberOf = (node) => (node ? node.textContent : "").match(/[0-9]+ of [0-9]+/)?.[0];
    setInterval(() => window.pairs.push([numberOf(document.querySelector("#live [role=status]")),
        numberOf(document.querySelector("#counts"))]), 20);
}"""
"""Looks again and again which numbers the bar and the page say."""


def at(folder: Path, done: int, error: str | None = None) -> None:
    """Make of a folder that of a search which has done so many of its 60 evaluations, and goes on."""
    made = folder.with_name(f".{folder.name}-{done}")
    summary = {"status": "running", "evaluations": done, "error": error}
    write_folder(made, sampled_rows(done), budget=60, searcher="regularized_evolution", summary=summary)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    shutil.rmtree(made)


def offset(page: Any, section: str) -> float:
    """Where the top of a section is in the window."""
    return float(page.locator(f"#{section}").evaluate("(node) => node.getBoundingClientRect().top"))


def test_a_page_that_follows_its_run_stays_as_its_reader_left_it(shown: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "live"
    at(folder, 30)
    with held(folder):
        page = shown("runs/live/report.html")
        page.evaluate(_NUMBERS)
        page.get_by_label("Ranked by").select_option(label="lowest macs")
        page.get_by_role("button", name="show 5 more").click()
        assert page.locator("#best-list > li").count() == 10
        page.get_by_label("across").select_option("seconds")
        zone = page.locator('#parallel-plot .axis-zone[aria-label="num_heads"]')
        zone.focus()
        page.keyboard.press("ArrowUp")
        kept_heads = zone.get_attribute("aria-valuetext")
        plot = page.locator("#scatter-plot")
        plot.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Enter"):
            page.keyboard.press(key)
        chosen = page.locator("#scatter-panel code").first.inner_text()
        assert "kept" in page.locator("#scatter-panel .rank").inner_text()
        page.locator("#scatter").evaluate("(node) => scrollTo(0, scrollY + node.getBoundingClientRect().top + 37)")
        before = page.locator("header").evaluate("(node) => node.offsetHeight")

        at(folder, 50, error="a line\n" * 4)
        page.locator('#counts:has-text("50 of 60")').wait_for()
        assert page.evaluate("window.isSamePage")  # it was not loaded anew
        assert page.get_by_label("Ranked by").locator("option:checked").inner_text() == "lowest macs"
        assert page.locator("#best-list > li").count() == 10
        assert page.get_by_label("across").input_value() == "seconds"
        assert page.locator("#scatter-panel code").first.inner_text() == chosen
        assert "kept" in page.locator("#scatter-panel .rank").inner_text()
        assert zone.get_attribute("aria-valuetext") == kept_heads != "all"
        assert page.evaluate("document.activeElement.id") == "scatter-plot"
        assert offset(page, "scatter") == pytest.approx(-37, abs=1)
        assert page.locator("header").evaluate("(node) => node.offsetHeight") > before + 50  # which stands above
        pairs = page.evaluate("window.pairs")
        assert {bar for bar, _ in pairs} == {"30 of 60", "50 of 60"}
        assert [pair for pair in pairs if pair[0] != pair[1]] == []

        # The one that stands now follows in its turn, and is heard as before.
        at(folder, 55)
        page.locator('#counts:has-text("55 of 60")').wait_for()
        assert page.locator("#scatter-panel code").first.inner_text() == chosen
        page.keyboard.press("ArrowLeft")
        assert "kept" not in page.locator("#scatter-panel .rank").inner_text()


def test_a_reader_at_work_is_told_of_what_has_come_and_asks_for_it(shown: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "live"
    at(folder, 30)
    with held(folder):
        page = shown("runs/live/report.html")
        page.evaluate(_NUMBERS)
        page.locator("#headline").click(click_count=3)  # which selects its text
        selected = page.evaluate("getSelection().toString()")
        assert selected
        at(folder, 50)
        newer = page.get_by_role("button", name="show what has come since")
        newer.wait_for()
        page.wait_for_timeout(5000)  # longer than an idle page waits
        assert page.evaluate("getSelection().toString()") == selected
        assert "30 of 60" in page.locator("#live").inner_text()
        newer.click()
        page.locator('#counts:has-text("50 of 60")').wait_for()
        assert page.get_by_role("button", name="show what has come since").is_hidden()
        assert all(bar == counts for bar, counts in page.evaluate("window.pairs"))


def test_what_is_opened_stays_open_and_what_is_not_stays_closed(shown: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "training"
    running = {"status": "running"}
    write_training(folder, epoch_rows(4, macs=10**8), epochs=12, summary=running)
    with held(folder):
        page = shown("runs/training/report.html", width=500)
        page.locator("#epochs summary").click()
        page.locator("#epochs-table").evaluate("(node) => (node.scrollLeft = 25)")
        assert page.locator("#epochs-table tbody tr").count() == 4
        write_training(folder, epoch_rows(7, macs=10**8), epochs=12, summary=running)
        page.locator('#live:has-text("7 of 12 epochs")').wait_for()
        assert page.locator("#epochs details").get_attribute("open") is not None
        assert page.locator("#epochs-table tbody tr").count() == 7
        assert page.locator("#epochs-table").evaluate("(node) => node.scrollLeft") == 25
        page.locator("#epochs summary").click()
        write_training(folder, epoch_rows(8, macs=10**8), epochs=12, summary=running)
        page.locator('#live:has-text("8 of 12 epochs")').wait_for()
        assert page.locator("#epochs details").get_attribute("open") is None
    write_training(folder, epoch_rows(12, macs=10**8), epochs=12)
    page.locator('#status:has-text("completed")').wait_for()
    assert "completed" in page.locator("#live").inner_text()
    assert page.locator("#next-title").inner_text() == "What next"
