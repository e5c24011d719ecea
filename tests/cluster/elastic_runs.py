"""Searches whose scores only wait, and say when and where they were computed, as a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

from machines import Machine

import raynas
from raynas.storage.result_store import TIMING_COLUMNS

PROXY = '''
import time
from pathlib import Path
import psutil
from raynas.proxies.probe import Proxy

def waits(probe, pause_s: float = 0.3, log: str = ""):
    """An arithmetic score that takes its time, and says where."""
    time.sleep(pause_s)
    here = [one.address for all in psutil.net_if_addrs().values() for one in all if one.address.startswith("10.")]
    if log:
        with Path(log).open("a") as file:
            file.write(f"{time.time()} {here[0]}\\n")
    return float(int(probe.architecture.key[:6], 16))

WAITS = Proxy("waits", waits)
'''


def search(folder: Path, *more: str) -> tuple[str, ...]:
    """The words of a search whose scores only wait, and say where they were computed."""
    proxy, log, out = folder / "proxy.py", folder / "where", str(folder / "run")
    proxy.write_text(PROXY)
    log.touch()
    return (
        "search", "as-vit", "--img-size", "32", "--proxy", f"{proxy}:WAITS", "-o", "waits", "--set",
        f"waits.log={log}", "--searcher", "regularized_evolution", "--window", "16", "--out", out, *more,
    )  # fmt: skip


def where(folder: Path) -> list[tuple[float, str]]:
    """When and on which machine each score was computed."""
    lines = (folder / "where").read_text().splitlines()
    return [(float(line.split()[0]), line.split()[1]) for line in lines if len(line.split()) == 2]


def wait_until(driver: subprocess.Popen[str], is_so: Callable[[], bool], seconds: float = 240) -> None:
    """Wait until something is so, while a driver goes on."""
    deadline = monotonic() + seconds
    while not is_so():
        assert driver.poll() is None, "the driver has ended"
        assert monotonic() < deadline
        sleep(0.25)


def content(folder: Path) -> list[dict[str, object]]:
    rows = raynas.load_run(folder / "run").evaluations.drop_columns([*TIMING_COLUMNS, "settings"])
    return sorted(rows.to_pylist(), key=lambda row: row["architecture_key"])


def undisturbed(folder: Path, machine: Machine, budget: int) -> list[dict[str, object]]:
    """The evaluations of the same search on one worker, without a cluster."""
    folder.mkdir()
    done = machine.raynas(*search(folder, "--budget", str(budget), "--workers", "0", "--set", "waits.pause_s=0"))
    assert done.returncode == 0, done.stderr
    return content(folder)
