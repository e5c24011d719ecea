"""Tokens of other sizes with the same weights, and schedules of them."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raynas import Architecture, Choice, SearchSpace
from raynas.errors import ConfigError
from raynas.models.families.as_vit import AsViT
from raynas.models.families.as_vit_network import AsViTNetwork
from raynas.space.tokens import Phase, check_schedule, default_dilation, parse_schedule, phase_at, phase_macs
from searchspaces.as_vit import as_vit

LARGE = as_vit.named["as-vit-large"]
TINY = as_vit.named["seed"].replace(kernel=(4, 3, 2, 4), split=(4, 2, 2, 1), embed_dim=8, num_heads=16)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def network(architecture: Architecture = TINY, img_size: int = 64, **settings: Any) -> AsViT:
    return AsViT(architecture, img_size=img_size, num_classes=5, **settings).eval()


def counted_macs(model: AsViTNetwork) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, model.img_size, model.img_size, device="meta"))
    return counter.get_total_flops() / 2


def grids(model: AsViTNetwork) -> list[int]:
    """Tokens a side in the four stages, seen in a forward pass."""
    seen: list[int] = []
    handles = [
        stage.register_forward_hook(lambda module, args, output: seen.append(output.shape[1])) for stage in model.stages
    ]
    device = model.head.weight.device
    with torch.no_grad():
        model(torch.zeros(1, 3, model.img_size, model.img_size, device=device))
    for handle in handles:
        handle.remove()
    return seen


# -- the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("img_size", "stride", "expected"),
    [
        (224, 16, [14, 7, 4, 2]),
        (224, 8, [28, 14, 7, 4]),
        (224, 4, [56, 28, 14, 7]),
        (64, 16, [4, 2, 1, 1]),
        (96, 12, [8, 4, 2, 1]),
        (32, 32, [1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("kernel", [4, 5, 8])
def test_the_grid_is_the_image_side_over_the_stride(
    img_size: int, stride: int, expected: list[int], kernel: int
) -> None:
    model = AsViT(TINY.replace(kernel=(kernel, 3, 2, 4)), img_size=img_size, device="meta")
    model.retokenize(stride)
    assert grids(model) == expected
    model.retokenize(stride, 3)  # any dilation keeps the grid
    assert grids(model) == expected


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [(4, 16, 5), (4, 8, 2), (4, 4, 1), (8, 16, 2), (8, 8, 1), (8, 4, 1), (5, 16, 3), (7, 8, 1), (6, 16, 3)],
)
def test_dilation_is_the_largest_that_stays_within_the_patch(kernel: int, stride: int, dilation: int) -> None:
    assert default_dilation(kernel, stride) == dilation
    fits = [d for d in range(1, 40) if (kernel - 1) * d + 1 <= stride]
    assert dilation == max(fits, default=1)
    model = network(TINY.replace(kernel=(kernel, 3, 2, 4)))
    model.retokenize(stride)
    assert model.patch_embed.proj.dilation == (dilation, dilation)


@pytest.mark.parametrize(
    ("stride", "ratio"), [(8, 0.211), (16, 0.056)]
)  # of the same formula; the paper's figure has 0.285 and 0.132, for a model that it does not name
def test_macs_of_the_large_model_shrink_as_computed(stride: int, ratio: float) -> None:
    full = as_vit.macs(LARGE, 224, 1000)
    model = AsViT(LARGE, device="meta")
    assert counted_macs(model) == full
    model.retokenize(stride)
    assert round(counted_macs(model) / full, 3) == ratio
    (count,) = phase_macs(as_vit, LARGE, [Phase(0, stride)], img_size=224, num_classes=1000)
    assert count == counted_macs(model)


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize(
    "changes",
    [
        {"split": (8, 4, 2, 1)},  # windows that do not tile the small grids: padding counts, as it is computed
        {"split": (7, 7, 1, 4), "kernel": (8, 4, 4, 4)},
        {"embed_dim": 9, "num_heads": 64, "depth": (2, 1, 3, 1)},
        {"embed_dim": 300, "kernel": (16, 7, 5, 3)},
    ],
)
@pytest.mark.parametrize("img_size", [64, 96, 224])
def test_the_closed_form_counts_what_is_computed(stride: int, changes: dict[str, Any], img_size: int) -> None:
    architecture = TINY.replace(**changes)
    as_vit.validate(architecture)
    model = AsViT(architecture, img_size=img_size, num_classes=11, device="meta")
    model.retokenize(stride)
    expected = phase_macs(as_vit, architecture, [Phase(0, stride)], img_size=img_size, num_classes=11)
    assert expected == (counted_macs(model),)


def test_weights_stay_what_they_are() -> None:
    model = network()
    before = {name: (value.clone(), value.data_ptr()) for name, value in model.state_dict().items()}
    for stride in (16, 8, 4):
        model.retokenize(stride)
        state = model.state_dict()
        assert list(state) == list(before)
        for name, (value, address) in before.items():
            assert torch.equal(state[name], value)
            assert state[name].data_ptr() == address


@pytest.mark.parametrize("kernel", [4, 8])
def test_back_at_stride_4_the_network_is_the_one_it_was(kernel: int) -> None:
    model = network(TINY.replace(kernel=(kernel, 3, 2, 4)))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        model.retokenize(16)
        assert not torch.allclose(model(images), expected)
        model.retokenize(4, 1)
        assert torch.equal(model(images), expected)


@pytest.mark.parametrize(("stride", "dilation"), [(16, 5), (8, 2), (8, 5), (4, 1)])
def test_patches_are_those_of_a_loop_over_pixels(stride: int, dilation: int) -> None:
    model = network()
    model.retokenize(stride, dilation)
    model.patch_embed.norm = nn.Identity()  # type: ignore[assignment]
    images = torch.randn(1, 3, 64, 64)
    weight, bias = model.patch_embed.proj.weight.detach(), model.patch_embed.proj.bias
    assert bias is not None
    beyond = 3 * dilation + 1 - stride
    before = max(0, math.floor(beyond / 2))
    with torch.no_grad():
        tokens = model.patch_embed(images)
        for row, column in ((0, 0), (1, 2), (64 // stride - 1, 64 // stride - 1)):
            expected = bias.clone()
            for i in range(4):
                for j in range(4):
                    y, x = row * stride - before + i * dilation, column * stride - before + j * dilation
                    if 0 <= y < 64 and 0 <= x < 64:
                        expected += weight[:, :, i, j] @ images[0, :, y, x]
            torch.testing.assert_close(tokens[0, row, column], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [8, 16])
def test_the_position_of_a_token_is_the_mean_of_those_it_replaces(stride: int) -> None:
    model = network()
    model.retokenize(stride)
    assert model.pos_embed is not None
    table, ratio, grid = model.pos_embed.detach(), stride // 4, 64 // stride
    by_hand = torch.empty(1, grid, grid, table.shape[-1])
    for row in range(grid):
        for column in range(grid):
            part = table[0, row * ratio : (row + 1) * ratio, column * ratio : (column + 1) * ratio]
            by_hand[0, row, column] = part.flatten(0, 1).mean(0)
    entered = []
    model.stages[0].register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model(images)
        torch.testing.assert_close(entered[0], model.patch_embed(images) + by_hand)


@pytest.mark.parametrize("stride", [16, 8, 4])
@pytest.mark.parametrize("fused_attn", [False, True])
def test_every_parameter_gets_a_gradient_in_every_phase(stride: int, fused_attn: bool) -> None:
    model = network(fused_attn=fused_attn).train()
    model.retokenize(stride)
    F.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0,), "stride is 0; it must be a multiple of 4"),
        ((6,), "stride is 6; it must be a multiple of 4"),
        ((12,), "stride is 12.*divides the image side 64"),
        ((128,), "stride is 128.*divides the image side 64"),
        ((16, 0), "dilation is 0; it must be at least 1"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(arguments: tuple[int, ...], says: str) -> None:
    model = network()
    with pytest.raises(ConfigError, match=says):
        model.retokenize(*arguments)
    assert grids(model) == [16, 8, 4, 2]


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_schedules_and_their_costs_need_no_torch() -> None:
    script = """
import sys
from raynas.space.tokens import check_schedule, parse_schedule, phase_macs
from searchspaces.as_vit import as_vit
phases = check_schedule(parse_schedule("as-vit", 30), img_size=224, kernel=8, epochs=30)
assert len(phase_macs(as_vit, as_vit.named["seed"], phases, img_size=224, num_classes=10)) == 3
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_schedule_is_read_from_text() -> None:
    expected = (Phase(0, 16, 5), Phase(80, 8, 2), Phase(132, 4, 1))
    assert parse_schedule("0:16:5,80:8:2,132:4:1", 300) == expected
    assert parse_schedule(" 0:16 , 3:4:1", 5) == (Phase(0, 16), Phase(3, 4, 1))
    assert ",".join(map(str, expected)) == "0:16:5,80:8:2,132:4:1"


def test_the_published_schedule_is_that_of_the_figure_for_300_epochs_and_a_kernel_of_4() -> None:
    phases = check_schedule(parse_schedule("as-vit", 300), img_size=224, kernel=4, epochs=300)
    assert phases == (Phase(0, 16, 5), Phase(80, 8, 2), Phase(132, 4, 1))
    overlapping = check_schedule(parse_schedule("As_ViT", 300), img_size=224, kernel=8, epochs=300)
    assert [phase.dilation for phase in overlapping] == [2, 1, 1]


@pytest.mark.parametrize(
    ("epochs", "starts"),
    [(30, {0: 16, 8: 8, 13: 4}), (10, {0: 16, 3: 8, 4: 4}), (2, {0: 16, 1: 4}), (1, {0: 4})],
)
def test_the_published_schedule_scales_to_fewer_epochs(epochs: int, starts: dict[int, int]) -> None:
    phases = parse_schedule("as-vit", epochs)
    assert {phase.epoch: phase.stride for phase in phases} == starts
    check_schedule(phases, img_size=64, kernel=4, epochs=epochs)


def test_an_epoch_belongs_to_the_phase_that_began_last() -> None:
    phases = parse_schedule("0:16,3:8,7:4", 10)
    assert [phase_at(phases, epoch).stride for epoch in range(10)] == [16] * 3 + [8] * 4 + [4] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is no phase; expected EPOCH:STRIDE"),
        ("0", "'0' is no phase"),
        ("0:16:5:2", "'0:16:5:2' is no phase"),
        ("0:16,", "'' is no phase"),
        ("0:-4", "'0:-4' is no phase"),
        ("0:4.5", "'0:4.5' is no phase"),
        ("as vit", "'as vit' is no phase"),
        ("2:16,5:4", "starts at epoch 0, not 2"),
        ("0:16,7:8,5:4", "epoch 5 follows epoch 7; epochs must ascend"),
        ("0:16,5:8,5:4", "epoch 5 follows epoch 5"),
        ("0:16,10:4", "phase 10:4 starts at epoch 10, but training has 10 epochs"),
        ("0:0", "stride of phase 0:0 is 0; it must be a multiple of 4"),
        ("0:10,5:4", "stride of phase 0:10 is 10; it must be a multiple of 4"),
        ("0:12,5:4", "images of 64 pixels have no whole grid at stride 12 of phase 0:12; strides that fit: 4, 8, 16"),
        ("0:16:0", "dilation of phase 0:16:0 is 0; it must be at least 1"),
    ],
)
def test_schedules_that_cannot_be_run_are_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_schedule(parse_schedule(text, 10), img_size=64, kernel=4, epochs=10)
    with pytest.raises(ConfigError, match="at least one phase"):
        check_schedule([], img_size=64, kernel=4, epochs=10)


class Plain(nn.Module):
    """A model of one's own, with one convolution that may be re-tokenized."""

    def __init__(self, architecture: Architecture, *, img_size: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, int(architecture["width"]), 4, stride=4)  # type: ignore[arg-type]
        self.head = nn.Linear(int(architecture["width"]), num_classes)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(images).mean((2, 3)))  # type: ignore[no-any-return]


class Retokenized(Plain):
    def patch_kernel(self) -> int:
        return 4

    def retokenize(self, stride: int, dilation: int | None = None) -> None:
        self.conv.stride = (stride, stride)


def test_a_model_without_closed_forms_is_counted_in_every_phase() -> None:
    space = SearchSpace("own", {"width": Choice(6)}, Retokenized)
    counts = phase_macs(space, Architecture({"width": 6}), [Phase(0, 8), Phase(1, 4)], img_size=32, num_classes=7)
    assert counts == (16 * 6 * 48 + 42, 64 * 6 * 48 + 42)
    fixed = SearchSpace("fixed", {"width": Choice(6)}, Plain)
    with pytest.raises(ConfigError, match="models of the space 'fixed' cannot be re-tokenized"):
        phase_macs(fixed, Architecture({"width": 6}), [Phase(0, 8)], img_size=32, num_classes=7)
