"""Sweeps of searches: several searchers with several seeds each, and what their folder tells of them.

Neither torch nor Ray is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.notebook import html_table
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run, read_description, read_summary, reading
from raynas.sweeps.config import FINISHED, KIND, SearchName, SweepConfig
from raynas.sweeps.traces import comparison, curves, read_traces
from raynas.wording import plural

if TYPE_CHECKING:
    from raynas.storage.runs import Run


@dataclass(frozen=True, repr=False)
class Sweep:
    """A sweep's folder, read.

    Args:
        folder: The folder that was read.
        description: run.yaml: `config`, `identity`, `directions`, `versions`, `machine`.
        summary: summary.json; empty if the sweep was killed before it wrote one.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]

    def __repr__(self) -> str:
        status, searches = self.summary.get("status", "unknown"), plural(len(self.config.names), "search", "searches")
        return f"Sweep({str(self.folder)!r}, {status}, {searches})"

    def _repr_html_(self) -> str:
        return html_table(repr(self), self.summary.get("rows") or self.summary.get("searches") or [])

    @property
    def config(self) -> SweepConfig:
        """The settings of the sweep, resolved."""
        return SweepConfig.make(self.description["config"])

    @property
    def runs(self) -> dict[str, Run]:
        """The searches that have begun, by their names."""
        from raynas.storage.runs import load_run

        folders = {str(name): self.folder / str(name) for name in self.config.names}
        return {name: load_run(folder) for name, folder in folders.items() if holds_run(folder)}


def load_sweep(folder: str | Path) -> Sweep:
    """Read a sweep's folder, finished or not.

    Raises:
        StoreError: It holds no sweep.
    """
    folder = as_path(folder)
    return Sweep(folder, read_description(folder, kind=KIND), read_summary(folder))


def is_finished(folder: Path, budget: int | None = None) -> bool:
    """Whether the search in a folder has made all its calls; those of this budget, if one is given."""
    summary = read_summary(folder)
    if summary.get("status") not in FINISHED:
        return False
    with reading(folder):
        return budget is None or summary["status"] == "exhausted" or bool(summary["evaluations"] >= budget)


def entries(folder: Path, names: Sequence[SearchName], errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """How far each search is, from its own folder.

    Args:
        folder: The folder of the sweep.
        names: The names of its searches.
        errors: The errors of searches that failed, by name; what failed early has left no summary.

    Returns:
        One for each: name, searcher, seed, folder (relative), status (waiting, running, completed, exhausted,
        interrupted or failed), evaluations, seconds, error.
    """
    found = []
    for name in names:
        summary = read_summary(folder / str(name))
        error = errors.get(str(name))
        found.append(
            {
                "name": str(name),
                **name._asdict(),
                "folder": str(name),
                "status": "failed" if error else summary.get("status", "waiting"),
                "evaluations": summary.get("evaluations", 0),
                "seconds": summary.get("seconds", 0.0),
                "error": error or summary.get("error"),
            }
        )
    return found


def compared(folder: Path, config: SweepConfig, searches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The searches that have ended, side by side.

    Args:
        folder: The folder of the sweep.
        config: What the sweep was told.
        searches: All of them, as from `entries`.

    Returns:
        As `comparison`; further `best`, the final value of each search by its name, and `curves`.

    Raises:
        StoreError: A folder cannot be read.
    """
    ended = [name for name, one in zip(config.names, searches, strict=True) if one["status"] in FINISHED]
    with reading(folder):
        measure, traces = read_traces(folder, ended)
    return {
        **comparison(traces, measure, budget=config.budget, level=config.level),
        "best": {str(trace.name): trace.values[-1] if trace.values else None for trace in traces},
        "curves": curves(traces, measure),
    }


def sweep_data(folder: str | Path) -> dict[str, Any]:
    """What there is to show of a sweep, finished or not, as one JSON value without NaN and infinity.

    Args:
        folder: The folder of the sweep.

    Returns:
        - `kind`, `space`, `status`, `error` and `seconds` of the sweep, `budget` of each search, `searchers`, `seeds`;
        - `measure` {name, maximize}: the objective, or "hypervolume" where there are several, the share of the box
          between the best and the worst values of all its searches that the found ones dominate;
        - `searches`, one for each: as `entries`, with `best`, the final value of the measure (None before its end);
        - `levels` and `rows`: see `comparison`; `curves`: see `raynas.sweeps.traces.curves`. All three tell of the
          searches that have ended.

    Raises:
        StoreError: The folder holds no sweep.
    """
    sweep = load_sweep(folder)
    config = sweep.config
    errors = {one["name"]: one["error"] for one in sweep.summary.get("searches", ()) if one["status"] == "failed"}
    searches = entries(sweep.folder, config.names, errors)
    found = compared(sweep.folder, config, searches)
    best = found.pop("best")
    return {
        "kind": KIND,
        "space": sweep.description["identity"]["space"],
        "status": sweep.summary.get("status", "unknown"),
        "error": sweep.summary.get("error"),
        "seconds": sweep.summary.get("seconds"),
        "budget": config.budget,
        "searchers": list(config.searchers),
        "seeds": sorted({name.seed for name in config.names}),
        "searches": [{**one, "best": best.get(one["name"])} for one in searches],
        **found,
    }
