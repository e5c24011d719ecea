"""Does a GPU compute what a CPU does, and how fast? All that needs one, within nine minutes, most valuable first.

    python benchmarks/gpu.py --out benchmarks/results               all parts; those that are done are kept
    python benchmarks/gpu.py --out DIR --only scores rates          these, again
    python benchmarks/gpu.py --out DIR --seconds 300                within five minutes
    python benchmarks/gpu.py --out DIR --quick                      on a CPU, to see that it works

Neither Ray nor Optuna is needed, and no installation: with PYTHONPATH=. it runs from a checkout. Each part runs in a
process of its own, so that a device error costs no other, has a budget in seconds to which it shrinks itself, saying
so, and writes gpu_PART.parquet with the command, hardware and versions in the metadata. What the parts measure:

tests       the tests marked `gpu`: all expected to pass
scores      every proxy on architectures of three spaces, on the CPU and twice on the GPU: expected equal to 1e-4
            relative, and bitwise when repeated; what differs by more is computed again in float64, where rounding that
            a score amplifies vanishes and an error would not
rates       architectures per second of every proxy, for 1, 2, 4 and 8 processes that share the card, beside a plain
            loop in one process; what they reach of the card's rate on large matrices
search      As-ViT's search at 224 px: some of its 500 steps, and growth steps from the topology found and from
            fourteen million parameters; extrapolated to the whole, which is expected to take under 15 minutes
retokens    time saved by progressive re-tokenization: expected within 10 points of the multiply-adds saved
waiting     share of a training step that waits for images: expected under 5 %
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_part import Part
from gpu_runs import retokens, search, waits
from gpu_scores import rates, scores
from timing import hardware

ROOT = Path(__file__).parents[1]


def tests(part: Part) -> None:
    """Run the tests marked `gpu`, from the files that have some, as the others may import what is not there."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    # In this one process: beside others, plugins that may be installed warn, and warnings are errors.
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider", *map(str, files)]
    with tempfile.TemporaryFile("w+") as printed:
        running = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, text=True)
        try:
            running.wait(max(1.0, part.left_s))
            ended = "all of them"
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)  # it tells failures, and ends
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()
            ended = "as many as time allowed"
        printed.seek(0)
        lines = printed.read().splitlines()
    rows = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and "::" in words[0] and words[1] in ("PASSED", "FAILED", "ERROR", "SKIPPED"):
            rows.append({"test": words[0], "outcome": words[1].lower()})
    if any(row["outcome"] in ("failed", "error") for row in rows) or not rows:
        print("\n".join(lines), flush=True)
    if not rows:
        raise SystemExit("tests: none ran")
    counts = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("passed", "failed", "skipped")}
    part.keep(rows, ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) + f"; {ended}")


PARTS: dict[str, tuple[Callable[[Part], None], float]] = {
    "tests": (tests, 80),
    "scores": (scores, 90),
    "rates": (rates, 170),
    "search": (search, 60),
    "retokens": (retokens, 80),
    "waiting": (waits, 60),
}
"""What to do, and the seconds for it: nine minutes together."""


def main() -> None:
    """Carry out the parts that are not done, each in a process of its own; or one of them in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help="these, also where done")
    parser.add_argument("--seconds", type=float, help="in all; default: nine minutes, or an hour with --quick")
    parser.add_argument("--data", default="digits", help="of the trainings, such as parquet:train.parquet")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)  # of a process of its own, and its end
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.part:
        do, _ = PARTS[arguments.part]
        do(Part(arguments.part, arguments.until, arguments.out, arguments.data, arguments.quick))
        return
    print(hardware(), flush=True)
    if not torch.cuda.is_available() and not arguments.quick:
        parser.error("there is no GPU; --quick runs on a CPU")
    default_s = 3600.0 if arguments.quick else sum(seconds for _, seconds in PARTS.values())
    until = time.monotonic() + (default_s if arguments.seconds is None else arguments.seconds)
    parts = [Part(name, until, arguments.out, arguments.data, arguments.quick) for name in arguments.only or PARTS]
    wanted = [part for part in parts if arguments.only or part.said is None]
    for part in parts:
        if part not in wanted:
            print(f"{part.name}: {part.said}; done before")
    for number, part in enumerate(wanted):
        share = PARTS[part.name][1] / sum(PARTS[later.name][1] for later in wanted[number:])
        _carried_out(part, share * part.left_s)


def _carried_out(part: Part, seconds: float) -> None:
    """Run a part in a process of its own, which is ended where it takes much longer than it should."""
    print(f"{part.name}, {seconds:.0f} s", flush=True)
    started = time.monotonic()
    command = [sys.executable, __file__, "--part", part.name, "--until", f"{started + seconds:.1f}",
               "--out", str(part.out), "--data", part.data, *(["--quick"] if part.is_quick else [])]  # fmt: skip
    running = subprocess.Popen(command, start_new_session=True)
    try:
        running.wait(1.1 * seconds + 5)
    except subprocess.TimeoutExpired:
        print(f"{part.name}: ended, as it took longer than it should; what it had is in {part.file}")
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    if running.returncode > 0:
        print(f"{part.name}: FAILED")
    print(f"{part.name} took {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
