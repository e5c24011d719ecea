"""ONNX files whose linear layers compute in 8 bits, and what that costs in accuracy, measured on images.

ONNX Runtime's dynamic quantization: weights are kept as 8-bit numbers, one scale for each output channel, and the
scale of what they are multiplied with is found for each input. It applies to products with weights, those of linear
layers; products of two activations, as in attention, and convolutions, as of the patches, stay in float32.

Weights are unsigned: products of signed ones with unsigned activations saturate on processors without VNNI
instructions, on which a file would have another accuracy than measured here.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from raynas.data.batch import check_memory
from raynas.data.dataset import ImageDataset
from raynas.errors import ConfigError
from raynas.exporting.hub import data_name
from raynas.exporting.onnx_file import INPUT, OUTPUT, session_of
from raynas.stats.proportion import paired_interval, wilson_interval
from raynas.training.images import eval_loader, eval_transform

QUANTISED = ("MatMul", "Gemm")
_BATCH_SIZE = 64

OnProgress = Callable[[int, int, float], None]
"""Receives how many images are done, how many there are, and how many are done in a second."""


class LabelledImages(Protocol):
    """Images and their classes as the network numbers them, such as `raynas.evaluation.images.EvaluatedImages`."""

    @property
    def data(self) -> ImageDataset:
        """The data set."""

    @property
    def spec(self) -> str:
        """How it is called."""

    @property
    def rows(self) -> np.ndarray:
        """(N,) indices of the images in it."""

    @property
    def labels(self) -> np.ndarray:
        """(N,) their classes."""


@dataclass(frozen=True)
class Quantised:
    """A file in 8 bits.

    Args:
        content: The file.
        linear: How many products with weights are in 8 bits.
        left: How many products of each kind stay in float32, by the name of the operation.
    """

    content: bytes
    linear: int
    left: dict[str, int]


def quantised(content: bytes, path: Path) -> Quantised:
    """Write the same network with its linear layers in 8 bits.

    Args:
        content: A file of ONNX in float32.
        path: The file to write.

    Raises:
        ConfigError: The network has no linear layer.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            onnx.load_from_string(content),
            path,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
    made = onnx.load(path)
    counts = Counter(node.op_type for node in made.graph.node)
    if not counts["MatMulInteger"]:
        raise ConfigError("int8 is of linear layers, and this network has none")
    return Quantised(
        made.SerializeToString(),
        counts["MatMulInteger"],
        {name: counts[name] for name in ("MatMul", "Gemm", "Conv") if counts[name]},
    )


def accuracy_of_both(
    before: bytes, after: bytes, images: LabelledImages, img_size: int, eval_crop: float, on_progress: OnProgress
) -> dict[str, Any]:
    """The accuracy of a network and of its form in 8 bits, on the same images, and how far they differ.

    Args:
        before, after: The files.
        images: The images.
        img_size, eval_crop: How images are prepared, as trainings evaluate.
        on_progress: Receives progress.

    Returns:
        `data`, `images`; `before` and `after`, each with `top1` and its 95 % interval (Wilson); and `difference`, after
        less before, with its 95 % interval, which is paired (Agresti and Min 2005), and `changed`, of how many images
        the most probable class is another one.

    Raises:
        DataError: An image cannot be read.
    """
    sessions, n = (session_of(before), session_of(after)), len(images.rows)
    found = np.empty((2, n), np.int64)
    done, started = 0, perf_counter()
    for batch, positions in _batches(images, img_size, eval_crop):
        for chosen, session in zip(found, sessions, strict=True):
            chosen[positions] = session.run([OUTPUT], {INPUT: batch})[0].argmax(1)
        done += len(positions)
        on_progress(done, n, done / (perf_counter() - started))
    right = found == images.labels
    low, high = paired_interval(int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), n)
    return {
        "data": data_name(images.spec),
        "images": n,
        "before": _share(right[0]),
        "after": _share(right[1]),
        "difference": {"top1": float(right[1].mean() - right[0].mean()), "low": low, "high": high},
        "changed": int((found[0] != found[1]).sum()),
    }


def _share(right: np.ndarray) -> dict[str, float]:
    top1 = float(right.mean())
    low, high = wilson_interval(top1, len(right))
    return {"top1": top1, "low": float(low), "high": float(high)}


def _batches(images: LabelledImages, img_size: int, eval_crop: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Prepared images (B, 3, S, S), and their positions among all."""
    size = min(_BATCH_SIZE, len(images.rows))
    check_memory(size, img_size, "img_size")
    images.data.hold()
    loader = eval_loader(
        images.data,
        images.rows,
        (eval_transform(img_size, eval_crop),),
        needs_labels=False,
        batch_size=size,
        worker=(0, 1),
        processes=int((os.cpu_count() or 1) > 1),
        pin_memory=False,
    )
    with closing(loader):
        for batch in loader:
            yield batch.images.numpy(), np.asarray(batch.positions)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice of ONNX Runtime's quantizer to prepare a file by another tool of its."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
