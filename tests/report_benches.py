"""The page of a benchmark over plain vision transformers, and how its figures are written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bench import write_table

import raynas
from raynas.proxies.probe import Probe, Proxy
from raynas.report.page import write_report
from raynas.searching.run import SearchListener
from raynas.space.registered import spaces

VIT = spaces.get("vit")
N = 60


def wide(probe: Probe) -> float:
    return float(probe.architecture["embed_dim"]) + float(probe.architecture.key[0] > "7")  # type: ignore[arg-type]


def shallow(probe: Probe) -> float:
    if int(probe.architecture.key[:2], 16) % 6 == 0:
        raise ValueError(f"</script><b>no {probe.architecture.key[:4]}</b>")
    return 1 / float(probe.architecture["depth"]) + 1e-3 * int(probe.architecture.key[:3], 16)  # type: ignore[arg-type]


PROXIES = [Proxy("wide", wide), Proxy("shallow", shallow, higher_is_better=False)]


def made(folder: Path, **settings: Any) -> Path:
    """The page of a benchmark over the plain vision transformers."""
    rng = np.random.default_rng(0)
    chosen = list({a.key: a for a in (VIT.sample(rng) for _ in range(3 * N))}.values())[:N]
    sizes = [math.log(VIT.num_params(a, 32, 10)) for a in chosen]  # type: ignore[misc]
    noise = rng.standard_normal((2, N))
    columns: dict[str, list[Any]] = {
        "top1": [round(40 + 3 * size + e, 3) for size, e in zip(sizes, noise[0], strict=True)],
        "loss": [round(9 - size / 2 + e / 5, 3) for size, e in zip(sizes, noise[1], strict=True)],
    }
    columns["loss"][::10] = [""] * 6
    given: dict[str, Any] = {
        "labels": ["top1", "loss:min"], "proxies": PROXIES, "combine": ["wide+shallow"], "within": ["depth"],
        "resamples": 60, "img_size": 32, "workers": 0, "listener": SearchListener(),
    }  # fmt: skip
    table = write_table(folder.parent / f"{folder.name}.csv", chosen, columns)
    return write_report(raynas.bench_proxies("vit", table, out=folder, **{**given, **settings}).folder)


def row_of(rows: list[dict[str, Any]], proxy: str, label: str) -> dict[str, Any]:
    return next(row for row in rows if (row["proxy"], row["label"], row["within"]) == (proxy, label, None))


def near(value: Any) -> Any:
    """A number to the digits that a page holds."""
    return value if value is None else pytest.approx(value, rel=1e-4, abs=1e-9)


def unfold(page: Any) -> None:
    """Show the tables, which are folded at first."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def decimal(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # noqa: RUF001
