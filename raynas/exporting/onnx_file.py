"""A network as a file for ONNX Runtime."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from raynas.errors import ConfigError, RaynasError, error_line
from raynas.exporting.program import Program, compared, noise
from raynas.installing import missing_packages_line

OPSET = 20
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "images", "logits"

_INPUT_DIMENSIONS = ("batch", "channels", "height", "width")


def check_packages() -> None:
    """Refuse to write ONNX where what that takes is not installed.

    Raises:
        ConfigError: Packages are missing.
    """
    if missing := missing_packages_line(PACKAGES, "onnx"):
        raise ConfigError(f"ONNX {missing}")


def onnx_of(programs: Iterable[Program], about: Mapping[str, Any]) -> tuple[bytes, Program]:
    """The file of the first of some programs that ONNX can hold, and which one that is.

    Args:
        programs: Programs of one network, the last of which takes images of one side alone.
        about: What the file says of itself, by name; each value is written as text.

    Raises:
        RaynasError: There is no program; or ONNX Runtime does not give the network's outputs with any of them.
    """
    wrong = ""
    for program in programs:
        try:
            content = _converted(program, about)
            wrong = _difference(content, program)
        except RaynasError:
            raise
        except Exception as error:  # torch's and ONNX Runtime's are of many kinds
            wrong = error_line(error)
        if not wrong:
            return content, program
    raise RaynasError(f"outputs of the exported model.onnx differ {wrong}")


def session_of(content: bytes) -> Any:
    """A session of ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _converted(program: Program, about: Mapping[str, Any]) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of which a user can mend none
        made = torch.onnx.export(
            program.exported,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert made is not None
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    made.model.metadata_props.update(texts)
    model = made.model_proto
    _tidy(model)
    return bytes(model.SerializeToString())


def _tidy(model: Any) -> None:
    """Give free dimensions names that say what they are, and leave out what only the exporter needs."""
    graph = model.graph
    (images,), (logits,) = graph.input, graph.output
    named = {}
    for dimension, name in zip(images.type.tensor_type.shape.dim, _INPUT_DIMENSIONS, strict=True):
        if dimension.dim_param:
            named[dimension.dim_param] = dimension.dim_param = name
    for dimension in logits.type.tensor_type.shape.dim:
        if dimension.dim_param:
            dimension.dim_param = named.get(dimension.dim_param, dimension.dim_param)
    graph.ClearField("value_info")  # shapes of inner values, by the names that the dimensions had
    for node in graph.node:
        node.ClearField("metadata_props")  # where in the code it came from


def _difference(content: bytes, program: Program) -> str:
    """How ONNX Runtime differs from the network; empty where it does not."""
    session = session_of(content)
    for shape in program.shapes:
        images = noise(shape)
        with torch.no_grad():
            expected = program.network(images)
        found = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        if (wrong := compared(found, expected)) is not None:
            return f"{wrong} (of images {shape})"
    return ""
