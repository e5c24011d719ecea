"""How many architectures per second does every proxy score, on actors that share a device and in a plain loop?

    python benchmarks/proxy_rates.py --gpus 1 --workers 1 2 4 8 --out benchmarks/results/proxy_rates.parquet
    python benchmarks/proxy_rates.py --img-size 64 --workers 1 2            on two CPU cores
    python benchmarks/proxy_rates.py --gpus 1 --workers 0                   without Ray, one process on the GPU

The loop builds each network by torch with its own random numbers and computes one proxy of it, with nothing kept from
one to the next. The pool is that of a search: actors with prepared weights, and a share of the device each. `all
together` is what passes shared among the proxies are worth: all of them on one architecture after the other, where the
loop's rate follows from the sum of its times. Arithmetic is what torch counts of a score's passes (matrix products,
convolutions and attention, two operations per multiply-add), as a fraction of the rate that the device reaches on
products of large square matrices of the same dtype; eigenvalues and the like are not in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from timing import hardware, provenance
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import raynas.proxies  # noqa: F401  (registers them)
from raynas.cluster.options import PoolSize
from raynas.proxies.probe import DTYPES
from raynas.proxies.registered import proxies as registered
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.scoring.pool import EvaluatorPool, Job, SerialPool
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan
from raynas.space.architecture import Architecture

TOGETHER = "all together"
_PEAK_SIDES = {"cpu": 1024, "cuda": 8192}


def main() -> None:
    """Measure the loop, then pools of each size, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", default="autoformer-tiny")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--teacher", help="of TVT; without one its proxies are left out")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--proxy", action="append", help="only these")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="0: this process, without Ray")
    parser.add_argument("--gpus", type=float, default=0.0, help="that the workers share")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--out", type=Path, help="a Parquet file for the figures")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.img_size, arguments.batch_size, arguments.workers, arguments.seconds = 32, 4, [0], 0.05
        arguments.proxy = arguments.proxy or ["l2_norm", "snip", "synflow"]

    print(f"{arguments.space}, {arguments.img_size} px, batch {arguments.batch_size}; {hardware()}")
    device = "cuda" if arguments.gpus else "cpu"
    names = arguments.proxy or [n for n in registered if arguments.teacher or not registered.get(n).needs_teacher]
    values = {
        "space": arguments.space, "objectives": [], "proxies": names, "data": arguments.data,
        "img_size": arguments.img_size, "batch_size": arguments.batch_size, "teacher": arguments.teacher,
        "searcher": "random",
    }  # fmt: skip
    plan = make_plan(RunConfig.make(values))
    rng = np.random.default_rng(0)
    architectures = [plan.space.sample(rng) for _ in range(64)]
    task = plan.task(device)

    peaks = {dtype: peak(DTYPES[dtype], device) for dtype in {proxy.dtype for proxy in task.proxies}}
    print("; ".join(f"{dtype}: {rate / 1e12:.2f} Tflop/s on large matrices" for dtype, rate in peaks.items()))
    rows: list[dict[str, Any]] = []
    for i, proxy in enumerate(task.proxies):
        seconds, done, status = loop(alone(task, i), architectures, arguments.seconds)
        rows.append({"proxy": proxy.name, "dtype": proxy.dtype, "status": status, "architectures": done,
                     "flops": flops(alone(task, i), architectures[:3]), "loop_per_s": done / seconds})  # fmt: skip
    rates = {row["proxy"]: row["loop_per_s"] for row in rows}
    together = {"proxy": TOGETHER, "loop_per_s": 1 / sum(1 / rate for rate in rates.values())}
    for workers in arguments.workers:
        pool, close = _pool(task, workers, arguments.gpus)
        column = f"pool_{workers}_per_s"
        _timed(pool, task, architectures, range(len(task.proxies)), 2 * max(1, workers))  # workers start, caches fill
        for i, row in enumerate(rows):
            row[column] = _rate(pool, task, architectures, [i], row["loop_per_s"] * max(1, workers), arguments.seconds)
            if row["flops"]:
                row[f"{column[:-6]}_of_peak"] = row[column] * row["flops"] / peaks[row["dtype"]]
        expected = together["loop_per_s"] * max(1, workers)
        together[column] = _rate(pool, task, architectures, range(len(rows)), expected, 4 * arguments.seconds)
        pool.close()
        close()
    rows.append(together)
    _say(rows, arguments.workers)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist([{**{name: None for row in rows for name in row}, **row} for row in rows])
        pq.write_table(table.replace_schema_metadata(provenance()), arguments.out)


def alone(task: EvaluationTask, number: int) -> EvaluationTask:
    """The task with one of its proxies, by number, and a builder whose networks draw their weights by torch."""

    def build(*given: Any, **settings: Any) -> nn.Module:
        return task.builder(*given, **settings)

    return replace(task, builder=build, proxies=(task.proxies[number],))


def loop(
    task: EvaluationTask, architectures: Sequence[Architecture], enough_s: float, *, at_least: int = 3
) -> tuple[float, int, str]:
    """Score in a plain loop, with an evaluator of its own for each architecture.

    Args:
        task: With one proxy.
        architectures: Scored in this order.
        enough_s: After so many seconds no other is begun.
        at_least: As many are scored all the same.

    Returns:
        Seconds, scores in them, and the status of the first.
    """
    (first, *_) = Evaluator(task)(architectures[0], [0])
    started, done = time.perf_counter(), 0
    while done < at_least or (time.perf_counter() - started < enough_s and done < len(architectures)):
        Evaluator(task)(architectures[done % len(architectures)], [0])
        done += 1
    return time.perf_counter() - started, done, first.status


def flops(task: EvaluationTask, architectures: Sequence[Architecture]) -> float:
    """Mean of a score's operations over the architectures, two for each multiply-add."""
    with FlopCounterMode(display=False) as counter:
        for architecture in architectures:
            Evaluator(task)(architecture, [0])
    return float(counter.get_total_flops() / len(architectures))


def _pool(task: EvaluationTask, workers: int, gpus: float) -> tuple[EvaluatorPool, Callable[[], None]]:
    if not workers:
        return SerialPool(task), lambda: None
    from raynas.cluster.joining import connect
    from raynas.scoring.ray_pool import RayPool

    disconnect = connect(None, min_cpus=workers, min_gpus=gpus)
    return RayPool(
        task, size=PoolSize(workers, workers), gpus_per_worker=gpus / workers, window=8 * workers
    ), disconnect


def _rate(
    pool: EvaluatorPool,
    task: EvaluationTask,
    architectures: Sequence[Architecture],
    wanted: Sequence[int],
    expected_per_s: float,
    enough_s: float,
) -> float:
    """Scores per second over at least so many seconds, if the rate is as expected or lower."""
    few = _timed(pool, task, architectures, wanted, max(8, min(500, round(expected_per_s * enough_s / 4))))
    return _timed(pool, task, architectures, wanted, max(8, min(2000, round(few * enough_s))))


def _timed(
    pool: EvaluatorPool,
    task: EvaluationTask,
    architectures: Sequence[Architecture],
    wanted: Sequence[int],
    count: int,
) -> float:
    """Scores per second."""
    outputs = sum(len(task.proxies[i].outputs) for i in wanted)
    started, missing = time.perf_counter(), count
    for i in range(count):
        pool.submit(Job(architectures[i % len(architectures)], tuple(wanted), outputs))
    while missing:
        missing -= len(pool.poll(1.0))
    return count / (time.perf_counter() - started)


def peak(dtype: torch.dtype, device: str) -> float:
    """Operations per second of the best of some products of square matrices; float32 without TF32, as scores have."""
    side = _PEAK_SIDES[device]
    matrix = torch.randn(side, side, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        matrix @ matrix
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _say(rows: Sequence[dict[str, Any]], workers: Sequence[int]) -> None:
    width = max(len(row["proxy"]) for row in rows)
    sides = [f"{n} actors" if n else "in process" for n in workers]
    print(f"{'architectures per second':{width}}  {'loop':>9}" + "".join(f"  {side:>24}" for side in sides))
    for row in rows:
        line = f"{row['proxy']:{width}}  {row['loop_per_s']:9.2f}"
        for count in workers:
            rate, of_peak = row[f"pool_{count}_per_s"], row.get(f"pool_{count}_of_peak")
            share = "" if of_peak is None else f"{of_peak:.1%} of peak"
            line += f"  {rate:8.2f} {share:>15}"
        status = row.get("status", "ok")
        print(line if status == "ok" else f"{line}  {status}")
    best = [max(row[f"pool_{n}_per_s"] for n in workers) / row["loop_per_s"] for row in rows]
    print(f"best pool against the loop: {np.median(best[:-1]):.1f} x (median of proxies), {best[-1]:.1f} x together")


if __name__ == "__main__":
    main()
