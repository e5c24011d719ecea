"""`raynas search` with several searches: what makes it a sweep, and its execution."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.cli.commands import BUILT_IN_SEARCH, merged_settings, stored_values
from raynas.console.terminal import say
from raynas.errors import ConfigError, RaynasError
from raynas.interruption import Interrupted
from raynas.searching.config import RunConfig
from raynas.storage.run_folder import kind_of, read_description
from raynas.storage.runs import default_folder
from raynas.sweeps.config import KIND, SweepConfig


def is_sweep(
    searchers: Sequence[str],
    repeat: int | None,
    level: float | None,
    *,
    config: Path | None,
    out: Path | None,
    resume: bool,
) -> bool:
    """Whether several searches are asked for, or resumed.

    Raises:
        RaynasError: A level is named for a single search, or a file cannot be read.
    """
    if repeat is not None or len(searchers) > 1:
        return True
    if resume and out is not None and (out / "run.yaml").exists() and kind_of(read_description(out)) == KIND:
        return True
    if config is not None and {"searchers", "repeat"} & RunConfig.read(config).keys():
        return True
    if level is not None:
        raise ConfigError("--level compares searches: give --repeat, or --searcher more than once")
    return False


def sweep_command(
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    searchers: Sequence[str],
    repeat: int | None,
    level: float | None,
    config: Path | None,
    out: Path | None,
    resume: bool,
    reuse: Sequence[Path],
) -> None:
    """Carry out a sweep.

    Args:
        options: Fields of RunConfig; None where the user said nothing.
        settings: PROXY.KEY=VALUE or searcher.KEY=VALUE.
        searchers: Names; none: the default, or those of the file or the stored sweep.
        repeat: Searches of each searcher.
        level: A value whose calls are reported.
        config: A YAML file that the options override.
        out: The sweep's folder; None for a new one.
        resume: Continue the sweep in it.
        reuse: Run folders whose scores are taken.

    Raises:
        RaynasError: Bad input, before anything is started; what fails later; a search that failed, when all have ended.
    """
    base = stored_values(config, out, resume)
    given = {name: value for name, value in {**options, "repeat": repeat, "level": level}.items() if value is not None}
    if searchers:
        given |= {"searchers": searchers, "searcher": None}
    if "space" not in {**base, **given}:
        if resume:
            raise ConfigError(f"{out} holds no run to resume; name a space to start one there")
        base = {**BUILT_IN_SEARCH, **base}
    values = {**base, **given, "settings": merged_settings(base.get("settings", {}), settings)}
    sweep_config = SweepConfig.make(values)

    from raynas.console.sweeps import SweepConsole, show_sweep  # torch is behind these
    from raynas.sweeps.plan import make_sweep_plan
    from raynas.sweeps.run import execute_sweep

    plan = make_sweep_plan(sweep_config)
    folder = out or default_folder(plan.config.space)
    again = ["raynas", "search", "--resume", "--out", str(folder)]
    again += [part for path in reuse for part in ("--reuse", str(path))]
    try:
        with SweepConsole() as listener:
            summary = execute_sweep(plan, folder, resume=resume, reuse=reuse, listener=listener)
    except (Interrupted, KeyboardInterrupt) as error:
        if (folder / "run.yaml").exists():
            say(f"continue with: {shlex.join(again)}")
        if isinstance(error, Interrupted):
            raise
        raise Interrupted(signal.SIGINT, folder) from None
    show_sweep(summary)
    say(f"run folder {folder}")
    if summary["error"]:
        raise RaynasError(f"{summary['error']}. They are tried again with: {shlex.join(again)}")
