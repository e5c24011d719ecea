"""Does the present code come to the same bits as another commit?

    python benchmarks/equal_to_commit.py COMMIT [--quick | --long] [--only NAME] [--leave-out FIELD] [--keep DIR]

A list of small undertakings (`equality/undertakings.py`) is carried out twice, in processes of their own: with the code
of COMMIT, checked out into a temporary git worktree, and with that of this folder. Scores of all proxies of COMMIT on
every kind of space, searches by every searcher, growths and benchmarks, exported weights, metrics and weights of
trainings are compared bit by bit. Then the present code resumes what COMMIT left of its runs when they were cut short,
and takes the scores of its runs: that must come to the same, too, and no stored row may be scored again. A training of
COMMIT is resumed, or refused with a line that is shown.

Not compared are times, versions and hosts (`LEFT_OUT` in `equality/differences.py`), and what --leave-out names. Texts,
such as `model.py`, messages and resolved settings, may differ, and are shown where they do.

--quick takes about a minute on two cores, without it up to eight; --long adds a sweep and a training on two workers.
--keep keeps what COMMIT came to in a folder, for the next comparison on this machine. Ends with 1 if anything is not
equal, or was not carried out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from equality import carrying_out
from equality.carrying_out import DONE, ENDED, GIVE_SCORES, RESULT, RESUMED, REUSED
from equality.differences import LEFT_OUT, compare
from equality.undertakings import Undertaking, undertakings

BENCHMARKS = Path(__file__).absolute().parent
LOG = "log.txt"
_POLL_S = 0.2


class Side(NamedTuple):
    """One of the two codes.

    Args:
        tree: Checkout of its source.
        metadata: Folder with what an installation of it would say: its version and entry points.
        folder: Where its undertakings are carried out.
    """

    tree: Path
    metadata: Path
    folder: Path

    def carry_out(self, names: Sequence[str], *more: str) -> subprocess.Popen[bytes]:
        """Start to carry out undertakings in a process, whose output goes to a log.

        It finds this code and its entry points before any other, and so do its Ray workers.
        """
        path = os.pathsep.join(map(str, (self.metadata, self.tree, BENCHMARKS)))
        of_ray = (
            "ENABLE_UV_RUN_RUNTIME_ENV",
            "CHDIR_TO_TRIAL_DIR",
            "TRAIN_ENABLE_PREEMPTION_WATCHER",
        )  # as raynas does
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **{f"RAY_{n}": "0" for n in of_ray}}
        # Where it is set, every process compiles all that it imports, for ten seconds and more.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        # -P: without the current folder on the path.
        command = [sys.executable, "-P", "-m", carrying_out.__name__, str(self.tree), *names, *more]
        with (self.folder / LOG).open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )


class Report:
    """Prints a line on each undertaking as soon as it is over, and counts.

    Args:
        left_out: Fields that are not compared, beside `LEFT_OUT`.
    """

    def __init__(self, left_out: Sequence[str]) -> None:
        self.left_out = (*LEFT_OUT, *left_out)
        self.counts = {"equal": 0, "refused": 0, "NOT EQUAL": 0}

    def add(self, name: str, old: Path, new: Path, *, may_be_refused: bool = False) -> None:
        """Compare what stands in the folders of an undertaking.

        Args:
            name: What to call it.
            old, new: Its folders.
            may_be_refused: An error in one line is no difference.
        """
        done = {"the commit": _read_done(old), "the present code": _read_done(new)}
        for side, one in done.items():
            if one is None:
                self._say("NOT EQUAL", name, f"not carried out by {side}")
                return
            if one["error"]:
                is_allowed = may_be_refused and one["is_refusal"] and "\n" not in one["error"]
                self._say("refused" if is_allowed else "NOT EQUAL", name, f"{side}: {one['error']}")
                return
        found = compare(old / RESULT, new / RESULT, self.left_out)
        seconds = " and ".join(f"{one['seconds']:.1f} s" for one in done.values() if one)
        if found.is_equal:
            self._say("equal", name, f"{found.values:,} values, {seconds}")
        else:
            more = f" (and {len(found.differences) - 1} more)" if len(found.differences) > 1 else ""
            self._say("NOT EQUAL", name, (found.differences or ["nothing was compared"])[0] + more)
        if found.remarks:
            more = f" (and {len(found.remarks) - 1} more)" if len(found.remarks) > 1 else ""
            print(f"{'':10} {'':41} remark: {found.remarks[0]}{more}", flush=True)

    def _say(self, verdict: str, name: str, text: str) -> None:
        self.counts[verdict] += 1
        print(f"{verdict:10} {name:41} {text}", flush=True)


def main() -> int:
    """Compare, and say how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commit", help="what git knows it by")
    extent = parser.add_mutually_exclusive_group()
    for name in ("quick", "long"):
        extent.add_argument(f"--{name}", dest="extent", action="store_const", const=name, default="usual")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="these, and what they need")
    parser.add_argument("--leave-out", action="append", default=[], metavar="FIELD", help="compare all but this")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where what COMMIT came to is kept")
    arguments = parser.parse_args()
    try:
        chosen = undertakings(arguments.extent, arguments.only)
    except ValueError as error:
        parser.error(str(error))
    commit = _git("rev-parse", "--verify", "--quiet", f"{arguments.commit}^{{commit}}")
    if not commit:
        parser.error(f"git knows no commit {arguments.commit!r} here")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is temporary goes
    report = Report(arguments.leave_out)
    started = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="equal-")))
        tree = stack.enter_context(_worktree(commit, folder / "tree"))
        old, new = _side(tree, folder / "old"), _side(BENCHMARKS.parent, folder / "new")
        if arguments.keep:
            old = old._replace(folder=_kept(arguments.keep, commit))
        print(f"{_git('log', '-1', '--format=%h %s', commit)}\nagainst {new.tree}", flush=True)
        _compare_all(old, new, chosen, report, stack)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report.counts.items() if count)
    print(f"{counts}, after {time.perf_counter() - started:.0f} s")
    return int(report.counts["NOT EQUAL"] > 0)


def _compare_all(old: Side, new: Side, chosen: Sequence[Undertaking], report: Report, stack: ExitStack) -> None:
    """Carry everything out, and report on it as it comes."""
    names = [one.name for one in chosen]
    kept = {name: _read_done(old.folder / name) for name in names}
    missing = [name for name, done in kept.items() if done is None or done["error"]]
    for name in missing:
        shutil.rmtree(old.folder / name, ignore_errors=True)
    (old.folder / ENDED).unlink(missing_ok=True)
    of_old = stack.enter_context(_ended(old.carry_out(missing))) if missing else None
    of_new = stack.enter_context(_ended(new.carry_out(names, "--other", str(old.folder))))
    for has_workers in (False, True):  # in the order in which they are carried out
        some = [one for one in chosen if one.has_workers == has_workers]
        for one in some:
            _wait_for(old.folder / one.name / DONE, of_old)
            if of_old is not None and of_old.poll() is not None:
                (old.folder / ENDED).touch()
            _wait_for(new.folder / one.name / DONE, of_new)
            report.add(one.name, old.folder / one.expected, new.folder / one.name)
        continued = [(one, how) for one in some for how in _continuations(one)]
        for one, how in continued:
            folder = new.folder / how / one.name
            _wait_for(folder / DONE, of_new)
            report.add(f"{how}/{one.name}", old.folder / one.expected, folder, may_be_refused=one.function == "train")
    for name, side, process in (("the commit", old, of_old), ("the present code", new, of_new)):
        if process is not None and process.wait():
            last = (side.folder / LOG).read_text(errors="replace").strip().splitlines()[-1:]
            print(
                f"the process of {name} ended with {process.returncode}, at last saying: {' '.join(last)}", flush=True
            )


def _continuations(one: Undertaking) -> tuple[str, ...]:
    """What the present code does with the folder of an undertaking of the commit."""
    if not one.is_continued:
        return ()
    return (RESUMED, REUSED) if one.function in GIVE_SCORES else (RESUMED,)


def _wait_for(path: Path, process: subprocess.Popen[bytes] | None) -> None:
    """Until a file is there, or the process that would write it has ended."""
    while process is not None and process.poll() is None and not path.exists():
        time.sleep(_POLL_S)


def _read_done(folder: Path) -> dict[str, Any] | None:
    """How an undertaking ended; None if it did not."""
    path = folder / DONE
    return dict(json.loads(path.read_text())) if path.exists() else None


# -- two codes on one machine ------------------------------------------------------------------------------------------


@contextmanager
def _worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of a commit, for as long as it is needed."""
    _git("worktree", "add", "--detach", "--quiet", str(folder), commit, check=True)
    try:
        yield folder
    finally:
        _git("worktree", "remove", "--force", str(folder))


def _side(tree: Path, folder: Path) -> Side:
    """A code with its metadata as an installation writes them, which say where its entry points lead."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    metadata = folder / "metadata"
    info = metadata / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    name_and_version = f"Name: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{name_and_version}")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [f"[{group}]\n" + "".join(f"{n} = {where}\n" for n, where in own.items()) for group, own in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    undertaken = folder / "undertakings"
    undertaken.mkdir()
    return Side(tree, metadata, undertaken)


def _kept(folder: Path, commit: str) -> Path:
    """Where what a commit came to is kept, apart by all else that it may depend on."""
    info = Path("/proc/cpuinfo")
    processor = (
        [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    packages = sorted(f"{one.name}=={one.version}" for one in distributions() if one.name != "raynas")
    sources = [path.read_text() for path in sorted((BENCHMARKS / "equality").glob("*.py"))]
    about = [platform.python_version(), platform.machine(), processor[:1], packages, sources]
    kept = folder.absolute() / f"{commit[:12]}-{blake2b(repr(about).encode(), digest_size=4).hexdigest()}"
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is ended if it is still running when it is no longer needed."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _git(*arguments: str, check: bool = False) -> str:
    done = subprocess.run(["git", *arguments], cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
