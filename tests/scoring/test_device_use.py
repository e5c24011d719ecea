"""Processes that share a device, and those that are alone on it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import pytest

from raynas.scoring.device_use import DeviceUse, WaitsForOthers

WORKS = """
import sys
from time import monotonic, sleep
from raynas.scoring.device_use import DeviceUse
kind, seconds, rounds = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
use = DeviceUse("cpu")
print("ready", flush=True)
for _ in range(rounds):
    with use.shared():
        if kind == "alone":
            with use.alone():
                started = monotonic(); sleep(seconds); ended = monotonic()
        else:
            started = monotonic(); sleep(seconds); ended = monotonic()
        print(kind, started, ended, use.waited_s(), flush=True)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    tempfile.tempdir = None


def working(kind: str, seconds: float, rounds: int = 1) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORKS, kind, str(seconds), str(rounds)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def spans(process: subprocess.Popen[str]) -> list[tuple[float, float, float]]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return [tuple(map(float, line.split()[1:])) for line in output.splitlines()]  # type: ignore[misc]


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_who_is_alone_waits_for_those_who_share_and_knows_how_long() -> None:
    use = DeviceUse("cpu")
    with use.shared():
        process = working("alone", 0.1)
        sleep(0.5)
        let_go = monotonic()
    ((started, _, waited),) = spans(process)
    assert started >= let_go
    assert waited >= 0.4


def test_those_who_share_do_so_side_by_side() -> None:
    with DeviceUse("cpu").shared():
        assert len(spans(working("shared", 0.01))) == 1


def test_no_measurement_overlaps_another_or_the_work_of_others_and_none_starves() -> None:
    sharing = [working("shared", 0.03, 60) for _ in range(2)]  # nearly always one of them works
    alone = [working("alone", 0.02, 5) for _ in range(2)]
    of_alone = [span for process in alone for span in spans(process)]
    of_sharing = [span for process in sharing for span in spans(process)]
    assert len(of_alone) == 10
    for number, one in enumerate(of_alone):
        assert not any(overlap(one, other) for other in of_alone[number + 1 :])
        assert not any(overlap(one, other) for other in of_sharing)
    assert max(end for _, end, _ in of_alone) < max(end for _, end, _ in of_sharing)  # before the others were done


def test_a_process_that_is_killed_lets_others_in() -> None:
    process = working("alone", 60)
    sleep(0.2)
    process.kill()
    process.wait()
    started = monotonic()
    with DeviceUse("cpu").shared():
        assert monotonic() - started < 10
    process.stdout.close()  # type: ignore[union-attr]


def test_waiting_is_told_while_it_goes_on() -> None:
    use, other = DeviceUse("cpu"), DeviceUse("cpu")
    assert isinstance(use, WaitsForOthers)
    with other.shared():
        thread = Thread(target=measure, args=(use,))
        thread.start()
        sleep(0.3)
        assert use.waited_s() >= 0.2
    thread.join()
    assert 0.2 <= use.waited_s() < 30


def measure(use: DeviceUse) -> None:
    with use.shared(), use.alone():
        pass


def test_after_a_failure_the_device_is_free() -> None:
    use = DeviceUse("cpu")
    with pytest.raises(ValueError, match="broken"), use.shared(), use.alone():
        raise ValueError("broken")
    assert len(spans(working("alone", 0.01))) == 1
