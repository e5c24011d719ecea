"""Scores on files: a run that is gone on with takes the images that it began with, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from toy_images import png
from toy_runs import content

import raynas
from raynas.data.batch import batch_rows
from raynas.data.opening import open_dataset
from raynas.errors import DataError, RaynasError
from raynas.searching.run import SearchListener
from raynas.seeds import input_seed
from raynas.sweeps.config import SweepConfig
from raynas.sweeps.plan import make_sweep_plan

NUMBER = 30


def images(where: Path) -> str:
    for one in range(NUMBER):
        path = where / "ab"[one % 2] / f"{one:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(one, (16, 16)))
    return f"folder:{where}"


def score(out: Path, number: int | None, **settings: Any) -> raynas.Run:
    shared: dict[str, Any] = {"workers": 0, "listener": SearchListener(), **settings}
    return raynas.score("as-vit", number, out=out, resume=True, **shared)


def began(out: Path, data: str, **settings: Any) -> list[str]:
    """A run of two architectures, and the names of the images that it scores on."""
    chosen: dict[str, Any] = {"batch_size": 4, "img_size": 32, **settings}
    score(out, 2, data=data, proxies=["snip"], **chosen)
    return names_in(out)


def names_in(out: Path) -> list[str]:
    """Of all batches of a run."""
    batches = yaml.safe_load((out / "run.yaml").read_text())["config"]["batch_images"]
    return [name for names in batches for name in names]


def test_the_images_are_those_that_the_seed_draws(tmp_path: Path) -> None:
    data = images(tmp_path / "images")
    rows = batch_rows(open_dataset(data), batch_size=4, seed=input_seed(0, 0))
    in_order = sorted(str(path.relative_to(tmp_path / "images")) for path in (tmp_path / "images").glob("*/*.png"))
    assert began(tmp_path / "run", data)[:4] == [in_order[row] for row in rows.tolist()]


def test_other_files_may_come_and_go(tmp_path: Path) -> None:
    data = images(tmp_path / "images")
    began(tmp_path / "whole", data)
    whole = score(tmp_path / "whole", 4)
    used = set(began(tmp_path / "run", data))
    unused = sorted(path for path in (tmp_path / "images").glob("*/*") if f"{path.parent.name}/{path.name}" not in used)
    assert len(unused) + len(used) == NUMBER
    for path in unused[::2]:
        path.unlink()
    (tmp_path / "images" / "a" / "000.png").write_bytes(png(99))
    unused[1].write_bytes(b"broken")
    assert content(score(tmp_path / "run", 4)) == content(whole)


@pytest.mark.parametrize("what", ["gone", "broken", "left out"])
def test_images_that_are_lost_are_named(tmp_path: Path, what: str) -> None:
    lost = began(tmp_path / "run", images(tmp_path / "images"))[1]
    before = (tmp_path / "run" / "run.yaml").read_bytes()
    settings: dict[str, Any] = {}
    if what == "left out":
        settings = {"skipped_images": [lost]}
    elif what == "gone":
        (tmp_path / "images" / lost).unlink()
    else:
        (tmp_path / "images" / lost).write_bytes(b"broken")
    reason = "cannot be read" if what == "broken" else r"not there, or left out, .* has scored: "
    with pytest.raises(DataError, match=f"{reason}.*{lost}"):
        score(tmp_path / "run", 4, **settings)
    assert (tmp_path / "run" / "run.yaml").read_bytes() == before


def test_other_pixels_are_refused(tmp_path: Path) -> None:
    lost = began(tmp_path / "run", images(tmp_path / "images"))[1]
    (tmp_path / "images" / lost).write_bytes(png(77))
    with pytest.raises(RaynasError, match="the images to score on are others"):
        score(tmp_path / "run", 4)


def test_the_same_images_under_other_names_are_known_by_their_pixels(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    began(tmp_path / "run", images(tmp_path / "images"))
    began(tmp_path / "whole", f"folder:{tmp_path / 'images'}")
    whole = score(tmp_path / "whole", 4)
    paths = sorted((tmp_path / "images").glob("*/*.png"))
    table = pa.table({"image": [path.read_bytes() for path in paths], "label": np.repeat([0, 1], NUMBER // 2)})
    pq.write_table(table, tmp_path / "t.parquet")
    moved = score(tmp_path / "run", 4, data=f"parquet:{tmp_path / 't.parquet'}")
    assert content(moved) == content(whole)


def test_sweeps_go_on_without_files_that_they_do_not_use(tmp_path: Path) -> None:
    settings = {"space": "as-vit", "searchers": ["random"], "repeat": 1, "budget": 2, "objectives": ["snip"]}
    settings |= {"data": images(tmp_path / "images"), "batch_size": 4, "img_size": 32, "workers": 0}
    begun = make_sweep_plan(SweepConfig.make(settings))
    stored = begun.config.model_dump()
    used = {name for names in stored["batch_images"] for name in names}
    unused = [path for path in (tmp_path / "images").glob("*/*") if f"{path.parent.name}/{path.name}" not in used]
    for path in unused[::2]:
        path.unlink()
    assert make_sweep_plan(SweepConfig.make(SweepConfig.of_stored(stored))).identity() == begun.identity()
    (tmp_path / "images" / min(used)).unlink()
    with pytest.raises(DataError, match=f"not there, or left out, .*{min(used)}"):
        make_sweep_plan(SweepConfig.make(SweepConfig.of_stored(stored)))
