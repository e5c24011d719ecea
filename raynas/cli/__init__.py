"""The command line: arguments to calls of `raynas.api`, and what comes of them to the terminal.

Heavy imports are inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from raynas.cli import bench, distill, export, reading, scale, score, search, train
from raynas.cli.options import add_command
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


add_command(app, "search", search.search, search.parameters, search.EXAMPLES)
add_command(app, "score", score.score, score.parameters, score.EXAMPLES)
add_command(app, "scale", scale.scale, scale.parameters, scale.EXAMPLES)
add_command(app, "train", train.train, train.parameters, train.EXAMPLES)
add_command(app, "distill", distill.distill, distill.parameters, distill.EXAMPLES)
add_command(app, "export", export.export, export.parameters, export.EXAMPLES)
add_command(app, "report", reading.report, reading.report_parameters, reading.REPORT_EXAMPLES)
add_command(app, "list", reading.list_, reading.list_parameters, reading.LIST_EXAMPLES)
app.add_typer(bench.app, name="bench")


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; errors of the user's are one line on standard error."""
    from raynas.wording import one_line, reason_of

    try:
        return app(arguments, standalone_mode=True)
    except RaynasError as error:
        typer.echo(f"raynas: {one_line(error)}", err=True)
        signum = getattr(error, "signum", None)
        sys.exit(128 + signum if signum else 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"raynas: {one_line(where + reason_of(error))}", err=True)
        sys.exit(1)
    except MemoryError as error:
        typer.echo(f"raynas: there is not enough memory: {one_line(error)}", err=True)
        sys.exit(1)
