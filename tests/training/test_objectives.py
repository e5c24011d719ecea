"""What an objective may ask of the loop: views, parts, columns, the best epoch, exchanges, orders of units, rules."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from toy_trainings import StepCounter, largest_difference, plan, trained, weights
from toy_workers import trained_by_two

import raynas
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, TrainingError
from raynas.models.elastic.units import UnitOrder
from raynas.training.best_epoch import BestEpoch
from raynas.training.checkpoints import BEST, LAST, checkpoint_folder, read_checkpoint
from raynas.training.folder import load_training
from raynas.training.objectives.classification import Classification
from raynas.training.objectives.objective import MODEL, Part, exported_part, objectives
from raynas.training.optimizers import make_optimizer, reorder_units
from raynas.training.run import execute_training

TOYS = Path(__file__).parents[1] / "toy_objectives.py"
VIEWS = {"objective": f"{TOYS}:two_views", "augment": "strong", "ema_decay": 0.8, "drop_path_rate": 0.3}
VIT = {"space": "vit", "architecture": "p16-w24-d2-h3-m2", "augment": "light", "drop_path_rate": 0.2}


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(checkpoint_folder(folder) / LAST)


def test_built_in_objectives_are_registered() -> None:
    assert {"classification", "distillation"} <= set(objectives.names())


def test_an_objective_has_views_parts_columns_and_a_best_epoch_of_its_own(tmp_path: Path) -> None:
    trained(tmp_path, epochs=3, **VIEWS)
    training = load_training(tmp_path)
    rows = training.metrics.to_pylist()
    for row in rows:
        assert row["train_loss"] == pytest.approx(row["alignment"] - 0.1 * row["spread"], rel=1e-5)
        assert row["val_top1"] is None
        assert row["ema_val_loss"] > 0
    losses = [row["ema_val_loss"] for row in rows]
    best = losses.index(min(losses))
    assert (training.summary["best_epoch"], training.summary["top1"], training.summary["best_top1"]) == (best,) + (
        None,
    ) * 2
    assert len(read_checkpoint(checkpoint_folder(tmp_path) / BEST)["history"]) == best + 1
    about = training.description["objective"]
    assert about == {"name": "two_views", "best": {"column": "val_loss", "higher_is_better": False}}
    state = last(tmp_path)
    assert {name: len(part) for name, part in state["parts"].items()} == {
        "projector": 7, "momentum": len(state["model"]), "centre": 1,
    }  # fmt: skip
    # The copy follows, and is not what is optimised; the model is what the space builds.
    assert largest_difference(state["parts"]["momentum"], state["model"]) > 0
    assert training.model().state_dict().keys() == state["model"].keys()


def test_images_without_labels_are_trained_on_and_evaluated(tmp_path: Path) -> None:
    """As with labels, which the objective does not look at; what is held out would be spread over the classes."""
    images, _ = open_dataset("digits").read(range(100))
    encoded = []
    for image in images:
        image.save(buffer := io.BytesIO(), "PNG")
        encoded.append(buffer.getvalue())
    for name, more in (("with", {"label": pa.array(np.arange(100) % 10)}), ("without", {})):
        pq.write_table(pa.table({"image": encoded, **more}), tmp_path / f"{name}.parquet")
        data = f"parquet:{tmp_path / name}.parquet"
        trained(tmp_path / name, data=data, val_data=data, max_images=None, num_classes=10, **VIEWS)
    assert largest_difference(weights(tmp_path / "with"), weights(tmp_path / "without")) == 0
    assert load_training(tmp_path / "without").summary["value"] > 0


def test_a_training_with_a_copy_in_two_parts_ends_with_the_same_weights(tmp_path: Path) -> None:
    trained(tmp_path / "whole", **VIEWS)
    counter = StepCounter(4)
    execute_training(plan(**VIEWS), tmp_path / "parts", is_stopped=counter.is_stopped)
    trained(tmp_path / "parts", **VIEWS)
    states = [last(tmp_path / name) for name in ("whole", "parts")]
    assert largest_difference(states[0]["model"], states[1]["model"]) == 0
    for name in ("projector", "momentum", "centre"):
        assert largest_difference(states[0]["parts"][name], states[1]["parts"][name]) == 0
    tables = [load_training(tmp_path / name).metrics.select(["alignment", "spread"]) for name in ("whole", "parts")]
    assert tables[0].equals(tables[1])


@pytest.mark.long
def test_two_workers_carry_on_all_parts_as_one(tmp_path: Path) -> None:
    """By plain gradients: Adam makes whole steps of the rounding of a bias whose effect the BatchNorm takes away."""
    settings = {**VIEWS, "epochs": 1, "optimizer": "sgd", "lr": 0.05}
    trained(tmp_path / "one", **settings)
    two = trained_by_two(tmp_path / "two", **settings)
    one = last(tmp_path / "one")
    for name in ("model", "ema"):
        assert 0 < largest_difference(one[name], two[name]) < 1e-4
    for name in ("projector", "momentum", "centre"):
        assert largest_difference(one["parts"][name], two["parts"][name]) < 1e-4
    row = load_training(tmp_path / "one").metrics.to_pylist()[0]
    for name in ("train_loss", "alignment", "spread", "val_loss"):
        # Small values are 1e-5 to 3e-4 apart, by the processor.
        assert two["history"][0][name] == pytest.approx(row[name], rel=1e-3)


@pytest.mark.long
def test_two_workers_train_a_network_with_batch_norms_as_one(tmp_path: Path) -> None:
    """In float64, so that nothing but the exchange could differ; five steps, 1e-11 apart when this was written."""
    recipe = {"optimizer": "sgd", "lr": 0.05, "augment": "light", "ema_decay": 0.8, "clip_grad": 1.0, "max_images": 200}
    made = {"space": "resnet", "architecture": "resnet8", "epochs": 1, "batch_size": 36, **recipe}
    trained(tmp_path / "one", objective=f"{TOYS}:precise", **made)
    two = trained_by_two(tmp_path / "two", objective=f"{TOYS}:precise", **made)
    one = last(tmp_path / "one")
    assert one["model"]["bn1.running_var"].dtype == torch.float64
    for part in ("model", "ema"):
        assert largest_difference(one[part], two[part]) < 1e-9
    for name in ("train_loss", "val_loss", "ema_val_loss"):
        # Losses are added up in float32.
        assert two["history"][0][name] == pytest.approx(one["history"][0][name], rel=1e-6)


def test_what_looks_at_all_images_of_a_step_refuses_several_passes() -> None:
    with pytest.raises(
        ConfigError, match="accumulation is 2, but the objective two_views compares the images of a whole"
    ):
        plan(accumulation=2, objective=VIEWS["objective"])
    with pytest.raises(
        ConfigError, match=r"accumulation is 2, but layer model\.bn1 normalises by the images of a whole"
    ):
        plan(space="resnet", architecture="resnet8", accumulation=2)


@pytest.mark.slow
def test_parameters_without_a_gradient_in_a_step_stay_on_two_workers_as_on_one(tmp_path: Path) -> None:
    settings = {"objective": f"{TOYS}:alternating", "epochs": 1, "max_images": 120, "weight_decay": 0.5}
    trained(tmp_path / "one", **settings)
    states = [last(tmp_path / "one"), trained_by_two(tmp_path / "two", **settings)]
    assert largest_difference(states[0]["model"], states[1]["model"]) < 1e-4
    layers = [state["parts"]["layers"] for state in states]
    assert largest_difference(*layers) < 1e-4
    # Three steps: the first layer has had two of them, the second one.
    steps = sorted({int(one["step"]) for one in states[1]["optimizer"]["state"].values()})
    assert steps == [1, 2, 3]


def test_units_in_another_order_train_on_as_before(tmp_path: Path) -> None:
    settings = {**VIT, "ema_decay": 0.8, "epochs": 3, "lr": 3e-3}
    plain = trained(tmp_path / "plain", **settings)
    trained(tmp_path / "permuted", objective=f"{TOYS}:permuting", **settings)
    states = [last(tmp_path / name) for name in ("plain", "permuted")]
    rows = [load_training(tmp_path / name).metrics.to_pylist() for name in ("plain", "permuted")]
    for before, after in zip(*rows, strict=True):
        for name in ("train_loss", "val_loss", "ema_val_loss"):
            assert after[name] == pytest.approx(before[name], abs=1e-5)
    assert largest_difference(plain, states[1]["model"]) > 0.01
    for number in range(2):
        order = torch.randperm(48, generator=torch.Generator().manual_seed(number))
        for part in ("model", "ema"):
            first, second = (state[part] for state in states)
            weight, bias, out = (f"blocks.{number}.mlp.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight"))
            assert torch.allclose(first[weight][order], second[weight], atol=1e-4)
            assert torch.allclose(first[bias][order], second[bias], atol=1e-4)
            assert torch.allclose(first[out][:, order], second[out], atol=1e-4)


def test_units_are_reordered_once_also_where_an_epoch_is_resumed(tmp_path: Path) -> None:
    settings = {**VIT, "objective": f"{TOYS}:permuting"}
    expected = trained(tmp_path / "whole", **settings)
    for stop_after in (6, 8):  # at the end of the first epoch, and within the second
        counter = StepCounter(stop_after)
        folder = tmp_path / f"parts{stop_after}"
        execute_training(plan(**settings), folder, is_stopped=counter.is_stopped)
        assert largest_difference(trained(folder, **settings), expected) == 0


def test_moments_go_with_the_units() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))
    other = copy.deepcopy(model)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    inputs = torch.randn(6, 5)
    models = (model, other)
    optimizers = [make_optimizer(one, opt="adamw", lr=0.05, weight_decay=0.1) for one in models]
    for step in range(8):
        if step == 4:
            outputs = other(inputs)
            orders = [UnitOrder("0.weight", 0, order), UnitOrder("0.bias", 0, order), UnitOrder("2.weight", 1, order)]
            reorder_units(other, optimizers[1], orders, {})
            assert torch.allclose(other(inputs), outputs, atol=1e-6)
        for one, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            one(inputs).pow(2).sum().backward()
            optimizer.step()
    assert torch.allclose(model(inputs), other(inputs), atol=1e-5)
    assert torch.allclose(model[0].weight[order], other[0].weight, atol=1e-5)
    with pytest.raises(TrainingError, match="there is no such parameter or buffer"):
        reorder_units(other, optimizers[1], [UnitOrder("1.weight", 0, order)], {})
    with pytest.raises(TrainingError, match="the order is not one of 5 units"):
        reorder_units(other, optimizers[1], [UnitOrder("0.weight", 1, order)], {})
    wide = nn.Sequential(nn.Linear(200, 200))  # of smaller matrices it keeps whole moments
    factored = make_optimizer(wide, opt="adafactor", lr=0.1)
    wide(torch.randn(6, 200)).sum().backward()
    factored.step()
    with pytest.raises(TrainingError, match=r"units of 0\.weight cannot be reordered"):
        reorder_units(wide, factored, [UnitOrder("0.weight", 0, torch.arange(200))], {})


def test_parameters_have_learning_rates_of_their_own(tmp_path: Path) -> None:
    settings = {**VIT, "epochs": 1, "optimizer": "sgd", "lr": 0.01, "objective": f"{TOYS}:head_only"}
    found = trained(tmp_path, **settings)
    torch.manual_seed(0)
    counter = StepCounter(1)
    execute_training(plan(**settings), tmp_path / "short", is_stopped=counter.is_stopped)
    early = weights(tmp_path / "short")
    for name, value in found.items():
        assert torch.equal(value, early[name]) == (not name.startswith("head.")), name
    row = load_training(tmp_path).metrics.to_pylist()[0]
    assert 0 < row["lr"] <= 0.01  # of the schedule, not ten times as much


def test_betas_are_those_of_the_optimizer(tmp_path: Path) -> None:
    task = plan(betas=(0.8, 0.95)).task("cpu", threads=1, loader_processes=0)
    optimizer = make_optimizer(nn.Linear(2, 2), **task.optimizer)
    assert optimizer.defaults["betas"] == (0.8, 0.95)
    assert make_optimizer(nn.Linear(2, 2), **plan().task("cpu", threads=1, loader_processes=0).optimizer).defaults[
        "betas"
    ] == (0.9, 0.999)
    with pytest.raises(ConfigError, match=r"optimizer 'sgd' has no betas, and betas are \(0\.9, 0\.95\)"):
        plan(optimizer="sgd", betas=(0.9, 0.95))
    with pytest.raises(ConfigError, match="betas"):
        plan(betas=(0.9, 1.0))


def test_a_term_that_is_not_declared_is_a_defect_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"the loss of Untold has the terms \('hidden',\), and not \(\)"):
        execute_training(plan(objective=f"{TOYS}:untold"), tmp_path)


def test_of_each_module_it_is_said_what_becomes_of_it() -> None:
    model = raynas.build("resnet", "resnet8", img_size=32, num_classes=10)

    class Silent(Classification):
        def __init__(self) -> None:
            super().__init__(model, num_classes=10)
            self.more = nn.Linear(2, 2)

    assert exported_part(Classification(model, num_classes=10)) == "model"
    with pytest.raises(TypeError, match="Silent does not say what becomes of more"):
        exported_part(Silent())

    class Double(Silent):
        def parts(self) -> dict[str, Part]:
            return {"model": MODEL, "more": MODEL}

    with pytest.raises(TypeError, match="Double exports model, more, and not one part"):
        exported_part(Double())


def test_the_best_epoch_is_the_first_of_the_best_in_either_direction() -> None:
    rows = [{"epoch": i, "val_loss": loss, "ema_val_loss": None} for i, loss in enumerate([3.0, 1.0, 2.0, 1.0])]
    lowest, highest = BestEpoch("val_loss", higher_is_better=False), BestEpoch("val_loss", higher_is_better=True)
    assert (lowest.best_of(rows) or {})["epoch"] == 1
    assert (highest.best_of(rows) or {})["epoch"] == 0
    assert lowest.best_of([]) is None
    assert lowest.is_better(rows[1], rows[:1])
    assert not lowest.is_better(rows[3], rows[:3])
    assert lowest.is_better(rows[0], [])
    averaged = [{"val_loss": 1.0, "ema_val_loss": 5.0}, {"val_loss": 2.0, "ema_val_loss": 4.0}]
    assert lowest.best_of(averaged) == averaged[1]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_an_epoch_without_a_value_is_never_the_best(higher_is_better: bool) -> None:
    best = BestEpoch("val_loss", higher_is_better=higher_is_better)
    values = [math.nan, 2.0, math.nan, 1.0, 3.0]
    rows = [{"epoch": i, "val_loss": value, "ema_val_loss": None} for i, value in enumerate(values)]
    better = [best.is_better(row, rows[:i]) for i, row in enumerate(rows)]
    assert better == [False, True, False, not higher_is_better, higher_is_better]
    assert (best.best_of(rows) or {})["epoch"] == (4 if higher_is_better else 3)
    assert best.best_of(rows[:1]) is None
