"""raynas score."""

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

    raynas score as-vit --samples 20 -p length_distortion -p macs

    raynas score as-vit -a as-vit-small -a "8,2,3|4,1,2|4,1,4|4,1,6|32"

    raynas score as-vit --file architectures.txt -p ntk_condition --data digits
"""


def score(
    space: Annotated[str | None, typer.Argument(help="See `raynas list spaces`.")] = None,
    proxy: ProxyOption = None,
    architecture: Annotated[
        list[str] | None, typer.Option("--architecture", "-a", help="JSON, the space's text, or a name. Repeatable.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="NAME.csv with a column per field, lists space-separated; any other: one architecture a line."
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Draw this many, each once.")] = None,
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
    """Score given or sampled architectures with any proxies."""
    options = run_settings(locals())
    from raynas.cli.commands import run_command, score_options

    options |= score_options(architecture or [], file, samples, proxy or [], is_free=resume or config is not None)
    run_command("score", options, set_ or [], config=config, out=out, resume=resume, reuse=reuse or [])
