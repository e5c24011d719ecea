"""What `raynas.storage.stores.Files` promises, of every store that a run can be kept in."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from object_stores import LEASE_S

from raynas.storage.files import (
    append_text,
    copy,
    exists,
    files_below,
    files_of,
    is_folder,
    make_folder,
    move,
    names_in,
    opened,
    read_bytes,
    remove,
    remove_empty_folder,
    remove_folder,
    version_of,
    write_atomically,
    written_at,
)
from raynas.storage.local_files import LocalFiles

pytest_plugins = ["object_store_fixtures"]

AT_ONCE = 8


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest) -> Path:
    """A folder that was made in a store, with nothing in it."""
    place: Path = request.getfixturevalue("tmp_path" if request.param == "local" else "bucket")
    make_folder(place / "runs" / "one")
    return place / "runs" / "one"


def put(path: Path, content: bytes, *, once: bool = False) -> Path:
    with write_atomically(path, once=once) as file:
        file.write(content)
    return path


def test_what_is_written_is_read(folder: Path) -> None:
    for content in (b"", b"few", os.urandom(20 << 20)):
        put(folder / "file", content)
        assert read_bytes(folder / "file") == content
        with opened(folder / "file") as file:
            assert file.read() == content
            file.seek(len(content) // 2)
            assert file.read(9) == content[len(content) // 2 :][:9]


@pytest.mark.parametrize("name", ["a b", "naïve-Ω", "(1)+&=$@!,;'~.json", ".hidden", "part-00.x"])
def test_names_are_kept(folder: Path, name: str) -> None:
    make_folder(folder / name)
    put(folder / name / name, b"content")
    assert names_in(folder) == [name]
    assert names_in(folder / name) == [name]
    assert files_below(folder) == [folder / name / name]
    assert read_bytes(files_below(folder)[0]) == b"content"


def test_a_file_appears_when_its_block_has_ended_well(folder: Path) -> None:
    path = put(folder / "file", b"before")
    with write_atomically(path) as file:
        file.write(b"after")
        assert read_bytes(path) == b"before"
    assert read_bytes(path) == b"after"


@pytest.mark.parametrize("failure", [ValueError, OSError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_no_trace(folder: Path, failure: type[BaseException]) -> None:
    path = put(folder / "file", b"before")
    for name in ("file", "new"):
        with pytest.raises(failure), write_atomically(folder / name) as file:
            file.write(b"half")
            raise failure
    assert files_below(folder) == [path]
    assert read_bytes(path) == b"before"


def test_what_is_written_once_is_not_replaced(folder: Path) -> None:
    path = put(folder / "file", b"first", once=True)
    for content in (b"second", b"first"):
        with pytest.raises(FileExistsError):
            put(path, content, once=True)
    assert read_bytes(path) == b"first"
    put(path, b"third")
    assert read_bytes(path) == b"third"


def outcomes(work: Callable[[int], Any]) -> list[Any]:
    """What came of the same work in several threads at once: what it returned, or its error."""
    together = threading.Barrier(AT_ONCE)

    def one(number: int) -> Any:
        together.wait()
        try:
            return work(number)
        except OSError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_one_of_many_writes_once(folder: Path) -> None:
    if isinstance(files_of(folder), LocalFiles):
        pytest.skip("of a file on a disk there is one writer at a time, who holds the lock")
    found = outcomes(lambda number: put(folder / "file", b"%d" % number, once=True))
    won = [number for number, one in enumerate(found) if isinstance(one, Path)]
    assert len(won) == 1
    assert read_bytes(folder / "file") == b"%d" % won[0]
    assert [type(one) for one in found].count(FileExistsError) == AT_ONCE - 1


def test_readers_see_a_file_whole_while_it_is_replaced(folder: Path) -> None:
    size = 9 << 20  # of more than one request
    path = put(folder / "file", b"0" * size)
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            content = read_bytes(path)
            assert len(content) == size
            assert len(set(content)) == 1

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(1, 6):
            put(path, b"%d" % number * size)
        is_over.set()
        for reader in readers:
            reader.result()


def test_what_is_not_there_is_said_to_be_missing(folder: Path) -> None:
    path = folder / "missing"
    assert not exists(path)
    assert not is_folder(path)
    assert files_below(path) == []
    assert version_of(path) is None
    assert written_at(path) is None
    for reads in (read_bytes, lambda path: opened(path).__enter__(), lambda path: move(path, folder / "x")):
        with pytest.raises(FileNotFoundError):
            reads(path)
    with pytest.raises(FileNotFoundError):
        copy(path, folder / "x")
    for removes in (remove, remove_folder, remove_empty_folder):
        removes(path)
    assert files_below(folder) == []


def test_a_folder_is_no_file(folder: Path) -> None:
    for _ in range(2):
        make_folder(folder / "inner")
    put(folder / "inner" / "file", b"content")
    assert exists(folder / "inner")
    assert is_folder(folder / "inner")
    assert not is_folder(folder / "inner" / "file")
    with pytest.raises(OSError):
        read_bytes(folder / "inner")


def test_the_version_is_another_one_with_another_content(folder: Path) -> None:
    path = folder / "file"
    versions = [version_of(put(path, content)) for content in (b"1", b"2", b"3")]
    assert version_of(path) == versions[-1]
    assert len({None, *versions}) == 4


def test_the_time_of_writing_is_told(folder: Path) -> None:
    written = written_at(put(folder / "file", b"1"))
    assert written is not None
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


def test_names_and_files_are_listed_in_order(folder: Path) -> None:
    assert names_in(folder) == []
    for name in ("b", "a", "B"):
        put(folder / name, b"")
    for name in ("c", "a2"):
        make_folder(folder / name / "deep")
        put(folder / name / "deep" / "file", b"")
    make_folder(folder.parent / "one-more")
    put(folder.parent / "one-more" / "file", b"")  # whose name begins as that of the folder
    assert names_in(folder) == ["B", "a", "a2", "b", "c"]
    below = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    assert sorted(below) == ["B", "a", "a2/deep/file", "b", "c/deep/file"]


def test_many_files_are_listed_and_removed(folder: Path) -> None:
    paths = [folder / f"{number:04d}" for number in range(1010)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda path: put(path, b""), paths))
    assert names_in(folder) == [path.name for path in paths]
    assert files_below(folder) == paths
    remove(*paths[5:], folder / "missing")
    assert files_below(folder) == paths[:5]


def test_text_is_appended(folder: Path) -> None:
    for line in ("one\n", "two\n", "Ω\n"):
        append_text(folder / "log", line)
    assert read_bytes(folder / "log") == "one\ntwo\nΩ\n".encode()


def test_files_are_moved_and_copied(folder: Path) -> None:
    path = put(folder / "file", b"content")
    put(folder / "copy", b"other")
    copy(path, folder / "copy")
    move(path, folder / "moved")
    put(folder / "moved", b"new")
    assert names_in(folder) == ["copy", "moved"]
    assert read_bytes(folder / "copy") == b"content"


def test_folders_are_removed(folder: Path) -> None:
    for inner in (folder / "full", folder / "empty"):
        make_folder(inner / "deep")
    put(folder / "full" / "deep" / "file", b"")
    put(folder / "other", b"")
    for inner in (folder / "full" / "deep", folder / "empty" / "deep", folder / "empty"):
        remove_empty_folder(inner)
    assert names_in(folder) == ["full", "other"]
    remove_folder(folder / "full")
    assert names_in(folder) == ["other"]


def test_paths_reach_other_processes_as_they_are(folder: Path) -> None:
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert type(pickle.loads(pickle.dumps(folder))) is type(folder)


# -- locks -------------------------------------------------------------------------------------------------------------


def test_a_lock_keeps_others_out_until_it_is_closed(folder: Path) -> None:
    files, path = files_of(folder), folder / ".lock"
    assert files.holder(path) is None
    for holder in ("one", "another"):
        with files.lock(path, holder):
            assert files.holder(path) == holder
            with pytest.raises(BlockingIOError, match=f"^{holder}$"):
                files.lock(path, "third")
            files.check_lock(path)
            put(folder / holder, b"")
        assert files.holder(path) is None


def test_each_holder_has_a_later_epoch_where_a_lock_can_be_lost(folder: Path) -> None:
    epochs = []
    for number in range(3):
        with files_of(folder).lock(folder / ".lock", f"holder {number}") as lock:
            epochs.append(lock.epoch)
    assert epochs in ([None, None, None], [1, 2, 3])


def test_one_of_many_has_the_lock(folder: Path) -> None:
    found = outcomes(lambda number: files_of(folder).lock(folder / ".lock", f"holder {number}"))
    (won,) = (number for number, one in enumerate(found) if not isinstance(one, OSError))
    refused = {str(one) for one in found if isinstance(one, OSError)}
    assert refused <= {f"holder {won}", "another process"}
    found[won].close()
    assert files_of(folder).holder(folder / ".lock") is None


def holding(folder: Path) -> subprocess.Popen[str]:
    """A process that has the lock."""
    code = """
import sys, time
from raynas.storage.files import files_of
from raynas.storage.paths import as_path
folder = as_path(sys.argv[1])
lock = files_of(folder).lock(folder / ".lock", "the first")
print("held", flush=True)
time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_process_has_no_lock_after_a_while(folder: Path) -> None:
    files, path = files_of(folder), folder / ".lock"
    with holding(folder) as process:
        try:
            assert files.holder(path) == "the first"
        finally:
            process.send_signal(signal.SIGKILL)
    started = datetime.now(UTC)
    while files.holder(path) is not None:
        assert (datetime.now(UTC) - started).total_seconds() < 3 * LEASE_S
    with files.lock(path, "the second"):
        assert files.holder(path) == "the second"
