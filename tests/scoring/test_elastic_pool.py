"""Pools that follow the work and the cluster, on simulated workers: who joins, who ends, who is avoided."""

from __future__ import annotations

import re

import pytest
from simulated_pool import Pool, sendings
from simulated_workers import NODE_NOTICED_S, START_S

from raynas.scoring.node_watch import NodeWatch
from raynas.space.results import MIXED_DEVICES


def test_workers_are_asked_for_as_far_as_there_is_work_and_a_node_that_joins_is_used_at_once() -> None:
    pool = Pool(lambda a: 2.0, workers=1, most=6)
    pool.door.places = 2
    pool.submit(*range(4))
    pool.poll()
    assert len(pool.dispatcher.workers) == 4  # one for each item, of which two have no place
    assert len(pool.door.alive()) == 2
    pool.submit(*range(4, 60))
    while pool.door.now < 20.0:
        pool.poll()
    assert len(pool.dispatcher.workers) == 6
    assert len(pool.door.alive()) == 2
    joined = pool.door.now
    pool.door.add_node("b")
    pool.until_answer_from("b")
    assert pool.door.now - joined < START_S + 2.0 + 1.0
    assert len(pool.door.alive()) == 4
    assert set(pool.finish(60).values()) == {"ok"}
    assert [line for line in pool.lines if "node" in line] == ["node b (host-b) has joined, and is used"]


def test_workers_that_have_nothing_to_do_end_but_for_the_least_number() -> None:
    pool = Pool(lambda a: 60.0 if a["a"] == 39 else 1.0, workers=2, most=8, time_limit_s=600)
    pool.submit(*range(40))
    until = 0.0
    while len(pool.results) < 39:
        pool.poll()
        until = pool.door.now
    assert len(pool.door.alive()) == 8
    pool.finish(40)
    assert pool.door.now > until + 20
    assert len(pool.dispatcher.workers) == 2
    ended = [time for time, _ in pool.door.left]
    assert len(ended) == 6
    assert all(until + 9 < time < until + 13 for time in ended)


def test_workers_stay_while_a_searcher_thinks_and_come_back_when_it_asks_again() -> None:
    pool = Pool(lambda a: 1.0, workers=1, most=4)
    pool.submit(*range(8))
    pool.finish(8)
    for _ in range(4):  # seconds in which nothing is asked
        pool.poll()
        pool.door.now += 1.0
    assert len(pool.dispatcher.workers) == 4
    for _ in range(12):
        pool.poll()
        pool.door.now += 1.0
    assert len(pool.dispatcher.workers) == 1
    pool.submit(*range(8, 40))
    pool.results.clear()
    assert set(pool.finish(32).values()) == {"ok"}
    assert len(pool.dispatcher.workers) == 4


def test_no_line_says_that_workers_are_awaited_beyond_the_least_number() -> None:
    pool = Pool(lambda a: 1.0, workers=1, most=6)
    pool.door.places = 1
    pool.submit(*range(100))
    pool.finish(100)
    assert pool.lines == []


def test_the_time_of_workers_that_wait_for_a_node_is_nobody_s() -> None:
    pool = Pool(lambda a: 1.0, workers=1, most=6)
    pool.door.places = 1
    pool.submit(*range(50))
    pool.finish(50)
    assert sum(pool.dispatcher.worker_seconds().values()) == pytest.approx(pool.door.now, rel=0.01)
    pool.door.add_node("b")
    joined = pool.door.now
    pool.submit(*range(50, 100))
    pool.results.clear()
    pool.finish(50)
    both = pool.door.now + pool.door.now - joined
    assert sum(pool.dispatcher.worker_seconds().values()) == pytest.approx(both, rel=0.02)


def test_a_lost_node_s_workers_come_back_on_the_next_one_and_cost_no_result() -> None:
    pool = Pool(lambda a: 1.0, workers=1, most=4, nodes="ab")
    pool.door.places = 2
    pool.submit(*range(100))
    pool.until_sent(20)
    pool.door.lose_node("b")
    pool.until_sent(60)
    assert len(pool.door.alive()) == 2
    pool.door.add_node("c")
    assert set(pool.finish(100).values()) == {"ok"}
    assert len(pool.door.alive()) >= 3


def test_a_node_that_kills_what_it_computes_is_avoided_and_named_and_nothing_is_blamed_for_it() -> None:
    pool = Pool(lambda a: 0.2, workers=4, nodes="ab")
    pool.door.places = 2
    pool.door.is_killing = lambda node: node == "b"
    pool.submit(*range(400))
    assert set(pool.finish(400).values()) == {"ok"}
    avoided = [line for line in pool.lines if "not used any more" in line]
    assert len(avoided) == 1
    assert avoided[0].startswith("node b (host-b) is not used any more")
    assert len([1 for worker, _ in pool.door.sent if pool.door.processes[worker].node == "b"]) == 0
    pool.door.add_node("c")
    pool.submit(*range(400, 440))
    pool.results.clear()
    assert set(pool.finish(40).values()) == {"ok"}
    assert "c" in {process.node for process in pool.door.processes.values()}  # workers of b go on there


@pytest.mark.parametrize("nodes", ["a", "ab"])
def test_architectures_that_kill_their_workers_have_no_node_avoided(nodes: str) -> None:
    pool = Pool(lambda a: "kill" if a["a"] % 3 == 0 else 0.2, workers=4, nodes=nodes)
    pool.door.places = 4
    pool.submit(*range(60))
    assert pool.finish(60) == {a: "crashed" if a % 3 == 0 else "ok" for a in range(60)}
    assert not [line for line in pool.lines if "not used any more" in line]


def test_items_over_the_time_limit_have_no_node_avoided() -> None:
    pool = Pool(lambda a: "hang" if a["a"] >= 40 else 0.2, workers=2, nodes="ab")
    pool.door.places = 1
    pool.submit(*range(60))
    assert pool.finish(60) == {a: "timeout" if a >= 40 else "ok" for a in range(60)}
    assert not [line for line in pool.lines if "not used any more" in line]


def test_a_node_is_broken_only_where_its_losses_are_no_chance() -> None:
    def losses_until_broken(computed: int, lost: int) -> int | None:
        watch = NodeWatch()
        for _ in range(computed):
            watch.computed("other")
        for _ in range(lost):
            watch.is_broken("other")
        return next((number for number in range(1, 100) if watch.is_broken("node")), None)

    assert losses_until_broken(0, 0) is None
    assert losses_until_broken(0, 30) is None  # nobody computes anything
    assert losses_until_broken(1000, 0) == 5
    assert losses_until_broken(8, 0) == 7  # 0.1 ** 7 is the first below 1e-6 with room for rounding
    assert losses_until_broken(49, 49) == 20  # 0.5 ** 20
    watch = NodeWatch()
    for _ in range(100):
        watch.computed("other")
        assert not any(watch.is_broken("node") for _ in range(4))
        watch.computed("node")


def test_a_faster_kind_of_device_gets_more_of_the_work_where_kinds_are_mixed() -> None:
    kinds = {"a": "slow", "b": "fast"}
    pool = Pool(lambda a: 1.0, workers=2, nodes="ab", device_types=kinds, device_type=MIXED_DEVICES, window=256)
    pool.door.places = 1
    pool.door.seconds_on |= {"a": 0.08, "b": 0.01}
    submitted = 0
    while len(pool.results) < 4000:
        while submitted < min(4000, len(pool.results) + 256):
            pool.submit(submitted)
            submitted += 1
        pool.poll()
    scored = {worker: sum(len(items) for one, items in pool.door.sent if one == worker) for worker in (0, 1)}
    ideal = 4000 / (1 / 0.08 + 1 / 0.01)
    assert scored[1] / scored[0] == pytest.approx(8, rel=0.25)
    assert pool.door.now - START_S < 1.1 * ideal


def test_kinds_that_are_equally_fast_share_as_one_kind_does() -> None:
    def chunks(kinds: dict[str, str]) -> list[list[int]]:
        pool = Pool(lambda a: 0.01, workers=2, nodes="ab", device_types=kinds, device_type=MIXED_DEVICES)
        pool.door.places = 1
        pool.submit(*range(64))
        pool.finish(64)
        return [items for _, items in pool.door.sent]

    assert chunks({}) == chunks({"a": "one", "b": "other"})


def test_a_line_says_what_is_awaited_and_counts_from_the_loss() -> None:
    pool = Pool(lambda a: 1.0, workers=2, most=5, nodes="a")
    pool.door.places = 2
    pool.submit(*range(100))
    pool.until_sent(20)
    assert pool.dispatcher.waiting() is None
    pool.door.lose_node("a")
    lost = pool.door.now
    noticed = lost + NODE_NOTICED_S
    while not pool.lines or "waiting" not in pool.lines[-1]:
        pool.poll()
    said = pool.door.now
    assert noticed + 10 <= said <= noticed + 13
    seconds = float(re.fullmatch(r"waiting for 2 of 2 workers, 0 placed; (.+) s so far", pool.lines[-1])[1])
    assert seconds == pytest.approx(said - noticed, abs=1.0)
    while pool.door.now < noticed + 75:
        pool.poll()
    assert len([line for line in pool.lines if line.startswith("waiting for 2 of 2")]) == 3  # every half minute
    waiting = pool.dispatcher.waiting()
    assert waiting is not None
    assert (waiting.workers, waiting.of, waiting.why) == (2, 2, "waiting for 2 of 2 workers, 0 placed")
    assert waiting.seconds == pytest.approx(75, abs=2)
    pool.door.add_node("b")
    assert set(pool.finish(100).values()) == {"ok"}
    assert pool.dispatcher.waiting() is None


def test_a_worker_that_does_not_come_back_does_not_keep_what_it_had_though_it_is_said_to_be_lost_again() -> None:
    pool = Pool(lambda a: 1.0, workers=2, nodes="ab")
    pool.door.places = 1
    pool.submit(*range(12))
    worker = pool.until_sent(5)
    pool.door.places = 0  # another job takes the place
    pool.door.lose(worker)
    assert set(pool.finish(12, within_s=60).values()) == {"ok"}


def test_what_each_node_does_and_has_done_is_told_also_of_those_that_have_left() -> None:
    pool = Pool(lambda a: 1.0, workers=3, nodes="ab")
    pool.door.places = 2
    pool.submit(*range(60))
    pool.until_sent(20)
    told = pool.dispatcher.nodes()
    assert [(use.node, use.host, use.device_type, use.workers, use.busy) for use in told] == [
        ("a", "host-a", "AVX2", 2, 2), ("b", "host-b", "AVX2", 1, 1)
    ]  # fmt: skip
    before = {use.node: use.evaluated for use in told}
    assert sum(before.values()) == len(pool.results)
    pool.door.lose_node("b")
    pool.finish(60)
    told = pool.dispatcher.nodes()
    assert [use.workers for use in told] == [2, 0]
    assert sum(use.evaluated for use in told) == 60
    assert told[1].evaluated <= before["b"] + 2


@pytest.mark.parametrize("harm", ["kill", "hog"])
def test_what_a_worker_had_whose_place_is_taken_by_one_that_waited_is_scored_again_soon(harm: str) -> None:
    pool = Pool(lambda a: harm if a["a"] == 30 else 1.0, workers=1, most=6, nodes="ab")
    pool.door.places = 2
    pool.door.gives_places_away = True
    pool.submit(*range(60))
    worker = pool.until_sent(20)
    (first, *_) = next(one for one in pool.dispatcher.workers if one.id == worker).chunks.values()
    lost = int(first.items[0].job.architecture["a"])
    pool.door.lose(worker)
    at = pool.door.now
    pool.until(lambda: len(sendings(pool, lost)) == 2)
    assert pool.door.now - at < START_S + 1.0 + 1.0  # until the other one is ready, and has done what it was given
    status = {"kill": "crashed", "hog": "out_of_memory"}[harm]
    assert pool.finish(60) == {a: status if a == 30 else "ok" for a in range(60)}
