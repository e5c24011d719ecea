"""Which images of one set are in another, by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raynas.data.contents import contained
from raynas.data.opening import open_dataset


def images(number: int, *, seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (6, 7, 3), np.uint8)) for _ in range(number)]


def folder(root: Path, pictures: list[Image.Image], suffix: str = "png") -> str:
    for i, picture in enumerate(pictures):
        place = root / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{i:03}.{suffix}")
    return f"folder:{root}"


def test_files_are_found_again_under_other_names_and_in_other_stores(tmp_path: Path) -> None:
    own, others = images(6, seed=1), images(5, seed=2)
    first = open_dataset(folder(tmp_path / "a", own))
    second = open_dataset(folder(tmp_path / "b", [*others, own[4], own[1]]))
    rows = np.arange(6)
    names = [first.name(row) for row in rows]
    expected = ["004" in name or "001" in name for name in names]
    assert contained(first, rows, second, np.arange(7)).tolist() == expected
    files = [next((tmp_path / "a").rglob(f"{i:03}.png")).read_bytes() for i in (4, 1)]
    pq.write_table(pa.table({"image": files, "label": [0, 1]}), tmp_path / "c.parquet")
    table = open_dataset(f"parquet:{tmp_path / 'c.parquet'}")
    assert contained(first, rows, table, np.arange(2)).tolist() == expected
    assert not contained(first, rows[:0], table, np.arange(2)).any()


def test_only_the_rows_that_are_meant_count(tmp_path: Path) -> None:
    data = open_dataset(folder(tmp_path / "a", [*images(4, seed=1), *images(4, seed=1)]))
    every = np.arange(8)
    assert contained(data, every, data, every).all()
    pixels = [data.read([row])[0][0].tobytes() for row in every]
    some, rest = every[:3], every[3:]
    expected = [pixels[row] in [pixels[other] for other in rest] for row in some]
    assert contained(data, some, data, rest).tolist() == expected


@pytest.mark.parametrize("rows", [[0, 1, 2], [5]])
def test_images_that_are_no_files_are_compared_by_their_pixels(rows: list[int]) -> None:
    digits = open_dataset("digits")
    assert contained(digits, np.array(rows), digits, np.arange(1, 4)).tolist() == [1 <= row <= 3 for row in rows]
