"""Further files of an export, for programs that run no code of it: torch.export, ONNX, ONNX in 8 bits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from torch import nn

from raynas.exporting.config import ExportConfig
from raynas.exporting.int8 import quantised
from raynas.exporting.onnx_file import INPUT, OPSET, OUTPUT, onnx_of
from raynas.exporting.program import programs

TORCH_EXPORT, ONNX, INT8, INT8_REPORT = "model.pt2", "model.onnx", "model_int8.onnx", "int8.json"


class Formats(NamedTuple):
    """Contents of files by their names, and what config.json says of them by its keys."""

    files: dict[str, bytes]
    facts: dict[str, Any]


def formats_of(
    network: nn.Module,
    code: ModuleType,
    folder: Path,
    img_size: int,
    asked: ExportConfig,
    about: Mapping[str, Any],
    accuracy: Callable[[bytes, bytes], dict[str, Any]] | None,
) -> Formats:
    """The files that were asked for, each compared with the network.

    Args:
        network: The network, in eval mode.
        code: The module of the exported model.py.
        folder: The folder of the export, into which ONNX Runtime's quantizer writes by itself.
        img_size: Side of its images in pixels.
        asked: What was asked for.
        about: What files of ONNX say of themselves.
        accuracy: Gives the accuracy of a file of ONNX before and after it was quantised; None: it is not measured.

    Raises:
        RaynasError: A file does not give the network's outputs.
        ConfigError: There is nothing to quantise.
    """
    files: dict[str, bytes] = {}
    facts: dict[str, Any] = {"onnx": None, "torch_export": None, "int8": None}
    if not (asked.torch_export or asked.onnx or asked.int8):
        return Formats(files, facts)
    found = programs(network, code, img_size)
    first = next(found)
    if asked.torch_export:
        files[TORCH_EXPORT] = first.content()
        facts["torch_export"] = {"file": TORCH_EXPORT, **first.facts()}
    if asked.onnx or asked.int8:
        files[ONNX], taken = onnx_of(chain([first], found), {"opset": OPSET, **about})
        facts["onnx"] = {"file": ONNX, "opset": OPSET, "input": INPUT, "output": OUTPUT, **taken.facts()}
    if asked.int8:
        small = quantised(files[ONNX], folder / INT8)
        files[INT8] = small.content
        facts["int8"] = {
            "file": INT8,
            "weights": "unsigned 8 bits, one scale for each output channel",
            "linear_layers": small.linear,
            "left_in_float32": small.left,
            "size_bytes": {"before": len(files[ONNX]), "after": len(small.content)},
            "accuracy": None if accuracy is None else accuracy(files[ONNX], small.content),
        }
        files[INT8_REPORT] = (json.dumps(facts["int8"], indent=2) + "\n").encode()
    return Formats(files, facts)
