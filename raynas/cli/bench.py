"""raynas bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.options import (
    AddressOption,
    BatchSizeOption,
    ConfigOption,
    DataOption,
    GpusOption,
    ImgSizeOption,
    MemoryOption,
    NumClassesOption,
    OutOption,
    ResumeOption,
    ReuseOption,
    ScoreSeedOption,
    SetOption,
    TeacherOption,
    ThreadsOption,
    TimeLimitOption,
    WorkersOption,
    run_settings,
)

EXAMPLES = """
Examples:

    raynas bench proxies --space vit --truth trained.csv --label top1 -p ntk_condition -p length_distortion

    raynas bench proxies --space vit --truth trained.csv --label top1 -p all --rows 100 --within embed_dim

    raynas bench proxies --resume --out runs/bench --label top5 --combine "length_distortion+macs"
"""

app = typer.Typer(help="Measure what scores are worth.", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _group() -> None:
    """Measure what scores are worth."""


@app.command(epilog=EXAMPLES)
def proxies(
    space: Annotated[str | None, typer.Option(help="See `raynas list spaces`.")] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="CSV: a column for each field of an architecture, lists space-separated, and labels."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Column of it; NAME:min if lower is better. Repeatable.")
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            "-p",
            help="Score to compute, or all; see `raynas list proxies`. Counts of parameters, MACs, depth and width "
            "always stand beside it. Repeatable.",
        ),
    ] = None,
    combine: Annotated[
        list[str] | None,
        typer.Option(help='Several as one, such as "dss+tvt", "0.5*a+b" or "a+b:rank_sum". Repeatable.'),
    ] = None,
    combine_by: Annotated[
        str | None,
        typer.Option(help="log_rank (AZ-NAS; the default), rank_sum or min_max, for those that name none."),
    ] = None,
    within: Annotated[
        list[str] | None, typer.Option(help="Field whose values are strata, such as embed_dim. Repeatable.")
    ] = None,
    rows: Annotated[int | None, typer.Option(help="Draw this many architectures of the table. Default: all.")] = None,
    top: Annotated[
        int | None, typer.Option(help="How many a proxy may choose, for overlap and regret. Default 10.")
    ] = None,
    resamples: Annotated[int | None, typer.Option(help="Of the architectures, for intervals. Default 1000.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the report.")] = None,
    aggregates_only: Annotated[
        bool | None, typer.Option("--aggregates-only", help="Keep single architectures out of the report.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the rows and of the resamples. Default 0.")] = None,
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
    """How well proxies rank what architectures reached once trained, with trivial baselines beside them."""
    options = run_settings(locals())
    options["labels"] = options.pop("label")
    options["truth"] = None if truth is None else str(truth)
    from raynas.cli.bench_command import bench_command

    bench_command(options, set_ or [], config=config, out=out, resume=resume, reuse=reuse or [])
