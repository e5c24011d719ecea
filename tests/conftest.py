"""What holds for all tests; its place here makes `toy_spaces` and its like importable from tests in all folders."""

import os
import signal

import pytest
from hypothesis import settings
from machines import why_no_machines

# As `raynas.cluster.joining.connect` has it, which comes too late in a test process that has imported Ray by then.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Files of tests run side by side, each with the processes that it starts: with more threads they would fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell ignores it for what it starts in the background, and all that is started from there inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine than of the code.
settings.register_profile("raynas", deadline=None)
settings.load_profile("raynas")

LONG_ROOMS = ("cluster", "training", "finalists", "variants", "trials", "scoring", "searching", "exporting", "bench")
"""Rooms whose files take long for their number of tests, as they start Ray and processes."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of pages as slow, and put files that take long first.

    The hundred tests in a browser take a second or two each. Files that take long come first so that none is left for
    the end, when other processes have nothing to do.
    """
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    rank = {room: number for number, room in enumerate(LONG_ROOMS)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of machines, with the reason, where there can be none."""
    if item.get_closest_marker("netns") is not None and (why := why_no_machines()) is not None:
        pytest.skip(why)
