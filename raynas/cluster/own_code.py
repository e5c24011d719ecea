"""Code of the user's own on workers: what does not lie there travels, what is installed must be the same there."""

from __future__ import annotations

import copyreg
import importlib
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from raynas.cluster.joining import imported_ray
from raynas.errors import ConfigError, error_line

OUR_FOLDERS = tuple(Path(__file__).resolve().parents[2] / name for name in ("raynas", "searchspaces"))
"""Where the Python files of raynas lie, its spaces among them."""


@contextmanager
def own_code_by_value(*functions: Callable[..., Any]) -> Iterator[None]:
    """A context within which functions of modules that are not installed are pickled with their code.

    Raises:
        ConfigError: One of them cannot be pickled, such as a function that holds an open file; the message names it.
    """
    imported_ray()
    from ray import cloudpickle

    modules = [module for module, file in _modules_of(functions) if not _is_installed(file)]
    _have_modules_travel_by_name()
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        for function in functions:
            _check_travels(function, cloudpickle.dumps)
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def installed_packages(*functions: Callable[..., Any]) -> list[str]:
    """Names of the packages, other than raynas, that functions come from and every machine has its own copy of."""
    return sorted(
        {
            module.__name__.partition(".")[0]
            for module, file in _modules_of(functions)
            if _is_installed(file) and not set(OUR_FOLDERS).intersection(file.parents)
        }
    )


def _modules_of(functions: tuple[Callable[..., Any], ...]) -> list[tuple[ModuleType, Path]]:
    """The modules that functions are defined in, each once, with their files."""
    found = {}
    for function in functions:
        module = sys.modules.get(getattr(function, "__module__", ""))
        file = getattr(module, "__file__", None)
        if module is not None and file is not None and module.__name__ != "__main__":
            found[module.__name__] = module, Path(file).resolve()
    return list(found.values())


def _is_installed(file: Path) -> bool:
    """Whether a file is of raynas, or of what every machine has its own copy of."""
    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()} | set(OUR_FOLDERS)
    return bool(installed.intersection(file.parents))


def _have_modules_travel_by_name() -> None:
    """Modules such as `torch.backends.mkldnn` are objects of classes of their own, which pickle does not know."""
    for kind in {type(module) for module in list(sys.modules.values()) if isinstance(module, ModuleType)}:
        if kind is not ModuleType and kind not in copyreg.dispatch_table:
            copyreg.pickle(kind, _by_name)


def _by_name(module: ModuleType) -> tuple[Callable[[str], ModuleType], tuple[str]]:
    return importlib.import_module, (module.__name__,)


def _check_travels(function: Callable[..., Any], dumps: Callable[[Any], bytes]) -> None:
    try:
        dumps(function)
    except Exception as error:  # of what it refers to, which may be anything
        name = getattr(function, "__qualname__", None) or type(function).__name__
        raise ConfigError(
            f"{name} cannot travel to workers: {error_line(error)}; with 0 workers it runs in this process"
        ) from None
