"""Which networks have curves: ConvNets of timm against backward passes, and what a network must have and keeps."""

import pytest
import timm
import torch
from scored_models import NONE, as_vit_probe, assert_unchanged, fingerprint, probe_of, score
from torch import nn

from raynas.errors import NotApplicableError
from raynas.proxies import curve
from raynas.proxies.probe import Probe

NAMES = ("length_distortion", "curvature", "gauss_length")
SETTINGS = {"points": 3, "radius": 1.0, "endpoint": False, "norms": False}


class Layers(nn.Module):
    """Some layers whose output is pooled."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers).double()

    def pooled_features(self, images):
        return self.layers(images).mean((2, 3))


class Hardsigmoid(nn.Module):
    """As torch's, of ReLUs."""

    def forward(self, x):
        return (torch.relu(x + 3) - torch.relu(x - 3)) / 6


@pytest.mark.parametrize("name", ["test_resnet", "resnet10t", "mobilenetv2_035", "mobilenetv3_small_050", "repvgg_a0"])
def test_curves_of_timms_conv_nets_are_those_of_backward_passes_through_their_pooled_features(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).double().eval().requires_grad_(False)
    probe = Probe(NONE, model, img_size=32)
    v, a = curve.derivatives(probe, order=2, **SETTINGS)
    x, dx = curve.circle(probe, points=3, radius=1.0, endpoint=False)
    x.requires_grad_()
    for parent in list(model.modules()):
        for child, layer in parent.named_children():
            if isinstance(layer, nn.Hardsigmoid):  # of which torch has no second derivative backwards
                setattr(parent, child, Hardsigmoid())
    with torch.enable_grad():
        features = model.forward_head(model.forward_features(x), pre_logits=True)
    assert features.shape == v.shape
    for i in range(0, features.shape[1], features.shape[1] // 4):
        (gradient,) = torch.autograd.grad(features[:, i].sum(), x, create_graph=True)
        (bent,) = torch.autograd.grad((gradient * dx).sum(), x, retain_graph=True)
        for found, expected in ((v, gradient * dx), (a, bent * dx - gradient * x)):
            expected = expected.detach().flatten(1).sum(1)
            torch.testing.assert_close(found[:, i], expected, rtol=1e-8, atol=1e-9 * float(found.abs().max()))


class WithBatchNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.norm = nn.LayerNorm(6)
        self.dropout = nn.Dropout(0.5)
        self.bn.running_mean += 0.5
        self.bn.running_var *= 3

    def pooled_features(self, images):
        x = self.dropout(torch.tanh(self.bn(self.conv(images)))).mean((2, 3))
        return self.norm(x)


def test_batch_norm_and_dropout_rest_while_scoring_and_are_restored():
    torch.manual_seed(0)
    model = WithBatchNorm().double().train()
    model.conv.eval()
    before = fingerprint(model)
    values = [score(name, Probe(NONE, model, img_size=8)) for name in NAMES]
    assert_unchanged(model, before)
    reference = WithBatchNorm().double().eval()
    reference.load_state_dict(model.state_dict())
    assert values == [score(name, Probe(NONE, reference, img_size=8)) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_score_leaves_the_network_as_it_was(name):
    probe = as_vit_probe()
    probe.model.stages[0].train()
    probe.model.head.requires_grad_(True)
    before = fingerprint(probe.model)
    score(name, probe)
    assert_unchanged(probe.model, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_leaves_the_network_as_it_was_when_it_fails_midway(name):
    probe = as_vit_probe()
    probe.model.train()

    def fail(module, args):
        raise ValueError("broken layer")

    probe.model.stages[2].blocks[0].mlp.fc2.register_forward_pre_hook(fail)
    before = fingerprint(probe.model)
    with pytest.raises(ValueError, match="broken layer"):
        score(name, probe)
    assert_unchanged(probe.model, before)


def test_networks_without_pooled_features_are_not_applicable():
    for name in NAMES:
        with pytest.raises(
            NotApplicableError, match="method pooled_features or a head that is known, and Linear has neither"
        ):
            score(name, Probe(NONE, nn.Linear(3, 3), img_size=4))


def test_networks_that_cannot_be_differentiated_are_not_applicable():
    def of_a_view(x):
        x[:, :2].add_(1)
        return x

    with pytest.raises(NotApplicableError, match="whole network: the operation add_ in place"):
        score("length_distortion", probe_of(of_a_view))
    with pytest.raises(NotApplicableError, match=r"and its layer layers\.1 has none: the operation instance_norm"):
        score("length_distortion", Probe(NONE, Layers(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4)), img_size=4))
    with pytest.raises(NotApplicableError, match="from the images"):
        score("length_distortion", probe_of(lambda x: torch.zeros(len(x), 2)))
