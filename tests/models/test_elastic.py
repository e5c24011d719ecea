"""Supernets: members against networks whose weights are picked one by one, alone and together in a batch."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raynas import Architecture, Choice, SearchSpace
from raynas.errors import SpaceError
from raynas.models.elastic.slices import first_part, parts_for
from raynas.models.elastic.supernet import Supernet
from raynas.models.elastic.units import importance, orders_by_importance
from raynas.models.step_draws import StepContext, share_draws
from raynas.space.registered import spaces
from raynas.training.optimizers import reorder_units

SIDES = {"vit-res-nano": 32, "autoformer-tiny": 32, "autoformer-tiny-plain": 32, "vit-elastic@p4-w48-d4-h3-m4": 16}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name.endswith("-plain") else name for name in SIDES],
)
def supernet(request: pytest.FixtureRequest) -> Supernet:
    torch.manual_seed(0)
    made = Supernet.fresh(spaces.get(request.param), img_size=SIDES[request.param], num_classes=5)
    with torch.no_grad():
        for name, parameter in made.whole.named_parameters():
            # So large that nonlinearities matter, and no norm starts as another does.
            parameter.normal_(0, 0.1 if parameter.ndim > 1 else 0.5)
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter.add_(1)
        for name, buffer in made.whole.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    made.whole.eval()
    return made


def drawn(supernet: Supernet, count: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [supernet.space.sample(rng) for _ in range(count)]


def images(supernet: Supernet, count: int) -> torch.Tensor:
    side = supernet.settings["img_size"]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def picked(supernet: Supernet, architecture: Architecture) -> dict[str, torch.Tensor]:
    """Weights of a member, entry by entry: the first ones, of queries, of keys and of values each."""
    whole = supernet.whole.state_dict()
    found = {}
    for name, like in supernet.extract(architecture).state_dict().items():
        places = [list(range(n)) for n in like.shape]
        if ".qkv." in name:
            own, all_rows = like.shape[0] // 3, whole[name].shape[0] // 3
            places[0] = [third * all_rows + row for third in range(3) for row in range(own)]
        tensor = whole[name]
        for dimension, chosen in enumerate(places):
            tensor = tensor.index_select(dimension, torch.tensor(chosen))
        found[name] = tensor.reshape(like.shape)
    return found


# -- parts of tensors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stacked", [1, 2, 3])
def test_a_part_is_the_first_entries_of_each_stacked_tensor(stacked: int) -> None:
    whole = torch.arange(12.0 * 5 * 2).view(12, 5, 2)
    shape = torch.Size((6, 3, 2))
    part = first_part(whole, shape, stacked)
    assert part.shape == shape
    for i, j, k in itertools.product(range(6), range(3), range(2)):
        one, row = divmod(i, 6 // stacked)
        assert part[i, j, k] == whole[one * (12 // stacked) + row, j, k]


def test_what_is_no_part_is_refused_with_its_name() -> None:
    whole = {"a": torch.zeros(4, 3), "b": torch.zeros(4)}
    for name, like, message in (
        ("c", torch.zeros(1), "the largest network has no c, which a member has"),
        ("a", torch.zeros(4, 4), "a of a member is 4x4, and no part of the largest network's, which is 4x3"),
        ("b", torch.zeros(4, 1), "b of a member is 4x1"),
    ):
        with pytest.raises(SpaceError, match=message):
            parts_for(whole, [(name, like)], {})


# -- members -----------------------------------------------------------------------------------------------------------


def test_the_largest_member_is_the_whole(supernet: Supernet) -> None:
    x = images(supernet, 4)
    torch.testing.assert_close(supernet(x, [supernet.largest]), supernet.whole(x))


def test_members_have_the_first_channels_heads_and_units(supernet: Supernet) -> None:
    for architecture in drawn(supernet, 5):
        found, expected = supernet.extract(architecture).state_dict(), picked(supernet, architecture)
        assert all(found[name].equal(value) for name, value in expected.items())
        assert found.keys() == expected.keys()


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_member_in_the_supernet_equals_the_extracted_one(supernet: Supernet, count: int) -> None:
    x = images(supernet, 2 * count)
    with torch.no_grad():
        for seed in range(50 // count // 2 + 1):
            chosen = drawn(supernet, count, seed)
            found = supernet(x, chosen)
            for i, architecture in enumerate(chosen):
                torch.testing.assert_close(
                    found[i::count], supernet.extract(architecture)(x[i::count]), rtol=1e-5, atol=1e-5
                )


def test_gradients_are_those_of_the_members_put_back_in_their_places(supernet: Supernet) -> None:
    chosen, x = drawn(supernet, 2, seed=5), images(supernet, 4)
    labels = torch.tensor([0, 1, 2, 3])
    supernet.whole.zero_grad()
    nn.functional.cross_entropy(supernet(x, chosen), labels).backward()
    expected = {name: torch.zeros_like(parameter) for name, parameter in supernet.whole.named_parameters()}
    for i, architecture in enumerate(chosen):
        member = supernet.extract(architecture)
        (nn.functional.cross_entropy(member(x[i::2]), labels[i::2]) / 2).backward()
        for name, parameter in member.named_parameters():
            shape, grad = parameter.shape, parameter.grad
            target = expected[name]
            if ".qkv." in name:
                target, grad = target.view(3, -1, *target.shape[1:]), grad.view(3, -1, *shape[1:])
            target[tuple(slice(n) for n in grad.shape)] += grad
    for name, parameter in supernet.whole.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_stem_with_batch_norm_sees_the_whole_batch() -> None:
    torch.manual_seed(0)
    supernet = Supernet.fresh(spaces.get("vit-res-nano"), img_size=32, num_classes=5)
    chosen, x = drawn(supernet, 2), images(supernet, 8)
    supernet(x, chosen)
    norm: Any = supernet.whole.patch_embed.norm1
    expected = nn.functional.conv2d(x, supernet.whole.patch_embed.conv1.weight, None, 2, 1).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, 0.1 * expected)
    assert norm.num_batches_tracked == 1


def test_images_go_to_the_members_they_are_assigned_to(supernet: Supernet) -> None:
    x, chosen = images(supernet, 5), drawn(supernet, 3)
    assigned = torch.tensor([2, 0, 2, 2, 0])
    with torch.no_grad():
        found = supernet(x, chosen, assigned)
        for row, number in enumerate(assigned.tolist()):
            expected = supernet.extract(chosen[number])(x[row : row + 1])[0]
            torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-5)


def test_equal_members_compute_their_images_at_once(supernet: Supernet) -> None:
    x, (first, other) = images(supernet, 6), drawn(supernet, 2)
    with torch.no_grad():
        of_first, of_other = supernet(x[[0, 2, 3, 5]], [first]), supernet(x[[1, 4]], [other])
        for assigned in (None, torch.tensor([2, 1, 0, 0, 1, 2])):
            found = supernet(x, [first, other, first], assigned)
            assert found[[0, 2, 3, 5]].equal(of_first)
            assert found[[1, 4]].equal(of_other)
        assert supernet(x, [first] * 3).equal(supernet(x, [first]))


def test_branches_that_members_drop_belong_to_images_and_not_to_who_computes_them() -> None:
    torch.manual_seed(0)
    supernet = Supernet.fresh(spaces.get("autoformer-tiny"), img_size=32, num_classes=5, drop_path_rate=0.5)
    draws = share_draws(supernet.whole)
    draws.record_branches(supernet.whole, 32)
    x, chosen = images(supernet, 8), [supernet.largest, *drawn(supernet, 1)]

    def logits(architectures: list[Architecture], rows: list[int]) -> torch.Tensor:
        context = StepContext(3, 0, 0, 0, 1, 8, (np.arange(8),))
        supernet.whole.train()
        draws.begin_step(context, torch.device("cpu"))
        draws.begin_pass(torch.tensor(rows))
        with torch.no_grad():
            return supernet(x[rows], architectures, torch.tensor([row % len(architectures) for row in rows]))

    together = logits(chosen, list(range(8)))
    supernet.whole.eval()
    assert not torch.allclose(together, supernet(x, chosen), atol=1e-3)
    torch.testing.assert_close(torch.cat([logits(chosen, [0, 1, 2]), logits(chosen, [3, 4, 5, 6, 7])]), together)
    # The largest member drops what it would drop by itself.
    torch.testing.assert_close(logits([supernet.largest], list(range(8)))[0::2], together[0::2])


# -- spaces of one's own -----------------------------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self, architecture: Any, *, img_size: int, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(3 * img_size**2, architecture["width"])
        self.hidden = nn.ModuleList(
            nn.Linear(architecture["width"], architecture["width"]) for _ in range(architecture["depth"])
        )
        self.head = nn.Linear(architecture["width"], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x.flatten(1)).relu()
        for layer in self.hidden:
            x = layer(x).relu()
        return self.head(x)


def test_any_network_whose_members_are_named_alike_is_a_supernet() -> None:
    space = SearchSpace("own", {"depth": Choice(1, 2, 3), "width": Choice(4, 8)}, Plain)
    supernet = Supernet.fresh(space, img_size=4, num_classes=3)
    assert dict(supernet.largest) == {"depth": 3, "width": 8}
    x = torch.randn(6, 3, 4, 4)
    small, other = Architecture({"depth": 1, "width": 4}), Architecture({"depth": 2, "width": 8})
    found = supernet(x, [small, other])
    first = (x[0::2].flatten(1) @ supernet.whole.first.weight[:4].T + supernet.whole.first.bias[:4]).relu()
    hidden = supernet.whole.hidden[0]
    second = (first @ hidden.weight[:4, :4].T + hidden.bias[:4]).relu()
    torch.testing.assert_close(found[0::2], second @ supernet.whole.head.weight[:, :4].T + supernet.whole.head.bias)
    torch.testing.assert_close(found[1::2], supernet.extract(other)(x[1::2]))


class Tied(Plain):
    """One weight under two names, and a module under two."""

    def __init__(self, architecture: Any, *, img_size: int, num_classes: int) -> None:
        super().__init__(architecture, img_size=img_size, num_classes=num_classes)
        self.hidden[1].weight = self.hidden[0].weight
        self.hidden.append(self.hidden[0])


def test_parameters_of_several_names_are_shared_by_members_too() -> None:
    space = SearchSpace("own", {"depth": Choice(2), "width": Choice(4, 8)}, Tied)
    supernet: Any = Supernet.fresh(space, Architecture({"depth": 2, "width": 8}), img_size=4, num_classes=3)
    x = torch.randn(3, 3, 4, 4)
    found = supernet(x, [Architecture({"depth": 2, "width": 4})])
    layers = [supernet.whole.first, *supernet.whole.hidden, supernet.whole.head]
    expected = x.flatten(1)
    for layer in layers:
        width = 4 if layer is not layers[-1] else 3
        expected = expected @ layer.weight[:width, : expected.shape[1]].T + layer.bias[:width]
        expected = expected.relu() if layer is not layers[-1] else expected
    torch.testing.assert_close(found, expected)


def test_a_space_without_a_largest_choice_needs_one_to_be_named() -> None:
    space = SearchSpace("own", {"depth": Choice(1), "width": Choice(4), "act": Choice("relu", "gelu")}, Plain)
    with pytest.raises(SpaceError, match=r"act has no largest option among \['relu', 'gelu'\]"):
        Supernet.fresh(space, img_size=4, num_classes=3)
    Supernet.fresh(space, Architecture({"depth": 1, "width": 4, "act": "relu"}), img_size=4, num_classes=3)


def test_a_member_that_is_no_part_is_refused() -> None:
    space = SearchSpace("own", {"depth": Choice(1, 2), "width": Choice(4, 8)}, Plain)
    supernet = Supernet.fresh(space, Architecture({"depth": 1, "width": 4}), img_size=4, num_classes=3)
    for architecture, message in (
        ({"depth": 2, "width": 4}, "the largest network has no hidden.1"),
        ({"depth": 1, "width": 8}, "first.weight of a member is 8x48"),
    ):
        with pytest.raises(SpaceError, match=message):
            supernet(torch.randn(2, 3, 4, 4), [Architecture(architecture)])


# -- the most important first ------------------------------------------------------------------------------------------


@torch.no_grad()
def slow_importance(whole: nn.Module, name: str, count: int, kind: str) -> list[float]:
    block = whole.get_submodule(name)
    parts = (block.attn.qkv, block.attn.proj) if kind == "heads" else (block.mlp.fc1, block.mlp.fc2)  # type: ignore[union-attr]
    into, out = parts
    size = out.in_features // count
    found = []
    for unit in range(count):
        rows = [r for r in range(into.out_features) if r % (out.in_features) // size == unit]
        columns = range(unit * size, (unit + 1) * size)
        total = sum(into.weight[r].double().abs().sum() + into.bias[r].double().abs() for r in rows)
        found.append(float(total + sum(out.weight[:, c].double().abs().sum() for c in columns)))
    return found


def test_sorting_keeps_what_is_computed_and_puts_the_important_first(supernet: Supernet) -> None:
    whole: Any = copy.deepcopy(supernet.whole)
    x = images(supernet, 3)
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    whole(x).square().sum().backward()
    optimizer.step()
    before, sets = whole(x), whole.units()
    weights = {name: parameter.detach().clone() for name, parameter in whole.named_parameters()}
    moments = {name: optimizer.state[parameter]["exp_avg"].clone() for name, parameter in whole.named_parameters()}
    reorder_units(whole, optimizer, orders_by_importance(whole, sets), {})
    torch.testing.assert_close(whole(x), before, rtol=1e-4, atol=1e-4)
    for units in sets:
        name = units.places[0].name.rpartition(".attn.")[0] or units.places[0].name.rpartition(".mlp.")[0]
        slow = slow_importance(whole, name, units.number, units.kind)
        assert slow == sorted(slow, reverse=True)
        found = importance(units, dict(whole.named_parameters()))
        assert found.tolist() == pytest.approx(slow, rel=1e-9)
    # A moment goes where its weight goes.
    for name, parameter in whole.named_parameters():
        pairs = torch.complex(weights[name], moments[name]).flatten().numpy()
        after = torch.complex(parameter.detach(), optimizer.state[parameter]["exp_avg"]).flatten().numpy()
        assert np.array_equal(np.sort(pairs), np.sort(after)), name
    assert all(order.equal(torch.arange(len(order))) for _, _, order in orders_by_importance(whole, sets))
