"""raynas scale."""

from __future__ import annotations

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
    ProxyOption,
    ResumeOption,
    ReuseOption,
    ScoreSeedOption,
    SetOption,
    ThreadsOption,
    TimeLimitOption,
    WorkersOption,
    run_settings,
)

EXAMPLES = """
Examples:

    raynas scale runs/first --data digits --out runs/family

    raynas scale "8,2,3|4,1,2|4,1,4|4,1,6|32" --stop "num_params>=8e6"

    raynas scale --resume --out runs/family

    raynas scale runs/family --pick "num_params<=30e6" > member.json
"""


def scale(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A run folder (what its search recommends; of a growth, the last member), a file with one "
            "architecture, JSON, a space's own text, or a published name."
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Of the source, where several spaces can read it; see `raynas list spaces`.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            "-o",
            help="NAME, NAME:max or NAME:min, ranked in every step; default: ntk_condition and length_distortion. "
            "Repeatable.",
        ),
    ] = None,
    proxy: ProxyOption = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            "--constraint",
            "-c",
            help='Bound on a cost or a score; what exceeds it is not chosen. Default: "num_params<=110e6" for as-vit '
            "with its own --stop, else none. Repeatable.",
        ),
    ] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            help='Grow until this cost is reached, counted at --img-size and --num-classes; "num_params>=80e6" for '
            'as-vit, other spaces need one. Also "macs>=4e9".'
        ),
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(help="By which a step may widen; default 0.05, 0.1, 0.15, 0.2. Repeatable.")
    ] = None,
    width_divisor: Annotated[
        int | None,
        typer.Option(help="Score networks with their width divided by it; default: the space's own, 4 for as-vit."),
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option(
            help='Print the largest member that meets, say, "num_params<=30e6" as JSON on standard output; of a '
            "growth that has ended without growing on. Repeatable: all must hold."
        ),
    ] = None,
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
    """Grow an architecture in depth and width into a family of models."""
    options = run_settings(locals())
    for name in ("source", "space", "stop", "rate", "pick"):
        del options[name]
    from raynas.cli.scale_command import scale_command

    scale_command(
        source,
        options,
        set_ or [],
        space=space,
        stop=stop,
        rates=rate or [],
        pick=pick or [],
        config=config,
        out=out,
        resume=resume,
        reuse=reuse or [],
    )
