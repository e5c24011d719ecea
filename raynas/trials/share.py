"""Where trainings that are trials may be, and what each takes of its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raynas.cluster.resources import room_on
from raynas.errors import ConfigError, PoolError
from raynas.storage.local_files import temporary_folder
from raynas.storage.session import Session
from raynas.training.config import TrainConfig
from raynas.trials.mark import Mark
from raynas.trials.plan import TrialsPlan

if TYPE_CHECKING:
    from raynas.trials.reach import Reach


@dataclass(frozen=True)
class Given:
    """What a session's trials get.

    Args:
        mark: The file by which they know that they are wanted.
        reach: Where they may be.
        share: What each takes of its node.
        state: The folder of Tune's own state, on a disk of this machine.
    """

    mark: Mark
    reach: Reach
    share: Mapping[str, float]
    state: Path


def given_to_trials(plan: TrialsPlan, session: Session, log: Callable[[str], None]) -> Given:
    """Find where trials may be, and what they take there; for as long as the session lasts.

    Args:
        plan: What to train.
        session: The session, which holds the folder and has joined Ray.
        log: Takes lines for people.

    Raises:
        PoolError, ConfigError: As `trial_share`.
    """
    from raynas.trials.reach import named_paths, reach_of  # Ray is imported by now, under the settings of `connect`

    plans = plan.plans.values()
    threads = next(iter(plans)).config.threads
    mark = Mark.put(session.folder)
    session.stack.callback(mark.take_away)
    state = session.stack.enter_context(temporary_folder())
    reach = reach_of(
        mark,
        {"CPU": float(threads or 1)},
        named_paths(
            *(text for one in plans for text in (one.data, one.val_data, one.config.weights, one.config.teacher))
        ),
        what="trainings",
        log=log,
        is_stopped=lambda: bool(session.stop),
    )
    gpus = plan.config.training.get("gpus_per_worker")
    share = trial_share([one.config for one in plans], None if gpus is None else float(gpus), reach.nodes)
    return Given(mark, reach, share, state)


def trial_share(
    trainings: Sequence[TrainConfig], gpus: float | None, nodes: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """What each trial takes of its node.

    Args:
        trainings: The configurations of the trainings, which all have as many threads.
        gpus: GPUs, or the share of one, that each trial takes; None: one where a node has GPUs.
        nodes: Resources that Ray has on the nodes that trials may be on, whoever uses them now; this one is the first.

    Returns:
        The amounts of CPU and GPU.

    Raises:
        PoolError: Each node has less than one trial asks for, which would wait for ever.
        ConfigError: A share that Ray does not give out, or a precision that needs a GPU where trials get none.
    """
    if gpus is None:
        gpus = min(1.0, max(node.get("GPU", 0.0) for node in nodes))
    share = {"CPU": float(trainings[0].threads or 1), "GPU": gpus}
    if gpus > 1 and gpus % 1:
        raise ConfigError(f"gpus_per_worker is {gpus:g}; Ray gives out parts of one GPU, or whole ones")
    if not room_on(nodes, {name: amount for name, amount in share.items() if amount}):
        asked, *available = (f"{one.get('CPU', 0.0):g} CPU and {one.get('GPU', 0.0):g} GPU" for one in (share, *nodes))
        where = "on this node, and no other one may be used" if len(nodes) == 1 else "on the nodes that they may run on"
        raise PoolError(
            f"each training asks for {asked}; Ray has {', '.join(dict.fromkeys(available))} {where}: "
            "--threads and --gpus-per-worker say what one takes"
        )
    for training in trainings:
        training.precision_on("cuda" if gpus else "cpu")
    return share
