"""What is process-wide: settings of torch and Python, random generators, functions of libraries.

Scores must not depend on what was scored before in the same process. `ordinary_settings` gives a computation the
settings of a fresh process; `ProcessGuard` undoes what code of the user's own has left changed.
"""

from __future__ import annotations

import builtins
import gc
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import (
    _get_current_function_mode_stack,  # public in all but name, as the next ones: torch's own tools use them
    _pop_mode,
)
from torch.utils import _python_dispatch

from raynas.errors import error_line
from raynas.seeds import seed_from


def seed_generators(*parts: int | str) -> None:
    """Make the process-wide generators of torch, NumPy and Python, which timm draws from, follow from a seed.

    Args:
        parts: What the seed depends on, see `raynas.seeds.seed_from`.
    """
    seed = seed_from(*parts)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def kept_process_state() -> Iterator[None]:
    """A context after which the process has the number of threads and the random generators that it had before."""
    threads = torch.get_num_threads()
    of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


class ProcessChangedError(RuntimeError):
    """Code has changed what other code in its process computes with; the message names what."""


class _Setting(NamedTuple):
    """Something of the process that can be read and set."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]


_UNREADABLE = object()


def _read(setting: _Setting) -> Any:
    try:
        return setting.get()
    except Exception:  # such as a working directory that was removed, or precisions set in two ways
        return _UNREADABLE


def _put(setting: _Setting, value: Any) -> str | None:
    """Set it, unless it was unreadable; returns what went wrong."""
    try:
        if value is not _UNREADABLE:
            setting.put(value)
    except Exception as error:
        return f"{setting.name}, which cannot be put back: {error_line(error)}"
    return None


def _attribute(path: str) -> _Setting | None:
    """A setting that is an attribute of one of torch's modules; None where this version of torch lacks it."""
    *outer, name = path.split(".")
    owner: Any = torch
    for part in outer:
        owner = getattr(owner, part, None)
    if not hasattr(owner, name):
        return None
    return _Setting(f"torch.{path}", lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _put_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _autocast(device: str) -> _Setting:
    def put(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])

    def get() -> tuple[bool, torch.dtype]:
        return torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    return _Setting(f"autocast of {device}", get, put)


_TINY = [5e-324]


def _denormals_are_zero() -> bool:
    return _TINY[0] * 1.0 == 0.0  # in a list, so that the product is not computed when the file is read


def _put_anomaly(value: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*value)  # sets it at once, though it looks like a context alone


def _default_device() -> str:
    # A default device is a mode, and to ask torch for it without one takes a hundred times as long.
    return str(torch.get_default_device()) if _num_modes()[0] else "cpu"


def _num_modes() -> tuple[int, int]:
    """How many modes of functions and of dispatch are on."""
    functions: list[Any] = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return len(functions), len(_python_dispatch._get_current_dispatch_mode_stack())


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

_ORDINARY: tuple[tuple[_Setting, Any], ...] = (
    (_Setting("default dtype", torch.get_default_dtype, torch.set_default_dtype), torch.float32),
    (_Setting("default device", _default_device,
              lambda name: torch.set_default_device(None if name == "cpu" else name)), "cpu"),
    *((setting, value) for path, value in _BACKENDS if (setting := _attribute(path)) is not None),
    (_Setting("float32 matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
     "highest"),
    (_Setting("deterministic algorithms", _deterministic, _put_deterministic), (False, False)),
    (_autocast("cpu"), (False, torch.bfloat16)),
    (_autocast("cuda"), (False, torch.float16)),
    (_Setting("autocast's cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled), True),
    (_Setting("grad mode", torch.is_grad_enabled, torch._C._set_grad_enabled), True),
    (_Setting("anomaly mode", lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
              _put_anomaly), (False, True)),
    (_Setting("fast path of attention", torch.backends.mha.get_fastpath_enabled,
              torch.backends.mha.set_fastpath_enabled), True),
    (_Setting("flash attention", torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp), True),
    (_Setting("memory-efficient attention", torch.backends.cuda.mem_efficient_sdp_enabled,
              torch.backends.cuda.enable_mem_efficient_sdp), True),
    (_Setting("attention by arithmetic", torch.backends.cuda.math_sdp_enabled,
              torch.backends.cuda.enable_math_sdp), True),
    (_Setting("flushing of denormal numbers", _denormals_are_zero, torch.set_flush_denormal), False),
)  # fmt: skip
"""Settings that computations of torch depend on, with their values in a fresh process."""


@contextmanager
def ordinary_settings() -> Iterator[None]:
    """A context within which torch computes with the settings of a fresh process, and after it with those of before.

    Gradients are recorded, no mode of inference, autocast or anomaly detection is on, and default dtype, default device
    and precisions are those that torch starts with. The number of threads stays as it is.
    """
    before = [_read(setting) for setting, _ in _ORDINARY]
    with torch.inference_mode(False):
        for (setting, ordinary), value in zip(_ORDINARY, before, strict=True):
            if value != ordinary:
                _put(setting, ordinary)
        try:
            yield
        finally:
            for (setting, _), value in zip(_ORDINARY, before, strict=True):
                if value != _read(setting):
                    _put(setting, value)


def _environment() -> dict[bytes, bytes]:
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # decoded, it takes thirty times as long
    return dict(data)


def _put_environment(value: dict[bytes, bytes]) -> None:
    before = {os.fsdecode(name): os.fsdecode(text) for name, text in value.items()}
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _put_filters(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # has Python forget what it knows by the filters of before
    warnings.filters[:] = value  # type: ignore[index]


def _put_path(value: list[str]) -> None:
    sys.path[:] = value


def _put_collection(value: bool) -> None:
    (gc.enable if value else gc.disable)()


_HOOKS = [
    (name, hooks)
    for name, hooks in vars(torch.nn.modules.module).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
]


def _put_hooks(value: list[dict[int, Any]]) -> None:
    for (_, hooks), before in zip(_HOOKS, value, strict=True):
        hooks.clear()
        hooks.update(before)


_KEPT: tuple[_Setting, ...] = (
    *(setting for setting, _ in _ORDINARY),
    _Setting("number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting("hooks of all modules", lambda: [dict(hooks) for _, hooks in _HOOKS], _put_hooks),
    _Setting("working directory", os.getcwd, os.chdir),
    _Setting("environment variables", _environment, _put_environment),
    _Setting("filters of warnings", lambda: list(warnings.filters), _put_filters),
    _Setting("NumPy's handling of errors", np.geterr, lambda value: np.seterr(**value)),
    _Setting("sys.path", lambda: list(sys.path), _put_path),
    _Setting("sys.stdout", lambda: sys.stdout, lambda value: setattr(sys, "stdout", value)),
    _Setting("sys.stderr", lambda: sys.stderr, lambda value: setattr(sys, "stderr", value)),
    _Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Setting("garbage collection", gc.isenabled, _put_collection),
)
"""Settings that are put back after code of the user's own."""

_WATCHED = {
    "builtins": builtins, "math": math, "random": random, "numpy": np, "numpy.linalg": np.linalg,
    "numpy.random": np.random, "torch": torch, "torch.nn": torch.nn, "torch.functional": torch.functional,
    "torch.linalg": torch.linalg, "torch.autograd": torch.autograd, "torch.func": torch.func,
}  # fmt: skip
_WATCHED_PACKAGES = ("torch.nn.functional", "torch.nn.init", "torch.nn.modules.", "raynas.models.", "raynas.proxies.")
_MARKING_FILE = torch._disable_dynamo.__code__.co_filename  # type: ignore[attr-defined]
_UNIMPORTANT = {
    "__doc__",
    "__annotations__",
    "__annotate__",
    "__annotate_func__",
    "__annotations_cache__",
    "_",
    "Storage",
}
"""Names whose values are nobody's business, or follow from a setting: `torch.Storage` from the default dtype."""


class ProcessGuard:
    """Undoes what code of the user's own leaves changed in its process.

    Settings are put back without a word: those of torch, the number of threads, hooks of all modules, working
    directory, environment, filters of warnings, NumPy's handling of errors, sys.path, streams. Functions, classes and
    constants of Python's built-ins, `math`, `random`, NumPy, torch with its modules, and what raynas scores with are
    put back too, and the code that has replaced them is refused, since it computed with something else than others do.

    Not seen are code that is exchanged within a function, tables and attributes of objects, and what threads do later.
    """

    def __init__(self) -> None:
        self._namespaces: dict[str, tuple[Any, dict[str, Any]]] = {}
        # The same once more, what is and what was: lists that are compared without a step of Python's for each name.
        self._now: list[Mapping[str, Any]] = []
        self._before: list[list[Any]] = []
        self._num_modules = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A context for code of the user's own.

        Raises:
            ProcessChangedError: The code has replaced functions, classes or constants of libraries, which are put back;
                raised on leaving the context, unless the code has raised something itself.
        """
        self._watch_new_modules()
        before = [_read(setting) for setting in _KEPT]
        modes = _num_modes()
        try:
            with torch.inference_mode(False):
                yield
        finally:
            changed = self._restored()  # first, since what follows is computed with it
            while _num_modes()[0] > modes[0]:
                _pop_mode()  # type: ignore[no-untyped-call]
            while _num_modes()[1] > modes[1]:
                _python_dispatch._pop_mode()
            for setting, value in zip(_KEPT, before, strict=True):
                if value is not _UNREADABLE and _read(setting) != value and (problem := _put(setting, value)):
                    changed.append(problem)
        if changed:
            shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
            raise ProcessChangedError(f"it has changed {shown}, which other scores are computed with")

    def _watch_new_modules(self) -> None:
        if len(sys.modules) == self._num_modules:
            return
        self._num_modules = len(sys.modules)
        for name, module in list(sys.modules.items()):
            if name in self._namespaces or not isinstance(module, ModuleType):
                continue
            if _WATCHED.get(name) is module:
                self._watch(name, module)
            elif name.startswith(_WATCHED_PACKAGES) and name != __name__:
                self._watch(name, module)
                for own in list(vars(module).values()):
                    if isinstance(own, type) and own.__module__ == name:
                        self._watch(f"{name}.{own.__qualname__}", own)
        if "torch.Tensor" not in self._namespaces:
            self._watch("torch.Tensor", torch.Tensor)

    def _watch(self, name: str, namespace: Any) -> None:
        self._namespaces[name] = namespace, dict(vars(namespace))
        self._now.append(vars(namespace))
        self._before.append(list(vars(namespace).values()))

    def _restored(self) -> list[str]:
        """Put back what was replaced; returns its names."""
        _, of_python = self._namespaces["builtins"]
        now = builtins.__dict__
        replaced = [name for name in of_python if now.get(name) is not of_python[name] and name not in _UNIMPORTANT]
        now.update({name: of_python[name] for name in replaced})  # up to here without calling any of them
        changed = [f"builtins.{name}" for name in replaced]
        if _is_equal([list(names.values()) for names in self._now], self._before):
            return changed
        for path, (namespace, before) in self._namespaces.items():
            now = vars(namespace)
            if _is_equal(now, before):
                continue
            is_class = isinstance(namespace, type)
            for name in [name for name, value in before.items() if now.get(name, _UNREADABLE) is not value]:
                old, new = before[name], now.get(name, _UNREADABLE)
                if _is_marked_by_torch(new, old):
                    continue
                if name not in _UNIMPORTANT and (_is_code(old) or _is_code(new) or not name.startswith("_")):
                    changed.append(f"{path}.{name}")
                    _undo(changed, partial(setattr, namespace, name, old))
            # A method of a class may hide one that the class inherits; a function that a module gets hides nothing.
            for name in [name for name in now if is_class and name not in before and name not in _UNIMPORTANT]:
                if _is_code(now[name]):
                    changed.append(f"{path}.{name}")
                    _undo(changed, partial(delattr, namespace, name))
            self._namespaces[path] = namespace, dict(vars(namespace))
        self._before = [list(names.values()) for names in self._now]
        return changed


def _is_equal(now: Any, before: Any) -> bool:
    try:
        return bool(now == before)  # compares by identity first, as long as nothing is replaced
    except Exception:
        return False


def _is_marked_by_torch(new: Any, old: Any) -> bool:
    """Whether it is the old function behind a mark for torch's compiler, put there when the compiler is loaded."""
    code = getattr(new, "__code__", None)
    return code is not None and code.co_filename == _MARKING_FILE and getattr(new, "__wrapped__", None) is old


def _is_code(value: Any) -> bool:
    return callable(value) or hasattr(type(value), "__get__")


def _undo(changed: list[str], restore: Callable[[], None]) -> None:
    try:
        restore()
    except Exception as error:
        changed[-1] += f" (which cannot be put back: {error_line(error)})"
