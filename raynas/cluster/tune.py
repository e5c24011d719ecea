"""What all work in Ray Tune trials shares: quiet, begun anew in every session, ended from outside without loss.

Tune keeps its own state in a folder of its own beside the results, with pickles, which are code: nothing is ever read
from there, what an earlier session left there is removed unread, and so is what this one has left when it ends. Import
this after `raynas.cluster.joining.connect`, which sets what Ray reads when it is imported.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psutil
import ray
from ray import tune

from raynas.cluster.head_watch import HeadWatch
from raynas.errors import ClusterLostError, PoolError

FOLDER = "tune"
"""Name of the folder that holds Tune's own state while trials run, in the folder of the results."""

_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # only the old output heeds verbose=0
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the signals are ours
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that is interrupted may have no metric yet
}
_MAX_TRIES = 3


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

    def on_lost(self, name: str, is_final: bool) -> None:
        """A trial has raised, or its process is gone; unless that is final, it is started again."""
        ...


def fit(trainable: type, names: Sequence[str], folder: Path, listener: TuneListener, **settings: Any) -> None:
    """Run trials until all have ended, or the listener ends them.

    A trial that raises, or whose process is lost, is tried again after the others, twice at most in a session. Tune
    begins anew in every session: what a trial has done must be in files of its own, from which it goes on.

    Args:
        trainable: A subclass of `ray.tune.Trainable` that says its resources; its config names the trial as "trial".
        names: Names of the trials that are to run.
        folder: The folder of the results.
        listener: Follows the trials.
        settings: Keywords of `ray.tune.TuneConfig`.

    Raises:
        PoolError: The Ray that this process started has ended, as it does when a signal reaches all its processes.
        ClusterLostError: The head of the joined cluster is gone.
        KeyboardInterrupt: A signal whose handler raises it.
    """
    state = folder.resolve() / FOLDER
    _remove(state)
    try:
        with _as_we_need_it(), _relayed_to(listener):
            _tuner(trainable, names, state, settings).fit()
    except _RayHasEnded as ended:
        raise ended.error from None
    finally:
        _remove(state)


def trial_resources(own: Mapping[str, float], workers: int, each: Mapping[str, float]) -> tune.PlacementGroupFactory:
    """Resources of a trial: its own process on this node, where its files are, and its workers on any node.

    Actors that the trial starts take their places in this group.

    Args:
        own: Resources of the trial's process, such as {"CPU": 1}; it may need none.
        workers: How many workers the trial has.
        each: Resources of each worker.
    """
    here = {name: value for name, value in own.items() if value} | {_this_node(): 0.001}
    bundle = {name: value for name, value in each.items() if value}
    return tune.PlacementGroupFactory([here, *[bundle] * workers], strategy="PACK")


def node_resources() -> dict[str, float]:
    """What Ray has on this node, whoever uses it now."""
    own = ray.get_runtime_context().get_node_id()
    (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
    return dict(resources)


def _this_node() -> str:
    return next(name for name in node_resources() if name.startswith("node:") and "__" not in name)


def _remove(state: Path) -> None:
    """Remove what stands there, of whatever kind; of a link, the link."""
    with suppress(OSError):  # a folder, or nothing
        state.unlink()
    shutil.rmtree(state, ignore_errors=True)


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

    def on_trial_result(
        self, iteration: int, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        _listeners[-1].on_result(_name(trial), result)

    def on_trial_recover(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        _listeners[-1].on_lost(_name(trial), is_final=False)

    def on_trial_error(self, iteration: int, trials: Sequence[Any], trial: Any, **info: Any) -> None:
        _listeners[-1].on_lost(_name(trial), is_final=True)


@contextmanager
def _relayed_to(listener: TuneListener) -> Iterator[None]:
    """A context in which trials are told to a listener, and after which Tune no longer keeps SIGUSR1."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGUSR1)
    _listeners.append(listener)
    _heads.append(HeadWatch(ray.get_runtime_context().gcs_address))
    _daemons.append([one for one in psutil.Process().children() if one.name() in ("gcs_server", "raylet")])
    try:
        yield
    finally:
        _listeners.pop()
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
