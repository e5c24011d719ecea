"""What is process-wide: random generators, the number of threads, and settings of torch.

Scores must not depend on what was done before in the same process, nor change what is done after them there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import (
    _get_current_function_mode_stack,  # public in all but name, as the next ones: torch's own tools use them
    _pop_mode,
    _push_mode,
)
from torch.utils import _device, _python_dispatch

from raynas.cores import usable_cores
from raynas.errors import error_line
from raynas.seeds import seed_from


def seed_generators(*parts: int | str) -> None:
    """Make the process-wide generators of torch, NumPy and Python, which timm draws from, follow from a seed.

    Args:
        parts: What the seed depends on, see `raynas.seeds.seed_from`.
    """
    seed = seed_from(*parts)
    seed_torch(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def seed_torch(seed: int) -> None:
    """Seed torch's generators; that of a GPU only if one is in use, since the seed would else wait until one is."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)


def own_threads() -> int:
    """The threads that torch takes by itself, as OMP_NUM_THREADS says, but no more than there are cores to use."""
    return min(torch.get_num_threads(), usable_cores())


@contextmanager
def kept_process_state() -> Iterator[None]:
    """A context after which the process has the number of threads and the random generators that it had before."""
    threads = torch.get_num_threads()
    of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    of_gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(of_torch)
        if of_gpu is not None:
            torch.cuda.set_rng_state(of_gpu)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


_UNREADABLE = object()


class Setting(NamedTuple):
    """Something of the process that can be read and set."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]

    def read(self) -> Any:
        """What it is now, for `restore`; also where that cannot be told."""
        try:
            return self.get()
        except Exception:  # such as a working directory that was removed, or precisions set in two ways
            return _UNREADABLE

    def restore(self, value: Any) -> str | None:
        """Give it a value unless it has it; returns what went wrong. What could not be read stays as it is."""
        if value is _UNREADABLE or self._is(value):
            return None
        try:
            self.put(value)
        except Exception as error:
            return f"{self.name}, which cannot be put back: {error_line(error)}"
        return None

    def _is(self, value: Any) -> bool:
        try:
            return bool(self.get() == value)
        except Exception:  # it cannot be told, or compares as code of the user's own says
            return False


def _attribute(path: str) -> Setting | None:
    """A setting that is an attribute of one of torch's modules; None where this version of torch lacks it."""
    *outer, name = path.split(".")
    owner: Any = torch
    for part in outer:
        owner = getattr(owner, part, None)
    if not hasattr(owner, name):
        return None
    return Setting(f"torch.{path}", lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _put_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _autocast(device: str) -> Setting:
    def put(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])

    def get() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    return Setting(f"autocast of {device}", get, put)


_TINY = [5e-324]


def _denormals_are_zero() -> bool:
    return _TINY[0] * 1.0 == 0.0  # in a list, so that the product is not computed when the file is read


def _put_anomaly(value: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*value)  # sets it at once, though it looks like a context alone


def _function_modes() -> list[Any]:
    """The modes of functions that are on, and the default device, which is one of them and kept in two more places."""
    modes: list[Any] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return [*modes, _device.CURRENT_DEVICE, getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)]


def _put_function_modes(value: list[Any]) -> None:
    *modes, _device.CURRENT_DEVICE, torch._GLOBAL_DEVICE_CONTEXT.device_context = value
    while _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
        _pop_mode()  # type: ignore[no-untyped-call]
    for mode in modes:
        _push_mode(mode)  # type: ignore[no-untyped-call]


def _put_dispatch_modes(value: list[Any]) -> None:
    while _python_dispatch._get_current_dispatch_mode_stack():
        _python_dispatch._pop_mode()
    for mode in value:
        _python_dispatch._push_mode(mode)


_BACKENDS: tuple[tuple[str, Any], ...] = (
    ("backends.fp32_precision", "none"),
    ("backends.mkldnn.fp32_precision", "none"),
    ("backends.mkldnn.matmul.fp32_precision", "none"),
    ("backends.mkldnn.conv.fp32_precision", "none"),
    ("backends.mkldnn.rnn.fp32_precision", "none"),
    ("backends.mkldnn.enabled", True),
    ("backends.mkldnn.deterministic", False),
    ("backends.cudnn.enabled", True),
    ("backends.cudnn.benchmark", False),
    ("backends.cudnn.deterministic", False),
    ("backends.cudnn.allow_tf32", True),
    ("utils.deterministic.fill_uninitialized_memory", True),
)

ORDINARY: tuple[tuple[Setting, Any], ...] = (
    # First, since functions that read and put the others may go through them.
    (Setting("modes of functions and the default device", _function_modes, _put_function_modes), [None, None]),
    (Setting("modes of dispatch", _python_dispatch._get_current_dispatch_mode_stack, _put_dispatch_modes), []),
    (Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype), torch.float32),
    *((setting, value) for path, value in _BACKENDS if (setting := _attribute(path)) is not None),
    (Setting("float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
     "highest"),
    (Setting("deterministic algorithms", _deterministic, _put_deterministic), (False, False)),
    (_autocast("cpu"), (False, torch.bfloat16)),
    (_autocast("cuda"), (False, torch.float16)),
    (Setting("autocast's cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled), True),
    (Setting("grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled), True),
    (Setting("anomaly mode", lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
              _put_anomaly), (False, True)),
    (Setting("fast path of attention", torch.backends.mha.get_fastpath_enabled,
              torch.backends.mha.set_fastpath_enabled), True),
    (Setting("flash attention", torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp), True),
    (Setting("memory-efficient attention", torch.backends.cuda.mem_efficient_sdp_enabled,
              torch.backends.cuda.enable_mem_efficient_sdp), True),
    (Setting("attention by arithmetic", torch.backends.cuda.math_sdp_enabled,
              torch.backends.cuda.enable_math_sdp), True),
    (Setting("flushing of denormal numbers", _denormals_are_zero, torch.set_flush_denormal), False),
)  # fmt: skip
"""Settings that computations of torch depend on, with their values in a fresh process."""


@contextmanager
def ordinary_settings() -> Iterator[None]:
    """A context within which torch computes with the settings of a fresh process, and after it with those of before.

    Gradients are recorded, no mode of inference, autocast, anomaly detection, functions or dispatch is on, and default
    dtype, default device and precisions are those that torch starts with. The number of threads stays as it is.
    """
    before = [setting.read() for setting, _ in ORDINARY]
    with torch.inference_mode(False):
        for setting, ordinary in ORDINARY:
            setting.restore(ordinary)
        try:
            yield
        finally:
            for (setting, _), value in zip(ORDINARY, before, strict=True):
                setting.restore(value)
