"""The parts of `gpu.py` that search, grow and train."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from as_vit_search import told
from as_vit_training import as_vit_plan, rows_of
from data_waiting import waiting
from gpu_part import Part, Row
from growth_workers import START
from retokenization import ARCHITECTURE, compared
from scoring_workers import Rate

import raynas
from raynas.searching.run import SearchListener

SEARCH_STEPS, GROWN_PARAMS = 500, 80e6
LARGE = "4,2,3,2|4,1,2,2|4,1,4,6|4,1,6,2|32,96"
"""Its steps keep an H200 busy, in batches of 512: whatever the batch, starting the 1,100 kernels of a step takes 22 to
35 ms of the processor, and at stride 16 a batch of 128 occupies the device for 8 ms only."""


def search(part: Part) -> None:
    """Search some steps and grow some, and extrapolate."""
    img_size, first, most = (32, 6, 8) if part.is_quick else (224, 16, 200)
    settings: dict[str, Any] = {"data": "digits", "img_size": img_size, "workers": 0, "window": 4}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:

        def searched(budget: int) -> tuple[raynas.Run, float, float]:
            rate, started = Rate(skipped=3), time.perf_counter()
            run = raynas.search("as-vit", objectives=["length_distortion"], searcher="reinforce", budget=budget,
                                out=Path(folder) / f"search-{budget}", listener=rate, **settings)  # fmt: skip
            return run, rate.per_s, time.perf_counter() - started

        _, per_s, _ = searched(first)
        budget = min(most, first + int(max(2, per_s * (0.4 * part.left_s))))
        run, per_s, seconds = searched(budget)
        told("search", run, seconds)
        found = run.summary["recommended"] or run.best[0]
        rows.append({"what": "search step", "seconds": 1 / per_s, "steps": budget, "from": None, "to": None})
        starts = [found["text"]] if part.is_quick else [found["text"], START]
        for number, start in enumerate(starts):
            if number and part.left_s < 4 * rows[-1]["seconds"]:
                break  # a larger network takes longer
            started = time.perf_counter()
            grown = raynas.scale(start, settings={"searcher": {"max_steps": 1}}, out=Path(folder) / f"grown-{number}",
                                 listener=SearchListener(), stop="num_params>=80e6", **settings)  # fmt: skip
            seconds = time.perf_counter() - started
            told("growth", grown, seconds)
            sizes = [member["num_params"] for member in grown.family]
            rows.append({"what": "growth step", "seconds": seconds, "steps": len(sizes) - 1,
                         "from": sizes[0], "to": sizes[-1]})  # fmt: skip
            part.keep(rows)
    steps, growth_s = grown_in(rows[1:], to=GROWN_PARAMS)
    search_s = SEARCH_STEPS * rows[0]["seconds"]
    rows.append({"what": "whole search, extrapolated", "seconds": search_s, "steps": SEARCH_STEPS})
    rows.append({"what": "whole growth, extrapolated", "seconds": growth_s, "steps": steps,
                 "from": rows[1]["from"], "to": int(GROWN_PARAMS)})  # fmt: skip
    minutes = (search_s + growth_s) / 60
    met = "met" if minutes < 15 else "NOT met"
    said = "" if part.is_quick else f" (expected under 15: {met})"
    part.keep(
        rows,
        f"{budget} steps of the search at {img_size} px, {rows[0]['seconds']:.3f} s each, and {len(rows) - 3} of the "
        f"growth; extrapolated to {SEARCH_STEPS} steps and {steps} steps to {GROWN_PARAMS / 1e6:.0f} M parameters: "
        f"{search_s / 60:.1f} + {growth_s / 60:.1f} minutes{said}",
    )


def grown_in(measured: Sequence[Row], *, to: float) -> tuple[int, float]:
    """Steps and seconds of a growth, from some of its steps.

    A step multiplies the parameters by the mean ratio of the measured ones, and takes the seconds of the nearest
    measured one, by the logarithm of the parameters at its start, and in proportion more where it has more parameters:
    rather too many, as the passes of a small network leave the device idle.

    Args:
        measured: Steps with `from` and `to`, numbers of parameters, and `seconds`; the growth starts where the first
            does.
        to: The number of parameters at which it ends.
    """
    ratio = math.exp(float(np.mean([math.log(row["to"] / row["from"]) for row in measured])))
    params, steps, seconds = float(measured[0]["from"]), 0, 0.0
    while params < to:
        nearest = min(measured, key=lambda row: abs(math.log(row["from"] / params)))
        seconds += nearest["seconds"] * max(1.0, params / nearest["from"])
        params *= ratio
        steps += 1
    return steps, seconds


def retokens(part: Part) -> None:
    """Train with and without re-tokenization in turns, on as many images as the time allows."""
    img_size, batch_size, epochs = (32, 32, 7) if part.is_quick else (224, 512, 7)
    architecture = ARCHITECTURE if part.is_quick else LARGE
    settings: dict[str, Any] = {"data": part.data, "architecture": architecture, "img_size": img_size}
    settings |= {"batch_size": batch_size, "loader_processes": 0 if part.is_quick else 7}
    settings["max_val_images"] = min(batch_size, 128)
    images = 4 * batch_size
    if not part.is_quick:
        with tempfile.TemporaryDirectory() as folder:
            rows = rows_of(as_vit_plan(images=8 * batch_size, epochs=3, **settings), Path(folder) / "run")
        beside_s = rows[-1]["seconds"] - rows[-2]["seconds"] - rows[-1]["train_s"]  # evaluation, checkpoint
        epoch_s = 0.7 * part.left_s / (2 * epochs) - beside_s
        images = int(max(8 * batch_size, epoch_s * rows[-1]["images_per_s"])) // batch_size * batch_size + batch_size
        print(f"an epoch's steps may take {epoch_s:.2f} s, what is beside them takes {beside_s:.2f} s", flush=True)
    found = compared(images=images, epochs=epochs, **settings)
    kept = [{"what": f"stride {phase.stride}", "epochs": phase.epochs, "time": phase.share, "waiting": phase.waiting}
            for phase in found.phases]  # fmt: skip
    kept.append(
        {
            "what": "saved",
            "num_params": found.num_params,
            "epochs": epochs,
            "time": found.time_saved,
            "multiply_adds": found.macs_saved,
        }
    )
    said = "" if part.is_quick else (
        f" (within 10 points of each other: {'met' if abs(found.time_saved - found.macs_saved) <= 0.1 else 'NOT met'})"
    )  # fmt: skip
    part.keep(
        kept,
        f"{found.time_saved:.1%} of the time and {found.macs_saved:.1%} of the multiply-adds saved in {epochs} epochs "
        f"of {found.images} images at {img_size} px, {found.epoch_s:.2f} s each without, "
        f"{found.num_params / 1e6:.1f} million parameters{said}",
    )


def waits(part: Part) -> None:
    """Train with light and strong augmentation, at two sizes, with few processes and with one for each core but one."""
    if part.is_quick:
        kinds, wanted, batch_size = [(32, "light", 0), (32, "strong", 0)], 96, 32
    else:
        most = max(1, (os.cpu_count() or 2) - 1)
        kinds = [(224, "strong", min(8, most)), (224, "strong", most), (224, "light", most), (64, "strong", most)]
        wanted, batch_size = 12_800, 128  # thrice what the processes prepare ahead, at the least
    rows: list[Row] = []
    for img_size, augment, processes in kinds:
        started = time.monotonic()
        if rows and part.left_s < max(row["took_s"] for row in rows):
            break
        settings: dict[str, Any] = {"architecture": "seed", "data": part.data, "img_size": img_size, "images": wanted,
                                    "batch_size": batch_size, "augment": augment, "max_val_images": batch_size,
                                    "loader_processes": processes}  # fmt: skip
        of_epoch = as_vit_plan(epochs=2, **settings).steps * batch_size
        epochs = 1 + max(1, round(wanted / of_epoch))
        rate, share = waiting(as_vit_plan(epochs=epochs, **settings))
        rows.append({"img_size": img_size, "augment": augment, "loader_processes": processes,
                     "images": (epochs - 1) * of_epoch, "images_per_s": rate, "waiting": share,
                     "took_s": time.monotonic() - started})  # fmt: skip
        part.keep(rows)
    said = ", ".join(
        f"{row['waiting']:.1%} at {row['img_size']} px {row['augment']} from {row['loader_processes']} processes "
        f"({row['images_per_s']:,.0f} images/s)"
        for row in rows
    )
    part.keep(rows, f"waiting {said}; {len(rows)} of {len(kinds)} settings")
