"""What `raynas bench proxies` does."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.bench.config import BenchConfig
from raynas.cli.commands import merged_settings, write_run_report
from raynas.console.bench import show_bench
from raynas.console.runs import ConsoleListener
from raynas.console.terminal import say
from raynas.errors import ConfigError
from raynas.interruption import Interrupted
from raynas.storage.runs import default_folder


def bench_command(
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    config: Path | None,
    out: Path | None,
    resume: bool,
    reuse: Sequence[Path],
) -> None:
    """Hold proxies against a truth table.

    Args:
        options: Fields of BenchConfig; None where the user said nothing.
        settings: PROXY.KEY=VALUE.
        config: A YAML file that the options override.
        out: The run folder; None for a new one.
        resume: Continue the run in it; what is asked of its scores may change.
        reuse: Run folders whose scores are taken.

    Raises:
        RaynasError: Bad input, before anything is started; or what fails later.
    """
    from raynas.bench.run import execute_bench, make_bench_plan, stored_bench  # torch is behind it

    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the run to continue")
    base = stored_bench(out) if resume and out is not None else {}
    if config is not None:
        base |= BenchConfig.read(config)
    values = {**base, **{name: value for name, value in options.items() if value is not None}}
    if "space" not in values:
        raise ConfigError(f"{out} holds no run to resume; name a space" if resume else "name a space with --space")
    values["settings"] = merged_settings(base.get("settings", {}), settings)
    plan = make_bench_plan(BenchConfig.make(values), folder=out)
    for name, reason in plan.about["left_out"].items():
        say(f"left out of all: {name}, which {reason}")
    folder = out or default_folder(f"{plan.plan.space.name}-bench")
    try:
        with ConsoleListener("bench proxies") as listener:
            bench = execute_bench(plan, folder, resume=resume, reuse=reuse, listener=listener)
    except (Interrupted, KeyboardInterrupt) as error:
        if (folder / "run.yaml").exists():
            write_run_report(folder)
            again = ["raynas", "bench", "proxies", "--resume", "--out", str(folder)]
            say(f"continue with: {shlex.join([*again, *(part for path in reuse for part in ('--reuse', str(path)))])}")
        if isinstance(error, Interrupted):
            raise
        raise Interrupted(signal.SIGINT, folder) from None
    show_bench(bench)
    write_run_report(folder)
    say(f"run folder {folder}")
