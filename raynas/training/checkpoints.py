"""Checkpoints of a training: written whole or not at all, read without running code that is in them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raynas.errors import RaynasWarning, StoreError, error_words, on_one_line
from raynas.storage.files import copy, exists, make_folder, move, opened, remove, write_atomically
from raynas.storage.paths import ObjectPath

LAST, BEST = "last.pt", "best.pt"
PREVIOUS, DAMAGED = "previous.pt", "damaged.pt"
"""The checkpoint before the last one; and a last one that could not be read, and was put aside for it."""
CHECKPOINTS = {"last": LAST, "best": BEST}

_KINDS = {
    "model": dict, "ema": dict | None, "parts": dict, "optimizer": dict, "scaler": dict | None,
    "epoch": int, "step": int, "history": list, "sums": dict,
}  # fmt: skip

CheckpointState = dict[str, Any]
"""What a checkpoint holds: model, ema, optimizer, scaler (state dicts or None), parts (state dicts by name, of what the
objective stores beside the model), epoch and step to go on with, history, identity, sums."""


def checkpoint_folder(folder: Path) -> Path:
    """Where a training folder keeps its checkpoints."""
    return folder / "checkpoints"


def write_checkpoint(path: Path, state: CheckpointState) -> None:
    """Replace a checkpoint as a whole; the last one before is kept, in case this one is damaged.

    Raises:
        StoreError: The disk is full or read-only.
    """
    try:
        make_folder(path.parent)
        with write_atomically(path) as file:
            torch.save(state, file)
            file.flush()
            if path.name == LAST and exists(path):
                copy(path, path.with_name(PREVIOUS))  # a worker that starts again meanwhile must find the last one
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error_words(error)}") from error
    except RuntimeError as error:  # torch's own
        raise StoreError(f"cannot write {path}: {error_words(error)}") from error


def recover_last(folder: Path) -> str | None:
    """Put the checkpoint before the last one in its place, where that is damaged or missing.

    Args:
        folder: The folder of a training, which this process holds.

    Returns:
        What was done, in a line for people; None if the last one is sound, or there is no other.
    """
    last, previous = (checkpoint_folder(folder) / name for name in (LAST, PREVIOUS))
    if not exists(previous):
        return None
    try:
        read_checkpoint(last)
        return None
    except StoreError as error:
        reason = str(error)
    try:
        state = read_checkpoint(previous)
    except StoreError:
        return None  # the training says what is wrong with the last one
    if exists(last):
        _moved(last, last.with_name(DAMAGED))
    _moved(previous, last)
    return f"{reason}; the training goes on from the checkpoint before, in epoch {state['epoch']}"


def _moved(path: Path, to: Path) -> None:
    remove(to)
    move(path, to)


def read_last(folder: Path) -> CheckpointState:
    """The last checkpoint of a training folder; the one before, with a warning, where that is damaged.

    Raises:
        StoreError: There is none that can be read.
    """
    last, previous = (checkpoint_folder(folder) / name for name in (LAST, PREVIOUS))
    try:
        return read_checkpoint(last)
    except StoreError as error:
        if not exists(previous):
            raise
        state = read_checkpoint(previous)
        warnings.warn(f"{error}; the checkpoint before is taken", RaynasWarning, stacklevel=2)
        return state


def read_checkpoint(path: Path) -> CheckpointState:
    """A state with its tensors on the CPU.

    Raises:
        StoreError: The file is missing, damaged, or no checkpoint of a training.
    """
    try:
        with opened(path) as file:
            state: CheckpointState = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise StoreError(f"there is no checkpoint {path}") from None
    except Exception as error:  # zip, pickle and torch have their own for damaged files
        raise StoreError(f"{path} is damaged or no checkpoint: {error_words(error)}") from error
    if odd := _odd_part(state):
        raise StoreError(f"{path} is no checkpoint of a training: {odd}")
    return state


def _odd_part(state: Any) -> str | None:
    """What of a file's content is not as a training writes it, in words; None if all is."""
    if not isinstance(state, dict):
        return "it has no parts by name"
    for name in ("model", "epoch", "step", "history"):
        if name not in state:
            return f"it has no {name!r}"
    for name, value in state.items():
        if not isinstance(value, _KINDS.get(name, object)):  # type: ignore[arg-type]  # a union is a kind, too
            return f"its {name!r} is {on_one_line(repr(value), 40)}"
    weights = [*state["model"].values(), *(state.get("ema") or {}).values()]
    if not all(isinstance(weight, torch.Tensor) for weight in weights):
        return "not all of its weights are tensors"
    if not all(isinstance(row, dict) for row in state["history"]):
        return "not all of its epochs have columns"
    return None


def reached_in(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """How far the last checkpoint of a training folder is: the finished epochs, and steps of the one under way."""
    path = checkpoint_folder(folder) / LAST
    if not exists(path):
        return [], 0
    state = read_checkpoint(path)
    return state["history"], state["step"]


def trained_weights(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that count: the moving average where there is one."""
    weights: dict[str, torch.Tensor] = state["ema"] if state.get("ema") is not None else state["model"]
    return weights


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name from a checkpoint, a state dict, plain or under that name, or a safetensors file.

    Raises:
        StoreError: The file cannot be read as one of them.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load, load_file

        try:
            with opened(path) as file:  # which refuses what is no regular file
                loaded: dict[str, torch.Tensor] = load(file.read()) if isinstance(path, ObjectPath) else load_file(path)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot read weights {path}: {error_words(error)}") from error
        return loaded
    try:
        with opened(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # as in read_checkpoint
        raise StoreError(f"cannot read weights {path}: {error_words(error)}") from error
    if isinstance(content, dict) and "model" in content:
        content = trained_weights(content)
    elif isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise StoreError(f"{path} holds no weights by name")
    return content


def check_weights(
    model: nn.Module | Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], where: str
) -> None:
    """Refuse weights that are not those of the model's architecture.

    Args:
        model: The model, which may be on the meta device; or those of its weights that are expected, by name.
        weights: The weights that were found, by name.
        where: The file, for the message.

    Raises:
        StoreError: Names or shapes differ; the first of them are told.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    expected = {name: tuple(value.shape) for name, value in state.items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    odd = [
        f"{name} is {_shape(found.get(name))} in the file and {_shape(expected.get(name))} in the model"
        for name in [*expected, *(name for name in found if name not in expected)]
        if expected.get(name) != found.get(name)
    ]
    if odd:
        more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise StoreError(f"{where} holds the weights of another architecture: {'; '.join(odd[:3])}{more}")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape)) or "a number"
