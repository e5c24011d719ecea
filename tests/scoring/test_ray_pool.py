"""What must hold on real Ray actors: equal results whatever the workers, and whatever happens to them.

One file, since its tests share a start of Ray.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray
import torch
from toy_scores import HARMS, NOTHING, SLOPE, TOY, toy, toy_space, value

import raynas
from raynas import Architecture, Choice
from raynas.cluster.joining import connect
from raynas.cluster.options import PoolSize
from raynas.errors import PoolError
from raynas.proxies.probe import Probe, Proxy
from raynas.scoring.evaluator import EvaluationTask
from raynas.scoring.pool import WORKER_WORK, Job
from raynas.scoring.ray_door import Sending
from raynas.scoring.ray_pool import RayPool
from raynas.scoring.states import Chunk, ItemState, WorkerState
from raynas.searching.run import SearchListener
from raynas.storage.result_store import TIMING_COLUMNS


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    disconnect = connect(None, min_cpus=2)
    yield
    disconnect()


class Lines(SearchListener):
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def content(run: raynas.Run) -> pa.Table:
    """The evaluations without their times, in an order that does not depend on that of writing."""
    rows = run.evaluations.drop_columns(list(TIMING_COLUMNS)).to_pylist()
    return pa.Table.from_pylist(sorted(rows, key=lambda row: (row["architecture_key"], row["proxy"])))


def toy_search(folder: Path, **settings: Any) -> raynas.Run:
    chosen = {"searcher": "regularized_evolution", "budget": 150, "window": 16, "workers": 2, **settings}
    return raynas.search(toy_space(), proxies=[TOY, SLOPE], objectives=["toy"], out=folder, **chosen)


def statuses(run: raynas.Run, proxy: str = "toy") -> dict[str, str]:
    rows = run.evaluations.filter(pc.equal(run.evaluations["proxy"], proxy)).to_pylist()
    assert len(rows) == len({row["architecture_key"] for row in rows})
    return {row["architecture_key"]: row["status"] for row in rows}


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    expected = content(toy_search(tmp_path / "serial", workers=0))
    assert expected.num_rows > 300
    for workers in (1, 2):
        assert content(toy_search(tmp_path / str(workers), workers=workers)).equals(expected)


@pytest.mark.long
def test_scores_of_networks_are_bitwise_equal_in_process_and_on_workers(tmp_path: Path) -> None:
    tables = [
        content(
            raynas.search(
                "as-vit",
                objectives=["length_distortion", "ntk_condition"],
                proxies=["snip", "dss", "naswot", "zico", "epe_nas", "az_nas", "tvt"],
                teacher="random:resnet8",
                settings={"length_distortion": {"repeats": 2}, "az_nas": {"batch_size": 4}},
                data="digits",
                img_size=32,
                budget=8,
                window=4,
                workers=workers,
                out=tmp_path / str(workers),
            )
        )
        for workers in (0, 1, 2)
    ]
    assert tables[0]["status"].to_pylist() == ["ok"] * (14 * 8)
    assert tables[1].equals(tables[0])
    assert tables[2].equals(tables[0])


@pytest.mark.slow
def test_a_window_too_small_for_the_workers_is_pointed_out(tmp_path: Path) -> None:
    lines = Lines()
    toy_search(tmp_path / "run", window=3, budget=10, listener=lines)
    said = [line for line in lines.lines if "waiting for" not in line]  # on a busy machine actors start late
    assert said == [
        "the window of 3 is under twice the 2 workers: some will wait for others",
        "up to 3 candidates at a time: as asked for",
        "regularized_evolution draws its first 100 candidates at random, and the budget is 10: this is a random search",
    ]


def test_uv_does_not_make_ray_build_environments() -> None:
    assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"


@pytest.mark.slow
@pytest.mark.parametrize(("budget", "kills"), [(150, 2), pytest.param(1500, 20, marks=pytest.mark.long)])
def test_a_killed_actor_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int, kills: int
) -> None:
    size = {"budget": budget, "window": 64}
    expected = content(toy_search(tmp_path / "serial", workers=0, **size))
    lost: list[int] = []
    become = Chunk.become

    def noted(chunk: Chunk, state: ItemState) -> None:
        if state is ItemState.LOST:
            lost.append(len(chunk.items))
        become(chunk, state)

    monkeypatch.setattr(Chunk, "become", noted)
    log = tmp_path / "log"
    log.touch()
    stop = threading.Event()
    killed: list[int] = []

    def kill_now_and_then() -> None:
        rng = random.Random(0)
        while not stop.wait(rng.uniform(0.2, 1.0)) and len(killed) < kills:
            lines = log.read_text().split("\n")[:-1]
            pid = int(lines[-1].split()[1]) if lines else 0
            if pid and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        run = toy_search(tmp_path / "killed", settings={"toy": {"pause_s": 0.03, "log": str(log)}}, **size)
    finally:
        stop.set()
        killer.join()
    assert len(killed) >= kills / 2
    assert max(lost) > 1  # in the middle of a chunk
    # The settings are part of the key, so they are all that differs.
    same = content(run).drop_columns(["settings"])
    assert same.equals(expected.drop_columns(["settings"]))


@pytest.mark.long
def test_harmful_architectures_carry_their_status_and_no_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = toy_space(a=Choice(*range(100)), b=Choice(1, 2), harm=Choice("none", *HARMS))
    harmful = {7: "kill", 18: "raise", 29: "hang", 40: "nan", 51: "hog", 62: "exit", 73: "deaf", 77: "device"}
    architectures = [{"a": a, "b": 1, "harm": harmful.get(a, "none")} for a in range(80)]
    lines = Lines()
    run = raynas.score(
        space,
        architectures,
        proxies=[TOY],
        workers=2,
        time_limit_s=10,  # on a busy machine, taking two gibibytes takes a while
        worker_memory_gib=2,
        window=32,
        out=tmp_path / "run",
        listener=lines,
    )
    expected = {
        "none": "ok",
        "raise": "failed",
        "exit": "failed",
        "nan": "non_finite",
        "hang": "timeout",
        "deaf": "timeout",
        "kill": "crashed",
        "hog": "out_of_memory",
        "device": "crashed",
    }
    wanted = {Architecture(a).key: expected[a["harm"]] for a in architectures}
    assert statuses(run) == wanted
    for row in run.evaluations.to_pylist():
        if row["proxy"] == "toy":
            architecture = Architecture.from_json(row["architecture"])
            assert row["value"] == (value(architecture) if row["status"] == "ok" else None)
            assert (row["error"] is None) == (row["status"] == "ok")
    assert run.summary["failed"] == len(harmful)
    assert any("lost" in line for line in lines.lines)
    out, err = capfd.readouterr()
    assert "worker died" not in out + err  # Ray's paragraphs on it: the lines above say it


class Unpicklable(Exception):
    """An error that does not survive travelling."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("cannot travel")


def scores_oddly(probe: Probe) -> float:
    if probe.architecture["a"] == 3:
        raise Unpicklable(1, 2)
    return float(probe.architecture["a"])


def test_errors_of_any_kind_stay_with_their_architecture(tmp_path: Path) -> None:
    architectures = [{"a": a, "b": 1, "harm": "none"} for a in range(8)]
    run = raynas.score(
        toy_space(), architectures, proxies=[Proxy("odd", scores_oddly)], workers=2, out=tmp_path / "run"
    )
    found = {Architecture(a).key: "failed" if a["a"] == 3 else "ok" for a in architectures}
    assert statuses(run, "odd") == found


@pytest.fixture
def ray_with_a_gpu_by_name() -> Iterator[None]:
    """A cluster that offers a GPU which is not there."""
    ray.shutdown()
    ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()
    connect(None, min_cpus=2)


@pytest.mark.slow
def test_workers_share_one_gpu_by_fractions(ray_with_a_gpu_by_name: None) -> None:
    task = EvaluationTask(toy_space().model, {"img_size": 8, "num_classes": 10}, (NOTHING,))
    pool = RayPool(task, size=PoolSize(4, 4), gpus_per_worker=0.25)
    try:
        jobs = [Job(Architecture({"a": a}), (0,), 1) for a in range(40)]
        for job in jobs:
            pool.submit(job)
        results: list[Any] = []
        deadline = time.monotonic() + 60
        while len(results) < 40 or any(worker.pid is None for worker in pool.workers):
            results += pool.poll(1.0)
            assert time.monotonic() < deadline
        assert [result.outcomes[0].status for result in results] == ["ok"] * 40
        assert len({worker.pid for worker in pool.workers}) == 4
        assert ray.available_resources().get("GPU", 0.0) == 0.0
    finally:
        pool.close()


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU is there")
def test_a_device_that_is_not_there_is_no_fault_of_the_candidates(tmp_path: Path, ray_with_a_gpu_by_name: None) -> None:
    with pytest.raises(PoolError, match=r"a worker cannot be started: .*NVIDIA"):
        toy_search(tmp_path / "run", gpus_per_worker=1, workers=1)
    assert len(raynas.load_run(tmp_path / "run").evaluations.filter(pc.field("proxy") == "toy")) == 0


@pytest.mark.slow
def test_too_little_memory_for_a_worker_is_said_once(tmp_path: Path) -> None:
    heard = Lines()
    with pytest.raises(
        PoolError, match=r"its limit of 102 MiB leaves too little: .* worker_memory_gib, 0\.\d+ at least"
    ):
        toy_search(tmp_path / "run", worker_memory_gib=0.1, listener=heard)
    assert not [line for line in heard.lines if "too little" in line]


@contextmanager
def pool_of(workers: int, proxy: Proxy) -> Iterator[RayPool]:
    """A pool whose actors are ready."""
    task = EvaluationTask(toy_space().model, {"img_size": 8, "num_classes": 10}, (proxy,))
    pool = RayPool(task, size=PoolSize(workers, workers))
    try:
        deadline = time.monotonic() + 60
        while any(worker.state is WorkerState.STARTING for worker in pool.workers):
            pool.poll(1.0)
            assert time.monotonic() < deadline
        yield pool
    finally:
        pool.close()


def scored_by(pool: RayPool, architectures: list[Architecture]) -> dict[str, float]:
    """What workers' time went to while these were scored."""
    before = pool.worker_seconds()
    for architecture in architectures:
        pool.submit(Job(architecture, (0,), 1))
    results: list[Any] = []
    deadline = time.monotonic() + 60
    while len(results) < len(architectures):
        results += pool.poll(1.0)
        assert time.monotonic() < deadline
    assert [result.outcomes[0].status for result in results] == ["ok"] * len(architectures)
    return {part: seconds - before[part] for part, seconds in pool.worker_seconds().items()}


@pytest.mark.slow
def test_a_slow_way_to_a_worker_is_transfer_and_a_queue_on_it_is_not() -> None:
    class Slow(Architecture):
        """Takes a while to unpack, as a large one would."""

        def __reduce__(self) -> Any:
            def unpacked(fields: dict[str, Any]) -> Architecture:
                time.sleep(0.5)
                return Architecture(fields)

            return unpacked, (dict(self),)

    fields = [{"a": a, "b": 1, "harm": "none"} for a in range(6)]
    with pool_of(1, Proxy("toy", toy, settings={"pause_s": 0.5})) as pool:
        at_once = scored_by(pool, [Architecture(each) for each in fields])  # two chunks in flight, one behind the other
        slowly = scored_by(pool, [Slow(each) for each in fields])
    assert min(at_once["scoring"], slowly["scoring"]) >= 3.0
    assert at_once["transfers"] < 1.5  # each but the first was half a second behind another
    assert 3.0 <= slowly["transfers"] < 4.5
    assert max(at_once["waiting"], slowly["waiting"]) < 1.0


@pytest.mark.slow
def test_an_answer_that_the_driver_does_not_look_at_is_waiting_and_not_transfer() -> None:
    with pool_of(1, NOTHING) as pool:
        architecture = Architecture({"a": 1})
        scored_by(pool, [architecture])
        before = pool.worker_seconds()
        pool.submit(Job(architecture, (0,), 1))
        pool.poll(0.0)  # sends it
        time.sleep(2.0)  # the searcher thinks
        assert len(pool.poll(10.0)) == 1
        spent = {part: seconds - before[part] for part, seconds in pool.worker_seconds().items()}
    assert spent["waiting"] > 1.5
    assert spent["transfers"] < 0.5


def ends_its_first_worker(probe: Probe, marker: str) -> float:
    time.sleep(0.02)
    if probe.architecture["a"] == 7 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def test_a_late_answer_to_an_earlier_sending_is_not_taken_for_that_of_the_next() -> None:
    """The worker that was sent a chunk is lost, and the same chunk is sent again."""
    first, second = Sending(worker=0, chunk=1), Sending(worker=0, chunk=1)
    answers: list[Future[Any]] = [Future(), Future()]
    for sending, answer in zip((first, second), answers, strict=True):
        answer.add_done_callback(sending.on_arrival)
    answers[0].set_exception(RuntimeError("the worker is lost"))
    assert second.content is None
    answers[1].set_result((0.0, []))
    assert second.content is answers[1]
    assert first.arrived <= second.arrived


@pytest.mark.slow
def test_the_parts_of_the_workers_time_add_up_though_one_is_lost(tmp_path: Path) -> None:
    """To workers times seconds, from when they were asked for, which is a little before the run's own clock starts."""
    proxy = Proxy("ends", ends_its_first_worker, settings={"marker": str(tmp_path / "marker")})
    started = time.monotonic()
    run = raynas.search(
        toy_space(a=Choice(*range(40)), b=Choice(1)), proxies=[proxy], objectives=["ends"], searcher="random",
        budget=40, workers=2, out=tmp_path / "run",
    )  # fmt: skip
    elapsed = time.monotonic() - started
    assert (tmp_path / "marker").exists()
    spent = run.summary["worker_seconds"]
    assert spent.keys() == WORKER_WORK.keys()
    assert min(spent.values()) > 0
    assert 2 * run.summary["seconds"] <= sum(spent.values()) <= 2 * elapsed
    rows = sum(row["seconds"] for row in run.evaluations.to_pylist())
    assert rows <= spent["scoring"] < rows + 1.0


def pages_cleared(probe: Probe) -> float:
    """How often the system had to give a page to a tensor of 64 MiB, when one as large was freed before."""
    torch.ones(2**24)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries manage memory in their own way")
def test_workers_keep_memory_that_was_freed(tmp_path: Path) -> None:
    run = raynas.search(
        toy_space(), proxies=[Proxy("pages", pages_cleared)], objectives=["pages"], budget=4, searcher="random",
        workers=1, out=tmp_path / "run",
    )  # fmt: skip
    pages = 2**26 / resource.getpagesize()  # as many as glibc asks for anew when left to itself
    assert min(row["value"] for row in run.evaluations.to_pylist() if row["proxy"] == "pages") < 0.1 * pages


@pytest.mark.slow
def test_a_run_that_cannot_start_says_why_it_waits(tmp_path: Path) -> None:
    lines = Lines()

    def add_the_gpu_later() -> None:
        deadline = time.monotonic() + 60
        while not any(line.startswith("waiting") for line in lines.lines) and time.monotonic() < deadline:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=add_the_gpu_later)
    watcher.start()
    with pytest.raises(raynas.RaynasError, match="interrupted by SIGINT"):
        raynas.search(
            toy_space(), proxies=[NOTHING], objectives=["nothing"], budget=4, searcher="random", workers=1,
            gpus_per_worker=1, out=tmp_path / "run", listener=lines,
        )  # fmt: skip
    watcher.join()
    line = next(line for line in lines.lines if line.startswith("waiting"))
    assert line.startswith("waiting for 1 of 1 workers with 1 CPU and 1 GPU each; 1 without a place; the cluster has 1")
    assert "0 GPU" in line
