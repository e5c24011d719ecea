"""Methods that an object may have beside those it must have, declared as Protocols.

A searcher or a model of a user's own has to have little. What more it may offer is declared as a runtime_checkable
Protocol for each idea: `raynas.searchers.protocols` lists those of searchers, `raynas.models.protocols` those of
models. Who uses one asks for it here, so that a method of the right name that cannot be called as declared is an error
that says so, and not one from somewhere within.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from raynas.errors import ConfigError

_P = TypeVar("_P")


def offered(thing: Any, protocol: type[_P]) -> _P | None:
    """An object as one that keeps to a Protocol, if it does.

    Args:
        thing: Any object.
        protocol: A runtime_checkable Protocol.

    Returns:
        The object itself; None if it lacks what the Protocol declares.

    Raises:
        ConfigError: It has all that the Protocol declares, but something in place of a method cannot be called, or not
            with the arguments that are declared.
    """
    if not isinstance(thing, protocol):
        return None
    for name, declared in vars(protocol).items():
        if inspect.isfunction(declared) and not name.startswith("_"):
            _check_method(thing, name, inspect.signature(declared))
    return thing


def is_offered_by(kind: Any, protocol: type[Any]) -> bool:
    """Whether the objects that a class makes keep to a Protocol of methods alone.

    Args:
        kind: A class, or another callable that makes objects, of which nothing is known.
        protocol: A runtime_checkable Protocol that declares methods and no other attributes.
    """
    return isinstance(kind, protocol)  # a class has the methods of its objects as attributes


def _check_method(thing: Any, name: str, declared: inspect.Signature) -> None:
    method = getattr(thing, name)
    where = f"{type(thing).__name__}.{name}"
    if not callable(method):
        raise ConfigError(f"{where} is to be a method {name}{_without_self(declared)}, and is {method!r}")
    try:
        own = inspect.signature(method)
    except ValueError:  # written in C, without a text of its arguments
        return
    parameters = _without_self(declared).parameters.values()
    by_name = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
    try:
        own.bind(*(None for one in parameters if one.kind is not one.KEYWORD_ONLY), **by_name)
    except TypeError as error:
        raise ConfigError(
            f"{where} is to be callable as {name}{_without_self(declared)}, and is {name}{own}: {error}"
        ) from None


def _without_self(signature: inspect.Signature) -> inspect.Signature:
    return signature.replace(parameters=list(signature.parameters.values())[1:])
