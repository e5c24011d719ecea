"""Scores of the gradients by the images against numpy's correlations of gradients taken image by image."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from zoo_models import CLASSES, Mixer, drawn, probe_of

from raynas.errors import NotApplicableError
from raynas.proxies.registered import proxies


def score(name, probe):
    return proxies.get(name)(probe)[name]


def slow_rows(probe):
    rows = []
    for image in probe.images:
        x = image[None].clone().requires_grad_(True)
        probe.model(x).sum().backward()
        rows.append(x.grad.flatten().numpy())
    return np.array(rows)


class Given(nn.Module):
    """The sum of its outputs has the gradients that it was made with, image by image."""

    def __init__(self, rows, classes=CLASSES):
        super().__init__()
        self.rows = torch.as_tensor(rows)
        self.classes = classes

    def forward(self, images):
        products = (images.flatten(1)[:, : self.rows.shape[1]] * self.rows).sum(1)
        return products[:, None].expand(-1, self.classes) / self.classes


def given(rows, classes=CLASSES, **settings):
    images = torch.zeros(len(rows), 3, 4, 4, dtype=torch.float64)
    return probe_of(Given(np.pad(rows, ((0, 0), (0, 48 - len(rows[0])))), classes), images=images, **settings)


def test_jacob_cov_is_a_sum_over_eigenvalues_of_correlations():
    probe = probe_of(drawn(Mixer))
    values = np.linalg.eigvalsh(np.corrcoef(slow_rows(probe)))
    expected = -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in np.maximum(values, 0))
    assert score("jacob_cov", probe) == pytest.approx(expected, rel=1e-6)


def test_jacob_cov_of_uncorrelated_gradients_is_minus_their_number():
    rows = np.zeros((4, 48))
    rows[np.arange(4), 2 * np.arange(4)] = 1
    rows[np.arange(4), 2 * np.arange(4) + 1] = -1  # centred and orthogonal
    apart = score("jacob_cov", given(rows))
    assert apart == pytest.approx(-4 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5)), rel=1e-9)
    rows[1] = rows[0]
    assert score("jacob_cov", given(rows)) < 100 * apart


def slow_epe(rows, labels, classes):
    sums = []
    for label in sorted(set(labels)):
        own = rows[[i for i, other in enumerate(labels) if other == label]]
        if len(own) < 2:
            continue
        total = np.log(np.abs(np.corrcoef(own)) + 1e-5).sum()
        sums.append(total / len(own) if classes > 100 else total)
    if classes > 100:
        pairs = [(i, j) for i in range(len(sums)) for j in range(i + 1, len(sums))]
        return sum(abs(sums[i] - sums[j]) for i, j in pairs) / len(sums)
    return sum(abs(s) for s in sums)


@pytest.mark.parametrize("classes", [3, 101])
def test_epe_nas_is_over_the_classes_of_the_batch(classes):
    rows = np.random.default_rng(0).standard_normal((7, 48))
    labels = [0, 0, 2, 2, 2, 0, 1]  # one class with one image; of 101 most are absent
    probe = given(rows, classes, labels=torch.tensor(labels))
    assert score("epe_nas", probe) == pytest.approx(slow_epe(rows, labels, classes), rel=1e-9)
    renamed = given(rows, classes, labels=torch.tensor([{0: 2, 1: 0, 2: 1}[label] for label in labels]))
    assert score("epe_nas", renamed) == pytest.approx(score("epe_nas", probe), rel=1e-12)


def test_epe_nas_needs_two_images_of_a_class():
    with pytest.raises(NotApplicableError, match="at least two images"):
        score("epe_nas", probe_of(drawn(Mixer), n=2, labels=torch.tensor([0, 1])))
