"""What are As-ViT's training-free scores worth, by topologies that are trained briefly on real images?

    python benchmarks/as_vit_scores.py --data parquet:train.parquet --val-data parquet:test.parquet \
        [--n 12] [--img-size 32] [--epochs 6] [--images 4000] [--processes 2] --out runs/study
    python benchmarks/as_vit_scores.py --n 60 --img-size 64 --epochs 30 --images 50000 ...      on a GPU

Every topology is drawn uniformly (depth 1, width 32), scored untrained, and trained with one recipe. Printed:
Kendall's tau-b of each score and of rank combinations with the accuracy reached, its 95 % bootstrap interval over
topologies, the partial tau given the number of parameters, and the seconds that a score takes alone, building
included; parameters and multiply-adds stand beside them. tau is of the score as it is, positive where higher scores
go with higher accuracy. It can be interrupted and run again: scores and finished trainings are kept. --results writes
the rows and the correlations as Parquet, with the command, hardware and versions in the metadata. Few topologies and
short trainings: read the intervals.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from timing import hardware, provenance

import raynas
from raynas.console.terminal import print_rows
from raynas.errors import TrainingError
from raynas.searching.run import SearchListener
from raynas.stats.combination import rank_sum
from raynas.stats.rank_correlation import Tau, bootstrapped
from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.plan import make_training_plan
from raynas.training.run import execute_training

PROXIES = ("length_distortion", "curvature", "gauss_length", "ntk_condition")
COSTS = ("num_params", "macs")
COMBINATIONS = {
    "length_distortion + ntk_condition": (("length_distortion", True), ("ntk_condition", False)),
    "length_distortion + curvature": (("length_distortion", True), ("curvature", False)),
    "all four": (("length_distortion", True), ("curvature", False), ("gauss_length", True), ("ntk_condition", False)),
}
"""Sums of ranks, each score in its declared direction."""


def train(job: tuple[str, dict[str, Any]]) -> None:
    """Train one topology, unless it is done; what fails says so in its folder."""
    folder, settings = job
    torch.set_num_threads(1)
    with suppress(TrainingError):
        execute_training(make_training_plan(TrainConfig.make(settings)), Path(folder), resume=True)


def main() -> None:
    """Score, train, correlate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--val-data")
    parser.add_argument("--n", type=int, default=12, help="topologies")
    parser.add_argument("--img-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--val-images", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="actors for the scores; 0: this process, without Ray")
    parser.add_argument("--processes", type=int, default=1, help="trainings at once")
    parser.add_argument("--loader-processes", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/as-vit-study"))
    parser.add_argument("--results", type=Path, help="folder for Parquet files")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.n, arguments.epochs, arguments.images = 5, 1, 300

    print(hardware())
    run = raynas.score(
        "as-vit",
        arguments.n,
        proxies=list(PROXIES),
        data=arguments.data,
        img_size=arguments.img_size,
        seed=arguments.seed,
        workers=arguments.workers,
        out=arguments.out / "scores",
        resume=True,
        listener=SearchListener(),
    )
    rows = run.table.to_pylist()
    seconds = {name: _seconds_alone(arguments, name) for name in PROXIES} | dict.fromkeys(COSTS, 0.0)
    settings = {
        "space": "as-vit",
        "data": arguments.data,
        "val_data": arguments.val_data,
        "max_images": arguments.images,
        "max_val_images": arguments.val_images,
        "img_size": arguments.img_size,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "augment": "light",
        "drop_path_rate": 0.0,
        "seed": arguments.seed,
        "workers": 0,
        "threads": 1,
        "loader_processes": arguments.loader_processes,
        "loggers": [],
    }
    folders = [arguments.out / "trainings" / row["architecture_key"][:12] for row in rows]
    jobs = [(str(f), {**settings, "architecture": row["architecture"]}) for f, row in zip(folders, rows, strict=True)]
    if arguments.processes > 1:
        with multiprocessing.get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
            for done, _ in enumerate(pool.imap_unordered(train, jobs, chunksize=1), start=1):
                print(f"trained {done}/{len(jobs)}", flush=True)
    else:
        for done, job in enumerate(jobs, start=1):
            train(job)
            print(f"trained {done}/{len(jobs)}", flush=True)
    for row, folder in zip(rows, folders, strict=True):
        summary = load_training(folder).summary
        top1 = summary["top1"] if summary["status"] == "completed" else None
        row |= {"top1": top1, "train_s": summary["train_s"]}
    known = [row for row in rows if all(row[name] is not None for name in (*PROXIES, "top1"))]
    if len(known) < len(rows):
        print(f"{len(rows) - len(known)} topologies without all scores and an accuracy are left out")
    correlations = correlated(known, seconds, seed=arguments.seed)
    accuracy = np.array([row["top1"] for row in known])
    print(
        f"{len(known)} topologies, {arguments.epochs} epochs of {arguments.images} images of {arguments.img_size} px, "
        f"{sum(row['train_s'] for row in known):.0f} s of training; "
        f"top-1 {accuracy.min():.1%} to {accuracy.max():.1%}"
    )
    print_rows(correlations)
    if arguments.results is not None:
        write_results(arguments.results, known, correlations)


def correlated(rows: list[dict[str, Any]], seconds: dict[str, float], *, seed: int) -> list[dict[str, Any]]:
    """A row for each score and combination, with tau-b, its interval, and the partial tau given parameters."""
    columns = {name: np.array([float(row[name]) for row in rows]) for name in (*PROXIES, *COSTS)}
    accuracy = np.array([row["top1"] for row in rows])
    seconds = dict(seconds)
    for name, parts in COMBINATIONS.items():
        columns[name] = rank_sum([columns[part] for part, _ in parts], [up for _, up in parts])
        seconds[name] = sum(seconds[part] for part, _ in parts)
    found = []
    for name, column in columns.items():
        tau = bootstrapped(column, accuracy, seed=seed)
        given = columns["num_params"]
        rest = (
            Tau(math.nan, math.nan, math.nan)
            if name == "num_params"
            else bootstrapped(column, accuracy, given=given, seed=seed)
        )
        found.append(
            {
                "score": name,
                "tau_b": tau.value,
                "low": tau.low,
                "high": tau.high,
                "partial_tau": rest.value,
                "partial_low": rest.low,
                "partial_high": rest.high,
                "seconds": seconds[name],
            }
        )
    return found


def write_results(folder: Path, rows: list[dict[str, Any]], correlations: list[dict[str, Any]]) -> None:
    """Two tables, with what they were made with."""
    about = provenance()
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("as_vit_scores", rows), ("as_vit_scores_correlations", correlations)):
        made = pa.Table.from_pylist(table).replace_schema_metadata(about)
        pq.write_table(made, folder / f"{name}.parquet")
        print(f"wrote {folder / name}.parquet")


def _seconds_alone(arguments: argparse.Namespace, name: str) -> float:
    """Of one architecture; where scores are computed together, they share passes, and the first one bears them."""
    with tempfile.TemporaryDirectory() as folder:
        run = raynas.score(
            "as-vit",
            min(arguments.n, 5),
            proxies=[name],
            data=arguments.data,
            img_size=arguments.img_size,
            seed=arguments.seed,
            workers=0,
            out=Path(folder) / "scores",
            listener=SearchListener(),
        )
    return float(np.median([row["seconds"] for row in run.evaluations.to_pylist() if row["proxy"] == name]))


if __name__ == "__main__":
    main()
