"""A training folder, read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from raynas.errors import ConfigError, StoreError, error_words
from raynas.notebook import MOST_ROWS, html_table
from raynas.registry import named_code
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.space.tokens import Phase, phase_at, retokenizable
from raynas.storage.files import exists, is_folder, names_in, read_bytes
from raynas.storage.kinds import Bounds, Taken
from raynas.storage.parquet import read_parquet
from raynas.storage.paths import as_path
from raynas.storage.run_folder import read_description, read_summary, reading

if TYPE_CHECKING:
    from torch import nn

KIND = "training"

_PICTURE = re.compile(r"([a-z][a-z0-9_]{0,60})-(\d{1,9})\.png")

PROGRESS, STOP, OUTCOME = ".progress.json", ".stop", ".outcome.json"
ALIVE, FAILURES, TOKEN = ".alive", ".failures.json", ".token"
CONTROL_FILES = (PROGRESS, STOP, OUTCOME, ALIVE, FAILURES, TOKEN)
RAY_TRAIN, NODES = ".ray_train", ".nodes"
"""Files and folders by which a driver and its workers speak while they train."""

PICTURES = "pictures"
"""The folder of pictures of what was learned: NAME-EPOCH.png, with the number of the epoch from 1."""

METRICS = pa.schema(
    [
        ("epoch", pa.int32()),
        ("lr", pa.float64()),
        ("train_loss", pa.float64()),
        ("task_loss", pa.float64()),
        ("guidance_loss", pa.float64()),
        ("logit_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_top1", pa.float64()),
        ("ema_val_loss", pa.float64()),
        ("ema_val_top1", pa.float64()),
        ("stride", pa.int32()),
        ("dilation", pa.int32()),
        ("macs", pa.int64()),
        ("images_per_s", pa.float64()),
        ("train_s", pa.float64()),
        ("data_wait_s", pa.float64()),
        ("eval_s", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
"""Columns of metrics.parquet; top-1 are fractions, `macs` of a forward pass of one image, `seconds` since the start.
Terms of the loss stand between `train_loss` and `val_loss`, before they are weighted. An objective adds columns of its
own there (`metrics_schema`); columns that it has no values for are null."""


def metrics_schema(names: Iterable[str]) -> pa.Schema:
    """METRICS with further columns before `val_loss`, all of them numbers.

    Args:
        names: Names of all columns that there are; those of METRICS are left where they stand.
    """
    before = METRICS.names.index("val_loss")
    own = [(name, pa.float64()) for name in dict.fromkeys(names) if name not in METRICS.names]
    fields = list(METRICS)
    return pa.schema([*fields[:before], *own, *fields[before:]])


@dataclass(frozen=True, repr=False)
class Training:
    """A training folder, finished or not.

    Args:
        folder: The folder that was read.
        description: run.yaml: `config`, `identity`, `model`, `versions`, `machine`.
        summary: summary.json; empty if the training was killed before it wrote one.
        metrics: One row per finished epoch, with the columns of `METRICS` and those of its objective.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: pa.Table

    def __repr__(self) -> str:
        done, top1 = self.summary.get("epochs_done", 0), self.summary.get("top1")
        accuracy = "" if top1 is None else f", top-1 {top1:.4f}"
        return f"Training({str(self.folder)!r}, {self.summary.get('status', 'unknown')}, {done} epochs{accuracy})"

    def _repr_html_(self) -> str:
        last = self.metrics.slice(max(0, len(self.metrics) - MOST_ROWS)).to_pylist()[::-1]
        rows = [{name: value for name, value in row.items() if value is not None} for row in last]
        return html_table(f"{self!r}, last epoch first", rows, len(self.metrics))

    @property
    def architecture(self) -> Architecture:
        """What was trained."""
        return Architecture(self.description["model"]["architecture"])

    def model(self, checkpoint: str = "last", *, space: SearchSpace | None = None) -> nn.Module:
        """The network with its trained weights, the moving average where there is one, in eval mode.

        Args:
            checkpoint: "last", or "best" by the value that the objective chooses epochs by, such as the accuracy on the
                images to evaluate on.
            space: The space itself, where it is not a registered one.

        Raises:
            ConfigError: The checkpoint has another name; or the space is code in a file that the folder names, and
                nobody else has.
            SpaceError: The architecture is none of the space.
            StoreError: It is missing, damaged, or of another architecture.
        """
        return self.loaded(checkpoint, space=space).model

    def loaded(
        self, checkpoint: str = "last", *, space: SearchSpace | None = None, img_size: int | None = None
    ) -> Loaded:
        """The network as `model` gives it, with what else the checkpoint says.

        Its tokens have the size that they had in training last.

        Args:
            checkpoint, space: Arguments with the meaning that they have in `model`.
            img_size: Image side in pixels, to which position embeddings are resized; None: as it was trained.
        """
        from raynas.space.build import builder, built
        from raynas.training.checkpoints import (
            CHECKPOINTS,
            checkpoint_folder,
            read_checkpoint,
            read_last,
            trained_weights,
        )
        from raynas.training.starting_weights import fitted_weights

        if checkpoint not in CHECKPOINTS:
            raise ConfigError(f"checkpoint is {checkpoint!r}; it is one of {', '.join(CHECKPOINTS)}")
        path = checkpoint_folder(self.folder) / CHECKPOINTS[checkpoint]
        state = read_last(self.folder) if checkpoint == "last" else read_checkpoint(path)
        with named_code(), reading(self.folder):
            found = space or spaces.get(self.description["model"]["space"])  # the folder has named it
            found.validate(self.architecture)
            settings = dict(self.description["model"]["settings"])
            policy = "exact" if img_size in (None, settings["img_size"]) else "resized"
            settings["img_size"] = img_size or settings["img_size"]
            model = built(builder(found), self.architecture, **settings)
        model.load_state_dict(fitted_weights(model, trained_weights(state), policy, str(path)))
        with reading(self.folder):
            phases = [Phase(*phase) for phase in self.description["config"].get("retokenize") or ()]
            # Between epochs, the checkpoint names the next one.
            phase = phase_at(phases, max(0, state["epoch"] - (not state["step"]))) if phases else None
        if phase is not None:
            retokenizable(model, f"models of the space {found.name!r}").retokenize(phase.stride, phase.dilation)
        return Loaded(model.eval(), state, phase)


class Drawn(NamedTuple):
    """A picture in the folder of a training.

    Args:
        name: What it shows.
        epoch: After how many epochs.
        content: The PNG file.
    """

    name: str
    epoch: int
    content: bytes


class Loaded(NamedTuple):
    """A checkpoint with its network."""

    model: nn.Module
    state: dict[str, Any]
    phase: Phase | None


def taken_from_training(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Taken:
    """What was trained.

    Raises:
        ConfigError: There are bounds to pick by, and nothing to pick from.
    """
    if bounds:
        raise ConfigError(f"{folder} holds one trained model; there is nothing to pick from")
    settings = description.get("model") or {}
    return Taken(settings.get("architecture"), settings)


def load_training(folder: str | Path) -> Training:
    """Read a training folder.

    Raises:
        StoreError: It holds no training.
    """
    folder = as_path(folder)
    description = read_description(folder, kind=KIND)
    metrics = folder / "metrics.parquet"
    try:
        table = read_parquet(metrics, metrics_schema) if exists(metrics) else METRICS.empty_table()
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{metrics} is damaged: {error_words(error)}") from error
    return Training(folder, description, read_summary(folder), table)


def drawn_pictures(folder: Path) -> list[Drawn]:
    """The pictures in the folder of a training, by name and epoch; other files are passed over.

    Args:
        folder: The folder of the training.
    """
    there = folder / PICTURES
    matches = filter(None, map(_PICTURE.fullmatch, names_in(there) if is_folder(there) else []))
    return sorted(Drawn(match[1], int(match[2]), read_bytes(there / match[0])) for match in matches)
