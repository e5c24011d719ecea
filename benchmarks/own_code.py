"""How long does it take to look after code of one's own, so that other scores are those of being alone?

    python benchmarks/own_code.py [--visits 2000] [--quick]

What a worker does around each call of an own proxy, and around each building of an own model: settings are read and put
back, and the names of torch, numpy and raynas that scores are computed with are compared with what they were; with all
proxies imported, and no code in between. Median. Expected: under a millisecond, a tenth of the cheapest forward pass.
"""

from __future__ import annotations

import argparse
import statistics
import time

from timing import hardware

from raynas.models.process_guard import ProcessGuard
from raynas.proxies.registered import proxies

EXPECTED_US = 1000.0


def main() -> None:
    """Measure, and print the median."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--visits", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    names = list(proxies)  # imports the modules whose names are compared
    guard, seconds = ProcessGuard(), []
    for _ in range(20 if arguments.quick else arguments.visits):
        started = time.perf_counter()
        with guard.watching():
            pass
        seconds.append(time.perf_counter() - started)
    median = 1e6 * statistics.median(seconds)
    print(hardware())
    print(f"with {len(names)} proxies imported")
    is_met = "met" if median < EXPECTED_US else "NOT met"
    print(f"looking after a call takes {median:.0f} us (expected under {EXPECTED_US:.0f}: {is_met})")


if __name__ == "__main__":
    main()
