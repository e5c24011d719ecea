"""Scores on a CUDA device; skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import Evaluator
from raynas.searching.config import RunConfig
from raynas.searching.plan import make_plan

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("name", list(proxies))
def test_scores_agree_with_those_of_the_cpu_and_are_equal_when_repeated(name: str) -> None:
    values = {"space": "as-vit", "objectives": [name], "data": "digits", "settings": {name: {"repeats": 1}}}
    plan = make_plan(RunConfig.make(values))
    on_cpu, on_gpu, again = (Evaluator(plan.task(device)) for device in ("cpu", "cuda", "cuda"))
    rng = np.random.default_rng(0)
    for _ in range(3):
        architecture = plan.space.sample(rng)
        expected, found, repeated = (e(architecture, [0])[0] for e in (on_cpu, on_gpu, again))
        assert found.status == "ok", found.error
        assert found.value == pytest.approx(expected.value, rel=1e-4)
        assert found.value == repeated.value
