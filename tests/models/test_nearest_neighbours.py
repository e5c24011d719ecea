"""Classes told by neighbours."""

from __future__ import annotations

import torch

from raynas.models.nearest_neighbours import knn_accuracy, told_classes


def test_neighbours_vote_by_their_cosines() -> None:
    known = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.0, 2.0], [0.1, 3.0]])
    classes = torch.tensor([4, 4, 1, 1, 1])
    features = torch.tensor([[5.0, 0.1], [0.1, 5.0]])
    assert told_classes(known, classes, features, neighbours=2).tolist() == [4, 1]
    # All five vote: three far ones outweigh two near ones only at a temperature that makes cosines no matter.
    assert told_classes(known, classes, features[:1], neighbours=5, temperature=0.07).tolist() == [4]
    assert told_classes(known, classes, features[:1], neighbours=5, temperature=100.0).tolist() == [1]


def test_separate_clusters_are_told_and_noise_is_not() -> None:
    torch.manual_seed(0)
    classes = torch.arange(3000) % 3
    centres = torch.eye(3).repeat_interleave(4, 1)
    assert knn_accuracy(centres[classes] + 0.05 * torch.randn(3000, 12), classes) == 1
    assert 0.28 < knn_accuracy(torch.randn(3000, 12), classes) < 0.39


def test_no_image_is_its_own_neighbour() -> None:
    # Each of two copies has the other class.
    pairs = torch.randn(50, 8).repeat_interleave(2, 0)
    assert knn_accuracy(pairs, torch.arange(100) % 2) < 0.6
    assert told_classes(pairs, torch.arange(100) % 2, pairs, neighbours=1, are_same=True).tolist() == [1, 0] * 50
