"""Parallel coordinates in a browser, by the pointer and by the keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from report_folders import embedded, sampled_rows, write_folder

from raynas.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytest_plugins = ["report_browser"]

ROWS = sampled_rows(60)
COSTS = [outcomes["num_params"].value or 0.0 for _, outcomes in ROWS]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return write_report(write_folder(tmp_path_factory.mktemp("runs") / "searched", ROWS, budget=60))


def test_a_line_across_all_fields_is_chosen_and_axes_keep_what_passes(opened, searched):
    data = embedded(searched.read_text())
    page = opened(searched)
    page.locator("#parallel").scroll_into_view_if_needed()
    plot = page.locator("#parallel-plot").bounding_box()
    zones = page.locator("#parallel-plot .axis-zone").all()
    titles = [title.text_content() for title in page.locator("#parallel-plot .axis-name").all()]
    assert len(zones) == len(titles) == 7  # four fields, the objective, and both costs
    at = next(i for i, title in enumerate(titles) if title.startswith("length_distortion"))
    axis = zones[at].bounding_box()
    values = [v for v in data["points"]["values"]["length_distortion"] if v is not None]
    top, bottom = axis["y"] + 6, axis["y"] + axis["height"] - 6
    page.mouse.move(axis["x"] + axis["width"] / 2, top)
    assert page.locator("#parallel-chosen").inner_text() != ""  # the best one ends at the top of this axis
    best = data["points"]["text"][data["points"]["values"]["length_distortion"].index(max(values))]
    assert best in page.locator("#parallel-chosen").inner_text().replace("\n", "")
    middle = (min(values) * max(values)) ** 0.5
    assert max(values) / min(values) > 50  # so that the axis is logarithmic
    page.mouse.move(axis["x"] + axis["width"] / 2, bottom + 3)
    page.mouse.down()
    page.mouse.move(axis["x"] + axis["width"] / 2, (top + bottom) / 2)
    page.mouse.up()
    expected = sum(value <= middle for value in values)
    assert page.locator("#parallel-chosen").inner_text().startswith(f"{expected} of {len(values)} ")
    page.locator("#parallel-controls button").click()
    assert page.locator("#parallel-plot .brushed").count() == 0
    assert plot["width"] > 600


def axis(page: Any, title: str) -> Any:
    return page.locator(f'#parallel-plot .axis-zone[aria-label="{title}"]')


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))


def passing(page: Any) -> int:
    """How many lines pass, as the page says it."""
    text = page.locator("#parallel-chosen").inner_text()
    return int(text.split(" of ")[0]) if text else len(ROWS)


def test_axes_are_reached_and_narrowed_by_keys(opened, searched):
    page = opened(searched)
    page.locator("#parallel-scroll").focus()
    page.keyboard.press("Tab")
    first = focused(page)
    zone = axis(page, first)
    assert zone.get_attribute("role") == "slider"
    assert zone.get_attribute("aria-valuetext") == "all"
    # What has the focus is seen to have it.
    unfocused = page.locator("#parallel-plot .axis-zone").nth(1)
    outlines = [node.evaluate("(node) => getComputedStyle(node).stroke") for node in (zone, unfocused)]
    assert outlines[0] != outlines[1] == "none"
    # One stop of the tab key leads to all of them, and one leaves them.
    titles = [node.get_attribute("aria-label") for node in page.locator("#parallel-plot .axis-zone").all()]
    for title in titles[1:]:
        page.keyboard.press("ArrowRight")
        assert focused(page) == title
    page.keyboard.press("ArrowRight")
    assert focused(page) == titles[-1]
    page.keyboard.press("ArrowLeft")
    assert focused(page) == titles[-2]
    page.keyboard.press("Tab")
    assert page.evaluate("!document.activeElement.closest('#parallel-plot')")


def test_what_passes_is_narrowed_widened_and_let_go_by_keys(opened, searched):
    page = opened(searched)
    assert max(COSTS) / min(COSTS) < 50  # so that the axis is linear
    low, width = min(COSTS), max(COSTS) - min(COSTS)
    zone = axis(page, "parameters")
    zone.focus()
    for _ in range(4):  # a fifth of the axis from below
        page.keyboard.press("ArrowUp")
    assert passing(page) == sum(cost >= low + 0.2 * width for cost in COSTS) < len(COSTS)
    assert focused(page) == "parameters"
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    expected = sum(low + 0.2 * width <= cost <= low + 0.7 * width for cost in COSTS)
    assert passing(page) == expected
    assert zone.get_attribute("aria-valuenow") == "20"
    assert " M to " in zone.get_attribute("aria-valuetext")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+ArrowDown")
    assert passing(page) == sum(low + 0.15 * width <= cost <= low + 0.75 * width for cost in COSTS)
    page.keyboard.press("Delete")
    assert page.locator("#parallel-plot .brushed").count() == 0
    assert zone.get_attribute("aria-valuetext") == "all"
    assert focused(page) == "parameters"


def test_keys_step_from_choice_to_choice_and_several_axes_go_together(opened, searched):
    page = opened(searched)
    heads = [row["num_heads"] for row, _ in ROWS]
    choices = sorted(set(heads))
    assert len(choices) > 2
    zone = axis(page, "num_heads")
    zone.focus()
    page.keyboard.press("ArrowUp")
    assert zone.get_attribute("aria-valuetext") == f"{choices[1]} to {choices[-1]}"
    assert passing(page) == sum(number >= choices[1] for number in heads)
    axis(page, "parameters").focus()
    for _ in range(10):
        page.keyboard.press("ArrowDown")
    middle = (min(COSTS) + max(COSTS)) / 2
    both = [number >= choices[1] and cost <= middle for number, cost in zip(heads, COSTS, strict=True)]
    assert 0 < passing(page) == sum(both)


def test_lines_that_pass_are_read_by_keys_the_best_first(opened, searched):
    page = opened(searched)
    data = embedded(searched.read_text())["points"]
    order = sorted(range(len(ROWS)), key=lambda point: -data["values"]["length_distortion"][point])
    axis(page, "parameters").focus()
    for point in order[:3]:
        page.keyboard.press("PageDown")
        assert data["text"][point] in page.locator("#parallel-chosen").inner_text().replace("\n", "")
        assert page.locator("#parallel-plot .marker").get_attribute("d").startswith("M")
    page.keyboard.press("PageUp")
    assert data["text"][order[1]] in page.locator("#parallel-chosen").inner_text().replace("\n", "")
