"""Distillation of tokens and of their relations without labels (arXiv 2301.01296)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_trainings import largest_difference, plan, trained

from raynas.errors import ConfigError
from raynas.models.step_draws import StepContext
from raynas.training.batch import Batch
from raynas.training.folder import load_training
from raynas.training.objectives.token_distillation import normalised_tokens, relations
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank

SETTINGS: dict[str, Any] = {
    "space": "vit",
    "architecture": "p8-w48-d3-h4-m2",
    "img_size": 32,
    "objective": "tiny-mim",
    "teacher": "random:vit",
    "drop_path_rate": 0.0,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    settings = {**SETTINGS, "teacher": None, "architecture": "p8-w128-d8-h4-m2", "objective": "mae"}
    trained(folder, **{**settings, "epochs": 1, "max_images": 120})
    return str(folder)


def objective(**settings: Any) -> Any:
    made = StepRunner(plan(**{**SETTINGS, **settings}).task("cpu", threads=1, loader_processes=0), WorkerRank())
    made.objective.start_step(StepContext(0, 0, 0, 0, 10, 4, (np.arange(4),)))
    return made.objective


def test_relations_are_softmaxes_of_products_within_heads() -> None:
    tokens = torch.randn(2, 5, 12)
    found = relations(tokens, 3).exp()
    for head in range(3):
        part = tokens[..., 4 * head : 4 * head + 4]
        products = torch.einsum("bnd,bmd->bnm", part, part) / 2
        by_hand = products.exp() / products.exp().sum(-1, keepdim=True)
        assert torch.allclose(found[:, head], by_hand, atol=1e-5)


def test_teachers_tokens_are_normalised_each_by_itself() -> None:
    tokens = normalised_tokens(torch.randn(2, 64, 4, 4) * 7 + 1)
    assert tokens.shape == (2, 16, 64)
    assert tokens.mean(-1).abs().max() < 1e-5
    assert (tokens.var(-1, correction=0) - 1).abs().max() < 1e-3


def test_the_teachers_block_stands_after_three_quarters(teacher: str) -> None:
    assert plan(**{**SETTINGS, "teacher": teacher}).config.teacher_block == 5
    assert plan(**{**SETTINGS, "teacher": teacher, "teacher_block": 2}).config.teacher_block == 2


def test_the_loss_is_the_weighted_sum_of_both_differences(teacher: str) -> None:
    found = objective(teacher=teacher, token_weight=0.5, relation_weight=3.0)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = found(Batch((images,), None, torch.arange(4)))
    taken: list[torch.Tensor] = []
    found.model.blocks[-1].register_forward_hook(lambda *given: taken.append(given[2]))
    found.teacher.model.blocks[5].register_forward_hook(lambda *given: taken.append(given[2]))
    found.model(images)
    found.teacher.model(images)
    own, aim = (tokens[:, 1:] for tokens in taken)
    own = own @ found.adapter.weight[:, :, 0, 0].T + found.adapter.bias
    aim = (aim - aim.mean(-1, keepdim=True)) / (aim.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    p, q = relations(aim, 2).exp(), relations(own, 2).exp()
    divergence = float((p * (p / q).log()).sum(-1).mean().detach())
    squares = float((own - aim).square().mean().detach())
    assert float(loss.terms["token_loss"]) == pytest.approx(squares, rel=1e-5)
    assert float(loss.terms["relation_loss"]) == pytest.approx(divergence, rel=1e-4)
    assert float(loss.total.detach()) == pytest.approx(0.5 * squares + 3 * divergence, rel=1e-4)
    loss.total.backward()
    assert all(parameter.grad is None for parameter in found.teacher.parameters())


@pytest.mark.parametrize(
    "student", [{}, {"space": "timm", "architecture": "resnet10t"}, {"space": "resnet", "architecture": "resnet8"}]
)
def test_any_network_learns_from_any_other(tmp_path: Path, teacher: str, student: dict[str, Any]) -> None:
    settings = {**SETTINGS, "teacher": teacher, "epochs": 3, "lr": 2e-3, **student}
    trained(tmp_path / "run", **settings)
    rows = load_training(tmp_path / "run").metrics.to_pylist()
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[-1]["val_loss"] > 0


@pytest.mark.long
def test_two_workers_train_as_one(tmp_path: Path, teacher: str) -> None:
    settings = {**SETTINGS, "teacher": teacher}
    one = trained(tmp_path / "one", **settings)
    assert largest_difference(one, trained(tmp_path / "two", **settings, workers=2)) < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": None}, "tiny-mim learns from a teacher"),
        ({"teacher_block": 8}, "teacher_block is 8; .* has 8 blocks, counted from 0"),
        ({"token_weight": 0.0, "relation_weight": 0.0}, "nothing would be learned"),
        ({"mask_ratio": 0.5}, "the objective tiny-mim has no such setting"),
    ],
)
def test_what_cannot_be_is_refused(teacher: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**{**SETTINGS, "teacher": teacher, **settings})
