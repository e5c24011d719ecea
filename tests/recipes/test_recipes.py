"""Every recipe is valid settings of its command, and a step of it runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_trainings import SMALL

import raynas
from raynas.api import listing
from raynas.api.layers import base_values
from raynas.api.supernets import TRAINING_DEFAULTS
from raynas.cli import main
from raynas.data.opening import open_both
from raynas.errors import ConfigError, StoreError, UnknownNameError
from raynas.recipes.reading import Recipe, read_recipe, recipe_names, recipe_settings
from raynas.searching.config import RunConfig
from raynas.searching.run import SearchListener
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.storage.run_folder import read_description
from raynas.training.config import TrainConfig
from raynas.training.defaults import DISTILLATION_DEFAULTS
from raynas.training.folder import KIND
from raynas.training.images import train_loader
from raynas.training.plan import make_training_plan
from raynas.training.run import TrainingListener
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank

FOLDER = Path(raynas.__file__).parent / "recipes"
RECIPES = {name: read_recipe(name) for name in recipe_names()}
TRAININGS = [name for name, recipe in RECIPES.items() if not recipe.command.endswith("search")]

SMALLER: dict[str, Any] = {
    "data": "digits", "epochs": 1, "warmup_epochs": 0, "max_images": 20, "batch_size": 2, "loader_processes": 0,
    "weights_policy": "exact", "threads": 1, "loggers": (),
}  # fmt: skip
"""What a step of any training is made small by; a recipe that resizes weights is given none here."""

SLOW = ("as-vit-train", "vit-resnas-finetune-280", "vit-resnas-supernet-small", "vit-resnas-retrain-medium")
"""Recipes whose networks take long for a step."""

TEACHERS = {
    "distill": {"space": "vit", "architecture": "deit-tiny", "teacher": "random:resnet20"},
    "finetune": {"space": "vit", "architecture": "mae-lite-tiny"},
    "pretrain": {"teacher": "random:deit-tiny"},
}
"""What trainings of a command need beside their recipes."""

SIDES = {"as-vit": 32, "vit-res-tiny": 56, "vit-res-small": 56, "vit": 32}


def of_supernet(space: str) -> dict[str, Any]:
    return {**TRAINING_DEFAULTS, "architecture": spaces.get(space).largest().to_json()}


def small_config(recipe: Recipe) -> TrainConfig:
    needed = dict(TEACHERS.get(recipe.command, {}))
    if recipe.settings.get("objective") in ("mae", "moco-v3"):
        del needed["teacher"]
    if recipe.settings.get("logit_weight"):
        needed["teacher"] = "random:resnet20"
    is_supernet = recipe.command == "supernet train"
    values = {
        **(DISTILLATION_DEFAULTS if recipe.command == "distill" else {}),
        **recipe.settings,
        **(of_supernet(recipe.settings["space"]) if is_supernet else {}),
        **needed,
        **SMALLER,
    }
    # Teachers of attention are to see the same patches.
    size = 224 if recipe.command == "pretrain" and needed else SIDES[values["space"]]
    return TrainConfig.make({**values, "img_size": size})


def test_all_files_are_recipes_for_a_command_that_there_is() -> None:
    assert sorted(RECIPES) == sorted(file.stem for file in FOLDER.glob("*.yaml"))
    for recipe in RECIPES.values():
        assert recipe.command in (
            "search", "train", "distill", "pretrain", "finetune", "supernet train", "supernet search",
        )  # fmt: skip
        assert recipe.title
        assert recipe.paper
        assert recipe.hardware
        assert bool(recipe.reaches) == bool(recipe.source), recipe.name
        assert all(isinstance(note, str) for note in recipe.notes)


@pytest.mark.parametrize("name", RECIPES)
def test_settings_are_those_of_the_command(name: str) -> None:
    recipe = RECIPES[name]
    config = RunConfig if recipe.command.endswith("search") else TrainConfig
    config.check_names(recipe.settings)
    config.check_values(recipe.settings)
    if "architecture" in recipe.settings:
        assert recipe.settings["architecture"] in spaces.get(recipe.settings["space"]).named


def test_published_values_stand_in_the_recipes() -> None:
    """ViT-ResNAS trains with 5e-4 for 512 images, and fine-tunes with 5e-6 for them (arXiv 2109.00642)."""
    for name, drop_path in (("tiny", 0.2), ("small", 0.3), ("medium", 0.3)):
        settings = RECIPES[f"vit-resnas-retrain-{name}"].settings
        assert settings["lr"] == 5e-4 * settings["batch_size"] / 512
        assert (settings["epochs"], settings["min_lr"], settings["warmup_epochs"]) == (300, 1e-5, 5)
        assert (settings["drop_path_rate"], settings["ema_decay"]) == (drop_path, 0.99996)
        assert round(224 / settings["eval_crop"]) == 256
    # 120 epochs, of which 30 let smaller choices in, two members for 128 images; 500 + 19 * 150 evaluations in a band.
    for name, drop_path in (("tiny", 0.2), ("small", 0.3)):
        settings = RECIPES[f"vit-resnas-supernet-{name}"].settings
        assert (settings["epochs"], settings["choice_warmup_epochs"], settings["drop_path_rate"]) == (
            120,
            30,
            drop_path,
        )
        assert (settings["subnets"], settings["block_images"], settings["token_labels"]) == (2, 128, True)
        assert round(settings["val_fraction"] * 1_281_167, -2) == 25_000
    for name, macs in (("tiny", 1.7944e9), ("small", 2.9e9), ("medium", 4.6e9)):
        settings = RECIPES[f"vit-resnas-search-{name}"].settings
        bounds = [float(one) for one in settings["bands"][0].split(":")[1:]]
        assert bounds == pytest.approx([0.975 * macs, macs], rel=1e-9)
        assert settings["budget"] == 500 + 19 * 150
    for side in (280, 392):
        settings = RECIPES[f"vit-resnas-finetune-{side}"].settings
        assert settings["lr"] == 5e-6 * settings["batch_size"] / 512
        assert (settings["img_size"], settings["weights_policy"]) == (side, "resized")


def test_published_values_of_pre_training_stand_in_the_recipes() -> None:
    """2.4e-3 at 4,096 images, 6e-4 at 1,024 of contrast, 4e-3 at 1,024 when fine-tuned (arXiv 2205.14443)."""
    rates = {"pretrain-mae": 2.4e-3, "pretrain-d-mae": 2.4e-3, "pretrain-d2-mae": 2.4e-3, "pretrain-moco-v3": 6e-4}
    for name, lr in {**rates, "finetune": 4e-3}.items():
        settings = RECIPES[f"mae-lite-{name}"].settings
        assert settings["base_lr"] * settings["batch_size"] / 256 == pytest.approx(lr)
        assert settings["epochs"] == (300 if name == "finetune" else 400)


SOURCES = {
    "distill": ["deit-tiny", "--space", "vit", "--teacher", "random:resnet20"],
    "finetune": ["deit-tiny", "--space", "vit", "--weights", "weights.pt"],
}
"""What a command needs beside a recipe and images."""


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.command != "supernet search"])
def test_a_command_needs_nothing_but_images_beside_a_recipe(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = RECIPES[name].command
    words = [*command.split(), *SOURCES.get(command, []), "--recipe", name]
    with pytest.raises(SystemExit, match="1"):
        main([*words, "--data", f"folder:{tmp_path / 'nowhere'}", "--out", str(tmp_path / "run")])
    assert f"there is no folder '{tmp_path / 'nowhere'}'" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in TRAININGS]
)
def test_a_step_of_each_training_runs(name: str) -> None:
    plan = make_training_plan(small_config(RECIPES[name]))
    task = plan.task("cpu", threads=1, loader_processes=0)
    runner = StepRunner(task, WorkerRank())
    runner.share()
    runner.start_epoch(0, is_new=True)
    data, _ = open_both(task.data, task.val_data, task.data_options)
    stream = train_loader(
        data,
        task.rows,
        runner.objective.train_views(task.img_size, task.augmentation),
        batch_size=task.batch_size,
        seed=task.seed,
        epochs=range(1),
        first_step=0,
        worker=(0, 1, 1),
        processes=0,
        pin_memory=False,
    )
    assert math.isfinite(float(runner.run(0, 0, iter(stream)).loss))


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.command == "search"])
def test_a_candidate_of_each_search_is_scored(name: str, tmp_path: Path) -> None:
    teacher = {"teacher": "random:resnet20"} if name == "tvt-search" else {}
    run = raynas.search(
        recipe=name, out=tmp_path / "run", data="digits", budget=1, img_size=32, batch_size=4, workers=0,
        listener=SearchListener(), **teacher,
    )  # fmt: skip
    assert run.summary["failed"] == 0
    config = read_description(tmp_path / "run")["config"]
    assert {config[key] for key in ("space", "searcher")} == {
        RECIPES[name].settings[key] for key in ("space", "searcher")
    }


def test_a_recipe_is_a_file_of_settings(tmp_path: Path) -> None:
    recipe = RECIPES["as-vit-train"]
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(dict(recipe.settings)))

    def base(**said: Any) -> dict[str, Any]:
        return base_values(TrainConfig, KIND, **{"config": None, "out": None, "resume": False, "given": {}, **said})

    assert base(recipe=recipe_settings("as-vit-train", "train")) == base(config=file) == dict(recipe.settings)
    file.write_text("lr: 0.5\nmixup: null\n")
    both = base(recipe=recipe_settings("as-vit-train", "train"), config=file)
    assert both == {**recipe.settings, "lr": 0.5, "mixup": None}


def test_the_command_line_stands_over_a_recipe(tmp_path: Path) -> None:
    arguments = ["train", "as-vit", "-a", SMALL, "--recipe", "as-vit-train", "--data", "digits", "--img-size", "32"]
    arguments += ["--epochs", "1", "--warmup-epochs", "0", "--max-images", "40", "--batch-size", "8", "--workers", "0"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--loader-processes", "0", "--out", str(tmp_path / "run")])
    assert end.value.code == 0
    config = read_description(tmp_path / "run")["config"]
    assert (config["epochs"], config["batch_size"], config["img_size"]) == (1, 8, 32)
    assert (config["lr"], config["eval_crop"], config["augment"]) == (1e-3, 0.875, "strong")
    assert Architecture.from_json(config["architecture"]) == spaces.get("as-vit").read(SMALL)


def test_a_recipe_of_another_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for command, name in (("train", "tvt-search"), ("search", "tvt-distill"), ("distill", "as-vit-train")):
        teacher = ["--teacher", "random:resnet20"] if command == "distill" else []
        with pytest.raises(SystemExit) as end:
            main([command, "--recipe", name, *teacher])
        assert end.value.code == 1
        wanted = RECIPES[name].command
        assert capsys.readouterr().err == f"raynas: recipe {name!r} is for raynas {wanted}, not for raynas {command}\n"
    with pytest.raises(ConfigError, match="is for raynas search, not for raynas train"):
        raynas.train(recipe="tvt-search", listener=TrainingListener())
    with pytest.raises(UnknownNameError, match="Did you mean 'as-vit-train'"):
        read_recipe("as-vit-trian")


def test_recipes_are_listed() -> None:
    rows = listing("recipes")
    assert [row["name"] for row in rows] == sorted(RECIPES)
    assert all(row["settings"] == RECIPES[row["name"]].settings for row in rows)


def test_a_search_of_a_supernet_takes_its_recipe(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no"):
        raynas.search_supernet(tmp_path / "nothing", recipe="vit-resnas-search-tiny", out=tmp_path / "run")
    with pytest.raises(ConfigError, match="is for"):
        raynas.search_supernet(tmp_path / "nothing", recipe="as-vit-search", out=tmp_path / "run")
