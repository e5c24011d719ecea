"""Words of a search's page: where lines break, what it says where it scrolls, and the units of its pictures."""

from __future__ import annotations

import re

import pytest
from report_folders import sampled_rows, write_folder

import raynas
from raynas.report.page import write_report

pytest_plugins = ["report_browser"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "searched"
    settings = {"length_distortion": {"repeats": 1}}
    raynas.search(
        "as-vit", objectives=["length_distortion"], budget=6, out=folder, workers=0, img_size=32, settings=settings
    )
    return write_report(folder)


def test_narrow_pages_break_between_words_and_say_what_scrolls(opened, searched, tmp_path):
    wide, narrow = opened(searched), opened(searched, 400)
    # Of a space that is not known, pictures have the names of its fields.
    unknown = write_report(write_folder(tmp_path, sampled_rows(6), identity={"space": "gone"}))
    assert not wide.locator("#parallel-wide").is_visible()
    assert narrow.locator("#parallel-wide").inner_text().strip() == "Scroll sideways for the other axes."
    one_line = """(node) => {
        const range = document.createRange();
        const parts = [...node.childNodes].filter(({ data }) => data);
        return parts.every((part) => [...part.data.matchAll(/[a-z]+/g)].every(({ 0: word, index }) => {
            range.setStart(part, index);
            range.setEnd(part, index + word.length);
            return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size <= 1;
        }));
    }"""
    for page in (wide, narrow, opened(unknown, 400)):
        places = [*page.locator("#best-list .picture th").all(), *page.locator("#setup-groups dt").all()]
        assert len(places) > 20
        assert [place.inner_text() for place in places if not place.evaluate(one_line)] == []
        for values in page.locator("#best-list .uniform").all():
            assert re.search("MACs\u00a0[0-9.]+\u00a0M", values.inner_text())
            code = values.locator("code").bounding_box()
            assert code["y"] >= values.locator("strong").bounding_box()["y"] + 18


def test_shares_of_decisions_have_one_unit_in_words_and_on_their_axis(opened, tmp_path):
    page = opened(write_report(write_folder(tmp_path, sampled_rows(60))))
    ends = page.locator("#decisions-plots figure").first.locator(".tick").all_text_contents()
    said = page.locator("#decisions-note").inner_text()
    assert (ends[0], ends[-1]) == ("0 %", "100 %")
    assert "0 % where it makes no difference, 100 % where nothing else does" in said
