"""An examination of the joined cluster, from start to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from raynas.cluster.installed import code_versions
from raynas.examination.checks import findings_on_nodes, findings_on_pairs
from raynas.examination.clock import ClockDifference, clock_difference
from raynas.examination.pairs import chosen_pairs, rounds
from raynas.examination.probes import Failure, Probes, probes_on
from raynas.examination.report import Examination, Finding, NodeReport, PairReport
from raynas.examination.storage import findings_on_storage
from raynas.wording import plural

LIMIT_S = 60.0
"""How long all questions together may take; each stage has limits of its own within that."""
START_S = 40.0
"""How long a node may take to start a process and look at itself."""
GPUS_S = 30.0
"""How long its GPUs may take to tell of themselves after that, with the import of torch, where time enough is left."""
_CLOCK_S, _PAIR_S, _PAIRS_S, _PING_S = 3.0, 8.0, 20.0, 3.0
_LATER_S, _OTHERS_S, _LEAST_GPUS_S = 4.0, 10.0, 5.0
OBJECT_BYTES = 16 * 10**6


class ExaminationListener:
    """Receives the progress of an examination; this one is silent."""

    def on_stage(self, text: str) -> None:
        """Something else is looked at from now on."""

    def on_progress(self, done: int, total: int) -> None:
        """Some of the questions of this stage are answered."""


def examine(out: Path | None, listener: ExaminationListener) -> Examination:
    """Look at the cluster that this process has joined; no node is waited for longer than there is time.

    Args:
        out: Where runs are to be written, absolute; None: storage is not looked at.
        listener: Receives progress.
    """
    import ray

    context = ray.get_runtime_context()
    living = [node for node in ray.nodes() if node["Alive"]]
    nodes = _reports(living, context.get_node_id())
    versions = {**code_versions(), "Ray": ray.__version__}
    sessions = {node["NodeID"]: str(Path(node["RayletSocketName"]).parents[1]) for node in living}
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in living}
    storage: list[Finding] = []
    with probes_on([node.node_id for node in nodes], LIMIT_S, listener.on_progress) as probes:
        listener.on_stage(f"asks {plural(len(nodes), 'node', 'nodes')}")
        calls = {
            node.node_id: probes.of(node.node_id).facts.remote(sessions[node.node_id], addresses[node.node_id])
            for node in nodes
        }
        facts = {node: _answer(answer) for node, answer in probes.ask(calls, START_S).items()}
        _add_gpus(facts, probes, [node.node_id for node in nodes if node.gpus], listener)
        clocks = _clocks(probes)
        names = {node.node_id: node.name for node in nodes}
        pairs = _pairs(probes, names, listener)
        if out is not None:
            listener.on_stage(f"writes to {out}")
            here = next(node.node_id for node in nodes if node.has_driver)
            storage = findings_on_storage(probes, out, here, names)
        nodes = [
            replace(
                node,
                facts=facts[node.node_id],
                clock=clocks.get(node.node_id),
                silent=probes.silent.get(node.node_id),
            )
            for node in nodes
        ]
    findings = [*findings_on_nodes(nodes, versions), *findings_on_pairs(pairs, len(clocks)), *storage]
    return Examination(context.gcs_address, nodes, pairs, findings)


def _reports(living: Sequence[Mapping[str, Any]], here: str) -> list[NodeReport]:
    """The nodes as Ray knows them: that of the driver first, then by address."""
    times = Counter(node["NodeManagerAddress"] for node in living)
    found = []
    for node in sorted(living, key=lambda one: (one["NodeID"] != here, one["NodeManagerAddress"], one["NodeID"])):
        address, node_id, has = node["NodeManagerAddress"], node["NodeID"], node["Resources"]
        found.append(
            NodeReport(
                name=address if times[address] == 1 else f"{address}/{node_id[:6]}",
                hostname=node["NodeManagerHostname"],
                node_id=node_id,
                has_driver=node_id == here,
                cpus=has.get("CPU", 0.0),
                gpus=has.get("GPU", 0.0),
                object_store_bytes=has.get("object_store_memory", 0.0),
            )
        )
    return found


def _answer(answer: Any) -> dict[str, Any] | None:
    if not isinstance(answer, Failure):
        return dict(answer)
    return None if answer.is_silence else {"errors": {"versions": answer.text}}


def _add_gpus(
    facts: dict[str, dict[str, Any] | None], probes: Probes, with_gpus: Sequence[str], listener: ExaminationListener
) -> None:
    """Ask GPUs, once the nodes have told of themselves: one that hangs is to cost nothing but what it would say."""
    asked = {node: known for node in with_gpus if (known := facts[node]) is not None and node in probes.answering}
    if not asked:
        return
    listener.on_stage(f"asks the GPUs of {plural(len(asked), 'node', 'nodes')}")
    left_s = probes.left_s(LIMIT_S) - _LATER_S - _OTHERS_S  # the rest is for what is asked after them
    limit_s = max(_LEAST_GPUS_S, min(GPUS_S, left_s))
    answers = probes.answers({node: probes.of(node).gpus.remote(limit_s) for node in asked}, limit_s + _LATER_S)
    for node, answer in answers.items():
        if isinstance(answer, Failure):
            facts[node] = {**asked[node], "errors": {**asked[node]["errors"], "gpus": answer.text}}
        else:
            facts[node] = {**asked[node], "gpus": answer}


def _clocks(probes: Probes) -> dict[str, ClockDifference]:
    """How far the clock of each node is from that here."""
    import ray

    def ask(actor: Any) -> float:
        return float(ray.get(actor.clock.remote(), timeout=probes.left_s(_CLOCK_S)))

    found = {}
    for node in probes.answering:
        try:
            found[node] = clock_difference(partial(ask, probes.of(node)))
        except ray.exceptions.RayError:
            _find_silent(probes, {node})
    return found


def _pairs(probes: Probes, names: Mapping[str, str], listener: ExaminationListener) -> list[PairReport]:
    """Measure pairs of nodes; where one is not measured, see who of the two is lost, or the way between them."""
    nodes = probes.answering
    chosen = chosen_pairs(len(nodes))
    if chosen:
        listener.on_stage(f"measures {plural(len(chosen), 'pair of nodes', 'pairs of nodes')}")
    found = []
    deadline = monotonic() + _PAIRS_S
    for some in rounds(chosen):
        asked = [(nodes[taker], nodes[giver]) for taker, giver in some]
        asked = [pair for pair in asked if not probes.silent.keys() & set(pair)]
        if monotonic() > deadline:
            found += [PairReport(names[taker], names[giver]) for taker, giver in asked]
            continue
        calls = {
            (taker, giver): probes.of(taker).measure.remote(probes.of(giver), OBJECT_BYTES) for taker, giver in asked
        }
        answers = probes.answers(calls, _PAIR_S)
        _find_silent(probes, {node for pair, one in answers.items() if isinstance(one, Failure) for node in pair})
        for (taker, giver), answer in answers.items():
            pair = PairReport(names[taker], names[giver])
            if not isinstance(answer, Failure):
                found.append(replace(pair, call_s=answer[0], transfer_s=answer[1], size_bytes=OBJECT_BYTES))
            elif not probes.silent.keys() & {taker, giver}:
                found.append(replace(pair, error=f"both answer the driver, but not each other: {answer.text}"))
    return found


def _find_silent(probes: Probes, nodes: set[str]) -> None:
    """Ask nodes whether they are there."""
    probes.ask({node: probes.of(node).echo.remote() for node in nodes}, _PING_S)
