"""The neural tangent kernel against one autograd pass for every image."""

import math

import pytest
import torch
import torch.nn.functional as F
from scored_models import NONE, SEED, TINY, as_vit_probe, assert_unchanged, fingerprint
from torch import nn

from raynas.errors import NotApplicableError
from raynas.models.families.as_vit import AsViT
from raynas.proxies import ntk
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def images_of(n, img_size=32, dtype=torch.float64):
    return torch.randn(n, 3, img_size, img_size, dtype=dtype, generator=torch.Generator().manual_seed(1))


def slow_kernel(model, images):
    """Gram matrix of gradients by the named weights, image by image."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    weights = [parameter.requires_grad_() for name, parameter in model.named_parameters() if "weight" in name]
    rows = []
    for image in images:
        gradients = torch.autograd.grad(model.pooled_features(image[None]).sum(), weights, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    for parameter in frozen:
        parameter.requires_grad_(False)
    jacobian = torch.stack(rows).double()
    return jacobian @ jacobian.T


def score(probe):
    return proxies.get("ntk_condition")(probe)["ntk_condition"]


def probe_of(model, images, **arguments):
    return Probe(NONE, model, img_size=images.shape[-1], images=images, **arguments)


def test_the_kernel_of_as_vit_equals_that_of_single_images():
    images = images_of(6)
    probe = as_vit_probe(images=images)
    expected = slow_kernel(probe.model, images)
    torch.testing.assert_close(ntk.kernel(probe), expected, rtol=1e-10, atol=0)
    eigenvalues = torch.linalg.eigvalsh(expected)
    assert score(probe) == pytest.approx(float(eigenvalues[-1] / eigenvalues[0]), rel=1e-8)


def test_the_kernel_of_the_seed_network_equals_that_of_single_images():
    torch.manual_seed(0)
    model = AsViT(SEED, img_size=64).eval().requires_grad_(False)  # with position embedding, whose name has no "weight"
    images = images_of(5, 64, torch.float32)
    expected = slow_kernel(model, images)
    torch.testing.assert_close(ntk.kernel(probe_of(model, images)), expected, rtol=2e-5, atol=0)


@pytest.mark.parametrize("max_batch", [1, 2, 4])
def test_a_split_batch_gives_the_same_kernel(max_batch):
    images = images_of(6)
    whole = as_vit_probe(images=images)
    split = probe_of(whole.model, images, max_batch=max_batch)
    torch.testing.assert_close(ntk.kernel(split), ntk.kernel(whole), rtol=1e-12, atol=0)
    assert score(split) == pytest.approx(score(whole), rel=1e-9)


class OwnForward(nn.Linear):
    """A linear layer that is none: what its kind of layer would give does not hold."""

    def forward(self, x):
        return F.linear(x, self.weight.tanh(), self.bias)


class SameForward(nn.LayerNorm):
    """An own forward that does what its kind of layer does."""

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class Mixed(nn.Module):
    """Every kind of use that a weight can have."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.depthwise = nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6, bias=False)
        self.same = nn.Conv2d(12, 8, 3, padding="same")
        self.reflecting = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.table_weight = nn.Parameter(torch.randn(1, 16, 8))
        self.offset = nn.Parameter(torch.randn(8))  # no "weight" in its name
        self.norm = nn.LayerNorm(8)
        self.own_norm = SameForward(8)
        self.grid_norm = nn.LayerNorm((16, 8))
        self.twice = nn.Linear(8, 8)
        self.changed = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.twice.weight
        self.own = OwnForward(8, 8)
        self.functional = nn.Linear(8, 8)
        self.merged = nn.Linear(8, 5)
        self.out = nn.Linear(8, 7)
        self.head = nn.Linear(7, 2)  # not in the features

    def pooled_features(self, images):
        x = self.relu(self.bn(self.stem(images)))
        x = self.reflecting(self.same(torch.tanh(self.depthwise(x))))
        x = x.flatten(2).mT
        x = self.norm(x + self.table_weight) + self.offset
        x = self.grid_norm(self.own_norm(x) * 1.5)
        x = torch.tanh(self.twice(torch.tanh(self.twice(x)))) + self.tied(x)
        y = self.changed(x)
        y *= torch.sigmoid(x)
        x = self.own(torch.tanh(y))
        x = F.gelu(F.linear(x, self.functional.weight, self.functional.bias))
        z = self.merged(x.flatten(0, 1)).unflatten(0, (len(images), -1)).tanh().sum(2, keepdim=True)
        return self.out((x * z).mean(1)).tanh()


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    model = Mixed().double()
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.eval().requires_grad_(False)


def test_weights_used_in_any_way_are_counted(mixed):
    images = images_of(4, 8)
    expected = slow_kernel(mixed, images)
    before = fingerprint(mixed)
    kernel = ntk.kernel(probe_of(mixed, images))
    torch.testing.assert_close(kernel, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(ntk.kernel(probe_of(mixed, images, max_batch=3)), expected, rtol=1e-10, atol=0)
    assert_unchanged(mixed, before)


def test_one_pass_serves_all_images_where_layers_are_usual():
    probe = as_vit_probe(images=images_of(4))
    sizes = []
    features = probe.model.pooled_features
    probe.model.pooled_features = lambda images: sizes.append(len(images)) or features(images)
    score(probe)
    score(probe)
    assert sizes == [4]


def test_the_condition_number_is_that_of_the_eigenvalues():
    basis, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    gram = basis @ torch.diag(torch.tensor([2.0, 8.0, 5.0], dtype=torch.float64)) @ basis.T
    assert ntk.condition_number(gram, 1e-7) == pytest.approx(4.0)
    assert ntk.condition_number(gram * 1e-30, 1e-7) == pytest.approx(4.0)
    assert ntk.condition_number(torch.diag(torch.tensor([1.0, 1e-8])), 1e-7) == math.inf
    assert ntk.condition_number(torch.zeros(2, 2), 1e-7) == math.inf
    assert math.isnan(ntk.condition_number(torch.full((2, 2), math.nan), 1e-7))
    assert math.isnan(ntk.condition_number(torch.full((2, 2), math.inf), 1e-7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_images_have_no_condition_number(dtype):
    image = images_of(1, dtype=dtype)
    images = torch.cat([image, images_of(3, dtype=dtype), image])
    assert score(as_vit_probe(images=images, dtype=dtype)) == math.inf


def test_a_broken_network_has_no_condition_number():
    probe = as_vit_probe(images=images_of(3))
    with torch.no_grad():
        probe.model.stages[1].blocks[0].mlp.fc1.weight.fill_(math.nan)
    assert math.isnan(score(probe))


def test_lower_is_better_and_images_are_needed():
    declared = proxies.get("ntk_condition")
    assert not declared.higher_is_better
    assert declared.needs_images
    with pytest.raises(NotApplicableError, match="needs images"):
        declared(as_vit_probe())
    with pytest.raises(NotApplicableError, match="at least two images, got 1"):
        declared(as_vit_probe(images=images_of(1)))
    with pytest.raises(
        NotApplicableError, match="method pooled_features or a head that is known, and Linear has neither"
    ):
        declared(probe_of(nn.Linear(3, 3).double(), images_of(2)))


def test_no_grad_around_the_score_does_not_matter():
    images = images_of(3)
    with torch.no_grad():
        inside = score(as_vit_probe(images=images))
    assert inside == score(as_vit_probe(images=images))


@pytest.mark.parametrize("fails", [False, True])
def test_a_score_leaves_the_network_as_it_was(fails):
    probe = as_vit_probe(TINY, images=images_of(3))
    probe.model.train()
    probe.model.stages[3].requires_grad_(True)

    def fail(module, args):
        raise ValueError("broken layer")

    if fails:
        probe.model.stages[2].blocks[0].mlp.fc2.register_forward_pre_hook(fail)
    before = fingerprint(probe.model)
    if fails:
        with pytest.raises(ValueError, match="broken layer"):
            score(probe)
    else:
        score(probe)
    assert_unchanged(probe.model, before)
