"""Run folders for the report's tests, written through the store as a run writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan, search_description
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.results import Outcome, ScoreIdentity
from raynas.storage.files import write_json
from raynas.storage.result_store import ResultStore
from raynas.storage.run_folder import run_description
from raynas.training.config import TrainConfig
from raynas.training.folder import METRICS

AS_VIT = spaces.get("as-vit")

SUMMARY = {
    "status": "completed",
    "failed": 0,
    "reused": 0,
    "seconds": 100.0,
    "evaluations_per_s": 2.0,
    "best": [],
    "recommended": None,
    "driver_seconds": {"ask": 1.0, "dispatch": 2.0, "store": 3.0, "wait": 90.0, "tell": 1.0, "report": 1.0},
    "error": None,
}

Row = tuple[Architecture, Mapping[str, Outcome]]


def write_folder(
    folder: Path,
    rows: Sequence[Row],
    *,
    scores: Sequence[str] = ("length_distortion",),
    summary: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A folder as a run over As-ViT leaves it, with these outcomes by score; `identity` overrides parts of run.yaml."""
    values = {"space": "as-vit", "searcher": "random", "workers": 2, "budget": max(1, len(rows)), **config}
    values.setdefault("objectives", [f"{scores[0]}:max"])
    plan = make_plan(RunConfig.make({**values, "proxies": ["length_distortion"], "objectives": ["length_distortion"]}))
    described = yaml.safe_load(search_description(plan, None))
    names = [*scores, "num_params", "macs"]
    identities = [
        ScoreIdentity(str(values["space"]), 64, 10, 1, name, repeats=5 * (name not in names[-2:])) for name in names
    ]
    described["config"] |= {"objectives": list(values["objectives"]), "budget": values["budget"]}
    described["identity"] |= {
        "scores": {one.proxy: asdict(one) for one in identities},
        "objectives": list(values["objectives"]),
        **(identity or {}),
    }
    store = ResultStore(folder, identities)
    for number, (architecture, outcomes) in enumerate(rows):
        store.append(number, architecture, {names.index(name): outcome for name, outcome in outcomes.items()})
    store.flush()
    (folder / "run.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    store.close()
    if summary is None or summary:
        write_json(folder / "summary.json", {**SUMMARY, "evaluations": len(rows), **(summary or {})})
    return folder


def sampled_rows(
    n: int, scores: Sequence[str] = ("length_distortion",), errors: Mapping[int, tuple[str, str]] | None = None
) -> list[Row]:
    """Distinct architectures with random scores; `errors` gives some of them a status and a text instead."""
    rng = np.random.default_rng(0)
    rows: dict[str, Row] = {}
    while len(rows) < n:
        architecture = AS_VIT.sample(rng)
        assert AS_VIT.num_params is not None
        assert AS_VIT.macs is not None
        outcomes = {name: Outcome(float(rng.lognormal()), "ok", None, 0.5, 0.1) for name in scores}
        if failure := (errors or {}).get(len(rows)):
            outcomes = {name: Outcome(None, failure[0], failure[1], 0.5) for name in scores}
        outcomes["num_params"] = Outcome(AS_VIT.num_params(architecture, 64, 10), "ok")
        outcomes["macs"] = Outcome(AS_VIT.macs(architecture, 64, 10), "ok")
        rows.setdefault(architecture.key, (architecture, outcomes))
    return list(rows.values())


def epoch_rows(
    epochs: int, *, macs: int, phases: Sequence[tuple[int, int, int, int]] = (), top1: float = 0.8, ema: bool = False
) -> list[dict[str, Any]]:
    """Rows of metrics.parquet: the accuracy nears `top1`, and the speed is in inverse proportion to the MACs.

    Args:
        epochs: Rows.
        macs: Of a forward pass of one image.
        phases: First epoch, stride, dilation and MACs.
        top1: Where the accuracy goes.
        ema: Whether there is a moving average of the weights, 0.01 better.
    """
    rows, seconds = [], 0.0
    for epoch in range(epochs):
        _, stride, dilation, own = next((p for p in reversed(phases) if p[0] <= epoch), (0, None, None, macs))
        train_s = 10.0 * own / macs
        seconds += train_s + 2.0
        accuracy = top1 * (1 - math.exp(-(epoch + 1) / 2))
        rows.append(
            {
                "epoch": epoch,
                "lr": 1e-3 * (1 - epoch / epochs),
                "train_loss": 2.3 - accuracy,
                "val_loss": 2.4 - accuracy,
                "val_top1": accuracy,
                "ema_val_loss": 2.35 - accuracy if ema else None,
                "ema_val_top1": accuracy + 0.01 if ema else None,
                "stride": stride,
                "dilation": dilation,
                "macs": own,
                "images_per_s": 1000.0 / train_s,
                "train_s": train_s,
                "data_wait_s": train_s / 20,
                "eval_s": 2.0,
                "seconds": seconds,
            }
        )
    return rows


def write_training(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    architecture: Architecture = AS_VIT.named["seed"],
    summary: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A folder as a training of 1,000 images leaves it; `summary` overrides parts, and is not written if empty."""
    assert AS_VIT.num_params is not None
    assert AS_VIT.macs is not None
    values = {"space": "as-vit", "architecture": architecture.to_json(), "img_size": 64, "num_classes": 10, **config}
    settings = TrainConfig.make(values).resolved(lr=1e-3, warmup_epochs=0)
    costs = {"num_params": AS_VIT.num_params(architecture, 64, 10), "macs": AS_VIT.macs(architecture, 64, 10)}
    model = {
        "space": "as-vit",
        "architecture": dict(architecture),
        "text": AS_VIT.text(architecture),
        **costs,
        "img_size": 64,
        "num_classes": 10,
        "settings": {"img_size": 64, "num_classes": 10, "drop_path_rate": 0.1},
        "label_names": [],
    }
    identity = {**settings.model_dump(exclude={"data", "val_data", "workers", "augment"}), **settings.augmentation()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(run_description("training", settings.model_dump(), identity, model=model))
    if rows:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=METRICS), folder / "metrics.parquet")
    if summary is None or summary:
        counted = [row["val_top1"] if row["ema_val_top1"] is None else row["ema_val_top1"] for row in rows]
        done = 3000 * sum(row["macs"] for row in rows)
        full = 3000 * len(rows) * costs["macs"]
        whole = {
            "kind": "training",
            "status": "completed" if len(rows) == settings.epochs else "interrupted",
            "epochs": settings.epochs,
            "epochs_done": len(rows),
            "top1": counted[-1] if rows else None,
            "best_top1": max(counted, default=None),
            "best_epoch": int(np.argmax(counted)) if rows else None,
            **costs,
            "training_macs": done,
            "training_macs_full": full,
            "saved": 1 - done / full if full else 0.0,
            **{name: sum(row[name] for row in rows) for name in ("train_s", "data_wait_s", "eval_s")},
            "seconds": rows[-1]["seconds"] + 3.0 if rows else 1.0,
            "images": {"train": 1000, "val": 100},
            "workers": 0,
            "error": None,
        }
        write_json(folder / "summary.json", {**whole, **(summary or {})})
    return folder


def write_finalists(
    folder: Path,
    trials: Sequence[Mapping[str, Any]],
    *,
    epochs: int = 6,
    summary: Mapping[str, Any] | None = None,
    kind: str = "finalists",
) -> Path:
    """A folder of finalists, or of variants, with a training folder for each.

    Args:
        folder: Of all.
        trials: `top1`, where its curve goes; `epochs_done`, 0 for one that has not begun; `status`; `score`; `error`;
            of variants `settings`.
        epochs: Of a whole training.
        summary: Overrides parts.
        kind: finalists or variants.
    """
    rng = np.random.default_rng(1)
    entries = []
    for rank, trial in enumerate(trials):
        architecture = AS_VIT.sample(rng)
        name = f"finalist-{rank:02d}"
        assert AS_VIT.num_params is not None
        assert AS_VIT.macs is not None
        macs = AS_VIT.macs(architecture, 64, 10)
        rows = epoch_rows(trial["epochs_done"], macs=macs, top1=trial["top1"])
        if rows:
            write_training(folder / name, rows, architecture=architecture, epochs=epochs)
        entries.append(
            {
                "rank": rank,
                "name": name,
                "architecture": dict(architecture),
                "text": AS_VIT.text(architecture),
                "folder": name,
                "status": trial["status"],
                "epochs_done": len(rows),
                "epochs": epochs,
                "top1": rows[-1]["val_top1"] if rows else None,
                "num_params": AS_VIT.num_params(architecture, 64, 10),
                "macs": macs,
                "score": trial["score"],
                "error": trial.get("error"),
                **({"settings": trial["settings"]} if "settings" in trial else {}),
            }
        )
    config = {"source": "runs/search", "space": "as-vit", "top": len(trials), "epochs": epochs, "data": "digits"}
    (folder / "run.yaml").write_text(run_description(kind, config, {"epochs": epochs}))
    ranked = sorted((entry for entry in entries if entry["top1"] is not None), key=lambda entry: -entry["top1"])
    whole = {
        "kind": kind,
        "status": "completed",
        "metric": "top1",
        "trials": entries,
        "best": ranked,
        "source": "runs/search" if kind == "finalists" else None,
        "seconds": 100.0,
        "error": None,
    }
    write_json(folder / "summary.json", {**whole, **(summary or {})})
    return folder


def embedded(page: str) -> Any:
    """The data that a page holds."""
    start = page.index('id="data">') + len('id="data">')
    return json.loads(page[start : page.index("</script>", start)])
