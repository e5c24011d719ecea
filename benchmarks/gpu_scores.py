"""The parts of `gpu.py` that score: equal to the CPU's, and how fast."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from gpu_part import Part, Row
from proxy_rates import TOGETHER, alone, flops, loop, peak

from raynas.console.terminal import print_rows
from raynas.proxies.probe import DTYPES
from raynas.proxies.registered import proxies as registered
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.searching.config import RunConfig
from raynas.searching.plan import Plan, make_plan
from raynas.space.architecture import Architecture
from raynas.space.results import Outcome

SPACES = ("as-vit", "autoformer-tiny", "pit-tiny")
TOLERANCE = 1e-4


def scores(part: Part) -> None:
    """Score the same architectures on the CPU, in processes beside, and twice on the GPU."""
    count, img_size = (1, 32) if part.is_quick else (4, 64)
    names = ["length_distortion", "snip", "tvt"] if part.is_quick else list(registered)
    processes = 1 if part.is_quick else max(1, min(12, (os.cpu_count() or 2) - 2))
    settings = {"img_size": img_size, "data": "digits", "batch_size": 16}
    plans = {space: plan_of(space, tuple(names), **settings) for space in SPACES}
    rng = np.random.default_rng(0)
    drawn = [(space, plans[space].space.sample(rng)) for _ in range(count) for space in SPACES]
    tasks = {space: plan.task("cpu") for space, plan in plans.items()}
    on_device = {
        space: [Evaluator(replace(task, device=part.device)) for _ in range(2)] for space, task in tasks.items()
    }
    allowed_s = part.left_s
    rows: list[Row] = []
    num_compared = 0
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        on_cpu = [pool.apply_async(_scored_on_cpu, (space, tuple(names), one), settings) for space, one in drawn]
        found = []
        for space, architecture in drawn:
            if part.left_s > 0.4 * allowed_s:
                found.append([_all_scores(evaluator, architecture) for evaluator in on_device[space]])
        print(f"{len(found)} architectures are scored on the device with {part.left_s:.0f} s left", flush=True)
        for (space, architecture), waited, (first, second) in zip(drawn, on_cpu, found, strict=False):
            try:
                expected = waited.get(max(0.0, part.left_s - 0.1 * allowed_s))
            except multiprocessing.TimeoutError:
                break
            num_compared += 1
            of = {"space": space, "architecture": architecture.to_json()}
            for name, cpu, gpu, again in zip(_outputs(tasks[space]), expected, first, second, strict=True):
                rows.append({**of, "score": name, **_compared(cpu, gpu, again)})
            part.keep(rows)
    worst: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row["score"], row["space"]
        if (row["difference"] or 0.0) > max(TOLERANCE, worst.get(key, {}).get("difference", 0.0)):
            worst[key] = row
    for (score, space), row in sorted(worst.items(), key=lambda item: -item[1]["difference"]):
        if part.left_s > 4:
            row["difference_in_float64"] = _difference_in_float64(part, plans[space], row)
        print(
            f"  {score} of {space}: {row['difference']:.1e}, in float64 {row.get('difference_in_float64')}", flush=True
        )
    for row in rows:
        if row["cpu_status"] != row["gpu_status"] or not row["repeats_bitwise"]:
            print(f"  {row['score']} of {row['space']}: {row['cpu_status']} on the CPU, {row['gpu_status']} here, "
                  f"repeated {'bitwise' if row['repeats_bitwise'] else 'NOT bitwise'}; {row['error']}")  # fmt: skip
    statuses = sum(row["cpu_status"] != row["gpu_status"] for row in rows)
    again = sum(not row["repeats_bitwise"] for row in rows)
    largest = max((row["difference"] for row in worst.values()), default=0.0)
    part.keep(
        rows,
        f"{len({row['score'] for row in rows})} scores of {num_compared} of {len(drawn)} architectures; "
        f"{len({score for score, _ in worst})} differ by more than {TOLERANCE:g} relative, at most {largest:.1e}; "
        f"{statuses} have another status, {again} another value when repeated",
    )


def _difference_in_float64(part: Part, plan: Plan, row: Row) -> float | None:
    """The same score computed in float64 on both: where this is small, the difference is one of rounding alone."""
    task = plan.task("cpu")
    (number,) = (i for i, proxy in enumerate(task.proxies) if row["score"] in proxy.outputs)
    exact = replace(task, proxies=(replace(task.proxies[number], dtype="float64"),))
    architecture = plan.space.read(row["architecture"])
    place = exact.proxies[0].outputs.index(row["score"])
    cpu, gpu = (Evaluator(replace(exact, device=device))(architecture, [0])[place] for device in ("cpu", part.device))
    found: float | None = _compared(cpu, gpu, gpu)["difference"]
    return found


@cache
def plan_of(space: str, names: tuple[str, ...], **settings: Any) -> Plan:
    """To score with these proxies, with an untrained teacher for those that need one.

    Processes make it themselves: a process is not started before it has read what it is given, and so one that is given
    images keeps the next one from starting until it has imported all that it imports.
    """
    values = {"space": space, "objectives": [], "proxies": names, "searcher": "random", **settings}
    if any(registered.get(name).needs_teacher for name in names):
        values["teacher"] = "random:resnet20"
    return make_plan(RunConfig.make(values))


def _scored_on_cpu(space: str, names: tuple[str, ...], architecture: Architecture, **settings: Any) -> list[Outcome]:
    torch.set_num_threads(1)
    return _all_scores(Evaluator(plan_of(space, names, **settings).task("cpu")), architecture)


def _all_scores(evaluator: Evaluator, architecture: Architecture) -> list[Outcome]:
    return evaluator(architecture, range(len(evaluator.task.proxies)))


def _outputs(task: EvaluationTask) -> list[str]:
    return [output for proxy in task.proxies for output in proxy.outputs]


def _compared(cpu: Outcome, gpu: Outcome, again: Outcome) -> Row:
    """One score on both; its difference is relative to the CPU's value."""
    difference = None
    if cpu.value is not None and gpu.value is not None:
        difference = abs(gpu.value - cpu.value) / abs(cpu.value) if cpu.value else float(gpu.value != cpu.value)
    return {
        "cpu_status": cpu.status,
        "gpu_status": gpu.status,
        "cpu": cpu.value,
        "gpu": gpu.value,
        "difference": difference,
        "repeats_bitwise": (gpu.status, gpu.value) == (again.status, again.value),
        "cpu_s": cpu.seconds,
        "gpu_s": again.seconds,
        "error": gpu.error,
    }


def rates(part: Part) -> None:
    """Score in a loop, then in 1, 2, 4 and 8 processes at once, proxy by proxy."""
    names = ["l2_norm", "snip", "synflow"] if part.is_quick else list(registered)
    counts = (1, 2) if part.is_quick else (1, 2, 4, 8)
    img_size, batch_size, longest_s = (32, 4, 0.05) if part.is_quick else (224, 16, 4.0)
    settings = {"img_size": img_size, "batch_size": batch_size, "data": "digits"}
    rows: list[Row] = []
    with _Sharers(max(counts), part.device, tuple(names), settings) as sharers:
        task, architectures = _to_share(part.device, tuple(names), settings)
        sharers.wait()
        print(f"{max(counts)} processes are ready with {part.left_s:.0f} s left", flush=True)
        peaks = {dtype: peak(DTYPES[dtype], part.device) for dtype in {proxy.dtype for proxy in task.proxies}}
        print("; ".join(f"{dtype}: {rate / 1e12:.2f} Tflop/s on large matrices" for dtype, rate in peaks.items()))
        for_all_s = 0.2 * part.left_s
        for number, proxy in enumerate(task.proxies):
            left_s = part.left_s - for_all_s
            if left_s < 1:
                break
            # A share for each number of processes, and three for first passes, counting and the loop.
            enough_s = min(longest_s, left_s / (len(task.proxies) - number) / (len(counts) + 3))
            one = alone(task, number)
            seconds, scored, status = loop(one, architectures, enough_s, at_least=1)
            row: Row = {"proxy": proxy.name, "dtype": proxy.dtype, "status": status, "loop_per_s": scored / seconds,
                        "flops": flops(one, architectures[:1])}  # fmt: skip
            sharers.rate(max(counts), (number,), 0.0)  # the first passes
            for count in counts:
                rate, scored, statuses = sharers.rate(count, (number,), enough_s)
                row |= {f"processes_{count}_per_s": rate, "statuses": statuses, f"processes_{count}_scored": scored}
                if row["flops"]:
                    row[f"processes_{count}_of_peak"] = rate * row["flops"] / peaks[row["dtype"]]
            rows.append(row)
            part.keep(rows)
        left_out = len(task.proxies) - len(rows)
        together: Row = {"proxy": TOGETHER}
        for count in counts:
            if not left_out and part.left_s > 1:
                rate, scored, statuses = sharers.rate(
                    count, tuple(range(len(rows))), min(2 * longest_s, part.left_s / 10)
                )
                together |= {
                    f"processes_{count}_per_s": rate,
                    "statuses": statuses,
                    f"processes_{count}_scored": scored,
                }
    shown = ("proxy", "loop_per_s", *(f"processes_{n}_per_s" for n in counts), "processes_1_of_peak")
    print_rows([{name: row.get(name) for name in shown} for row in [*rows, together]])
    says = f"{len(rows)} of {len(task.proxies)} proxies at {img_size} px, batch {batch_size}"
    if rows:
        best = np.median([max(row[f"processes_{n}_per_s"] for n in counts) / row["processes_1_per_s"] for row in rows])
        beside = np.median([row["processes_1_per_s"] / row["loop_per_s"] for row in rows])
        says += (
            f"; one process is {beside:.1f} x as fast as the loop, the best number of them {best:.1f} x as fast as one"
        )
    of_all = [together[f"processes_{n}_per_s"] for n in counts if f"processes_{n}_per_s" in together]
    if of_all:
        says += f" (median of proxies), {max(of_all) / of_all[0]:.1f} x with all proxies together"
    part.keep([*rows, together], says)


def _to_share(
    device: str, names: tuple[str, ...], settings: Mapping[str, Any]
) -> tuple[EvaluationTask, list[Architecture]]:
    """What is scored, and of which architectures."""
    plan = plan_of("autoformer-tiny", names, **settings)
    rng = np.random.default_rng(0)
    return plan.task(device), [plan.space.sample(rng) for _ in range(64)]


class _Sharers:
    """Processes that share the device, each with an evaluator that keeps its prepared weights.

    Args:
        count: How many processes.
        device, names, settings: Of what they score.
    """

    def __init__(self, count: int, device: str, names: tuple[str, ...], settings: Mapping[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for number in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=_share, args=(theirs, number, device, names, settings), daemon=True)
            process.start()
            theirs.close()
            self._ends.append(mine)
            self._processes.append(process)

    def __enter__(self) -> _Sharers:
        return self

    def wait(self) -> None:
        """Until all of them are ready."""
        for end in self._ends:
            end.recv()

    def __exit__(self, *raised: object) -> None:
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.terminate()
            process.join()

    def rate(self, count: int, wanted: tuple[int, ...], enough_s: float) -> tuple[float, int, str]:
        """Have the first `count` processes score at once.

        Args:
            count: How many.
            wanted: Numbers of the proxies.
            enough_s: After so many seconds none of them begins another architecture; each scores at least one.

        Returns:
            Architectures per second of all together, how many they were, and the statuses of their scores.
        """
        for end in self._ends[:count]:
            end.send((wanted, enough_s))
        found = [end.recv() for end in self._ends[:count]]
        statuses = sorted({status for *_, own in found for status in own})
        return sum(done / seconds for done, seconds, _ in found), sum(done for done, *_ in found), " ".join(statuses)


def _share(end: Connection, number: int, device: str, names: tuple[str, ...], settings: Mapping[str, Any]) -> None:
    """Score for as long as it is asked to, whenever it is, from this process's own place in the architectures."""
    torch.set_num_threads(1)
    task, architectures = _to_share(device, names, settings)
    evaluator = Evaluator(task)
    evaluator(architectures[0], [0])  # the device is made ready, and the numbers that weights are taken from
    end.send(None)
    place = 7 * number
    try:
        while True:
            wanted, enough_s = end.recv()
            statuses: set[str] = set()
            started, done = time.perf_counter(), 0
            while done < 1 or time.perf_counter() - started < enough_s:
                place = (place + 1) % len(architectures)
                statuses |= {outcome.status for outcome in evaluator(architectures[place], wanted)}
                done += 1
            end.send((done, time.perf_counter() - started, statuses))
    except EOFError:
        return
