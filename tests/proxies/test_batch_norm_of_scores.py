"""What BatchNorm does in scores, against networks in which its arithmetic is written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scored_models import assert_unchanged, fingerprint
from torch import Tensor, nn

import raynas.proxies  # noqa: F401  (registers them)
from raynas.api.lists import listing
from raynas.errors import ConfigError, NotApplicableError
from raynas.models.roles import Block, Roles
from raynas.proxies.probe import BATCH_NORMS, Probe, Proxy
from raynas.proxies.registered import proxies, unmeasured
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.space.architecture import Architecture

NONE = Architecture({})
CLASSES = 4
IMG_SIZE = 12
NEITHER = ("zen", "tvt")  # zen also counts the BatchNorms that there are; tvt says the same of two values


class WrittenOut(nn.Module):
    """A BatchNorm's arithmetic on what it is given: by the batch, by what was kept, or none."""

    def __init__(self, norm: nn.BatchNorm2d, kind: str) -> None:
        super().__init__()
        self.kind = kind
        for name in ("weight", "bias"):
            self.register_parameter(name, nn.Parameter(getattr(norm, name).detach().clone(), requires_grad=False))
        self.register_buffer("mean", norm.running_mean.clone())
        self.register_buffer("var", norm.running_var.clone())
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "left_out":
            return x
        mean, var = self.mean.view(1, -1, 1, 1), self.var.view(1, -1, 1, 1)
        if self.kind == "batch":
            mean = x.mean((0, 2, 3), keepdim=True)
            var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        return (x - mean) / (var + self.eps).sqrt() * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class ConvNet(nn.Module):
    """Two convolutions with BatchNorms and dropout, whose running averages are none that a fresh one has."""

    def __init__(self, norm: Callable[[nn.BatchNorm2d], nn.Module] = lambda norm: norm) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.act = nn.GELU()
        self.head = nn.Linear(8, CLASSES)
        self.dropout = nn.Dropout(0.5)
        norms = nn.BatchNorm2d(6), nn.BatchNorm2d(8)
        for made in norms:
            nn.init.uniform_(made.weight, 0.5, 2)
            nn.init.normal_(made.bias)
            made.running_mean.normal_()
            made.running_var.uniform_(0.2, 3)
        self.double()
        self.norms = nn.ModuleList([norm(made.double()) for made in norms])

    def roles(self) -> Roles:
        return Roles(head=(self.head,), blocks=tuple(Block(norm, channels_first=True) for norm in self.norms))

    def pooled_features(self, images: Tensor) -> Tensor:
        x = self.act(self.norms[0](self.first(images)))
        return self.norms[1](self.second(x)).tanh().mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.pooled_features(images)))


def probe_of(model: nn.Module, **settings: Any) -> Probe:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, IMG_SIZE, IMG_SIZE, dtype=torch.float64, generator=generator)
    given = {
        "images": images, "labels": torch.arange(8) % CLASSES,
        "teacher": lambda stages: [torch.ones(8, 5, 3, 3, dtype=torch.float64).cumsum(3) for _ in stages], **settings,
    }  # fmt: skip
    return Probe(NONE, model.eval().requires_grad_(False), img_size=IMG_SIZE, **given)


def values(name: str, probe: Probe) -> list[float]:
    """The score's values; none where it is not applicable."""
    try:
        return list(proxies.get(name)(probe).values())
    except NotApplicableError:
        return []


@pytest.mark.parametrize("name", [name for name in unmeasured() if name not in NEITHER])
def test_a_score_is_that_of_the_network_with_its_batch_norms_written_out(name: str) -> None:
    kind = proxies.get(name).batch_norm
    expected = values(name, probe_of(ConvNet(lambda norm: WrittenOut(norm, kind))))
    assert values(name, probe_of(ConvNet())) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", list(proxies))
@pytest.mark.parametrize("fails", [False, True])
def test_averages_and_all_else_stay_as_they_were(name: str, fails: bool) -> None:
    probe = probe_of(ConvNet())
    if fails:

        def fail(module: nn.Module, args: Any) -> None:
            raise ValueError("broken layer")

        probe.model.norms[1].register_forward_pre_hook(fail)
    before = fingerprint(probe.model)
    try:
        values(name, probe)
    except ValueError as error:
        assert "broken layer" in str(error)
    assert_unchanged(probe.model, before)


@pytest.mark.parametrize("name", [name for name in proxies if proxies.get(name).batch_norm == "batch"])
def test_a_batch_is_whole_where_batch_norm_uses_it_and_in_parts_where_there_is_none(name: str) -> None:
    sizes: list[int] = []
    for model in (ConvNet(), ConvNet(lambda norm: nn.Identity())):
        model.first.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
        split = values(name, probe_of(model, max_batch=3))
        whole = values(name, probe_of(model))
        assert split == pytest.approx(whole, rel=1e-8)
    assert sizes


def test_passes_by_the_batch_are_not_taken_for_others() -> None:
    probe = probe_of(ConvNet())
    by_batch = proxies.get("naswot")(probe)

    def firing_by_averages(probe: Probe) -> float:
        return proxies.get("naswot").function(probe)

    own = Proxy("own", firing_by_averages)(probe)["own"]
    assert own == pytest.approx(proxies.get("naswot").function(probe_of(ConvNet())), rel=1e-12)
    assert own != pytest.approx(by_batch["naswot"], rel=1e-6)


class NoRoom(ConvNet):
    """A network for no more than two images at once."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


@pytest.mark.parametrize(("norm", "status"), [("batch", "out_of_memory"), ("none", "ok")])
def test_what_batch_norm_couples_is_never_split_for_memory(norm: str, status: str) -> None:
    replaced = (lambda made: made) if norm == "batch" else (lambda made: nn.Identity())
    images = np.random.default_rng(0).standard_normal((1, 8, 3, IMG_SIZE, IMG_SIZE), np.float32)
    names = ["ntk_condition_logits", "snip", "jacob_cov"]
    task = EvaluationTask(
        lambda architecture, **_: NoRoom(replaced).float(), {"img_size": IMG_SIZE, "num_classes": CLASSES},
        tuple(proxies.get(name) for name in names), images=images, labels=np.arange(8)[None] % CLASSES,
    )  # fmt: skip
    together = Evaluator(task)(NONE, range(3))
    assert [outcome.status for outcome in together] == ["ok", status, status]
    assert Evaluator(task)(NONE, [1])[0].status == status


def test_what_a_norm_without_averages_couples_is_never_split_either() -> None:
    def untracked() -> NoRoom:
        return NoRoom(lambda norm: nn.BatchNorm2d(norm.num_features, track_running_stats=False))

    images = np.random.default_rng(0).standard_normal((1, 8, 3, IMG_SIZE, IMG_SIZE), np.float32)
    task = EvaluationTask(
        lambda architecture, **_: untracked().float(), {"img_size": IMG_SIZE, "num_classes": CLASSES},
        (proxies.get("ntk_condition_logits"),), images=images, labels=np.arange(8)[None] % CLASSES,
    )  # fmt: skip
    assert Evaluator(task)(NONE, [0])[0].status == "out_of_memory"


def test_a_norm_with_one_value_of_each_channel_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, IMG_SIZE), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, CLASSES)).double()
    probe = probe_of(
        model, images=torch.ones(1, 3, IMG_SIZE, IMG_SIZE, dtype=torch.float64), labels=torch.ones(1).long()
    )
    with pytest.raises(NotApplicableError, match="the BatchNorm 1 sees one value of each channel"):
        proxies.get("grad_norm")(probe)


def test_the_list_tells_what_batch_norm_does_and_why() -> None:
    rows = {row["name"]: row for row in listing("proxies")}
    for name in proxies:
        row, proxy = rows[name], proxies.get(name)
        assert row["batch_norm"] == proxy.batch_norm
        assert row["batch_norm_reason"] == BATCH_NORMS[proxy.batch_norm]
    with pytest.raises(ConfigError, match="one of batch, running, left_out, none, not 'train'"):
        Proxy("own", lambda probe: 0.0, batch_norm="train")
