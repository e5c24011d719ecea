"""Code of the user's own on workers that do not have its files."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def own_code_by_value(*functions: Callable[..., Any]) -> Iterator[None]:
    """A context within which functions of modules that are not installed are pickled with their code."""
    from ray import cloudpickle

    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    installed |= {Path(__file__).resolve().parents[2] / name for name in ("raynas", "searchspaces")}
    modules = []
    for function in functions:
        module = sys.modules.get(getattr(function, "__module__", ""))
        file = getattr(module, "__file__", None)
        if module is None or file is None or module.__name__ == "__main__" or module in modules:
            continue
        if not installed.intersection(Path(file).resolve().parents):
            modules.append(module)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
