"""Examinations of clusters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.cluster.options import ClusterOptions
from raynas.errors import ConfigError

if TYPE_CHECKING:
    from raynas.examination.examining import ExaminationListener
    from raynas.examination.report import Examination


def doctor(*, out: str | Path | None = None, listener: ExaminationListener | None = None, **fields: Any) -> Examination:
    """See whether a cluster, and the storage of its runs, are ready; takes a minute at most once it has joined.

    Ray may take two more to leave a cluster whose head is gone meanwhile.

    Args:
        out: Where runs are to be written, which all nodes try; None: storage is not looked at. Nothing is left there.
        listener: Receives progress; default: shown on standard error.
            `raynas.examination.examining.ExaminationListener()` is silent.
        fields: The fields address and join of `raynas.cluster.options.ClusterOptions`; None where nothing is said.

    Returns:
        What was found; `is_ready` says whether no check fails, `plain()` has it for JSON.

    Raises:
        RaynasError: The cluster cannot be joined, or what is to be looked at is a file.
    """
    with examined(out=out, listener=listener, **fields) as found:
        return found
    raise AssertionError("unreachable")


@contextmanager
def examined(
    *, out: str | Path | None = None, listener: ExaminationListener | None = None, **fields: Any
) -> Iterator[Examination]:
    """A context with what `doctor` finds, at whose end the cluster is left, for which Ray may take its time."""
    from raynas.cluster.joining import connect
    from raynas.console.examination import ExaminationConsole
    from raynas.examination.examining import examine
    from raynas.storage.files import exists, is_folder
    from raynas.storage.paths import as_path

    options = ClusterOptions.make({name: value for name, value in fields.items() if value is not None})
    folder = None if out is None else as_path(out).absolute()
    if folder is not None and exists(folder) and not is_folder(folder):
        raise ConfigError(f"{out} is a file; --out names the folder that runs are written to")
    with ExitStack() as stack:
        with ExaminationConsole() if listener is None else nullcontext(listener) as receiver:
            stack.callback(connect(options.address, min_cpus=1, makes_node=options.join))
            found = examine(folder, receiver)
        yield found
