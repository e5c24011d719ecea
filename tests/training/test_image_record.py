"""Trainings go on with the images that they began with, whatever becomes of the files: by name, and said in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from toy_images import png
from toy_trainings import StepCounter, largest_difference, plan, trained, weights

import raynas
import raynas.api
from raynas.data.opening import open_dataset
from raynas.errors import DataError, RaynasError, StoreError
from raynas.storage.files import exists
from raynas.training.folder import load_training
from raynas.training.image_record import RECORD
from raynas.training.run import execute_training

SETTINGS: dict[str, Any] = {
    "batch_size": 8, "max_images": None, "val_fraction": 0.2, "epochs": 2, "augment": "strong", "img_size": 32,
}  # fmt: skip


def images(where: Path, number: int = 60) -> str:
    """A folder of two classes."""
    for one in range(number):
        path = where / "ab"[one % 2] / f"{one:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(one, (16, 16)))
    return f"folder:{where}"


def begun(folder: Path, **settings: Any) -> None:
    """A training that was stopped after three steps."""
    stopped = execute_training(plan(**settings), folder, is_stopped=StepCounter(3).is_stopped)
    assert stopped["status"] == "interrupted"


def gone_on(folder: Path, **settings: Any) -> list[str]:
    """The lines of a session that goes on to the end."""
    heard = StepCounter()
    raynas.train(out=folder, resume=True, listener=heard, **settings)
    assert load_training(folder).summary["status"] == "completed"
    return heard.lines


def names(folder: Path, part: str = "train") -> list[str]:
    return [row["name"] for row in pq.read_table(folder / RECORD).to_pylist() if row["part"] == part]


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def test_what_a_training_began_with_is_kept(tmp_path: Path) -> None:
    data = images(tmp_path / "images")
    trained(tmp_path / "run", data=data, **{**SETTINGS, "epochs": 1})
    rows = pq.read_table(tmp_path / "run" / RECORD).to_pylist()
    assert sorted(row["name"] for row in rows) == sorted(f"{'ab'[one % 2]}/{one:03d}.png" for one in range(60))
    assert {row["part"] for row in rows} == {"train", "val"}
    assert all(row["label"] == "ab".index(row["name"][0]) for row in rows)
    assert all(row["bytes"] == (tmp_path / "images" / row["name"]).stat().st_size for row in rows)
    trained(tmp_path / "digits")
    assert not exists(tmp_path / "digits" / RECORD)  # which are no files


@pytest.mark.parametrize("what", [remove, cut])
@pytest.mark.parametrize("part", ["train", "val"])
def test_an_image_that_is_lost_meanwhile_is_named_and_can_be_left_out(
    tmp_path: Path, what: Callable[[Path], None], part: str
) -> None:
    begun(tmp_path / "run", data=images(tmp_path / "images"), **SETTINGS)
    before = (tmp_path / "run" / "run.yaml").read_bytes()
    lost = names(tmp_path / "run", part)[2]
    content = (tmp_path / "images" / lost).read_bytes()
    what(tmp_path / "images" / lost)
    option = "--skip-image" if what is remove else "--skip-unreadable"
    with pytest.raises(DataError, match=rf"1 of \d+ images .*{lost}.*{option}"):
        gone_on(tmp_path / "run")
    assert (tmp_path / "run" / "run.yaml").read_bytes() == before
    number = len(names(tmp_path / "run", part))
    settings: dict[str, Any] = {"skipped_images": [lost]} if what is remove else {"skip_unreadable": True}
    assert f"1 image that it began with is left out from now on: {lost}" in gone_on(tmp_path / "run", **settings)
    assert lost not in names(tmp_path / "run", part)
    assert load_training(tmp_path / "run").summary["images"][part] == number - 1
    (tmp_path / "images" / lost).write_bytes(content)
    assert not [line for line in gone_on(tmp_path / "run") if "image" in line]  # it stays left out, without a word


def test_images_to_evaluate_on_of_their_own_can_be_left_out_too(tmp_path: Path) -> None:
    settings = {**SETTINGS, "data": images(tmp_path / "images"), "val_data": images(tmp_path / "others", 20)}
    begun(tmp_path / "run", **settings)
    (tmp_path / "others" / "a" / "002.png").unlink()
    with pytest.raises(DataError, match=r"1 of 20 images .*not there: a/002\.png; .*--skip-val-image"):
        gone_on(tmp_path / "run")
    assert "1 image that it began with is left out from now on: a/002.png" in gone_on(
        tmp_path / "run", skipped_val_images=["a/002.png"]
    )
    assert load_training(tmp_path / "run").summary["images"] == {"train": 60, "val": 19}


@pytest.mark.parametrize("loader_processes", [0, 1])
def test_images_that_are_not_used_may_come_and_go(tmp_path: Path, loader_processes: int) -> None:
    """What is limited or held out is drawn by rows, and rows move; so do the variations of an image."""
    limited = {**SETTINGS, "max_images": 40, "data": images(tmp_path / "images"), "loader_processes": loader_processes}
    whole = trained(tmp_path / "whole", **limited)
    begun(tmp_path / "run", **limited)
    used = {*names(tmp_path / "run"), *names(tmp_path / "run", "val")}
    unused = sorted({f"{'ab'[one % 2]}/{one:03d}.png" for one in range(60)} - used)
    assert len(unused) == 20
    for name in unused[::2]:
        (tmp_path / "images" / name).unlink()
    for number in range(7):
        (tmp_path / "images" / "a" / f"{number:03d}-new.png").write_bytes(png(number + 90, (16, 16)))
    assert not [line for line in gone_on(tmp_path / "run") if "image" in line]
    assert largest_difference(weights(tmp_path / "run"), whole) == 0


def test_images_of_which_some_were_replaced_are_gone_on_with_and_named(tmp_path: Path) -> None:
    """Also those whose pixels are compared, which are others with few images than with many."""
    begun(tmp_path / "run", data=images(tmp_path / "images", 30), **SETTINGS)
    of_equal_size = names(tmp_path / "run")[0]
    content = (tmp_path / "images" / of_equal_size).read_bytes()
    others = (png(number, (16, 16)) for number in range(1000, 9000))
    (tmp_path / "images" / of_equal_size).write_bytes(next(one for one in others if len(one) == len(content)))
    resized = names(tmp_path / "run")[5]
    (tmp_path / "images" / resized).write_bytes(png(77, (20, 20)))
    said = [line for line in gone_on(tmp_path / "run") if "image" in line]
    assert said == [
        f"2 images have other files than when this was trained last: {resized}, {of_equal_size}; what is learned from "
        "now on is of the new ones"
    ]
    assert not [line for line in gone_on(tmp_path / "run") if "image" in line]


def test_another_data_set_under_the_same_names_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "run", data=images(tmp_path / "images"), **SETTINGS)
    for number, path in enumerate(sorted((tmp_path / "images").glob("*/*.png"))):
        path.write_bytes(png(number + 500, (16, 16)))
    with pytest.raises(DataError, match=r"others than the images that the training began with: of 16 .* 16 have other"):
        gone_on(tmp_path / "run")


def test_other_labels_are_refused_with_names(tmp_path: Path) -> None:
    begun(tmp_path / "run", data=images(tmp_path / "images"), **SETTINGS)
    (tmp_path / "images" / "aa").mkdir()
    (tmp_path / "images" / "aa" / "0.png").write_bytes(png(1))  # b is class 2 by now
    with pytest.raises(DataError, match=r"images have other labels than when the training began: b/"):
        gone_on(tmp_path / "run")


def test_the_same_images_in_another_form_of_storage_are_known_by_their_pixels(tmp_path: Path) -> None:
    """Their names are others there."""
    import pyarrow as pa

    data = images(tmp_path / "images")
    whole = trained(tmp_path / "whole", data=data, **SETTINGS)
    begun(tmp_path / "run", data=data, **SETTINGS)
    dataset = open_dataset(data)
    paths = [tmp_path / "images" / dataset.name(row) for row in range(60)]
    table = pa.table({"image": [path.read_bytes() for path in paths], "label": [*[0] * 30, *[1] * 30]})
    pq.write_table(table, tmp_path / "t.parquet")
    gone_on(tmp_path / "run", data=f"parquet:{tmp_path / 't.parquet'}")
    assert largest_difference(weights(tmp_path / "run"), whole) == 0


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_a_damaged_record_is_named_with_a_way_on(tmp_path: Path, content: bytes | None) -> None:
    data = images(tmp_path / "images")
    whole = trained(tmp_path / "whole", data=data, **SETTINGS)
    begun(tmp_path / "run", data=data, **SETTINGS)
    path = tmp_path / "run" / RECORD
    if content is None:
        import pyarrow as pa

        pq.write_table(pa.table({"name": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"images\.parquet|damaged"):
        gone_on(tmp_path / "run")
    path.unlink()
    gone_on(tmp_path / "run")
    assert largest_difference(weights(tmp_path / "run"), whole) == 0


def variants(folder: Path, **settings: Any) -> list[str]:
    from raynas.trials.run import TrialsListener

    heard: list[str] = []

    class Lines(TrialsListener):
        def on_log(self, line: str) -> None:
            heard.append(line)

    raynas.api.variants(out=folder, resume=True, listener=Lines(), **settings)
    return heard


@pytest.mark.long
def test_variants_go_on_without_an_image(tmp_path: Path) -> None:
    from toy_trainings import SMALL

    data = images(tmp_path / "images")
    shared = {**SETTINGS, "lr": 1e-3, "threads": 1, "loader_processes": 0, "loggers": []}
    variants(
        tmp_path / "all", source="as-vit", architecture=SMALL, vary={"epochs": [1, 2]}, data=data,
        **{name: value for name, value in shared.items() if name != "epochs"},
    )  # fmt: skip
    of_second = next((tmp_path / "all").glob("2-*"))
    lost = names(of_second)[0]
    (tmp_path / "images" / lost).unlink()
    with pytest.raises(RaynasError, match=rf"1 of \d+ images .*not there: {lost}"):
        variants(tmp_path / "all")
    variants(tmp_path / "all", skipped_images=[lost])
    stored = yaml.safe_load((tmp_path / "all" / "run.yaml").read_text())
    assert stored["config"]["training"]["skipped_images"] == [lost]
