"""The command line: arguments to calls of `raynas.api`, and what comes of them to the terminal.

Heavy imports are inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from raynas.cli import (
    analyze,
    bench,
    compare,
    data,
    distill,
    doctor,
    evaluate,
    export,
    finetune,
    latency,
    predict,
    pretrain,
    reading,
    scale,
    score,
    search,
    serve,
    supernet,
    train,
)
from raynas.cli.options import add_command
from raynas.errors import LONGEST_MESSAGE, RaynasError, RaynasWarning, error_words, on_one_line, text_of

app = typer.Typer(
    name="raynas",
    help="Search vision-transformer architectures on Ray.",
    epilog="Try it: raynas search    (about a minute on two CPU cores; ends with a report to open in a browser)",
    no_args_is_help=True,
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
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Search vision-transformer architectures on Ray."""


add_command(app, "search", search.search, search.parameters, search.EXAMPLES)
add_command(app, "score", score.score, score.parameters, score.EXAMPLES)
add_command(app, "scale", scale.scale, scale.parameters, scale.EXAMPLES)
add_command(app, "train", train.train, train.parameters, train.EXAMPLES)
add_command(app, "distill", distill.distill, distill.parameters, distill.EXAMPLES)
add_command(app, "finetune", finetune.finetune, finetune.parameters, finetune.EXAMPLES)
add_command(app, "analyze", analyze.analyze, analyze.parameters, analyze.EXAMPLES)
add_command(app, "pretrain", pretrain.pretrain, pretrain.parameters, pretrain.EXAMPLES)
add_command(app, "evaluate", evaluate.evaluate, evaluate.parameters, evaluate.EXAMPLES)
add_command(app, "predict", predict.predict, predict.parameters, predict.EXAMPLES)
add_command(app, "export", export.export, export.parameters, export.EXAMPLES)
add_command(app, "compare", compare.compare, compare.parameters, compare.EXAMPLES)
add_command(app, "serve", serve.serve, serve.parameters, serve.EXAMPLES)
add_command(app, "latency", latency.latency, latency.parameters, latency.EXAMPLES)
add_command(app, "data", data.data, data.parameters, data.EXAMPLES)
add_command(app, "doctor", doctor.doctor, doctor.parameters, doctor.EXAMPLES)
add_command(app, "report", reading.report, reading.report_parameters, reading.REPORT_EXAMPLES)
add_command(app, "list", reading.list_, reading.list_parameters, reading.LIST_EXAMPLES)
app.add_typer(supernet.app, name="supernet")
app.add_typer(bench.app, name="bench")


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; errors of the user's, and warnings of raynas, are one line each on standard error."""
    shown, warnings.showwarning = warnings.showwarning, partial(_show_warning, warnings.showwarning)
    try:
        return app(arguments, standalone_mode=True)
    except SystemExit as end:
        if end.code == 128 + signal.SIGINT:  # Typer's, of an interruption that no run has told
            typer.echo("raynas: interrupted by SIGINT", err=True)
        raise
    except RaynasError as error:
        typer.echo(f"raynas: {on_one_line(text_of(error), LONGEST_MESSAGE)}", err=True)
        sys.exit(getattr(error, "exit_code", 1))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"raynas: {on_one_line(where + error_words(error), LONGEST_MESSAGE)}", err=True)
        sys.exit(1)
    except MemoryError as error:
        typer.echo(f"raynas: there is not enough memory: {error_words(error)}", err=True)
        sys.exit(1)
    finally:
        warnings.showwarning = shown


def _show_warning(
    others: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any, **more: Any
) -> None:
    """Print what raynas warns of without the line of code that does; `others` shows warnings of libraries."""
    if issubclass(category, RaynasWarning):
        typer.echo(f"raynas: {on_one_line(str(message), LONGEST_MESSAGE)}", err=True)
    else:
        others(message, category, *where, **more)
