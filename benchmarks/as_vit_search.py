"""How long does As-ViT's search take, topology by REINFORCE and growth in depth and width, and where does the time go?

    python benchmarks/as_vit_search.py [--img-size 224] [--budget 500] [--workers 4] [--gpus-per-worker 0.25]
    python benchmarks/as_vit_search.py --img-size 64 --workers 2            on two CPU cores
    python benchmarks/as_vit_search.py --workers 0                         in this process, without Ray

The paper's search: 500 steps with 5 draws of weights at 224 pixels, window 1 there and 4 here, then growth to 80 to 110
million parameters; 12 hours on one V100. Expected: under 15 minutes on one GPU of the class of an H200.

The workers' time, from when they are asked for, is split into building (networks and their weights), passes (the rest
of a score), transfers (a worker stands still, as candidates or results are on their way between it and the driver),
waiting (it stands still, as nothing was sent to it) and the rest, mostly the start of the actors. What travels while
its worker scores something else costs nothing and is not counted. Input batches travel once, at that start. Moves
between host and device are in the score that needs them: in passes, once for each batch, and in building, once for each
random number that weights are taken from. Without workers nothing is transferred, and waiting is what the one process
spends on the search itself.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from timing import hardware

import raynas
from raynas.cluster.joining import connect
from raynas.searching.run import SearchListener


def main() -> None:
    """Search and grow, and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--stop", default="num_params>=80e6")
    parser.add_argument("--most", default="num_params<=110e6")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpus-per-worker", type=float)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.img_size, arguments.budget, arguments.workers = 32, 6, 0
        arguments.stop, arguments.most = "num_params>=2.6e6", "num_params<=5e6"

    print(hardware())
    where: dict[str, Any] = {
        "workers": arguments.workers,
        "gpus_per_worker": arguments.gpus_per_worker,
        "img_size": arguments.img_size,
        "data": arguments.data,
        "num_classes": 10 if arguments.img_size < 224 else 1000,
        "listener": SearchListener(),
    }
    if arguments.data in ("digits", "random"):
        where["num_classes"] = 10
    gpus = arguments.workers * (arguments.gpus_per_worker or 0.0)
    disconnect = connect(None, min_cpus=arguments.workers, min_gpus=gpus) if arguments.workers else lambda: None
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        search = raynas.search(
            "as-vit",
            objectives=["length_distortion"],
            searcher="reinforce",
            budget=arguments.budget,
            out=Path(folder) / "search",
            **where,
        )
        middle = time.perf_counter()
        grown = raynas.scale(
            str(search.folder),
            stop=arguments.stop,
            constraints=[arguments.most],
            out=Path(folder) / "grown",
            **where,
        )
        ended = time.perf_counter()
        of_search = told("search", search, middle - started)
        of_growth = told("growth", grown, ended - middle)
    disconnect()
    print(f"workers in all, {shares({name: of_search[name] + of_growth[name] for name in of_search})}")
    family = grown.summary["family"]
    print(f"found {family[0]['text']}, grown in {len(family) - 1} steps to {family[-1]['text']}: "
          f"{family[-1]['num_params'] / 1e6:.1f} M parameters")  # fmt: skip
    minutes = (ended - started) / 60
    print(f"total {minutes:.1f} minutes (expected on one GPU at 224 px: under 15)")


def told(name: str, run: raynas.Run, wall_s: float) -> dict[str, float]:
    """Print where the time of a run went; returns the seconds of its workers by what they spent them on."""
    rows = run.evaluations
    seconds, build = (float(np.sum(rows[column].to_numpy())) for column in ("seconds", "build_seconds"))
    summary = run.summary
    driver, worker = summary["driver_seconds"], summary["worker_seconds"]
    working = sum(value for part, value in driver.items() if part != "wait")
    parts = {
        "building": build,
        "passes": seconds - build,
        "transfers": worker["transfers"],
        "waiting": worker["waiting"],
        "rest": sum(worker.values()) - seconds - worker["transfers"] - worker["waiting"],
    }
    scored = len(set(rows["architecture_key"].to_pylist()))
    print(
        f"{name}: {summary['evaluations']} evaluations of {scored} architectures in {wall_s:.1f} s, of which start-up "
        f"{wall_s - summary['seconds']:.1f} s"
    )
    print(f"  workers, {shares(parts)}, of which {worker['starting']:.2f} s start of actors")
    print(f"  driver: {working:.2f} s of work, {driver.get('wait', 0.0):.1f} s of waiting for scores")
    return parts


def shares(parts: Mapping[str, float]) -> str:
    """Seconds by name, in words, with their shares of the sum."""
    total = sum(parts.values())
    return f"{total:.1f} s: " + ", ".join(
        f"{part} {value:.2f} s ({value / total:.1%})" for part, value in parts.items()
    )


if __name__ == "__main__":
    main()
