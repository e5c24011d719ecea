"""Saliencies against their definitions, one layer and one image at a time, and against what must hold of them."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from zoo_models import CLASSES, Mixer, ReluMlp, drawn, probe_of

from raynas.errors import ConfigError, NotApplicableError
from raynas.proxies import saliency
from raynas.proxies.passes import absolute_gradients, labelled_gradients
from raynas.proxies.registered import proxies


def score(name, probe, **settings):
    return proxies.get(name).configured(**settings)(probe)[name]


def slow_gradients(probe, factor=1.0):
    """By torch's own accumulation into .grad, on a copy; weights and gradients in the order of the modules."""
    model = clone(probe.model)
    (factor * F.cross_entropy(model(probe.images), probe.labels)).backward()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [layer.weight.detach() for layer in layers], [layer.weight.grad for layer in layers]


def clone(model):
    copied = copy.deepcopy(model)
    return copied.requires_grad_(True)


@pytest.fixture
def probe():
    return probe_of(drawn(Mixer))


def test_first_order_saliencies_are_sums_over_weights(probe):
    weights, gradients = slow_gradients(probe)
    pairs = list(zip(weights, gradients, strict=True))
    assert len(pairs) == 4
    assert score("grad_norm", probe) == pytest.approx(sum(math.sqrt(float((g**2).sum())) for _, g in pairs))
    assert score("snip", probe) == pytest.approx(sum(float((w * g).abs().sum()) for w, g in pairs))
    assert score("plain", probe) == pytest.approx(sum(float((w * g).sum()) for w, g in pairs))
    assert score("l2_norm", probe) == pytest.approx(sum(math.sqrt(float((w**2).sum())) for w, _ in pairs))
    assert score("snip", probe) >= abs(score("plain", probe))


def test_snip_is_the_gradient_by_a_mask(probe):
    model = clone(probe.model)
    names = [f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    parameters = dict(model.named_parameters())
    masks = {name: torch.ones_like(parameters[name], requires_grad=True) for name in names}
    masked = {name: parameters[name] * mask for name, mask in masks.items()}
    loss = F.cross_entropy(torch.func.functional_call(model, masked, (probe.images,)), probe.labels)
    by_masks = torch.autograd.grad(loss, list(masks.values()))
    assert score("snip", probe) == pytest.approx(sum(float(g.abs().sum()) for g in by_masks), rel=1e-6)


def slow_fisher(probe):
    """From explicit derivatives by the outputs of each layer, image by image and channel by channel."""
    model = clone(probe.model)
    total = 0.0
    compat = 0.0
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        squares, squares_compat = [], []
        for image, label in zip(probe.images, probe.labels, strict=True):
            kept = []
            handle = layer.register_forward_hook(lambda _, args, output, kept=kept: kept.append(output))
            loss = F.cross_entropy(model(image[None]), label[None]) / len(probe.images)
            handle.remove()
            a = kept[0]
            product = (a * torch.autograd.grad(loss, a)[0])[0].detach()
            if isinstance(layer, nn.Conv2d):  # (C, h, w)
                sums = [float(product[c].sum()) for c in range(len(product))]
                sums_compat = sums
            elif product.ndim == 2:  # (N, C)
                sums = [float(product[:, c].sum()) for c in range(product.shape[1])]
                sums_compat = [float(product[n].sum()) for n in range(product.shape[0])]
            else:
                sums = sums_compat = product.tolist()
            squares.append([s * s for s in sums])
            squares_compat.append([s * s for s in sums_compat])
        total += 0.5 * np.mean(squares, axis=0).sum()
        compat += 0.5 * np.mean(squares_compat, axis=0).sum() * layer.weight[0].numel()
    return total, compat


def test_fisher_is_half_the_mean_square_of_activation_times_gradient(probe):
    total, compat = slow_fisher(probe)
    assert score("fisher", probe) == pytest.approx(total, rel=1e-9)
    assert score("fisher_compat", probe) == pytest.approx(compat, rel=1e-9)


def test_scaling_the_loss_scales_saliencies(monkeypatch):
    names = {"snip": 1, "plain": 1, "grad_norm": 1, "grasp": 2, "fisher": 2}
    before = {name: score(name, probe_of(drawn(Mixer))) for name in names}
    loss = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *args, **settings: 3 * loss(*args, **settings))
    for name, power in names.items():
        assert score(name, probe_of(drawn(Mixer))) == pytest.approx(3**power * before[name], rel=1e-9)


def test_grasp_agrees_with_finite_differences(probe):
    weights, gradients = slow_gradients(probe)
    eps = 1e-5

    def gradients_at(step):
        model = clone(probe.model)
        layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        with torch.no_grad():
            for layer, g in zip(layers, gradients, strict=True):
                layer.weight += step * g
        F.cross_entropy(model(probe.images), probe.labels).backward()
        return [layer.weight.grad for layer in layers]

    up, down = gradients_at(eps), gradients_at(-eps)
    expected = -sum(float((w * (a - b)).sum()) / (2 * eps) for w, a, b in zip(weights, up, down, strict=True))
    assert score("grasp", probe) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("batches", [2, 4])
def test_zico_takes_moments_across_batches(probe, batches):
    pieces = []
    n = len(probe.images) // batches
    for i in range(batches):
        part = probe_of(clone(probe.model), images=probe.images[i * n :][:n], labels=probe.labels[i * n :][:n])
        pieces.append([g.numpy() for g in slow_gradients(part)[1]])
    expected = 0.0
    for layer in zip(*pieces, strict=True):
        stacked = np.stack(layer)
        mean, std = np.abs(stacked).mean(0), stacked.std(0)
        expected += math.log((mean[std > 0] / std[std > 0]).sum())
    assert score("zico", probe, batches=batches) == pytest.approx(expected, rel=1e-9)


def test_zico_layerwise_takes_moments_over_the_weights_of_a_layer(probe):
    _, gradients = slow_gradients(probe)
    ratios = [abs(g.mean()) / (g.std() + 1e-9) for g in gradients]
    assert score("zico_layerwise", probe) == pytest.approx(math.log(sum(ratios)))


def test_zico_needs_two_batches(probe):
    with pytest.raises(NotApplicableError, match="at least 2 batches and as many images"):
        score("zico", probe, batches=len(probe.images) + 1)
    with pytest.raises(ConfigError, match="batches is an integer of at least 2"):
        score("zico", probe, batches=1)


# -- without data ------------------------------------------------------------------------------------------------------


def slow_absolute(model, img_size=4):
    model = clone(model).double()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.abs_()
    model(torch.ones(1, 3, img_size, img_size, dtype=torch.float64)).sum().backward()
    return model


def test_scores_without_data_are_those_of_absolute_weights():
    probe = probe_of(drawn(Mixer))
    model = slow_absolute(probe.model)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    synflow = sum(float((m.weight * m.weight.grad).detach().abs().sum()) for m in layers)
    logs = sum(float((m.weight * m.weight.grad.abs().log().abs()).detach().sum()) for m in layers)
    assert score("synflow", probe) == pytest.approx(synflow)
    assert score("logsynflow", probe) == pytest.approx(logs)
    attention, others = model.first.weight, (model.second.weight, model.head.weight)
    diversity = float(np.linalg.norm(attention.grad, "nuc") * np.linalg.norm(attention.detach(), "nuc"))
    products = sum(float((w.grad * w).detach().abs().sum()) for w in others)
    assert score("dss", probe) == pytest.approx(diversity + products, rel=1e-6)
    sigmoids = sum(float((1 / (1 + torch.exp(-w.grad))).mean()) for w in others)
    assert score("autoprox_a", probe) == pytest.approx(float(attention.grad.abs().sum()) + sigmoids)


def test_layers_of_a_homogeneous_network_have_equal_sums():
    model = drawn(lambda: ReluMlp(48, 20, 30, 10, CLASSES))
    probe = probe_of(model)
    found = probe.once(absolute_gradients)
    sums = [float((w * g).sum()) for w, g in zip(found.weights, found.gradients, strict=True)]
    assert sums == pytest.approx([sums[0]] * 4, rel=1e-9)
    trained = probe.once(labelled_gradients)
    plain = [float((m.weight * g).sum()) for m, g in zip(trained.layers, trained.gradients, strict=True)]
    assert plain == pytest.approx([plain[0]] * 4, rel=1e-9)


@pytest.mark.parametrize("name", ["synflow", "logsynflow", "dss", "autoprox_a", "l2_norm"])
def test_scores_without_data_change_neither_with_the_batch_nor_with_signs(name):
    model = drawn(Mixer)
    before = score(name, probe_of(model))
    assert score(name, probe_of(model, seed=1)) == before
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.where(torch.rand(parameter.shape) < 0.5, -1.0, 1.0))
    assert score(name, probe_of(model)) == pytest.approx(before, rel=1e-12)


def test_dss_asks_for_roles_and_not_for_squares():
    class Wide(Mixer):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 10)
            self.back = nn.Linear(10, 6)

        def roles(self):
            return replace(super().roles(), attention=(self.first, self.back))

        def pooled_features(self, images):
            tokens = self.stem(images).flatten(2).mT
            return self.second(self.act(tokens + self.back(self.first(self.norm(tokens))))).mean(1)

    probe = probe_of(drawn(Wide))
    model = slow_absolute(probe.model)
    expected = sum(
        float(np.linalg.norm(w.grad, "nuc") * np.linalg.norm(w.detach(), "nuc"))
        for w in (model.first.weight, model.back.weight)
    ) + sum(float((w.grad * w).detach().abs().sum()) for w in (model.second.weight, model.head.weight))
    assert score("dss", probe) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["dss", "autoprox_a"])
def test_a_network_without_attention_is_told(name):
    with pytest.raises(NotApplicableError, match="roles attention, mlp"):
        score(name, probe_of(drawn(lambda: ReluMlp(48, 5, CLASSES))))


def test_nuclear_norms_agree_with_singular_values():
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(*shape, generator=generator) for shape in [(5, 9), (9, 5), (7, 7), (5, 5)]]
    rank_one = torch.outer(torch.arange(1.0, 6), torch.arange(1.0, 5))
    found = saliency.nuclear_norms([*matrices, rank_one])
    expected = [float(torch.linalg.svdvals(m.double()).sum()) for m in matrices]
    assert found == pytest.approx([*expected, float(rank_one.norm())], rel=1e-6)


def test_batch_norms_are_passed_on_without_data_and_come_back():
    class Normed(ReluMlp):
        def __init__(self):
            super().__init__(48, 5, CLASSES)
            self.norm = nn.BatchNorm1d(48)

        def forward(self, images):
            return super().forward(self.norm(images.flatten(1)))

    model = drawn(Normed)
    with torch.no_grad():
        model.norm.running_mean.fill_(-3.0)
    bare = ReluMlp(48, 5, CLASSES)
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith("layers")})
    assert score("synflow", probe_of(model)) == pytest.approx(score("synflow", probe_of(bare)), rel=1e-12)
    assert float(model.norm.running_mean[0]) == -3.0
