"""What several test modules ask of a report page in a browser."""

from __future__ import annotations

from typing import Any

_TEXT_BOXES = """() => [...document.querySelectorAll("svg.chart:not(.overlay), svg.towers")].map((chart) =>
    [...chart.querySelectorAll("text")].map((text) => {
        const { left, right, top, bottom } = text.getBoundingClientRect();
        return { left, right, top, bottom, text: text.textContent };
    }))"""


def sections(page: Any) -> list[str]:
    """Those that are shown, in order."""
    return [section.get_attribute("id") for section in page.locator("main > section:visible").all()]


def check_layout(page: Any) -> None:
    """No text lies on another in a chart, and the page does not scroll sideways."""
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.evaluate(_TEXT_BOXES)
    assert any(charts)
    for boxes in charts:
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                across = min(a["right"], b["right"]) - max(a["left"], b["left"])
                down = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"])
                assert across <= 1 or down <= 4, (a, b)
