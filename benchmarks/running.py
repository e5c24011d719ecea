"""Benchmarks run as scripts: of this tree, or of this one and another commit's in turns."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Row, rows_of
from benchmarks.registry import FOLDER, Benchmark, Found
from benchmarks.timing import machine, package_versions

ROOT = FOLDER.parent


class BenchmarkError(Exception):
    """A benchmark ended with an error, or cannot be run."""


@dataclass(frozen=True)
class Side:
    """A tree with its own raynas and its own scripts.

    Args:
        root: Of the tree.
        commit: What it is, with "+" where files differ from the commit.
    """

    root: Path
    commit: str

    def printed(self, benchmark: Benchmark, arguments: Sequence[str]) -> str:
        """Run a benchmark's script of this side, and show what it prints.

        It runs in the present folder; in the root of the side's tree where that is this tree's, as Ray's workers import
        from the folder in which their driver was started before all others.

        Raises:
            BenchmarkError: It ended with an error, or there is no such script on this side.
        """
        script = self.root / "benchmarks" / benchmark.path.name
        if not script.exists():
            raise BenchmarkError(f"{self.commit} has no benchmarks/{benchmark.path.name}")
        paths = [str(self.root), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        lines = []
        command = [sys.executable, str(script), *arguments]
        folder = self.root if Path.cwd() == ROOT.resolve() else None
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder) as running:
            assert running.stdout is not None
            for line in running.stdout:
                print(f"  {line}", end="", flush=True)
                lines.append(line)
        if running.returncode:
            raise BenchmarkError(f"{benchmark.name} ended with {running.returncode}")
        return "".join(lines)


def here() -> Side:
    """This tree."""
    return Side(ROOT, _commit())


@contextmanager
def other(commit: str) -> Iterator[Side]:
    """Another commit's tree, beside this one for as long as it is needed.

    Raises:
        BenchmarkError: There is no such commit.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(root), commit)
        try:
            # Its own entry points: those of the installed raynas name this tree's modules.
            setup = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "egg_info"]
            subprocess.run(setup, cwd=root, check=True, capture_output=True)
            yield Side(root, _git("rev-parse", "--short", commit))
        finally:
            _git("worktree", "remove", "--force", str(root))


def run(benchmark: Benchmark, arguments: Sequence[str], sides: Sequence[Side], *, rounds: int = 1) -> list[Row]:
    """Run a benchmark on one side or several in turns.

    Args:
        benchmark: Which.
        arguments: Of the script.
        sides: In the order of the first round, which turns round in every second one.
        rounds: How often.

    Returns:
        The rows of all runs; where there are several of a figure, one for each round.

    Raises:
        BenchmarkError: A run failed, or printed no figure.
    """
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    rows: list[Row] = []
    for number in range(rounds):
        for side in sides if number % 2 == 0 else tuple(reversed(sides)):
            print(f"{benchmark.name} of {side.commit}, round {number + 1} of {rounds}", flush=True)
            found = benchmark.found_in(side.printed(benchmark, arguments))
            if not found:
                raise BenchmarkError(f"{benchmark.name} of {side.commit} printed no figure")
            rows += _rows(benchmark, arguments, found, when=when, commit=side.commit)
    return rows


def compared(rows: Sequence[Row]) -> list[dict[str, str]]:
    """A line for each figure: its median on each side, and the ratio of the first side to the others."""
    sides = list(dict.fromkeys(row.commit for row in rows))
    lines = []
    for figure, item, unit in dict.fromkeys((row.figure, row.item, row.unit) for row in rows):
        own = [row for row in rows if (row.figure, row.item) == (figure, item)]
        values = {side: [row.value for row in own if row.commit == side] for side in sides}
        medians = {side: statistics.median(found) for side, found in values.items() if found}
        line = {"figure": " ".join(filter(None, [figure, item]))}
        for side in sides:
            line[side] = f"{medians[side]:,.4g} {unit}" if side in medians else "-"
        for side in sides[1:]:
            is_known = sides[0] in medians and medians.get(side)
            line["ratio"] = f"{medians[sides[0]] / medians[side]:.3f}" if is_known else "-"
        verdicts = {row.is_met for row in own if row.commit == sides[0]} - {None}
        line["expected"] = "" if not verdicts else "met" if verdicts == {True} else "NOT met"
        lines.append(line)
    return lines


def _rows(
    benchmark: Benchmark, arguments: Sequence[str], found: Sequence[Found], *, when: str, commit: str
) -> list[Row]:
    return rows_of(
        benchmark.name,
        shlex.join(benchmark.setting(arguments)),
        found,
        when=when,
        commit=commit,
        command=shlex.join(["python", f"benchmarks/{benchmark.path.name}", *arguments]),
        hardware=machine(),
        versions=", ".join(f"{name} {version}" for name, version in package_versions().items()),
    )


def _commit() -> str:
    """This tree's commit; "unknown" where it is a copy without its history."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")) != ROOT.resolve():
            return "unknown"  # a folder in another repository
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (BenchmarkError, FileNotFoundError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"git {shlex.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
