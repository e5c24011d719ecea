"""Which proxy is to be believed, by three tables of trained vision transformers?

    python benchmarks/proxies_vit_bench.py --tables DIR --data parquet:train.parquet [--teacher RUN] --out runs/bench
    python benchmarks/proxies_vit_bench.py --img-size 224 --all-rows ...      on a GPU, or with patience and by resuming

DIR holds autoformer_tiny_plain.csv and pit_tiny.csv (ViT-Bench-101, arXiv 2312.09059: accuracies after 300 epochs, with
and without distillation) and autoformer_small_official.csv (arXiv 2501.03782: accuracies inherited from a supernet, of
which 100 rows are drawn by seed unless --all-rows; its page holds no single rows). TVT is among the proxies where a
teacher is given. It can be interrupted and run again. --results DIR takes the correlations of each table, as Parquet
with the command, hardware and versions in the metadata, and a picture of its page, where a Chromium is installed. The
page itself is in OUT/TABLE; the same command makes it again, and `raynas report OUT/TABLE` where that folder is kept.

On two cores, at 64 px and batch 16 with one draw of weights: some 20 minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from picture import picture_of
from timing import provenance

import raynas
from raynas.interruption import Interrupted
from raynas.report.page import write_report
from raynas.space.registered import spaces

BENCH_LABELS = [f"{data}_{kind}_acc" for data in ("c100", "flower", "chaoyang") for kind in ("base", "kd")]
TABLES: dict[str, dict[str, Any]] = {
    "autoformer_tiny_plain": {
        "space": "autoformer-tiny-plain", "labels": BENCH_LABELS, "within": ["embed_dim"],
        "title": "Proxies against ViT-Bench-101, AutoFormer-Tiny in plain blocks",
    },
    "pit_tiny": {
        "space": "pit-tiny", "labels": BENCH_LABELS, "within": ["base_dim"],
        "title": "Proxies against ViT-Bench-101, PiT",
    },
    "autoformer_small_official": {
        "space": "autoformer-small", "labels": ["imagenet_top1_supernet"], "within": ["embed_dim"],
        "title": "Proxies against AutoFormer-Small, accuracies from a supernet", "aggregates_only": True,
    },
}  # fmt: skip
ONE_DRAW = ("length_distortion", "curvature", "gauss_length")
COMBINATIONS = ["az_expressivity+az_trainability+macs", "dss+synflow"]
WITH_TEACHER = ["tvt_teacher+tvt_capability:min_max", "dss+tvt_teacher"]


def main() -> None:
    """Score and judge, table by table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", type=Path, help="folder of the three tables")
    parser.add_argument("--data", help="images, such as parquet:train.parquet")
    parser.add_argument("--teacher", help="of TVT, such as a training's folder")
    parser.add_argument("--img-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rows", type=int, default=100, help="of the largest table")
    parser.add_argument("--all-rows", action="store_true")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--gpus-per-worker", type=float)
    parser.add_argument("--out", type=Path, default=Path("runs/vit-bench"))
    parser.add_argument("--results", type=Path, help="where correlations and pictures of pages are kept")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        _quick(arguments)
    if arguments.tables is None or arguments.data is None:
        parser.error("say where the tables and the images are: --tables, --data")

    for name, table in TABLES.items():
        path = arguments.tables / f"{name}.csv"
        if not path.exists():
            print(f"{path} is not there: left out")
            continue
        settings = {key: value for key, value in table.items() if key not in ("space", "labels", "title")}
        rows = sum(1 for _ in path.open()) - 1
        taken = rows if arguments.all_rows else min(arguments.rows, rows)
        setting = f"{arguments.img_size} px, batch {arguments.batch_size}, one draw, {taken} of {rows} rows"
        if not arguments.quick:
            settings["combine"] = COMBINATIONS + (WITH_TEACHER if arguments.teacher else [])
            settings["settings"] = {proxy: {"repeats": 1} for proxy in ONE_DRAW}
        else:
            settings.pop("within")
        found = raynas.bench_proxies(
            table["space"],
            path,
            labels=table["labels"],
            proxies=arguments.proxies if arguments.quick else ["all"],
            data=arguments.data,
            teacher=arguments.teacher,
            img_size=arguments.img_size,
            batch_size=arguments.batch_size,
            rows=taken,
            workers=arguments.workers,
            gpus_per_worker=arguments.gpus_per_worker,
            title=f"{table['title']}: {setting}",
            out=arguments.out / name,
            resume=True,
            **settings,
        )
        print(f"{name}: {setting}")
        _say(found.correlations.to_pylist())
        if arguments.results is not None:
            _keep(arguments.results, name, found)


def _say(rows: list[dict[str, Any]]) -> None:
    """The best predictors of every label, and the counts of parameters beside them."""
    whole = [row for row in rows if row["within"] is None and row["tau"] is not None]
    for label in dict.fromkeys(row["label"] for row in whole):
        own = sorted((row for row in whole if row["label"] == label), key=lambda row: -row["tau"])
        shown = [f"{row['proxy']} {row['tau']:.2f}" for row in own[:5]]
        (params,) = [row for row in own if row["proxy"] == "num_params"]
        print(f"  {label}: {', '.join(shown)}; num_params {params['tau']:.2f}")


def _keep(results: Path, name: str, found: Any) -> None:
    results.mkdir(parents=True, exist_ok=True)
    page = write_report(found.folder)
    if not picture_of(page, results / f"proxies_{name}.png"):
        print(f"  no picture of {page}: needs Playwright and an installed Chromium")
    metadata = {**(found.correlations.schema.metadata or {}), **provenance()}
    table = found.correlations.replace_schema_metadata(metadata)
    pq.write_table(table, results / f"proxies_{name}.parquet")


def _quick(arguments: argparse.Namespace) -> None:
    """Tables of four architectures with made-up labels, two proxies."""
    arguments.tables = Path("tables")
    arguments.tables.mkdir(exist_ok=True)
    fields = {
        "autoformer_tiny_plain": ("embed_dim", "depth", "mlp_ratio", "num_heads"),
        "pit_tiny": ("base_dim", "mlp_ratio", "depth", "num_heads"),
        "autoformer_small_official": ("embed_dim", "depth", "mlp_ratio", "num_heads"),
    }
    for name, table in TABLES.items():
        space, rng = spaces.get(table["space"]), np.random.default_rng(0)
        lines = [",".join([*fields[name], *table["labels"]])]
        for i in range(4):
            architecture: Any = space.sample(rng)
            cells = [architecture[field] for field in fields[name]]
            texts = [" ".join(map(str, cell)) if isinstance(cell, tuple) else str(cell) for cell in cells]
            lines.append(",".join([*texts, *(str(70 + (i * 7 + j) % 5) for j in range(len(table["labels"])))]))
        (arguments.tables / f"{name}.csv").write_text("\n".join(lines) + "\n")
    arguments.data, arguments.img_size, arguments.batch_size, arguments.workers = "digits", 64, 4, 0
    arguments.proxies = ["l2_norm", "synflow"]
    arguments.results = Path("results")


if __name__ == "__main__":
    try:
        main()
    except Interrupted as error:
        print(f"{error}; the same command goes on")
        sys.exit(128 + error.signum)
