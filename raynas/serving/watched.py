"""A folder of runs as it is served: which runs are in it, how they stand, and their pages, made when they have changed.

Nothing is written, and nothing beyond the folder is read: a run is known by the names that lead to it, which may hold
no dots that lead up, and no link may lead out.
"""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from raynas.errors import StoreError, error_words
from raynas.report.compared import MOST, compare_runs
from raynas.report.compared_page import comparison_data
from raynas.report.listing import run_row, runs_below
from raynas.report.model_points import model_points
from raynas.report.page import live_data, page
from raynas.storage.files import exists, files_below, files_of, is_folder, version_of
from raynas.storage.paths import ObjectPath, as_path
from raynas.storage.run_folder import holds_run, read_description

T = TypeVar("T")

_PAGES = 24
_MAKINGS = 3  # of a page of runs that change while it is made
_DESCRIPTIONS = 2000
_LEAST_S = 1.0
_PART_OF_TIME = 4
"""The list is made anew after this multiple of the time that making it takes, so that very many runs can be watched."""

_REPLACED = ("run.yaml", "summary.json", "metrics.parquet", "layers.parquet", ".outcome.json")
"""Files that are replaced in place; others come and go, which their names tell."""


class NoRunError(StoreError):
    """There is no such run in the folder that is served."""


class Watched:
    """The runs below a folder.

    Args:
        where: The folder, or the URI of one in an object store.

    Raises:
        ConfigError: It is in no store that is known.
        StoreError: There is no such folder.
    """

    def __init__(self, where: str | Path) -> None:
        self.folder = as_path(where)
        if files_of(self.folder).has_folders:
            if not exists(self.folder):
                way_on = f"`{shlex.join(['mkdir', '-p', str(self.folder)])}` makes it, for runs to come"
                raise StoreError(f"there is no folder {self.folder}: {way_on}")
            if not is_folder(self.folder):
                raise StoreError(f"{self.folder} is no folder: name one with runs in it")
        self._descriptions: _Kept[Mapping[str, Any]] = _Kept(_DESCRIPTIONS)
        self._pages: _Kept[str] = _Kept(_PAGES)
        self._listing = Lock()
        self._rows: list[dict[str, Any]] = []
        self._stale_at = 0.0

    # -- which runs there are ----------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """One row for each run, as `raynas.report.listing.run_row` has it, with its `name` and a `link` to its page.

        Raises:
            StoreError: The folder is gone, or cannot be read.
        """
        with self._listing:
            if monotonic() >= self._stale_at:
                started = monotonic()
                self._rows = [self._named(row) for row in runs_below(self.folder, self._described)]
                self._stale_at = monotonic() + max(_LEAST_S, _PART_OF_TIME * (monotonic() - started))
            return self._rows

    def _named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        path = as_path(str(row["folder"]))
        parts = path.relative_to(self.folder).parts
        return {**row, "name": "/".join(parts), "link": link_of("/".join(parts))}

    def _described(self, folder: Path) -> Mapping[str, Any]:
        """The content of run.yaml, read again once it has changed: that of a large run takes seconds to parse."""
        version = version_of(folder / "run.yaml")
        return self._descriptions.get((str(folder), version), lambda: read_description(folder))

    def run_folder(self, name: str) -> Path:
        """The folder of a run, or of one that is part of another.

        Args:
            name: The names that lead to it, with slashes between them; empty for the folder that is served.

        Raises:
            NoRunError: There is none of this name in the folder that is served.
        """
        parts = name.split("/") if name else []
        if any(part in ("", ".", "..") or not part.isprintable() or "\\" in part for part in parts):
            raise NoRunError(f"there is no run {name!r}")
        folder = self.folder.joinpath(*parts)
        try:
            is_run = folder.resolve().is_relative_to(self.folder.resolve()) and holds_run(folder)
        except (OSError, RuntimeError, ValueError) as error:  # links that lead to themselves, names too long for a disk
            raise NoRunError(f"there is no run {name!r} in {self.folder}: {error_words(error)}") from None
        if not is_run:
            raise NoRunError(f"there is no run {name!r} in {self.folder}")
        return folder

    # -- how they stand, and their pages ------------------------------------------------------------------------------

    def state(self, names: Sequence[str]) -> dict[str, Any]:
        """How runs stand now.

        Args:
            names: Names of runs.

        Returns:
            `runs`, a row for each; `version`, a text that is another one once a page of them would be.

        Raises:
            NoRunError: There is none of a name.
        """
        folders = [self.run_folder(name) for name in names]
        rows = [run_row(folder, self._described) for folder in folders]
        digest = blake2b(digest_size=12)
        for folder, row in zip(folders, rows, strict=True):
            digest.update(repr((str(folder), row["status"], _content_of(folder))).encode())
        runs = [{**row, "name": name} for row, name in zip(rows, names, strict=True)]
        return {"version": digest.hexdigest(), "runs": runs}

    def run_page(self, name: str) -> str:
        """The page of a run, which asks from there on how it stands.

        Raises:
            NoRunError: There is none of this name.
            StoreError: It cannot be read, or has no page.
        """
        folder = self.run_folder(name)
        asks = {"home": _up(name), "state": f"{_up(name)}state.json?{urlencode({'run': name})}"}
        return self._page_of("run", [name], asks, lambda: live_data(folder))

    def comparison_page(self, names: Sequence[str]) -> str:
        """The page of runs side by side, which asks from there on how they stand.

        Raises:
            NoRunError: There is none of a name.
            ConfigError: There are fewer than two, or very many, or one of them twice.
            StoreError: One cannot be read.
        """
        folders, links = [self.run_folder(name) for name in names], [link_of(name) for name in names]
        asks = {"home": "./", "state": f"state.json?{urlencode([('run', name) for name in names])}"}
        return self._page_of("comparison", names, asks, lambda: comparison_data(compare_runs(folders), links))

    def _page_of(
        self, kind: str, names: Sequence[str], asks: Mapping[str, str], make: Callable[[], Mapping[str, Any]]
    ) -> str:
        """A page with how its runs stand, made again where they changed meanwhile: both then say the same.

        Args:
            kind: What the page is of these runs.
            names: Names of the runs.
            asks: Addresses of the page of all runs, and of how these stand.
            make: Gives what the page shows.
        """
        state = self.state(names)
        for _ in range(_MAKINGS):
            text = self._pages.get((kind, state["version"]), partial(_page, make, {**state, **asks}))
            before, state = state, self.state(names)
            if state["version"] == before["version"]:
                break
        return text

    def list_page(self) -> str:
        """The page of all runs, which asks from there on for their rows."""
        return page(
            {
                "layout": "runs",
                "title": "Runs",
                "headline": "",
                "subline": str(self.folder if isinstance(self.folder, ObjectPath) else self.folder.absolute()),
                "status": {"name": "completed", "text": "", "error": None, "resume": None},
                **model_points("", [], {}, texts=[], img_size=0),
                "runs": self.rows(),
                "most": MOST,
                "groups": [],
            }
        )


def _page(make: Callable[[], Mapping[str, Any]], live: Mapping[str, Any]) -> str:
    return page({**make(), "live": live})


def link_of(name: str) -> str:
    """Where the page of a run is, from the page of all runs."""
    return "/".join(["runs", *map(quote, filter(None, name.split("/"))), "report.html"])


def _up(name: str) -> str:
    """What leads from the page of a run to that of all runs."""
    return "../" * (1 + len(list(filter(None, name.split("/")))))


def _content_of(folder: Path) -> list[tuple[str, str | None]]:
    """Names of all files of a run, with the versions of those that are replaced in place."""
    return [
        (str(path), version_of(path) if path.name in _REPLACED else None)
        for path in files_below(folder)
        if not (path.name.startswith(".") and path.name not in _REPLACED)  # signs of life, files that are being written
    ]


class _Kept(Generic[T]):
    """The latest values of what takes its time to make, by what they depend on.

    Args:
        most: How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most, self._values, self._lock = most, OrderedDict[Any, T](), Lock()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """The value of a key, which is made where it is not kept; by two at once where two ask at once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        made = make()
        with self._lock:
            self._values[key] = made
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return made
