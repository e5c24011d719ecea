"""The command line: arguments to calls. Heavy imports are inside the commands, so that --help answers at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from raynas.errors import RaynasError

app = typer.Typer(
    name="raynas",
    help="Search vision-transformer architectures on Ray.",
    epilog="Try it: raynas search    (about a minute on two CPU cores; ends with a report to open in a browser)",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

ProxyOption = Annotated[
    list[str] | None, typer.Option("--proxy", "-p", help="Score to compute; see `raynas list proxies`. Repeatable.")
]
ObjectiveOption = Annotated[
    list[str] | None,
    typer.Option("--objective", "-o", help="NAME, NAME:max or NAME:min; default: the space's own. Repeatable."),
]
ConstraintOption = Annotated[
    list[str] | None,
    typer.Option("--constraint", "-c", help='Bound on a cost or a score, such as "macs<=2e9". Repeatable.'),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="PROXY.KEY=VALUE or searcher.KEY=VALUE, such as length_distortion.repeats=1."),
]
SeedOption = Annotated[int | None, typer.Option(help="Of the searcher. Default 0.")]
ScoreSeedOption = Annotated[int | None, typer.Option(help="Of weights, batches and curves. Default 0.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="Images: digits, folder:DIR, parquet:FILE, torchvision:NAME:ROOT or random (normal numbers, the default)."
    ),
]
BatchSizeOption = Annotated[int | None, typer.Option(help="Images that a proxy sees. Default 16.")]
ImgSizeOption = Annotated[int | None, typer.Option(help="Image side in pixels. Default: the space's own.")]
NumClassesOption = Annotated[int | None, typer.Option(help="Default: those of the data, else 10.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Actors; 0 scores in this process. Default: one per GPU, without GPUs one per core up to 2."),
]
GpusOption = Annotated[float | None, typer.Option(help="Share of a GPU for each worker, such as 0.25.")]
AddressOption = Annotated[str | None, typer.Option(help="Of a running Ray cluster: HOST:PORT, or auto.")]
ThreadsOption = Annotated[int | None, typer.Option(help="CPU threads of one evaluation. Default 1.")]
TimeLimitOption = Annotated[
    float | None, typer.Option("--time-limit", help="Seconds for one evaluation, on workers. Default 600.")
]
MemoryOption = Annotated[
    float | None,
    typer.Option("--worker-memory", help="GiB at which a worker is ended. Default: an equal share of its node."),
]
OutOption = Annotated[
    Path | None, typer.Option(help="Run folder. Default: runs/SPACE-DATE-TIME.", file_okay=False, show_default=False)
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue the run in --out; start it if there is none.")]
ReuseOption = Annotated[
    list[Path] | None, typer.Option(help="Folder of another run whose scores are taken where they apply. Repeatable.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file of settings, as in run.yaml under config; the command line overrides it."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from raynas import __version__

        typer.echo(f"raynas {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """Search vision-transformer architectures on Ray."""


class Kind(StrEnum):
    """What `raynas list` lists."""

    SPACES = "spaces"
    MODELS = "models"
    PROXIES = "proxies"
    SEARCHERS = "searchers"
    DATASETS = "datasets"


_FIELDS = {
    "objective": "objectives",
    "proxy": "proxies",
    "constraint": "constraints",
    "time_limit": "time_limit_s",
    "worker_memory": "worker_memory_gib",
}
_NOT_SETTINGS = ("set_", "config", "out", "resume", "reuse", "architecture", "file", "samples")


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command that are fields of RunConfig, under their names there."""
    return {_FIELDS.get(name, name): value for name, value in arguments.items() if name not in _NOT_SETTINGS}


_SEARCH_EXAMPLES = """
Examples:

    raynas search

    raynas search as-vit --data digits -o length_distortion -o ntk_condition

    raynas search as-vit -c "num_params<=1.8e6" --budget 100 --out runs/a

    raynas search --resume --out runs/a --budget 200
"""


@app.command(epilog=_SEARCH_EXAMPLES)
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
    options = _settings(locals())
    from raynas.commands import run_command

    run_command("search", options, set_ or [], config=config, out=out, resume=resume, reuse=reuse or [])


_SCORE_EXAMPLES = """
Examples:

    raynas score as-vit --samples 20 -p length_distortion -p macs

    raynas score as-vit -a as-vit-small -a "8,2,3|4,1,2|4,1,4|4,1,6|32"

    raynas score as-vit --file architectures.txt -p ntk_condition --data digits
"""


@app.command(epilog=_SCORE_EXAMPLES)
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
    options = _settings(locals())
    from raynas.commands import run_command, score_options

    options |= score_options(architecture or [], file, samples, proxy or [], is_free=resume or config is not None)
    run_command("score", options, set_ or [], config=config, out=out, resume=resume, reuse=reuse or [])


@app.command(epilog="Example:\n\n    raynas report runs/first")
def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
) -> None:
    """Write report.html, one self-contained page, into a run folder."""
    from raynas.report import write_report

    typer.echo(write_report(run))


@app.command("list", epilog="Examples:\n\n    raynas list proxies\n\n    raynas list spaces --json")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: JsonOption = False) -> None:
    """List spaces, models, proxies, searchers or data sets."""
    from raynas.commands import show_list

    show_list(kind.value, as_json=as_json)


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; errors of the user's are one line on standard error."""
    try:
        return app(arguments, standalone_mode=True)
    except RaynasError as error:
        typer.echo(f"raynas: {error}", err=True)
        signum = getattr(error, "signum", None)
        sys.exit(128 + signum if signum else 1)


if __name__ == "__main__":
    main()
