"""Trainings of supernets: sub-networks by seed, step and block, the same on any number of workers and sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_trainings import StepCounter, largest_difference, weights

import raynas
from raynas import Choice, PerBlock, SearchSpace
from raynas.errors import ConfigError, SpaceError
from raynas.models.elastic.sampling import SubnetSampler
from raynas.models.process_state import seed_generators
from raynas.models.step_draws import StepContext
from raynas.space.registered import spaces
from raynas.training.batch import Batch
from raynas.training.objectives.supernet import SupernetClassification

NANO = spaces.get("vit-res-nano")
SPACE = SearchSpace(
    "small-res",
    {
        "width": (Choice(16, 8), Choice(24, 16), Choice(32, 24)),
        "depth": (Choice(1), Choice(2), Choice(1)),
        "head_size": (Choice(4), Choice(8), Choice(8)),
        "num_heads": PerBlock((Choice(2, 1), Choice(3, 2), Choice(3, 2, 0), Choice(4, 2))),
        "mlp_units": PerBlock((Choice(24, 16), Choice(32, 16), Choice(32, 16), Choice(48, 24))),
    },
    model="vit-res-nano",
    grammar=NANO.grammar,
    num_params=NANO.num_params,
    macs=NANO.macs,
    img_size_multiple=16,
)
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


def objective(**settings: Any) -> tuple[SupernetClassification, Any]:
    torch.manual_seed(0)
    size = {"img_size": 16, "num_classes": 10}
    model = raynas.build(SPACE, SPACE.largest(), **size)
    made = SupernetClassification(
        model, space=SPACE, largest=SPACE.largest(), settings=size, sampling={"warmup_epochs": 0, **settings},
        targets={"num_classes": 10}, block_images=8,
    )  # fmt: skip
    return made.train(), model


def step(number: int, positions: np.ndarray) -> StepContext:
    return StepContext(3, 0, number, number, 10, 16, (positions,))


def batch(positions: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(16, 3, 16, 16, generator=generator), torch.arange(16) % 10
    return Batch((images[positions],), labels[positions], torch.tensor(positions))


def test_each_block_trains_sub_networks_of_its_own_and_parts_of_a_step_add_up() -> None:
    made, model = objective()
    model.patch_embed.eval()  # whose statistics are of the images of a pass
    made.start_step(step(4, np.arange(16)))
    made(batch(list(range(16)))).total.backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    for rows in ([0, 3, 5, 8, 9], [1, 2, 4, 6, 7, 10, 11, 12, 13, 14, 15]):
        (made(batch(rows)).total * len(rows) / 16).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert found.keys() == whole.keys()
    for name, grad in whole.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6, msg=name)


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
        ({"shared_choices": ["widths"]}, r"no field widths"),
        ({"objective": "classification", "sampling": "single"}, r"sampling go with the objective supernet"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
