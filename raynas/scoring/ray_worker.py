"""The actor's side of the pool: evaluates chunks, says how far it is, ends itself where it has become harmful."""

from __future__ import annotations

import gc
import math
import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil

from raynas.cluster.installed import code_versions, differences
from raynas.errors import error_line
from raynas.hooks import offered
from raynas.scoring.device_types import device_type
from raynas.scoring.device_use import WaitsForOthers
from raynas.scoring.door import Outgrown
from raynas.scoring.task import DeviceLostError, TaskEvaluator, is_timed, uses_torch
from raynas.space.architecture import Architecture
from raynas.space.results import Outcome
from raynas.storage.files import append_text, exists, names_in, remove
from raynas.storage.text_files import read_text
from raynas.wording import memory_size

_MEMORY_WATCH_S = 0.25
_TAKEN_AT_MOST = 0.8  # of its limit, by a worker that has scored nothing: the rest is for architectures
_NOTE = "raynas-outgrown-"
"""How the name of a file begins, before the id of the actor that has left it."""


class Prepared(NamedTuple):
    """What a worker's process is, once it has prepared itself."""

    node: str
    host: str  # the node's name for people
    pid: int
    device_type: str = ""
    unfit: str = ""  # why it is of no use, and has prepared nothing
    outgrown: Outgrown | None = None  # why the process before it has ended itself, if it has left word
    seconds: float = 0.0  # since it came to be
    outgrown_there: Mapping[str, Outgrown] = MappingProxyType({})  # word that other actors have left on this node


class Worker:
    """The actor: long-lived, holds the task and the device, evaluates chunks."""

    def __init__(self) -> None:
        self._running: tuple[int, int, float] | None = None  # chunk, item, when it started
        self._evaluator: TaskEvaluator | None = None
        self._waits: WaitsForOthers | None = None
        self._threads = 1
        self._uses_torch = True
        self._since = monotonic()

    def prepare(
        self, packed: Sequence[Any], versions: Mapping[str, str], memory_limit_bytes: float, gpu_share: float
    ) -> Prepared:
        """Build what takes long, and see that code, device and memory are there; what is not makes it unfit.

        Args:
            packed: A reference to the task, alone.
            versions: `code_versions` of the driver, which must be those here.
            memory_limit_bytes: Resident memory at which this process ends itself.
            gpu_share: Share of a GPU that it has; 0 on the CPU.
        """
        import ray

        found = Prepared(ray.get_runtime_context().get_node_id(), platform.node(), os.getpid())
        try:
            return self._prepared(found, packed, versions, memory_limit_bytes, gpu_share)
        except Exception as error:  # such as a driver of a GPU that is broken, on this node alone
            return found._replace(unfit=f"a worker cannot be started: {error_line(error)}")

    def _prepared(
        self,
        found: Prepared,
        packed: Sequence[Any],
        versions: Mapping[str, str],
        memory_limit_bytes: float,
        gpu_share: float,
    ) -> Prepared:
        import ray

        # Before anything of the task is unpacked: with another version of its classes it might mean something else.
        if unfit := differences(versions, code_versions(versions.keys() - code_versions().keys())):
            return found._replace(unfit=unfit)
        (task,) = ray.get(list(packed))
        self._uses_torch = uses_torch(task)
        if task.device != "cpu":
            import torch

            torch.zeros(1, device=task.device)  # a device that is not there is no fault of the candidates
            if gpu_share < 1:
                # Whether a batch fits must not depend on what the neighbours have taken.
                torch.cuda.set_per_process_memory_fraction(gpu_share)
        taken = psutil.Process().memory_info().rss
        if taken > _TAKEN_AT_MOST * memory_limit_bytes:
            return found._replace(
                unfit=f"a worker takes {memory_size(taken)} before it scores anything, of which its limit of "
                f"{memory_size(memory_limit_bytes)} leaves too little: it needs more by worker_memory_gib, "
                f"{math.ceil(100 * taken / _TAKEN_AT_MOST / 2**30) / 100:g} at least, or by fewer workers"
            )
        self._threads = task.threads
        self._evaluator = task.evaluator()
        self._waits = offered(self._evaluator, WaitsForOthers)
        # What has been imported stays: without going through it again and again, building is a third faster.
        gc.collect()
        gc.freeze()
        note = Path(tempfile.gettempdir()) / f"{_NOTE}{ray.get_runtime_context().get_actor_id()}"
        outgrown = taken_note(note)
        threading.Thread(target=self._watch_memory, args=(memory_limit_bytes, note), daemon=True).start()
        computes_on = device_type(task.device, is_timed=is_timed(task)) if self._uses_torch else platform.machine()
        return found._replace(device_type=computes_on, outgrown=outgrown, seconds=monotonic() - self._since,
            outgrown_there=notes_of_others(note),
        )  # fmt: skip

    def run(
        self, chunk: int, jobs: Sequence[tuple[Architecture, tuple[int, ...]]]
    ) -> tuple[float, list[Sequence[Outcome | None]]] | None:
        """Evaluate jobs in order.

        Args:
            chunk: The number under which `progress` reports on them.
            jobs: Architectures, and the numbers of the groups of outputs that are wanted of each.

        Returns:
            The seconds that it took, and the outcomes of each job; None in a restarted process that is not prepared.
        """
        if self._evaluator is None:
            return None
        started = monotonic()
        outcomes: list[Sequence[Outcome | None]] = []
        try:
            with self._settings():
                for item, (architecture, wanted) in enumerate(jobs):
                    self._running = (chunk, item, monotonic() - self._waited_s())
                    outcomes.append(self._evaluator(architecture, wanted))
        except DeviceLostError as error:
            print(f"raynas worker ends itself: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        finally:
            self._running = None
        return monotonic() - started, outcomes

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """The settings of torch that a task finds, where it uses torch."""
        if not self._uses_torch:
            yield
            return
        import torch

        from raynas.models.process_state import ordinary_settings  # torch is behind it

        # The number belongs to the thread that computes, which is not always the same one.
        torch.set_num_threads(self._threads)
        with ordinary_settings():
            yield

    def _watch_memory(self, limit_bytes: float, note: Path) -> None:
        """End this process before it takes the memory of the others on its node, and leave word for the next one.

        An answer to the driver would not leave this process in time: each step of it waits for the code that takes
        memory, which may hold the interpreter for long.

        Ray's own monitor acts only when the node is full, and may then end a worker that is not to blame.
        """
        process = psutil.Process()
        while (taken := process.memory_info().rss) < limit_bytes:
            sleep(_MEMORY_WATCH_S)
        try:
            append_text(note, f"{taken} {limit_bytes:.0f}\n")
        finally:
            os._exit(1)

    def progress(self) -> tuple[int, int, float] | None:
        """Chunk, item and its seconds so far, by this worker's own clock, without waiting; None between chunks."""
        running = self._running
        return running and (running[0], running[1], monotonic() - self._waited_s() - running[2])

    def _waited_s(self) -> float:
        return 0.0 if self._waits is None else self._waits.waited_s()


def taken_note(note: Path) -> Outgrown | None:
    """What the process before has left, which is not read again; None also where it had no room to write it whole."""
    if not exists(note):
        return None
    told = _read_note(note)
    with suppress(OSError):
        remove(note)
    return told


def notes_of_others(own: Path) -> dict[str, Outgrown]:
    """What other actors have left beside a note, by their ids: one whose place this process has taken may not be back.

    Args:
        own: The note that is not read.
    """
    found: dict[str, Outgrown] = {}
    for name in names_in(own.parent):
        if name.startswith(_NOTE) and name != own.name and (told := _read_note(own.parent / name)) is not None:
            found[name.removeprefix(_NOTE)] = told
    return found


def _read_note(note: Path) -> Outgrown | None:
    text = ""
    with suppress(OSError, ValueError):  # it is no text
        text = read_text(note)
    whole = re.fullmatch(r"(\d+) (\d+)\n", text)
    return Outgrown(float(whole[1]), float(whole[2])) if whole else None
