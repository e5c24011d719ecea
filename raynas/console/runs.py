"""What a person sees of a run in a terminal or a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import TextColumn, TimeRemainingColumn

from raynas.console.bar import BarConsole
from raynas.console.images import images_block
from raynas.console.terminal import print_rows, say, shown_in_table, wide_console
from raynas.data.inspection import Inspection
from raynas.scoring.pool import Waiting
from raynas.searchers.base import SearchProgress
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.cost import COSTS
from raynas.space.results import Evaluation, Objective
from raynas.storage.runs import Run
from raynas.wording import duration, plural

_LINE_EVERY_S = 10.0
_STARTS_S = 15.0
_SHOWN_FAILURES = 4
_SHOWN_BEST = 5
_SHOWN_SCORES = 50


class ConsoleListener(BarConsole, SearchListener):
    """Shows a bar with the time left in a terminal, and a line now and then elsewhere, on standard error.

    Args:
        command: The command that is running, which stands before the bar.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command, "starting workers", (TextColumn("left"), TimeRemainingColumn()))
        self._budget = 0
        self._progress: SearchProgress | None = None
        self._last_line: tuple[float, float] | None = None  # when it was printed, and the share that it told

    def on_start(self, folder: Path, budget: int) -> None:
        """Say where the results go."""
        self._budget = budget
        self._bar.update(self._task, total=1.0)
        self.on_log(f"run folder {folder}")

    def on_images(self, inspection: Inspection) -> None:
        """Say what is in the data set."""
        for line in images_block(inspection, "images"):
            self.on_log(line)

    def on_progress(self, progress: SearchProgress) -> None:
        """Show this progress instead of the share of the budget."""
        self._progress = progress

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Move the bar, or print a line if it is time."""
        count, share = self._progress or (f"{told}/{self._budget}", told / self._budget)
        best = self._best(ranking) if self._progress is None else ""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=share, count=count, state=best)
            return
        now = time.monotonic()
        if self._last_line is None:
            self._last_line = now, share  # starting the workers says nothing of the time left
        elif now - self._last_line[0] > _LINE_EVERY_S:
            seconds, gained = now - self._last_line[0], share - self._last_line[1]
            self._last_line = now, share
            left = f"about {duration(seconds / gained * (1 - share))} left" if gained > 0 else ""
            self._console.print(", ".join(filter(None, [count, left, best])), highlight=False)

    def on_waiting(self, waiting: Waiting | None) -> None:
        """Show what workers are awaited for longer than it takes to start one, in place of the best."""
        if self._console.is_terminal and waiting is not None and waiting.seconds > _STARTS_S:
            self._bar.update(self._task, state=waiting.in_words)

    @staticmethod
    def _best(ranking: Ranking) -> str:
        best = ranking.best()
        if not best:
            return ""
        if len(ranking.objectives) > 1:
            return f"{len(best)} on the front"
        name = ranking.objectives[0].name
        return f"best {name} {best[0].scores[name]:.4g}"


def show_summary(summary: Mapping[str, Any], *, stderr: bool = False) -> None:
    """Print how many evaluations a run has made, the time that it took, and what came of them."""
    counted = plural(summary["evaluations"], "evaluation", "evaluations")
    line = f"{counted} in {duration(summary['seconds'])}, {summary['failed']} failed"
    if summary.get("infeasible"):
        line += f", {summary['infeasible']} infeasible"
    if summary["reused"]:
        line += f", {summary['reused']} reused"
    if summary["status"] == "exhausted":
        is_growth = summary.get("family") is not None
        line += "; the last step left nothing to choose" if is_growth else "; the space has no more architectures"
    wide_console(stderr=stderr).print(line, highlight=False)


def show_failures(evaluations: Any) -> None:
    """Which scores have no value, and why the first of them has none, on standard error."""
    import pyarrow.compute as pc

    failed = evaluations.filter(pc.field("status") != "ok")
    groups = failed.group_by(["proxy", "status"], use_threads=False).aggregate([([], "count_all"), ("error", "first")])
    rows = sorted(groups.to_pylist(), key=lambda row: -row["count_all"])
    for row in rows[:_SHOWN_FAILURES]:
        say(f"{row['proxy']}: {row['status']} {row['count_all']} x, such as: {row['error_first']}")
    if len(rows) > _SHOWN_FAILURES:
        rest = plural(len(rows) - _SHOWN_FAILURES, "more kind of failure", "more kinds of failure")
        say(f"and {rest} in the report")


def show_best(run: Run) -> None:
    """The best architectures, and the searcher's own choice if it has one, on standard output."""
    best = run.best
    rows = [
        {
            **{name: {**entry, **entry["scores"]}.get(name) for name in run.description["identity"]["scores"]},
            **_uniform_beside(run, entry),
            "architecture": entry["text"],
        }
        for entry in best[:_SHOWN_BEST]
    ]
    print_rows(rows)
    if any(_uniform_beside(run, entry) for entry in best[:_SHOWN_BEST]):
        line = "uniform: the same score of the network with all blocks alike and nearly equal multiply-adds"
        wide_console().print(line, highlight=False)
    if len(best) > _SHOWN_BEST:
        wide_console().print(f"and {len(best) - _SHOWN_BEST} more in the report", highlight=False)
    if chosen := run.summary.get("recommended"):
        values = ", ".join(f"{name} {shown_in_table(value)}" for name, value in chosen["scores"].items())
        reason = f", {chosen['reason']}" if chosen.get("reason") else ""
        shown = [entry["architecture"] for entry in best[:_SHOWN_BEST]]
        if chosen["architecture"] in shown:
            what = f"the one in line {shown.index(chosen['architecture']) + 1} above"
        else:
            what = f"{chosen['text']} ({values})"
        line = f"the searcher's own choice{reason}: {what}"
        wide_console().print(line, highlight=False, markup=False)


def _uniform_beside(run: Run, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the uniform network of the cost of an architecture reaches, by the objectives that are no costs."""
    names = [Objective.parse(str(text)).name for text in run.description["identity"]["objectives"]]
    names = [name for name in names if name not in COSTS]
    found = [one["scores"] for one in run.summary.get("uniform") or [] if one["beside"] == entry["architecture"]]
    return {("uniform" if len(names) == 1 else f"uniform {name}"): found[0].get(name) for name in names if found}


def show_comparison(run: Run) -> None:
    """What the winner is set beside, on standard output; nothing where it is not."""
    found = run.summary.get("comparison")
    if not found or not found["verdict"]:
        return
    console = wide_console()
    console.print(found["verdict"], highlight=False, markup=False)
    if uniform := found["uniform"]:
        macs, winner = uniform["macs"], found["winner"]["macs"]
        line = f"the uniform network: {uniform['text']} ({macs / winner - 1:+.1%} multiply-adds)"
        console.print(line, highlight=False, markup=False)


def show_scores(run: Run) -> None:
    """All architectures up to a screenful, on standard output."""
    table, space = run.table, run.space
    hidden = ("architecture_key", "candidate", "architecture")
    rows = [
        {
            **{name: _whole(value) if name in COSTS else value for name, value in row.items() if name not in hidden},
            "architecture": space.text(Architecture.from_json(row["architecture"])),
        }
        for row in table.slice(0, _SHOWN_SCORES).to_pylist()
    ]
    print_rows(rows)
    if len(table) > _SHOWN_SCORES:
        wide_console().print(f"and {len(table) - _SHOWN_SCORES} more in evaluations/", highlight=False)


def show_family(run: Run, *, stderr: bool = False) -> None:
    """The states of a growth, from the start on."""
    growth = run.space.growth
    assert growth is not None
    names = list(dict.fromkeys(name for state in run.family for name in state["scores"]))
    rows = []
    for state in run.family:
        architecture = Architecture(state["architecture"])
        rows.append(
            {
                "step": state["step"],
                "change": state["change"],
                growth.depth: list(growth.depths(architecture)),
                growth.width: growth.width_of(architecture),
                **{name: state[name] for name in COSTS},
                **{name: state["scores"].get(name) for name in names},
            }
        )
    print_rows(rows, stderr=stderr)


def show_member(run: Run, member: Mapping[str, Any]) -> None:
    """One state of a growth: for people on standard error, as JSON on standard output."""
    scores = "".join(f", {name} {value:.5g}" for name, value in member["scores"].items())
    costs = f"num_params {member['num_params']:,}, macs {member['macs']:,}"
    architecture = Architecture(member["architecture"])
    say(f"step {member['step']}: {run.space.text(architecture)} ({costs}{scores})")
    print(architecture.to_json())


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
