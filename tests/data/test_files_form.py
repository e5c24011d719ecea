"""Images of a folder and the folders in it, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from toy_images import noise, png

from raynas.data.dataset import PassedOver
from raynas.data.files import FileImages
from raynas.data.opening import open_dataset, open_labelled
from raynas.data.options import DataOptions
from raynas.errors import DataError

FILES = {
    "ant/1.png": png(0),
    "ant/deep/er/2.png": png(1),
    "ant/.hidden.png": png(2),
    "ant.png": png(3),
    "bee/3.PNG": png(4),
    "bee/notes.txt": b"no image",
    "line\nbreak.png": png(5),
    "README.md": b"no image",
}


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_all_images_are_found_in_the_order_of_their_paths(tmp_path: Path) -> None:
    dataset = open_dataset(f"files:{write(tmp_path, FILES)}")
    names = [dataset.name(row) for row in range(len(dataset))]
    assert names == ["ant/1.png", "ant/deep/er/2.png", "ant.png", "bee/3.PNG", "line\\nbreak.png"]
    assert isinstance(dataset, FileImages)
    assert [dataset.path(row) for row in range(5)] == [*names[:4], "line\nbreak.png"]
    assert (dataset.num_classes, dataset.labels(range(5)).tolist()) == (0, [-1] * 5)
    assert PassedOver("no image by the end of its name", ("README.md", "bee/notes.txt")) in dataset.passed_over
    with pytest.raises(DataError, match="images of the form files:DIR have no labels"):
        open_labelled(f"files:{tmp_path}")


def test_a_name_that_is_no_text_is_told_with_escapes(tmp_path: Path) -> None:
    file = tmp_path / "\udcff.png"
    try:
        file.write_bytes(png(0))
    except OSError:
        pytest.skip("the file system takes no such names")
    dataset = open_dataset(f"files:{tmp_path}")
    assert isinstance(dataset, FileImages)
    assert dataset.path(0).encode() == b"\\udcff.png"
    np.testing.assert_array_equal(np.asarray(dataset.read([0])[0][0]), noise(0))


def test_files_that_are_left_out_keep_the_paths_of_the_others(tmp_path: Path) -> None:
    root = write(tmp_path, {f"{seed}.png": png(seed) for seed in range(4)})
    dataset = open_dataset(f"files:{root}", DataOptions.make({"skipped_images": ["1.png"]}))
    assert isinstance(dataset, FileImages)
    assert [dataset.path(row) for row in range(3)] == ["0.png", "2.png", "3.png"]
    images, _ = dataset.read([0, 1, 2])
    for image, seed in zip(images, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(np.asarray(image), noise(seed))
