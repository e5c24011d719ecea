"""Supernets as masked autoencoders: members in shared weights against the same networks by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_trainings import StepCounter, largest_difference, plan, trained, weights

import raynas
from raynas.errors import ConfigError, RaynasError
from raynas.models.attention_maps import through_noting
from raynas.models.elastic.sampling import SubnetSampler
from raynas.models.elastic.supernet import Supernet
from raynas.models.masking import Masking, kept_tokens, masked_loss, random_masking
from raynas.models.step_draws import StepContext, share_draws
from raynas.models.token_stages import TokenStages
from raynas.space.registered import spaces
from raynas.training.batch import Batch
from raynas.training.folder import load_training
from raynas.training.objectives.supernet import drawn_members
from raynas.training.run import TrainingListener, execute_training
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank

SPACE = "vit-elastic@p8-w48-d4-h4-m2"
SETTINGS: dict[str, Any] = {
    "space": SPACE,
    "architecture": spaces.get(SPACE).largest().to_json(),
    "img_size": 32,
    "objective": "supernet-mae",
    "drop_path_rate": 0.0,
    "choice_warmup_epochs": 0,
}


def begun(images: int = 12, **settings: Any) -> tuple[Any, Batch, StepContext]:
    """The objective at a step, with its draws, and a batch."""
    task = plan(**{**SETTINGS, **settings}).task("cpu", threads=1, loader_processes=0)
    objective = StepRunner(task, WorkerRank()).objective
    context = StepContext(0, 0, 3, 3, 10, images, (np.arange(images),))
    objective.start_step(context)
    draws = share_draws(objective)
    draws.begin_step(context, torch.device("cpu"))
    draws.begin_pass(torch.arange(images))
    pixels = torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return objective, Batch((pixels,), None, torch.arange(images)), context


def by_themselves(objective: Any, batch: Batch, context: StepContext) -> tuple[float, float]:
    """Both terms of the loss, image by image, each by its member as a network with weights of its own."""
    space = spaces.get(SPACE)
    sampler = SubnetSampler(space, context.seed, **objective._sampling)
    members, assigned = drawn_members(sampler, context, batch.positions, objective._block_images)
    supernet = Supernet(space, objective._largest, objective.model, objective._network_settings)
    draws = share_draws(objective)
    draws.begin_step(context, torch.device("cpu"))
    draws.begin_pass(batch.positions)
    masking = random_masking(draws.uniform("mask", len(batch), (16,)), 4)
    targets = objective._reconstruction.targets(batch.images)
    losses, differences = [], []
    largest = TokenStages(objective.model)
    for image in range(len(batch)):
        architecture = members[int(assigned[image])]
        stages = TokenStages(supernet.extract(architecture))
        hidden = Masking(*(one[image : image + 1] for one in masking))
        pixels = batch.images[image : image + 1]
        tokens, (logits,) = through_noting(stages, kept_tokens(stages.embedded(pixels), hidden, 1), [stages.depth - 1])
        predicted = objective.decoder(stages.normalised(tokens), hidden)
        losses.append(float(masked_loss(predicted, targets[image : image + 1], hidden.hidden).detach()))
        shown = kept_tokens(largest.embedded(pixels), hidden, 1)
        aim = through_noting(largest, shown, [largest.depth - 1])[1][0]
        if architecture == objective._largest or not hasattr(objective, "adapters"):
            differences.append(0.0)
        else:
            adapted = objective.adapters[str(logits.shape[1])](logits)
            differences.append(float((adapted - aim).square().mean().detach()))
    return float(np.mean(losses)), float(np.mean(differences))


@pytest.mark.parametrize("strategy", [{}, {"sampling": "sandwich", "subnets": 4}, {"sampling": "single"}])
def test_members_in_shared_weights_are_those_networks(strategy: dict[str, Any]) -> None:
    objective, batch, context = begun(**strategy)
    found = float(objective(batch).total.detach())
    assert found == pytest.approx(by_themselves(objective, batch, context)[0], rel=1e-5)


def test_members_follow_the_attention_of_the_largest() -> None:
    settings = {"sampling": "sandwich", "subnets": 4, "objective": "supernet-d-mae", "attention_weight": 0.3}
    objective, batch, context = begun(**settings)
    found = objective(batch)
    reconstruction, attention = by_themselves(objective, batch, context)
    assert float(found.terms["reconstruction_loss"]) == pytest.approx(reconstruction, rel=1e-5)
    assert float(found.terms["attention_loss"]) == pytest.approx(attention, rel=1e-4)
    assert float(found.total.detach()) == pytest.approx(reconstruction + 0.3 * attention, rel=1e-4)
    found.total.backward()
    assert objective.adapters["4"].weight.grad is not None


def test_the_largest_alone_has_nobody_to_follow() -> None:
    objective, batch, _ = begun(objective="supernet-d-mae", choice_warmup_epochs=2, epochs=4)
    assert float(objective(batch).terms["attention_loss"]) == 0


@pytest.mark.parametrize("kind", ["supernet-mae", "supernet-d-mae"])
def test_an_interrupted_training_is_gone_on_with_bit_for_bit(tmp_path: Path, kind: str) -> None:
    settings = {**SETTINGS, "objective": kind}
    whole = trained(tmp_path / "whole", **settings)
    stopped = execute_training(plan(**settings), tmp_path / "run", is_stopped=StepCounter(8).is_stopped)
    assert stopped["status"] == "interrupted"
    assert largest_difference(trained(tmp_path / "run", **settings), whole) == 0


@pytest.mark.long
def test_two_workers_train_as_one(tmp_path: Path) -> None:
    settings = {**SETTINGS, "objective": "supernet-d-mae", "epochs": 1}
    one = trained(tmp_path / "one", **settings)
    assert largest_difference(one, trained(tmp_path / "two", **settings, workers=2)) < 1e-4


def test_a_supernet_starts_from_what_was_learned_without_labels(tmp_path: Path) -> None:
    common: dict[str, Any] = {"epochs": 1, "batch_size": 32, "max_images": 160, "threads": 1, "loader_processes": 0}
    common |= {"data": "digits", "img_size": 32, "listener": TrainingListener()}
    warm = raynas.pretrain(SPACE, method="supernet-mae", out=tmp_path / "warm", **common)
    assert warm.architecture == spaces.get(SPACE).largest()
    raynas.train_supernet(
        init=tmp_path / "warm", weights_policy="encoder", out=tmp_path / "supernet", lr=1e-9, **common
    )
    before, after = weights(tmp_path / "warm"), weights(tmp_path / "supernet")
    # Its units were put into another order of importance, and hardly moved since.
    for name in ("blocks.0.attn.qkv.weight", "blocks.2.mlp.fc1.weight", "patch_embed.proj.weight"):
        assert torch.allclose(before[name].flatten().sort().values, after[name].flatten().sort().values, atol=1e-5)
    assert load_training(tmp_path / "supernet").summary["status"] == "completed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "vit-res-nano", "architecture": None}, "cannot be computed on some of its patches"),
        ({"space": "autoformer-tiny", "architecture": None, "img_size": 64}, "computed on some of its patches"),
        ({"subnets": 3}, "a block of 32 images cannot be divided by it"),
        ({"teacher": "random:deit-tiny"}, "learns from no teacher"),
        ({"attention_weight": 0.5}, "attention_weight: the objective supernet-mae has no such setting"),
        (
            {"objective": "mae", "space": "vit", "architecture": "p8-w48-d2-h4-m2", "subnets": 4},
            "go with the objective supernet",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    settings = dict(settings)
    if settings.get("architecture", "") is None:
        settings["architecture"] = spaces.get(settings["space"]).largest().to_json()
    with pytest.raises((ConfigError, RaynasError), match=message):
        plan(**{**SETTINGS, **settings})
