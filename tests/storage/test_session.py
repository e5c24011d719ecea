"""How sessions of runs end, and what their folders say then."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import yaml

from raynas.errors import StoreError, TrainingError
from raynas.interruption import Interrupted
from raynas.storage.locks import held, is_in_use
from raynas.storage.run_folder import run_description
from raynas.storage.session import End, Session, as_interrupted


def carried_out(folder: Path, work: Any) -> dict[str, Any]:
    with Session(folder, lambda: None) as session:
        session.hold()

        def write(status: str, error: str | None) -> dict[str, Any]:
            return session.write_summary({"status": status, "error": error, "seconds": session.seconds})

        return session.carry_out(lambda: work(session), write)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_work_that_is_done_is_summed_up_and_leaves_the_folder_free(tmp_path: Path) -> None:
    def work(session: Session) -> End:
        assert is_in_use(tmp_path)
        assert summary(tmp_path)["status"] == "running"
        return End("exhausted")

    assert carried_out(tmp_path, work)["status"] == "exhausted"
    assert (summary(tmp_path)["status"], summary(tmp_path)["error"]) == ("exhausted", None)
    assert not is_in_use(tmp_path)


def test_seconds_of_all_sessions_count_and_those_before_the_work_do_not(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"seconds": 1000.0}))
    with Session(tmp_path, lambda: None) as session:
        sleep(0.3)
        first: list[float] = []
        session.carry_out(lambda: End("completed"), lambda status, error: first.append(session.seconds) or {})  # type: ignore[func-returns-value]
    assert 1000.0 <= first[0] < 1000.3


def test_a_failure_is_named_in_the_summary_and_raised(tmp_path: Path) -> None:
    def work(session: Session) -> End:
        raise TrainingError("the loss is not finite")

    with pytest.raises(TrainingError):
        carried_out(tmp_path, work)
    assert summary(tmp_path) | {"seconds": 0} == {
        "status": "failed", "error": "TrainingError: the loss is not finite", "seconds": 0,
    }  # fmt: skip
    assert not is_in_use(tmp_path)


def test_a_signal_is_received_by_the_work_and_ends_as_interrupted(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def work(session: Session) -> End:
        os.kill(os.getpid(), signal.SIGTERM)
        while not session.stop:
            sleep(0.01)
        return End("interrupted")

    with pytest.raises(Interrupted) as ended:
        carried_out(tmp_path, work)
    assert (ended.value.signum, ended.value.folder) == (signal.SIGTERM, tmp_path)
    assert summary(tmp_path)["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_interrupts_at_once(tmp_path: Path, signum: signal.Signals) -> None:
    def work(session: Session) -> End:
        for _ in range(2):
            os.kill(os.getpid(), signum)
            sleep(0.05)
        raise AssertionError("the second one was not heard")

    with pytest.raises(Interrupted) as ended:
        carried_out(tmp_path, work)
    assert ended.value.signum == signum
    assert (summary(tmp_path)["status"], summary(tmp_path)["error"]) == ("interrupted", None)


def test_who_writes_a_folder_is_said_before_what_is_in_it(tmp_path: Path) -> None:
    def refuse() -> None:
        raise StoreError("it holds a run already")

    with held(tmp_path), pytest.raises(StoreError, match=rf"is being written by process {os.getpid()} on \S+$"):
        Session(tmp_path, refuse)
    with pytest.raises(StoreError, match="holds a run already"):
        Session(tmp_path, refuse)


def test_an_error_of_any_text_becomes_a_line_of_the_summary(tmp_path: Path) -> None:
    def work(session: Session) -> End:
        raise ValueError("two\nlines of caf\udce9 \x1b[31m")

    with pytest.raises(ValueError, match="two"):
        carried_out(tmp_path, work)
    assert summary(tmp_path)["error"] == "ValueError: two lines of caf\\udce9 \\x1b[31m"


def test_work_that_others_stop_is_interrupted_and_raises_nothing(tmp_path: Path) -> None:
    assert carried_out(tmp_path, lambda session: End("interrupted"))["status"] == "interrupted"


def test_a_folder_is_checked_at_once_and_again_when_it_is_held(tmp_path: Path) -> None:
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            raise StoreError("another run has begun meanwhile")

    with pytest.raises(StoreError, match="meanwhile"), Session(tmp_path, check) as session:
        assert checks == 1
        session.hold()
    assert not is_in_use(tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_a_signal_on_a_full_disk_is_an_interruption_and_no_failure(tmp_path: Path) -> None:
    def write(status: str, error: str | None) -> dict[str, Any]:
        if status != "running":
            raise StoreError("no space left on device")
        return {}

    def work(session: Session) -> End:
        os.kill(os.getpid(), signal.SIGTERM)
        return End("interrupted")

    with pytest.raises(Interrupted) as ended, Session(tmp_path, lambda: None) as session:
        session.collect_signals()
        session.hold()
        session.carry_out(lambda: work(session), write)
    assert ended.value.signum == signal.SIGTERM


def test_ctrl_c_outside_a_session_names_the_folder_of_a_run_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), as_interrupted(tmp_path):
        os.kill(os.getpid(), signal.SIGINT)
        sleep(1.0)
    (tmp_path / "run.yaml").write_text("kind: search")
    with pytest.raises(Interrupted) as ended, as_interrupted(tmp_path):
        os.kill(os.getpid(), signal.SIGINT)
        sleep(1.0)
    assert (ended.value.signum, ended.value.folder) == (signal.SIGINT, tmp_path)


@pytest.mark.parametrize("kind", ["search", "training", "finalists", "variants", "sweep"])
def test_when_a_run_was_started_first_outlives_later_sessions(tmp_path: Path, kind: str) -> None:
    def describe(**more: Any) -> dict[str, Any]:
        session = Session(tmp_path, lambda: None)
        with session:
            session.hold()
            session.describe(run_description(kind, {"text": "started: never"}, {}, **more))
        found: dict[str, Any] = yaml.safe_load((tmp_path / "run.yaml").read_text())
        return found

    first = describe()
    text = (tmp_path / "run.yaml").read_text().replace(first["started"], "2001-02-03T04:05:06+00:00")
    (tmp_path / "run.yaml").write_text(text)
    assert describe(platform="cpu") == {**first, "started": "2001-02-03T04:05:06+00:00", "platform": "cpu"}
    (tmp_path / "run.yaml").write_text("kind: [")
    assert describe()["started"] >= first["started"]
