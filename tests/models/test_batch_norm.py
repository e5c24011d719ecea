"""BatchNorm of a whole step on two workers, against all images in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from toy_workers import on_two_workers

import raynas
from raynas.models.batch_norm import layers_with_batch_statistics, share_statistics, step_statistics, sum_over_workers

SPLIT = (5, 3)
"""Images of both workers."""


def network(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6, momentum=0.3),
        nn.Tanh(),
        BatchNormAct2d(6, act_layer=nn.SiLU),
        nn.Conv2d(6, 4, 2),
        nn.BatchNorm2d(4, affine=False, momentum=None),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.BatchNorm1d(5, track_running_stats=False),
    ]
    model = nn.Sequential(*layers).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) / 2)  # the same numbers in each dtype
    return model


def images(dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(sum(SPLIT), 3, 5, 5, generator=generator, dtype=torch.float64).mul(3).add(7).to(dtype)


def loss_of(outputs: torch.Tensor, first: int) -> torch.Tensor:
    """Not the same for two images, whose places begin with the first."""
    factors = torch.arange(first + 1, first + 1 + outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    return (outputs.sin() * factors.cos()).sum()


def both_passes(model: nn.Module, x: torch.Tensor, first: int) -> dict[str, Any]:
    """Outputs, gradients and buffers after two passes, of which the second has the gradients."""
    with torch.no_grad():
        model(x / 2)
    x = x.clone().requires_grad_()
    outputs = model(x)
    loss_of(outputs, first * 5).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"outputs": outputs.detach(), "x": x.grad, "gradients": gradients, "buffers": dict(model.named_buffers())}


def work(rank: int, folder: Path, dtype: str) -> None:
    kind = getattr(torch, dtype)
    model = network(kind)
    share_statistics(model)
    first = sum(SPLIT[:rank])
    mine = images(kind)[first : first + SPLIT[rank]]
    found = both_passes(model, mine, first)
    found["eval"] = model.eval()(mine).detach()
    torch.save(found, folder / f"{rank}.pt")


def by_hand(x: torch.Tensor, layer: Any) -> torch.Tensor:
    """BatchNorm written out, channel by channel, with the statistics of all images."""
    channels = []
    for channel in range(x.shape[1]):
        values = x[:, channel]
        mean = values.sum() / values.numel()
        variance = ((values - mean) ** 2).sum() / values.numel()
        normal = (values - mean) / (variance + layer.eps).sqrt()
        channels.append(normal if layer.weight is None else normal * layer.weight[channel] + layer.bias[channel])
    return torch.stack(channels, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-9), ("float32", 1e-4)])
def test_two_workers_normalise_and_differentiate_as_one(tmp_path: Path, dtype: str, bound: float) -> None:
    on_two_workers("test_batch_norm", "work", tmp_path, dtype=dtype)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = network(torch.float64)
    expected = both_passes(model, images(torch.float64), 0)

    def close(one: torch.Tensor, other: torch.Tensor) -> None:
        difference = float((one.double() - other.double()).abs().max())
        assert difference <= bound * max(1.0, float(other.double().abs().max()))

    close(torch.cat([one["outputs"] for one in found]), expected["outputs"])
    close(torch.cat([one["x"] for one in found]), expected["x"])
    assert float(expected["x"].abs().max()) > 0.1
    for name, gradient in expected["gradients"].items():
        close(found[0]["gradients"][name] + found[1]["gradients"][name], gradient)
    for name, buffer in expected["buffers"].items():
        assert torch.equal(found[0]["buffers"][name], found[1]["buffers"][name])
        close(found[0]["buffers"][name], buffer)
    with torch.no_grad():
        tracked = model.eval()[:8](images(torch.float64))  # the last layer keeps no statistics
    assert tracked.shape == (8, 5)


def work_by_hand(rank: int, folder: Path) -> None:
    layer = nn.BatchNorm2d(2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -2.0]))
    share_statistics(layer)
    first = sum(SPLIT[:rank])
    x = images(torch.float64)[first : first + SPLIT[rank], :2].clone().requires_grad_()
    loss_of(layer(x), first * 50).backward()
    count, mean, variance = step_statistics(x.detach())
    total = sum_over_workers(torch.tensor([float(rank + 1)]))
    torch.save({"x": x.grad, "statistics": (count, mean, variance), "total": total}, folder / f"{rank}.pt")


@pytest.mark.slow
def test_the_exchange_equals_statistics_written_out_and_their_differences(tmp_path: Path) -> None:
    on_two_workers("test_batch_norm", "work_by_hand", tmp_path)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    x = images(torch.float64)[:, :2].clone().requires_grad_()
    layer = nn.BatchNorm2d(2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -2.0]))
    loss_of(by_hand(x, layer), 0).backward()
    gradient = torch.cat([one["x"] for one in found])
    assert torch.allclose(gradient, x.grad, atol=1e-10)
    # What one number does to the loss of all images, by a small step of it: no derivative of ours or of torch's.
    for place in ((0, 0, 1, 2), (6, 1, 4, 0)):
        losses = []
        for step in (1e-5, -1e-5):
            moved = x.detach().clone()
            moved[place] += step
            with torch.no_grad():
                losses.append(float(loss_of(by_hand(moved, layer), 0)))
        assert float(gradient[place]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-7)
    whole = x.detach().transpose(0, 1).flatten(1).numpy()
    for one in found:
        count, mean, variance = one["statistics"]
        assert int(count) == 8 * 25
        assert mean.tolist() == pytest.approx(whole.mean(1).tolist(), rel=1e-12)
        assert variance.tolist() == pytest.approx(whole.var(1).tolist(), rel=1e-10)
        assert one["total"].tolist() == [3.0]


def test_layers_with_statistics_are_found_and_others_are_refused() -> None:
    assert len(layers_with_batch_statistics(raynas.build("resnet", "resnet8", img_size=32, num_classes=10))) == 7
    assert layers_with_batch_statistics(nn.Sequential(nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.InstanceNorm2d(3))) == []

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(3))

    model = nn.Sequential(nn.Linear(2, 2), Own())
    assert layers_with_batch_statistics(model) == ["1"]
    with pytest.raises(ValueError, match="1 is a Own, whose statistics cannot be shared among workers"):
        share_statistics(model)
