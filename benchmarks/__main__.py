"""Lists the benchmarks, runs them, and keeps their figures.

    python -m benchmarks                                            what there is
    python -m benchmarks run length_distortion build_share          by name
    python -m benchmarks run all                                    all that this machine can run
    python -m benchmarks run all --quick                            in a small setting, whose figures are not kept
    python -m benchmarks run loop_throughput --against HEAD~1 --rounds 3        two commits in turns
    python -m benchmarks run data_waiting -- --data parquet:train.parquet       arguments of the benchmark
    python -m benchmarks page                                       make the tables of docs/performance.md and README.md

Figures go to benchmarks/results/figures.csv, those of comparisons to against_COMMIT.csv beside it, with command,
hardware and versions, unless --out says otherwise. Each
benchmark runs by itself, too: python benchmarks/NAME.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import figures
from benchmarks.registry import BENCHMARKS, Benchmark, get


def main(given: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    words = list(sys.argv[1:] if given is None else given)
    own, arguments = (words, []) if "--" not in words else (words[: words.index("--")], words[words.index("--") + 1 :])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="what there is")
    page = commands.add_parser("page", help="make the tables in docs/performance.md and README.md")
    page.add_argument("--check", action="store_true", help="only say whether it is as it should be")
    run = commands.add_parser("run", help="run some, or all")
    run.add_argument("names", nargs="+", metavar="NAME", choices=["all", *(one.name for one in BENCHMARKS)])
    run.add_argument("--quick", action="store_true", help="in a small setting, to see that they work")
    run.add_argument("--against", metavar="COMMIT", help="run that commit's, too, in turns")
    run.add_argument("--rounds", type=int, default=1, help="how often")
    run.add_argument("--out", type=Path, help="the table that figures are added to")
    options = parser.parse_args(own)
    if options.command == "run":
        return _run(options, arguments)
    if options.command == "page":
        return _page(is_check=options.check)
    for benchmark in BENCHMARKS:
        print(f"{benchmark.name}\n  {benchmark.question}\n  expected: {benchmark.expectation}; on {benchmark.hardware}")
        if benchmark.needs:
            print(f"  needs {benchmark.needs}")
    return 0


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from benchmarks.running import BenchmarkError, compared, here, other, run
    from raynas.console.terminal import print_rows

    # Of a comparison, in a table of its own: what pages show is of one commit.
    usual = figures.TABLE.with_name(f"against_{options.against}.csv") if options.against else figures.TABLE
    table = options.out or (None if options.quick else usual)
    chosen = list(BENCHMARKS) if "all" in options.names else [get(name) for name in options.names]
    failed = 0
    with ExitStack() as stack:
        sides = [here()]
        if options.against:
            sides.append(stack.enter_context(other(options.against)))
        for benchmark in chosen:
            if "all" in options.names and (missing := _missing(benchmark, is_quick=options.quick)):
                print(f"{benchmark.name}: left out, needs {missing}")
                continue
            try:
                rows = run(
                    benchmark, [*(["--quick"] if options.quick else []), *arguments], sides, rounds=options.rounds
                )
            except BenchmarkError as error:
                print(error, file=sys.stderr)
                failed += 1
                continue
            print_rows(compared(rows))
            if table is not None:
                figures.add(table, rows)
    return int(failed > 0)


def _missing(benchmark: Benchmark, *, is_quick: bool) -> str:
    """What a benchmark lacks to be run without being told more."""
    import torch

    if is_quick:
        return ""
    return benchmark.needs or ("a GPU" if benchmark.needs_gpu and not torch.cuda.is_available() else "")


def _page(*, is_check: bool) -> int:
    rows = figures.read(figures.TABLE)
    made = {
        page: figures.with_section(page.read_text(), rows, headlines=page == figures.README) for page in figures.PAGES
    }
    stale = [page for page, text in made.items() if text != page.read_text()]
    if is_check:
        print("python -m benchmarks page" if stale else "the tables of the pages are those of the latest figures")
        return int(bool(stale))
    for page in stale:
        page.write_text(made[page])
    return 0


if __name__ == "__main__":
    sys.exit(main())
