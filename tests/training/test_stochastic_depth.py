"""Branches that a step drops: of an image, whoever computes it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from timm.layers import DropPath
from torch import nn

import raynas
from raynas.training.images import microbatches
from raynas.training.stochastic_depth import BranchDrops, share_drops

CPU = torch.device("cpu")
B = 12


class Branches(nn.Module):
    """Adds 1, 10 and 100 to an image's number, each where its branch is kept."""

    def __init__(self, rates: tuple[float, ...] = (0.5, 0.5, 0.5), *, scale: bool = False) -> None:
        super().__init__()
        self.drops = nn.ModuleList([DropPath(rate, scale_by_keep=scale) for rate in rates])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for power, drop in enumerate(self.drops):
            x = x + drop(torch.full_like(x, 10.0**power))
        return x


def passed(model: nn.Module, drops: BranchDrops, n: int, seed: int = 3) -> torch.Tensor:
    """What the images of a batch become in n passes, in the order of the batch."""
    found = torch.full((B,), torch.nan)
    for positions in microbatches(np.arange(B), n):
        torch.manual_seed(int(positions[0]))  # as the process of each pass has its own draws
        drops.begin(seed, positions, B, CPU)
        found[torch.from_numpy(positions)] = model(torch.zeros(len(positions), 1))[:, 0]
    return found


def test_an_image_loses_the_same_branches_however_the_batch_is_cut() -> None:
    model = Branches()
    drops = share_drops(model)
    whole = passed(model, drops, 1)
    assert len(set(whole.tolist())) > 4  # of the eight combinations: images and branches draw by themselves
    for n in (2, 3, 6):
        assert passed(model, drops, n).tolist() == whole.tolist()
    assert passed(model, drops, 1, seed=4).tolist() != whole.tolist()


def test_rates_and_scale_are_those_of_the_layer() -> None:
    for scale, value in ((True, 1 / 0.75), (False, 1.0)):
        model = Branches((0.25,), scale=scale)
        drops = share_drops(model)
        kept = torch.cat([passed(model, drops, 2, seed) for seed in range(400)])
        assert sorted(set(kept.tolist())) == pytest.approx([0.0, value])
        assert float((kept > 0).float().mean()) == pytest.approx(0.75, abs=0.03)  # 4,800 draws: five deviations


def test_nothing_is_dropped_in_eval_mode_or_in_a_moving_average() -> None:
    model = Branches()
    share_drops(model)
    average = copy.deepcopy(model).eval()
    assert average(torch.zeros(2, 1)).tolist() == [[111.0], [111.0]]


def test_parts_of_images_are_dropped_each_by_itself() -> None:
    model = Branches((0.5,))
    drops = share_drops(model)
    drops.begin(1, np.arange(4), B, CPU)
    windows = model(torch.zeros(400, 1))
    assert 0.3 < float(windows.mean()) < 0.7


@pytest.mark.parametrize(("space", "architecture"), [("as-vit", "seed"), ("timm", "pit_ti_224")])
def test_networks_keep_their_weights_names(space: str, architecture: str) -> None:
    model = raynas.build(space, architecture, img_size=64, num_classes=10, drop_path_rate=0.2)
    names = list(model.state_dict())
    assert any(isinstance(module, DropPath) for module in model.modules())
    share_drops(model)
    assert not any(isinstance(module, DropPath) for module in model.modules())
    assert list(model.state_dict()) == names
