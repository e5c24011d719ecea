"""MoCo v3 against its definition (arXiv 2104.02057), worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from toy_trainings import SMALL, StepCounter, largest_difference, plan, trained

from raynas.errors import ConfigError
from raynas.models.process_state import seed_generators
from raynas.models.step_draws import StepContext
from raynas.models.token_stages import sine_positions
from raynas.training.batch import Batch
from raynas.training.config import AUGMENTATIONS
from raynas.training.contrast_views import contrast_views
from raynas.training.folder import load_training
from raynas.training.objectives.contrast import contrast, mlp, momentum_at
from raynas.training.run import execute_training
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank

SETTINGS: dict[str, Any] = {
    "space": "vit",
    "architecture": "p8-w48-d2-h4-m3",
    "img_size": 32,
    "objective": "moco-v3",
    "lr": None,
    "min_lr": 0.0,
    "drop_path_rate": 0.0,
    "projector_width": 64,
    "projector_dim": 32,
    "color_jitter": 0.4,
}


def runner(**settings: Any) -> StepRunner:
    return StepRunner(plan(**{**SETTINGS, **settings}).task("cpu", threads=1, loader_processes=0), WorkerRank())


def views(images: int = 6) -> Batch:
    drawn = torch.Generator().manual_seed(2)
    two = tuple(torch.randn(images, 3, 32, 32, generator=drawn) for _ in range(2))
    return Batch(two, None, torch.arange(images))


def begin(objective: Any, number: int = 0, steps: int = 10) -> None:
    objective.start_step(StepContext(0, 0, number, number, steps, 6, (np.arange(6),)))


def test_the_decay_of_the_copies_rises_to_1() -> None:
    assert momentum_at(0, 100, 0.99) == pytest.approx(0.99)
    assert momentum_at(50, 100, 0.99) == pytest.approx(0.995)
    assert momentum_at(100, 100, 0.99) == 1


@pytest.mark.parametrize("number", [2, 7, 64])
def test_equal_vectors_among_orthogonal_ones_have_a_known_loss(number: int) -> None:
    vectors = 3 * torch.eye(64)[:number]
    found = contrast(vectors, vectors.flip(0), torch.arange(number).flip(0), 0.2)
    assert float(found) == pytest.approx(2 * 0.2 * math.log(1 + (number - 1) * math.exp(-1 / 0.2)), rel=1e-5)


def test_a_view_is_compared_with_the_keys_of_the_other() -> None:
    objective: Any = runner().objective.eval()  # so that BatchNorms do not couple images
    begin(objective)
    batch = views()
    loss = objective(batch)
    heads: list[torch.Tensor] = []
    objective.model.head.register_forward_pre_hook(lambda _, given: heads.append(given[0]))
    for view in batch.views:
        objective.model(view)
    queries = [objective.predictor(objective.projector(one)) for one in heads]
    keys = [objective.momentum_projector(one) for one in heads]  # before the first step, the copies are alike
    by_hand = 0.0
    for own, other in ((0, 1), (1, 0)):
        q, k = (torch.nn.functional.normalize(one, dim=1) for one in (queries[own], keys[other]))
        products = (q @ k.T / 0.2).exp()
        by_hand += float(2 * 0.2 * -(products.diagonal() / products.sum(1)).log().mean().detach())
    assert float(loss.total.detach()) == pytest.approx(by_hand, rel=1e-5)


def test_copies_follow_and_get_no_gradients() -> None:
    objective: Any = runner().objective
    before = objective.momentum_model.blocks[0].mlp.fc1.weight.clone()
    with torch.no_grad():
        objective.model.blocks[0].mlp.fc1.weight.add_(1.0)
    begin(objective, number=5)
    follows = objective.momentum_model.blocks[0].mlp.fc1.weight
    assert torch.allclose(follows, before + 0.005, atol=1e-6)
    objective(views()).total.backward()
    for part in (objective.momentum_model, objective.momentum_projector):
        assert all(parameter.grad is None for parameter in part.parameters())
    assert objective.model.blocks[0].mlp.fc1.weight.grad is not None
    assert objective.model.head.weight.grad is None


def test_projector_and_predictor_are_the_published_ones() -> None:
    projector, predictor = mlp((192, 4096, 4096, 256)), mlp((256, 4096, 256))
    # Linear layers without biases; a BatchNorm scales and shifts, but for the last one.
    assert sum(p.numel() for p in projector.parameters()) == 192 * 4096 + 4096**2 + 4096 * 256 + 4 * 4096
    assert sum(p.numel() for p in predictor.parameters()) == 2 * 256 * 4096 + 2 * 4096
    assert [type(layer).__name__ for layer in predictor] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]


def test_a_new_network_is_drawn_as_the_source_draws_it() -> None:
    objective: Any = runner().objective
    model = objective.model
    assert torch.equal(model.pos_embed, sine_positions(4, 48, prefix=1, columns_first=False))
    assert not model.pos_embed.requires_grad
    for weight, bound in (
        (model.blocks[0].attn.qkv.weight, (6 / (48 + 48)) ** 0.5),
        (model.blocks[0].mlp.fc1.weight, (6 / (48 + 144)) ** 0.5),  # as wide as queries, keys and values
        (model.patch_embed.proj.weight, (6 / (192 + 48)) ** 0.5),
    ):
        assert 0.95 * bound < weight.abs().max() <= bound
    assert model.cls_token.abs().max() < 1e-5


def test_all_that_is_trained_decays() -> None:
    made = runner(weight_decay=0.1)
    groups = made.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.1}
    trainable = [parameter for parameter in made.objective.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trainable)


def test_the_first_view_is_blurred_and_the_second_is_sometimes_solarised() -> None:
    black_and_white = np.zeros((32, 32, 3), np.uint8)
    black_and_white[:, 16:] = 255
    image = Image.fromarray(black_and_white)
    augmentation = {**AUGMENTATIONS["none"], "min_scale": 0.999}
    first, second = contrast_views(32, augmentation)
    values: list[list[int]] = [[], []]
    inverted = 0
    for seed in range(300):
        seed_generators(0, seed)
        one = first(image)
        seed_generators(1, seed)
        other = second(image)
        for found, view in zip(values, (one, other), strict=True):
            found.append(len(view[0, 8].unique()))
        inverted += bool(other[0, 8, -1] < 0)  # where it was white
    assert np.mean(np.array(values[0]) > 2) > 0.8  # a blur of under 0.3 pixels is seen by nobody
    assert np.mean(np.array(values[1]) > 2) < 0.2
    assert 0.12 < inverted / 300 < 0.28


def test_views_have_the_image_side() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    augmentation = {**AUGMENTATIONS["light"], "color_jitter": 0.4}
    assert [tuple(view(image).shape) for view in contrast_views(24, augmentation)] == [(3, 24, 24)] * 2


def test_an_interrupted_training_is_gone_on_with_bit_for_bit(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", **SETTINGS)
    stopped = execute_training(plan(**SETTINGS), tmp_path / "run", is_stopped=StepCounter(8).is_stopped)
    assert stopped["status"] == "interrupted"
    assert largest_difference(trained(tmp_path / "run", **SETTINGS), whole) == 0
    rows = load_training(tmp_path / "run").metrics.to_pylist()
    assert all(row["val_loss"] is None and 0 <= row["val_knn_top1"] <= 1 for row in rows)
    assert load_training(tmp_path / "run").summary["measure"] == "train_loss"


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [32, 31])
def test_two_workers_contrast_with_all_keys_as_one(tmp_path: Path, batch_size: int) -> None:
    """By plain gradients: Adam makes whole steps of the rounding of a bias whose effect the BatchNorm takes away.

    Class tokens begin at 1e-6, and their norm at that times a gradient: a larger rate throws them far, which makes much
    of a rounding.
    """
    settings = {**SETTINGS, "epochs": 1, "optimizer": "sgd", "lr": 0.005, "batch_size": batch_size}
    one = trained(tmp_path / "one", **settings)
    two = trained(tmp_path / "two", **settings, workers=2)
    assert 0 < largest_difference(one, two) < 1e-4
    rows = [load_training(tmp_path / name).metrics.to_pylist()[0] for name in ("one", "two")]
    assert rows[1]["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=1e-4)


def test_any_model_can_be_trained(tmp_path: Path) -> None:
    trained(tmp_path / "run", **{**SETTINGS, "space": "resnet", "architecture": "resnet8", "epochs": 1})
    assert load_training(tmp_path / "run").summary["status"] == "completed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulation": 2}, "accumulation is 2, but the objective moco-v3 compares the images of a whole step"),
        ({"teacher": "random:resnet20"}, "learns from no teacher"),
        ({"mask_ratio": 0.5}, "mask_ratio: the objective moco-v3 has no such setting"),
        ({"space": "as-vit", "architecture": SMALL, "retokenize": "0:16"}, "leave retokenize out"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(**{**SETTINGS, **settings})
