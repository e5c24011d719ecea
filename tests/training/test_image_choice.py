"""Which images a training uses: spread over the classes, by the seed, and the same when files come and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from toy_images import png
from toy_trainings import SMALL, StepCounter, largest_difference, plan, trained, weights

import raynas
from raynas.data.opening import open_dataset
from raynas.errors import DataError, StoreError
from raynas.finalists.config import FinalistsConfig
from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.image_choice import choose_images, spread_over_classes
from raynas.training.run import TrainingListener, execute_training


def table(path: Path, labels: list[int]) -> str:
    pq.write_table(pa.table({"image": [png(row % 50, (8, 8)) for row in range(len(labels))], "label": labels}), path)
    return f"parquet:{path}"


def config(data: str, **settings: Any) -> TrainConfig:
    return TrainConfig.make({"space": "as-vit", "architecture": SMALL, "data": data, **settings})


SORTED = [0] * 60 + [1] * 30 + [2] * 10


@pytest.mark.parametrize("number", [10, 20, 50])
def test_limited_images_have_the_shares_of_the_classes(tmp_path: Path, number: int) -> None:
    """Rows of a table, or files of a folder, are often sorted by class."""
    data = table(tmp_path / "t.parquet", SORTED)
    chosen = choose_images(config(data, val_data=data, max_images=number, max_val_images=number))
    for labels in (chosen.labels, chosen.val_labels):
        assert np.bincount(labels).tolist() == [number * 6 // 10, number * 3 // 10, number // 10]
    assert chosen.class_counts()["train"] == {"fewest": number // 10, "most": number * 6 // 10}
    assert not np.array_equal(chosen.rows, chosen.val_rows)


def test_held_out_images_have_them_too(tmp_path: Path) -> None:
    data = table(tmp_path / "t.parquet", SORTED)
    chosen = choose_images(config(data, val_fraction=0.2))
    assert np.bincount(chosen.val_labels).tolist() == [12, 6, 2]
    assert np.bincount(chosen.labels).tolist() == [48, 24, 8]
    assert sorted([*chosen.rows, *chosen.val_rows]) == list(range(100))
    few = choose_images(config(data, max_images=20, max_val_images=3, val_fraction=0.5))
    assert np.bincount(few.val_labels).tolist() == [1, 1, 1]
    assert np.bincount(few.labels).tolist() == [11, 5, 1]


def test_where_nothing_is_limited_all_images_stand_in_their_order(tmp_path: Path) -> None:
    data = table(tmp_path / "t.parquet", SORTED)
    chosen = choose_images(config(data, val_data=data, max_images=100))
    assert chosen.rows.tolist() == chosen.val_rows.tolist() == list(range(100))


def test_images_to_evaluate_on_may_lack_labels(tmp_path: Path) -> None:
    """An objective may look at none."""
    pq.write_table(pa.table({"image": [png(row, (8, 8)) for row in range(4)]}), tmp_path / "val.parquet")
    val_data = f"parquet:{tmp_path / 'val.parquet'}"
    chosen = choose_images(config(table(tmp_path / "t.parquet", SORTED), val_data=val_data, max_val_images=3))
    assert (chosen.val_labels.tolist(), len(set(chosen.val_rows))) == ([-1] * 3, 3)
    assert chosen.class_counts()["val"] == {"fewest": 0, "most": 0}


@pytest.mark.parametrize(
    ("sizes", "settings", "lacking"),
    [
        ([1] * 12, {}, "1 of 12 classes have none of the 11 images to train on: "),
        ([1] * 12, {"max_images": 6}, r"7 of 12 classes have none of the 5 images to train on \(max_images is 6\): "),
        ([4, 1, 1], {}, ""),  # where others suffice, the only image of a class is not held out
        ([9] * 3, {"max_images": 4}, ""),
    ],
)
def test_classes_that_no_image_to_train_on_belongs_to_are_refused(
    tmp_path: Path, sizes: list[int], settings: dict[str, Any], lacking: str
) -> None:
    data = table(tmp_path / "images.parquet", [label for label, size in enumerate(sizes) for _ in range(size)])
    made: dict[str, Any] = {"data": data, "max_images": None, "batch_size": 2, **settings}
    if lacking:
        with pytest.raises(DataError, match=f"{lacking}.*; --keep-empty-classes trains without them$"):
            plan(**made)
    assert plan(**made, keep_empty_classes=True).config.num_classes == len(sizes)
    assert lacking or plan(**made).config.num_classes == len(sizes)


def test_a_choice_follows_from_seed_labels_and_number_alone() -> None:
    labels = np.array(SORTED)
    first, again, other = (spread_over_classes(labels, 30, seed, leaves_one=False) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert (np.diff(first) > 0).all()
    rare = spread_over_classes(np.array([0] * 50 + [1, 1, 2]), 4, 0, leaves_one=True)
    assert set(np.array([0] * 50 + [1, 1, 2])[rare]) == {0, 1}  # the only image of class 2 is left


def test_trainings_of_before_keep_their_choice(tmp_path: Path) -> None:
    """A folder of before says nothing of how images were chosen: the first ones, held out without a look at classes."""
    trained(tmp_path / "run", image_choice="first", epochs=1)
    before = weights(tmp_path / "run")
    description = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert "image_choice" not in description["identity"]["data"]
    rows = np.random.default_rng(raynas_seed(0)).permutation(np.arange(220))
    assert plan(image_choice="first").val_rows.tolist() == sorted(rows[:22].tolist())
    del description["config"]["image_choice"]
    (tmp_path / "run" / "run.yaml").write_text(yaml.safe_dump(description))
    raynas.train(out=tmp_path / "run", resume=True, listener=TrainingListener())
    assert largest_difference(weights(tmp_path / "run"), before) == 0
    with pytest.raises(StoreError, match="image_choice was 'first' and is now 'spread'"):
        raynas.train(out=tmp_path / "run", resume=True, listener=TrainingListener(), image_choice="spread")


def test_finalists_of_before_keep_their_choice() -> None:
    of_before = FinalistsConfig.of_stored({"source": "runs/search", "training": {"epochs": 3}})
    assert of_before["training"] == {"epochs": 3, "image_choice": "first"}
    now = FinalistsConfig.of_stored({"source": "runs/search", "training": {"image_choice": "spread"}})
    assert now["training"] == {"image_choice": "spread"}


def raynas_seed(seed: int) -> int:
    from raynas.seeds import seed_from

    return seed_from(seed, "split")


# -- images that cannot be read --------------------------------------------------------------------------------------


def folder(root: Path) -> str:
    for number in range(48):
        path = root / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number, (16, 16)))
    (root / "a" / "05_cut.png").write_bytes(png(5, (32, 32))[:700])
    (root / "b" / "31_empty.png").write_bytes(b"")
    return f"folder:{root}"


IN_FOLDER = {"max_images": None, "batch_size": 8, "num_classes": None}


def test_unreadable_images_are_named_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"2 of 50 images cannot be read \(a/05_cut\.png: .*; b/31_empty\.png: is empty"
    ):
        plan(data=folder(tmp_path / "images"), **IN_FOLDER)


@pytest.mark.parametrize("part", ["data", "val_data"])
def test_a_name_to_leave_out_that_no_image_has_is_refused(tmp_path: Path, part: str) -> None:
    settings = {name: folder(tmp_path / name) for name in ("data", "val_data")}
    option = {"data": "skipped_images", "val_data": "skipped_val_images"}[part]
    faulty = {**IN_FOLDER, **settings, "skip_unreadable": True, option: ["a/05_kut.png"]}
    with pytest.raises(DataError, match=rf"{part}.*no image is named a/05_kut\.png.* Did you mean 'a/05_cut\.png'\?"):
        plan(**faulty)


@pytest.mark.parametrize("then", ["removed", "replaced"])
def test_a_training_without_unreadable_images_goes_on_whatever_becomes_of_them(tmp_path: Path, then: str) -> None:
    data = folder(tmp_path / "images")
    settings = {"data": data, "skip_unreadable": True, "epochs": 2, **IN_FOLDER}
    whole = trained(tmp_path / "whole", **settings)
    interrupted = plan(**settings)
    assert len(interrupted.rows) + len(interrupted.val_rows) == 48
    stopped = execute_training(interrupted, tmp_path / "run", is_stopped=StepCounter(3).is_stopped)
    assert stopped["status"] == "interrupted"
    for name in ("a/05_cut.png", "b/31_empty.png"):
        if then == "removed":
            (tmp_path / "images" / name).unlink()
        else:
            (tmp_path / "images" / name).write_bytes(png(0, (16, 16)))
    raynas.train(out=tmp_path / "run", resume=True, listener=TrainingListener())
    assert largest_difference(weights(tmp_path / "run"), whole) == 0
    stored = load_training(tmp_path / "run").description
    assert stored["config"]["skipped_images"] == ["a/05_cut.png", "b/31_empty.png"]
    assert stored["images"]["train"]["images"] == 48


def test_what_was_found_is_kept_with_the_training(tmp_path: Path) -> None:
    settings = {"data": folder(tmp_path / "images"), "skip_unreadable": True, "epochs": 1, **IN_FOLDER}
    trained(tmp_path / "run", **settings)
    images = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["images"]
    assert images["train"]["unreadable"].keys() == {"a/05_cut.png", "b/31_empty.png"}
    assert (images["train"]["looked_at"], images["train"]["tried"], images["train"]["decoded"]) == (50, 50, 48)
    assert images["per_class"]["train"]["most"] <= 22
    assert "images" not in plan().description()  # digits


def test_workers_leave_out_the_same_images(tmp_path: Path) -> None:
    made = plan(data=folder(tmp_path / "images"), skip_unreadable=True, **IN_FOLDER)
    task = made.task("cpu", threads=1, loader_processes=0)
    dataset = open_dataset(task.data, task.data_options)
    assert len(dataset) == 48
    assert dataset.labels(task.rows).tolist() == open_dataset(task.data, made_options(made)).labels(made.rows).tolist()


def made_options(made: Any) -> Any:
    from raynas.data.options import DataOptions

    return DataOptions.of(made.config)
