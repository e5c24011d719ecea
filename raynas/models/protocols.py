"""What a model may say of itself beside its forward pass; each is used where a model has it, see `raynas.hooks`.

A model without any of them can be searched and trained, and its scores are those that need to know nothing of its
parts. Two are declared where the values stand that they speak of: `HasRoles` in `raynas.models.roles`, and
`Retokenizable` in `raynas.space.tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from raynas.hooks import offered
from raynas.models.plain_code import PlainCode
from raynas.models.roles import HasRoles
from raynas.models.weights import Init
from raynas.space.tokens import Retokenizable

__all__ = [
    "ExemptsFromWeightDecay",
    "HasPlainCode",
    "HasPooledFeatures",
    "HasRoles",
    "InitialisedByTable",
    "Retokenizable",
    "not_decayed",
]


@runtime_checkable
class HasPooledFeatures(Protocol):
    """A model that says what its features are, for scores along curves of images and of gradients."""

    def pooled_features(self, images: Tensor, /) -> Tensor:
        """Features of images before the final norm, one vector each: (B, 3, img_size, img_size) to (B, C)."""
        ...


@runtime_checkable
class InitialisedByTable(Protocol):
    """A model that says how its parameters are drawn, so that many networks can be given weights quickly.

    Its class takes the keyword `device`, and on the meta device it makes parameters without values.
    """

    def init_table(self) -> Mapping[str, Init]:
        """The distribution of every parameter, by the parameter's name."""
        ...


@runtime_checkable
class HasPlainCode(Protocol):
    """A model that can leave as code that imports no raynas."""

    def plain_code(self) -> PlainCode:
        """The text that makes the network, and with what arguments."""
        ...


@runtime_checkable
class ExemptsFromWeightDecay(Protocol):
    """A model some of whose parameters optimizers do not shrink, beside biases and norms."""

    def no_weight_decay(self) -> set[str]:
        """Names of those parameters."""
        ...


def not_decayed(model: nn.Module) -> set[str]:
    """Names of a model's parameters that optimizers do not shrink, beside biases and norms; empty if it names none."""
    exempts = offered(model, ExemptsFromWeightDecay)
    return set() if exempts is None else set(exempts.no_weight_decay())
