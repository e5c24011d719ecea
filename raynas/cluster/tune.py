"""What all work in Ray Tune trials shares: quiet, begun anew in every session, ended from outside without loss.

Tune keeps its own state in a folder that is on a disk of the driver's machine and ends with the session, with pickles,
which are code: nothing is ever read from there, since each session begins Tune anew. Import this after
`raynas.cluster.joining.connect`, which sets what Ray reads when it is imported.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any, Protocol

import psutil
import ray
from ray import tune
from ray.exceptions import RayError

from raynas.cluster.head_watch import HeadWatch
from raynas.cluster.resources import node_name
from raynas.errors import ClusterLostError, PoolError

_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # only the old output heeds verbose=0
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the signals are ours
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that is interrupted may have no metric yet
}
_MAX_TRIES = 3
_MAX_LOST_NODES = 8
_ANSWERS_S = 1.0
_ENDS_S = 0.5  # for what ends with a process, on a machine that ends


@dataclass(frozen=True)
class Places:
    """Where trials may run.

    Args:
        only_here: Whether on no other node than that of the driver.
        avoided: Ids of nodes on which they may not.
    """

    only_here: bool = True
    avoided: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loss:
    """How Tune has lost a trial.

    Args:
        what: What is lost and where, as in "its process on node 4f1c9a02 (worker-3) is lost".
        is_final: Whether it is not started again.
    """

    what: str
    is_final: bool


class TuneListener(Protocol):
    """Follows trials from the driver."""

    def on_step(self, running: Sequence[str]) -> bool:
        """Called several times a second with the names of the running trials; whether Tune is to end now.

        Trials that run at that moment are stopped and count as unfinished.
        """
        ...

    def on_result(self, name: str, result: Mapping[str, Any]) -> None:
        """A trial has reported."""
        ...

    def on_lost(self, name: str, loss: Loss) -> None:
        """A trial has raised, or its process or its node is gone; unless that is final, it is started again."""
        ...


def fit(trainable: type, names: Sequence[str], state: Path, listener: TuneListener, **settings: Any) -> None:
    """Run trials until all have ended, or the listener ends them.

    A trial that raises, or whose process is lost, is tried again after the others, twice at most in a session; the
    nodes that it loses count from the ninth on. Tune begins anew in every session: what a trial has done must be in
    files of its own, from which it goes on.

    Args:
        trainable: A subclass of `ray.tune.Trainable` that says its resources; its config names the trial as "trial".
        names: Names of the trials that are to run.
        state: A folder on a disk of this machine, for what Tune keeps while trials run; nothing is read from there.
        listener: Follows the trials.
        settings: Keywords of `ray.tune.TuneConfig`.

    Raises:
        PoolError: The Ray that this process started has ended, as it does when a signal reaches all its processes.
        ClusterLostError: The head of the joined cluster is gone.
        KeyboardInterrupt: A signal whose handler raises it.
    """
    try:
        with _as_we_need_it(), _relayed_to(listener):
            _tuner(trainable, names, state, settings).fit()
    except _RayHasEnded as ended:
        raise ended.error from None


def trial_resources(
    own: Mapping[str, float], workers: int, each: Mapping[str, float], places: Places
) -> tune.PlacementGroupFactory:
    """Resources of a trial: its own process, where trials may run, and its workers on any node.

    Actors that the trial starts take their places in this group.

    Args:
        own: Resources of the trial's process, such as {"CPU": 1}; with workers, it may need none, and is beside the
            first of them then.
        workers: How many workers the trial has.
        each: Resources of each worker.
        places: Where its own process may be.
    """
    first = {name: value for name, value in own.items() if value}
    bundle = {name: value for name, value in each.items() if value}
    if places.only_here:
        return tune.PlacementGroupFactory([first | {_this_node(): 0.001}, *[bundle] * workers], strategy="PACK")
    bundles = [first, *[bundle] * workers]
    if not places.avoided:
        return tune.PlacementGroupFactory(bundles, strategy="PACK")
    others: list[dict[str, str]] = [{} for _ in range(workers - (not first))]
    elsewhere = {"ray.io/node-id": f"!in({','.join(places.avoided)})"}
    return tune.PlacementGroupFactory(bundles, strategy="PACK", bundle_label_selector=[elsewhere, *others])


def _this_node() -> str:
    own = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
    return next(str(name) for name in resources if name.startswith("node:") and "__" not in name)


def _tuner(trainable: type, names: Sequence[str], state: Path, settings: Mapping[str, Any]) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(names))},
        tune_config=tune.TuneConfig(trial_name_creator=_name, trial_dirname_creator=_name, **settings),
        run_config=tune.RunConfig(
            name=state.name,
            storage_path=str(state.parent),
            verbose=0,
            callbacks=[_Relay()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=_MAX_TRIES - 1),
        ),
    )


def _name(trial: Any) -> str:
    return str(trial.config["trial"])


_listeners: list[TuneListener] = []
_daemons: list[list[psutil.Process]] = []
_heads: list[HeadWatch] = []
_lost_nodes: list[dict[str, int]] = []
_whereabouts: list[dict[str, Any]] = []
"""For each trial that was started, what is to become the id of its node."""


class _RayHasEnded(BaseException):
    """Raised since Tune would wait for Ray, and the process would end then; an Exception would make Tune clean up.

    Args:
        error: What it means for who waits for the trials.
    """

    def __init__(self, error: PoolError) -> None:
        super().__init__(error)
        self.error = error


class _Relay(tune.Callback):  # type: ignore[misc]
    """Passes on to the listener of this process, which Tune could not pickle with its callbacks."""

    def on_step_begin(self, iteration: int, trials: Sequence[Any], **info: Any) -> None:
        is_over = _listeners[-1].on_step([_name(trial) for trial in trials if trial.status == "RUNNING"])
        if any(not one.is_running() or one.status() == psutil.STATUS_ZOMBIE for one in _daemons[-1]):
            raise _RayHasEnded(PoolError("the Ray that this process started has ended before its trials"))
        try:
            _heads[-1].wait()
        except ClusterLostError as error:
            raise _RayHasEnded(error) from None
        if is_over:
            signal.raise_signal(signal.SIGUSR1)  # for Tune's own handler, which saves its state and ends the trials

    def on_trial_start(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        actor = trial.temporary_state.ray_actor
        _whereabouts[-1][_name(trial)] = actor.__ray_call__.remote(_node_of)

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        _listeners[-1].on_result(_name(trial), result)

    def on_trial_recover(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        what, is_node = _lost(trial)
        _listeners[-1].on_lost(_name(trial), Loss(what, is_final=False))
        if is_node and (lost := _lost_nodes[-1].setdefault(_name(trial), 0)) < _MAX_LOST_NODES:
            _lost_nodes[-1][_name(trial)] = lost + 1
            trial.run_metadata.num_failures -= 1  # which blames no trial

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        what, _ = _lost(trial)
        _listeners[-1].on_lost(_name(trial), Loss(what, is_final=True))


def _node_of(trainable: Any) -> str:
    """The id of the node that a trial is on."""
    return str(ray.get_runtime_context().get_node_id())


def _lost(trial: Any) -> tuple[str, bool]:
    """What has become of the process of a trial, in words, and whether its node is gone."""
    node = None
    with suppress(RayError, KeyError):
        node = str(ray.get(_whereabouts[-1].pop(_name(trial)), timeout=_ANSWERS_S))
    found = next((one for one in ray.nodes() if one["NodeID"] == node), None)
    if found is None:  # lost before it could say where it is
        return "its process is lost", False
    where = node_name(found)
    return (f"its process on {where} is lost", False) if _is_there(found) else (f"its {where} is lost", True)


def _is_there(node: Mapping[str, Any]) -> bool:
    """Whether a node answers; Ray notices that its processes are gone some seconds before it gives the node up."""
    if not node["Alive"]:
        return False
    sleep(_ENDS_S)
    with suppress(OSError):
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=_ANSWERS_S).close()
        return True
    return False


@contextmanager
def _relayed_to(listener: TuneListener) -> Iterator[None]:
    """A context in which trials are told to a listener, and after which Tune no longer keeps SIGUSR1."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGUSR1)
    _listeners.append(listener)
    _lost_nodes.append({})
    _whereabouts.append({})
    _heads.append(HeadWatch(ray.get_runtime_context().gcs_address))
    _daemons.append([one for one in psutil.Process().children() if one.name() in ("gcs_server", "raylet")])
    try:
        yield
    finally:
        _listeners.pop()
        _lost_nodes.pop()
        _whereabouts.pop()
        _daemons.pop()
        _heads.pop()
        if is_main:
            signal.signal(signal.SIGUSR1, before)


@contextmanager
def _as_we_need_it() -> Iterator[None]:
    """A context in which Tune prints nothing, and leaves signals and results alone."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
