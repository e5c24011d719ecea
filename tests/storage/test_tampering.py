"""Parts of a run that were damaged, changed, moved or removed: they are named, set aside, and scored again."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_runs import Recorder, content, search

import raynas
from raynas.errors import StoreError
from raynas.report.page import write_report
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.results import Outcome, ScoreIdentity
from raynas.storage.files import append_text, write_text
from raynas.storage.locks import locked
from raynas.storage.result_store import SCHEMA, ResultStore, read_evaluations
from raynas.storage.run_folder import check_folder

IDENTITIES = [ScoreIdentity("toy", 32, 10, 1, "first"), ScoreIdentity("toy", 32, 10, 1, "second")]


def fill(folder: Path, count: int) -> list[Path]:
    """A part for each of so many architectures."""
    store = ResultStore(folder, IDENTITIES)
    for i in range(count):
        architecture = Architecture({"width": i, "heads": [1, i]})
        store.append(i, architecture, {0: Outcome(i / 7, "ok"), 1: Outcome(None, "failed", "no")})
        store.flush()
    store.close()
    return parts(folder)


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "evaluations").glob("part-*"))


def taken(folder: Path) -> tuple[list[int], list[str], list[str]]:
    """Architectures that are left, what was set aside with its reason, and what is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = read_evaluations(folder)
    store = ResultStore(folder, IDENTITIES)
    try:
        loaded = store.take_loaded()
        assert sorted(loaded["architecture_key"].to_pylist()) == sorted(read["architecture_key"].to_pylist())
        return sorted(set(loaded["candidate"].to_pylist())), store.set_aside, store.missing
    finally:
        store.close()


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], object], *, with_metadata: bool = False) -> None:
    """The part as somebody would write it who has changed some of its rows; with a checksum of before, if any."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    made = pa.Table.from_pylist(rows, schema=SCHEMA)
    if with_metadata:
        said = pq.read_metadata(path).metadata
        made = made.replace_schema_metadata({k: v for k, v in said.items() if k != b"ARROW:schema"})
    pq.write_table(made, path)


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_changed_bit_gives_another_value(tmp_path_factory: pytest.TempPathFactory, at: float, bit: int) -> None:
    folder = tmp_path_factory.mktemp("bits")
    path = fill(folder, 3)[1]
    before = {row["architecture_key"]: row for row in read_evaluations(folder).to_pylist() if row["proxy"] == "first"}
    changed = bytearray(path.read_bytes())
    changed[int(at * len(changed))] ^= 1 << bit
    path.write_bytes(bytes(changed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [row for row in read_evaluations(folder).to_pylist() if row["proxy"] == "first"]
    assert {0, 2} <= {row["candidate"] for row in rows}
    assert all(before[row["architecture_key"]] == row for row in rows)


ALWAYS = [
    "candidate", "space", "img_size", "num_classes", "model_version", "proxy", "proxy_version", "settings", "repeats",
    "init", "dtype", "score_seed", "input_hash", "seconds", "build_seconds", "reused",
]  # fmt: skip
"""What each row has."""


def _without(name: str) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: rows[1].update({name: None})


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "ok without a value": (lambda rows: rows[0].update(value=None), "row 0 has the status ok and the value None"),
    "ok with NaN": (lambda rows: rows[0].update(value=float("nan")), "row 0 has the status ok and the value nan"),
    "ok with infinity": (lambda rows: rows[0].update(value=float("inf")), "row 0 has the status ok and the value inf"),
    "failed with a value": (lambda rows: rows[1].update(value=1.0), "row 1 has the status failed and the value 1.0"),
    "no status": (lambda rows: rows[1].update(status=None), "status None, which there is not"),
    "another status": (lambda rows: rows[1].update(status="fine"), "status 'fine', which there is not"),
    "another architecture": (
        lambda rows: [row.update(architecture='{"heads":[1,9],"width":9}') for row in rows],
        "not the one of its key",
    ),
    "another key": (lambda rows: rows[0].update(architecture_key="0" * 32), "not the one of its key, '0000"),
    "no architecture": (lambda rows: rows[0].update(architecture=None), "not the one of its key"),
    "a row twice": (lambda rows: rows.append(dict(rows[0])), "rows that are there already"),
    "another proxy": (lambda rows: rows[0].update(proxy="third"), "scores of another run"),
    **{f"no {name}": (_without(name), f"row 1 has no {name}") for name in ALWAYS},
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_no_run_writes_are_set_aside(change: str, tmp_path: Path) -> None:
    path = fill(tmp_path, 3)[1]
    changed, reason = CHANGES[change]
    rewritten(path, changed)
    if change == "another proxy":  # that alone tells it from one of the run
        store = ResultStore(tmp_path, IDENTITIES)
        left, set_aside = sorted(set(store.take_loaded()["candidate"].to_pylist())), store.set_aside
        store.close()
    else:
        left, set_aside, missing = taken(tmp_path)
        assert missing == []
    assert left == [0, 2]
    assert len(set_aside) == 1
    assert path.name in set_aside[0]
    assert reason in set_aside[0]
    assert [one.name for one in (tmp_path / "set_aside").iterdir()] == [path.name]


def test_a_value_that_was_changed_is_told_by_the_checksum_and_a_part_without_one_is_of_before(tmp_path: Path) -> None:
    path = fill(tmp_path, 3)[1]
    shutil.copytree(tmp_path, tmp_path / "of_before")
    rewritten(path, lambda rows: rows[0].update(value=1e9), with_metadata=True)
    left, set_aside, _ = taken(tmp_path)
    assert left == [0, 2]
    assert "their checksum is another one" in set_aside[0]
    rewritten(tmp_path / "of_before" / "evaluations" / path.name, lambda rows: None)
    assert taken(tmp_path / "of_before") == ([0, 1, 2], [], [])


def test_a_part_under_the_name_of_another_and_one_twice_are_told(tmp_path: Path) -> None:
    first, second, third = fill(tmp_path, 3)
    shutil.copy(first, second)
    shutil.copy(first, third.with_name("part-00000007-00000007.parquet"))
    left, set_aside, missing = taken(tmp_path)
    assert left == [0, 2]
    assert [line.split(": ")[0] for line in set_aside] == [second.name, "part-00000007-00000007.parquet"]
    assert all("it was written as the part 00000000-00000000" in line for line in set_aside)
    assert missing == ["part-00000003-00000006"]


def test_a_part_that_is_gone_is_named(tmp_path: Path) -> None:
    paths = fill(tmp_path, 4)
    paths[0].unlink()
    paths[2].unlink()
    assert taken(tmp_path) == ([1, 3], [], ["part-00000000-00000000", "part-00000002-00000002"])
    assert taken(tmp_path) == ([1, 3], [], [])  # it is said once
    paths[1].unlink()
    assert taken(tmp_path) == ([3], [], ["part-00000001-00000001"])


class Removes(SearchListener):
    """Removes a part of the run while it goes on."""

    def on_tell(self, evaluation: Any, told: int, ranking: Any) -> None:
        if told == 20:
            self.removed = parts(self.folder)[0]
            self.removed.unlink()

    def on_start(self, folder: Path, budget: int) -> None:
        self.folder = folder


class Lines(Recorder):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def test_a_part_that_vanishes_while_a_run_goes_on_is_noticed_and_scored_again(tmp_path: Path) -> None:
    removes = Removes()
    with pytest.raises(StoreError, match=r"part-.*parquet in .* vanished while the run went on.*scored again"):
        search(tmp_path / "run", budget=30, searcher="random", listener=removes)
    assert raynas.load_run(tmp_path / "run").summary["status"] == "failed"
    said = Lines()
    resumed = search(tmp_path / "run", budget=30, searcher="random", resume=True, listener=said)
    assert any("is missing; what it held is scored again" in line for line in said.lines)
    assert resumed.summary["status"] == "completed"
    whole = search(tmp_path / "whole", budget=30, searcher="random")
    assert content(resumed) == content(whole)


def test_a_truth_value_is_no_number_in_an_identity(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("kind: search\nconfig: {}\nidentity: {window: true}\n")
    with pytest.raises(StoreError, match="window was True and is now 1"):
        check_folder(tmp_path, {"window": 1}, resume=True)


@pytest.mark.parametrize("name", ["evaluations", "report.html", "set_aside", ".lock", "run.yaml", ".summary.json.tmp"])
def test_nothing_is_written_through_a_link_that_leads_out(tmp_path: Path, name: str) -> None:
    folder, outside = tmp_path / "run", tmp_path / "outside"
    search(folder, budget=3, searcher="random")
    outside.mkdir()
    (outside / "kept").write_text("kept")
    target = outside if name in ("evaluations", "set_aside") else outside / "kept"
    path = folder / name
    if path.is_dir():
        shutil.copytree(path, outside, dirs_exist_ok=True)
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    before = {one: one.read_bytes() for one in outside.rglob("*")}
    for write in (lambda: search(folder, budget=5, searcher="random", resume=True), lambda: write_report(folder)):
        with pytest.raises(
            StoreError, match=rf"holds a link that leads out of it, {re.escape(name)}|is not the description"
        ):
            write()
    assert {one: one.read_bytes() for one in outside.rglob("*")} == before


def test_a_door_never_writes_through_a_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    for name in (".new.tmp", "log", ".lock", "new"):
        (tmp_path / name).symlink_to(kept)
    write_text(tmp_path / "new", "written")
    with pytest.raises(OSError, match="Too many levels"):
        append_text(tmp_path / "log", "more")
    with pytest.raises(OSError, match="Too many levels"):
        locked(tmp_path / ".lock")
    assert kept.read_text() == "kept"
    assert (tmp_path / "new").read_text() == "written"
    assert not (tmp_path / "new").is_symlink()
