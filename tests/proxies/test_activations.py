"""Scores of activations against their definitions, unit by unit and block by block."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo_models import CLASSES, Mixer, ReluMlp, drawn, probe_of

from raynas.errors import NotApplicableError
from raynas.models.roles import Block, Roles
from raynas.proxies.activations import firing
from raynas.proxies.registered import proxies


def score(name, probe, **settings):
    return proxies.get(name).configured(**settings)(probe)[name]


def inputs_of_activations(model, images):
    kept = []
    handles = [
        m.register_forward_hook(lambda _, args, output: kept.append(args[0]))
        for m in model.modules()
        if isinstance(m, nn.GELU | nn.ReLU)
    ]
    model(images)
    for handle in handles:
        handle.remove()
    return kept


def slow_kernel(model, images):
    """Agreeing units counted pair by pair, image by image."""
    codes = [
        [bool(x > 0) for part in inputs_of_activations(model, image[None]) for x in part.flatten()] for image in images
    ]
    return np.array([[sum(a == b for a, b in zip(one, two, strict=True)) for two in codes] for one in codes])


@pytest.mark.parametrize("make", [Mixer, lambda: ReluMlp(48, 15, 9, CLASSES)])
def test_naswot_is_the_log_determinant_of_agreements(make):
    probe = probe_of(drawn(make))
    expected = slow_kernel(probe.model, probe.images)
    kernel = probe.once(firing).agreement.numpy()
    np.testing.assert_array_equal(kernel, expected)
    assert set(np.diag(kernel)) == {probe.once(firing).units}
    assert np.linalg.eigvalsh(kernel)[0] >= -1e-9
    assert score("naswot", probe) == pytest.approx(np.linalg.slogdet(expected)[1], rel=1e-9)


def test_naswot_of_images_that_fire_alike_is_not_finite():
    probe = probe_of(drawn(Mixer))
    images = probe.images.clone()
    images[1] = images[0]
    assert score("naswot", probe_of(probe.model, images=images)) == -math.inf


def test_naswot_of_a_homogeneous_network_does_not_change_with_the_scale_of_its_input():
    model = drawn(lambda: ReluMlp(48, 15, CLASSES))
    probe = probe_of(model)
    assert score("naswot", probe_of(model, images=7 * probe.images)) == score("naswot", probe)


@pytest.mark.parametrize("name", ["naswot", "entropic_score"])
def test_a_network_without_activation_modules_is_told(name):
    with pytest.raises(NotApplicableError, match="activation modules"):
        score(name, probe_of(drawn(lambda: Mixer(act=nn.Identity()))))


def test_entropic_score_is_the_mean_binary_entropy():
    probe = probe_of(drawn(lambda: ReluMlp(48, 15, 9, CLASSES)))
    entropies = []
    for values in inputs_of_activations(probe.model, probe.images):
        p = float((values > 0).double().mean())
        entropies.append(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert score("entropic_score", probe) == pytest.approx(np.mean(entropies))
    assert len(entropies) == 2


def test_entropy_is_the_log_deviation_of_blocks():
    probe = probe_of(drawn(Mixer))
    images = torch.as_tensor(probe.rng().standard_normal((16, 3, 4, 4)))
    kept = []
    handle = probe.model.second.register_forward_hook(lambda _, args, output: kept.append(output.numpy()))
    probe.model(images)
    handle.remove()
    std = kept[0].std(ddof=1)
    expected = math.log(std) + math.log((kept[0] / (std + 1e-9)).var(ddof=1))
    assert score("entropy", probe) == pytest.approx(expected, rel=1e-9)


class Tokens(nn.Module):
    """Gives out its image as (1, 9 tokens, C channels), through a module that is its one block."""

    def __init__(self, channels=4):
        super().__init__()
        self.channels = channels
        self.block = nn.Identity()
        self.head = nn.Linear(channels, CLASSES)

    def roles(self):
        return Roles(head=(self.head,), blocks=(Block(self.block),))

    def forward(self, images):
        tokens = self.block(images.flatten(1)[:, : 9 * self.channels].reshape(-1, 9, self.channels))
        return self.head(tokens.mean(1))


def test_meco_is_the_smallest_eigenvalue_of_the_correlation_of_channels():
    probe = probe_of(drawn(Tokens))
    noise = probe.rng().standard_normal((1, 3, 4, 4)).ravel()[:36].reshape(9, 4)
    expected = np.linalg.eigvalsh(np.corrcoef(noise.T))[0]
    assert score("meco", probe) == pytest.approx(expected, rel=1e-9)
    assert score("meco_opt", probe) == pytest.approx(expected, rel=1e-9)  # all of four rows


def test_meco_of_some_rows_counts_for_all():
    probe = probe_of(drawn(Tokens))
    noise = probe.rng().standard_normal((1, 3, 4, 4)).ravel()[:36].reshape(9, 4)
    rows = probe.rng().permutation(4)[:2]
    expected = 2 * np.linalg.eigvalsh(np.corrcoef(noise.T[rows]))[0]
    assert score("meco_opt", probe, rows=2) == pytest.approx(expected, rel=1e-9)


def test_meco_of_fewer_tokens_than_channels_is_zero():
    class Wide(Tokens):
        def forward(self, images):
            tokens = self.block(images.flatten(1)[:, :36].reshape(-1, 4, 9))
            return self.head(tokens.mean(1))

    assert score("meco", probe_of(drawn(lambda: Wide(channels=9)))) == 0


class LinearFeatures(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.map = nn.Linear(48, 7, bias=False)
        self.head = nn.Linear(7, CLASSES)
        self.factor = factor

    def roles(self):
        return Roles(head=(self.head,))

    def forward(self, images):
        return self.head(self.factor * self.map(images.flatten(1)))


def test_zen_of_linear_features_shifts_by_the_log_of_their_scale():
    one, many = (score("zen", probe_of(drawn(lambda f=f: LinearFeatures(f)))) for f in (1.0, 20.0))
    assert many - one == pytest.approx(math.log(20), rel=1e-9)
    probe = probe_of(drawn(LinearFeatures))
    _, e = np.split(probe.rng().standard_normal((32, 48)), 2)
    moved = 0.01 * e @ probe.model.map.weight.numpy().T
    assert one == pytest.approx(math.log(np.abs(moved).sum(1).mean()), rel=1e-6)
    assert score("zen", probe, mixing=0.1) == pytest.approx(one + math.log(10), rel=1e-6)


def test_zen_adds_the_deviations_of_batch_norms_and_leaves_their_averages():
    class Normed(LinearFeatures):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(48)

        def forward(self, images):
            return super().forward(self.norm(5 * images.flatten(1)))

    probe = probe_of(drawn(Normed))
    x, e = np.split(probe.rng().standard_normal((32, 48)), 2)

    def normed(values):
        return (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)

    moved = (normed(5 * (x + 0.01 * e)) - normed(5 * x)) @ probe.model.map.weight.numpy().T
    expected = math.log(np.abs(moved).sum(1).mean()) + 0.5 * math.log((5 * x).var(0).mean())
    assert score("zen", probe) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(probe.model.norm.running_var, torch.ones(48, dtype=torch.float64))
    assert int(probe.model.norm.num_batches_tracked) == 0


def test_baselines_count_blocks_and_widths():
    probe = probe_of(drawn(lambda: Mixer(width=10)))
    assert score("depth", probe) == 1
    assert score("width", probe) == 10
    assert score("layer_width_sum", probe) == 10 + 10 + 10 + CLASSES
