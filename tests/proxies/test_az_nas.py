"""The scores of AZ-NAS on networks whose states and sub-layers are known."""

import math

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import Block as VisionBlock
from torch import nn
from zoo_models import CLASSES, Mixer, drawn, probe_of

from raynas.errors import NotApplicableError
from raynas.models.families.vit import plain_vit
from raynas.models.roles import Block, Roles, block_roles
from raynas.proxies.az_nas import SubLayerState, state_statistics
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.space.architecture import Architecture


def scores(probe, **settings):
    return proxies.get("az_nas").configured(**settings)(probe)


class Linears(nn.Module):
    """Tokens of C channels that two linear maps, in the places of attention and MLP, change."""

    def __init__(self, attention, mlp):
        super().__init__()
        self.channels = len(attention)
        self.first = nn.Linear(self.channels, self.channels, bias=False)
        self.second = nn.Linear(self.channels, self.channels, bias=False)
        self.middle = nn.Identity()
        self.out = nn.Identity()
        self.first.weight.data = torch.as_tensor(attention)
        self.second.weight.data = torch.as_tensor(mlp)

    def roles(self):
        return Roles(blocks=(Block(self.out, middle=self.middle),))

    def forward(self, images):
        tokens = images.flatten(1)
        tokens = tokens.reshape(len(images), -1, self.channels)
        return self.out(self.second(self.middle(self.first(tokens)))).mean((1, 2), keepdim=False)[:, None]


def linear_probe(attention, mlp, **settings):
    return probe_of(Linears(attention, mlp), **settings)


def test_an_orthonormal_map_is_trainable_and_spreads_evenly():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    probe = linear_probe(np.eye(16), rotation, img_size=32)
    found = scores(probe, batch_size=640)  # 192 tokens of 16 channels: B * N = 122,880
    assert -1e-3 < found["az_trainability"] <= 1e-6
    assert found["az_expressivity"] == pytest.approx(2 * math.log(16), abs=1e-3)
    assert found["az_progressivity"] == pytest.approx(0, abs=1e-6)


def test_a_map_that_doubles_has_the_singular_value_two():
    probe = linear_probe(np.eye(16), 2 * np.eye(16), img_size=32)
    found = scores(probe, batch_size=640)
    assert found["az_trainability"] == pytest.approx(-2 - 0.5 + 2, abs=0.06)  # of few samples, s is too large


def test_equal_gradients_are_left_out():
    assert math.isnan(scores(linear_probe(np.eye(16), np.eye(16), img_size=16))["az_trainability"])


def test_entropies_are_those_of_the_covariance():
    first = np.random.default_rng(1).standard_normal((16, 16)) * np.geomspace(1, 1e-2, 16)[:, None]
    probe = linear_probe(first, np.eye(16) * 2, img_size=16)
    noise = probe.rng().standard_normal((64, 48, 16))
    rows = (noise @ first.T).reshape(-1, 16)
    p = np.linalg.eigvalsh(np.cov(rows.T, ddof=0))
    p = p / p.sum()
    expected = -(p * np.log(p + 1e-8)).sum()
    assert scores(probe)["az_expressivity"] == pytest.approx(2 * expected, rel=1e-6)


SMALL = Architecture({"patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 2, "mlp_ratio": 2})


def vit_probe(**settings):
    torch.manual_seed(0)
    model = plain_vit(SMALL, img_size=16, num_classes=CLASSES).double().eval().requires_grad_(False)
    return Probe(SMALL, model, img_size=16, **settings)


def slow_vit(probe, batch_size):
    """States by calling the parts of each block; every sub-layer's vector-Jacobian product by itself."""
    model = probe.model
    images = torch.as_tensor(probe.rng().standard_normal((batch_size, 3, 16, 16)))
    x = model._pos_embed(model.patch_embed(images))
    parts, states = [], []
    for block in model.blocks:
        parts += [lambda x, b=block: x + b.attn(b.norm1(x)), lambda x, b=block: x + b.mlp(b.norm2(x))]
    for part in parts:
        x = part(x)
        states.append(x)
    entropies = []
    for state in states:
        p = np.linalg.eigvalsh(np.cov(state.reshape(-1, 12).numpy().T, ddof=0)).clip(0)
        p = p / p.sum()
        entropies.append(-(p * np.log(p + 1e-8)).sum())
    return entropies, parts, states


def test_states_of_a_transformer_are_those_after_attention_and_mlp(monkeypatch):
    drawn_signs = []
    original = SubLayerState._random_signs

    def kept(state, like):
        drawn_signs.append(original(state, like))
        return drawn_signs[-1]

    monkeypatch.setattr(SubLayerState, "_random_signs", kept)
    probe = vit_probe()
    entropies, parts, states = slow_vit(probe, 16)
    found, singular = state_statistics(probe, batch_size=16)
    np.testing.assert_allclose(found.numpy(), entropies, rtol=1e-9)
    signs_of_last_first = list(drawn_signs)
    values = scores(probe, batch_size=16)
    assert values["az_expressivity"] == pytest.approx(sum(entropies), rel=1e-9)
    assert values["az_progressivity"] == pytest.approx(min(np.diff(entropies)), rel=1e-6)
    expected = []
    for part, state, signs in zip(parts[1:], states[:-1], signs_of_last_first[::-1], strict=True):
        _, pull = torch.func.vjp(part, state)
        product = pull(signs)[0].reshape(-1, 12).T @ signs.reshape(-1, 12) / (16 * states[0].shape[1])
        expected.append(float(torch.linalg.svdvals(product)[0]))
    np.testing.assert_allclose(singular.numpy(), expected, rtol=1e-6)
    assert values["az_trainability"] == pytest.approx(np.mean([2 - s - 1 / (s + 1e-6) for s in expected]), rel=1e-6)


def test_signs_are_fair_and_independent():
    signs = SubLayerState(0)._random_signs(torch.empty(200, 50, 7))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 4 / math.sqrt(signs.numel())
    assert abs(float((signs[1:] * signs[:-1]).mean())) < 4 / math.sqrt(signs.numel())
    assert not torch.equal(signs, SubLayerState(1)._random_signs(torch.empty(200, 50, 7)))


def test_pieces_of_a_batch_give_the_same_scores():
    whole, pieces = scores(vit_probe(), batch_size=16), scores(vit_probe(max_batch=3), batch_size=16)
    assert pieces == pytest.approx(whole, rel=1e-9)


class Declared(nn.Module):
    """Two pre-norm blocks, of which forward calls those of the given numbers."""

    def __init__(self, called):
        super().__init__()
        self.blocks = nn.ModuleList(VisionBlock(6, num_heads=2, mlp_ratio=2.0) for _ in range(2))
        self.called = called

    def roles(self):
        return Roles(blocks=tuple(block_roles(block) for block in self.blocks))

    def forward(self, images):
        tokens = images.flatten(1).reshape(len(images), -1, 6)
        for number in self.called:
            tokens = self.blocks[number](tokens)
        return tokens.mean((1, 2), keepdim=False)[:, None]


@pytest.mark.parametrize("called", [(), (0,), (1,), (0, 0), (1, 1), (1, 0), (0, 1, 1)])
def test_blocks_that_are_never_called_are_told(called):
    """Also where another one is called in their place, so that there are as many states."""
    torch.manual_seed(0)
    with pytest.raises(
        NotApplicableError, match="needs blocks that Declared calls once in a pass each, in their order"
    ):
        scores(probe_of(Declared(called)), batch_size=4)


def test_blocks_that_are_all_called_have_scores():
    torch.manual_seed(0)
    found = scores(probe_of(Declared((0, 1))), batch_size=4)
    assert set(found) == {"az_expressivity", "az_progressivity", "az_trainability"}
    assert all(math.isfinite(value) for value in found.values())


def test_a_network_without_states_between_its_parts_is_told():
    with pytest.raises(NotApplicableError, match="states between"):
        scores(probe_of(drawn(Mixer)))
