"""What notebooks show and complete, and the callbacks that their page describes."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import raynas
from raynas.api.lists import listing
from raynas.notebook import MOST_ROWS, Table, html_table

PAGE = Path(__file__).parents[1] / "docs" / "notebooks.md"


class Cells(HTMLParser):
    """Rows of the texts of a table's cells, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: set[str] = set()
        self._text: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.add(tag)
        if tag == "tr":
            self.rows.append([])
        self._text = [] if tag in ("td", "th") else self._text

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1].append("".join(self._text or []))
            self._text = None


def test_dir_lists_the_public_names_and_imports_nothing() -> None:
    code = (
        "import sys, raynas; names = set(dir(raynas)); assert set(raynas.__all__) <= names; "
        "assert {n for n in names if not n.startswith('__')} == set(raynas.__all__), names; "
        "assert not {'torch', 'ray', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_public_functions_return_is_public() -> None:
    functions = [one for one in (getattr(raynas, name) for name in raynas.__all__) if inspect.isfunction(one)]
    returned = {str(inspect.signature(one).return_annotation) for one in functions}
    own = {name for name in returned if name[0].isupper() and name not in ("Path", "Any")}
    assert {"Run", "EvaluationReport", "Sweep"} <= own
    assert {name for name in own if name.isidentifier()} <= set(raynas.__all__)


def test_values_are_text_and_never_markup() -> None:
    row = {"<b>name</b>": "<script>alert(1)</script>", "count": 1234567, "share": 0.123456789, "none": None, "is": True}
    shown = Cells(html_table("<i>title</i>", [row]))
    assert shown.elements == {"div", "p", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert shown.rows[1] == ["<script>alert(1)</script>", "1,234,567", "0.12346", "", "yes"]


def test_tables_are_bounded() -> None:
    table = Table({"number": i, "long": "x" * 5000} for i in range(1000))
    html = table._repr_html_()
    assert len(Cells(html).rows) == 1 + MOST_ROWS
    assert f"and {1000 - MOST_ROWS} more" in html
    assert len(html) < 20_000
    assert len(table) == 1000


def test_lists_are_tables_that_stay_lists() -> None:
    found = listing("searchers")
    assert isinstance(found, list)
    assert "reinforce" in [row[0] for row in Cells(found._repr_html_()).rows]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> raynas.Run:
    return raynas.search(
        "as-vit", objectives=["length_distortion"], budget=4, workers=0, img_size=32,
        settings={"length_distortion": {"repeats": 1}}, out=tmp_path_factory.mktemp("runs") / "found",
    )  # fmt: skip


def test_a_search_is_shown_with_what_it_found(searched: raynas.Run) -> None:
    head, first, *_ = Cells(searched._repr_html_()).rows
    assert head == ["length_distortion", "num_params", "macs", "architecture"]
    best = searched.best[0]
    assert first == [
        f"{best['scores']['length_distortion']:.5g}", f"{best['num_params']:,}", f"{best['macs']:,}", best["text"]
    ]  # fmt: skip
    assert repr(searched).replace("'", "&#x27;") in searched._repr_html_()


def test_scores_are_shown_in_the_order_in_which_they_were_asked(tmp_path: Path) -> None:
    given = ["8,2,3|4,1,2|4,1,4|4,1,6|32", "4,2,2|2,1,2|2,1,2|2,1,2|16", "7,4,2|3,2,2|4,1,6|2,1,2|32"]
    run = raynas.score("as-vit", given, proxies=["macs"], workers=0, img_size=32, out=tmp_path / "scores")
    head, *rows = Cells(run._repr_html_()).rows
    column = head.index("macs")
    assert [row[column] for row in rows] == [f"{value:.5g}" for value in run.table["macs"].to_pylist()]


def test_the_callbacks_of_the_page_hear_every_evaluation_and_every_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## Callbacks")[1], re.DOTALL)
    search: dict[str, Any] = {}
    training: dict[str, Any] = {}
    exec(blocks[0], search)
    told = search["run"].table["length_distortion"].to_pylist()
    assert sorted(search["heard"].values) == sorted(told)
    assert len(told) == 12
    assert max(told) == search["heard"].improvements[-1][1]
    exec(blocks[1], training)
    assert training["curve"].top1 == training["trained"].metrics["val_top1"].to_pylist()
    assert len(training["curve"].top1) == 2
    assert training["curve"].speeds
    assert [row[0] for row in Cells(training["trained"]._repr_html_()).rows] == ["epoch", "1", "0"]
