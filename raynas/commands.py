"""What the commands do: options to a plan, and what a person sees while it runs and at its end."""

from __future__ import annotations

import json
import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from raynas.api import default_folder, load_run
from raynas.config import RunConfig
from raynas.cost import COSTS
from raynas.errors import ConfigError
from raynas.ranking import Ranking
from raynas.results import Evaluation
from raynas.run import Interrupted, Listener, execute
from raynas.run_folder import read_description
from raynas.space import Architecture, SearchSpace

BUILT_IN_SEARCH: Mapping[str, Any] = {
    "space": "as-vit",
    "objectives": ["length_distortion"],
    "proxies": ["ntk_condition"],
    "data": "digits",
    "searcher": "reinforce",
    "budget": 400,
}
"""What `raynas search` without a space does: about a minute on two cores."""

_LINE_EVERY_S = 10.0
_SHOWN_BEST = 5
_SHOWN_SCORES = 50


def run_command(
    command: str,
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    config: Path | None,
    out: Path | None,
    resume: bool,
    reuse: Sequence[Path],
) -> None:
    """Carry out `search` or `score`.

    Args:
        command: Which of them.
        options: Fields of RunConfig; None where the user said nothing.
        settings: PROXY.KEY=VALUE or searcher.KEY=VALUE.
        config: A YAML file that the options override.
        out: The run folder; None for a new one.
        resume: Continue the run in it.
        reuse: Run folders whose scores are taken.

    Raises:
        RaynasError: Bad input, before anything is started; or what fails later.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the run to continue")
    is_stored = resume and out is not None and (out / "run.yaml").exists()
    base: dict[str, Any] = {}
    if is_stored and out is not None:
        base = read_description(out)["config"]
    if config is not None:
        base |= RunConfig.read(config)
    given = {name: value for name, value in options.items() if value is not None}
    if command == "search" and "space" not in {**base, **given}:
        base = {**BUILT_IN_SEARCH, **base}
    values = {**base, **given, "settings": _merged(base.get("settings", {}), settings)}
    run_config = RunConfig.make(values)

    from raynas.plan import make_plan  # torch is behind it

    plan = make_plan(run_config)
    folder = out or default_folder(plan.space.name)
    console = Console(stderr=True)
    console.print(f"run folder [bold]{escape(str(folder))}[/]", highlight=False)
    try:
        with ConsoleListener(console, command, plan.config.budget) as listener:
            summary = execute(plan, folder, resume=resume, reuse=reuse, listener=listener)
    except (Interrupted, KeyboardInterrupt) as error:
        if (folder / "run.yaml").exists():
            _write_report(folder, console)
            again = f"raynas {command} --resume --out {shlex.quote(str(folder))}"
            console.print(f"continue with: [bold]{escape(again)}[/]", highlight=False, soft_wrap=True)
        if isinstance(error, Interrupted):
            raise
        raise Interrupted(signal.SIGINT, folder) from None
    _show_summary(summary)
    if command == "score":
        _show_scores(load_run(folder).table, plan.space)
    else:
        _show_best(summary["best"], [score.name for score in plan.scores])
    _write_report(folder, console)
    console.print(f"run folder [bold]{escape(str(folder))}[/]", highlight=False)


def score_options(
    architectures: Sequence[str], file: Path | None, samples: int | None, *, is_free: bool
) -> dict[str, Any]:
    """The part of a configuration that says which architectures `score` scores.

    Args:
        architectures: Texts.
        file: A table of them.
        samples: How many to draw.
        is_free: None of the three need be given, since a file or a stored run says it.

    Raises:
        ConfigError: None, or more than one kind, is given.
    """
    given = [bool(architectures), file is not None, samples is not None]
    if sum(given) > 1 or (not any(given) and not is_free):
        raise ConfigError("give either --architecture, --file or --samples: what to score")
    if samples is not None:
        return {"searcher": "random", "budget": samples, "objectives": []}
    if file is not None:
        from raynas.tables import read_architectures

        return {"architectures": read_architectures(file), "objectives": []}
    return {"architectures": list(architectures), "objectives": []} if architectures else {}


def show_list(kind: str, *, as_json: bool) -> None:
    """Print the members of a registry, or the forms of --data."""
    rows = _LISTS[kind]()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    _print_rows(rows)


class ConsoleListener(Listener):
    """Shows a bar with the time left in a terminal, and a line now and then elsewhere.

    Args:
        console: Where to show it.
        command: What is running.
        budget: Evaluations to come.
    """

    def __init__(self, console: Console, command: str, budget: int) -> None:
        self._console = console
        self._budget = budget
        self._last_line = 0.0
        self._last_told = 0
        self._bar = Progress(
            TextColumn(command),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=console,
            transient=True,
        )
        self._shown = self._bar if console.is_terminal else nullcontext()
        self._task = self._bar.add_task(command, total=budget, best="starting workers")

    def __enter__(self) -> ConsoleListener:
        self._shown.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._shown.__exit__(*details)

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        """Move the bar, or print a line if it is time."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=told, best=self._best(ranking))
            return
        now = time.monotonic()
        if not self._last_told:
            self._last_line, self._last_told = now, told  # starting the workers says nothing of the time left
        elif now - self._last_line > _LINE_EVERY_S:
            left = (now - self._last_line) / (told - self._last_told) * (self._budget - told)
            self._last_line, self._last_told = now, told
            line = f"{told}/{self._budget}, about {left:.0f} s left"
            self._console.print(", ".join(filter(None, [line, self._best(ranking)])), highlight=False)

    def on_log(self, line: str) -> None:
        """Print it above the bar."""
        self._console.print(line, highlight=False, markup=False)

    @staticmethod
    def _best(ranking: Ranking) -> str:
        best = ranking.best()
        if not best:
            return ""
        if len(ranking.objectives) > 1:
            return f"{len(best)} on the front"
        name = ranking.objectives[0].name
        return f"best {name} {best[0].scores[name]:.4g}"


def _merged(settings: Mapping[str, Mapping[str, Any]], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    merged = {name: dict(values) for name, values in settings.items()}
    for text in texts:
        target, dot, rest = text.partition(".")
        name, equals, value = rest.partition("=")
        if not (dot and equals and target and name):
            raise ConfigError(f"--set takes PROXY.KEY=VALUE or searcher.KEY=VALUE, not {text!r}")
        merged.setdefault(target, {})[name] = yaml.safe_load(value)
    return merged


def _write_report(folder: Path, console: Console) -> None:
    from raynas.report import write_report

    console.print(f"report [bold]{escape(str(write_report(folder)))}[/]", highlight=False)


def _show_summary(summary: Mapping[str, Any]) -> None:
    line = f"{summary['evaluations']} evaluations in {summary['seconds']:.0f} s, {summary['failed']} failed"
    if summary["reused"]:
        line += f", {summary['reused']} reused"
    if summary["status"] == "exhausted":
        line += "; the space has no more architectures"
    Console().print(line, highlight=False)


def _show_best(best: Sequence[Mapping[str, Any]], scores: Sequence[str]) -> None:
    """The best architectures, on standard output."""
    rows = [
        {**{name: {**entry, **entry["scores"]}.get(name) for name in scores}, "architecture": entry["text"]}
        for entry in best[:_SHOWN_BEST]
    ]
    _print_rows(rows)
    if len(best) > _SHOWN_BEST:
        Console().print(f"and {len(best) - _SHOWN_BEST} more in the report", highlight=False)


def _show_scores(table: Any, space: SearchSpace) -> None:
    """All architectures up to a screenful, on standard output."""
    hidden = ("architecture_key", "candidate", "architecture")
    rows = [
        {
            **{name: _whole(value) if name in COSTS else value for name, value in row.items() if name not in hidden},
            "architecture": space.text(Architecture.from_json(row["architecture"])),
        }
        for row in table.slice(0, _SHOWN_SCORES).to_pylist()
    ]
    _print_rows(rows)
    if len(table) > _SHOWN_SCORES:
        Console().print(f"and {len(table) - _SHOWN_SCORES} more in evaluations/", highlight=False)


def _print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_shown(value)) for value in row.values()))
    Console().print(table)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def _list_spaces() -> list[dict[str, Any]]:
    from raynas.registry import spaces

    found = [spaces.get(name) for name in spaces]
    return [
        {
            "name": space.name,
            "size": space.size,
            "objectives": list(space.objectives),
            "named": list(space.named),
            "paper": space.paper,
            "summary": space.summary,
        }
        for space in found
    ]


def _list_models() -> list[dict[str, Any]]:
    from raynas.registry import models

    return [{"name": name, "summary": _first_line(models.get(name))} for name in models]


def _list_proxies() -> list[dict[str, Any]]:
    from raynas.registry import proxies

    costs = [
        {
            "name": name,
            "better": "lower",
            "repeats": 0,
            "needs": "nothing",
            "settings": {},
            "summary": COSTS[name],
        }
        for name in COSTS
    ]
    rows = [
        {
            "name": proxy.name,
            "better": "higher" if proxy.higher_is_better else "lower",
            "repeats": proxy.repeats,
            "needs": "labelled images" if proxy.needs_labels else "images" if proxy.needs_images else "nothing",
            "settings": dict(proxy.settings),
            "summary": proxy.summary,
        }
        for proxy in map(proxies.get, proxies)
    ]
    return sorted(rows + costs, key=lambda row: str(row["name"]))


def _list_searchers() -> list[dict[str, Any]]:
    from raynas.registry import searchers

    return [
        {
            "name": name,
            "several objectives": found.is_multi_objective,
            "window": found.default_window,
            "advised up to": found.advised_budget,
            "summary": _first_line(found),
        }
        for name, found in ((name, searchers.get(name)) for name in searchers)
    ]


def _list_datasets() -> list[dict[str, Any]]:
    from raynas.data import datasets

    return [{"form": form, "summary": summary} for form, summary in datasets().items()]


_LISTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "spaces": _list_spaces,
    "models": _list_models,
    "proxies": _list_proxies,
    "searchers": _list_searchers,
    "datasets": _list_datasets,
}


def _first_line(value: Any) -> str:
    return (value.__doc__ or "").strip().partition("\n")[0]
