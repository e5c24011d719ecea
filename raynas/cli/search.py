"""raynas search."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raynas.cli.options import (
    AddressOption,
    BatchSizeOption,
    ConfigOption,
    ConstraintOption,
    DataOption,
    GpusOption,
    ImgSizeOption,
    MemoryOption,
    NumClassesOption,
    ObjectiveOption,
    OutOption,
    ProxyOption,
    ResumeOption,
    ReuseOption,
    ScoreSeedOption,
    SeedOption,
    SetOption,
    TeacherOption,
    ThreadsOption,
    TimeLimitOption,
    WorkersOption,
    run_settings,
)

EXAMPLES = """
Examples:

    raynas search

    raynas search as-vit --data digits -o length_distortion -o ntk_condition

    raynas search as-vit -c "num_params<=1.8e6" --budget 100 --out runs/a

    raynas search vit -o tvt --searcher random --teacher runs/teacher --data folder:train --batch-size 128

    raynas search --resume --out runs/a --budget 200

    raynas search as-vit --searcher reinforce --searcher regularized_evolution --repeat 5
"""


def search(
    space: Annotated[
        str | None, typer.Argument(help="See `raynas list spaces`. Without one: a built-in search of about a minute.")
    ] = None,
    objective: ObjectiveOption = None,
    proxy: ProxyOption = None,
    constraint: ConstraintOption = None,
    searcher: Annotated[
        list[str] | None,
        typer.Option(help="Default: reinforce for one objective, nsga2 for several. Repeatable: they are compared."),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            help="Searches of each searcher, with seed, seed + 1, ..., to compare. Default 5 for several searchers."
        ),
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Of a comparison: tell the calls it takes to reach this value.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Candidates to evaluate. Default 500.")] = None,
    window: Annotated[int | None, typer.Option(help="Candidates in flight. Default: the searcher's own.")] = None,
    seed: SeedOption = None,
    score_seed: ScoreSeedOption = None,
    set_: SetOption = None,
    data: DataOption = None,
    teacher: TeacherOption = None,
    batch_size: BatchSizeOption = None,
    img_size: ImgSizeOption = None,
    num_classes: NumClassesOption = None,
    workers: WorkersOption = None,
    gpus_per_worker: GpusOption = None,
    address: AddressOption = None,
    threads: ThreadsOption = None,
    time_limit: TimeLimitOption = None,
    worker_memory: MemoryOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    reuse: ReuseOption = None,
    config: ConfigOption = None,
) -> None:
    """Find architectures, or compare searchers with --repeat or several --searcher."""
    options = run_settings(locals())
    searchers = options.pop("searcher") or []
    del options["repeat"], options["level"]
    from raynas.cli.commands import run_command
    from raynas.cli.sweep_command import is_sweep, sweep_command

    run: dict[str, Any] = {"config": config, "out": out, "resume": resume}
    if is_sweep(searchers, repeat, level, **run):
        sweep_command(options, set_ or [], searchers=searchers, repeat=repeat, level=level, reuse=reuse or [], **run)
        return
    options["searcher"] = searchers[0] if searchers else None
    run_command("search", options, set_ or [], reuse=reuse or [], **run)
