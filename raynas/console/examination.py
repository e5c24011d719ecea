"""What a person sees of an examination in a terminal or a log."""

from __future__ import annotations

from typing import Any

from raynas.console.bar import BarConsole
from raynas.console.terminal import print_rows
from raynas.examination.examining import OBJECT_BYTES, ExaminationListener
from raynas.examination.report import Examination, NodeReport, PairReport
from raynas.wording import duration, memory_size


class ExaminationConsole(BarConsole, ExaminationListener):
    """A bar in a terminal, and a line for each stage elsewhere, on standard error."""

    def __init__(self) -> None:
        super().__init__("doctor", state="joins")

    def on_stage(self, text: str) -> None:
        """Say what is looked at."""
        if self._console.is_terminal:
            self._bar.update(self._task, total=None, completed=0, count="", state=text)
        else:
            self.on_log(text)

    def on_progress(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, total=total, completed=done, count=f"{done:,}/{total:,}")


def show_examination(found: Examination) -> None:
    """What was found, on standard output: nodes, pairs, then what is to be said, the worst of it last."""
    print_rows([_node(one) for one in found.nodes])
    if found.pairs:
        print_rows([_pair(one) for one in found.pairs])
    order = ("ok", "warn", "fail")
    print_rows(
        [
            {"check": one.check, "state": one.state, "where": ", ".join(one.where) or "all", "what": one.text}
            for one in sorted(found.findings, key=lambda one: order.index(one.state))
        ]
    )


def _node(one: NodeReport) -> dict[str, Any]:
    """A node's row; what it does not say is shown as missing."""
    facts = one.facts or {}
    memory, disk, shared = (facts.get(name) for name in ("memory", "session_disk", "shared_memory"))
    gpus = facts.get("gpus")
    clock = None if one.clock is None else f"{one.clock.seconds:+.3f} ± {one.clock.uncertainty_s:.3f} s"
    return {
        "node": f"{one.name}{' (here)' * one.has_driver}",
        "host": one.hostname,
        "CPUs": f"{one.cpus:g}",
        "memory free": None if memory is None else _of(memory),
        "GPUs": f"{one.gpus:g}" if gpus is None else ", ".join(f"{gpu['name']} {_of(gpu)}" for gpu in gpus),
        "disk free": None if disk is None else _of(disk),
        "/dev/shm free": None if shared is None else _of(shared),
        "open files": facts.get("open_files"),
        "clock": clock,
        "interface": facts.get("network", {}).get("interface"),
        "raynas": facts.get("versions", {}).get("raynas", "").partition(" ")[0] or None,
    }


def _of(amount: dict[str, float]) -> str:
    """What is free of something, such as 3.50 of 16.00 GiB, or 512 MiB of 16.00 GiB."""
    return f"{memory_size(amount['free_bytes']).removesuffix(' GiB')} of {memory_size(amount['total_bytes'])}"


def _pair(one: PairReport) -> dict[str, Any]:
    speed = one.bytes_per_s
    return {
        "node": one.taker,
        "from": one.giver,
        "call": None if one.call_s is None else f"{1000 * one.call_s:.2f} ms",
        f"{OBJECT_BYTES / 1e6:g} MB": None if one.transfer_s is None else duration(one.transfer_s),
        "MB/s": None if speed is None else f"{speed / 1e6:,.0f}",
    }
