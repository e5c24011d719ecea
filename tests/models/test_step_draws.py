"""What layers draw in a step: for an image and a layer, whoever computes it and whatever else is computed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from timm.layers import DropPath, PatchDropout
from torch import nn

import raynas
from raynas.models.step_draws import StepContext, StepDraws, share_draws
from raynas.seeds import seed_from
from raynas.training.images import microbatches

CPU = torch.device("cpu")
B = 12


class Branches(nn.Module):
    """Adds 1, 10 and 100 to an image's number, each where its branch is kept."""

    def __init__(self, rates: tuple[float, ...] = (0.5, 0.5, 0.5), *, scale: bool = False) -> None:
        super().__init__()
        self.drops = nn.ModuleList([DropPath(rate, scale_by_keep=scale) for rate in rates])
        self.weight = nn.Parameter(torch.zeros(()))
        self.left_out: set[int] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for power, drop in enumerate(self.drops):
            if power not in self.left_out:
                x = x + drop(torch.full_like(x, 10.0**power))
        return x


class Recorded(Branches):
    """The same for images of 3 channels, of which the first number counts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1)[:, :1])


def context(seed: int = 3, step: int = 0, n: int = 1) -> StepContext:
    return StepContext(seed, 0, step, step, 9, B, tuple(microbatches(np.arange(B), n)))


def passed(model: nn.Module, draws: StepDraws, n: int, seed: int = 3, like: tuple[int, ...] = (1,)) -> torch.Tensor:
    """What the images of a step become in n passes, in the order of the step."""
    found: list[torch.Tensor] = [torch.empty(0)] * B
    draws.begin_step(context(seed, n=n), CPU)
    for positions in microbatches(np.arange(B), n):
        torch.manual_seed(int(positions[0]))  # as the process of each pass has its own draws
        draws.begin_pass(torch.from_numpy(positions))
        for position, one in zip(positions, model(torch.ones(len(positions), *like)), strict=True):
            found[position] = one
    return torch.stack(found)


@pytest.mark.parametrize("is_recorded", [False, True])
def test_an_image_loses_the_same_branches_however_the_step_is_cut(is_recorded: bool) -> None:
    model = Recorded()
    draws = share_draws(model)
    if is_recorded:
        draws.record_branches(model, 4)
    whole = passed(model, draws, 1)
    assert len(set(whole.flatten().tolist())) > 4  # of the eight combinations: images and branches draw by themselves
    for n in (2, 3, 6):
        assert passed(model, draws, n).tolist() == whole.tolist()
    assert passed(model, draws, 1, seed=4).tolist() != whole.tolist()


def test_branches_of_a_whole_pass_are_drawn_one_after_the_other_from_the_seed_of_the_step() -> None:
    model = Recorded((0.5, 0.25, 0.75))
    draws = share_draws(model)
    draws.record_branches(model, 4)
    generator = torch.Generator().manual_seed(seed_from(3, "drops", 0, 0))
    kept = [torch.empty(B).bernoulli_(keep, generator=generator) for keep in (0.5, 0.75, 0.25)]
    expected = 1 + kept[0] + 10 * kept[1] + 100 * kept[2]
    assert passed(model, draws, 1).flatten().tolist() == expected.tolist()


@pytest.mark.parametrize("is_recorded", [False, True])
def test_what_a_branch_draws_does_not_depend_on_which_others_are_left_out(is_recorded: bool) -> None:
    model = Recorded()
    draws = share_draws(model)
    if is_recorded:
        draws.record_branches(model, 4)
    whole = passed(model, draws, 2).flatten()
    for left_out in ({0}, {1}, {0, 1}):
        model.left_out = left_out
        found = passed(model, draws, 2).flatten()
        # Digits of the others are the same: of an image's number, from 1 to 112.
        for power in {0, 1, 2} - left_out:
            digits = [((values - 1) // 10**power % 10).tolist() for values in (whole, found)]
            assert digits[0] == digits[1]


def test_rates_and_scale_are_those_of_the_layer() -> None:
    for scale, value in ((True, 1 / 0.75), (False, 1.0)):
        model = Branches((0.25,), scale=scale)
        draws = share_draws(model)
        kept = torch.cat([passed(model, draws, 2, seed) for seed in range(400)]).flatten() - 1
        assert sorted(set(kept.tolist())) == pytest.approx([0.0, value])
        assert float((kept > 0).float().mean()) == pytest.approx(0.75, abs=0.03)  # 4,800 draws: five deviations


def test_nothing_is_dropped_in_eval_mode_or_in_a_moving_average() -> None:
    model = Branches()
    share_draws(model)
    average = copy.deepcopy(model).eval()
    assert average(torch.zeros(2, 1)).tolist() == [[111.0], [111.0]]


def test_parts_of_images_are_dropped_each_by_itself_and_alike_however_the_step_is_cut() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = DropPath(0.3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            windows: torch.Tensor = self.drop(x.reshape(-1, 1))
            return windows.view(len(x), -1)

    model = Windows()
    draws = share_draws(model)
    whole = passed(model, draws, 1, like=(100,))
    assert 0.6 < float((whole > 0).float().mean()) < 0.8
    assert torch.equal(passed(model, draws, 3, like=(100,)), whole)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Dropout(0.25)
        self.tokens = PatchDropout(0.5, num_prefix_tokens=1)
        self.more = nn.Dropout(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.more(self.tokens(self.features(x)))
        return found


def test_features_and_tokens_that_are_dropped_belong_to_images_too() -> None:
    model = Dropping()
    draws = share_draws(model)
    whole = passed(model, draws, 1, like=(9, 50))
    assert whole.shape == (B, 5, 50)  # the class token, and four of eight
    for n in (2, 6):
        assert torch.equal(passed(model, draws, n, like=(9, 50)), whole)
    assert not torch.equal(passed(model, draws, 1, seed=4, like=(9, 50)), whole)
    kept = (whole > 0).float()
    assert float(kept.mean()) == pytest.approx(0.75**2, abs=0.05)  # 3,000 draws, some of them by the same image
    assert sorted(set(whole.flatten().tolist())) == pytest.approx([0, (4 / 3) ** 2])
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(model.eval()(torch.ones(2, 9, 50)), torch.ones(2, 9, 50))


def test_numbers_are_uniform_and_differ_by_place_step_image_and_call() -> None:
    draws = StepDraws()
    positions = torch.arange(B)

    def drawn(place: str, step: int = 0, calls: int = 1) -> torch.Tensor:
        draws.begin_step(context(step=step), CPU)
        draws.begin_pass(positions)
        return [draws.uniform(place, B, (2000,)) for _ in range(calls)][-1]

    first = drawn("a")
    assert torch.equal(first, drawn("a"))
    assert 0 <= float(first.min()) < 1e-3
    assert 0.999 < float(first.max()) < 1
    histogram = torch.histc(first, 10, 0, 1) / first.numel()
    assert float((histogram - 0.1).abs().max()) < 0.01  # 24,000 draws: five deviations
    others = [drawn("b"), drawn("a", step=1), drawn("a", calls=2)]
    for other in [*others, first.roll(1, 0), first.roll(1, 1)]:
        assert abs(float(np.corrcoef(first.flatten(), other.flatten())[0, 1])) < 0.04  # six deviations
    with pytest.raises(ValueError, match="for 7 rows, which 12 images cannot share"):
        draws.uniform("a", 7)


class Masking(nn.Module):
    """A layer of one's own: hides half of the tokens."""

    def take_draws(self, draws: StepDraws, place: str) -> None:
        self.draws, self.place = draws, place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.draws.uniform(self.place, len(x), (x.shape[1],)).argsort(1) < x.shape[1] // 2
        return x * ~hidden


def test_a_layer_of_ones_own_draws_by_its_place() -> None:
    model = nn.Sequential(nn.Identity(), Masking())
    draws = share_draws(model)
    assert model[1].place == "1"
    whole = passed(model, draws, 1, like=(10,))
    assert (whole.sum(1) == 5).all()
    assert torch.equal(passed(model, draws, 4, like=(10,)), whole)


def test_attention_that_drops_probabilities_draws_by_images_too() -> None:
    model = raynas.build("timm", "vit_tiny_patch16_224", img_size=32, num_classes=10)
    model.blocks[0].attn.attn_drop = nn.Dropout(0.5)
    draws = share_draws(model)
    images = torch.randn(B, 3, 32, 32)

    def outputs(n: int) -> torch.Tensor:
        draws.begin_step(context(n=n), CPU)
        found = torch.empty(B, 10)
        for positions in microbatches(np.arange(B), n):
            draws.begin_pass(torch.from_numpy(positions))
            with torch.no_grad():
                found[positions] = model.train()(images[positions])
        return found

    assert not model.blocks[0].attn.fused_attn
    assert torch.allclose(outputs(1), outputs(3), atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(outputs(1), model.eval()(images), atol=1e-3)


@pytest.mark.parametrize(("space", "architecture"), [("as-vit", "seed"), ("timm", "pit_ti_224")])
def test_networks_keep_their_weights_names(space: str, architecture: str) -> None:
    model = raynas.build(space, architecture, img_size=64, num_classes=10, drop_path_rate=0.2)
    names = list(model.state_dict())
    assert any(isinstance(module, DropPath) for module in model.modules())
    share_draws(model)
    assert not any(isinstance(module, DropPath) for module in model.modules())
    assert list(model.state_dict()) == names
