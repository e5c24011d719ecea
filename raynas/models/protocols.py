"""What a model may say of itself beside its forward pass; each is used where a model has it, see `raynas.hooks`.

A model without any of them can be searched and trained, and its scores are those that need to know nothing of its
parts. Two are declared where the values stand that they speak of: `HasRoles` in `raynas.models.roles`, and
`Retokenizable` in `raynas.space.tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from raynas.hooks import offered
from raynas.models.plain_code import PlainCode
from raynas.models.roles import HasRoles
from raynas.models.weights import Init
from raynas.space.tokens import Retokenizable

__all__ = [
    "AdaptsWeights",
    "ExemptsFromWeightDecay",
    "HasChannelUnits",
    "HasDistilledHead",
    "HasPatchTokens",
    "HasPlainCode",
    "HasPooledFeatures",
    "HasRoles",
    "HasStem",
    "HasTokenStages",
    "HasUnits",
    "InitialisedByTable",
    "Place",
    "Retokenizable",
    "StacksParameters",
    "Units",
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


@runtime_checkable
class StacksParameters(Protocol):
    """A model some of whose parameters are several tensors in one, such as weights of queries, keys and values.

    A supernet takes the first heads of each of them for a member with fewer heads.
    """

    def stacked_parameters(self) -> Mapping[str, int]:
        """How many tensors are stacked along the first dimension of parameters, by the parameters' names."""
        ...


class Place(NamedTuple):
    """Where units stand in a parameter.

    Args:
        name: The parameter's name.
        dimension: The dimension along which they stand, each as many entries as the others.
        stacked: How many tensors are stacked along that dimension, each with all units.
    """

    name: str
    dimension: int
    stacked: int = 1


class Units(NamedTuple):
    """Units that may stand in any order, such as the heads of a block: what the network computes stays the same.

    Args:
        kind: What they are, such as "heads".
        number: How many there are.
        places: Where they stand in parameters.
    """

    kind: str
    number: int
    places: tuple[Place, ...]


@runtime_checkable
class HasUnits(Protocol):
    """A model that says which of its parts may change places.

    A supernet puts the most important ones first, as its members have the first ones.
    """

    def units(self) -> Sequence[Units]:
        """All sets of units, such as the heads and the MLP units of each block."""
        ...


@runtime_checkable
class HasChannelUnits(Protocol):
    """A model that says where the channels of its tokens stand, which all its layers have in common.

    A supernet that starts from trained weights puts the most important ones first, once; it does not do so while it is
    trained, as it does with what `HasUnits` tells.
    """

    def channel_units(self) -> Sequence[Units]:
        """All sets of channels: one, or one for each stage that has a width of its own."""
        ...


@runtime_checkable
class HasStem(Protocol):
    """A model that begins with layers that are the same in all members of its space.

    A supernet computes them once for all members, so that a BatchNorm in them sees the whole batch.
    """

    def stem_features(self, images: Tensor, /) -> Tensor:
        """What the common layers make of images, (B, 3, img_size, img_size) to (B, ...)."""
        ...

    def forward_from_stem(self, features: Tensor, /) -> Tensor:
        """Logits (B, num_classes) of what `stem_features` gives."""
        ...


@runtime_checkable
class HasPatchTokens(Protocol):
    """A model that also gives what its last stage makes of patches, so that a training can label them.

    The head that learns these labels is the training's own: no model has it.
    """

    def forward_with_patches(self, features: Tensor, /) -> tuple[Tensor, Tensor]:
        """Logits (B, num_classes) and tokens of patches (B, G * G, C), row by row, as heads take them.

        Args:
            features: What `HasStem.stem_features` gives, or images where the model has no stem.
        """
        ...


@runtime_checkable
class HasDistilledHead(Protocol):
    """A model with a second head that learns from a teacher, as timm's distilled models have it.

    Where that is said, its calls in training mode return logits of the first and of the second head, both (B,
    num_classes); all others the mean of both.
    """

    def set_distilled_training(self, enable: bool, /) -> None:
        """Say whether calls in training mode return the logits of both heads."""
        ...


@runtime_checkable
class AdaptsWeights(Protocol):
    """A model that can start from weights of a network of another form."""

    def adapted_weights(self, weights: Mapping[str, Tensor], /) -> Mapping[str, Tensor]:
        """Weights by the names that this model has; its own as they are.

        Args:
            weights: All weights of a file, by name.
        """
        ...


@runtime_checkable
class HasTokenStages(Protocol):
    """A transformer whose blocks can be computed by themselves, and on some of an image's tokens alone.

    Masked autoencoders compute it on the patches that are not hidden.
    """

    def embedded_tokens(self, images: Tensor, /) -> Tensor:
        """Tokens with their positions, prefix tokens first, as the first block takes them: images to (B, N, C)."""
        ...

    def through_blocks(self, tokens: Tensor, first: int, last: int, /) -> Tensor:
        """What the blocks from the number `first` on make of tokens (B, n, C), up to and without the number `last`."""
        ...


def not_decayed(model: nn.Module) -> set[str]:
    """Names of a model's parameters that optimizers do not shrink, beside biases and norms; empty if it names none."""
    exempts = offered(model, ExemptsFromWeightDecay)
    return set() if exempts is None else set(exempts.no_weight_decay())
