"""Image files that are replaced between the sessions of a training: noticed in every form of data, at little cost."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_images import png
from toy_trainings import plan, trained

import raynas
from raynas.data.encoded import EncodedImages
from raynas.data.opening import open_dataset
from raynas.training.image_record import RECORD
from raynas.training.run import TrainingListener

SETTINGS = {"max_images": None, "batch_size": 8, "num_classes": None, "epochs": 1}
FILES = {f"{'ab'[number % 2]}/{number:03d}.png": png(number, (16, 16)) for number in range(80)}
CHANGED = "b/077.png"


def in_folder(where: Path, files: Mapping[str, bytes]) -> str:
    for name, content in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_bytes(content)
    return f"folder:{where}"


def in_zip(where: Path, files: Mapping[str, bytes]) -> str:
    where.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(where / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return f"archive:{where / 'all.zip'}"


def in_tar(where: Path, files: Mapping[str, bytes]) -> str:
    where.mkdir(parents=True, exist_ok=True)
    with tarfile.open(where / "all.tar", "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"archive:{where / 'all.tar'}"


def in_shards(where: Path, files: Mapping[str, bytes]) -> str:
    members = {name.replace("/", "-"): content for name, content in files.items()}
    labels = {f"{name[:-4]}.cls": str("ab".index(name[0])).encode() for name in members}
    return in_tar(where, {**members, **labels}).replace("archive:", "webdataset:")


def in_table(where: Path, files: Mapping[str, bytes]) -> str:
    where.mkdir(parents=True, exist_ok=True)
    labels = ["ab".index(name[0]) for name in files]
    table = pa.table({"image": list(files.values()), "label": labels})
    pq.write_table(table, where / "t.parquet", row_group_size=33)
    return f"parquet:{where / 't.parquet'}"


def in_table_of_paths(where: Path, files: Mapping[str, bytes]) -> str:
    in_folder(where, files)
    images = [{"bytes": None, "path": name} for name in files]
    table = pa.table({"image": images, "label": ["ab".index(name[0]) for name in files]})
    pq.write_table(table.cast(pa.schema([("image", _STRUCT), ("label", pa.int64())])), where / "t.parquet")
    return f"parquet:{where / 't.parquet'}"


_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FORMS = [in_folder, in_zip, in_tar, in_shards, in_table, in_table_of_paths]
Form = Callable[[Path, Mapping[str, bytes]], str]


def longer(content: bytes) -> bytes:
    """The same PNG with some bytes after its end: so many more, and no other pixel."""
    return content + b"\0" * 5


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_those_of_the_encoded_images(form: Form, tmp_path: Path) -> None:
    files = {name: longer(content) if name == CHANGED else content for name, content in FILES.items()}
    data = open_dataset(form(tmp_path, files))
    assert isinstance(data, EncodedImages)
    rows = list(range(3, 79, 2))
    expected = [len(reader()) for _, reader in data.readers(pa.array(rows).to_numpy())]
    assert data.sizes(pa.array(rows).to_numpy()).tolist() == expected
    assert set(map(len, files.values())) >= set(expected)


@pytest.mark.parametrize("form", FORMS)
def test_an_image_that_is_replaced_is_noticed_and_makes_no_other_training(form: Form, tmp_path: Path) -> None:
    first = plan(data=form(tmp_path / "first", FILES), **SETTINGS)
    moved = plan(data=form(tmp_path / "moved", FILES), record=first.record, **SETTINGS)
    assert (moved.identity(), moved.image_notes) == (first.identity(), ())
    changed = {**FILES, CHANGED: longer(FILES[CHANGED])}
    other = plan(data=form(tmp_path / "other", changed), record=first.record, **SETTINGS)
    assert other.identity() == first.identity()
    (line,) = other.image_notes
    name = {in_shards: "b-077", in_table: "row 77", in_table_of_paths: "row 77"}.get(form, CHANGED)
    assert line.startswith("1 image has another file than when this was trained last: ") and name in line


class Lines(TrainingListener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_log(self, line: str) -> None:
        self.lines.append(line)


def told(folder: Path) -> int:
    """How often a session that goes on says that files are others."""
    heard = Lines()
    raynas.train(out=folder, resume=True, listener=heard)
    return sum("1 image has another file than when this was trained last" in line for line in heard.lines)


def test_a_training_that_goes_on_with_another_image_says_so_once(tmp_path: Path) -> None:
    data = in_folder(tmp_path / "mine", FILES)
    trained(tmp_path / "run", data=data, **SETTINGS)
    assert told(tmp_path / "run") == 0
    (tmp_path / "mine" / CHANGED).write_bytes(png(1000, (20, 20)))
    assert [told(tmp_path / "run") for _ in range(2)] == [1, 0]
    (tmp_path / "run" / RECORD).unlink()  # as of a training of before
    (tmp_path / "mine" / CHANGED).write_bytes(longer(FILES[CHANGED]))
    assert told(tmp_path / "run") == 0


@pytest.mark.parametrize("option", ["skip_unreadable", "skipped_images"])
@pytest.mark.parametrize("then", [None, b"other", png(0)])
def test_images_that_are_left_out_may_change(option: str, then: bytes | None, tmp_path: Path) -> None:
    data = in_folder(tmp_path / "mine", {**FILES, "a/broken.png": FILES["a/000.png"][:60]})
    settings = {**SETTINGS, option: True if option == "skip_unreadable" else ["a/broken.png"]}
    made = plan(data=data, **settings)
    if then is None:
        (tmp_path / "mine" / "a" / "broken.png").unlink()
    else:
        (tmp_path / "mine" / "a" / "broken.png").write_bytes(then)
    again = plan(data=data, record=made.record, **{**settings, "skipped_images": made.config.skipped_images})
    assert (again.identity(), again.image_notes) == (made.identity(), ())
