"""What does the window of a search cost its final choice, at each budget?

    python benchmarks/window_lag.py [--table autoformer_small_official.csv] [--seeds 10] [--results DIR]

With a window of w candidate k is asked when k - w + 1 evaluations have been told, so a searcher that learns draws it
without the last w - 1 of them. The searchers and the order of asking and telling are those of runs; values come from
landscapes whose best and worst are known, in place of networks:

    separable      a table of values for each of ten decisions of four options
    interactions   the same, and tables for three in ten of the pairs of decisions
    plateaus       interactions, rounded down to eight levels
    deceptive      five pairs of decisions, each best at one place and otherwise the better the farther from it
    noisy          interactions, seen with noise of their own spread, the same whenever an architecture is asked
    table          label of a truth table over its space, as the mean of the five nearest rows; its range is that of
                   what climbing from all rows finds

Seed s draws landscape s of each kind (of the table there is one) and seeds the searcher. The final choice is what the
searcher recommends, and the best that it has seen where it recommends nothing; its regret is the true value that it
lacks of the best, in units of the landscape's range. Differences are to window 1 of the same seed, with the 95 %
interval of Student's t over the seeds; "all" is the mean over landscapes. What is told up to 500 does not depend on the
budget, so one course gives both budgets; an eighth of them is the most that REINFORCE takes by itself.

Two remedies for REINFORCE stand beside it: `entropy`, a term that keeps the policy from settling, and `level`, whose
reward is the distance of a value from the mean of the last 100 in place of that from the one before. Their settings
were chosen on the first two landscapes; the others judge them.

Some seven minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from picture import picture_of
from scipy.stats import t as student
from timing import hardware, provenance

from raynas import Architecture, Choice, SearchSpace
from raynas.bench.truth import read_truth
from raynas.hooks import offered
from raynas.searchers.protocols import Recommends
from raynas.searchers.registered import searchers
from raynas.searchers.reinforce import Reinforce
from raynas.searching.flight import Flight
from raynas.searching.ranking import Ranking
from raynas.seeds import seed_from
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Objective, Status

OBJECTIVES = (Objective("value"),)
TABLE = Path("../shared/data/vit_bench/autoformer_small_official.csv")
DECISIONS, OPTIONS, LEVELS, NEAREST = 10, 4, 8, 5
WINDOWS = (1, 4, 16, 64, 256)
BUDGETS = (500, 2000)
TUNED_ON = ("separable", "interactions")


class WithEntropy(Reinforce):
    """REINFORCE whose loss has minus this times the entropy of each decision's probabilities (Williams 1991)."""

    entropy = 0.02

    def _gradient(self, numbers: Sequence[int], advantage: float) -> np.ndarray:
        p = self._probabilities
        logs = np.log(np.where(p > 0, p, 1.0))
        entropies = -(p * logs).sum(axis=1, keepdims=True)
        return super()._gradient(numbers, advantage) + self.entropy * p * (logs + entropies)


class OfLevel(Reinforce):
    """REINFORCE that rewards a value's distance from the mean of the last ones."""

    def _change(self, recent: np.ndarray) -> np.ndarray:
        return np.asarray(recent[-1] - recent.mean(axis=0))


@dataclass(frozen=True)
class Side:
    """A searcher in the study.

    Args:
        make: Makes it, of a space, the objectives and a seed.
        windows: Which are tried, beside an eighth of the budget where the searcher holds itself to it.
        budgets: At which it is looked at.
    """

    make: Callable[..., Any]
    windows: tuple[int, ...] = WINDOWS
    budgets: tuple[int, ...] = BUDGETS
    eighth: bool = False


SIDES: Mapping[str, Side] = {
    "reinforce": Side(searchers.get("reinforce"), eighth=True),
    "reinforce, entropy": Side(WithEntropy, (1, 16, 256)),
    "reinforce, level": Side(partial(OfLevel, history=100), (1, 16, 256)),
    "regularized_evolution": Side(searchers.get("regularized_evolution")),
    "evolution": Side(partial(searchers.get("evolution"), population=100), (1, 256)),
    "nsga2": Side(searchers.get("nsga2"), (1, 64, 256), BUDGETS[:1]),
}


@dataclass(frozen=True)
class Landscape:
    """Values over a space.

    Args:
        space: The space.
        true: The value of the numbers of an architecture's options.
        seen: What a searcher is told of it.
        least, most: The range of true values.
    """

    space: SearchSpace
    true: Callable[[tuple[int, ...]], float]
    seen: Callable[[tuple[int, ...]], float]
    least: float
    most: float

    def regret(self, architecture: Architecture) -> float:
        """What an architecture lacks of the best, in units of the range."""
        return (self.most - self.true(tuple(self.space.encode(architecture)))) / (self.most - self.least)


def main() -> None:
    """Carry out all courses, and print what each window costs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", type=Path, default=TABLE, help="a truth table, as CSV; left out where it is absent")
    parser.add_argument("--table-space", default="autoformer-small")
    parser.add_argument("--label", default="imagenet_top1_supernet")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--processes", type=int, default=1, help="among which the courses are shared")
    parser.add_argument("--entropy", type=float, default=WithEntropy.entropy)
    parser.add_argument("--searchers", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--landscapes", nargs="+", help="some of them")
    parser.add_argument("--results", type=Path, help="folder for a Parquet file and a picture")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.searchers = 2, ["reinforce", "regularized_evolution"]
        given.landscapes = ["separable", "deceptive"]
    WithEntropy.entropy = given.entropy
    print(hardware())
    kinds = [*SYNTHETIC, "table"]
    if not given.table.is_file():
        print(f"without the landscape of a table: {given.table} is absent (--table)")
        kinds.remove("table")
    tasks = [(kind, seed) for kind in given.landscapes or kinds for seed in range(given.seeds)]
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("fork").Pool(given.processes) as pool:
        for kind, seed, found in pool.imap_unordered(partial(of_landscape, given), tasks):
            rows += found
            print(f"{kind}, seed {seed}: {len(rows)} regrets so far", flush=True)
    table = aggregated(rows)
    show(table)
    if given.results is not None:
        written = pa.Table.from_pylist(table).replace_schema_metadata(provenance())
        pq.write_table(written, given.results / "window_lag.parquet")
        page = given.results / "window_lag.html"
        page.write_text(drawn(table))
        is_there = picture_of(page, given.results / "window_lag.png")
        page.unlink()
        print(f"wrote {given.results / 'window_lag'}.parquet" + (" and .png" if is_there else ", no picture"))


def of_landscape(given: argparse.Namespace, task: tuple[str, int]) -> tuple[str, int, list[dict[str, Any]]]:
    """The regrets of all searchers on the landscape of a kind and a seed."""
    kind, seed = task
    is_table = kind == "table"
    land = from_table(given.table, given.table_space, given.label) if is_table else synthetic(kind, seed)
    rows = []
    for name in given.searchers:
        side = SIDES[name] if not given.quick else Side(SIDES[name].make, (1, 16), (60,))
        rows += [{"landscape": kind, "searcher": name, "seed": seed, **row} for row in courses(land, side, seed)]
    return kind, seed, rows


def courses(land: Landscape, side: Side, seed: int) -> Iterator[dict[str, Any]]:
    """The regrets of a searcher's final choice with each window at each budget."""
    wanted = dict.fromkeys(side.windows, side.budgets)
    if side.eighth:
        wanted |= {budget // 8: (budget,) for budget in side.budgets}
    for window, budgets in wanted.items():
        searcher = side.make(land.space, OBJECTIVES, seed=seed)
        flight, ranking = Flight(searcher, max(budgets), window), Ranking(OBJECTIVES)
        while flight.told < max(budgets):
            flight.ask()
            if (first := flight.first) is None:
                break  # no architecture is left: what is chosen stays so
            value = land.seen(tuple(land.space.encode(first.architecture)))
            evaluation = Evaluation(first.id, first.architecture, Status.OK, {"value": value})
            flight.tell(evaluation)
            ranking.add(evaluation)
            if flight.told in budgets:
                recommends = offered(searcher, Recommends)
                best = ranking.best()[0].architecture
                chosen = recommends.recommendation() if recommends is not None else None
                yield {
                    "budget": flight.told, "window": window, "regret": land.regret(chosen or best),
                    "regret_of_best_seen": land.regret(best),
                }  # fmt: skip


def synthetic(kind: str, seed: int) -> Landscape:
    """A landscape of a kind, drawn by the seed, over all 4**10 architectures of a space."""
    rng = np.random.default_rng(seed_from("window lag", seed))
    space = SearchSpace("lag", {f"d{i}": Choice(*range(OPTIONS)) for i in range(DECISIONS)}, model="none")
    terms: dict[tuple[int, ...], np.ndarray] = {}
    if kind == "deceptive":
        for i in range(0, DECISIONS, 2):
            best = rng.integers(OPTIONS, size=2)
            away = np.abs(np.indices((OPTIONS, OPTIONS)) - best[:, None, None]).sum(axis=0)
            terms[i, i + 1] = np.where(away == 0, 1.0, 0.8 * away / away.max())
    else:
        for i in range(DECISIONS):
            terms[(i,)] = rng.standard_normal(OPTIONS) * rng.uniform(0.2, 1)
        for pair in itertools.combinations(range(DECISIONS), 2):
            if kind != "separable" and rng.random() < 0.3:
                terms[pair] = 0.5 * rng.standard_normal((OPTIONS, OPTIONS))
    values = np.zeros((OPTIONS,) * DECISIONS)
    for axes, term in terms.items():
        values += term.reshape([OPTIONS if i in axes else 1 for i in range(DECISIONS)])
    if kind == "plateaus":
        shares = (values - values.min()) / np.ptp(values)
        values = np.minimum(np.floor(shares * LEVELS), LEVELS - 1.0)
    noise = rng.standard_normal(values.shape) * values.std() if kind == "noisy" else np.zeros((1,) * DECISIONS)
    observed = values + noise
    return Landscape(
        space, lambda at: float(values[at]), lambda at: float(observed[at]), float(values.min()), float(values.max())
    )


SYNTHETIC = ("separable", "interactions", "plateaus", "deceptive", "noisy")


@cache
def from_table(path: Path, space_name: str, label: str) -> Landscape:
    """The label of a truth table over its space: the mean of the rows that are nearest, in shares of each decision."""
    space = spaces.get(space_name)
    truth = read_truth(path, space, [label])
    known = truth.labels[label]
    most = np.maximum([len(decision.options) - 1 for decision in space.decisions], 1)
    rows = np.array([space.encode(one) for one in truth.architectures])

    def value(at: tuple[int, ...]) -> float:
        absent = (rows < 0) != (np.array(at) < 0)
        apart = np.where(absent, 1.0, np.abs(rows - at) / most).sum(axis=1)
        nearest = np.argsort(apart, kind="stable")[:NEAREST]
        return float(known[nearest].mean())

    def end(sign: int) -> float:
        """The most, or minus the least, that climbing finds."""

        def oriented(at: tuple[int, ...]) -> float:
            return sign * value(at)

        return max(oriented(climbed(space, at, oriented)) for at in starts(rows, known * sign))

    return Landscape(space, value, value, least=-end(-1), most=end(1))


def starts(rows: np.ndarray, values: np.ndarray) -> list[tuple[int, ...]]:
    """The twenty best rows."""
    return [tuple(map(int, rows[i])) for i in np.argsort(-values, kind="stable")[:20]]


def climbed(space: SearchSpace, at: tuple[int, ...], value: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """The end of the steepest way up from an architecture, one decision at a time."""
    best = value(at)
    while True:
        around = [
            tuple(space.encode(space.decode([*at[:i], number, *at[i + 1 :]])))
            for i, decision in enumerate(space.decisions)
            if at[i] >= 0
            for number in range(len(decision.options))
        ]
        found = max(around, key=value)
        if value(found) <= best:
            return at
        at, best = found, value(found)


def aggregated(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds with intervals, for each landscape and for all together; no single course is in it."""
    found: dict[tuple[Any, ...], dict[int, list[float]]] = {}
    for row in rows:
        for kind in (row["landscape"], "all"):
            key = row["searcher"], row["budget"], kind, row["window"]
            found.setdefault(key, {}).setdefault(row["seed"], []).append(row["regret"])
    means = {key: np.array([np.mean(values) for _, values in sorted(seeds.items())]) for key, seeds in found.items()}
    table = []
    for (name, budget, kind, window), regrets in means.items():
        more = regrets - means[name, budget, kind, 1]
        over_plain = regrets - means.get(("reinforce", budget, kind, window), np.full(len(regrets), np.nan))
        is_remedy = name.startswith("reinforce, ")
        table.append({
            "searcher": name, "budget": budget, "landscape": kind, "window": window, "seeds": len(regrets),
            "regret": float(regrets.mean()), "regret_interval": half_interval(regrets),
            "more_than_window_1": float(more.mean()), "more_interval": half_interval(more),
            "more_than_reinforce": float(over_plain.mean()) if is_remedy else None,
            "more_than_reinforce_interval": half_interval(over_plain) if is_remedy else None,
        })  # fmt: skip
    return table


def half_interval(values: np.ndarray) -> float:
    """Half the width of the 95 % interval of a mean."""
    return float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def show(table: Sequence[Mapping[str, Any]]) -> None:
    """A line for each mean."""
    for row in sorted(table, key=lambda one: (one["searcher"], one["budget"], one["landscape"] == "all")):
        line = (
            f"{row['searcher']} of {row['budget']} on {row['landscape']}, window {row['window']}: "
            f"regret {row['regret']:.3f} +- {row['regret_interval']:.3f}"
        )
        if row["window"] != 1:
            line += f", {row['more_than_window_1']:+.3f} +- {row['more_interval']:.3f} against window 1"
        if row["more_than_reinforce"] is not None:
            line += (
                f", {row['more_than_reinforce']:+.3f} +- {row['more_than_reinforce_interval']:.3f} against reinforce"
            )
        print(line)


def drawn(table: Sequence[Mapping[str, Any]]) -> str:
    """A page with a panel for each searcher and budget: regret over window, a line for each landscape."""
    panels = list(dict.fromkeys((row["searcher"], row["budget"]) for row in table))
    colours = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#000000")
    kinds = [*dict.fromkeys(row["landscape"] for row in table if row["landscape"] != "all"), "all"]
    top = max(row["regret"] + row["regret_interval"] for row in table)
    parts = []
    for number, (name, budget) in enumerate(panels):
        left, upper = 60 + 300 * (number % 4), 60 + 330 * (number // 4)
        parts.append(f'<text x="{left}" y="{upper - 12}">{name}, budget {budget}</text>')
        parts.append(f'<path d="M{left} {upper}v230h220" fill="none" stroke="#888"/>')
        parts += [
            f'<text x="{left - 36}" y="{upper + 234 - 230 * share}">{top * share:.2f}</text>'
            for share in (0.0, 0.5, 1.0)
        ]
        parts += [
            f'<text x="{left + 26 * np.log2(window):.0f}" y="{upper + 250}">{window}</text>' for window in WINDOWS
        ]
        for kind, colour in zip(kinds, (*colours[: len(kinds) - 1], colours[-1]), strict=False):
            own = sorted(
                (row["window"], row["regret"], row["regret_interval"]) for row in table
                if (row["searcher"], row["budget"], row["landscape"]) == (name, budget, kind)
            )  # fmt: skip
            places = [(left + 26 * np.log2(window), upper + 230 * (1 - y / top), 230 * e / top) for window, y, e in own]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{2 + (kind == "all")}"/>'
            )
            parts += [f'<path d="M{x:.1f} {y - e:.1f}v{2 * e:.1f}" stroke="{colour}"/>' for x, y, e in places]
    lower = 60 + 330 * ((len(panels) + 3) // 4)
    for i, (kind, colour) in enumerate(zip(kinds, (*colours[: len(kinds) - 1], colours[-1]), strict=False)):
        parts.append(f'<text x="{60 + 160 * i}" y="{lower}" fill="{colour}">{kind}</text>')
    note = (
        "regret of the final choice in units of the landscape's range, over the window; bars: 95 % interval over seeds"
    )
    return (
        f'<!doctype html><meta charset="utf-8"><svg width="1260" height="{lower + 60}" font-family="sans-serif" '
        f'font-size="13">{"".join(parts)}<text x="60" y="{lower + 28}">{note}</text></svg>'
    )


if __name__ == "__main__":
    main()
