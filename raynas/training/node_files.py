"""The files that a training reads on each node, in words that are equal where the files are.

They are compared before the workers of a training meet. What is in an object store is fetched meanwhile, once for each
node, and the node says in the training's folder how far it is.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from raynas.data.dataset import ImageDataset
from raynas.data.encoded import EncodedImages
from raynas.data.opening import open_dataset, open_other
from raynas.errors import RaynasError, StoreError, error_words
from raynas.stats.thinning import spread
from raynas.storage.fetched import told_to
from raynas.storage.files import make_folder, names_in, write_text
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run
from raynas.storage.text_files import read_text
from raynas.training.folder import NODES
from raynas.training.image_choice import data_hash, files_hash
from raynas.training.starting_weights import weights_hash
from raynas.training.task import TrainingTask

_READ_BYTES = 256 << 20
"""Encoded images of which the content is compared: all, or evenly spread ones of this size together."""

_TO_EVALUATE_ON = " to evaluate on"
_MISSING = "missing or unreadable"


def files_here(task: TrainingTask, folder: Path) -> dict[str, str]:
    """What this machine has of the files that a training reads.

    Args:
        task: The training.
        folder: The folder of that training.

    Returns:
        By what it is about: the number of images, with a hash of their labels, of the names and sizes of their files,
        and of what those hold (all, or 256 MiB of them, evenly spread); a hash of the file of weights; and that the
        folder is there.

    Raises:
        RaynasError: Something is missing or cannot be read.
    """
    return {name: look() for name, look in _looks(task, folder).items()}


def files_there(packed: Sequence[Any], folder: str) -> dict[str, str]:
    """What a node has of the files that a training reads; what it lacks is said in place of its hash.

    Args:
        packed: A reference to the training, pickled, alone.
        folder: The folder of that training.
    """
    import ray
    from ray import cloudpickle

    place = as_path(folder)
    task: TrainingTask = cloudpickle.loads(ray.get(packed[0]))
    found = {}
    with told_to(partial(_say_in, place, ray.get_runtime_context().get_node_id())):
        for name, look in _looks(task, place).items():
            try:
                found[name] = look()
            except (RaynasError, OSError) as error:
                told = error_words(error)
                for known in (name.removesuffix(_TO_EVALUATE_ON), f"cannot read {name}"):
                    told = told.removeprefix(f"{known}: ")
                found[name] = f"{_MISSING} ({told})"
    return found


def _looks(task: TrainingTask, folder: Path) -> dict[str, Callable[[], str]]:
    """What finds out what this machine has, by what it is about."""

    @cache
    def data() -> ImageDataset:
        return open_dataset(task.data, task.data_options)

    def val_images(spec: str) -> str:
        return _images(open_other(spec, task.data_options, data(), left_out=task.skipped_val_images), task.val_rows)

    rows = task.rows if task.val_data else np.union1d(task.rows, task.val_rows)
    looks = {
        f"the folder {folder}": lambda: "there" if holds_run(folder) else "missing",
        f"data {task.data!r}": lambda: _images(data(), rows),
    }
    if task.val_data:
        looks[f"data {task.val_data!r}{_TO_EVALUATE_ON}"] = partial(val_images, task.val_data)
    if task.weights:
        looks[f"weights {task.weights}"] = lambda: f"content {weights_hash(task.weights or '')}"
    return looks


def _images(dataset: ImageDataset, rows: np.ndarray) -> str:
    digest, rows = blake2b(digest_size=4), np.sort(rows)
    digest.update(data_hash((dataset, rows, dataset.labels(rows))).encode())
    if isinstance(dataset, EncodedImages):
        digest.update(str(files_hash((dataset, rows))).encode())
        total = int(dataset.sizes(rows).sum())
        some = rows if total <= _READ_BYTES else spread(rows, max(2, len(rows) * _READ_BYTES // total))
        for _, reader in dataset.readers(some):
            digest.update(blake2b(reader(), digest_size=8).digest())
    return f"{len(dataset):,} images (content {digest.hexdigest()})"


# -- what nodes say meanwhile ------------------------------------------------------------------------------------------


def _say_in(folder: Path, node: str, line: str) -> None:
    """Leave a line where the driver finds it, in place of the last one of the node."""
    if not holds_run(folder):  # it is not seen here, which is told by then
        return
    with suppress(OSError, StoreError):
        make_folder(folder / NODES)
        write_text(folder / NODES / node, f"node {node[:8]} ({platform.node()}): {line}", is_durable=False)


class NodeLines:
    """What nodes have said in the folder of a training that was not read yet.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / NODES
        self._read: dict[str, str] = {}

    def new(self) -> list[str]:
        """The last line of each node that has another one by now."""
        lines = []
        with suppress(OSError):  # nobody has said anything
            for node in names_in(self._folder):
                if not node.startswith(".") and (line := read_text(self._folder / node)) != self._read.get(node):
                    self._read[node] = line
                    lines.append(line)
        return lines
