"""Teachers from trainings, from timm and at random: what is read, what is refused, and what they see."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from ray import cloudpickle
from safetensors.torch import save_file
from toy_teachers import resized_by_hand
from toy_trainings import plan

import raynas
from raynas.errors import ConfigError, RaynasError, SpaceError, StoreError
from raynas.exporting.export import load_exported
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.roles import roles_of
from raynas.models.teachers import FrozenTeacher, Teacher, evenly_spaced_pairs, parse_pairs
from raynas.training.folder import load_training
from raynas.training.run import execute_training
from raynas.training.teachers import read_teacher

CPU = torch.device("cpu")
RECIPE = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4, "label_smoothing": 0.0, "ema_decay": 0.9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet trained as teachers are, with a moving average, in which its BatchNorms take part."""
    made = tmp_path_factory.mktemp("teacher") / "run"
    execute_training(plan(space="resnet", architecture="resnet8", **RECIPE), made)
    return made


def test_a_teacher_is_the_trained_network(folder: Path) -> None:
    teacher = read_teacher(str(folder), num_classes=10)
    training = load_training(folder)
    assert (teacher.name, teacher.img_size, teacher.num_classes) == ("resnet8", 32, 10)
    assert teacher.top1 == training.summary["top1"]
    assert not teacher.is_random
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = training.model()(images)
    logits, maps = FrozenTeacher(cloudpickle.loads(cloudpickle.dumps(teacher)), CPU)(images, [0, -1])
    torch.testing.assert_close(logits, expected)
    assert [one.shape for one in maps] == [(3, 16, 32, 32), (3, 64, 8, 8)]
    assert not logits.requires_grad
    assert any("running_mean" in name for name in teacher.weights)


def test_a_checkpoint_is_a_teacher_too_and_its_hash_is_that_of_its_weights(folder: Path, tmp_path: Path) -> None:
    whole, last, best = (
        read_teacher(str(folder / path)) for path in ("", "checkpoints/last.pt", "checkpoints/best.pt")
    )
    assert whole.hash == last.hash
    assert {name: best.weights[name].shape for name in best.weights} == {n: last.weights[n].shape for n in last.weights}
    elsewhere = tmp_path / "copy"
    shutil.copytree(folder, elsewhere)
    assert read_teacher(str(elsewhere)).label == whole.label
    changed = {**whole.weights, "fc.bias": whole.weights["fc.bias"] + np.float32(1e-6)}
    assert Teacher(whole.name, whole.make, changed, 32, 10).hash != whole.hash


def test_a_trained_resnet_is_exported_with_its_statistics(folder: Path, tmp_path: Path) -> None:
    out = raynas.export(folder, tmp_path / "export")  # which compares the outputs
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(load_exported(out)(images), load_training(folder).model()(images))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of timm's smallest ResNet with 7 classes, of which the running statistics are its own."""
    torch.manual_seed(3)
    model = timm.create_model("resnet10t", num_classes=7)
    model(torch.randn(4, 3, 64, 64))
    path = tmp_path_factory.mktemp("timm") / "resnet10t.safetensors"
    save_file(model.state_dict(), path)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, path.with_suffix(".pth"))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_any_convnet_of_timm_with_a_file_of_weights(file: Path, suffix: str) -> None:
    teacher = read_teacher(f"timm:resnet10t:{file.with_suffix(suffix)}", num_classes=7)
    assert (teacher.name, teacher.img_size, teacher.num_classes) == ("timm:resnet10t", 176, 7)
    model = timm.create_model("resnet10t", num_classes=7).eval()
    model.load_state_dict(torch.load(file.with_suffix(".pth"))["state_dict"])
    images = torch.randn(2, 3, 176, 176)
    logits, maps = FrozenTeacher(teacher, CPU)(images, range(5))
    with torch.no_grad():
        torch.testing.assert_close(logits, model(images))
        expected = timm.create_model("resnet10t", num_classes=7, features_only=True).eval()
        expected.load_state_dict({k: v for k, v in model.state_dict().items() if k in expected.state_dict()})
        for found, wanted in zip(maps, expected(images), strict=True):
            torch.testing.assert_close(found, wanted)


def test_it_sees_the_batch_at_its_own_side_and_with_its_own_normalisation() -> None:
    seen: list[torch.Tensor] = []

    class Looking(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.mean((2, 3))

    weights = {"scale": np.ones((), np.float32)}
    mean, std = (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)
    raw = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    batch = (raw - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    FrozenTeacher(Teacher("looking", Looking, weights, 8, 3, mean, std), CPU, torch.float64)(batch)
    FrozenTeacher(Teacher("looking", Looking, weights, 8, 3), CPU, torch.float64)(batch)
    resized = np.stack([resized_by_hand(image, 8) for image in raw.numpy()])
    for shown, (m, s) in zip(seen, [(mean, std), (IMAGENET_MEAN, IMAGENET_STD)], strict=True):
        expected = (resized - np.array(m)[:, None, None]) / np.array(s)[:, None, None]
        np.testing.assert_allclose(shown.numpy(), expected, atol=1e-6)


def test_a_random_teacher_says_so_and_is_always_the_same() -> None:
    for name in ("resnet20", "timm:resnet10t"):
        first, second = (read_teacher(f"random:{name}", num_classes=4) for _ in range(2))
        assert first.is_random
        assert first.name == f"random:{name}"
        assert first.label == second.label
        assert first.num_classes == 4
        assert roles_of(FrozenTeacher(first, CPU).model).blocks


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("nobody", ConfigError, "there is no teacher 'nobody': it is the folder of a training, a checkpoint in one"),
        ("timm:resnet10t", ConfigError, "has no file of weights: nothing is downloaded"),
        ("timm:resnet10t:missing.pth", StoreError, "there is no file 'missing.pth'"),
        ("timm:resnet10z:{file}", ConfigError, "timm has no model 'resnet10z'. Did you mean resnet10t"),
        ("timm:resnet18:{file}", StoreError, "holds the weights of another architecture: conv1.weight is missing"),
        ("timm:resnet10t:{file}", ConfigError, "has 7 classes, but the images have 10"),
        ("random:nobody", SpaceError, "'nobody' is no run folder"),
        ("{file}", StoreError, "is no checkpoint in the folder of a training"),
        ("{parent}", StoreError, "holds no run"),
    ],
)
def test_what_cannot_be_a_teacher_is_named(file: Path, spec: str, error: type[RaynasError], message: str) -> None:
    with pytest.raises(error, match=message):
        read_teacher(spec.format(file=file, parent=file.parent), num_classes=10)


def test_a_teacher_of_grey_images_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t", num_classes=10, in_chans=1).state_dict(), tmp_path / "grey.safetensors")
    with pytest.raises(StoreError, match=r"another architecture: conv1\.0\.weight"):
        read_teacher(f"timm:resnet10t:{tmp_path / 'grey.safetensors'}", num_classes=10)


def test_a_checkpoint_of_another_architecture_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    description: dict[str, Any] = yaml.safe_load((other / "run.yaml").read_text())
    description["model"]["architecture"]["depth"] = 14
    (other / "run.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(StoreError, match=r"another architecture: stages\.0\.1\.conv1\.weight is missing in the file"):
        read_teacher(str(other))
    with pytest.raises(ConfigError, match="has 10 classes, but the images have 3"):
        read_teacher(str(folder), num_classes=3)


def test_pairs_are_read_and_spaced() -> None:
    assert parse_pairs("0:0, 6:1,11:2") == ((0, 0), (6, 1), (11, 2))
    assert evenly_spaced_pairs(12, 3) == ((0, 0), (6, 1), (11, 2))
    assert evenly_spaced_pairs(4, 1) == ((3, 0),)
    assert evenly_spaced_pairs(1, 3) == ((0, 0), (0, 1), (0, 2))
    assert evenly_spaced_pairs(12, 5) == ((0, 0), (3, 1), (6, 2), (8, 3), (11, 4))
    for text in ("0-0", "0:0,", "a:1", "1:2:3", "", "-1:0", "1:1,1:1"):
        with pytest.raises(ConfigError, match="pairs"):
            parse_pairs(text)
