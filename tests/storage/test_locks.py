"""Who holds the folder of a run, as those see it who look, and those who want it themselves."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from time import monotonic, sleep
from typing import Any

import pytest

from raynas.errors import StoreError
from raynas.report.status import status_now
from raynas.storage import local_files, locks
from raynas.storage.locks import check_free, held, is_free, is_in_use

_NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that all may read and one alone may write, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_reader(path: Path) -> Iterator[None]:
    """Be a user who may read a file and not write it."""
    path.chmod(0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        with pytest.raises(PermissionError):
            path.open("r+")
        yield
    finally:
        if is_root:
            os.seteuid(0)


def refuse(*given: Any) -> Any:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_who_may_only_read_sees_a_running_run_and_a_killed_one(shared: Path) -> None:
    with held(shared), as_reader(shared / ".lock"):
        assert (is_in_use(shared), is_free(shared)) == (True, False)
        assert status_now(shared, "running") == "running"
        with pytest.raises(StoreError, match=f"is being written by process {os.getpid()} on "):
            check_free(shared)
    with as_reader(shared / ".lock"):
        assert (is_in_use(shared), is_free(shared)) == (False, True)
        assert status_now(shared, "running") == "killed"


def unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def denied(path: Any, *given: Any, **more: Any) -> int:
        if Path(path).name == ".lock":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *given, **more)

    monkeypatch.setattr(os, "open", denied)


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("hide", [unreadable, without_locks])
@pytest.mark.parametrize("status", ["running", "unknown", "completed"])
def test_a_lock_that_cannot_be_looked_at_kills_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: Callable[[pytest.MonkeyPatch], None], status: str
) -> None:
    held(tmp_path).close()
    hide(monkeypatch)
    assert (is_in_use(tmp_path), is_free(tmp_path)) == (False, False)
    assert status_now(tmp_path, status) == status
    check_free(tmp_path)  # it is refused in other words
    with pytest.raises(StoreError, match="cannot be written: "):
        held(tmp_path)


@pytest.mark.parametrize("folder", ["run", "absent", "file/run"])
def test_a_folder_that_was_never_held_is_free(tmp_path: Path, folder: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    assert (is_in_use(tmp_path / folder), is_free(tmp_path / folder)) == (False, True)


_LOOKS = """
import sys
from pathlib import Path
from raynas.storage.locks import is_free, is_in_use
print("begun", flush=True)
while True:
    is_in_use(Path(sys.argv[1])), is_free(Path(sys.argv[1]))
"""


def test_those_who_look_all_the_time_keep_nobody_out(tmp_path: Path) -> None:
    held(tmp_path).close()
    command = [sys.executable, "-c", _LOOKS, str(tmp_path)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "begun\n"
        for _ in range(500):
            held(tmp_path).close()
            assert is_free(tmp_path)
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def test_a_look_that_takes_long_is_waited_for(tmp_path: Path) -> None:
    held(tmp_path).close()
    with (tmp_path / ".lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        timer = Timer(0.2, fcntl.flock, (look, fcntl.LOCK_UN))
        timer.start()
        with held(tmp_path):
            assert is_in_use(tmp_path)
        timer.join()


def test_a_look_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "_LOOKS_S", 0.1)
    held(tmp_path).close()
    with (tmp_path / ".lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        with pytest.raises(StoreError, match=r"is being written by another process$"):
            held(tmp_path)


def _count(folder: Path, counter: Path, rounds: int) -> None:
    done = 0
    while done < rounds:
        try:
            lock = held(folder)
        except StoreError:
            continue
        with lock:
            counter.write_text(str(int(counter.read_text()) + 1))
            done += 1


def test_of_those_who_try_at_once_one_has_the_folder(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    made = multiprocessing.get_context("spawn")
    others = [made.Process(target=_count, args=(tmp_path / "run", counter, 100)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
        assert other.exitcode == 0
    assert counter.read_text() == "300"


def test_a_folder_that_is_held_is_refused_at_once(tmp_path: Path) -> None:
    with held(tmp_path):
        begun = monotonic()
        for _ in range(10):
            with pytest.raises(StoreError, match="is being written by process "):
                held(tmp_path)
        assert monotonic() - begun < 1.0


def cannot_be_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "remove_temporary", refuse)


def cannot_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.fdopen

    def full(*given: Any, **more: Any) -> Any:
        file = opened(*given, **more)
        monkeypatch.setattr(file, "truncate", refuse, raising=False)
        return file

    monkeypatch.setattr(os, "fdopen", full)


@pytest.mark.parametrize("break_it", [cannot_be_cleared, cannot_be_signed])
def test_a_folder_that_cannot_be_made_ready_is_not_kept(
    tmp_path: Path, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        break_it(patched)
        with pytest.raises(StoreError, match="cannot be written: ") as kept:  # as a notebook keeps the traceback
            held(tmp_path)
    assert kept.tb is not None
    assert is_free(tmp_path)
    held(tmp_path).close()


def test_what_a_killed_process_has_forked_keeps_nobody_out(tmp_path: Path) -> None:
    code = """
import os, pathlib, sys, time
from raynas.storage.local_files import waited_lock
from raynas.storage.locks import held

folder = pathlib.Path(sys.argv[1])
locks = [held(folder), waited_lock(folder / "beside", is_shared=False)]
with open(folder / "other", "w") as other:
    child = os.fork()
    if child == 0:
        other.write("written by the child")  # what is no lock is left to it
        other.flush()
        locks[1].close()
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline() if parent.stdout else "")
        try:
            while not (tmp_path / "other").read_text():
                sleep(0.01)
            assert not is_free(tmp_path)
            assert _is_locked(tmp_path / "beside")  # though the child has closed what it has of it
            parent.kill()
            parent.wait()
            os.kill(child, 0)  # it is still there
            held(tmp_path).close()
            assert not _is_locked(tmp_path / "beside")
        finally:
            parent.kill()
            os.kill(child, signal.SIGKILL)


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
