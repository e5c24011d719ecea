"""Cores and threads that a process takes: no more than it may use, and as many threads as it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

import raynas
from raynas.training.run import TrainingListener

ON_ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from raynas.cores import usable_cores
from raynas.models.process_state import own_threads
torch.set_num_threads(3)
print(usable_cores(), own_threads())
"""


def test_cores_that_the_process_may_not_use_do_not_count() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process has one core only")
    done = subprocess.run([sys.executable, "-c", ON_ONE_CORE], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


class Threads(TrainingListener):
    """Notes how many threads torch has in a training."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def on_progress(self, progress: Any) -> None:
        self.seen.add(torch.get_num_threads())


@pytest.mark.parametrize(("settings", "expected"), [({}, 1), ({"threads": 2}, 2)])
def test_a_training_in_this_process_takes_the_threads_of_torch_unless_it_is_told(
    tmp_path: Any, settings: dict[str, Any], expected: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 has it
    listener = Threads()
    try:
        raynas.train(
            "as-vit", architecture="4,2,2|2,1,2|2,1,2|2,1,2|16", data="digits", img_size=32, max_images=64,
            batch_size=32, epochs=1, augment="none", workers=0, loader_processes=0, listener=listener,
            out=tmp_path / "trained", **settings,
        )  # fmt: skip
        assert listener.seen == {expected}
    finally:
        torch.set_num_threads(before)
