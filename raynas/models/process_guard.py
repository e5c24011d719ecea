"""What code of the user's own leaves changed in its process is put back: settings, and functions of libraries."""

from __future__ import annotations

import builtins
import gc
import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, ValuesView
from contextlib import contextmanager
from functools import partial
from itertools import chain
from types import ModuleType
from typing import Any

import numpy as np
import torch

from raynas.errors import error_line
from raynas.models.process_state import ORDINARY, Setting


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


_KEPT: tuple[Setting, ...] = (
    *(setting for setting, _ in ORDINARY),
    Setting("number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("hooks of all modules", lambda: [dict(hooks) for _, hooks in _HOOKS], _put_hooks),
    Setting("working directory", os.getcwd, os.chdir),
    Setting("environment variables", _environment, _put_environment),
    Setting("filters of warnings", lambda: list(warnings.filters), _put_filters),
    Setting("NumPy's handling of errors", np.geterr, lambda value: np.seterr(**value)),
    Setting("sys.path", lambda: list(sys.path), _put_path),
    Setting("sys.stdout", lambda: sys.stdout, lambda value: setattr(sys, "stdout", value)),
    Setting("sys.stderr", lambda: sys.stderr, lambda value: setattr(sys, "stderr", value)),
    Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("garbage collection", gc.isenabled, _put_collection),
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


class ProcessChangedError(RuntimeError):
    """Code has changed what other code in its process computes with; the message names what."""


_MISSING = object()


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
        # The same once more, what is and what was: values that are compared without a step of Python's for each name.
        self._now: list[ValuesView[Any]] = []
        self._before: list[Any] = []
        self._num_modules = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A context for code of the user's own.

        Raises:
            ProcessChangedError: The code has replaced functions, classes or constants of libraries, which are put back;
                raised on leaving the context, unless the code has raised something itself.
        """
        self._watch_new_modules()
        before = [setting.read() for setting in _KEPT]
        try:
            with torch.inference_mode(False):
                yield
        finally:
            changed = self._restored()  # first, since what follows is computed with it
            problems = [setting.restore(value) for setting, value in zip(_KEPT, before, strict=True)]
            changed += [problem for problem in problems if problem is not None]
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
        self._now.append(vars(namespace).values())
        self._before += vars(namespace).values()

    def _restored(self) -> list[str]:
        """Put back what was replaced; returns its names."""
        _, of_python = self._namespaces["builtins"]
        now = builtins.__dict__
        replaced = [name for name in of_python if now.get(name) is not of_python[name] and name not in _UNIMPORTANT]
        now.update({name: of_python[name] for name in replaced})  # up to here without calling any of them
        changed = [f"builtins.{name}" for name in replaced]
        if _is_equal(list(chain.from_iterable(self._now)), self._before):
            return changed
        for path, (namespace, before) in self._namespaces.items():
            now = vars(namespace)
            if _is_equal(now, before):
                continue
            is_class = isinstance(namespace, type)
            for name in [name for name, value in before.items() if now.get(name, _MISSING) is not value]:
                old, new = before[name], now.get(name, _MISSING)
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
        self._before = list(chain.from_iterable(self._now))
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
