"""What benchmarks of proxies, trainings side by side, sweeps and analyses are compared by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from raynas.bench.folder import load_bench
from raynas.report.comparable import Comparable, Course, Network, Value
from raynas.report.embedding import short_number
from raynas.space.cost import COSTS
from raynas.storage.run_folder import kind_of, read_description, read_summary, setting_of

_NOUNS = {"finalists": ("folder of finalists", "folders of finalists"), "variants": ("folder of variants",) * 2}
_SHOWN_PREDICTORS = 40


def comparable_bench(folder: Path) -> Comparable:
    """What a benchmark of proxies is compared by: Kendall's tau-b of each predictor with the first label.

    Raises:
        StoreError: The folder cannot be read.
    """
    bench = load_bench(folder)
    label = next(iter(bench.labels))
    rows = [row for row in bench.correlations.to_pylist() if row["within"] is None and row["label"] == label]
    rows.sort(key=lambda row: -2.0 if row["tau"] is None else -row["tau"])
    basis = [label, bench.about.get("file"), len(bench.truth)]
    values = {
        f"tau of {row['proxy']} with {label}": Value(
            row["tau"], "number", "max", row["tau_low"], row["tau_high"], basis
        )
        for row in rows[:_SHOWN_PREDICTORS]
    }
    told = {"architectures": Value(len(bench.truth), "whole")}
    return Comparable("benchmark of proxies", ("benchmark of proxies", "benchmarks of proxies"), {**values, **told})


def comparable_trials(folder: Path) -> Comparable:
    """What finalists or variants are compared by: the most accurate one, and how they trained.

    Raises:
        StoreError: The folder cannot be read.
    """
    description, summary = read_description(folder), read_summary(folder)
    trials = summary.get("trials") or []
    known = sorted((one for one in trials if one.get("top1") is not None), key=lambda one: -float(one["top1"]))
    data = setting_of(description["config"], "data")
    best = known[0] if known else None
    accuracies = [float(one["top1"]) for one in known]
    values = {
        "best top-1": Value(accuracies[0] if accuracies else None, "share", "max", basis=data),
        "median top-1": Value(median(accuracies) if accuracies else None, "share", "max", basis=data),
        "the best one": Value(None if best is None else str(best.get("name"))),
        "parameters of the best": Value(best and best.get("num_params"), "count"),
        "MACs of the best": Value(best and best.get("macs"), "count"),
        "trainings": Value(len(trials), "whole"),
        "epochs in all": Value(sum(int(one.get("epochs_done") or 0) for one in trials), "whole"),
    }
    kind = kind_of(description)
    return Comparable(kind, _NOUNS.get(kind, (kind, kind)), values, network=_best_network(folder, best))


def _best_network(folder: Path, best: Mapping[str, Any] | None) -> Network | None:
    if best is None:
        return None
    description = read_description(folder / str(best["folder"]), kind="training")
    model = description["model"]
    values = {"top-1 (%)": 100 * float(best["top1"]), **{name: float(model[name]) for name in COSTS}}
    return Network(str(model["space"]), model["architecture"], model.get("text"), int(model["img_size"]), values)


def comparable_sweep(folder: Path) -> Comparable:
    """What a sweep is compared by: the median over the seeds of each of its searchers.

    Raises:
        StoreError: The folder cannot be read.
    """
    from raynas.sweeps.folder import sweep_data

    found = sweep_data(folder)
    name, maximize = found["measure"]["name"], found["measure"]["maximize"]
    # A hypervolume is a share of the box of a sweep's own searches, and of no other's.
    basis = [name, str(folder)] if name == "hypervolume" else [name, read_description(folder)["identity"].get("scores")]
    better = "max" if maximize else "min"
    form = "count" if name in COSTS else "number"
    values = {
        f"median {name} by {row['searcher']}": Value(
            row["best"]["median"], form, better, row["best"]["low"], row["best"]["high"], basis
        )
        for row in found["rows"]
    }
    values["searches"] = Value(len(found["searches"]), "whole")
    values["calls"] = Value(sum(int(one["evaluations"]) for one in found["searches"]), "whole")
    courses = [
        Course(
            f"{name} by {curve['searcher']}, median",
            "evaluation",
            curve["at"],
            curve["median"],
            low=curve["low"],
            high=curve["high"],
            form=form,
            better=better,
            is_step=True,
        )
        for curve in found["curves"]
    ]
    return Comparable("sweep", ("sweep", "sweeps"), values, courses=courses)


def comparable_analysis(folder: Path) -> Comparable:
    """What an analysis is compared by: neighbours of features, and what tokens are like, layer by layer.

    Raises:
        StoreError: The folder cannot be read.
    """
    from raynas.analysis.folder import load_analysis

    analysis = load_analysis(folder)
    layers = [row for row in analysis.layers.to_pylist() if row["network"] == "model"]
    known = (analysis.summary.get("knn_top1") or {}).get("model")
    basis = [analysis.description["config"].get("data"), analysis.summary.get("images")]
    values = {
        "top-1 of nearest neighbours": Value(known, "share", "max", basis=basis),
        "effective rank at the end": Value(layers[-1]["effective_rank"] if layers else None, basis=basis),
        "likeness of tokens at the end": Value(layers[-1]["token_similarity"] if layers else None, basis=basis),
        "images": Value(analysis.summary.get("images"), "whole"),
    }
    courses = [
        Course(title, "point", list(range(1, len(layers) + 1)), _numbers(layers, column))
        for title, column in (("effective rank", "effective_rank"), ("likeness of tokens", "token_similarity"))
        if layers
    ]
    return Comparable("analysis", ("analysis", "analyses"), values, courses=courses)


def _numbers(rows: Sequence[Mapping[str, Any]], column: str) -> list[float | None]:
    return [None if row[column] is None else short_number(row[column]) for row in rows]
