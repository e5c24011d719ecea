"""Scores on a CUDA device; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raynas.proxies.registered import proxies, unmeasured
from raynas.scoring.evaluator import Evaluator
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan

TOLERANCES = {"zico": 1e-2}
"""Relative, where not 1e-4. Over two batches the deviation of some weights' gradients is nearly 0, and zico divides by
it: in float32 another number of threads changes its third digit, as another device does."""

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("name", unmeasured())
def test_scores_agree_with_those_of_the_cpu_and_are_equal_when_repeated(name: str) -> None:
    values = {
        "space": "as-vit",
        "objectives": [],
        "proxies": [name],
        "searcher": "random",
        "data": "digits",
        "settings": {name: {"repeats": 1}},
        "teacher": "random:resnet20" if proxies.get(name).needs_teacher else None,
    }
    plan = make_plan(RunConfig.make(values))
    on_cpu, on_gpu, again = (Evaluator(plan.task(device)) for device in ("cpu", "cuda", "cuda"))
    rng = np.random.default_rng(0)
    for _ in range(3):
        architecture = plan.space.sample(rng)
        for expected, found, repeated in zip(*(e(architecture, [0]) for e in (on_cpu, on_gpu, again)), strict=True):
            assert found.status == expected.status, found.error
            assert found.value == pytest.approx(expected.value, rel=TOLERANCES.get(name, 1e-4))
            assert found.value == repeated.value
