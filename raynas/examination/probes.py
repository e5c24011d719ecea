"""The probes of all nodes, asked from the driver, which waits for none of them longer than it has time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from raynas.errors import error_line, on_one_line
from raynas.examination import probe
from raynas.wording import duration

_LEAST_S = 1.0  # what is asked at the very end
_POLL_S = 0.5

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer.

    Args:
        text: What is said of it.
        is_silence: Whether nothing came at all, or the probe is lost; otherwise it has raised.
    """

    text: str
    is_silence: bool


class Probes:
    """One actor on each node.

    Args:
        ids: The ids of the nodes in Ray.
        limit_s: How long all questions together may take.
        on_progress: Called with how many of how many answers are there.
    """

    def __init__(self, ids: Sequence[str], limit_s: float, on_progress: Callable[[int, int], None]) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        self._deadline = monotonic() + limit_s
        self._on_progress = on_progress
        made = ray.remote(num_cpus=0, max_restarts=0, max_concurrency=8)(probe.Probe)
        self._actors = {
            one: made.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one, soft=False)).remote()
            for one in ids
        }
        self.silent: dict[str, str] = {}
        """Why nodes do not answer any more, by id; they are asked nothing else."""

    @property
    def answering(self) -> list[str]:
        """Ids of the nodes that have answered to all so far."""
        return [one for one in self._actors if one not in self.silent]

    def of(self, node: str) -> Any:
        """The actor on a node."""
        return self._actors[node]

    def left_s(self, limit_s: float) -> float:
        """How long a question may take that should not take longer than this."""
        return max(_LEAST_S, min(limit_s, self._deadline - monotonic()))

    def ask(self, calls: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """Answers by node, some of which may be a `Failure`; a node that is silent is asked nothing else.

        Args:
            calls: References to what comes back, by the node that is called.
            limit_s: How long to wait at most.
        """
        answers = self.answers(calls, limit_s)
        for node, answer in answers.items():
            if isinstance(answer, Failure) and answer.is_silence:
                self.silent.setdefault(node, answer.text)
        return answers

    def answers(self, calls: Mapping[Key, Any], limit_s: float) -> dict[Key, Any]:
        """Answers to calls, some of which may be a `Failure`; whose fault that is, is left open."""
        limit_s = self.left_s(limit_s)
        deadline = monotonic() + limit_s
        waiting = {reference: key for key, reference in calls.items()}
        found: dict[Key, Any] = {}
        while waiting and (left := deadline - monotonic()) > 0:
            done, _ = self._ray.wait(list(waiting), num_returns=1, timeout=min(left, _POLL_S))
            for reference in done:
                found[waiting.pop(reference)] = self._answer(reference)
            self._on_progress(len(found), len(calls))
        late = Failure(f"there is no answer within {duration(round(limit_s))}", is_silence=True)
        return {key: found.get(key, late) for key in calls}

    def _answer(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, timeout=_LEAST_S)
        except errors.RayTaskError as error:
            return Failure(error_line(error.cause or error), is_silence=False)
        except errors.GetTimeoutError:
            return Failure("its answer does not arrive", is_silence=True)
        except errors.RayError as error:  # its process, or its node
            # The last line of Ray's says why, after ids and names; of a probe that cannot start, that is the error.
            return Failure(on_one_line(str(error).strip().splitlines()[-1]), is_silence=True)

    def close(self) -> None:
        """End all of them."""
        for actor in self._actors.values():
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)


@contextmanager
def probes_on(ids: Sequence[str], limit_s: float, on_progress: Callable[[int, int], None]) -> Iterator[Probes]:
    """Probes on nodes, until the block ends."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(probe)  # another version of raynas there has another probe, or none
    try:
        probes = Probes(ids, limit_s, on_progress)
        try:
            yield probes
        finally:
            probes.close()
    finally:
        cloudpickle.unregister_pickle_by_value(probe)
