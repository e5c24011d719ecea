"""What self-supervised pre-training would find: how heads attend, and how soon hidden patches are predicted.

Letters: B images, L patches, P prefix tokens, H heads.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from raynas.errors import ConfigError, NotApplicableError
from raynas.models.attention_maps import attention_noted
from raynas.models.attention_statistics import attention_distance, attention_entropy, between_patches
from raynas.models.masked_decoder import MaskedDecoder
from raynas.models.masking import (
    kept_tokens,
    masked_loss,
    normalised_patches,
    patches_kept,
    patchified,
    random_masking,
)
from raynas.models.roles import roles_of
from raynas.models.token_stages import TokenStages
from raynas.proxies.probe import Probe
from raynas.proxies.registered import counts, proxy
from raynas.seeds import input_seed

_RESTING = "Dropout and stochastic depth rest."
_DECODER: dict[str, Any] = {"width": 64, "depth": 1, "num_heads": 2}
"""The decoder, the same for all candidates but for the width that it is given."""


def _attention(probe: Probe) -> torch.Tensor:
    """Distance and entropy of each block, the mean over its heads and the images, (2, blocks), float64.

    Raises:
        NotApplicableError: Some block's heads do not attend over all patches of a square grid.
    """
    model, images = probe.model, probe.images
    blocks = roles_of(model).blocks
    prefix = blocks[0].prefix_tokens if blocks else 0
    total = torch.zeros(2, len(blocks), dtype=torch.float64)
    with torch.no_grad():
        for part in probe.slices(len(images)):
            found: list[torch.Tensor] = []
            number = len(images[part])

            def note(logits: torch.Tensor, found: list[torch.Tensor] = found, number: int = number) -> None:
                # Attention within windows has more rows than there are images.
                attention = between_patches(logits, prefix) if len(logits) == number else None
                if attention is not None:
                    values = [attention_distance(attention).mean(), attention_entropy(attention).mean()]
                    found.append(torch.stack(values).double().cpu())

            with attention_noted(note):
                model(images[part])
            if not blocks or len(found) != len(blocks):
                name = type(model).__name__
                raise NotApplicableError(f"needs blocks whose heads attend over a square grid, and {name} has others")
            total += number * torch.stack(found, 1)
    return total / len(images)


@proxy(
    "attention_distance",
    outputs=("attention_distance", "attention_distance_early", "attention_distance_late"),
    higher_is_better=False,
    needs_images=True,
    paper="arXiv 2205.14443",
    departures=(
        "The source measures trained networks; that local attention is the better one is said of these.",
        "Distances are in sides of a patch, where the code multiplies them by 14.",
        _RESTING,
    ),
)
def attention_distance_of(probe: Probe) -> dict[str, float]:
    """How far heads attend, in sides of a patch, the mean over blocks, and over the first and the second half of them.

    Returns:
        `attention_distance`, `attention_distance_early` and `attention_distance_late`; lower is thought better. Of an
        odd number of blocks, the one in the middle is in neither half.

    Raises:
        NotApplicableError: Heads do not attend over all patches.
    """
    return _by_depth("attention_distance", probe.once(_attention)[0])


@proxy(
    "attention_entropy",
    outputs=("attention_entropy", "attention_entropy_early", "attention_entropy_late"),
    higher_is_better=False,
    needs_images=True,
    paper="arXiv 2205.14443",
    departures=(
        "The source measures trained networks; that concentrated attention is the better one is said of these.",
        _RESTING,
    ),
)
def attention_entropy_of(probe: Probe) -> dict[str, float]:
    """How widely heads attend, in nats, the mean over blocks, and over the first and the second half of them.

    Returns:
        `attention_entropy`, `attention_entropy_early` and `attention_entropy_late`; lower is thought better. Of an odd
        number of blocks, the one in the middle is in neither half.

    Raises:
        NotApplicableError: Heads do not attend over all patches.
    """
    return _by_depth("attention_entropy", probe.once(_attention)[1])


def _by_depth(name: str, of_blocks: torch.Tensor) -> dict[str, float]:
    half = max(1, len(of_blocks) // 2)
    early, late = of_blocks[:half], of_blocks[-half:]
    return {name: float(of_blocks.mean()), f"{name}_early": float(early.mean()), f"{name}_late": float(late.mean())}


def check_settings(*, steps: int, mask_ratio: float, lr: float) -> None:
    """Refuse settings with which nothing would be learned.

    Raises:
        ConfigError: A setting is out of its range.
    """
    counts(steps=0)(steps=steps)
    if not 0 < mask_ratio < 1:
        raise ConfigError(f"mae_loss.mask_ratio is {mask_ratio:g}; it is between 0 and 1")
    if not lr > 0:
        raise ConfigError(f"mae_loss.lr is {lr:g}; it is above 0")


@proxy(
    "mae_loss",
    higher_is_better=False,
    needs_images=True,
    check=check_settings,
    paper="arXiv 2111.06377",
    departures=(
        "The source trains for hundreds of epochs; here it is a few steps of AdamW on one batch, without decay or "
        "warm-up, from weights as they are, with the network's own positions.",
        "The decoder has a block of 64 channels, whatever the network's width.",
        _RESTING,
    ),
)
def mae_loss(probe: Probe, *, steps: int = 10, mask_ratio: float = 0.75, lr: float = 1e-3) -> float:
    """The loss of a masked autoencoder after a few steps on the batch; lower is better.

    Args:
        probe: A network that can be computed on some of its patches, and images. The network itself stays as it is.
        steps: How many steps are made, each with other patches hidden.
        mask_ratio: Share of the patches that is hidden.
        lr: Learning rate.

    Raises:
        NotApplicableError: The network cannot be computed on some of its patches, or too few are left.
    """
    images = probe.images
    try:
        model = copy.deepcopy(probe.model).requires_grad_(True)
        stages = TokenStages(model)
        with torch.no_grad():
            tokens = stages.embedded(images[:1])
        side = stages.grid_side(tokens)
        kept = patches_kept(side * side, mask_ratio)
    except ConfigError as error:
        raise NotApplicableError(str(error)) from None
    targets = normalised_patches(patchified(images, side))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(input_seed(probe.score_seed, probe.repeat))
        decoder = MaskedDecoder(
            tokens.shape[2], **_DECODER, side=side, values=targets.shape[2], prefix=stages.prefix
        ).to(images)
    noise = torch.from_numpy(probe.rng().random((steps + 1, len(images), side * side))).to(images.device)

    def loss_of(step: int) -> torch.Tensor:
        masking = random_masking(noise[step], kept)
        encoded = stages.normalised(stages.through(kept_tokens(stages.embedded(images), masking, stages.prefix)))
        errors = decoder(encoded, masking)
        return masked_loss(errors, targets, masking.hidden.to(targets))

    optimizer = torch.optim.AdamW([*model.parameters(), *decoder.parameters()], lr=lr, weight_decay=0.0)
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss_of(step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return float(loss_of(steps))
