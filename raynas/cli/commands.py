"""What the commands do: options to a plan, its execution, and lists of what there is."""

from __future__ import annotations

import inspect
import json
import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from raynas.console.runs import ConsoleListener, show_best, show_failures, show_scores, show_summary
from raynas.console.terminal import print_rows, say
from raynas.errors import ConfigError
from raynas.interruption import Interrupted
from raynas.searching.config import RunConfig
from raynas.searching.run import execute
from raynas.space.cost import COSTS
from raynas.storage.run_folder import read_description
from raynas.storage.runs import default_folder, load_run

if TYPE_CHECKING:
    from raynas.proxies.probe import Proxy
    from raynas.searching.plan import Plan

BUILT_IN_SEARCH: Mapping[str, Any] = {
    "space": "as-vit",
    "objectives": ["length_distortion"],
    "proxies": ["ntk_condition"],
    "data": "digits",
    "searcher": "reinforce",
    "budget": 400,
}
"""What `raynas search` without a space does: about a minute on two cores."""


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
    base = stored_values(config, out, resume)
    given = {name: value for name, value in options.items() if value is not None}
    if "space" not in {**base, **given}:
        if resume:
            raise ConfigError(f"{out} holds no run to resume; name a space to start one there")
        if command == "search":
            base = {**BUILT_IN_SEARCH, **base}
    values = {**base, **given, "settings": merged_settings(base.get("settings", {}), settings)}
    run_config = RunConfig.make(values)

    from raynas.searching.plan import make_plan  # torch is behind it

    plan = make_plan(run_config)

    def show(summary: Mapping[str, Any], folder: Path) -> None:
        show_summary(summary)
        if command == "score":
            show_scores(load_run(folder).table, plan.space)
        else:
            show_best(summary, [score.name for score in plan.scores])

    carry_out(command, plan, show, out=out, resume=resume, reuse=reuse)


def stored_values(config: Path | None, out: Path | None, resume: bool) -> dict[str, Any]:
    """Fields of RunConfig from the run that is resumed, if it is there, and from a file that overrides them.

    Raises:
        RaynasError: Nothing says what to resume, or a file cannot be read.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the run to continue")
    values: dict[str, Any] = {}
    if resume and out is not None and (out / "run.yaml").exists():
        values = read_description(out)["config"]
    if config is not None:
        values |= RunConfig.read(config)
    return values


def carry_out(
    command: str,
    plan: Plan,
    show: Callable[[Mapping[str, Any], Path], None],
    *,
    out: Path | None,
    resume: bool,
    reuse: Sequence[Path],
    again: Sequence[str] = (),
) -> None:
    """Execute a plan with its progress, its results, its report and, where it is interrupted, what resumes it.

    Args:
        command: What is running.
        plan: What to do.
        show: Prints the results, given the summary and the folder.
        out: The run folder; None for a new one.
        resume: Continue the run in it.
        reuse: Run folders whose scores are taken.
        again: Further arguments of the command that resumes.

    Raises:
        RaynasError: As `raynas.searching.run.execute`.
    """
    folder = out or default_folder(plan.space.name)
    try:
        with ConsoleListener(command) as listener:
            summary = execute(plan, folder, resume=resume, reuse=reuse, listener=listener)
        show(summary, folder)
        show_failures(load_run(folder).evaluations)
        write_run_report(folder)
        say(f"run folder {folder}")
    except (Interrupted, KeyboardInterrupt) as error:
        if (folder / "run.yaml").exists():
            write_run_report(folder)
            arguments = ["raynas", command, "--resume", "--out", str(folder), *again]
            for path in reuse:
                arguments += ["--reuse", str(path)]
            say(f"continue with: {shlex.join(arguments)}")
        if isinstance(error, Interrupted):
            raise
        raise Interrupted(signal.SIGINT, folder) from None


def score_options(
    architectures: Sequence[str], file: Path | None, samples: int | None, proxies: Sequence[str], *, is_free: bool
) -> dict[str, Any]:
    """The part of a configuration that says which architectures `score` scores.

    Args:
        architectures: Texts.
        file: A table of them.
        samples: How many to draw.
        proxies: What to compute; none: the objectives of the space.
        is_free: None of the three need be given, since a file or a stored run says it.

    Raises:
        ConfigError: None, or more than one kind, is given.
    """
    given = [bool(architectures), file is not None, samples is not None]
    if sum(given) > 1 or (not any(given) and not is_free):
        raise ConfigError("give either --architecture, --file or --samples: what to score")
    options: dict[str, Any] = {"objectives": []} if proxies and any(given) else {}
    if samples is not None:
        return {**options, "searcher": "random", "budget": samples}
    if file is not None:
        from raynas.space.tables import read_architectures

        return {**options, "architectures": read_architectures(file)}
    return {**options, "architectures": list(architectures)} if architectures else options


def show_list(kind: str, *, as_json: bool) -> None:
    """Print the members of a registry, or the forms of --data."""
    rows = _LISTS[kind]()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print_rows([{name: value for name, value in row.items() if name not in _ONLY_IN_JSON} for row in rows])


def merged_settings(settings: Mapping[str, Mapping[str, Any]], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings by proxy, or under searcher, overridden by texts of the form NAME.KEY=VALUE.

    Raises:
        ConfigError: A text has another form.
    """
    merged = {name: dict(values) for name, values in settings.items()}
    for text in texts:
        target, dot, rest = text.partition(".")
        name, equals, value = rest.partition("=")
        if not (dot and equals and target and name):
            raise ConfigError(f"--set takes PROXY.KEY=VALUE or searcher.KEY=VALUE, not {text!r}")
        merged.setdefault(target, {})[name] = yaml.safe_load(value)
    return merged


def write_run_report(folder: Path) -> None:
    """Write report.html, and say where."""
    from raynas.report.page import write_report

    say(f"report {write_report(folder)}")


def _list_spaces() -> list[dict[str, Any]]:
    from raynas.space.registered import spaces

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
    from raynas.space.registered import models

    return [{"name": name, "summary": _first_line(models.get(name))} for name in models]


def _list_proxies() -> list[dict[str, Any]]:
    from raynas.proxies.registered import proxies

    costs = [
        {
            "name": name,
            "better": "lower",
            "repeats": 0,
            "needs": "nothing",
            "init": "",
            "settings": {},
            "outputs": [name],
            "paper": "",
            "description": COSTS[name],
            "summary": COSTS[name],
        }
        for name in COSTS
    ]
    rows = [
        {
            "name": proxy.name,
            "better": "higher" if proxy.higher_is_better else "lower",
            "repeats": proxy.repeats,
            "needs": _needs(proxy),
            "init": proxy.init,
            "settings": dict(proxy.settings),
            "outputs": list(proxy.outputs),
            "paper": proxy.paper,
            "description": inspect.getdoc(proxy.function) or "",
            "summary": proxy.summary,
        }
        for proxy in map(proxies.get, proxies)
    ]
    return sorted(rows + costs, key=lambda row: str(row["name"]))


def _needs(proxy: Proxy) -> str:
    images = "labelled images" if proxy.needs_labels else "images" if proxy.needs_images else "nothing"
    return f"{images} and a teacher" if proxy.needs_teacher else images


def _list_searchers() -> list[dict[str, Any]]:
    from raynas.searchers.registered import searchers

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
    from raynas.data.opening import datasets

    return [{"form": form, "summary": summary} for form, summary in datasets().items()]


_ONLY_IN_JSON = ("outputs", "description")

_LISTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "spaces": _list_spaces,
    "models": _list_models,
    "proxies": _list_proxies,
    "searchers": _list_searchers,
    "datasets": _list_datasets,
}


def _first_line(value: Any) -> str:
    return (value.__doc__ or "").strip().partition("\n")[0]
