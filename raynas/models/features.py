"""Pooled features of any model whose head is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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

    Raises:
        NotApplicableError: The network does not call the head, but computes with its weights itself.
    """
    found: list[Tensor] = []
    with inputs_noted([head], lambda _, given: found.append(given)):
        model(images)
    if not found:
        raise uncalled(model, head, "head")
    return found[0].flatten(1)


def uncalled(model: nn.Module, module: nn.Module, role: str) -> NotApplicableError:
    """The error of what needs to see the calls of a module that a network never calls."""
    name = next((name for name, other in model.named_modules() if other is module), "")
    return NotApplicableError(f"needs to see the {role} called, and {type(model).__name__} never calls its {name}")


@contextmanager
def inputs_noted(modules: Sequence[nn.Module], note: Callable[[Any, Tensor], None]) -> Iterator[None]:
    """A context within which the input of some modules is noted at each of their calls.

    Args:
        modules: The modules whose calls are followed.
        note: Called before each of them with the module and the tensor that it is given, by position or by name.
    """

    def noted(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if given is not None:
            note(module, given)

    handles = [module.register_forward_pre_hook(noted, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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


def _identity(*args: Any, **kwargs: Any) -> Any:
    return next(iter((*args, *kwargs.values())))


def batch_norms(model: nn.Module) -> list[Any]:
    """The BatchNorms of a model, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """A context within which BatchNorms normalise by the images that they see together, and keep no averages of them.

    All else of the model stays in its mode: dropout and stochastic depth of a model in eval mode rest.

    Raises:
        NotApplicableError: Within the context, at a BatchNorm that sees one value of each channel only.
    """
    names = {module: name for name, module in model.named_modules()}
    norms = batch_norms(model)
    averages = [(norm.running_mean, norm.running_var) for norm in norms]

    def check(norm: Any, given: Tensor) -> None:
        if given.numel() == given.shape[1]:
            raise NotApplicableError(
                f"needs a batch to normalise by, and the BatchNorm {names[norm]} sees one value of each channel: more "
                "images or larger ones have more"
            )

    try:
        for norm in norms:
            norm.running_mean = norm.running_var = None  # then torch takes those of the batch in eval mode too
        with inputs_noted(norms, check):
            yield
    finally:
        for norm, (mean, variance) in zip(norms, averages, strict=True):
            norm.running_mean, norm.running_var = mean, variance


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
