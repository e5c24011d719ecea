"""Parts of networks on the meta device, as copies of ones made before: copying a block costs a third of making it.

Networks that are scored by the thousand are built of few kinds of blocks, and take their weights from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn

_P = ParamSpec("_P")
_M = TypeVar("_M", bound=nn.Module)

_REGISTRIES = tuple(name for name, value in nn.Module().__dict__.items() if isinstance(value, dict | set))


def copied_on_meta(make: Callable[_P, _M]) -> Callable[_P, _M]:
    """`make`, which on the meta device gives copies of what it has once made of the same arguments.

    Nothing that is done to a copy shows in another one; their parameters have no values that could be shared.

    Args:
        make: Makes a module of hashable arguments, the keyword `device` among them. The module has no buffers, no part
            of it is in two places, attributes other than parts and parameters never change in place, and parameters
            have no attributes of their own.
    """

    @lru_cache(maxsize=2048, typed=True)
    def first_made(default_dtype: torch.dtype, /, *args: Any, **kwargs: Any) -> _M:
        with torch.inference_mode(False):  # its parameters could not be trained, nor those of copies
            return make(*args, **kwargs)

    @wraps(make, updated=())
    def made(*args: _P.args, **kwargs: _P.kwargs) -> _M:
        if str(kwargs.get("device")) != "meta":
            return make(*args, **kwargs)
        return _copied(first_made(torch.get_default_dtype(), *args, **kwargs))  # type: ignore[arg-type]

    return made


def _copied(module: _M) -> _M:
    """A module of the same kind whose parts, parameters and registries, such as that of its hooks, are its own."""
    state = module.__dict__.copy()
    for name in _REGISTRIES:
        state[name] = state[name].copy() if state[name] else type(state[name])()  # most are empty
    parameters, modules = state["_parameters"], state["_modules"]
    for name, parameter in parameters.items():
        if parameter is not None:
            parameters[name] = nn.Parameter(parameter, parameter.requires_grad)
    for name, child in modules.items():
        if child is not None:
            modules[name] = _copied(child)
    copy = object.__new__(type(module))
    copy.__dict__.update(state)
    return copy
