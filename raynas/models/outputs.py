"""What a training looks at of a model: the logits of images, and where their patches are labelled, those of patches.

Tensor letters: B images, G patches a side of the last stage's grid, C channels of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from raynas.errors import ConfigError
from raynas.hooks import offered
from raynas.models.protocols import HasPatchTokens, HasStem

PatchHead = Callable[[Tensor], Tensor]
"""Logits (B, G * G, num_classes) of tokens (B, G * G, C)."""


def after_stem(model: nn.Module, images: Tensor) -> Tensor:
    """What a model's stem makes of images (B, 3, img_size, img_size); the images themselves if it offers none."""
    stem = offered(model, HasStem)
    return images if stem is None else stem.stem_features(images)


def outputs_from(model: nn.Module, given: Tensor, patch_head: PatchHead | None = None) -> tuple[Tensor, ...]:
    """What a model gives.

    Args:
        model: The model; with a patch head, one that offers `HasPatchTokens`.
        given: What `after_stem` returns.
        patch_head: Computes logits of patches; None: they are not asked for.

    Returns:
        Logits (B, num_classes), and with a patch head those of patches (B, G * G, num_classes), row by row.

    Raises:
        ConfigError: Logits of patches are asked for, and the model has no tokens of patches.
    """
    if patch_head is not None:
        logits, tokens = patches_of(model).forward_with_patches(given)
        return logits, patch_head(tokens)
    stem = offered(model, HasStem)
    return (model(given) if stem is None else stem.forward_from_stem(given),)


def patches_of(model: nn.Module) -> HasPatchTokens:
    """A model as one with tokens of patches.

    Raises:
        ConfigError: It offers none.
    """
    found = offered(model, HasPatchTokens)
    if found is None:
        raise ConfigError(f"{type(model).__name__} gives no tokens of patches (forward_with_patches)")
    return found
