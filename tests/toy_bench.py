"""Truth tables of toy architectures, and benchmarks on them; importable on workers."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from toy_scores import SLOPE, TOY, toy_space

import raynas
from raynas import Choice, PerLayer, SearchSpace
from raynas.errors import NotApplicableError
from raynas.proxies.probe import Probe, Proxy
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.growth import Growth


def bench_space() -> SearchSpace:
    """Architectures with a depth, widths and a list for each layer."""
    made = toy_space(
        embed_dim=Choice(8, 16, 24),
        depth=Choice(1, 2, 3),
        num_heads=PerLayer(Choice(1, 2, 4)),
        a=Choice(*range(12)),
        b=Choice(*range(10)),
        harm=Choice("none", "raise", "nan"),
    )
    return SearchSpace(
        "toy-bench",
        made.fields,
        made.model,
        num_params=made.num_params,
        macs=made.macs,
        search_img_size=8,
        growth=Growth(),
    )


def misfit(probe: Probe) -> float:
    """Applies to no model."""
    raise NotApplicableError("needs a class token")


MISFIT = Proxy("misfit", misfit)


def architectures(n: int, *, seed: int = 0, harm: Sequence[str] = ("none",)) -> list[Architecture]:
    """Distinct ones, whose harm goes round."""
    rng = np.random.default_rng(seed)
    found: dict[str, Architecture] = {}
    while len(found) < n:
        one = bench_space().sample(rng).replace(harm=harm[len(found) % len(harm)])
        found.setdefault(one.key, one)
    return list(found.values())


def labels(chosen: Sequence[Architecture], seed: int = 0) -> dict[str, list[float]]:
    """An accuracy and a loss that follow from the fields, with noise."""
    rng = np.random.default_rng(seed)
    values = [7 * int(a["a"]) + 13 * int(a["b"]) + 2 * int(a["embed_dim"]) for a in chosen]
    noise = rng.standard_normal((2, len(values))) * 30
    return {
        "top1": [round(50 + 0.1 * (v + e), 2) for v, e in zip(values, noise[0], strict=True)],
        "loss": [round(3 - 0.005 * (v + e), 3) for v, e in zip(values, noise[1], strict=True)],
    }


def write_table(path: Path, chosen: Sequence[Architecture], columns: Mapping[str, Sequence[Any]]) -> Path:
    """A truth table as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*chosen[0], *columns])
        for i, one in enumerate(chosen):
            cells = [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in one.values()]
            writer.writerow([*cells, *(column[i] for column in columns.values())])
    return path


def bench(truth: Path | None, out: Path, **settings: Any) -> raynas.Bench:
    """A benchmark of the toy proxies, in this process unless workers are asked for."""
    given: dict[str, Any] = {"labels": ["top1", "loss:min"], "proxies": [TOY, SLOPE], "resamples": 50, "workers": 0}
    if settings.get("resume") and truth is None:
        given.pop("labels")
    given |= {"listener": SearchListener(), **settings}
    return raynas.bench_proxies(bench_space(), truth, out=out, **given)
