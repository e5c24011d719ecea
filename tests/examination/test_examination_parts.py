"""The arithmetic of an examination: clocks, pairs, and what is said by which bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psutil
import pytest

from raynas.errors import PoolError
from raynas.examination import probe
from raynas.examination.checks import findings_on_nodes, findings_on_pairs
from raynas.examination.clock import ClockDifference, clock_difference
from raynas.examination.pairs import chosen_pairs, rounds
from raynas.examination.report import Examination, Finding, NodeReport, PairReport

GIB = 2**30
VERSIONS = {"Python": "3.11.7", "torch": "2.15.0"}


# -- clocks ------------------------------------------------------------------------------------------------------------


class FakeTime:
    """A time that passes only where a question is on its way.

    Args:
        ahead_s: How far the other clock is ahead.
        ways: By question, how long it takes there, and its answer back.
    """

    def __init__(self, ahead_s: float, ways: list[tuple[float, float]]) -> None:
        self.now, self.ahead_s, self.ways = 1000.0, ahead_s, iter(ways)

    def here(self) -> float:
        return self.now

    def ask(self) -> float:
        there, back = next(self.ways)
        self.now += there
        answer = self.now + self.ahead_s
        self.now += back
        return answer


@pytest.mark.parametrize("ahead_s", [0.0, 3.25, -120.0])
def test_a_clock_is_known_exactly_where_both_ways_take_as_long(ahead_s: float) -> None:
    time = FakeTime(ahead_s, [(0.5, 0.5)])
    found = clock_difference(time.ask, time.here, tries=1)
    assert found.seconds == pytest.approx(ahead_s, abs=1e-9)
    assert found.uncertainty_s == pytest.approx(0.5)


def test_the_quickest_answer_is_believed_and_the_truth_is_within_its_uncertainty() -> None:
    time = FakeTime(2.0, [(4.0, 0.0), (0.0, 0.2), (0.0, 9.0)])
    found = clock_difference(time.ask, time.here, tries=3)
    # The answer was given 0.1 s before the middle: it looks that much less ahead.
    assert found.seconds == pytest.approx(1.9)
    assert found.uncertainty_s == pytest.approx(0.1)
    assert abs(found.seconds - 2.0) <= found.uncertainty_s + 1e-9


# -- pairs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [0, 1, 2, 3, 6])
def test_few_nodes_are_measured_with_all_others_in_both_directions(nodes: int) -> None:
    pairs = chosen_pairs(nodes)
    assert len(set(pairs)) == len(pairs) == nodes * (nodes - 1)
    assert all(taker != giver for taker, giver in pairs)


@pytest.mark.parametrize("nodes", [7, 100])
def test_of_many_nodes_each_calls_once_and_is_called_once(nodes: int) -> None:
    pairs = chosen_pairs(nodes)
    assert sorted(taker for taker, _ in pairs) == sorted(giver for _, giver in pairs) == list(range(nodes))
    assert all(taker != giver for taker, giver in pairs)


@pytest.mark.parametrize("nodes", [3, 6, 7, 100])
def test_no_node_is_in_two_pairs_at_once_and_none_is_left_out(nodes: int) -> None:
    pairs = chosen_pairs(nodes)
    for one in rounds(pairs):
        inside = [node for pair in one for node in pair]
        assert len(inside) == len(set(inside))
    assert sorted(pair for one in rounds(pairs) for pair in one) == sorted(pairs)
    assert len(rounds(chosen_pairs(100))) <= 3  # they do not wait for each other


# -- findings ----------------------------------------------------------------------------------------------------------


def healthy(name: str = "10.0.0.1") -> NodeReport:
    facts = {
        "versions": dict(VERSIONS),
        "memory": {"total_bytes": 100 * GIB, "free_bytes": 60 * GIB},
        "session_disk": {"path": "/tmp/ray/s", "total_bytes": 100 * GIB, "free_bytes": 50 * GIB},
        "temporary_disk": {"path": "/tmp", "total_bytes": 100 * GIB, "free_bytes": 50 * GIB},
        "shared_memory": {"path": "/dev/shm", "total_bytes": 32 * GIB, "free_bytes": 30 * GIB},
        "open_files": 65536,
        "network": {"interface": "eth0", "told": {}, "interfaces": ["eth0", "lo"]},
        "errors": {},
    }
    return NodeReport(
        name, "host", "ab" * 28, True, 8.0, 0.0, 16 * GIB, facts=facts, clock=ClockDifference(0.01, 0.001)
    )


def with_facts(**facts: Any) -> NodeReport:
    node = healthy()
    return replace(node, facts={**(node.facts or {}), **facts})


def gpus(*free: int, name: str = "NVIDIA H100") -> list[dict[str, Any]]:
    return [{"name": name, "total_bytes": 80 * GIB, "free_bytes": one * GIB} for one in free]


def network(interface: str | None, **told: str) -> dict[str, Any]:
    return {"interface": interface, "told": told, "interfaces": ["eth0", "lo"]}


def disk(free_bytes: float, total_bytes: float = 100 * GIB) -> dict[str, Any]:
    return {"path": "/somewhere", "free_bytes": free_bytes, "total_bytes": total_bytes}


BOUNDS: dict[str, tuple[NodeReport, str, str, str]] = {
    "other torch": (
        with_facts(versions={**VERSIONS, "torch": "2.8.0"}), "versions", "fail", "torch is 2.8.0 there and 2.15.0 here"
    ),
    "no raynas": (
        with_facts(errors={"versions": "ModuleNotFoundError: No module named 'raynas'"}), "versions", "fail", "raynas"
    ),
    "memory 9 %": (with_facts(memory=disk(9 * GIB)), "memory", "warn", "9.00 GiB of 100.00 GiB are free"),
    "memory 4 %": (with_facts(memory=disk(4 * GIB)), "memory", "fail", "Ray ends workers"),
    "disk 9 %": (with_facts(session_disk=disk(9 * GIB)), "disk", "warn", "9.00 GiB of 100.00 GiB are free"),
    "disk 4.9 %": (with_facts(session_disk=disk(4.9 * GIB)), "disk", "fail", "Ray spills no objects"),
    "temporary": (with_facts(temporary_disk=disk(0.9 * GIB)), "disk", "warn", "TMPDIR"),
    "17 GiB shared": (with_facts(shared_memory=disk(0, 17 * GIB)), "shared memory", "warn", "1.00 GiB"),
    "64 MiB shared": (with_facts(shared_memory=disk(0, 2**26)), "shared memory", "warn", "lie on disk then"),
    "1024 files": (with_facts(open_files=1024), "open files", "warn", "1,024 files"),
    "ahead": (replace(healthy(), clock=ClockDifference(2.5, 0.4)), "clock", "warn", "2.5 s ahead of"),
    "behind": (replace(healthy(), clock=ClockDifference(-90, 0.4)), "clock", "warn", "1 min 30 s behind"),
    "late": (replace(healthy(), clock=None), "clock", "warn", "not known, since it was late"),
    "no interface": (with_facts(network=network(None)), "network", "warn", "--node-ip-address"),
    "wrong name": (
        with_facts(network=network("eth0", GLOO_SOCKET_IFNAME="eth7")), "network", "fail", "there are eth0, lo"
    ),
    "GPU lost": (replace(with_facts(gpus=gpus(79)), gpus=2.0), "GPUs", "fail", "counts 2 GPUs and torch sees 1"),
    "GPU taken": (replace(with_facts(gpus=gpus(79, 20)), gpus=2.0), "GPUs", "warn", "of GPU 1, 20.00 GiB of 80.00 GiB"),
    "GPU hangs": (
        replace(with_facts(errors={"gpus": "TimeoutError: 30 s"}), gpus=1.0), "GPUs", "fail", "TimeoutError: 30 s"
    ),
    "silent": (replace(healthy(), silent="there is no answer within 40 s"), "nodes", "fail", "within 40 s: see that"),
    "silent at once": (
        replace(healthy(), facts=None, clock=None, silent="there is no answer within 40 s"), "nodes", "fail", "40 s"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_what_is_beyond_a_bound_is_told_of_that_node_alone(name: str) -> None:
    node, check, state, words = BOUNDS[name]
    findings = findings_on_nodes([replace(node, name="10.0.0.2"), healthy()], VERSIONS)
    (bad,) = [one for one in findings if one.state != "ok"]
    assert (bad.check, bad.state, bad.where) == (check, state, ("10.0.0.2",))
    assert words in bad.text


WITHIN: dict[str, NodeReport] = {
    "nothing": healthy(),
    "clock not known well": replace(healthy(), clock=ClockDifference(2.5, 0.6)),
    "files without limit": with_facts(open_files=-1),
    "told interface": with_facts(network=network(None, GLOO_SOCKET_IFNAME="eth0")),
    "interfaces left out": with_facts(network=network("eth0", NCCL_SOCKET_IFNAME="^docker0,lo")),
    "beginning of a name": with_facts(network=network("eth0", NCCL_SOCKET_IFNAME="eth")),
    "GPUs": replace(with_facts(gpus=gpus(79, 79)), gpus=2.0),
    "more GPUs than Ray was told of": replace(with_facts(gpus=gpus(79, 79)), gpus=1.0),
    "disk 10 %": with_facts(session_disk=disk(10 * GIB)),
}


@pytest.mark.parametrize("name", WITHIN)
def test_what_is_within_all_bounds_is_told_once_for_each_check(name: str) -> None:
    findings = findings_on_nodes([WITHIN[name]], VERSIONS)
    assert {one.state for one in findings} == {"ok"}
    assert len({one.check for one in findings}) == len(findings) == 8 + ("GPUs" in [one.check for one in findings])


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(600)", "TimeoutError: torch is not imported within 5 s: look again"),
        (
            f"import time; print('{probe._IS_UP}', flush=True); time.sleep(600)",
            "TimeoutError: torch gets no answer of them",
        ),
        ("import time; print('gpus [7]', flush=True); time.sleep(600)", "[7]"),
        ("raise SystemExit(3)", "RuntimeError: the process that asked ended with status 3"),
        ("raise OSError('no driver')", "RuntimeError: OSError: no driver"),
        (
            "import sys; sys.stderr.buffer.write(bytes([255])); raise SystemExit(1)",
            "RuntimeError: \N{REPLACEMENT CHARACTER}",
        ),
    ],
)
def test_what_gpus_tell_is_taken_and_why_they_do_not_is_said(
    program: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_ASK_GPUS", program)
    before = set(psutil.Process().children())
    try:
        answer = str(probe.Probe().gpus(5.0 if "sleep" in program else 60.0))
    except (RuntimeError, TimeoutError) as error:
        answer = f"{type(error).__name__}: {error}"
    assert answer.startswith(said)
    assert set(psutil.Process().children()) <= before


def test_what_is_true_of_several_nodes_is_told_once() -> None:
    nodes = [replace(with_facts(open_files=1024), name=name) for name in ("a", "b")]
    (bad,) = [one for one in findings_on_nodes([*nodes, healthy("c")], VERSIONS) if one.state != "ok"]
    assert bad.where == ("a", "b")


def test_gpus_of_two_kinds_are_told() -> None:
    nodes = [replace(with_facts(gpus=gpus(79)), gpus=1.0), replace(with_facts(gpus=gpus(79, name="L4")), gpus=1.0)]
    (bad,) = [one for one in findings_on_nodes(nodes, VERSIONS) if one.state != "ok"]
    assert (bad.check, bad.state) == ("GPUs", "warn")
    assert "2 kinds, L4, NVIDIA H100" in bad.text


PAIRS: dict[str, tuple[PairReport, str | None, str]] = {
    "near": (PairReport("a", "b", 0.001, 0.1, 16_000_000), None, "1 pair"),
    "far": (PairReport("a", "b", 0.08, 0.1, 16_000_000), "warn", "0.08 s"),
    "slow": (PairReport("a", "b", 0.001, 1.6, 16_000_000), "warn", "10 MB/s"),
    "apart": (PairReport("a", "b", error="not each other"), "fail", "not each other"),
    "no time": (PairReport("a", "b"), "warn", "not measured"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_have_bounds(name: str) -> None:
    pair, state, words = PAIRS[name]
    (found,) = findings_on_pairs([pair], 2)
    assert (found.state, found.where) == (state or "ok", ("a from b",) if state else ())
    assert words in found.text


def test_a_sample_is_told() -> None:
    pairs = [PairReport(str(taker), str(giver), 0.001, 0.1, 16_000_000) for taker, giver in chosen_pairs(40)]
    (found,) = findings_on_pairs(pairs, 40)
    assert "40 pairs, a sample of 1,560: each node from the next" in found.text
    assert findings_on_pairs([], 1) == []


def test_what_fails_is_an_error_and_what_warns_is_not() -> None:
    warns, fails = (Finding("disk", state, (), "full") for state in ("warn", "fail"))  # type: ignore[arg-type]
    ready = Examination("head:6379", [], [], [warns])
    assert ready.is_ready
    ready.check_ready()
    with pytest.raises(PoolError, match="head:6379 is not ready: 1 check fails, disk"):
        replace(ready, findings=[warns, fails, fails]).check_ready()
