"""How many candidates of a run are in flight where nobody says it: enough for its workers, few for its searcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from raynas.hooks import offered
from raynas.searchers.base import SearcherClass
from raynas.searchers.protocols import LimitsWindow
from raynas.storage.run_folder import holds_run, read_description

AS_ASKED = "as asked for"
"""Where a window is from that the user has given."""
PER_WORKER = 4
"""Candidates for each worker: with two in hand, as many again wait to be told, in the order of asking."""
WITHOUT_SEARCHER = 64
"""Candidates in flight for few workers, where the architectures are given."""


class Window(NamedTuple):
    """How many candidates are in flight, and where the number comes from.

    Args:
        size: The number.
        origin: What continues "up to SIZE candidates at a time: ".
    """

    size: int
    origin: str


def default_window(searcher: SearcherClass | None, workers: int, budget: int) -> Window:
    """The window of a run that does not say it.

    Args:
        searcher: What is registered; None: the architectures are given.
        workers: The most workers that the run may have.
        budget: Candidates to evaluate.
    """
    least = WITHOUT_SEARCHER if searcher is None else searcher.default_window
    size = max(least, PER_WORKER * workers)
    limits = None if searcher is None else offered(searcher, LimitsWindow)
    if limits is not None and size > (most := max(1, int(limits.largest_window_share * budget))):
        share = f"{limits.largest_window_share:.3g} of the budget"
        return Window(most, f"{share}, as the searcher learns from every result")
    if size > least:
        return Window(size, f"{PER_WORKER} for each of {workers} workers")
    return Window(size, "as many as suit the searcher" if searcher is not None else "as many as suit few workers")


def window_of(identity: Mapping[str, Any]) -> Window | None:
    """The window that a stored run began with; None where its identity does not say it as runs do."""
    size = identity.get("window")
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 1
    return Window(int(size), "as the run began") if is_size and size is not None else None


def stored_window(folder: Path) -> Window | None:
    """The window of the run in a folder, which it keeps with other workers too; None if there is no run.

    Raises:
        StoreError: The folder's description is damaged.
    """
    return window_of(read_description(folder)["identity"]) if holds_run(folder) else None


def idle_workers(window: int, workers: int) -> str:
    """What a window means for workers that it has too few candidates for, as a line; empty where it has enough."""
    if window < workers:
        return f"a window of {window} leaves {1 - window / workers:.0%} of {workers} workers idle"
    if workers > 1 and window < 2 * workers:
        return f"the window of {window} is under twice the {workers} workers: some will wait for others"
    return ""
