"""What one look at a data set finds, and what is refused of it, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from toy_images import encoded, noise, png

import raynas
from raynas.api.data import check_data, inspect_data
from raynas.console.images import images_block, training_images_block
from raynas.data.inspection import check_readable, inspect
from raynas.data.opening import open_dataset
from raynas.data.options import DataOptions
from raynas.errors import DataError, RaynasError
from raynas.searching.run import SearchListener
from raynas.training.run import TrainingListener


def animation() -> bytes:
    frames = [Image.fromarray(noise(seed)) for seed in (0, 1)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return encoded(Image.fromarray(noise(2)), "JPEG", exif=exif)


def depth_of(bits: int) -> bytes:
    return encoded(Image.fromarray(np.linspace(0, 2**bits - 1, 12).astype(np.uint16).reshape(3, 4)))


SOUND = {
    "a/plain.png": png(0),
    "a/large.png": png(1, (40, 30)),
    "a/black.png": encoded(Image.new("RGB", (12, 9))),
    "b/clear.png": encoded(Image.fromarray(np.dstack([noise(3), noise(4)[..., 0]]))),
    "b/turned.jpg": turned(),
    "b/moves.gif": animation(),
    "c/grey.png": encoded(Image.fromarray(noise(5)[..., 0])),
}
BROKEN = {
    "a/cut.png": png(6, (64, 64))[:600],
    "a/cut.jpg": encoded(Image.fromarray(noise(7, (64, 64))), "JPEG")[:1500],
    "b/empty.png": b"",
    "b/text.png": b"no image at all",
    "c/cut.gif": animation()[:300],
}


def folder(root: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return f"folder:{root}"


def table(path: Path, files: dict[str, bytes]) -> str:
    labels = pa.array([name[0] for name in files])
    pq.write_table(pa.table({"image": list(files.values()), "label": labels}), path, row_group_size=3)
    return f"parquet:{path}"


@pytest.mark.parametrize("form", ["folder", "table"])
def test_everything_is_counted(tmp_path: Path, form: str) -> None:
    spec = folder(tmp_path, SOUND) if form == "folder" else table(tmp_path / "t.parquet", SOUND)
    found = inspect(open_dataset(spec))
    assert (found.images, found.looked_at, found.decoded) == (7, 7, 7)
    assert found.class_sizes == (3, 3, 1)
    assert found.extreme_classes() == {"smallest": {"name": "c", "images": 1}, "largest": {"name": "a", "images": 3}}
    assert dict(found.modes) == {"RGB": 4, "RGBA": 1, "P": 1, "L": 1}
    assert (found.sizes, found.smallest, found.largest) == (2, (12, 9), (40, 30))
    assert (found.turned, found.with_alpha, found.with_frames) == (1, 1, 1)
    assert found.constant == ("a/black.png",) if form == "folder" else ("row 2",)
    assert not found.unreadable
    assert yaml.safe_load(yaml.safe_dump(found.plain())) == json.loads(json.dumps(found.plain())) == found.plain()
    check_readable(found)


@pytest.mark.parametrize("budget", [10**9, 1])
def test_all_unreadable_images_are_found_at_once(tmp_path: Path, budget: int) -> None:
    """Even where few are decoded: files that do not end as their format does are always among them."""
    found = inspect(open_dataset(folder(tmp_path, {**SOUND, **BROKEN})), budget=budget)
    assert found.unreadable.keys() == BROKEN.keys()
    assert found.unreadable["b/empty.png"] == "is empty"
    assert found.plain()["decoded"] == found.plain()["tried"] - 5
    assert found.unreadable["b/text.png"] == "it is in no known format"
    with pytest.raises(
        DataError, match=r"5 of 12 images cannot be read \(a/cut\.jpg: .*c/cut\.gif: .*\); .*--skip-unreadable"
    ):
        check_readable(found)
    check_readable(found, skip=True)


def test_images_that_are_nearly_alike_are_pointed_out(tmp_path: Path) -> None:
    mask = noise(0) % 2
    files = {f"a/{value}.png": encoded(Image.fromarray(mask * value)) for value in (0, 1, 7, 8, 255)}
    found = inspect(open_dataset(folder(tmp_path, files)))
    assert (found.constant, found.faint) == (("a/0.png",), ("a/1.png", "a/7.png"))
    assert "  pixels nearly alike, within 8 of 255 levels, in 2: a/1.png, a/7.png" in images_block(found, "images")


def test_within_a_budget_evenly_spread_images_are_decoded(tmp_path: Path) -> None:
    files = {f"{'ab'[seed % 2]}/{seed:02d}.png": png(seed, (10, 10)) for seed in range(40)}
    dataset = open_dataset(folder(tmp_path, files))
    assert inspect(dataset, budget=4_000).decoded == 40
    assert inspect(dataset, budget=1_000).decoded == 10
    assert inspect(dataset, budget=1_000, everything=True).decoded == 40
    some = inspect(dataset, np.array([3, 5, 5, 7]))
    assert (some.images, some.looked_at, some.decoded) == (40, 3, 3)
    assert inspect(dataset, budget=1_000) == inspect(dataset, budget=1_000)


def test_depths_that_are_not_declared_are_told_together(tmp_path: Path) -> None:
    """A dark image alone would suggest another range."""
    files = {"a/1.png": depth_of(10), "a/2.png": depth_of(12), "b/3.png": depth_of(8)}
    dataset = open_dataset(folder(tmp_path, files))
    found = inspect(dataset)
    assert (len(found.undeclared), found.undeclared_range) == (3, (0, 4095))
    assert (found.tried, found.decoded) == (3, 0)
    for skip in (False, True):  # they are not broken
        with pytest.raises(DataError, match=r"3 of 3 images .* go from 0 to 4095: say .* such as --pixel-range 0,4095"):
            check_readable(found, skip=skip)
    # Beside images that use all bits, dark ones are no data of fewer bits.
    mixed = folder(tmp_path / "mixed", {**files, "b/4.png": depth_of(16)})
    with pytest.raises(DataError, match=r"and those of 1 other up to 65,535: say .* such as --pixel-range 0,65535"):
        check_readable(inspect(open_dataset(mixed)))
    check_readable(inspect(open_dataset(folder(tmp_path, {}), DataOptions.make({"pixel_range": "0,4095"}))))


def test_images_that_are_left_out_are_no_rows(tmp_path: Path) -> None:
    spec = folder(tmp_path, {**SOUND, **BROKEN})
    options = DataOptions.make({"skipped_images": [*BROKEN, "a/gone.png"]})
    dataset = open_dataset(spec, options)
    assert [dataset.name(row) for row in range(len(dataset))] == sorted(SOUND)
    before = [np.asarray(image) for image in dataset.read(range(7))[0]]
    for name in BROKEN:
        (tmp_path / name).unlink()
    again = open_dataset(spec, options)
    for one, other in zip(before, again.read(range(7))[0], strict=True):
        np.testing.assert_array_equal(one, np.asarray(other))
    with pytest.raises(DataError, match="all 7 images are left out"):
        open_dataset(spec, DataOptions.make({"skipped_images": list(SOUND)}))


def test_a_set_that_decodes_its_images_itself_is_looked_at_too(tmp_path: Path) -> None:
    sound = {name: content for name, content in SOUND.items() if name != "b/moves.gif"}
    folder(tmp_path, {**sound, "b/text.png": b"no image at all"})
    found = inspect(open_dataset(f"torchvision:ImageFolder:{tmp_path}"))
    assert found.class_sizes == (3, 3, 1)
    assert len(found.unreadable) == 1
    assert found.constant == ("row 0",)
    options = DataOptions.make({"skipped_images": list(found.unreadable)})
    dataset = open_dataset(f"torchvision:ImageFolder:{tmp_path}", options)
    images, labels = dataset.read(range(6))
    assert labels.tolist() == dataset.labels(range(6)).tolist() == [0, 0, 0, 1, 1, 2]
    assert dataset.classes is not None
    assert dataset.classes.sizes.tolist() == [3, 2, 1]
    sound_folder = open_dataset(folder(tmp_path / "sound", sound))
    for one, other in zip(images, sound_folder.read(range(6))[0], strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.slow
def test_few_encoded_images_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []
    most = 0
    dataset = open_dataset(table(tmp_path / "t.parquet", {f"a{i}": png(i, (4, 4)) for i in range(2_000)}))
    readers = dataset.readers  # type: ignore[attr-defined]

    def counted(rows: np.ndarray) -> Any:
        nonlocal most
        for row, reader in readers(rows):
            held.append(row)
            most = max(most, len(held))
            yield row, lambda row=row, reader=reader: (held.remove(row), reader())[1]

    monkeypatch.setattr(dataset, "readers", counted)
    assert inspect(dataset).decoded == 2_000
    assert most <= 1_024


def test_a_training_says_what_one_may_not_expect(tmp_path: Path) -> None:
    train = inspect(open_dataset(folder(tmp_path / "train", {**SOUND, **BROKEN, "c/notes.txt": b""})))
    tables = {name[0] + name: content for name, content in SOUND.items()}
    pq.write_table(pa.table({"image": list(tables.values()), "label": [0, 0, 0, 1, 1, 1, 2]}), tmp_path / "val.parquet")
    val = inspect(open_dataset(f"parquet:{tmp_path / 'val.parquet'}"))
    counts = {"train": {"fewest": 1, "most": 3}, "val": {"fewest": 1, "most": 3}}
    lines = training_images_block({"train": train, "val": val}, counts)
    assert lines[0] == f"images to train on: folder:{tmp_path / 'train'}, 12 images, all but 5 decoded"
    for said in (
        "3 classes: smallest c with 2, largest a with 5; names from the class folders: a, b, c",
        "1 may be transparent in parts; white is seen there",
        "1 is turned or mirrored as EXIF says",
        "1 has several frames, of which the first is taken",
        "all pixels alike in 1: a/black.png",
        "cannot be read: b/empty.png: is empty",
        "passed over, no image by the end of its name: c/notes.txt",
        "only one of the two names its classes: they are matched by their numbers",
        "per class: 1 to 3 to train on, 1 to 3 to evaluate on",
    ):
        assert f"  {said}" in lines
    assert training_images_block({}, counts) == []
    assert len([line for line in images_block(train, "images", most=2) if "cannot be read" in line]) == 3
    # Both parts of one data set are told of once.
    assert sum("classes: smallest" in line for line in training_images_block({"train": val, "val": val}, counts)) == 1


def test_all_that_is_wrong_is_said_at_once_by_whoever_looks(tmp_path: Path) -> None:
    """Broken images, no depth, an empty class, a single class: nobody is to mend one and be refused for the next."""
    for name in ("bee", "cow"):
        (tmp_path / "images" / name).mkdir(parents=True)
    for number in range(20):
        (tmp_path / "images" / "bee" / f"{number:02d}.png").write_bytes(png(number))
    (tmp_path / "images" / "bee" / "cut.png").write_bytes(png(0)[:60])
    deep = Image.fromarray(np.full((9, 12), 4000, dtype=np.uint16))
    (tmp_path / "images" / "bee" / "deep.png").write_bytes(encoded(deep))
    spec, quiet = f"folder:{tmp_path / 'images'}", {"workers": 0, "out": tmp_path / "run"}
    said = {}
    with pytest.raises(RaynasError) as error:
        check_data(inspect_data(spec))
    said["data"] = str(error.value)
    with pytest.raises(RaynasError) as error:
        raynas.train("as-vit", architecture="as-vit-small", data=spec, listener=TrainingListener(), **quiet)
    said["train"] = str(error.value)
    with pytest.raises(RaynasError) as error:
        raynas.score("as-vit", 2, proxies=["snip"], batch_size=22, data=spec, listener=SearchListener(), **quiet)
    said["score"] = str(error.value)
    for who, text in said.items():
        for part in ("deep.png", "--pixel-range", "cut.png", "--skip-unreadable", "cow", "--renumber-labels"):
            assert part in text, (who, part)
        assert text.count(f"data {spec!r}: ") == 1
        assert ("class" in text and "at least 2" in text) == (who != "score")
    assert not (tmp_path / "run").exists()
