"""Copies of what is in a store: of one content, fetched once for all processes of a machine, read to the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_stores import Proxy
from toy_images import png

from raynas.data.opening import absolute, open_dataset
from raynas.errors import DataError
from raynas.storage import fetched
from raynas.storage.fetched import cache_folder, on_this_machine, told_to
from raynas.storage.files import write_atomically
from raynas.storage.paths import ObjectPath, as_path

pytest_plugins = ["object_store_fixtures"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "raynas"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    said: list[str] = []
    with told_to(said.append):
        yield said


def put(path: Path, content: bytes) -> None:
    with write_atomically(path) as file:
        file.write(content)


def gets(proxy: Proxy, key: str) -> int:
    """How often the content of objects was asked for."""
    return sum(request.method == "GET" and key in request.key and "list-type" not in request.key
               for request in proxy.requests)  # fmt: skip


def test_a_file_is_fetched_once_and_again_when_it_has_another_content(
    bucket: ObjectPath, proxy: Proxy, own_cache: Path, lines: list[str]
) -> None:
    path = bucket / "data" / "some weights.bin"
    put(path, b"first")
    here = on_this_machine(path)
    assert (here.read_bytes(), here.name) == (b"first", "some weights.bin")
    assert own_cache in here.parents
    assert lines[0] == f"fetching {path} (1 file, 0.0 MB) to {own_cache}"
    assert lines[1].startswith(f"fetched {path} in ")
    assert on_this_machine(path) == here
    assert gets(proxy, "weights") == 1
    put(path, b"second")
    assert on_this_machine(path).read_bytes() == b"second"
    assert here.read_bytes() == b"first"  # who reads it reads on
    assert gets(proxy, "weights") == 2
    assert on_this_machine(own_cache) == own_cache  # of this machine already
    assert len(lines) == 4


def test_folders_and_patterns_are_fetched_with_the_names_of_their_files(bucket: ObjectPath, lines: list[str]) -> None:
    for name in (
        "train/a/1.png",
        "train/b/2.png",
        "train/b/deep/3.png",
        "training/4.png",
        "train-0.tar",
        "train-1.tar",
    ):
        put(bucket / name, name.encode())
    put(bucket / "train/b", b"")  # as some programs mark a folder

    def found(folder: Path) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert found(on_this_machine(bucket / "train")) == {"a/1.png", "b/2.png", "b/deep/3.png"}
    for pattern, expected in {
        "train-*.tar": {"train-0.tar", "train-1.tar"},
        "train-[1-9].tar": {"train-1.tar"},
        "*/*/*.png": {"train/a/1.png", "train/b/2.png"},
        "train/**/*.png": {"train/a/1.png", "train/b/2.png", "train/b/deep/3.png"},
    }.items():
        here = on_this_machine(bucket / pattern)
        folder = Path(str(here).removesuffix(pattern if not pattern.startswith("train/") else "**/*.png"))
        top = "train/" if pattern.startswith("train/") else ""
        assert {f"{top}{name}" for name in found(folder)} == expected
        assert str(here) != str(folder)
    with pytest.raises(FileNotFoundError):
        on_this_machine(bucket / "not-there")
    with pytest.raises(FileNotFoundError):
        on_this_machine(bucket / "not-*.tar")


def test_several_processes_of_a_machine_fetch_once(bucket: ObjectPath, proxy: Proxy, own_cache: Path) -> None:
    put(bucket / "large.bin", os.urandom(100_000))
    code = (
        "from raynas.storage.fetched import *\nfrom raynas.storage.paths import as_path\n"
        f"print(on_this_machine(as_path('{bucket}/large.bin')))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=60) for process in processes]
    assert {process.returncode for process in processes} == {0}, told
    assert len({out for out, _ in told}) == 1
    assert gets(proxy, "large") == 1
    assert sum("fetching" in err for _, err in told) == 1  # on standard error, where nobody else takes it


def test_what_was_fetched_before_a_failure_is_not_fetched_again(bucket: ObjectPath, proxy: Proxy) -> None:
    for number in range(3):
        put(bucket / "set" / f"{number}.bin", bytes(number + 1))
    proxy.harms("403", method="GET", key="set/1")
    with pytest.raises(PermissionError):
        on_this_machine(bucket / "set")
    folder = on_this_machine(bucket / "set")
    assert sorted(path.name for path in folder.iterdir()) == ["0.bin", "1.bin", "2.bin"]
    assert gets(proxy, "set/0") == 1


def test_a_full_disk_is_told_before_anything_is_fetched(
    bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    put(bucket / "x.bin", bytes(2_000_000))
    monkeypatch.setattr(fetched.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(OSError, match=r"it takes 2\.0 MB, and 1\.0 MB are free in .*RAYNAS_CACHE"):
        on_this_machine(bucket / "x.bin")
    assert lines == []


def test_the_folder_of_the_copies_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYNAS_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("RAYNAS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "raynas"


def test_data_sets_are_read_from_a_store(bucket: ObjectPath, tmp_path: Path, lines: list[str]) -> None:
    table = pa.table({"image": [png(seed) for seed in range(4)], "label": [0, 1, 0, 1]})
    pq.write_table(table, tmp_path / "t.parquet")
    put(bucket / "sets" / "t.parquet", (tmp_path / "t.parquet").read_bytes())
    for seed in range(4):
        put(bucket / "sets" / "images" / "ab"[seed % 2] / f"{seed}.png", png(seed))
    here = open_dataset(f"parquet:{tmp_path / 't.parquet'}")
    for spec in (f"parquet:{bucket}/sets/t.parquet", f"parquet:{bucket}/sets/t*", f"parquet:{bucket}/sets"):
        there = open_dataset(spec)
        assert there.source == spec
        assert there.labels(range(4)).tolist() == [0, 1, 0, 1]
        assert [image.tobytes() for image in there.read(range(4))[0]] == [
            image.tobytes() for image in here.read(range(4))[0]
        ]
    folder = open_dataset(f"folder:{bucket}/sets/images")
    assert folder.label_names == ("a", "b")
    assert [folder.name(row) for row in range(4)] == ["a/0.png", "a/2.png", "b/1.png", "b/3.png"]
    with pytest.raises(DataError, match=f"cannot read {bucket}/nothing.parquet: No such file") as error:
        open_dataset(f"parquet:{bucket}/nothing.parquet")
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=f"did you mean 'parquet:{bucket}/sets/t.parquet'"):
        open_dataset(f"{bucket}/sets/t.parquet")
    assert absolute(f"webdataset:{bucket}/a-*.tar") == f"webdataset:{bucket}/a-*.tar"
    assert absolute("torchvision:CIFAR10:s3://b/root") == "torchvision:CIFAR10:s3://b/root"
    assert absolute("folder:here") == f"folder:{Path.cwd() / 'here'}"
    assert as_path(str(bucket)) == bucket
