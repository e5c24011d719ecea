"""The mark by which trials know that they are wanted, on a disk and in a store, and what is asked of nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from object_stores import Proxy

from raynas.storage.files import exists
from raynas.storage.locks import held
from raynas.storage.paths import ObjectPath
from raynas.trials import mark as marks
from raynas.trials.mark import FILE, Mark, MarkWatch
from raynas.trials.reach import named_paths

pytest_plugins = ["object_store_fixtures"]


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place: Path = tmp_path if request.param == "disk" else request.getfixturevalue("bucket")
    return place / "run"


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_LOOK_S", 0.0)
    monkeypatch.setattr(marks, "_LOOK_FAR_S", 0.0)


def test_trials_end_once_their_mark_is_gone_or_anothers(folder: Path) -> None:
    with held(folder):
        first = Mark.put(folder)
        of_first, late = MarkWatch(first), MarkWatch(first)
        assert not of_first.is_gone()
        second = Mark.put(folder)
        of_second = MarkWatch(second)
        assert of_first.is_gone() and not of_second.is_gone()
        second.take_away()
        assert of_second.is_gone() and late.is_gone()
        Mark(folder, second.token).take_away()  # where there is none
    assert not exists(folder / FILE)
    assert not exists(folder)  # nothing has come into it


def test_a_mark_that_was_gone_stays_so(folder: Path) -> None:
    with held(folder):
        watch = MarkWatch(Mark(folder, "a"))
        assert watch.is_gone()
        (back := Mark.put(folder)).take_away()
        assert MarkWatch(back).is_gone() and watch.is_gone()


def test_what_cannot_be_read_for_now_ends_no_trial(tmp_path: Path) -> None:
    mark = Mark.put(tmp_path)
    watch = MarkWatch(mark)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert not watch.is_gone()
    (tmp_path / FILE).rmdir()
    assert watch.is_gone()


def test_a_trial_asks_a_store_for_one_object(bucket: ObjectPath, proxy: Proxy) -> None:
    mark = Mark.put(bucket / "run")
    proxy.requests.clear()
    assert not MarkWatch(mark).is_gone()
    assert [(one.method, one.key.partition("?")[0]) for one in proxy.requests] == [("GET", f"run/{FILE}")]


def test_settings_name_what_nodes_must_see(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "weights.pt"):
        (tmp_path / name).touch()
    assert named_paths("digits", None, "random", "s3://bucket/images", "parquet:/no/such/file") == []
    assert named_paths(f"parquet:{tmp_path}/a.parquet") == [tmp_path / "a.parquet"]
    assert named_paths(f"parquet:{tmp_path}/*.parquet", f"folder:{tmp_path}") == [tmp_path]
    assert named_paths(f"torchvision:CIFAR10:{tmp_path}", f"timm:deit:{tmp_path}/weights.pt", str(tmp_path)) == [
        tmp_path,
        tmp_path / "weights.pt",
    ]
