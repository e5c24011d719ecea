"""Trainings of supernets: sub-networks by seed, step and block, the same on any number of workers and sessions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_spaces import small_res as SPACE
from toy_trainings import StepCounter, largest_difference, weights

import raynas
from raynas import SearchSpace
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, SpaceError
from raynas.models.elastic.sampling import SubnetSampler
from raynas.models.elastic.supernet import Supernet
from raynas.models.process_state import seed_generators
from raynas.models.step_draws import StepContext, share_draws
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.training.batch import Batch
from raynas.training.config import TrainConfig
from raynas.training.image_choice import chosen_rows
from raynas.training.images import eval_transform
from raynas.training.objectives.supernet import SupernetClassification
from raynas.training.objectives.token_labels import TokenLabels

SETTINGS: dict[str, Any] = {
    "space": SPACE,
    "architecture": SPACE.largest().to_json(),
    "objective": "supernet",
    "data": "digits",
    "img_size": 16,
    "max_images": 128,
    "batch_size": 32,
    "epochs": 3,
    "augment": "none",
    "workers": 0,
}


def train(out: Path, **settings: Any) -> Any:
    chosen = {**SETTINGS, **settings}
    return raynas.train(chosen.pop("space"), out=out, listener=chosen.pop("listener", StepCounter()), **chosen)


def objective(tokens: TokenLabels | None = None, **settings: Any) -> tuple[SupernetClassification, Any]:
    torch.manual_seed(0)
    size = {"img_size": 16, "num_classes": 10, "drop_path_rate": settings.pop("drop_path_rate", 0.0)}
    model = raynas.build(SPACE, SPACE.largest(), **size)
    made = SupernetClassification(
        model, space=SPACE, largest=SPACE.largest(), settings=size, sampling={"warmup_epochs": 0, **settings},
        targets={"num_classes": 10}, block_images=8, token_labels=tokens,
    )  # fmt: skip
    return made.train(), model


def step(number: int, positions: np.ndarray) -> StepContext:
    return StepContext(3, 0, number, number, 10, 16, (positions,))


def batch(positions: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(16, 3, 16, 16, generator=generator), torch.arange(16) % 10
    return Batch((images[positions],), labels[positions], torch.tensor(positions))


SANDWICH: dict[str, Any] = {"strategy": "sandwich", "per_block": 4}


def sandwich(number: int, block: int, per_block: int) -> list[Architecture]:
    """The members of a block of a step of `step`."""
    sampler = SubnetSampler(SPACE, 3, strategy="sandwich", per_block=per_block, warmup_epochs=0)
    return sampler.drawn(0, number, block)


@pytest.mark.parametrize("sampling", [{}, SANDWICH])
@pytest.mark.parametrize("tokens", [None, TokenLabels(10, 0.1, 1, 32, 8)])
def test_each_block_trains_sub_networks_of_its_own_and_parts_of_a_step_add_up(
    sampling: dict[str, Any], tokens: TokenLabels | None
) -> None:
    """Parts as workers have them, each with images beside those that they are mixed with."""
    made, model = objective(tokens, **sampling)
    model.patch_embed.eval()  # whose statistics are of the images of a pass
    made.start_step(step(4, np.arange(16)))
    loss = made(batch(list(range(16))))
    loss.total.backward()
    whole = {name: one.grad.clone() for name, one in made.named_parameters() if one.grad is not None}
    assert ("patch_head.weight" in whole) == (tokens is not None)
    made.zero_grad()
    terms = dict.fromkeys(made.columns, 0.0)
    # The second part has no image of the largest sub-network of a sandwich.
    for rows in ([0, 3, 5, 8, 7, 10, 12, 15], [1, 14], [2, 4, 6, 9, 11, 13]):
        part = made(batch(rows))
        (part.total * len(rows) / 16).backward()
        assert part.terms.keys() == terms.keys()
        terms = {name: value + float(part.terms[name]) * len(rows) / 16 for name, value in terms.items()}
    assert terms == pytest.approx({name: float(value) for name, value in loss.terms.items()}, rel=1e-4)
    found = {name: parameter.grad for name, parameter in made.named_parameters() if parameter.grad is not None}
    assert found.keys() == whole.keys()
    for name, grad in whole.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6, msg=name)


def test_labels_are_for_the_largest_of_a_sandwich_and_its_predictions_for_the_others() -> None:
    """By hand: plain members of each block, extracted from the supernet, each with its images."""
    made, model = objective(**SANDWICH)
    model.patch_embed.eval()
    made.start_step(step(4, np.arange(16)))
    shown = batch(list(range(16)))
    assert shown.labels is not None
    loss = made(shown)
    supernet = Supernet(SPACE, SPACE.largest(), model, {"img_size": 16, "num_classes": 10})
    told = model(shown.images).softmax(1).detach()
    task, logit = [], []
    for position in range(16):
        member = supernet.extract(sandwich(4, position // 8, 4)[position % 4]).eval()
        found = member(shown.images[position : position + 1]).log_softmax(1)[0].detach()
        if position % 4 == 0:
            task.append(-float(found[shown.labels[position]]))
        else:
            logit.append(float((told[position] * (told[position].log() - found)).sum()))
    assert float(loss.terms["task_loss"]) == pytest.approx(np.mean(task), rel=1e-4)
    assert float(loss.terms["logit_loss"]) == pytest.approx(np.mean(logit), rel=1e-4)
    assert loss.total.item() == pytest.approx((sum(task) + sum(logit)) / 16, rel=1e-4)


def test_the_largest_learns_from_labels_alone() -> None:
    """Units that no other member has get their gradient from images in every third place, and others no label."""
    number = next(
        number
        for number in range(20)
        if all(one["mlp_units"][3] == 24 for block in (0, 1) for one in sandwich(number, block, 3)[1:])  # type: ignore[index]
    )
    whole = batch(list(range(16)))
    assert whole.labels is not None
    found = []
    for change in (0, 1):
        made, model = objective(strategy="sandwich", per_block=3)
        model.patch_embed.eval()
        made.start_step(step(number, np.arange(16)))
        labels = torch.where(torch.arange(16) % 3 == 0, whole.labels, (whole.labels + change) % 10)
        made(Batch((whole.images.clone(),), labels, whole.positions)).total.backward()
        found.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert all(torch.equal(found[1][name], grad) for name, grad in found[0].items())
    _, alone = objective()
    alone.patch_embed.eval()
    own = torch.nn.functional.cross_entropy(alone(whole.images[::3]), whole.labels[::3], reduction="sum") / 16
    own.backward()
    name = "stages.2.0.mlp.fc1.weight"
    expected = alone.get_parameter(name).grad
    torch.testing.assert_close(found[0][name][24:], expected[24:], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found[0][name][:24], expected[:24], rtol=1e-2)


def test_the_largest_is_asked_without_drops_and_stays_as_it_was() -> None:
    """Its answers are those in eval mode, and the statistics of the stem are updated once."""
    made, model = objective(**SANDWICH, drop_path_rate=0.5)
    draws = share_draws(made)
    context = step(4, np.arange(16))
    made.start_step(context)
    draws.begin_step(context, torch.device("cpu"))
    draws.begin_pass(torch.arange(16))
    made(batch(list(range(16))))
    assert int(model.patch_embed.norm1.num_batches_tracked) == 1
    assert all(module.training for module in model.modules())
    assert draws.positions.tolist() == list(range(16))
    supernet = Supernet(SPACE, SPACE.largest(), model, {"img_size": 16, "num_classes": 10, "drop_path_rate": 0.5})
    given = model.stem_features(torch.randn(5, 3, 16, 16)).detach()
    (found,) = supernet.predicted(given, SPACE.largest())
    assert not found.requires_grad
    torch.testing.assert_close(found, model.eval().forward_from_stem(given))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"sampling": "sandwich", "subnets": 4}, {"token_labels": True}])
def test_trainings_of_both_kinds_go_on_to_the_same_weights(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {"epochs": 2, "img_size": 32, **settings}
    run = train(tmp_path / "whole", **settings)
    columns = {"task_loss", "logit_loss"} if "sampling" in settings else {"class_loss", "patch_loss"}
    assert all(run.metrics[name].null_count == 0 for name in columns)
    assert run.model(space=SPACE)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(Killed):
        train(tmp_path / "parts", listener=Stops(), **settings)
    train(tmp_path / "parts", resume=True, **settings)
    assert largest_difference(weights(tmp_path / "parts"), weights(tmp_path / "whole")) == 0


def test_a_supernet_is_trained_and_its_largest_network_is_a_plain_model(tmp_path: Path) -> None:
    run = train(tmp_path / "run")
    assert run.metrics["val_smallest_top1"].null_count == 0
    assert list(run.metrics["epoch"].to_pylist()) == [0, 1, 2]
    model = run.model(space=SPACE)
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
    assert sum(p.numel() for p in model.parameters()) == SPACE.num_params(SPACE.largest(), 16, 10)  # type: ignore[misc]


def test_a_supernet_s_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "parts", listener=Stops())
    train(tmp_path / "parts", resume=True)
    assert largest_difference(weights(tmp_path / "parts"), weights(tmp_path / "whole")) == 0


class Killed(Exception):
    """Ends a training as a killed process would."""


class Stops(StepCounter):
    def on_epoch(self, row: dict[str, object]) -> None:
        super().on_epoch(row)
        raise Killed


def test_what_no_sub_network_of_a_step_uses_decays_as_all_does(tmp_path: Path) -> None:
    def lack_the_block(seed: int) -> bool:
        return all(one["num_heads"][2] == 0 for one in SubnetSampler(SPACE, seed, warmup_epochs=0).drawn(0, 0, 0))  # type: ignore[index]

    seed = next(seed for seed in range(100) if lack_the_block(seed))
    run = train(tmp_path / "run", seed=seed, max_images=40, val_fraction=0.2, epochs=1, lr=0.01, weight_decay=0.5)
    seed_generators(seed, "weights")
    start = raynas.build(SPACE, SPACE.largest(), img_size=16, num_classes=10, **SPACE.training).state_dict()
    after = run.model(space=SPACE).state_dict()
    name = "stages.1.1.mlp.fc1.weight"
    torch.testing.assert_close(after[name], start[name] * (1 - 0.01 * 0.5))
    assert not torch.allclose(after["stages.1.0.mlp.fc1.weight"], start["stages.1.0.mlp.fc1.weight"] * (1 - 0.01 * 0.5))


def test_a_network_that_is_not_the_largest_is_refused(tmp_path: Path) -> None:
    small = SPACE.smallest().to_json()
    with pytest.raises(SpaceError, match=r"the largest network has no stages\.1\.1|of a member is"):
        train(tmp_path / "run", architecture=small)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"subnets": 3}, r"subnets is 3, but a block of 32 images cannot be divided by it"),
        ({"subnets": 4, "block_images": 30, "batch_size": 60}, r"a block of 30 images cannot be divided"),
        ({"sampling": "sandwich"}, r"sampling sandwich trains the largest .*: subnets is 2, at least 3 are needed"),
        ({"sampling": "sandwich", "subnets": 4, "choice_warmup_epochs": 1}, r"choice_warmup_epochs is 1; with"),
        ({"shared_choices": ["widths"]}, r"no field widths"),
        ({"objective": "classification", "sampling": "single"}, r"sampling go with the objective supernet"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_supernet_that_starts_from_a_trained_network_computes_what_it_does_with_what_matters_first(
    tmp_path: Path,
) -> None:
    common: dict[str, Any] = {"data": "digits", "max_images": 128, "batch_size": 32, "augment": "none", "workers": 0}
    raynas.train(
        "vit", architecture="p4-w24-d3-h3-m2", img_size=16, epochs=2, out=tmp_path / "vit", listener=StepCounter(),
        **common,
    )  # fmt: skip
    raynas.train_supernet(
        init=tmp_path / "vit", epochs=1, lr=1e-9, min_lr=0.0, weight_decay=0.0, out=tmp_path / "elastic",
        listener=StepCounter(), **common,
    )  # fmt: skip
    vit, elastic = (raynas.load_training(tmp_path / name) for name in ("vit", "elastic"))
    assert elastic.description["model"]["space"] == "vit-elastic@p4-w24-d3-h3-m2"
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(elastic.model()(images), vit.model()(images), atol=1e-5)
    weights = dict(elastic.model().named_parameters())
    hidden = weights["blocks.0.mlp.fc1.weight"].abs().sum(1) + weights["blocks.0.mlp.fc1.bias"].abs()
    hidden = hidden + weights["blocks.0.mlp.fc2.weight"].abs().sum(0)
    assert (hidden.diff() <= 1e-6).all()
    of_vit = dict(vit.model().named_parameters())["patch_embed.proj.weight"].abs().sum((1, 2, 3))
    of_elastic = weights["patch_embed.proj.weight"].abs().sum((1, 2, 3))
    assert torch.allclose(of_vit.sort().values, of_elastic.sort().values, atol=1e-6)
    assert not torch.allclose(of_vit, of_elastic, atol=1e-6)  # channels have changed their places
    assert elastic.metrics["val_top1"].to_pylist() == vit.metrics["val_top1"].to_pylist()[-1:]


def test_epochs_tell_the_uniform_member_and_which_choices_are_in_play(tmp_path: Path) -> None:
    nano: Any = spaces.get("vit-res-nano")
    uniform_too = {"name": "with-uniform", "uniform": nano.uniform}
    space = SearchSpace(**{**{one.name: getattr(SPACE, one.name) for one in fields(SPACE)}, **uniform_too})
    done = train(tmp_path / "run", space=space, choice_warmup_epochs=2)
    found = Supernet(space, space.largest(), done.model(space=space), done.description["model"]["settings"])
    ends = [nano.macs(one, 16, 10) for one in (space.smallest(), space.largest())]
    halfway = {one: abs(nano.macs(one, 16, 10) - sum(ends) / 2) for one in nano.uniform(space.fields)}
    uniform = min(halfway, key=lambda one: halfway[one])
    assert done.description["supernet"]["uniform"] == uniform.to_json()
    config = TrainConfig.make(done.description["config"])
    data = open_dataset("digits")
    shown, labels = data.read(chosen_rows(config, data, data)[1].tolist())
    images = torch.stack([eval_transform(16)(image) for image in shown])
    with torch.no_grad():
        right = (found.extract(uniform).eval()(images).argmax(1).numpy() == labels).mean()
    assert done.metrics["val_uniform_top1"].to_pylist()[-1] == pytest.approx(right)
    assert done.description["supernet"]["in_play"] == [
        [0, "width 16 / 24 / 32; num_heads 1 of 2; mlp_units 1 of 2; all blocks there"],
        [2, "width 16 8 / 24 16 / 32 24; num_heads 2 of 2; mlp_units 2 of 2; blocks may be absent"],
    ]
