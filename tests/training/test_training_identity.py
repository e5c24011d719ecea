"""The identity of a training: field by field, lasting beyond new settings, refused where it is of another form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_trainings import plan, trained

from raynas.errors import StoreError
from raynas.storage.run_folder import check_folder
from raynas.training.identity import FORMAT, LATER, completed, identity_text
from raynas.training.run import KIND, execute_training

OF_THE_COMMIT_BEFORE_FORMATS: dict[str, Any] = {
    "space": "as-vit", "img_size": 32, "num_classes": 10, "val_fraction": 0.1, "max_images": 220, "epochs": 2,
    "batch_size": 32, "optimizer": "adamw", "lr": 0.001, "mixup": 0.0, "images": "0123456789abcdef", "weights": None,
}  # fmt: skip
"""A part of what trainings of commit 39bb60e have in run.yaml."""


def stored(folder: Path, identity: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump({"kind": KIND, "config": {}, "identity": identity}))
    return folder


def test_fields_stand_in_sections_with_the_number_of_their_format() -> None:
    found = plan().identity()
    images = found["data"].pop("images")
    assert len(images) == 16
    assert found == {
        "format": 1,
        "model": {
            "space": "as-vit",
            "img_size": 32,
            "num_classes": 10,
            "drop_path_rate": 0.1,
            "architecture": plan().architecture.to_json(),
            "model_version": plan().space.model_version,
            "retokenize": [],
        },
        "data": {"val_fraction": 0.1, "max_images": 220, "max_val_images": None, "image_choice": "spread"},
        "augmentation": {
            "auto_augment": "", "min_scale": 0.6, "color_jitter": 0.0, "hflip": 0.5, "erasing": 0.0, "mixup": 0.0,
            "cutmix": 0.0,
        },
        "optimisation": {
            "seed": 0, "epochs": 2, "batch_size": 32, "optimizer": "adamw", "lr": 0.001, "min_lr": 1e-6,
            "warmup_epochs": 0, "weight_decay": 0.05, "clip_grad": None, "ema_decay": 0.0, "precision": "auto",
        },
        "start": {"weights": None},
        "objective": {"name": "classification", "label_smoothing": 0.1},
    }  # fmt: skip


def test_a_setting_that_came_later_is_absent_at_its_default(tmp_path: Path) -> None:
    before = plan(image_choice="first").identity()
    assert all(name not in before[section] for section, fields in LATER.items() for name in fields)
    explicit = plan(image_choice="first", betas=None, weights_policy="exact", eval_crop=1.0).identity()
    assert identity_text(explicit) == identity_text(before)  # which checkpoints hold
    folder = stored(tmp_path / "run", before)
    check_folder(folder, explicit, resume=True, kind=KIND, complete=completed)
    other = plan(image_choice="first", betas=(0.9, 0.95)).identity()
    assert identity_text(other) != identity_text(before)
    with pytest.raises(StoreError, match=r"holds another run: optimisation\.betas was None and is now \[0\.9, 0\.95\]"):
        check_folder(folder, other, resume=True, kind=KIND, complete=completed)


def test_how_images_are_evaluated_is_of_the_identity() -> None:
    assert plan(eval_crop=0.875).identity()["data"]["eval_crop"] == 0.875


def test_a_stored_training_outlives_a_setting_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a version that has one more field, whose default is what was done before."""
    folder = stored(tmp_path / "run", plan().identity())
    later = {**LATER, "data": {**LATER["data"], "order": "random"}}
    monkeypatch.setattr("raynas.training.identity.LATER", later)
    now = plan().identity()
    check_folder(folder, now, resume=True, kind=KIND, complete=completed)
    now["data"]["order"] = "by size"
    with pytest.raises(StoreError, match=r"data\.order was 'random' and is now 'by size'"):
        check_folder(folder, now, resume=True, kind=KIND, complete=completed)


def test_workers_and_passes_are_no_part_of_it() -> None:
    assert plan(workers=2, accumulation=2, threads=3, loggers=["tensorboard"]).identity() == plan().identity()


def test_a_training_without_a_format_is_refused_in_one_line_that_says_why(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", OF_THE_COMMIT_BEFORE_FORMATS)
    with pytest.raises(
        StoreError, match="run cannot be resumed: the identity of the training has no format number"
    ) as e:
        execute_training(plan(), folder, resume=True)
    assert "\n" not in str(e.value)
    assert [path.name for path in folder.iterdir()] == ["run.yaml"]


def test_a_training_of_a_later_format_is_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", {**plan().identity(), "format": FORMAT + 1})
    with pytest.raises(
        StoreError, match="the identity of the training is of format 2, and this version of raynas has 1"
    ):
        execute_training(plan(), folder, resume=True)


def test_it_is_stored_as_it_is(tmp_path: Path) -> None:
    trained(tmp_path, epochs=1)
    assert yaml.safe_load((tmp_path / "run.yaml").read_text())["identity"] == plan(epochs=1).identity()
