"""Options that several commands share, and which fields of a configuration they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
TeacherOption = Annotated[
    str | None,
    typer.Option(
        help="Trained network of scores that compare with one: a training's folder or checkpoint, timm:NAME:FILE, or "
        "random:NAME."
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

_FIELDS = {
    "objective": "objectives",
    "proxy": "proxies",
    "constraint": "constraints",
    "time_limit": "time_limit_s",
    "worker_memory": "worker_memory_gib",
}
_NOT_SETTINGS = ("set_", "config", "out", "resume", "reuse", "architecture", "file", "samples")


def run_settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command that are fields of RunConfig, under their names there."""
    return {_FIELDS.get(name, name): value for name, value in arguments.items() if name not in _NOT_SETTINGS}
