"""The door to Ray actors: starts them, sends them chunks, and says what became of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Any

from raynas.cluster.head_watch import HeadWatch
from raynas.cluster.installed import code_versions
from raynas.cluster.memory import KEEP_FREED_MEMORY
from raynas.cluster.own_code import installed_packages, own_code_by_value
from raynas.cluster.resources import room_on
from raynas.cluster.waiting import why_waiting
from raynas.errors import PoolError, error_line
from raynas.scoring.door import Answer, Broken, Event, Lost, Progress, Ready, Unanswered, Unfit, Unprepared
from raynas.scoring.ray_worker import Worker
from raynas.scoring.task import Task
from raynas.space.architecture import Architecture

_NODE_ID = "ray.io/node-id"  # the label that Ray gives every node


@dataclass
class _Call:
    """A call of an actor that has not come back."""

    worker: int


class _Start(_Call):
    """The call by which an actor prepares itself."""


class _Question(_Call):
    """The call that asks where an actor is."""


@dataclass
class Sending(_Call):
    """What comes back for one sending of a chunk; a chunk that is sent again gets another one."""

    chunk: int
    arrived: float = 0.0
    content: Future[Any] | None = None  # once it is there

    def on_arrival(self, content: Future[Any]) -> None:
        """Called in a thread of Ray's, since the driver may be busy with something else."""
        self.arrived = monotonic()
        self.content = content


class RayDoor:
    """Long-lived actors, each with its share of a GPU; a `raynas.scoring.door.Door`.

    Args:
        task: What actors carry out; shipped once.
        gpus_per_worker: Share of a GPU for each; 0 computes on the CPU.
        memory_limit_bytes: Resident memory at which an actor ends itself.
        log: Called with lines for people.
    """

    def __init__(
        self,
        task: Task,
        *,
        gpus_per_worker: float,
        memory_limit_bytes: float,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        import ray

        self._ray = ray
        self._memory_limit_bytes = memory_limit_bytes
        self._share = {"CPU": float(task.threads), "GPU": gpus_per_worker}
        # A thread of its own answers for progress while another one computes.
        self._class = ray.remote(concurrency_groups={"progress": 1})(Worker)
        self._options = {
            "num_cpus": task.threads,
            "num_gpus": gpus_per_worker or None,
            "runtime_env": {"env_vars": KEEP_FREED_MEMORY},
            "max_restarts": -1,
            "max_task_retries": 0,
        }
        with own_code_by_value(*task.own_code):
            try:
                self._task = ray.put(task)  # read again by every actor that restarts
            except Exception as error:  # of what the user's code holds, such as settings
                raise PoolError(f"the work cannot travel to workers: {error_line(error)}") from None
        self._versions = code_versions(installed_packages(*task.own_code))
        self._head = HeadWatch(ray.get_runtime_context().gcs_address, log)
        self._actors: dict[int, Any] = {}
        self._num_joined = 0
        self._calls: dict[Any, _Call] = {}  # by the reference to what comes back, in the order of calling

    def join(self, avoided: Collection[str] = ()) -> int:
        """Ask for one more actor."""
        number = self._num_joined
        self._num_joined += 1
        elsewhere = {"label_selector": {_NODE_ID: f"!in({','.join(sorted(avoided))})"}} if avoided else {}
        self._actors[number] = self._class.options(**self._options, **elsewhere).remote()
        return number

    def room(self, avoided: Collection[str] = ()) -> int:
        """How many actors all nodes that are there now could hold together, had they nothing else to do."""
        if not self._head.is_there(at_once=True):
            return 0
        return room_on(
            [node["Resources"] for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in avoided],
            self._share,
        )

    def start(self, worker: int) -> None:
        """Have an actor prepare itself."""
        # In a list, so that Ray leaves it packed: other versions might not even unpack it.
        prepared = self._actors[worker].prepare.remote(
            [self._task], self._versions, self._memory_limit_bytes, self._share["GPU"]
        )
        self._calls[prepared] = _Start(worker)

    def send(self, worker: int, chunk: int, jobs: Sequence[tuple[Architecture, tuple[int, ...]]]) -> None:
        """Have jobs evaluated."""
        sending = Sending(worker, chunk)
        reference = self._actors[worker].run.remote(chunk, jobs)
        self._calls[reference] = sending
        reference.future().add_done_callback(sending.on_arrival)

    def ask(self, worker: int) -> None:
        """Ask where an actor is."""
        asked = self._actors[worker].progress.options(concurrency_group="progress").remote()
        self._calls[asked] = _Question(worker)

    def receive(self, timeout_s: float) -> list[Event]:
        """What has happened, in order, after waiting for something at most this long."""
        references = list(self._calls)
        if not references:
            return []
        done, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
        if done and len(references) > 1:
            done, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        events: list[Event] = []
        for reference in done:
            call = self._calls.pop(reference, None)  # None: its actor was lost with what came before
            if call is None:
                continue
            event = self._event(reference, call)
            events.append(event)
            if isinstance(event, Lost):
                self._forget_calls(event.worker)
        return events

    def kill(self, worker: int) -> None:
        """End an actor's process; Ray starts another one."""
        self._ray.kill(self._actors[worker], no_restart=False)

    def leave(self, worker: int) -> None:
        """End an actor for good."""
        self._forget_calls(worker)
        self._ray.kill(self._actors.pop(worker))

    def is_there(self) -> bool:
        """Whether the head of the cluster answers."""
        return self._head.is_there()

    def is_alive(self, node: str) -> bool:
        """Whether a node is part of the cluster still, as far as its head can be asked."""
        return not self._head.is_there(at_once=True) or any(
            entry["NodeID"] == node and entry["Alive"] for entry in self._ray.nodes()
        )

    def why_waiting(self, missing: int, of: int) -> str:
        """A line for people on what actors wait for."""
        return why_waiting(f"{missing} of {of} workers", self._share, missing)

    def _forget_calls(self, worker: int) -> None:
        for reference in [reference for reference, call in self._calls.items() if call.worker == worker]:
            del self._calls[reference]

    def _event(self, reference: Any, call: _Call) -> Event:
        if isinstance(call, Sending):
            return self._of_sending(reference, call)
        if isinstance(call, _Start):
            return self._of_start(reference, call)
        try:
            return Progress(call.worker, self._ray.get(reference))
        except self._ray.exceptions.RayActorError:
            return Unanswered(call.worker)  # the chunk's own reference tells whether it is lost

    def _of_start(self, reference: Any, call: _Start) -> Event:
        try:
            found = self._ray.get(reference)
            if found.unfit:
                return Unfit(call.worker, found.node, found.host, found.unfit)
            numbers = {actor._ray_actor_id.hex(): number for number, actor in self._actors.items()}
            there = {numbers[name]: told for name, told in found.outgrown_there.items() if name in numbers}
            return Ready(
                call.worker, found.node, found.host, found.pid, found.device_type, found.outgrown, found.seconds, there
            )
        except self._ray.exceptions.ActorUnavailableError:
            return Lost(call.worker)
        except (self._ray.exceptions.ActorDiedError, self._ray.exceptions.RayTaskError) as error:
            raise PoolError(f"a worker cannot be started: {_on_one_line(error)}") from error

    def _of_sending(self, reference: Any, sending: Sending) -> Event:
        content = sending.content
        try:
            # Unpacked already, unless its arrival has not been noted yet.
            answer = self._ray.get(reference) if content is None else content.result()
        except self._ray.exceptions.RayActorError:
            return Lost(sending.worker)
        except self._ray.exceptions.RayTaskError as error:
            return Broken(sending.worker, sending.chunk, _on_one_line(error))
        arrived = monotonic() if content is None else sending.arrived
        if answer is None:
            return Unprepared(sending.worker, sending.chunk)
        seconds, outcomes = answer
        return Answer(sending.worker, sending.chunk, seconds, outcomes, arrived)


def _on_one_line(error: Exception) -> str:
    """What went wrong on a worker, without the trace that Ray puts around it."""
    return error_line(getattr(error, "cause", None) or error)
