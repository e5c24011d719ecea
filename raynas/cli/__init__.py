"""The command line: arguments to calls. Heavy imports are inside the commands, so that --help answers at once."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from raynas.cli import bench, distill, export, reading, scale, score, search, train
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


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from raynas.version import __version__

        typer.echo(f"raynas {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """Search vision-transformer architectures on Ray."""


for _function, _name, _epilog in (
    (search.search, "search", search.EXAMPLES),
    (score.score, "score", score.EXAMPLES),
    (scale.scale, "scale", scale.EXAMPLES),
    (train.train, "train", train.EXAMPLES),
    (distill.distill, "distill", distill.EXAMPLES),
    (export.export, "export", export.EXAMPLES),
    (reading.report, "report", reading.REPORT_EXAMPLES),
    (reading.list_, "list", reading.LIST_EXAMPLES),
):
    app.command(_name, epilog=_epilog)(_function)
app.add_typer(bench.app, name="bench")


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; errors of the user's are one line on standard error."""
    try:
        return app(arguments, standalone_mode=True)
    except RaynasError as error:
        typer.echo(f"raynas: {error}", err=True)
        signum = getattr(error, "signum", None)
        sys.exit(128 + signum if signum else 1)
