"""Pooled features of any model whose head is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from raynas.errors import NotApplicableError
from raynas.hooks import offered
from raynas.models.protocols import HasPooledFeatures
from raynas.models.roles import roles_of


def features_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The map from images (B, 3, img_size, img_size) to pooled features before the final norm, (B, C).

    The model's own method `pooled_features`; else what its head is given, with the norms between the last block and the
    head left out.

    Raises:
        NotApplicableError: The model has no such method, and its head is not known.
    """
    own = offered(model, HasPooledFeatures)
    if own is not None:
        return own.pooled_features
    known = roles_of(model)
    if not known.head:
        raise NotApplicableError(
            f"needs a method pooled_features or a head that is known, and {type(model).__name__} has neither"
        )

    def pooled(images: Tensor) -> Tensor:
        with left_out(known.final_norms):
            return head_inputs(model, known.head[0], images)

    return pooled


def head_inputs(model: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
    """What a network's head takes in, (B, C).

    Args:
        model: The network that images pass through.
        head: The network's layer that gives out logits.
        images: (B, 3, S, S) images as the network takes them.
    """
    found: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return found[0].flatten(1)


@contextmanager
def hooked(modules: Sequence[nn.Module], hook: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """A context within which a forward hook is on some modules.

    Args:
        modules: The modules whose calls are followed.
        hook: Called after each of them with the module, its inputs and its output.
    """
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def left_out(modules: Sequence[nn.Module]) -> Iterator[None]:
    """A context within which some modules return their input as it is."""
    before = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            vars(module)["forward"] = _identity
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            del vars(module)["forward"]
            if forward is not None:
                vars(module)["forward"] = forward


def _identity(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


@contextmanager
def without_inplace(model: nn.Module) -> Iterator[None]:
    """A context within which a model's activations leave the tensors that they are given as they are."""
    modules: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    try:
        for module in modules:
            module.inplace = False
        yield
    finally:
        for module in modules:
            module.inplace = True
