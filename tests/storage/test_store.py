from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas import Architecture
from raynas.errors import StoreError
from raynas.space.results import Outcome, Platform, ScoreIdentity
from raynas.storage import result_store as store
from raynas.storage.files import write_text
from raynas.storage.parquet import parquet_file
from raynas.storage.result_store import SCHEMA, ResultStore, read_evaluations, rows_of, values_by_architecture

IDENTITIES = [
    ScoreIdentity("toy", 32, 10, 1, "first", settings='{"x":1}', repeats=2, input_hash="abc"),
    ScoreIdentity("toy", 32, 10, 1, "second"),
]
PLATFORM = Platform("AVX2", 3, "torch 1")


@contextmanager
def opened(folder: Path) -> Iterator[ResultStore]:
    made = ResultStore(folder, IDENTITIES)
    made.platforms = (PLATFORM, Platform())
    try:
        yield made
    finally:
        made.close()


def architecture(i: int) -> Architecture:
    return Architecture({"width": i, "heads": [1, i]})


def fill(folder: Path, ids: range) -> None:
    """A part for each id."""
    with opened(folder) as opened_store:
        for i in ids:
            opened_store.append(
                i, architecture(i), {0: Outcome(i / 7, "ok", None, 0.5, 0.1), 1: Outcome(None, "failed", "no")}
            )
            opened_store.flush()


def ids(table: pa.Table) -> list[int]:
    return sorted(table.filter(pa.compute.equal(table["proxy"], "first"))["candidate"].to_pylist())


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "evaluations").glob("part-*"))


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    row = read_evaluations(tmp_path).to_pylist()[2]
    assert row == {
        "candidate": 1,
        "architecture_key": architecture(1).key,
        "architecture": '{"heads":[1,1],"width":1}',
        "space": "toy",
        "img_size": 32,
        "num_classes": 10,
        "model_version": 1,
        "proxy": "first",
        "proxy_version": 1,
        "settings": '{"x":1}',
        "repeats": 2,
        "init": "",
        "dtype": "",
        "score_seed": 0,
        "input_hash": "abc",
        "device_type": "AVX2",
        "threads": 3,
        "libraries": "torch 1",
        "value": 1 / 7,
        "status": "ok",
        "error": None,
        "seconds": 0.5,
        "build_seconds": 0.1,
        "reused": False,
    }


def test_rows_that_were_not_flushed_are_not_on_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as opened_store:
        opened_store.append(0, architecture(0), {0: Outcome(1.0, "ok")})
        assert len(read_evaluations(tmp_path)) == 0
        opened_store.flush()
        assert len(read_evaluations(tmp_path)) == 1


def test_many_small_parts_become_few_and_lose_nothing(tmp_path: Path) -> None:
    fill(tmp_path, range(200))
    assert len(parts(tmp_path)) < 35
    assert ids(read_evaluations(tmp_path)) == list(range(200))
    with opened(tmp_path) as opened_store:
        assert ids(opened_store.take_loaded()) == list(range(200))
        opened_store.append(200, architecture(200), {0: Outcome(0.0, "ok")})
        opened_store.flush()
    assert ids(read_evaluations(tmp_path)) == list(range(201))


def test_a_crash_between_merging_and_deleting_leaves_no_row_twice(tmp_path: Path) -> None:
    fill(tmp_path, range(31))
    shutil.copytree(tmp_path / "evaluations", tmp_path / "before")
    fill(tmp_path, range(31, 32))
    assert len(parts(tmp_path)) == 1
    for path in (tmp_path / "before").iterdir():
        shutil.copy(path, tmp_path / "evaluations")
    assert ids(read_evaluations(tmp_path)) == list(range(32))
    with opened(tmp_path) as opened_store:
        assert ids(opened_store.take_loaded()) == list(range(32))
    assert len(parts(tmp_path)) == 1


@settings(max_examples=25, deadline=None)
@given(which=st.integers(0, 4), share=st.floats(0, 0.999))
def test_a_truncated_part_is_set_aside_and_the_others_are_read(
    tmp_path_factory: pytest.TempPathFactory, which: int, share: float
) -> None:
    folder = tmp_path_factory.mktemp("run")
    fill(folder, range(5))
    damaged = parts(folder)[which]
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * share)])
    rest = [i for i in range(5) if i != which]
    with pytest.warns(UserWarning, match=damaged.name):
        assert ids(read_evaluations(folder)) == rest
    with opened(folder) as opened_store:
        assert ids(opened_store.take_loaded()) == rest
        assert len(opened_store.set_aside) == 1
        assert damaged.name in opened_store.set_aside[0]
    assert [path.name for path in (folder / "set_aside").iterdir()] == [damaged.name]
    assert ids(read_evaluations(folder)) == rest


@pytest.mark.parametrize("name", ["notes.txt", "part-00000009-00000009.parquet"])
def test_a_foreign_file_is_named_and_set_aside(tmp_path: Path, name: str) -> None:
    fill(tmp_path, range(2))
    foreign = tmp_path / "evaluations" / name
    if name.endswith("txt"):
        foreign.write_text("hello")
    else:
        pq.write_table(pa.table({"image": [1]}), foreign)
    with opened(tmp_path) as opened_store:
        assert ids(opened_store.take_loaded()) == [0, 1]
        assert name in opened_store.set_aside[0]
    assert not foreign.exists()


def test_leftovers_of_a_killed_write_are_removed(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    leftover = tmp_path / "evaluations" / ".part-00000002-00000002.parquet.tmp"
    leftover.write_bytes(b"half")
    with opened(tmp_path) as opened_store:
        assert not opened_store.set_aside
    assert not leftover.exists()


def test_a_reader_misses_no_row_while_the_writer_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(31))
    original, merged = store._read_part, []

    def read_part(path: Path, columns: Any = None) -> Any:
        if not merged and path == parts(tmp_path)[5]:
            merged.append(True)
            fill(tmp_path, range(31, 32))  # while five parts are read: all become one, and the others vanish
        return original(path, columns)

    monkeypatch.setattr(store, "_read_part", read_part)
    assert ids(read_evaluations(tmp_path)) == list(range(32))
    assert merged


def test_scores_of_another_run_are_set_aside(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    other = [ScoreIdentity(**{**identity.__dict__, "score_seed": 1}) for identity in IDENTITIES]
    with closing(ResultStore(tmp_path, other)) as opened_as_other:
        assert len(opened_as_other.take_loaded()) == 0
        assert all("scores of another run" in line for line in opened_as_other.set_aside)
        assert len(opened_as_other.set_aside) == 2
        opened_as_other.append(0, architecture(0), {0: Outcome(1.0, "ok")})
        opened_as_other.flush()
    fill(tmp_path, range(0))  # sets the part of the other seed aside, whose name is taken there
    assert len(list((tmp_path / "set_aside").iterdir())) == 3


def test_what_others_hide_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    (tmp_path / "evaluations" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "evaluations" / ".nfs0001").write_text("open elsewhere")
    with opened(tmp_path) as found:
        assert ids(found.take_loaded()) == [0, 1]
        assert not found.set_aside
    assert (tmp_path / "evaluations" / ".nfs0001").exists()


def _hold(folder: str, pipe: multiprocessing.connection.Connection) -> None:
    held = ResultStore(Path(folder), IDENTITIES)
    pipe.send(os.getpid())
    pipe.recv()
    held.close()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    holder = context.Process(target=_hold, args=(str(tmp_path), theirs))
    holder.start()
    pid = ours.recv()
    with pytest.raises(StoreError, match=f"is being written by process {pid} on"):
        ResultStore(tmp_path, IDENTITIES)
    assert len(read_evaluations(tmp_path)) == 0  # reading needs no lock
    os.kill(pid, signal.SIGKILL)
    holder.join()
    ResultStore(tmp_path, IDENTITIES).close()


def test_a_full_disk_leaves_what_is_done_intact(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    with opened(tmp_path) as opened_store:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # a part has some 7 kB
        try:
            opened_store.append(3, architecture(3), {0: Outcome(1.0, "ok")})
            with pytest.raises(StoreError, match="cannot write results"):
                opened_store.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert ids(read_evaluations(tmp_path)) == [0, 1, 2]
        assert not [path for path in (tmp_path / "evaluations").iterdir() if path.name.startswith(".")]
        opened_store.flush()  # there is room again
    assert ids(read_evaluations(tmp_path)) == [0, 1, 2, 3]


def test_a_folder_that_became_read_only_keeps_what_is_done(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    folder = str(tmp_path / "evaluations")
    if os.geteuid() or subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a folder")
    try:
        with opened(tmp_path) as made:
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
            made.append(3, architecture(3), {0: Outcome(1.0, "ok")})
            with pytest.raises(StoreError, match=r"cannot write results.*Read-only"):
                made.flush()
            assert ids(read_evaluations(tmp_path)) == [0, 1, 2]
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
    fill(tmp_path, range(3, 4))
    assert ids(read_evaluations(tmp_path)) == [0, 1, 2, 3]


def test_a_text_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_text(path, "old")
    with pytest.raises(StoreError, match="cannot write"):
        write_text(tmp_path / "missing" / "summary.json", "new")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["summary.json"]


def test_rows_are_found_by_all_parts_of_their_key(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    table = read_evaluations(tmp_path)
    assert len(rows_of(table, IDENTITIES[0])) == 4
    for field, value in (("settings", '{"x":2}'), ("repeats", 3), ("input_hash", "abd"), ("score_seed", 1)):
        other = ScoreIdentity(**{**IDENTITIES[0].__dict__, field: value})
        assert len(rows_of(table, other)) == 0


def test_wide_table_has_a_row_per_architecture_and_null_for_failures(tmp_path: Path) -> None:
    fill(tmp_path, range(4))
    wide = values_by_architecture(read_evaluations(tmp_path), ["first", "second"])
    assert wide["candidate"].to_pylist() == [0, 1, 2, 3]
    assert wide["first"].to_pylist() == [0, 1 / 7, 2 / 7, 3 / 7]
    assert wide["second"].to_pylist() == [None] * 4


def test_what_arrow_reads_is_not_memory_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads let go of it after a table is read, and would abort a process that ends in that moment."""
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": range(100)}), path)
    content = path.read_bytes()
    monkeypatch.setattr("raynas.storage.parquet.read_bytes", lambda path: content)
    before = sys.getrefcount(content)
    with parquet_file(path) as file:
        assert sys.getrefcount(content) == before
        assert file.read().num_rows == 100


def test_parts_are_read_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, range(3))
    read: list[Path] = []
    monkeypatch.setattr("raynas.storage.parquet.read_bytes", lambda path: read.append(path) or path.read_bytes())  # type: ignore[func-returns-value]
    assert ids(read_evaluations(tmp_path)) == [0, 1, 2]
    assert sorted(read) == parts(tmp_path)


def test_reading_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        read_evaluations(tmp_path)


def test_the_schema_says_what_is_in_a_part(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    assert pq.read_schema(parts(tmp_path)[0]).equals(SCHEMA)
