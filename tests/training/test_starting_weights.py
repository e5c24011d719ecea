"""Weights that a training starts from: exactly those of a file, without the head, with other position embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import resample_abs_pos_embed
from toy_trainings import StepCounter, plan, weights

import raynas
from raynas.errors import ConfigError, StoreError
from raynas.models.image_side import resized_positions
from raynas.training.run import execute_training
from raynas.training.starting_weights import fitted_weights

VIT = {"space": "vit", "architecture": "p8-w24-d2-h3-m2"}


def network(img_size: int = 32, num_classes: int = 10, **other: Any) -> Any:
    torch.manual_seed(3)
    return raynas.build(**{**VIT, **other}, img_size=img_size, num_classes=num_classes)


def file_of(folder: Path, **settings: Any) -> str:
    """Weights of a network, with what else an earlier training may have left with them."""
    state = network(**settings).state_dict()
    torch.save({**state, "decoder.weight": torch.zeros(3, 3)}, folder / "weights.pt")
    return str(folder / "weights.pt")


def started_from(folder: Path, file: str, policy: str, **settings: Any) -> dict[str, torch.Tensor]:
    """Weights after one step that changes nothing to speak of."""
    made = plan(**{**VIT, **settings}, weights=file, weights_policy=policy, lr=1e-9, min_lr=0, weight_decay=0)
    execute_training(made, folder, is_stopped=StepCounter(1).is_stopped)
    return weights(folder)


def test_the_encoder_is_loaded_and_the_head_is_fresh(tmp_path: Path) -> None:
    file = file_of(tmp_path, num_classes=37)
    found = started_from(tmp_path / "run", file, "encoder")
    expected = network(num_classes=37).state_dict()
    for name, value in found.items():
        if name.startswith("head."):
            assert value.shape[0] == 10
        else:
            assert torch.allclose(value, expected[name], atol=1e-6), name
    with pytest.raises(StoreError, match=r"head\.weight is 37x24 in the file and 10x24 in the model; .*decoder"):
        plan(**VIT, weights=file)


@pytest.mark.parametrize("policy", ["encoder-resized", "resized"])
def test_positions_are_resized_to_the_images(tmp_path: Path, policy: str) -> None:
    file = file_of(tmp_path, img_size=64)
    if policy == "resized":
        state = torch.load(file)
        del state["decoder.weight"]
        torch.save(state, file)
    found = started_from(tmp_path / "run", file, policy)
    expected = network(img_size=64).state_dict()["pos_embed"]
    assert torch.allclose(found["pos_embed"], resample_abs_pos_embed(expected, [4, 4]), atol=1e-6)
    with pytest.raises(StoreError, match=r"pos_embed is 1x65x24 in the file and 1x17x24 in the model"):
        plan(**VIT, weights=file, weights_policy=policy.removesuffix("resized").rstrip("-") or "exact")


def test_grids_of_either_form_are_resized_and_equal_ones_stay() -> None:
    tokens = torch.randn(1, 2 + 36, 5)
    assert resized_positions(tokens, tokens.shape, 2) is tokens
    expected = resample_abs_pos_embed(tokens, [4, 4], num_prefix_tokens=2)
    assert torch.allclose(resized_positions(tokens, torch.Size((1, 18, 5)), 2), expected, atol=1e-6)
    last = tokens[:, 2:].reshape(1, 6, 6, 5)
    first = last.permute(0, 3, 1, 2)
    grid = expected[:, 2:].reshape(1, 4, 4, 5)
    assert torch.allclose(resized_positions(last, torch.Size((1, 4, 4, 5)), 0), grid, atol=1e-6)
    assert torch.allclose(resized_positions(first, torch.Size((1, 5, 4, 4)), 0), grid.permute(0, 3, 1, 2), atol=1e-6)
    assert resized_positions(tokens, torch.Size((1, 20, 5)), 2) is tokens  # no square: refused with its shapes


def test_other_widths_and_models_without_a_head_are_refused() -> None:
    state = network().state_dict()
    with pytest.raises(StoreError, match=r"f\.pt holds the weights of another architecture: .* is .* in the file"):
        fitted_weights(network(architecture="p8-w48-d2-h3-m2"), state, "encoder-resized", "f.pt")
    with pytest.raises(ConfigError, match="weights_policy encoder leaves the head fresh, and Linear has none"):
        fitted_weights(torch.nn.Linear(2, 2), {}, "encoder", "f.pt")
    with pytest.raises(ConfigError, match="weights_policy encoder goes with a file of weights, and none is given"):
        plan(**VIT, weights_policy="encoder")
