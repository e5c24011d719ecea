"""Trainings whose files were damaged, left by killed processes, or did not fit on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_trainings import StepCounter, largest_difference, plan, weights

import raynas
from raynas.errors import StoreError
from raynas.training.checkpoints import (
    LAST,
    PREVIOUS,
    checkpoint_folder,
    reached_in,
    read_checkpoint,
    recover_last,
    write_checkpoint,
)
from raynas.training.run import execute_training

SMALL = {"max_images": 64, "batch_size": 16, "epochs": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    execute_training(plan(**SMALL), folder)
    return folder


def test_the_last_two_checkpoints_are_kept(whole: Path) -> None:
    last, previous = (read_checkpoint(checkpoint_folder(whole) / name) for name in (LAST, PREVIOUS))
    assert (previous["epoch"], last["epoch"]) == (2, 3)


@pytest.mark.parametrize("damage", ["cut off", "empty", "missing", "changed"])
def test_a_training_goes_on_from_the_last_sound_checkpoint_and_says_so(
    whole: Path, tmp_path: Path, damage: str
) -> None:
    folder, heard = tmp_path / "run", StepCounter()
    with pytest.raises(Killed):
        execute_training(plan(**SMALL), folder, listener=_Stops(after=2))
    last = checkpoint_folder(folder) / LAST
    content = last.read_bytes()
    if damage == "missing":
        last.unlink()
    else:
        half = len(content) // 2
        changed = content[:half] + bytes(255 - byte for byte in content[half:])
        last.write_bytes({"cut off": content[:half], "empty": b"", "changed": changed}[damage])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert raynas.load_training(folder).model() is not None  # of the checkpoint before
    execute_training(plan(**SMALL), folder, resume=True, listener=heard)
    assert [line for line in heard.lines if "goes on from the checkpoint before, in epoch 1" in line], heard.lines
    assert [row["epoch"] for row in heard.epochs] == [1, 2]
    assert largest_difference(weights(folder), weights(whole)) == 0
    assert (checkpoint_folder(folder) / "damaged.pt").exists() == (damage != "missing")


class Killed(Exception):
    """Ends a training as a killed process would."""


class _Stops(StepCounter):
    """Raises after some epochs, as a killed process would end."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def on_epoch(self, row: dict[str, object]) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_cut_off_anywhere_is_recovered_from(tmp_path: Path, share: float) -> None:
    last = checkpoint_folder(tmp_path) / LAST
    for epoch in (1, 2):
        write_checkpoint(
            last, {"model": {"w": torch.full((50,), float(epoch))}, "epoch": epoch, "history": [], "step": 0}
        )
    content = last.read_bytes()
    last.write_bytes(content[: int(share * len(content))])
    assert "in epoch 1" in (recover_last(tmp_path) or "")
    assert read_checkpoint(last)["epoch"] == 1
    assert recover_last(tmp_path) is None


def test_the_last_checkpoint_is_there_at_every_moment_for_workers_that_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = checkpoint_folder(tmp_path) / LAST
    seen: list[int] = []

    def observed(call: Callable[..., object]) -> Callable[..., object]:
        def observing(*args: object, **settings: object) -> object:
            reached = reached_in(tmp_path)[1]
            result = call(*args, **settings)
            seen.extend((reached, reached_in(tmp_path)[1]))
            return result

        return observing

    def written(step: int) -> None:
        write_checkpoint(
            last, {"model": {"w": torch.full((50,), float(step))}, "epoch": 0, "history": [], "step": step}
        )

    written(1)
    for name in ("fsync", "link", "rename", "replace", "unlink"):
        monkeypatch.setattr(os, name, observed(getattr(os, name)))
    for step in (2, 3):
        written(step)
    assert sorted(seen) == seen
    assert set(seen) == {1, 2, 3}
    assert read_checkpoint(last.with_name(PREVIOUS))["step"] == 2


@pytest.mark.parametrize("name", ["model", "ema", "parts", "optimizer", "scaler", "epoch", "step", "history", "sums"])
@pytest.mark.parametrize("odd", ["text", [1]])
def test_what_no_training_writes_is_no_checkpoint(whole: Path, tmp_path: Path, name: str, odd: object) -> None:
    shutil.copytree(whole, tmp_path / "run")
    last = checkpoint_folder(tmp_path / "run") / LAST
    state = read_checkpoint(last)
    for path in (last, last.with_name(PREVIOUS)):
        torch.save({**state, name: odd}, path)
    for read in (
        raynas.load_training(tmp_path / "run").model,
        lambda: execute_training(plan(**SMALL), tmp_path / "run", resume=True),
    ):
        with pytest.raises(StoreError, match="no checkpoint of a training") as error:
            read()
        assert "\n" not in str(error.value)
    del state[name]
    torch.save(state, last)
    if name in ("model", "epoch", "step", "history"):
        with pytest.raises(StoreError, match=f"it has no '{name}'"):
            read_checkpoint(last)


def test_what_killed_sessions_left_goes_with_the_next_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        execute_training(plan(**SMALL), folder, listener=_Stops(after=1))
    left = [".progress.json", ".stop", ".outcome.json", ".alive", ".failures.json", ".token", ".summary.json.tmp",
            ".run.yaml.tmp", "checkpoints/.last.pt.tmp", ".ray_train/session-1/.validate_storage_marker"]  # fmt: skip
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left")
    execute_training(plan(**SMALL), folder, resume=True)
    assert not [name for name in left if (folder / name).exists()]
    assert not (folder / ".ray_train").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True)
    if os.geteuid() or made.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_called_so_wherever_it_is_met(small_disk: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*\.pt: the disk is full") as caught:
        execute_training(plan(**SMALL), small_disk / "run")
    assert "\n" not in str(caught.value)
    state = {"model": {"w": torch.zeros(1 << 18)}, "epoch": 1, "history": [], "step": 0}
    with pytest.raises(StoreError, match="the disk is full"):
        write_checkpoint(small_disk / "last.pt", state)
    assert not list(small_disk.rglob("*.tmp"))
