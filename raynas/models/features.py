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

    def check(norm: Any, args: tuple[Tensor, ...]) -> None:
        if args[0].numel() == args[0].shape[1]:
            raise NotApplicableError(
                f"needs a batch to normalise by, and the BatchNorm {names[norm]} sees one value of each channel: more "
                "images or larger ones have more"
            )

    handles = [norm.register_forward_pre_hook(check) for norm in norms]
    try:
        for norm in norms:
            norm.running_mean = norm.running_var = None  # then torch takes those of the batch in eval mode too
        yield
    finally:
        for norm, (mean, variance) in zip(norms, averages, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        for handle in handles:
            handle.remove()


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
