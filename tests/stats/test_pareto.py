"""What nothing dominates, and what was the best so far."""

from __future__ import annotations

import numpy as np
import pytest

from raynas.stats.pareto import best_so_far, pareto_front


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_pareto_front_is_what_nothing_dominates(columns: int) -> None:
    losses = np.random.default_rng(columns).integers(0, 12, size=(300, columns)).astype(float)
    expected = [
        i
        for i, own in enumerate(losses)
        if not any((other <= own).all() and ((other < own).any() or j < i) for j, other in enumerate(losses))
    ]
    front = pareto_front(losses)
    assert sorted(front) == expected
    assert list(losses[front, 0]) == sorted(losses[front, 0])
    assert len(pareto_front(np.zeros((0, columns)))) == 0


def test_best_so_far_steps_at_improvements() -> None:
    assert list(best_so_far(np.array([3.0, 3.0, 1.0, 2.0, 0.5]))) == [0, 2, 4]
    assert list(best_so_far(np.array([]))) == []
