"""Small finalists of a small search, for tests of several files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import raynas
from raynas.errors import StoreError
from raynas.finalists.config import FinalistsConfig
from raynas.training.folder import load_training

TRAINING = {
    "data": "digits",
    "max_images": 220,
    "batch_size": 32,
    "augment": "light",
    "lr": 1e-3,
    "threads": 1,
    "loader_processes": 0,
    "loggers": [],
    "epochs": 4,
}


def best_of_search(folder: Path) -> Path:
    """The folder of a search whose best are trained in seconds."""
    raynas.search(
        "as-vit",
        objectives=["macs:min", "length_distortion"],
        img_size=32,
        searcher="random",
        budget=12,
        workers=0,
        constraints=["num_params<=2.2e6"],
        settings={"length_distortion": {"repeats": 1, "points": 2}},
        out=folder,
    )
    return folder


def finalists_config(source: Path, *, epochs: int = 4, **settings: Any) -> FinalistsConfig:
    return FinalistsConfig.make(
        {"source": str(source), "top": 4, "training": {**TRAINING, "epochs": epochs}, **settings}
    )


def epochs_done(folder: Path) -> int:
    """How many epochs the finalists in a folder have finished, together."""
    done = 0
    for path in folder.glob("*/metrics.parquet"):
        try:
            done += load_training(path.parent).metrics.num_rows
        except (StoreError, OSError, ValueError):
            continue
    return done
