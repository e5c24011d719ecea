"""What computes a network: each takes it, and images, to a pass that can be timed.

Letters: B images of a pass.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raynas.errors import error_line
from raynas.exporting.onnx_file import PACKAGES
from raynas.installing import missing_packages_line
from raynas.latency.config import ENGINES

Pass = Callable[[], Any]
"""One pass over the images; on a GPU it may return before the result is there."""


class UnavailableError(Exception):
    """An engine cannot compute a network on this machine; the message says why."""


def prepared(engine: str, model: nn.Module, images: torch.Tensor, *, precision: str, threads: int) -> Pass:
    """A network made ready by an engine; its first pass has been taken.

    Args:
        engine: A name in `ENGINES`.
        model: The network in eval mode, on the device of the images.
        images: Images (B, 3, img_size, img_size) of float32.
        precision: "float32", or "bfloat16" or "float16" by autocast.
        threads: CPU threads; torch has been told them, other engines are told here.

    Raises:
        UnavailableError: It does not compute this here.
    """
    check_available(engine, precision, images.device.type)
    make = _MAKERS[engine]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of compilers and exporters, of which a user can mend none
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no CUDA
            run = make(model, images, precision, threads)
            run()
    except UnavailableError:
        raise
    except Exception as error:  # compilers and exporters raise whatever they like
        raise UnavailableError(f"{ENGINES[engine].partition(',')[0]} fails: {error_line(error)}") from error
    return run


def check_available(engine: str, precision: str, device_type: str) -> None:
    """Refuse an engine that this machine does not have, or not in a precision.

    Args:
        engine: A name in `ENGINES`.
        precision: Argument with the meaning that it has in `prepared`.
        device_type: The type of the device, such as "cpu".

    Raises:
        UnavailableError: It is not to be had here.
    """
    if engine == "compile":
        compiler = os.environ.get("CXX")
        known = [compiler] if compiler else ["g++", "c++", "clang++"]
        if not any(map(shutil.which, known)):
            raise UnavailableError(f"torch.compile needs a compiler of C++, and there is no {' or '.join(known)}")
    elif engine == "onnxruntime":
        if missing := missing_packages_line(PACKAGES, "onnx"):
            raise UnavailableError(missing)
        if precision != "float32":
            raise UnavailableError(f"an ONNX file of this network is of float32, and not of {precision}")
        import onnxruntime

        if (provider := _provider(device_type)) not in onnxruntime.get_available_providers():
            raise UnavailableError(f"this build of ONNX Runtime has no {provider}: pip install onnxruntime-gpu")


def _provider(device_type: str) -> str:
    return "CUDAExecutionProvider" if device_type == "cuda" else "CPUExecutionProvider"


def _torch(model: nn.Module, images: torch.Tensor, precision: str, threads: int) -> Pass:
    def run() -> Any:
        with torch.inference_mode(), _autocast(images.device.type, precision):
            return model(images)

    return run


def _compiled(model: nn.Module, images: torch.Tensor, precision: str, threads: int) -> Pass:
    torch.compiler.reset()  # else code of another number of threads or images is taken, or a general one made
    compiled: Any = torch.compile(model, dynamic=False)
    return _torch(compiled, images, precision, threads)


def _onnxruntime(model: nn.Module, images: torch.Tensor, precision: str, threads: int) -> Pass:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (images,),
            path,
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        session = onnxruntime.InferenceSession(path, options, providers=[_provider(images.device.type)])
    fed = {"images": images.cpu().numpy()}
    return lambda: session.run(["logits"], fed)


_MAKERS: Mapping[str, Callable[[nn.Module, torch.Tensor, str, int], Pass]] = {
    "torch": _torch,
    "compile": _compiled,
    "onnxruntime": _onnxruntime,
}


def _autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))
