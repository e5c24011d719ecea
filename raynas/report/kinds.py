"""The kinds of runs, each in one place: what stands for its architecture, what its page shows, and how that is drawn.

A new kind of run is registered here. What reads its folders stands in its own room and in a file of this one, which are
imported when a folder of the kind is at hand. Neither torch nor Ray is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from raynas.report.found import (
    found_by_analysis,
    found_by_evaluation,
    found_by_search,
    found_by_sweep,
    found_by_training,
    found_by_trials,
)
from raynas.storage.kinds import Bounds, Progress, RunKind, Taken, add_kind, run_kinds
from raynas.storage.learned import is_learned
from raynas.storage.sources import taken_from_search

if TYPE_CHECKING:
    from raynas.report.comparable import Comparable

Writer = Callable[[Path], Path]
"""Writes the page of a run that is part of another."""


class Layout(NamedTuple):
    """Sections of a page in order, and the scripts that draw them."""

    sections: tuple[str, ...]
    scripts: tuple[str, ...]
    styles: tuple[str, ...] = ("page.css", "lines.css")
    markup: tuple[str, ...] = ("sections.html",)


@dataclass(frozen=True)
class ReportedKind(RunKind):
    """A kind of run that has a report.

    Args:
        data: What its page shows, given a folder and what writes the pages of runs in it: one JSON value, which names
            its layout as `layout`, if it is not that of a search.
        layouts: Layouts of its pages, by name.
        refresh: Brings files in a folder up to date that follow from the others, before its page is written into it.
            None: there are none.
        compared: What a folder is compared by with others. None: by what runs of all kinds have in common.
    """

    data: Callable[[Path, Writer], dict[str, Any]]
    layouts: Mapping[str, Layout]
    refresh: Callable[[Path], None] | None = field(default=None, kw_only=True)
    compared: Callable[[Path], Comparable] | None = field(default=None, kw_only=True)


def layout_of(name: str) -> Layout:
    """The layout of a page, of whatever kind.

    Raises:
        KeyError: There is no such layout; the message names those that there are.
    """
    kinds = [kind for kind in map(run_kinds.get, run_kinds) if isinstance(kind, ReportedKind)]
    layouts = {known: layout for kind in kinds for known, layout in kind.layouts.items()} | _OF_MANY_RUNS
    if name not in layouts:
        raise KeyError(f"there is no layout {name!r} of a page; known are {', '.join(layouts)}")
    return layouts[name]


def _evaluations(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Progress:
    """How far a search is; a growth ends when it has grown, whatever its budget is."""
    total = None if config["searcher"] == "growth" else config["budget"]
    return Progress(summary["evaluations"], total, "evaluations")


def _of_searches(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Progress:
    """How far a sweep is: searches are counted, and their calls say how much is done."""
    searches = summary["searches"]
    calls = sum(config["budget"] if _has_ended(one) else one["evaluations"] for one in searches)
    return Progress(_ended(searches), len(searches), "searches", calls / max(1, config["budget"] * len(searches)))


def _of_trainings(config: Mapping[str, Any], summary: Mapping[str, Any]) -> Progress:
    """How far finalists or variants are: trainings are counted, and their epochs say how much is done."""
    trials = summary["trials"]
    done = [1.0 if _has_ended(one) else (one.get("epochs_done") or 0) / (one.get("epochs") or 1) for one in trials]
    return Progress(_ended(trials), len(trials), "trainings", sum(done) / max(1, len(trials)))


def _has_ended(part: Mapping[str, Any]) -> bool:
    return part["status"] not in ("waiting", "running", "interrupted")


def _ended(parts: Sequence[Mapping[str, Any]]) -> int:
    """How many of the runs that are parts of another have ended, in whatever way."""
    return sum(map(_has_ended, parts))


_SECTIONS_OF_SEARCH = (
    "best",
    "comparison",
    "next",
    "decisions",
    "scatter",
    "parallel",
    "progress",
    "policy",
    "failures",
    "correlation",
    "time",
    "setup",
)
_BASE = ("values.js", "pictures.js", "plot.js", "tables.js", "head.js")
_LINES = (*_BASE, "lines.js")
_DRAWN = (*_BASE, "scatter.js", "traces.js", "comparison.js", "decisions.js", "parallel.js", "next.js")
_OF_MANY_RUNS = {
    "compared": Layout(
        ("results", "differences", "courses", "fronts", "best", "setup"),
        (*_LINES, "compared_fronts.js", "compared.js"),
        ("page.css", "lines.css", "compared.css"),
        ("sections.html", "compared.html"),
    ),
    "runs": Layout(("runs",), (*_LINES, "runs.js"), ("page.css", "lines.css", "compared.css"), ("compared.html",)),
}
"""Layouts of pages that are of no single run."""


# -- searches, scoring runs, growths, benchmarks of proxies ------------------------------------------------------------


def _search(folder: Path, write: Writer) -> dict[str, Any]:
    from raynas.bench.folder import is_bench
    from raynas.storage.runs import load_run

    if is_bench(folder):
        from raynas.report.bench import bench_report_data

        return bench_report_data(folder)

    from raynas.report.search import report_data

    return report_data(load_run(folder))


def _called(folder: Path, description: Mapping[str, Any]) -> str:
    """The command that makes such a run."""
    from raynas.bench.folder import is_bench

    if is_bench(folder):
        return "bench"
    if description["config"].get("searcher") == "growth":
        return "scale"
    if is_learned(description["identity"]):
        return "latency"
    return "search" if description["identity"].get("objectives") else "score"


def _refresh_search(folder: Path) -> None:
    from raynas.bench.folder import is_bench, load_bench

    if is_bench(folder):
        load_bench(folder).write()


def _compared_search(folder: Path) -> Comparable:
    from raynas.bench.folder import is_bench

    if is_bench(folder):
        from raynas.report.compared_others import comparable_bench

        return comparable_bench(folder)

    from raynas.report.compared_searches import comparable_search

    return comparable_search(folder)


add_kind(
    ReportedKind(
        "search",
        taken_from_search,
        _search,
        {
            "search": Layout(_SECTIONS_OF_SEARCH, (*_DRAWN, "page.js"), ("page.css",)),
            "growth": Layout(
                ("growth", "steps", "family", *_SECTIONS_OF_SEARCH),
                (*_DRAWN, "lines.js", "towers.js", "growth.js", "page.js"),
            ),
            "latency": Layout(
                ("prediction", "next", *(name for name in _SECTIONS_OF_SEARCH if name != "next")),
                (*_DRAWN, "lines.js", "latency.js", "page.js"),
            ),
            "bench": Layout(
                ("ranking", "heat", "scatter", "among", "numbers", "strata", "failures", "time", "setup"),
                (*_LINES, "scatter.js", "heat.js", "bench_heat.js", "bench_scatter.js", "bench_table.js", "bench.js"),
                ("page.css", "lines.css", "bench.css"),
                ("sections.html", "bench.html"),
            ),
        },
        progress=_evaluations,
        found=found_by_search,
        called=_called,
        refresh=_refresh_search,
        compared=_compared_search,
    )
)


# -- trainings ---------------------------------------------------------------------------------------------------------


def _taken_from_training(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Taken:
    from raynas.training.folder import taken_from_training

    return taken_from_training(folder, description, bounds)


def _training(folder: Path, write: Writer) -> dict[str, Any]:
    from raynas.report.training import training_report_data
    from raynas.training.folder import load_training

    return training_report_data(load_training(folder))


def _compared_training(folder: Path) -> Comparable:
    from raynas.report.compared_trainings import comparable_training

    return comparable_training(folder)


add_kind(
    ReportedKind(
        "training",
        _taken_from_training,
        _training,
        {
            "training": Layout(
                ("curves", "next", "pictures", "phases", "model", "epochs", "time", "setup"),
                (*_LINES, "next.js", "training.js"),
            )
        },
        progress=lambda config, summary: Progress(summary["epochs_done"], summary["epochs"], "epochs"),
        found=found_by_training,
        compared=_compared_training,
    )
)


# -- finalists and variants --------------------------------------------------------------------------------------------


def _best_training(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Path:
    from raynas.trials.folder import best_training

    return best_training(folder, description, bounds)


def _trials(folder: Path, write: Writer) -> dict[str, Any]:
    from raynas.report.trials import trials_report_data

    return trials_report_data(folder, write)


def _compared_trials(folder: Path) -> Comparable:
    from raynas.report.compared_others import comparable_trials

    return comparable_trials(folder)


for _kind, _pictures in (("finalists", ("best",)), ("variants", ())):  # of one network one is enough
    add_kind(
        ReportedKind(
            _kind,
            _best_training,
            _trials,
            {
                _kind: Layout(
                    ("trainings", "trials", "next", *_pictures, "scatter", "correlation", "setup"),
                    (*_LINES, "scatter.js", "next.js", "trials.js"),
                )
            },
            progress=_of_trainings,
            found=found_by_trials,
            compared=_compared_trials,
        )
    )


# -- sweeps ------------------------------------------------------------------------------------------------------------


def _sweep(folder: Path, write: Writer) -> dict[str, Any]:
    from raynas.report.sweep import sweep_report_data

    return sweep_report_data(folder, write)


def _compared_sweep(folder: Path) -> Comparable:
    from raynas.report.compared_others import comparable_sweep

    return comparable_sweep(folder)


add_kind(
    ReportedKind(
        "sweep",
        None,
        _sweep,
        {"sweep": Layout(("traces", "levels", "searches", "setup"), (*_LINES, "sweep.js"))},
        progress=_of_searches,
        found=found_by_sweep,
        compared=_compared_sweep,
    )
)


# -- analyses ----------------------------------------------------------------------------------------------------------


def _analysis(folder: Path, write: Writer) -> dict[str, Any]:
    from raynas.analysis.folder import load_analysis
    from raynas.report.analysis import analysis_report_data

    return analysis_report_data(load_analysis(folder))


def _compared_analysis(folder: Path) -> Comparable:
    from raynas.report.compared_others import comparable_analysis

    return comparable_analysis(folder)


add_kind(
    ReportedKind(
        "analysis",
        None,
        _analysis,
        {
            "analysis": Layout(
                ("likeness", "heads", "depths", "pictures", "setup"),
                (*_LINES, "heat.js", "boxes.js", "analysis.js"),
                ("page.css", "lines.css", "bench.css"),
                ("sections.html", "analysis.html"),
            )
        },
        found=found_by_analysis,
        compared=_compared_analysis,
    )
)


# -- evaluations -------------------------------------------------------------------------------------------------------


def _evaluation(folder: Path, write: Writer) -> dict[str, Any]:
    from raynas.evaluation.folder import read_evaluation
    from raynas.report.evaluation import evaluation_report_data

    return evaluation_report_data(read_evaluation(folder))


add_kind(
    ReportedKind(
        "evaluation",
        None,
        _evaluation,
        {
            "evaluation": Layout(
                ("classes", "confusion", "calibration", "worst", "next", "setup"),
                (*_LINES, "heat.js", "calibration.js", "next.js", "evaluation.js"),
                ("page.css", "lines.css", "bench.css", "evaluation.css"),
                ("sections.html", "evaluation.html"),
            )
        },
        progress=lambda config, summary: Progress(summary["images_done"], summary["images"], "images"),
        found=found_by_evaluation,
    )
)
