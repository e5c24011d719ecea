"""Which nodes of the joined cluster trials may be on: those that see the folder of the run, and have the same code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from raynas.cluster.installed import code_versions, differences
from raynas.cluster.resources import autoscaler_reach, node_name
from raynas.cluster.tune import Places
from raynas.errors import StoreError, error_line, error_words
from raynas.storage.files import exists
from raynas.storage.paths import ObjectPath
from raynas.storage.run_folder import holds_run
from raynas.trials.mark import Mark

_ANSWERS_S = 60.0
_POLL_S = 0.5
_SEEN_WITHIN_S = 5.0
"""For how long a node is asked again: what a network file system has not had there before, it may show late."""
_ADVICE = "name a folder on storage that all nodes see, or in an object store"


@dataclass(frozen=True)
class Reach:
    """Where trials may be.

    Args:
        places: The nodes, for `raynas.cluster.tune.trial_resources`.
        nodes: Resources of those that are there now, that of the driver first; beside them what an autoscaler may add.
    """

    places: Places
    nodes: tuple[Mapping[str, float], ...]


def reach_of(
    mark: Mark,
    needs: Mapping[str, float],
    paths: Sequence[Path],
    *,
    what: str,
    log: Callable[[str], None],
    is_stopped: Callable[[], bool] = lambda: False,
) -> Reach:
    """Ask each node that has room for a trial whether it sees the folder, and say which are not used, and why.

    A folder on a disk that no other node sees keeps trials on the driver's node, as one of which nothing is known since
    there is no other node yet.

    Args:
        mark: The mark of the session, which is there.
        needs: The least that a trial takes of its node, such as {"CPU": 1}.
        paths: What trials read on a disk beside the folder.
        what: What the trials are, in the plural, such as trainings.
        log: Takes lines for people.
        is_stopped: Whether not to wait any longer.
    """
    import ray

    own = ray.get_runtime_context().get_node_id()
    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    here = alive.pop(own)
    asked = {
        name: node
        for name, node in alive.items()
        if all(node["Resources"].get(resource, 0.0) >= amount for resource, amount in needs.items())
    }
    reasons = _reasons(list(asked), (mark, tuple(paths), code_versions()), is_stopped) if asked else {}
    useless = {name: reason for name, reason in reasons.items() if reason}
    is_far = isinstance(mark.folder, ObjectPath)
    if len(useless) == len(asked) and not is_far:
        if useless:
            told = "; ".join(f"{node_name(asked[name])}: {reason}" for name, reason in useless.items())
            log(f"all {what} run on this node, as no other one can take them ({told}): {_ADVICE}")
        return Reach(Places(only_here=True), (here["Resources"],))
    for name, reason in useless.items():
        log(f"{node_name(asked[name])} is not used for {what}: {reason}")
    used = [here, *(node for name, node in asked.items() if name not in useless)]
    resources = [*(node["Resources"] for node in used), *autoscaler_reach()]
    return Reach(Places(only_here=False, avoided=tuple(useless)), tuple(resources))


def check_seen(folder: Path) -> None:
    """Refuse a node on which a trial has come to be, and which does not see the folder of the run.

    Raises:
        StoreError: It is such a node, which has joined after the others were asked.
    """
    if not holds_run(folder):
        import ray

        own = ray.get_runtime_context().get_node_id()
        node = next((node_name(one) for one in ray.nodes() if one["NodeID"] == own), f"node {own[:8]}")
        raise StoreError(f"{node} does not see {folder}: {_ADVICE}")


def _reasons(nodes: Sequence[str], given: tuple[Any, ...], is_stopped: Callable[[], bool]) -> dict[str, str]:
    """Why each of the nodes is of no use; an empty text where it is of use."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    look = ray.remote(num_cpus=0, max_retries=0)(_why_useless)
    calls = {node: look.options(scheduling_strategy=On(node, soft=False)).remote(*given) for node in nodes}
    deadline = monotonic() + _ANSWERS_S
    left = list(calls.values())
    while left and monotonic() < deadline and not is_stopped():
        _, left = ray.wait(left, num_returns=len(left), timeout=_POLL_S)
    found = {}
    for node, call in calls.items():
        if call in left:
            found[node] = f"it has not answered for {_ANSWERS_S:g} s"
            ray.cancel(call, force=True)
            continue
        try:
            found[node] = str(ray.get(call))
        except Exception as error:  # of a node without raynas, or one that is lost
            found[node] = error_line(getattr(error, "cause", None) or error)
    return found


def _why_useless(mark: Mark, paths: Sequence[Path], versions: Mapping[str, str]) -> str:
    """Why this node is of no use to trials; an empty text if it is of use."""
    if told := differences(versions, code_versions()):
        return told
    if told := _why_unseen(mark):
        return told
    missing = next((path for path in paths if not exists(path)), None)
    return "" if missing is None else f"it does not see {missing}"


def _why_unseen(mark: Mark) -> str:
    deadline = monotonic() + _SEEN_WITHIN_S
    while True:
        try:
            if mark.found() == mark.token:
                return ""
            told = f"what it has at {mark.folder} is another folder"
        except FileNotFoundError:
            told = f"it does not see {mark.folder}"
        except OSError as error:
            told = f"it cannot read {mark.folder}: {error_words(error)}"
        if monotonic() > deadline:
            return told
        sleep(_POLL_S)


def named_paths(*texts: str | None) -> list[Path]:
    """Files and folders of this machine that settings name, such as parquet:/data/train-*.parquet names /data.

    Args:
        texts: Values of settings; None where nothing is said.
    """
    found = []
    for text in texts:
        parts = (text or "").split(":")
        for start in range(len(parts)):
            path = Path(":".join(parts[start:])).expanduser()
            while path.name and any(sign in str(path) for sign in "*?["):
                path = path.parent
            if path.is_absolute() and path.name and exists(path):
                found.append(path)
                break
    return list(dict.fromkeys(found))
