"""`raynas serve` in a browser: a running search is watched to its end, and runs are compared by ticking them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from object_stores import python_process
from report_folders import sampled_rows, write_folder

pytest_plugins = ["report_browser", "served_pages"]

SEARCH = """
from toy_runs import search
search({folder!r}, budget=40, window=4, settings={{"toy": {{"pause_s": 0.4}}}})
"""
"""A search that takes 16 seconds, however fast a machine is: some more than go by between two summaries."""


def row(page: Any, name: str) -> Any:
    return page.locator(f'#runs-table tr[data-run="{name}"]')


def test_a_search_is_watched_to_its_end_and_three_runs_are_compared(shown: Callable[..., Any], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    page = shown()
    assert "No run yet" in page.locator("#headline").inner_text()
    for name in ("first", "second"):
        write_folder(runs / name, sampled_rows(6), searcher="regularized_evolution")
    with python_process(SEARCH.format(folder=str(runs / "live"))) as search:
        row(page, "live").locator('td:has-text("of 40 evaluations")').wait_for()
        page.locator('tr[data-run="live"][data-status="running"]').wait_for()
        page.locator('tr[data-run="live"] td:has-text("left")').wait_for()

        # Its own page goes with it, and keeps what was chosen.
        own = shown("runs/live/report.html")
        own.locator('.live:has-text("left")').wait_for()
        own.get_by_label("across").first.select_option("seconds")
        counted = own.locator("#counts dd", has_text="of 40").inner_text()
        own.locator(f'#counts:not(:has-text("{counted}"))').wait_for()
        assert own.get_by_label("across").first.input_value() == "seconds"

        for name in ("live", "first", "second"):
            row(page, name).locator("input").check()
        assert page.locator("#runs-ticked").inner_text() == "3 runs ticked"
        page.locator('tr[data-run="live"][data-status="completed"]').wait_for()
        assert search.wait() == 0
        own.locator('#status:has-text("completed")').wait_for()
    assert row(page, "live").locator("input").is_checked()  # whatever was drawn anew meanwhile
    page.get_by_role("button", name="compare").click()
    page.locator("#results-table").wait_for()
    names = page.locator("#results-table thead th.run").all_inner_texts()
    assert sorted(name.strip() for name in names) == ["first", "live", "second"]
    assert page.locator("#courses-plots path.line").count() >= 3
    page.locator("#results-table thead a", has_text="live").click()
    assert page.locator("#title").inner_text() == "toy search"
    page.get_by_role("link", name="all runs").click()
    assert page.locator("#runs-table tbody tr").count() == 3


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (400, "light")])
def test_the_list_fits_filters_and_says_what_is_damaged(
    shown: Callable[..., Any], tmp_path: Path, width: int, scheme: str
) -> None:
    runs = tmp_path / "runs"
    for name in ("alpha", "beta", "a/very/long/way/to/a/run/with/a/name/that/is/none/of/the/shortest"):
        write_folder(runs / name, sampled_rows(3))
    (runs / "<b>broken").mkdir()
    (runs / "<b>broken" / "run.yaml").write_text("- <script>alert(1)</script>")
    page = shown(width=width, color_scheme=scheme)
    assert page.locator("#runs-table tbody tr").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "not the description of a run" in row(page, "<b>broken").locator(".reason").inner_text()
    assert row(page, "<b>broken").locator("input").is_disabled()
    page.locator("#runs-filter").fill("bet")
    assert page.locator("#runs-table tbody tr").count() == 1
    row(page, "beta").locator("input").check()
    assert page.locator("#runs-compare").is_disabled()
    page.locator("#runs-filter").fill("")
    row(page, "alpha").locator("input").check()
    assert page.locator("#runs-compare").is_enabled()
    page.locator("#runs-compare").click()
    assert page.locator("#title").inner_text() == "2 searches compared"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
