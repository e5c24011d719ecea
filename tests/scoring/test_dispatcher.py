"""Who retries what, on simulated workers and a fake clock: every row of the table of retries, so in one file."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from simulated_pool import Pool, sendings
from simulated_workers import NOTICED_S

from raynas import Architecture
from raynas.errors import PoolError
from raynas.scoring.backlog import Backlog
from raynas.scoring.pool import Job
from raynas.scoring.states import ITEM_STATES, WORKER_STATES, Chunk, Item, ItemState, PoolWorker, WorkerState
from raynas.space.results import MIXED_DEVICES, Outcome


@pytest.mark.parametrize("status", ["failed", "non_finite", "out_of_memory", "not_applicable"])
def test_what_the_evaluator_tells_is_not_tried_again(status: str) -> None:
    pool = Pool(lambda a: Outcome(None, status, "why") if a["a"] == 5 else 0.01)
    pool.submit(*range(40))
    assert pool.finish(40) == {a: status if a == 5 else "ok" for a in range(40)}
    assert len(sendings(pool, 5)) == 1
    assert len(pool.door.starts) == 2


@pytest.mark.parametrize("is_delayed", [lambda chunk: chunk % 2 == 0, lambda chunk: chunk % 3 < 2])
def test_answers_of_a_worker_may_come_in_another_order(is_delayed: Callable[[int], bool]) -> None:
    """An error's answer takes another way than a value's, and may come after that of the chunk behind it."""
    pool = Pool(lambda one: "break" if one["a"] % 10 == 7 else 0.2)
    pool.door.delay = lambda chunk: 0.9 * is_delayed(chunk)
    pool.submit(*range(60))
    found = pool.finish(60)
    assert found == {number: "failed" if number % 10 == 7 else "ok" for number in range(60)}


def test_an_error_that_breaks_a_chunk_stays_with_its_item() -> None:
    pool = Pool(lambda a: "break" if a["a"] == 21 else 0.01)
    pool.submit(*range(40))
    assert pool.finish(40) == {a: "failed" if a == 21 else "ok" for a in range(40)}
    together, alone = sendings(pool, 21)
    assert len(together) > 1
    assert alone == [21]
    assert len(pool.door.starts) == 2  # no worker was lost


def test_a_lost_worker_s_chunk_is_bisected_until_the_guilty_item_was_lost_three_times_alone() -> None:
    pool = Pool(lambda a: "kill" if a["a"] == 30 else 0.01)
    pool.submit(*range(64))
    assert pool.finish(64) == {a: "crashed" if a == 30 else "ok" for a in range(64)}
    first, *suspected = sendings(pool, 30)
    assert len(first) > 2
    expected, numbers = [], first
    while len(numbers) > 1:
        middle = len(numbers) // 2
        numbers = numbers[:middle] if 30 in numbers[:middle] else numbers[middle:]
        expected.append(numbers)
    assert suspected == [*expected, [30], [30]]
    # A suspect has its worker to itself, so that blame is exact.
    at = [i for i, (_, numbers) in enumerate(pool.door.sent) if numbers in suspected and 30 in numbers]
    assert [pool.door.beside[i] for i in at] == [0] * len(at)
    sent = list(zip(pool.door.sent, pool.door.beside, strict=True))
    for i, following in zip(at, [*at[1:], len(sent)], strict=True):
        (worker, _), _ = sent[i]
        assert not any(other == worker and beside for (other, _), beside in sent[i + 1 : following])
    (result,) = [result for result in pool.results if result.job.architecture["a"] == 30]
    assert "lost 3 times with this alone" in (result.outcomes[0].error or "")
    said = [re.sub(r"worker process \d+ is lost; ", "", line) for line in pool.lines if "waiting for" not in line]
    halves = [f"scored again: {len(numbers)} candidates" for numbers in (first, *expected) if len(numbers) > 1]
    assert said == [*halves, *['scored again: {"a":30}'] * 2, 'given up: {"a":30}']


def test_what_outgrows_its_worker_alone_is_out_of_memory_with_the_bytes_and_its_neighbours_are_not() -> None:
    pool = Pool(lambda a: "hog" if a["a"] == 30 else 0.01)
    pool.submit(*range(64))
    assert pool.finish(64) == {a: "out_of_memory" if a == 30 else "ok" for a in range(64)}
    first, *_, last = sendings(pool, 30)
    assert len(first) > 2
    assert last == [30] and sendings(pool, 30).count([30]) == 1  # once alone is enough
    (result,) = [result for result in pool.results if result.job.architecture["a"] == 30]
    assert "2.79 GiB of memory, of which it may have 1.86 GiB" in (result.outcomes[0].error or "")


def test_an_item_that_is_lost_twice_alone_is_innocent() -> None:
    pool = Pool(lambda a: 2.0, workers=1)
    pool.submit(1)
    for _ in range(3):  # the first time it is not yet a suspect
        worker = pool.until_sent(1)
        pool.door.lose(worker)
        while pool.dispatcher.workers[0].state is not WorkerState.LOST:
            pool.poll()
        while pool.dispatcher.workers[0].state is WorkerState.LOST:
            pool.poll()
    assert pool.finish(1) == {1: "ok"}


def test_over_the_deadline_the_worker_is_killed_and_the_item_tried_once_more_alone() -> None:
    pool = Pool(lambda a: "hang" if a["a"] == 9 else 0.05)
    pool.submit(*range(40))
    assert pool.finish(40) == {a: "timeout" if a == 9 else "ok" for a in range(40)}
    assert len(pool.door.kills) == 2
    together, alone = sendings(pool, 9)
    assert len(together) > 1
    assert alone == [9]
    said = 'a candidate is over the time limit of 6 s; it is tried once more, alone: {"a":9}'
    assert pool.lines.count(said) == 1
    (result,) = [result for result in pool.results if result.job.architecture["a"] == 9]
    assert result.outcomes[0].error == "over the time limit of 6 s, 2 times"


def test_the_clock_of_the_deadline_starts_with_the_item_on_its_worker() -> None:
    costs = [0.001] * 40 + [5.0] * 24  # chunks become large, and then each item takes nearly the limit
    pool = Pool(lambda a: costs[a["a"]], workers=1)
    pool.submit(*range(40))
    pool.finish(40)
    pool.submit(*range(40, 64))
    assert set(pool.finish(64).values()) == {"ok"}
    assert pool.door.kills == []
    assert max(len(numbers) * costs[numbers[-1]] for _, numbers in pool.door.sent) > 6.0 * 5


def test_a_slow_item_is_killed_by_its_own_time_and_not_by_that_of_its_chunk() -> None:
    costs = [0.001] * 40 + [4.0, 4.0, 4.0, 7.0, 4.0, 4.0, 4.0, 4.0]
    pool = Pool(lambda a: costs[a["a"]], workers=1)
    pool.submit(*range(40))
    pool.finish(40)
    pool.submit(*range(40, 48))
    assert pool.finish(48) == {a: "timeout" if a == 43 else "ok" for a in range(48)}


@pytest.mark.parametrize("lost", [[True], [True, False], [False, True, True]])
def test_answers_that_are_lost_on_their_way_make_no_worker_late(lost: list[bool]) -> None:
    costs = [0.001] * 40 + [4.0] * 12
    answers = itertools.cycle(lost)
    pool = Pool(lambda a: costs[a["a"]], workers=1)
    pool.door.is_answer_lost = lambda: next(answers)
    pool.submit(*range(40))
    pool.finish(40)
    pool.submit(*range(40, 52))
    assert set(pool.finish(52).values()) == {"ok"}
    assert pool.door.kills == []


def test_a_question_that_is_still_open_when_its_chunk_is_back_counts_no_more() -> None:
    """The answer to a question about one item is late; the next items are asked for by themselves."""
    pool = Pool(lambda a: 5.0, workers=1, window=4)
    pool.door.ask = lambda worker: None  # type: ignore[method-assign]  # every answer is late
    pool.submit(*range(4))
    assert set(pool.finish(4).values()) == {"ok"}
    assert pool.door.kills == []


def test_a_worker_that_cannot_answer_is_killed_later_and_its_items_run_alone() -> None:
    pool = Pool(lambda a: "deaf" if a["a"] == 33 else 0.05)
    pool.submit(*range(40))
    assert pool.finish(40) == {a: "timeout" if a == 33 else "ok" for a in range(40)}
    together, *alone = sendings(pool, 33)
    assert len(together) > 1
    assert alone == [[33]] * 2
    for number in together:
        assert sendings(pool, number)[1] == [number]


def test_a_late_chunk_that_ends_as_its_worker_is_killed_leaves_the_next_one_without_blame() -> None:
    costs = {1: 8.0, 2: 1.0}
    pool = Pool(lambda a: costs[a["a"]], workers=1)
    pool.submit(1, 2)
    pool.until_sent(2)

    def kill(worker: int) -> None:
        """The kill takes so long that the late one comes back first, and the next one has begun."""
        pool.door.kills.append((pool.door.now, worker))
        pool.door.now += 2.0
        pool.results += [r for event in pool.door.receive(0.0) for r in pool.dispatcher._take(event)]
        pool.door.lose(worker)

    pool.door.kill = kill  # type: ignore[method-assign]
    assert pool.finish(2) == {1: "ok", 2: "ok"}
    assert len(pool.door.kills) == 1
    assert not any("tried once more" in line for line in pool.lines)


def test_a_lost_node_blames_no_candidate_however_often() -> None:
    pool = Pool(lambda a: 20.0, workers=1, time_limit_s=100.0)
    pool.door.nodes += ["b", "c", "d", "e"]
    pool.submit(1)
    for _ in range(4):
        pool.until_sent(1)
        pool.door.lose_node(pool.dispatcher.workers[0].node or "")
        while pool.dispatcher.workers[0].is_ready:
            pool.poll()
    assert pool.finish(1) == {1: "ok"}
    told = [f"node {node} (host-{node}) is lost; what its workers had is scored elsewhere" for node in "abcd"]
    assert [line for line in pool.lines if "is lost" in line] == told
    assert not any("process" in line for line in pool.lines)


def test_what_a_lost_node_had_is_done_by_others_before_it_is_replaced() -> None:
    pool = Pool(lambda a: 1.0)
    pool.door.nodes = ["a", "b"]
    pool.door.processes[1].node = "b"
    pool.submit(*range(12))
    while len(pool.results) < 2:
        pool.poll()
    pool.door.is_slow_to_return.add(1)
    pool.door.lose_node("b")
    lost_at = pool.door.now
    assert set(pool.finish(12).values()) == {"ok"}
    assert pool.door.now - lost_at < 30


def test_what_a_lost_worker_had_is_scored_again_before_anybody_is_blamed() -> None:
    """Only the line that says why waits, as whether its node is lost, too, is known later."""
    pool = Pool(lambda a: 30.0 if a["a"] == 2 else 5.0, time_limit_s=100.0)
    pool.submit(3, 1)
    worker, lost_at = pool.until_sent(1), pool.door.now
    pool.door.is_slow_to_return.add(worker)
    pool.door.lose(worker)
    while len(sendings(pool, 1)) < 2:
        pool.poll()
    assert pool.door.now - lost_at <= 5.0 + NOTICED_S  # the other worker had something to do
    assert not any("lost" in line for line in pool.lines)
    assert pool.finish(2) == {1: "ok", 3: "ok"}
    pool.submit(2)
    pool.finish(3)
    assert [line for line in pool.lines if "lost" in line] == [
        f'worker process {101 + worker} is lost; scored again: {{"a":1}}'
    ]


def test_a_lost_worker_is_named_also_where_all_is_scored_before_it_is_back() -> None:
    pool = Pool(lambda a: 1.0)
    pool.submit(1, 2)
    worker = pool.until_sent(1)
    pool.door.is_slow_to_return.add(worker)
    pool.door.lose(worker)
    assert pool.finish(2) == {1: "ok", 2: "ok"}
    assert not any("lost" in line for line in pool.lines)
    pool.dispatcher.close()
    assert [line for line in pool.lines if "lost" in line] == [
        f'worker process {101 + worker} is lost; scored again: {{"a":1}}'
    ]


def test_blame_waits_for_the_process_or_fifteen_seconds() -> None:
    """For what was alone with a worker that was lost: a third loss makes it crashed, that of a node does not."""
    pool = Pool(lambda a: "kill" if a["a"] == 1 else 0.5, time_limit_s=100.0)
    pool.submit(1)
    pool.until_sent(1)
    pool.door.is_slow_to_return.update((0, 1))
    while pool.dispatcher.items()[ItemState.LOST] == 0:
        pool.poll()
    began = pool.door.now
    while pool.dispatcher.items()[ItemState.LOST]:
        pool.poll()
    assert 15.0 < pool.door.now - began < 17.0


def test_a_worker_lost_while_idle_costs_no_item_anything() -> None:
    pool = Pool(lambda a: 0.5, workers=1)
    pool.submit(1)
    pool.finish(1)
    pool.door.lose(0)  # nothing tells
    pool.submit(2, 3, 4)
    pool.finish(4)
    assert not any("lost" in line for line in pool.lines)
    assert len(pool.door.starts) == 2


@pytest.mark.parametrize(
    ("seconds", "window", "workers", "largest"),
    [
        (0.0001, 64, 2, 16),  # window / (2 * workers)
        (0.0001, 64, 8, 4),
        (0.0001, 1024, 2, 256),
        (0.0001, 3, 8, 1),  # at least 1
        (0.1, 1024, 2, 5),  # half a second
        (2.0, 1024, 2, 1),
    ],
)
def test_chunks_adapt_to_the_time_of_an_item_and_are_bounded_by_the_window(
    seconds: float, window: int, workers: int, largest: int
) -> None:
    pool = Pool(lambda a: seconds, workers=workers, window=window)
    pool.submit(*range(3000))
    pool.finish(3000)
    sizes = [len(numbers) for _, numbers in pool.door.sent]
    assert sizes[0] == 1  # while nothing is known of the time
    assert max(sizes) <= largest
    if largest > 1:
        assert Counter(sizes).most_common(1)[0][0] in (largest, largest - 1)


def test_chunks_follow_when_items_become_slower() -> None:
    pool = Pool(lambda a: 0.001 if a["a"] < 2000 else 0.25, workers=2, window=1024)
    pool.submit(*range(3400))
    pool.finish(3400)
    sizes = [(numbers[0], len(numbers)) for _, numbers in pool.door.sent]
    assert max(size for number, size in sizes if number < 2000) > 100
    assert max(size for number, size in sizes if number > 3100) <= 3


@pytest.mark.parametrize(
    ("seconds", "queued", "ready", "is_held"),
    [
        (1.0, 2, 2, True),
        (1.0, 1, 2, True),
        (1.0, 3, 2, False),
        (1.0, 1, 1, False),
        (0.1, 2, 2, False),
        (None, 2, 2, False),
    ],
)
def test_long_candidates_at_the_end_go_to_idle_workers_alone(
    seconds: float | None, queued: int, ready: int, is_held: bool
) -> None:
    def backlog() -> Backlog:
        made = Backlog(window=32, in_flight=2)
        if seconds is not None:
            made.took(seconds, 1)
        for a in range(queued):
            made.submit(Job(Architecture({"a": a}), (0,), 1))
        return made

    assert (backlog().next_chunk(is_first=False, workers=2, ready={"AVX2": ready}) is None) == is_held
    chunk = backlog().next_chunk(is_first=True, workers=2, ready={"AVX2": ready})
    assert chunk is not None
    assert chunk.items[0].job.architecture["a"] == 0


def test_items_are_waiting_sent_running_and_done() -> None:
    pool = Pool(lambda a: 1.0, workers=1)
    (worker,) = pool.dispatcher.workers
    pool.submit(*range(5))
    assert pool.dispatcher.items() == {ItemState.WAITING: 5}
    pool.poll()
    assert worker.state is WorkerState.STARTING
    while not pool.dispatcher.items()[ItemState.RUNNING]:
        pool.poll()
    assert pool.dispatcher.items() == {ItemState.RUNNING: 1, ItemState.SENT: 1, ItemState.WAITING: 3}
    assert worker.state is WorkerState.BUSY
    pool.finish(5)
    assert worker.state is WorkerState.IDLE
    pool.dispatcher.close()
    assert worker.state is WorkerState.ENDED
    assert list(pool.dispatcher.workers) == []


def test_workers_that_join_are_given_work_and_those_that_leave_give_theirs_back() -> None:
    pool = Pool(lambda a: 1.0, workers=1)
    pool.submit(*range(20))
    pool.until_sent(1)
    pool.dispatcher.join()
    while len(pool.results) < 8:
        pool.poll()
    assert {worker for worker, _ in pool.door.sent} == {0, 1}
    pool.dispatcher.leave(0)
    assert [worker.id for worker in pool.dispatcher.workers] == [1]
    sent = len(pool.door.sent)
    assert set(pool.finish(20).values()) == {"ok"}
    assert {worker for worker, _ in pool.door.sent[sent:]} == {1}
    assert not any("lost" in line for line in pool.lines)


def test_more_workers_have_smaller_chunks() -> None:
    pool = Pool(lambda a: 0.0001, workers=1, window=64)
    pool.submit(*range(1000))
    pool.finish(1000)
    assert max(len(numbers) for _, numbers in pool.door.sent) == 32
    for _ in range(3):
        pool.dispatcher.join()
    pool.door.sent.clear()
    pool.submit(*range(1000, 2000))
    pool.finish(2000)
    assert max(len(numbers) for _, numbers in pool.door.sent) == 8


def test_what_workers_wait_for_is_said_after_ten_seconds_and_every_thirty() -> None:
    pool = Pool(lambda a: 1.0)
    pool.door.is_slow_to_return |= {0, 1}
    for _ in range(2):
        pool.dispatcher.join()  # ready at once; the first two have been started before
    pool.submit(1)
    pool.finish(1)
    for worker in pool.dispatcher.workers:
        pool.door.lose(worker.id)
    pool.submit(2)
    while pool.door.now < 60:
        pool.poll()
    said = [line for line in pool.lines if "waiting" in line]
    assert said
    assert all(line.startswith("waiting for ") and "of 4 workers" in line for line in said)


ALIKE = {"a": "AVX2", "b": "AVX512", "c": "AVX2"}


@pytest.mark.parametrize(
    ("asked", "used", "idle"),
    [(None, ["a", "c"], ["b"]), ("AVX512", ["b"], ["a", "c"]), (MIXED_DEVICES, ["a", "b", "c"], [])],
)
def test_what_computes_on_something_else_stays_idle_and_is_named(
    asked: str | None, used: list[str], idle: list[str]
) -> None:
    pool = Pool(lambda _: 0.1, workers=6, nodes="abc", device_types=ALIKE, device_type=asked)
    assert pool.dispatcher.device_type() == asked or "AVX2"
    pool.submit(*range(200))
    assert set(pool.finish(200).values()) == {"ok"}
    assert sorted({str(worker.node) for worker in pool.dispatcher.workers}) == used
    assert {pool.door.processes[worker].node for worker, _ in pool.door.sent} == set(used)
    named = [line for line in pool.lines if "is not used" in line]
    assert len(named) == len(idle)
    for node, line in zip(idle, named, strict=True):
        wanted = asked or "AVX2"
        assert line == f"node {node} (host-{node}) is not used: it computes on {ALIKE[node]}, and this run on {wanted}"


def test_the_first_worker_decides_what_is_computed_on() -> None:
    pool = Pool(lambda _: 0.1, workers=0, nodes="ab", device_types=ALIKE)
    pool.door.is_slow_to_return = {0}
    pool.dispatcher.join()
    pool.dispatcher.join()
    assert pool.dispatcher.device_type() == "AVX512"


def test_nobody_waits_any_more_for_a_device_type_once_it_is_stopped() -> None:
    pool = Pool(lambda _: 0.1)
    assert pool.dispatcher.device_type(lambda: True) is None


def test_a_node_with_another_version_of_the_code_is_not_used_and_named_once() -> None:
    pool = Pool(lambda _: 0.1, workers=4, nodes="ab", unfit="b")
    pool.submit(*range(100))
    assert set(pool.finish(100).values()) == {"ok"}
    assert {pool.door.processes[worker].node for worker, _ in pool.door.sent} == {"a"}
    assert pool.lines == ["node b (host-b) is not used: raynas is 1 there and 2 here"]


@pytest.mark.parametrize("settings", [{"unfit": "ab"}, {"device_type": "MPS"}])
def test_a_pool_none_of_whose_workers_can_be_used_says_why(settings: dict[str, Any]) -> None:
    pool = Pool(lambda _: 0.1, nodes="ab", **settings)
    pool.submit(1)
    with pytest.raises(
        PoolError, match=r"no worker can be used: on host-b, (raynas is 1 there|it computes on AVX2, and .* on MPS)"
    ):
        pool.finish(1)
    assert len(pool.lines) == 1 and pool.lines[0].startswith("node a (host-a) is not used")


def test_a_worker_that_comes_back_on_another_kind_of_device_is_given_nothing_more() -> None:
    pool = Pool(lambda _: 1.0, workers=2, nodes="ab", device_types={"b": "AVX2"})
    pool.door.places = 1
    pool.submit(*range(100))
    pool.until_sent(1)
    pool.door.device_types["b"] = "AVX512"
    pool.door.lose(1)
    assert set(pool.finish(100).values()) == {"ok"}
    assert [worker.node for worker in pool.dispatcher.workers] == ["a"]


def test_the_parts_of_the_workers_time_add_up() -> None:
    pool = Pool(lambda a: "kill" if a["a"] == 7 else "hang" if a["a"] == 23 else 0.3)
    pool.submit(*range(40))
    pool.finish(40)
    for _ in range(10):
        pool.poll()
        pool.door.now += 1.0
    spent = pool.dispatcher.worker_seconds()
    assert sum(spent.values()) == pytest.approx(2 * pool.door.now)
    assert min(spent.values()) >= 0
    assert spent["scoring"] >= 0.3 * 38
    pool.dispatcher.close()
    pool.door.now += 100.0
    assert sum(pool.dispatcher.worker_seconds().values()) == pytest.approx(sum(spent.values()))


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_each_job_comes_back_once_with_what_it_deserves(seed: int) -> None:
    rng = random.Random(seed)
    harms = {a: rng.choice(["kill", "hang", "deaf", "break"]) for a in rng.sample(range(200), 6)}
    costs = [rng.choice([0.001, 0.05, 0.5, 0.5, 4.0]) for _ in range(200)]
    pool = Pool(lambda a: harms.get(a["a"], costs[a["a"]]), workers=rng.randint(1, 4), window=rng.choice([4, 32, 256]))
    pool.door.is_answer_lost = lambda: rng.random() < 0.3
    pool.submit(*range(200))
    spares = iter("bcdefgh")
    disturbances = 0
    while len(pool.results) < 200:
        pool.poll()
        assert pool.door.now < 10_000, pool.dispatcher.items()
        if rng.random() < 0.05 and disturbances < 5:
            disturbances += 1
            what = rng.choice(["node", "join", "leave", "idle"])
            workers = pool.dispatcher.workers
            idle = [worker for worker in workers if worker.state is WorkerState.IDLE]
            if what == "node":
                pool.door.nodes.append(next(spares))
                pool.door.lose_node(pool.door.nodes[0])
            elif what == "join":
                pool.dispatcher.join()
            elif what == "leave" and len(workers) > 1:
                pool.dispatcher.leave(rng.choice(workers).id)
            elif what == "idle" and idle:
                pool.door.lose(idle[0].id)
    wanted = {"kill": "crashed", "hang": "timeout", "deaf": "timeout", "break": "failed"}
    assert pool.statuses() == {a: wanted[harms[a]] if a in harms else "ok" for a in range(200)}
    assert pool.dispatcher.items() == {}


def test_every_state_can_be_reached_and_left() -> None:
    for table, first, last in (
        (ITEM_STATES, ItemState.WAITING, ItemState.DONE),
        (WORKER_STATES, WorkerState.STARTING, WorkerState.ENDED),
    ):
        assert table.keys() == set(type(first))
        reached, new = set(), {first}
        while new:
            reached |= new
            new = {state for found in new for state in table[found]} - reached
        assert reached == set(type(first))
        assert [state for state, following in table.items() if not following] == [last]


def test_a_state_is_not_entered_from_where_it_cannot_follow() -> None:
    done = Chunk(1, [Item(Job(Architecture({"a": 1}), (0,), 1), ItemState.DONE)])
    with pytest.raises(AssertionError, match="an item that is done cannot become running"):
        done.become(ItemState.RUNNING)
    worker = PoolWorker(0, None, math.inf, WorkerState.STARTING)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="a worker that is starting cannot become busy"):
        worker.become(WorkerState.BUSY)


# -- silence -----------------------------------------------------------------------------------------------------------


def silences(pool: Pool) -> list[str]:
    return [line for line in pool.lines if "answer" in line]


def test_a_node_that_does_not_answer_is_said_and_said_again_when_it_does() -> None:
    """Ten seconds, twenty, forty: until Ray gives it up, or as here, it comes back."""
    pool = Pool(lambda a: 50.0, workers=1, time_limit_s=600.0)
    pool.submit(1, 2)
    pool.until_sent(1)
    pool.door.ask = lambda worker: None  # type: ignore[method-assign]  # as behind a link that is cut
    assert pool.finish(2) == {1: "ok", 2: "ok"}
    said = silences(pool)
    # 1 takes 50 seconds, and is sent alone, as nothing is known of what an item takes; 2 takes 50 more.
    assert [re.sub(r":.*", "", line) for line in said] == [
        "node a (host-a) has not answered for 10 s",
        "node a (host-a) has not answered for 20 s",
        "node a (host-a) has not answered for 40 s",
        "node a (host-a) answers again, after 50 s",
    ] * 2
    assert "1 candidate is there, and scored elsewhere once Ray gives the node up" in said[-2]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_long_evaluation_is_no_silence(workers: int) -> None:
    pool = Pool(lambda a: 200.0 + a["a"], workers=workers, time_limit_s=600.0)
    pool.submit(*range(workers))
    assert pool.finish(workers) == dict.fromkeys(range(workers), "ok")
    assert silences(pool) == []


def test_a_node_among_others_that_answer_is_named() -> None:
    pool = Pool(lambda a: "deaf" if a["a"] == 3 else 2.0, nodes=["a", "b"], workers=2, time_limit_s=30.0)
    pool.submit(*range(30))
    found = pool.finish(30)
    assert found == {a: "timeout" if a == 3 else "ok" for a in range(30)}
    on = {worker for worker, numbers in pool.door.sent if 3 in numbers}
    named = {line.split(" ")[1] for line in silences(pool)}
    assert named == {pool.door.processes[worker].node for worker in on}


def test_a_node_that_is_lost_is_not_silent_any_more() -> None:
    pool = Pool(lambda a: 3.0, nodes=["a", "b"], workers=2)
    pool.submit(*range(20))
    pool.until_sent(0)
    pool.door.lose_node("a")
    assert pool.finish(20) == dict.fromkeys(range(20), "ok")
    assert len(silences(pool)) <= 1  # it is noticed after ten seconds
    assert not any("again" in line for line in silences(pool))
