"""Where images may be: nested folders, several tables, columns of other names, paths, archives, webdatasets."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from toy_images import encoded, noise, png

from raynas.data.dataset import ImageDataset
from raynas.data.opening import open_dataset, open_labelled
from raynas.data.options import DataOptions
from raynas.errors import DataError


def opened(spec: str, **options: Any) -> ImageDataset:
    return open_dataset(spec, DataOptions.make(options))


def seeds(dataset: ImageDataset, number: int = 12) -> list[int]:
    """By the pixels of each row, the seed of its noise."""
    known = {noise(seed).tobytes(): seed for seed in range(number)}
    images, _ = dataset.read(list(range(len(dataset))))
    return [known[np.asarray(image).tobytes()] for image in images]


def passed_over(dataset: ImageDataset) -> dict[str, tuple[str, ...]]:
    return {one.reason: one.names for one in dataset.passed_over}


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


# -- folders ---------------------------------------------------------------------------------------------------------

MIXED = {
    "ant/1.png": png(0),
    "ant/deep/er/2.png": png(1),
    "bee/3.JFIF": encoded(Image.fromarray(noise(2)), "JPEG"),
    "bee/4.jpe": encoded(Image.fromarray(noise(3)), "JPEG"),
    "bee/notes.txt": b"no image",
    "bee/Thumbs.db": b"of a system",
    "bee/.hidden.png": png(4),
    "__MACOSX/ant/._1.png": b"of a system",
    "beside.png": png(5),
    "README.md": b"no image",
}


def test_a_folder_is_read_in_depth_and_says_what_it_passes_over(tmp_path: Path) -> None:
    dataset = opened(f"folder:{write(tmp_path, MIXED)}")
    assert [dataset.name(row) for row in range(len(dataset))] == [
        "ant/1.png", "ant/deep/er/2.png", "bee/3.JFIF", "bee/4.jpe",
    ]  # fmt: skip
    assert dataset.label_names == ("ant", "bee")
    assert dataset.labels(range(4)).tolist() == [0, 0, 1, 1]
    assert passed_over(dataset) == {
        "no image by the end of its name": ("README.md", "bee/notes.txt"),
        "hidden, or left behind by a system": ("__MACOSX/", "bee/.hidden.png", "bee/Thumbs.db"),
        "beside the class folders, so of no class": ("beside.png",),
    }


def test_what_pillow_cannot_read_is_named(tmp_path: Path) -> None:
    dataset = opened(f"folder:{write(tmp_path, {'a/1.png': png(0), 'a/2.heic': b'0', 'b/3.png': png(1)})}")
    assert passed_over(dataset) == {"the installed Pillow reads no .heic": ("a/2.heic",)}


def test_an_empty_class_folder_is_refused_kept_or_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"ant/1.png": png(0), "cow/2.png": png(1)})
    (tmp_path / "bee").mkdir()
    spec = f"folder:{tmp_path}"
    with pytest.raises(DataError, match=r"1 of 3 classes have no image \(bee\)"):
        open_labelled(spec)
    kept = open_labelled(spec, DataOptions.make({"keep_empty_classes": True}))
    assert (kept.num_classes, kept.labels([0, 1]).tolist()) == (3, [0, 2])
    fewer = open_labelled(spec, DataOptions.make({"renumber_labels": True}))
    assert (fewer.label_names, fewer.labels([0, 1]).tolist()) == (("ant", "cow"), [0, 1])


def test_a_folder_of_parts_is_no_data_set(tmp_path: Path) -> None:
    write(tmp_path, {"train/ant/1.png": png(0), "val/ant/2.png": png(1)})
    with pytest.raises(
        DataError, match="holds parts of a data set, train, val, and no class folders; name one of them"
    ):
        opened(f"folder:{tmp_path}")


def test_names_of_any_bytes_can_be_printed(tmp_path: Path) -> None:
    write(tmp_path, {"a/1.png": png(0), "b/2.png": png(1)})
    strange = os.fsencode(tmp_path) + b"/a/\xff\n.png"
    Path(os.fsdecode(strange)).write_bytes(png(2))
    Path(os.fsdecode(strange + b".txt")).write_bytes(b"")
    dataset = opened(f"folder:{tmp_path}")
    assert seeds(dataset) == [0, 2, 1]
    names = [dataset.name(1), *passed_over(dataset)["no image by the end of its name"]]
    assert all(name.isprintable() and name.startswith("a/") for name in names)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, {"a/1.png": png(0), "b/2.png": png(1)})
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert "a/1.png" in [opened(f"folder:{tmp_path}").name(row) for row in range(2)]


# -- tables ----------------------------------------------------------------------------------------------------------


def shard(path: Path, rows: range, image: str = "image", label: str = "label", names: Any = None) -> None:
    columns = {image: pa.array([png(row) for row in rows]), label: pa.array([row % 2 for row in rows])}
    metadata = None if names is None else {"label_names": json.dumps(names)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, row_group_size=2)


@pytest.mark.parametrize("form", ["{}", "{}/train-*.parquet", "{}/*-of-*.parquet"])
def test_shards_are_one_data_set(tmp_path: Path, form: str) -> None:
    for number, rows in enumerate((range(5), range(5, 8), range(8, 12))):
        shard(tmp_path / f"train-{number:05d}-of-00003.parquet", rows, "img", "fine_label", ["x", "y"])
    dataset = opened(f"parquet:{form.format(tmp_path)}", image_column="img", label_column="fine_label")
    assert seeds(dataset) == list(range(12))
    assert dataset.labels(range(12)).tolist() == [row % 2 for row in range(12)]
    assert dataset.label_names == ("x", "y")
    assert dataset.name(6) == "train-00001-of-00003.parquet row 1"
    dataset.hold()
    images, labels = dataset.read([11, 4, 5])
    assert labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(np.asarray(images[1]), noise(4))


def test_what_is_wrong_with_shards_is_named(tmp_path: Path) -> None:
    for number in (0, 2):
        shard(tmp_path / f"train-{number:05d}-of-00004.parquet", range(2))
    with pytest.raises(DataError, match=r"of the 4 files .*train-NNNNN-of-00004 these are missing: 00001, 00003"):
        opened(f"parquet:{tmp_path}")
    shard(tmp_path / "test-00000-of-00001.parquet", range(2))
    with pytest.raises(
        DataError, match=r"holds parts of a data set, test, train; name one .* such as .*test\*\.parquet"
    ):
        opened(f"parquet:{tmp_path}")
    with pytest.raises(DataError, match=r"no file fits '.*/val-\*\.parquet'"):
        opened(f"parquet:{tmp_path}/val-*.parquet")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(DataError, match=r"no files \*\.parquet in"):
        opened(f"parquet:{other}")
    shard(other / "a0.parquet", range(2), names=["x", "y"])
    shard(other / "a1.parquet", range(2), names=["y", "x"])
    with pytest.raises(DataError, match=r"the classes of a1\.parquet \(y, x\) are not those of a0\.parquet \(x, y\)"):
        opened(f"parquet:{other}")
    shard(other / "a1.parquet", range(2), "picture", names=["x", "y"])
    with pytest.raises(DataError, match=r"no column 'image' in a1\.parquet; columns: picture, label; --image-column"):
        opened(f"parquet:{other}")


def test_a_column_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    shard(tmp_path / "t.parquet", range(4))
    with pytest.raises(DataError, match="no column 'img'; columns: image, label; --image-column names another"):
        opened(f"parquet:{tmp_path}/t.parquet", image_column="img")
    with pytest.raises(DataError, match="no column 'class'; columns: image, label; --label-column names another"):
        opened(f"parquet:{tmp_path}/t.parquet", label_column="class")


@pytest.mark.parametrize("is_struct", [False, True])
@pytest.mark.parametrize("is_held", [False, True])
def test_images_may_be_named_by_paths(tmp_path: Path, is_struct: bool, is_held: bool) -> None:
    """As datasets write them that do not embed their files: relative to the table."""
    write(tmp_path, {"pictures/0.png": png(0), "pictures/1.png": png(1)})
    paths: Any = [f"pictures/{row}.png" for row in (1, 0)]
    column: Any = pa.array(paths)
    if is_struct:
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array(
            [*({"bytes": None, "path": path} for path in paths), {"bytes": png(2), "path": "no.png"}], struct
        )
    pq.write_table(pa.table({"image": column, "label": pa.array([0, 1, 1][: len(column)])}), tmp_path / "t.parquet")
    dataset = opened(f"parquet:{tmp_path / 't.parquet'}")
    if is_held:
        dataset.hold()
    assert seeds(dataset) == [1, 0, 2][: len(column)]
    (tmp_path / "pictures" / "0.png").unlink()
    with pytest.raises(DataError, match=r"image of row 1 cannot be read: there is no file '.*pictures/0\.png'"):
        dataset.read([1])


def test_options_that_a_form_does_not_take_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a/1.png": png(0)})
    with pytest.raises(DataError, match="image_column does not go with the form folder:DIR"):
        opened(f"folder:{tmp_path}", image_column="img")
    with pytest.raises(DataError, match="renumber_labels does not go with the form digits"):
        opened("digits", renumber_labels=True)


# -- archives --------------------------------------------------------------------------------------------------------


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def tarred(path: Path, files: Mapping[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


WRITERS = {
    "deflated.zip": zipped,
    "stored.zip": lambda path, files: zipped(path, files, zipfile.ZIP_STORED),
    "plain.tar": tarred,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("around", ["", "./", "data/set/"])
def test_an_archive_is_read_as_the_folder_in_it(tmp_path: Path, name: str, around: str) -> None:
    WRITERS[name](tmp_path / name, {f"{around}{file}": content for file, content in MIXED.items() if "/" in file})
    dataset = opened(f"archive:{tmp_path / name}")
    folder = opened(f"folder:{write(tmp_path / 'folder', MIXED)}")
    names = [[one.name(row) for row in range(len(one))] for one in (dataset, folder)]
    assert names[0] == names[1]
    assert (dataset.label_names, dataset.labels(range(4)).tolist()) == (("ant", "bee"), [0, 0, 1, 1])
    for found, expected in zip(dataset.read(range(4))[0], folder.read(range(4))[0], strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert not list(tmp_path.glob("ant*"))  # nothing is extracted


@pytest.mark.parametrize("name", WRITERS)
def test_members_are_read_by_threads_and_forked_processes(tmp_path: Path, name: str) -> None:
    import multiprocessing

    WRITERS[name](tmp_path / name, {f"{'ab'[seed % 2]}/{seed:02d}.png": png(seed) for seed in range(12)})
    dataset = opened(f"archive:{tmp_path / name}")
    expected = seeds(dataset)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: seeds(dataset), range(8))) == [expected] * 8
    # A pool ends its processes by SIGTERM, for which Ray, where a test has had it in this process, has a handler.
    ends = {"initializer": signal.signal, "initargs": (signal.SIGTERM, signal.SIG_DFL)}
    with multiprocessing.get_context("fork").Pool(2, **ends) as processes:
        assert processes.map(seeds, [dataset] * 4) == [expected] * 4


def test_members_that_are_no_plain_files_are_passed_over(tmp_path: Path) -> None:
    tarred(tmp_path / "a.tar", {"a/1.png": png(0), "b/2.png": png(1)})
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "a/1.png"), (tarfile.FIFOTYPE, "")):
            member = tarfile.TarInfo(f"a/{kind.decode()}.png")
            member.type, member.linkname = kind, target
            archive.addfile(member)
    dataset = opened(f"archive:{tmp_path / 'a.tar'}")
    assert len(dataset) == 2
    assert passed_over(dataset) == {"no plain file in the archive": ("a/1.png", "a/2.png", "a/6.png")}


@pytest.mark.parametrize("name", WRITERS)
def test_names_that_lead_out_of_an_archive_open_nothing(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"secret.png": png(9)})
    WRITERS[name](tmp_path / name, {"a/../../secret.png": png(0), "/b/2.png": png(1), "a/3.png": png(2)})
    dataset = opened(f"archive:{tmp_path / name}")
    assert sorted(seeds(dataset)) == [1, 2]
    assert passed_over(dataset) == {"hidden, or left behind by a system": ("a/../../secret.png",)}


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    files = {f"{'ab'[seed % 2]}/{seed}.png": png(seed, (64, 64)) for seed in range(4)}
    for name, write_archive in WRITERS.items():
        write_archive(tmp_path / name, files)
        content = bytearray((tmp_path / name).read_bytes())
        dataset = opened(f"archive:{tmp_path / name}")
        middle = content.index(b"IDAT") if "tar" in name or "stored" in name else len(content) // 8
        content[middle + 40 : middle + 140] = bytes(100)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"image of row \d .*cannot be read"):
            dataset.read([0, 1, 2, 3])
    (tmp_path / "none.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as a zip or tar archive"):
        opened(f"archive:{tmp_path / 'none.zip'}")


@pytest.mark.parametrize("form", ["archive", "webdataset"])
@pytest.mark.parametrize(
    ("name", "tool", "tar"),
    [
        ("v1.2.tar.gz", "gzip", "v1.2.tar"),
        ("a.tgz", "gzip", "a.tar"),
        ("a.tar.bz2", "bzip2", "a.tar"),
        ("a.tar.xz", "xz", "a.tar"),
        ("a.tar.zst", "zstd", "a.tar"),
        ("a.tar", "gzip", "a.tar.tar"),  # which must not be written over
        ("a", "xz", "a.tar"),
    ],
)
def test_the_command_that_is_told_makes_an_archive_that_can_be_read(
    tmp_path: Path, form: str, name: str, tool: str, tar: str
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    files = {"a/0.png": png(0), "a/0.cls": b"0", "b/1.png": png(1), "b/1.cls": b"1"}
    folder = tmp_path / "it's here"
    folder.mkdir()
    tarred(tmp_path / "plain", files)
    (folder / name).write_bytes(subprocess.check_output([tool, "-c", tmp_path / "plain"]))
    with pytest.raises(DataError, match="is compressed as a whole") as refused:
        opened(f"{form}:{folder / name}")
    assert str(refused.value).count("\n") == 0
    (command,) = re.findall("`(.+)`", str(refused.value))
    subprocess.check_call(command, shell=True)  # as a person pastes it
    assert sorted(one.name for one in folder.iterdir()) == sorted([name, tar])
    assert sorted(seeds(opened(f"{form}:{folder / tar}"))) == [0, 1]
    with pytest.raises(DataError, match=r"there is no file 'missing\.zip'"):
        opened("archive:missing.zip")


def test_a_member_never_unpacks_to_more_than_the_archive_says(tmp_path: Path) -> None:
    """The size in the directory is lowered, as in a zip bomb."""
    zipped(tmp_path / "a.zip", {"a/1.png": bytes(1_000_000), "b/2.png": png(1)})
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace((1_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"image of row 0 \(a/1\.png in .*\) cannot be read: it is damaged there"):
        opened(f"archive:{tmp_path / 'a.zip'}").read([0])


# -- webdatasets -----------------------------------------------------------------------------------------------------


def test_a_webdataset_has_its_labels_beside_the_images(tmp_path: Path) -> None:
    for number in range(2):
        files = {}
        for seed in range(number * 3, number * 3 + 3):
            files |= {f"in/{seed:03d}.png": png(seed), f"in/{seed:03d}.cls": str(seed % 2).encode()}
        tarred(tmp_path / f"train-{number:06d}.tar", files)
    dataset = opened(f"webdataset:{tmp_path}/train-*.tar")
    assert seeds(dataset) == list(range(6))
    assert dataset.labels(range(6)).tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.name(4) == "train-000001.tar/in/004.png"


def test_labels_of_a_webdataset_may_be_fields(tmp_path: Path) -> None:
    files = {}
    for seed, name in enumerate(["bee", "ant", "bee"]):
        files |= {f"{seed}.png": png(seed), f"{seed}.json": json.dumps({"label": seed, "animal": name}).encode()}
    tarred(tmp_path / "t.tar", {**files, "alone.json": b"{}", ".hidden.png": b""})
    dataset = opened(f"webdataset:{tmp_path}/t.tar", label_column="animal")
    assert (dataset.label_names, dataset.labels(range(3)).tolist()) == (("ant", "bee"), [1, 0, 1])
    assert passed_over(dataset)["a key without an image"] == ("t.tar/alone",)
    assert opened(f"webdataset:{tmp_path}/t.tar").labels(range(3)).tolist() == [0, 1, 2]
    tarred(tmp_path / "u.tar", {"0.png": png(0)})
    assert "no file key.cls" in opened(f"webdataset:{tmp_path}/u.tar").lacks_labels
    with pytest.raises(DataError, match=r"u\.tar/0\.png has no label, and others have one"):
        opened(f"webdataset:{tmp_path}/*.tar")
