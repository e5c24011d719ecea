"""What a person sees of a benchmark of proxies in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from raynas.bench.correlations import TO_BEAT
from raynas.bench.folder import Bench
from raynas.bench.predictors import Kind, idle_baselines, pending_baselines
from raynas.console.terminal import wide_console

_SHOWN = 12
_STYLES = {Kind.BASELINE: "dim", Kind.COMBINATION: "cyan"}


def show_bench(bench: Bench) -> None:
    """A table for each label, the best predictors first, with all baselines; on standard output."""
    console = wide_console()
    rows = bench.correlations.to_pylist()
    for label in bench.labels.values():
        chosen = [row for row in rows if row["label"] == label.name and row["within"] is None]
        means = {(row["proxy"], row["within"]): row["tau"] for row in rows if _is_mean(row, label.name)}
        direction = "" if label.maximize else ", lower is better"
        console.print(f"\n[bold]{escape(label.name)}[/bold]{direction}, of {chosen[0]['n_label']:,} architectures")
        console.print(_table(chosen, means, bench))
        sized = max(row["n_sized"] for row in chosen)
        if sized < chosen[0]["n_label"]:
            line = f"* and given size: among the architectures whose costs are known, {sized:,} at most"
            console.print(line, style="dim", highlight=False)
    console.print(
        "tau, rho: oriented, so that positive is good; with "
        f"{100 * bench.settings.level:g} % intervals. *: above {_listed(TO_BEAT)}, beyond chance.",
        style="dim",
        highlight=False,
    )
    if merged := int((bench.truth.merged > 1).sum()):
        line = f"labels averaged: {merged:,} of {len(bench.truth):,} architectures stand in several rows of the table"
        console.print(line, style="dim", highlight=False)
    if idle := idle_baselines(bench.predictors):
        reasons = ", ".join(f"{name} ({why})" for name, why in idle.items())
        console.print(f"baselines that do not apply: {reasons}", style="dim", highlight=False, markup=False)
    if pending := pending_baselines(bench.predictors):
        line = f"too few architectures are scored so far to compare with {', '.join(pending)}"
        console.print(line, style="dim", highlight=False, markup=False)


def _table(rows: Sequence[Mapping[str, Any]], means: Mapping[tuple[str, str], float | None], bench: Bench) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("predictor", no_wrap=True)
    fields = list(bench.strata)
    k = rows[0]["k"] or bench.settings.top
    numbers = ["tau-b", "", "rho", "given size", *(f"in {field}" for field in fields), "top 10 %", f"regret of {k}"]
    for name in (*numbers, "values", "ok", "s each"):
        table.add_column(name, justify="right", no_wrap=True)
    ranked = sorted(rows, key=lambda row: -math.inf if row["tau"] is None else row["tau"], reverse=True)
    shown = [row for i, row in enumerate(ranked) if i < _SHOWN or row["kind"] == Kind.BASELINE]
    for row in shown:
        style = _STYLES.get(row["kind"], "")
        cells = [
            "*" if row["useful"] else "",
            Text(row["proxy"] + (" (baseline)" if row["kind"] == Kind.BASELINE else "")),
            _number(row["tau"]),
            f"{_number(row['tau_low'])} to {_number(row['tau_high'])}" if row["tau_low"] is not None else "",
            _number(row["rho"]),
            _number(row["partial_tau"]),
            *(_number(means.get((row["proxy"], field))) for field in fields),
            "" if row["top_10pct"] is None else f"{100 * row['top_10pct']:.0f} %",
            "" if row["regret_top_k"] is None else f"{row['regret_top_k']:.3g}",
            f"{row['distinct']:,}",
            f"{row['n']:,}",
            "" if row["seconds"] is None else f"{row['seconds']:.2g}",
        ]
        table.add_row(*cells, style=style)
    if len(shown) < len(ranked):
        table.add_row("", f"and {len(ranked) - len(shown)} more in correlations.parquet", style="dim")
    return table


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _is_mean(row: Mapping[str, Any], label: str) -> bool:
    return row["label"] == label and row["within"] is not None and row["stratum"] is None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"  # no sign before 0.00
