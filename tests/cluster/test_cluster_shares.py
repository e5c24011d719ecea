"""What a cluster's nodes give to each worker."""

from __future__ import annotations

import pytest

from raynas.cluster.resources import cpus_per_worker

SMALL, LARGE = {"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "expected"),
    [
        ([SMALL], 1, 0.0, 4),
        ([SMALL], 2, 0.0, 2),
        ([SMALL], 3, 0.0, 1),
        ([SMALL], 9, 0.0, 1),  # they wait for each other, or for another node
        ([SMALL, SMALL], 1, 0.0, 4),  # a worker is on one node
        ([SMALL, LARGE], 2, 0.0, 8),
        ([SMALL, LARGE], 5, 0.0, 4),  # one on the small node, four on the other
        ([SMALL, LARGE], 2, 1.0, 8),  # GPUs are on one of them
        ([SMALL, LARGE], 4, 0.5, 4),
        ([LARGE, LARGE], 2, 2.0, 16),
        ([{"CPU": 10.0, "GPU": 1.0}], 5, 0.2, 2),  # five fifths of a GPU are one
        ([{"memory": 1.0}, SMALL], 2, 0.0, 2),  # a head that takes no work
        ([], 2, 0.0, 1),
    ],
)
def test_workers_get_the_most_cpus_with_which_all_have_room(
    nodes: list[dict[str, float]], workers: int, gpus: float, expected: int
) -> None:
    assert cpus_per_worker(nodes, workers, gpus) == expected
