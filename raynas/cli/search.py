"""raynas search."""

from __future__ import annotations

from typing import Annotated

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

    raynas search --resume --out runs/a --budget 200
"""


def search(
    space: Annotated[
        str | None, typer.Argument(help="See `raynas list spaces`. Without one: a built-in search of about a minute.")
    ] = None,
    objective: ObjectiveOption = None,
    proxy: ProxyOption = None,
    constraint: ConstraintOption = None,
    searcher: Annotated[
        str | None, typer.Option(help="Default: reinforce for one objective, nsga2 for several.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Candidates to evaluate. Default 500.")] = None,
    window: Annotated[int | None, typer.Option(help="Candidates in flight. Default: the searcher's own.")] = None,
    seed: SeedOption = None,
    score_seed: ScoreSeedOption = None,
    set_: SetOption = None,
    data: DataOption = None,
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
    """Find architectures."""
    options = run_settings(locals())
    from raynas.commands import run_command

    run_command("search", options, set_ or [], config=config, out=out, resume=resume, reuse=reuse or [])
