"""Labels as people have them: numbers, texts, names in metadata, and two data sets whose classes must agree."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_images import png

from raynas.data.dataset import ImageDataset, check_classes
from raynas.data.opening import open_both, open_dataset, open_labelled
from raynas.data.options import DataOptions
from raynas.errors import DataError

PLAIN = DataOptions.make({})


def table(path: Path, labels: Any, metadata: dict[str, str] | None = None, column: str = "label") -> str:
    labels = labels if isinstance(labels, pa.Array | pa.ChunkedArray) else pa.array(labels)
    images = pa.array([png(0)] * len(labels), pa.binary())
    pq.write_table(pa.table({"image": images, column: labels}).replace_schema_metadata(metadata), path)
    return f"parquet:{path}"


def features(feature: Any, column: str = "label") -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {column: feature}}})}


ANT_BEE_CAT = {"names": ["ant", "bee", "cat"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature",
    [
        ANT_BEE_CAT,
        {"num_classes": 3, "names": ["ant", "bee", "cat"], "names_file": None, "id": None, "_type": "ClassLabel"},
        {"names": {"0": "ant", "2": "cat", "1": "bee"}, "_type": "ClassLabel"},
        {"class_label": {"names": {"0": "ant", "1": "bee", "2": "cat"}}},
        {"feature": ANT_BEE_CAT, "length": 1, "_type": "Sequence"},
        {"feature": ANT_BEE_CAT, "_type": "List"},
        [ANT_BEE_CAT],
    ],
)
def test_names_of_huggingface_are_read(tmp_path: Path, feature: Any) -> None:
    dataset = open_dataset(table(tmp_path / "t.parquet", [0, 1, 2, 1], features(feature)))
    assert dataset.label_names == ("ant", "bee", "cat")
    assert dataset.classes is not None
    assert dataset.classes.names_from == "the metadata under huggingface"


@pytest.mark.parametrize(
    "metadata",
    [
        {"huggingface": "no JSON"},
        {"huggingface": "[1]"},
        features({"dtype": "int64", "_type": "Value"}),
        features(ANT_BEE_CAT, "other"),
        None,
    ],
)
def test_metadata_that_name_nothing_leave_classes_without_names(tmp_path: Path, metadata: Any) -> None:
    dataset = open_dataset(table(tmp_path / "t.parquet", [0, 1, 2, 1], metadata))
    assert (dataset.num_classes, dataset.label_names) == (3, ())


def test_names_between_commas_must_be_as_many_as_the_labels(tmp_path: Path) -> None:
    fits = table(tmp_path / "a.parquet", [0, 1, 2], {"label_names": "ant, bee,cat"})
    assert open_dataset(fits).label_names == ("ant", "bee", "cat")
    splits = table(tmp_path / "b.parquet", [0, 1, 2], {"label_names": "tench, Tinca tinca,goldfish,shark"})
    with pytest.raises(DataError, match=r"4 names between commas, and labels go from 0 to 2; write .* a JSON list"):
        open_dataset(splits)
    names = ["tench, Tinca tinca", "goldfish", "shark", "ray"]
    listed = table(tmp_path / "c.parquet", [0, 1, 2], {"label_names": json.dumps(names)})
    assert open_dataset(listed).label_names == tuple(names)


@pytest.mark.parametrize("text", ["[1, 2, 3]", '["a", "b"'])
def test_a_list_of_names_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="label_names in the metadata is no"):
        open_dataset(table(tmp_path / "t.parquet", [0, 1, 2], {"label_names": text}))


def test_two_kinds_of_names_that_differ_are_refused(tmp_path: Path) -> None:
    both = {**features(ANT_BEE_CAT), "label_names": "ant,bee,cow"}
    with pytest.raises(DataError, match="name the classes twice"):
        open_dataset(table(tmp_path / "t.parquet", [0, 1, 2], both))


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["dog", "ant", "dog", "cat"]),
        pa.array(["dog", "ant", "dog", "cat"], pa.large_string()),
        pa.array(["dog", "ant", "dog", "cat"]).dictionary_encode(),
        pa.chunked_array([["dog"], ["ant", "dog", "cat"]]).dictionary_encode(),
    ],
)
def test_texts_are_numbered_in_their_order(tmp_path: Path, labels: Any) -> None:
    dataset = open_dataset(table(tmp_path / "t.parquet", labels))
    assert dataset.label_names == ("ant", "cat", "dog")
    assert dataset.labels(range(4)).tolist() == [2, 0, 2, 1]


def test_booleans_are_two_classes(tmp_path: Path) -> None:
    dataset = open_dataset(table(tmp_path / "t.parquet", [True, False, True]))
    assert (dataset.label_names, dataset.labels(range(3)).tolist()) == (("false", "true"), [1, 0, 1])


# -- classes without images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "metadata", "message"),
    [
        ([0, 1, 5], None, r"3 of 6 classes have no image \(2, 3, 4\); --renumber-labels leaves them out"),
        ([1, 2, 3], None, r"1 of 4 classes have no image \(0\)"),
        ([0, 2], {"label_names": '["ant", "bee", "cat"]'}, r"1 of 3 classes have no image \(bee\)"),
        ([0, 999], None, r"998 of 1000 classes have no image \(1, 2, 3, 4, 5, and 993 more\)"),
    ],
)
def test_classes_without_images_are_refused_or_left_out(
    tmp_path: Path, labels: list[int], metadata: dict[str, str] | None, message: str
) -> None:
    spec = table(tmp_path / "t.parquet", labels * 3, metadata)
    with pytest.raises(DataError, match=message):
        open_labelled(spec)
    assert open_labelled(spec, DataOptions.make({"keep_empty_classes": True})).num_classes == max(
        max(labels) + 1, 3 if metadata else 0
    )
    dataset = open_labelled(spec, DataOptions.make({"renumber_labels": True}))
    assert dataset.num_classes == len(set(labels))
    assert dataset.labels(range(len(labels))).tolist() == list(range(len(labels)))
    assert dataset.label_names == (("ant", "cat") if metadata else ())


# -- two data sets ---------------------------------------------------------------------------------------------------


def both(train: str, val: str, **options: Any) -> tuple[ImageDataset, ImageDataset]:
    return open_both(train, val, DataOptions.make(options))


def test_opposite_orders_of_names_are_refused(tmp_path: Path) -> None:
    train = table(tmp_path / "a.parquet", [0, 1, 2], features(ANT_BEE_CAT))
    val = table(tmp_path / "b.parquet", [0, 1, 2], features({"names": ["ant", "cat", "bee"], "_type": "ClassLabel"}))
    with pytest.raises(DataError, match=r"class 1 of '.*b\.parquet' is 'cat', and of '.*a\.parquet' it is 'bee'"):
        both(train, val)


def test_texts_have_the_numbers_of_the_images_to_train_on(tmp_path: Path) -> None:
    """The order of fewer texts would number them otherwise."""
    train = table(tmp_path / "a.parquet", ["ant", "bee", "cat"])
    val = table(tmp_path / "b.parquet", ["cat", "bee", "cat"])
    assert both(train, val)[1].labels(range(3)).tolist() == [2, 1, 2]
    named = table(tmp_path / "c.parquet", [0, 1, 2], features({"names": ["cat", "bee", "ant"], "_type": "ClassLabel"}))
    assert both(named, val)[1].labels(range(3)).tolist() == [0, 1, 0]
    strange = table(tmp_path / "d.parquet", ["ant", "cow"])
    with pytest.raises(DataError, match=r"has the class 'cow', which is not among those of .*: ant, bee, cat"):
        both(train, strange)


def test_new_numbers_are_those_of_the_images_to_train_on(tmp_path: Path) -> None:
    train = table(tmp_path / "a.parquet", [0, 5, 9] * 2)
    val = table(tmp_path / "b.parquet", [9, 5])
    data, val_data = both(train, val, renumber_labels=True)
    assert (data.num_classes, val_data.num_classes) == (3, 3)
    assert val_data.labels([0, 1]).tolist() == [2, 1]
    strange = table(tmp_path / "c.parquet", [9, 4])
    with pytest.raises(DataError, match=r"has the class 4, of which .* has no image"):
        both(train, strange, renumber_labels=True)


def test_a_class_that_is_not_trained_on_is_refused(tmp_path: Path) -> None:
    train, val = table(tmp_path / "a.parquet", [0, 1]), table(tmp_path / "b.parquet", [0, 2])
    with pytest.raises(DataError, match=r"has the class 2, but '.*' has only 2 classes"):
        both(train, val)


def test_one_set_with_names_and_one_without_go_by_numbers(tmp_path: Path) -> None:
    train, val = table(tmp_path / "a.parquet", [0, 1], {"label_names": "x,y"}), table(tmp_path / "b.parquet", [1, 0])
    assert both(train, val)[1].labels([0, 1]).tolist() == [1, 0]


def test_a_small_set_to_evaluate_on_may_lack_classes(tmp_path: Path) -> None:
    data, val_data = both(table(tmp_path / "a.parquet", [0, 1, 2]), table(tmp_path / "b.parquet", [0, 2, 0]))
    check_classes(data, PLAIN)
    assert val_data.num_classes == 3
    assert np.array_equal(val_data.labels([1]), [2])


def test_names_to_leave_out_of_images_that_there_are_not_are_refused(tmp_path: Path) -> None:
    train = table(tmp_path / "a.parquet", [0, 1, 0])
    with pytest.raises(DataError, match=r"--skip-val-image .* --val-data; of those of --data, --skip-image does"):
        open_both(train, None, PLAIN, val_left_out=["row 0"])
    assert [len(one) for one in open_both(train, train, PLAIN, val_left_out=["row 0"])] == [3, 2]


# -- torchvision -----------------------------------------------------------------------------------------------------


def usps(root: Path, labels: list[int]) -> str:
    """A set of torchvision in its own form: a line for each image of 16 x 16 values, with labels from 1."""
    values = " ".join(f"{place}:-1" for place in range(1, 257))
    with bz2.open(root / "usps.bz2", "wt") as file:
        file.writelines(f"{label + 1} {values}\n" for label in labels)
    return f"torchvision:USPS:{root}"


def test_labels_of_torchvision_can_be_numbered_anew(tmp_path: Path) -> None:
    spec = usps(tmp_path, [7, 2, 7])
    with pytest.raises(DataError, match="6 of 8 classes have no image"):
        open_labelled(spec)
    dataset = open_labelled(spec, DataOptions.make({"renumber_labels": True, "skipped_images": ["row 0"]}))
    assert (dataset.num_classes, dataset.labels([0, 1]).tolist()) == (2, [0, 1])  # of the classes 2 and 7
    assert dataset.read([1, 0])[1].tolist() == [1, 0]
    train = table(tmp_path / "a.parquet", [7, 2])
    assert both(train, spec, renumber_labels=True)[1].labels(range(3)).tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"has the class 7, of which .* has no image"):
        both(table(tmp_path / "b.parquet", [2, 9]), spec, renumber_labels=True)


def test_labels_that_torchvision_does_not_list_cannot_be(tmp_path: Path) -> None:
    for name in ("negative", "positive"):
        for part in ("train", "test", "valid"):
            (tmp_path / "rendered-sst2" / part / name).mkdir(parents=True)
        (tmp_path / "rendered-sst2" / "train" / name / "0.png").write_bytes(png(0))
    spec = f"torchvision:RenderedSST2:{tmp_path}"
    assert open_dataset(spec).labels([1, 0]).tolist() == [1, 0]
    with pytest.raises(DataError, match="renumber_labels needs labels that are known without reading the images"):
        open_dataset(spec, DataOptions.make({"renumber_labels": True}))
    (tmp_path / "rendered-sst2" / "train" / "positive" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="image of row 1 cannot be read"):
        open_dataset(spec).labels([0, 1])
