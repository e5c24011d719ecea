"""Files that users have and nobody expects: pipes, links that lead nowhere, names that are there twice, odd labels."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_images import noise, png

from raynas.data.dataset import ImageDataset
from raynas.data.inspection import inspect
from raynas.data.opening import open_dataset
from raynas.data.options import DataOptions
from raynas.errors import DataError


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Ends what waits for ever."""

    def end(*_: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, 10)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def passed_over(dataset: ImageDataset) -> dict[str, tuple[str, ...]]:
    return {one.reason: one.names for one in dataset.passed_over}


def table(path: Path, seeds: list[int], labels: Any = None, metadata: Any = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [seed % 2 for seed in seeds] if labels is None else labels
    columns = {"image": pa.array([png(seed) for seed in seeds]), "label": labels}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return f"parquet:{path}"


def tarred(path: Path, files: dict[str, bytes]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"webdataset:{path}"


# -- no regular files ------------------------------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_pipe(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


MAKERS = [pipe, link_to_pipe, device]


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_no_regular_file_is_no_image_of_a_folder(tmp_path: Path, make: Any) -> None:
    write(tmp_path, {"ant/1.png": png(0), "bee/2.png": png(1)})
    make(tmp_path / "bee" / "0.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert passed_over(dataset).get("no regular file") == ("bee/0.png",)
    assert inspect(dataset).decoded == 2
    listed = open_dataset(f"torchvision:ImageFolder:{tmp_path}")
    assert inspect(listed).unreadable == {"row 1": f"data {listed.source!r}: image of row 1 cannot be read: it is no "
                                          "regular file"}  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("parquet:{}/it.parquet", "it.parquet"),
        ("parquet:{}", "it.parquet"),
        ("parquet:{}/*.parquet", "it.parquet"),
        ("archive:{}/it.tar", "it.tar"),
        ("webdataset:{}/it.tar", "it.tar"),
        ("webdataset:{}/*.tar", "it.tar"),
    ],
)
def test_what_is_no_regular_file_is_no_table_and_no_archive(tmp_path: Path, make: Any, form: str, name: str) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError, match=rf"'.*/{name}' is no regular file"):
        open_dataset(form.format(tmp_path))


def test_a_shard_that_is_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [0, 1])
    (tmp_path / "b.parquet").symlink_to("gone")
    for form in ("parquet:{}", "parquet:{}/*.parquet"):
        with pytest.raises(DataError, match=r"there is no file '.*b\.parquet'"):
            open_dataset(form.format(tmp_path))


@pytest.mark.parametrize("place", ["", "ant/", "ant/deep/"])
def test_links_to_themselves_are_passed_over(tmp_path: Path, place: str) -> None:
    write(tmp_path, {"ant/deep/1.png": png(0), "bee/2.png": png(1)})
    (tmp_path / place / "round").symlink_to("round")
    (tmp_path / place / "round.png").symlink_to("round.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert len(dataset) == 2
    assert passed_over(dataset) == {
        "a link that leads to itself": (f"{place}round.png",), "no image by the end of its name": (f"{place}round",),
    }  # fmt: skip


def test_images_whose_links_lead_to_nothing_cannot_be_read(tmp_path: Path) -> None:
    """They are no images to be passed over: with an unmounted disk all would be."""
    write(tmp_path, {"ant/1.png": png(0), "bee/2.png": png(1)})
    (tmp_path / "ant" / "gone.png").symlink_to("nothing")
    (tmp_path / "bee" / "through.png").symlink_to("2.png/nothing")
    assert inspect(open_dataset(f"folder:{tmp_path}")).unreadable == {
        "ant/gone.png": "No such file or directory", "bee/through.png": "Not a directory",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "parquet", "archive", "webdataset", "torchvision:ImageFolder"])
def test_what_the_system_refuses_is_told(kind: str) -> None:
    with pytest.raises(DataError, match="File name too long"):
        open_dataset(f"{kind}:{'x' * 300}")


# -- names -----------------------------------------------------------------------------------------------------------


def row_names(dataset: ImageDataset) -> list[str]:
    return [dataset.name(row) for row in range(len(dataset))]


def test_shards_of_one_name_in_several_folders_have_names_of_their_own(tmp_path: Path) -> None:
    for number, folder in enumerate(("a", "b/c")):
        seeds = [2 * number, 2 * number + 1]
        table(tmp_path / folder / "part-0.parquet", seeds)
        tarred(tmp_path / folder / "part-0.tar", {f"{seed}.png": png(seed) for seed in seeds})
    expected = {
        f"parquet:{tmp_path}/**/part-0.parquet": [f"{path} row {row}" for path in ("a/part-0.parquet",
                                                  "b/c/part-0.parquet") for row in (0, 1)],
        f"webdataset:{tmp_path}/**/part-0.tar": ["a/part-0.tar/0.png", "a/part-0.tar/1.png", "b/c/part-0.tar/2.png",
                                                 "b/c/part-0.tar/3.png"],
    }  # fmt: skip
    for spec, names in expected.items():
        assert row_names(open_dataset(spec)) == names
        fewer = open_dataset(spec, DataOptions.make({"skipped_images": [names[1]]}))
        images, _ = fewer.read(range(3))
        for image, seed in zip(images, (0, 2, 3), strict=True):
            np.testing.assert_array_equal(np.asarray(image), noise(seed))


@pytest.mark.parametrize("is_relative", [True, False])
def test_names_in_one_folder_are_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_relative: bool
) -> None:
    """As stored runs have them."""
    monkeypatch.chdir(tmp_path)
    root = Path() if is_relative else tmp_path
    tarred(root / "t.tar", {"0.png": png(0)})
    assert row_names(open_dataset(f"webdataset:{root / 't.tar'}")) == ["t.tar/0.png"]
    table(root / "a.parquet", [0])
    assert row_names(open_dataset(f"parquet:{root / 'a.parquet'}")) == ["row 0"]
    table(root / "b.parquet", [1])
    assert row_names(open_dataset(f"parquet:{root / '*.parquet'}")) == ["a.parquet row 0", "b.parquet row 0"]


# -- labels ----------------------------------------------------------------------------------------------------------

DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("end", "content", "message"),
    [
        ("cls", b"1" * 20, r"0\.png is 1{20}; expected an integer from 0"),
        ("cls", b"9" * 5_000, r"0\.png is 9+ \.\.\.; expected an integer from 0"),
        ("cls", b"-1", r"0\.png is -1; expected an integer from 0"),
        ("cls", b"3000000000", "is 3000000000; expected an integer from 0 to"),
        ("json", DEEP, "label of t.tar/0 cannot be read"),
        ("json", b'{"label": ' + DEEP, "label of t.tar/0 cannot be read"),
        ("json", b'{"label": 1' + b"0" * 30 + b"}", "expected an integer from 0"),
        ("json", b'{"label": 1' + b"0" * 9_000 + b"}", "label of t.tar/0 cannot be read"),
        ("json", b'{"label": -1}', r"0\.png is -1; expected an integer from 0"),
        ("json", b'{"label": 1.5}', r"0\.png is 1\.5; expected a text or an integer"),
        ("json", b'{"label": [[1]]}', r"0\.png is no text; expected a text or an integer"),
        ("json", b"\xff", "label of t.tar/0 cannot be read"),
    ],
)
def test_labels_of_a_webdataset_that_are_none_are_refused(
    tmp_path: Path, end: str, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(tarred(tmp_path / "t.tar", {"0.png": png(0), f"0.{end}": content}))


@pytest.mark.parametrize("labels", [[-1, *range(12)], [0, 10**20]])
def test_numbers_that_are_no_classes_do_not_become_texts(tmp_path: Path, labels: list[int]) -> None:
    files = {}
    for row, label in enumerate(labels):
        files |= {f"{row:02d}.png": png(0), f"{row:02d}.json": json.dumps({"label": label}).encode()}
    with pytest.raises(DataError, match=r"png is (-1|10{20}); expected an integer from 0"):
        open_dataset(tarred(tmp_path / "t.tar", files))


@pytest.mark.parametrize("zeros", [3, 9_000])
def test_zeros_before_a_number_are_no_digits(tmp_path: Path, zeros: int) -> None:
    files = {"0.png": png(0), "0.cls": b"0" * zeros + b"7"}
    assert open_dataset(tarred(tmp_path / "t.tar", files)).labels([0]).tolist() == [7]


def test_other_fields_beside_a_label_may_hold_anything(tmp_path: Path) -> None:
    """Tools that write webdatasets leave NaN where they know nothing."""
    files = {f"{row}.{end}": content for row in (0, 1) for end, content in (
        ("png", png(row)), ("json", b'{"label": %d, "similarity": NaN}' % row))}  # fmt: skip
    assert open_dataset(tarred(tmp_path / "t.tar", files)).labels([0, 1]).tolist() == [0, 1]


def test_truth_values_of_a_webdataset_are_named_as_those_of_a_table(tmp_path: Path) -> None:
    files = {}
    for row, label in enumerate([True, False, True]):
        files |= {f"{row}.png": png(0), f"{row}.json": json.dumps({"label": label}).encode()}
    dataset = open_dataset(tarred(tmp_path / "t.tar", files))
    assert (dataset.label_names, dataset.labels(range(3)).tolist()) == (("false", "true"), [1, 0, 1])


def of_huggingface(features: bytes) -> bytes:
    return b'{"info": {"features": %s}}' % features


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (b"\xff\xfe", "label_names in the metadata is no text in UTF-8"),
        (DEEP, "label_names in the metadata is no JSON list"),
        (b"[" * 900 + b'"a"' + b"]" * 900, "label_names in the metadata is no "),
        (b"[" + b"1" * 9_000 + b"]", "label_names in the metadata is no JSON list"),
        (b"[NaN, 1e999]", "label_names in the metadata is no JSON list"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path: Path, names: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(table(tmp_path / "t.parquet", [0, 1], metadata={"label_names": names}))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        DEEP,
        *(of_huggingface(b'{"label": ' + b'{"feature": ' * depth + b"1" + b"}" * (depth + 1)) for depth in (300, 900)),
        *(of_huggingface(b'{"label": ' + b"[" * depth + b"]" * depth + b"}") for depth in (300, 900)),
        of_huggingface(b'[{"name": [1], "dtype": 1}, {"name": {}}, 1]'),
        of_huggingface(b'{"label": {"names": {"' + b"1" * 9_000 + b'": "ant"}}}'),
    ],
)
def test_metadata_of_others_that_cannot_be_read_name_nothing(tmp_path: Path, content: bytes) -> None:
    dataset = open_dataset(table(tmp_path / "t.parquet", [0, 1], metadata={"huggingface": content}))
    assert (dataset.num_classes, dataset.label_names) == (2, ())


def test_texts_of_tables_that_are_none_are_refused(tmp_path: Path) -> None:
    labels = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"a"]).buffers())
    with pytest.raises(DataError, match=r"cannot be read as Parquet: .*utf-8"):
        open_dataset(table(tmp_path / "t.parquet", [0, 1], labels))
