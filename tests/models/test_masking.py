"""Hidden patches, against the definitions of masked autoencoders (arXiv 2111.06377) worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from raynas.errors import ConfigError
from raynas.models.masked_decoder import MaskedDecoder
from raynas.models.masking import (
    all_tokens,
    kept_tokens,
    masked_loss,
    normalised_patches,
    patches_kept,
    patchified,
    random_masking,
    unpatchified,
)
from raynas.models.step_draws import uniform_of
from raynas.models.token_stages import sine_positions


def masking(images: int = 3, patches: int = 196, kept: int = 49, seed: int = 0) -> object:
    return random_masking(torch.rand(images, patches, generator=torch.Generator().manual_seed(seed)), kept)


def test_three_quarters_of_the_patches_are_hidden() -> None:
    assert patches_kept(196, 0.75) == 49
    found = masking()
    assert found.kept.shape == (3, 49)
    assert found.hidden.sum(1).tolist() == [147] * 3
    for kept, hidden in zip(found.kept, found.hidden, strict=True):
        assert sorted(kept.tolist()) == torch.nonzero(hidden == 0).flatten().tolist()
    assert not torch.equal(found.kept[0].sort().values, found.kept[1].sort().values)


@pytest.mark.parametrize(("patches", "ratio", "kept"), [(10, 0.9, 1), (4, 0.75, 1), (16, 0.5, 8), (9, 0.5, 4)])
def test_the_rest_is_rounded_down(patches: int, ratio: float, kept: int) -> None:
    assert patches_kept(patches, ratio) == kept


@pytest.mark.parametrize(("patches", "ratio", "left"), [(4, 0.9, "no patch"), (1, 0.5, "no patch"), (4, 1e-12, "all")])
def test_a_mask_that_leaves_nothing_to_do_is_refused(patches: int, ratio: float, left: str) -> None:
    with pytest.raises(ConfigError, match=left):
        patches_kept(patches, ratio)


def test_tokens_come_back_to_their_places() -> None:
    tokens = torch.arange(2 * 11 * 4.0).view(2, 11, 4)  # one prefix token, ten patches
    found = masking(2, 10, 4)
    kept = kept_tokens(tokens, found, 1)
    assert torch.equal(kept[:, :1], tokens[:, :1])
    for image in range(2):
        assert torch.equal(kept[image, 1:], tokens[image, 1:][found.kept[image]])
    placed = all_tokens(kept, found, torch.full((1, 1, 4), -1.0), 1)
    hidden = found.hidden.bool()
    assert torch.equal(placed[:, 0], tokens[:, 0])
    assert torch.equal(placed[:, 1:][~hidden], tokens[:, 1:][~hidden])
    assert (placed[:, 1:][hidden] == -1).all()


def test_every_patch_is_kept_as_often() -> None:
    noise = uniform_of(7, torch.arange(4000), (196,))
    kept = 1 - random_masking(noise, 49).hidden
    assert (kept.mean(0) - 0.25).abs().max() < 0.03


def test_patches_are_cut_row_by_row() -> None:
    images = torch.randn(2, 3, 12, 12)
    patches = patchified(images, 3)
    assert patches.shape == (2, 9, 48)
    by_hand = images[1, :, 4:8, 8:12].permute(1, 2, 0).flatten()  # second row, third column
    assert torch.equal(patches[1, 5], by_hand)
    assert torch.equal(unpatchified(patches, 3), images)


def test_targets_have_mean_0_and_unbiased_variance_1() -> None:
    patches = torch.randn(2, 4, 768) * 5 + 3
    patches[0, 0] = 2.0
    targets = normalised_patches(patches)
    assert targets.isfinite().all()
    rest = targets.flatten(0, 1)[1:]
    assert rest.mean(1).abs().max() < 1e-3
    assert (rest.var(1) - 1).abs().max() < 1e-3


def test_only_hidden_patches_count() -> None:
    found = masking(2, 16, 4)
    targets = normalised_patches(torch.randn(2, 16, 768))
    hidden = found.hidden[..., None]
    assert masked_loss(targets, targets, found.hidden) == 0
    assert masked_loss(targets + 9 * (1 - hidden), targets, found.hidden) == 0
    # The unbiased variance of 768 values is their mean square times 768 / 767.
    assert float(masked_loss(torch.zeros_like(targets), targets, found.hidden)) == pytest.approx(767 / 768, rel=1e-4)
    assert float(masked_loss(targets + 2 * hidden, targets, found.hidden)) == pytest.approx(4, rel=1e-5)


def test_the_decoder_has_the_published_size() -> None:
    decoder = MaskedDecoder(192, width=96, depth=1, num_heads=3, side=14, values=768, prefix=1)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 205_152
    assert decoder(torch.randn(2, 50, 192), masking(2)).shape == (2, 196, 768)


def test_positions_are_sines_of_columns_and_rows() -> None:
    table = sine_positions(3, 8, prefix=1)[0]
    assert table.shape == (10, 8)
    assert (table[0] == 0).all()
    row, column = 2, 1
    frequencies = [1.0, 10_000**-0.5]
    angles = [[place * one for one in frequencies] for place in (column, row)]
    by_hand = [wave(angle) for half in angles for wave in (math.sin, math.cos) for angle in half]
    assert table[1 + 3 * row + column].tolist() == pytest.approx(by_hand, abs=1e-6)
    swapped = sine_positions(3, 8, prefix=1, columns_first=False)[0]
    assert torch.equal(swapped, torch.cat([table[:, 4:], table[:, :4]], 1))
    with pytest.raises(ConfigError, match="multiple of 4"):
        sine_positions(3, 10)
