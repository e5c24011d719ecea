"""What scores must do on the spaces that they are taken in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import nn

from raynas.data.batch import load_batch
from raynas.data.opening import open_dataset
from raynas.proxies.registered import proxies
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace

IMG_SIZE = 32


def scored(space: SearchSpace, architecture: Architecture, names: list[str]) -> dict[str, Any]:
    batch = load_batch(open_dataset("digits"), batch_size=4, img_size=IMG_SIZE, seed=0)
    settings = {"img_size": IMG_SIZE, "num_classes": 10, **space.scoring}
    chosen = tuple(proxies.get(name) for name in names)
    task = EvaluationTask(builder(space), settings, chosen, images=batch.images[None], labels=batch.labels[None])
    outcomes = Evaluator(task)(architecture, range(len(names)))
    return dict(zip(names, [outcome.value for outcome in outcomes], strict=True))


@pytest.mark.parametrize("name", ["autoformer-tiny", "autoformer-tiny-plain"])
def test_sizes_and_synflow_grow_with_a_block(name: str) -> None:
    space = spaces.get(name)
    assert space.growth is not None
    architecture = space.sample(np.random.default_rng(0))
    longer = space.growth.deepened(space.fields, architecture, 0)
    for count in ("num_params", "macs"):
        small, large = (cost(space, a, count, img_size=IMG_SIZE, num_classes=10) for a in (architecture, longer))
        assert large > small
    names = ["l2_norm", "synflow", "depth", "layer_width_sum"]
    before, after = scored(space, architecture, names), scored(space, longer, names)
    assert all(after[score] > before[score] for score in names)
    assert after["depth"] == before["depth"] + 1 == space.growth.depths(longer)[0]


def test_heads_alone_change_no_size_in_the_plain_build_and_all_other_scores() -> None:
    space = spaces.get("autoformer-tiny-plain")
    first = space.read({"embed_dim": 192, "depth": 12, "mlp_ratio": [4] * 12, "num_heads": [3] * 12})
    second = first.replace(num_heads=[4] * 12)
    for count in ("num_params", "macs"):
        small, large = (cost(space, a, count, img_size=IMG_SIZE, num_classes=10) for a in (first, second))
        assert large == small
    names = ["l2_norm", "snip", "synflow"]
    one, other = scored(space, first, names), scored(space, second, names)
    assert other["l2_norm"] == pytest.approx(one["l2_norm"], rel=0.02)
    assert all(one[score] != other[score] for score in names)  # the draws are others, too


def test_the_weight_norm_of_a_truncated_normal_follows_from_the_sizes() -> None:
    space = spaces.get("autoformer-tiny")
    architecture = space.sample(np.random.default_rng(0))
    model = builder(space)(architecture, img_size=IMG_SIZE, num_classes=10, device="meta")
    linear = [m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear)]
    patch = model.patch_embed.weight  # uniform, of variance 1 / (3 * fan in)
    expected = 0.02 * sum(np.sqrt(linear)) + np.sqrt(patch.shape[0] / 3)
    assert scored(space, architecture, ["l2_norm"])["l2_norm"] == pytest.approx(expected, rel=0.03)
