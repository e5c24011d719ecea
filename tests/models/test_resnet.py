"""ResNets for small images: published sizes, the paper's network written out, and what they tell of themselves."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import raynas
from raynas.errors import SpaceError
from raynas.models.roles import roles_of
from raynas.space.architecture import Architecture
from raynas.space.cost import cost
from raynas.space.registered import spaces

SPACE = spaces.get("resnet")


@pytest.mark.parametrize(
    ("name", "published"),  # of implementations with shortcuts without parameters; the paper rounds to 0.27 and 0.85 M
    [
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ],
)
def test_published_numbers_of_parameters(name: str, published: int) -> None:
    model = raynas.build("resnet", name, img_size=32, num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == published
    assert cost(SPACE, SPACE.read(name), "num_params", img_size=32, num_classes=10) == published


def written_out(weights: dict[str, torch.Tensor], images: torch.Tensor, blocks: int) -> torch.Tensor:
    """ResNet as section 4.2 of the paper has it, from its weights, in eval mode."""

    def convolved(x: torch.Tensor, name: str, norm: str, stride: int = 1) -> torch.Tensor:
        y = F.conv2d(x, weights[f"{name}.weight"], stride=stride, padding=1)
        mean, variance = (weights[f"{norm}.running_{kind}"][:, None, None] for kind in ("mean", "var"))
        scale, shift = (weights[f"{norm}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = convolved(images, "conv1", "bn1").clamp(min=0)
    for stage in range(3):
        for block in range(blocks):
            where = f"stages.{stage}.{block}"
            stride = 2 if stage and not block else 1
            y = convolved(x, f"{where}.conv1", f"{where}.bn1", stride).clamp(min=0)
            y = convolved(y, f"{where}.conv2", f"{where}.bn2")
            shortcut = torch.zeros_like(y)
            for row in range(y.shape[2]):
                for column in range(y.shape[3]):
                    shortcut[:, : x.shape[1], row, column] = x[:, :, row * stride, column * stride]
            x = (y + shortcut).clamp(min=0)
    return x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


def test_it_computes_what_the_paper_says() -> None:
    model = raynas.build("resnet", {"depth": 14, "width": 4}, img_size=12, num_classes=5)
    with torch.no_grad():
        model(torch.randn(16, 3, 12, 12))  # running statistics of its own
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape))
        images = torch.randn(3, 3, 13, 13)
        found, expected = model.eval()(images), written_out(model.state_dict(), images, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_weights_are_drawn_as_he_does() -> None:
    torch.manual_seed(0)
    model = raynas.build("resnet", "resnet20", img_size=32, num_classes=10)
    for name, weight in model.named_parameters():
        if weight.ndim == 4:
            assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / weight[0].numel()), rel=0.12), name


def test_stages_are_its_blocks() -> None:
    model = raynas.build("resnet", "resnet20", img_size=32, num_classes=10).eval()
    roles = roles_of(model)
    shapes = []
    with torch.no_grad():
        x = F.relu(model.bn1(model.conv1(torch.randn(2, 3, 32, 32))))
        for block in roles.blocks:
            x = block.module(x)
            shapes.append(tuple(block.feature_map(x).shape))
    assert shapes == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]
    assert roles.head == (model.fc,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet21", "depth is 21; it must be 6 n \\+ 2"),
        ("resnet2", "depth is 2; it must be 6 n \\+ 2"),
        ("resnet20-w0", "width is 0; it must be an integer of at least 1"),
        ("56", "another form than resnet56"),
        ('{"depth": 20}', "has the fields depth, width; got depth"),
    ],
)
def test_what_cannot_be_built_is_named(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SPACE.read(text)


def test_text_of_other_widths() -> None:
    assert SPACE.text(Architecture({"depth": 56, "width": 16})) == "resnet56"
    assert SPACE.read(" ResNet20-w64 ") == Architecture({"width": 64, "depth": 20})
