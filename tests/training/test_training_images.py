"""The order and the variation of images follow from the seed alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import Mixup

from raynas.data.opening import open_dataset
from raynas.errors import ConfigError
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.process_state import seed_generators
from raynas.training.config import AUGMENTATIONS
from raynas.training.images import eval_loader, eval_transform, microbatches, train_loader, train_transform

DIGITS = open_dataset("digits")
STRONG = dict(AUGMENTATIONS["strong"])


def stream(**settings: Any) -> list[Any]:
    chosen: dict[str, Any] = {
        "batch_size": 16,
        "seed": 3,
        "epochs": range(2),
        "first_step": 0,
        "worker": (0, 1, 1),
        "processes": 0,
        "pin_memory": False,
    }
    rows = np.arange(100, 150)
    return list(train_loader(DIGITS, rows, (train_transform(32, STRONG),), **{**chosen, **settings}))


def test_an_epoch_shows_every_image_at_most_once_and_in_another_order_than_the_last() -> None:
    epochs = []
    for epoch in range(2):
        batches = stream(epochs=range(epoch, epoch + 1))
        assert [len(batch.labels) for batch in batches] == [16] * 3  # of 50, without the rest
        epochs.append(torch.cat([batch.labels for batch in batches]))
    of_rows = torch.from_numpy(DIGITS.labels(range(100, 150)))
    for labels in epochs:
        assert (torch.bincount(labels, minlength=10) <= torch.bincount(of_rows, minlength=10)).all()
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("change", [{"processes": 2}, {"epochs": range(1, 2), "first_step": 1}])
def test_images_depend_neither_on_processes_nor_on_where_one_starts(change: dict[str, Any]) -> None:
    expected = stream()
    found = stream(**change)
    for one, other in zip(expected[-len(found) :], found, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.images, other.images)


@pytest.mark.parametrize(("n", "of"), [(1, 16), (2, 16), (3, 16), (8, 16), (5, 22)])
def test_mixtures_do_not_depend_on_how_a_batch_is_cut(n: int, of: int) -> None:
    images, labels = torch.randn(of, 3, 8, 8), torch.arange(of) % 4
    mixup = Mixup(0.8, 1.0, label_smoothing=0.1, num_classes=4)
    for seed in range(6):
        np.random.seed(seed)  # noqa: NPY002
        whole, targets = mixup(images.clone(), labels)
        cut = microbatches(np.arange(of), n)
        assert sorted(np.concatenate(cut).tolist()) == list(range(of))
        assert max(map(len, cut)) - min(map(len, cut)) <= 2
        for piece in cut:
            np.random.seed(seed)  # noqa: NPY002
            mixed, piece_targets = mixup(images[piece].clone(), labels[piece])
            assert torch.equal(mixed, whole[piece])
            assert torch.equal(piece_targets, targets[piece])


@pytest.mark.parametrize("of", range(2, 14))
def test_a_batch_of_any_size_is_cut_into_nearly_equal_parts(of: int) -> None:
    for n in range(1, of // 2 + 1):
        cut = microbatches(np.arange(of), n)
        assert len(cut) == n
        assert sorted(np.concatenate(cut).tolist()) == list(range(of))
        assert max(map(len, cut)) - min(map(len, cut)) <= 2
        assert all((piece + piece[::-1] == of - 1).all() for piece in cut), "reversal pairs other rows"


@pytest.mark.parametrize(("world", "passes"), [(2, 1), (1, 2), (2, 2), (3, 1)])
def test_workers_and_passes_share_a_step(world: int, passes: int) -> None:
    (whole,) = stream(epochs=range(1), batch_size=48)
    shared = [
        batch for rank in range(world) for batch in stream(epochs=range(1), batch_size=48, worker=(rank, world, passes))
    ]
    assert len(shared) == world * passes
    found = torch.cat([batch.images for batch in shared]).flatten(1).sum(1).sort().values
    assert torch.equal(found, whole.images.flatten(1).sum(1).sort().values)


@pytest.mark.parametrize(("world", "passes"), [(1, 1), (2, 2), (3, 1)])
def test_a_batch_says_where_in_the_step_its_images_are(world: int, passes: int) -> None:
    (whole,) = stream(epochs=range(1), batch_size=48)
    assert whole.positions.tolist() == list(range(48))
    seen = []
    for rank in range(world):
        for batch in stream(epochs=range(1), batch_size=48, worker=(rank, world, passes)):
            assert torch.equal(batch.images, whole.images[batch.positions])
            assert torch.equal(batch.labels, whole.labels[batch.positions])
            seen += batch.positions.tolist()
    assert sorted(seen) == list(range(48))


@pytest.mark.parametrize("processes", [0, 1])
def test_views_show_the_same_image_each_in_its_own_way(processes: int) -> None:
    views = (eval_transform(32), train_transform(32, STRONG), train_transform(32, STRONG), eval_transform(48))
    settings: dict[str, Any] = {"batch_size": 16, "seed": 3, "epochs": range(1), "first_step": 0, "worker": (0, 1, 1)}
    loader = train_loader(
        DIGITS, np.arange(100, 150), views, needs_labels=False, processes=processes, pin_memory=False, **settings
    )
    for batch, plain in zip(loader, stream(epochs=range(1)), strict=True):
        assert batch.labels is None
        assert len(batch) == 16
        assert [view.shape[2] for view in batch.views] == [32, 32, 32, 48]
        assert not torch.equal(batch.views[1], batch.views[2])
        # The first varied view is the one of a training with that view alone, since nothing was drawn before it.
        assert torch.equal(batch.views[1], plain.images)


@pytest.mark.parametrize("world", [1, 3])
def test_evaluation_shows_every_image_once(world: int) -> None:
    rows = np.arange(10, 60)
    found = torch.cat(
        [
            batch.labels
            for rank in range(world)
            for batch in eval_loader(
                DIGITS, rows, (eval_transform(32),), batch_size=7, worker=(rank, world), processes=0, pin_memory=False
            )
        ]
    )
    expected = np.bincount(DIGITS.labels(rows), minlength=10)
    assert np.bincount(found.numpy(), minlength=10).tolist() == expected.tolist()


def test_evaluation_images_are_those_that_scores_see() -> None:
    from raynas.data.batch import normalised

    (image, *_), _ = DIGITS.read([5])
    assert torch.allclose(eval_transform(32)(image), torch.from_numpy(normalised(image, 32)), atol=1e-5)


def test_the_centre_is_cut_out_of_an_image_whose_shorter_side_was_resized() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    resized = np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC), np.float32) / 255  # 28 / 0.875 = 32
    cut = resized[2:30, 10:38]
    expected = (cut - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    found = eval_transform(28, 0.875)(image).numpy()
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("img_size", "eval_crop", "side"), [(224, 0.875, 256), (32, 0.9, 36), (224, 0.9, 249)])
def test_the_shorter_side_is_rounded_to_the_nearest_pixel(img_size: int, eval_crop: float, side: int) -> None:
    resize = eval_transform(img_size, eval_crop).transforms[0]  # type: ignore[attr-defined]
    assert resize.size == side


def test_without_augmentation_an_image_is_only_resized() -> None:
    (image, *_), _ = DIGITS.read([5])
    assert torch.allclose(train_transform(32, dict(AUGMENTATIONS["none"]))(image), eval_transform(32)(image), atol=1e-5)


def test_strong_augmentation_varies_from_epoch_to_epoch_and_erases() -> None:
    first, second = stream(epochs=range(1)), stream(epochs=range(1, 2))
    assert not any(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))
    transform = train_transform(32, {**AUGMENTATIONS["none"], "erasing": 1.0})
    (image, *_), _ = DIGITS.read([5])
    seed_generators(1)
    changed = (transform(image) != eval_transform(32)(image)).any(0).float().mean()
    assert 0.01 < changed < 0.5  # timm erases 2 to 33 % of an image


def test_a_text_that_timm_does_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto_augment 'rant-m9' is not what timm reads"):
        train_transform(32, {**STRONG, "auto_augment": "rant-m9"})


def test_seeded_generators_repeat() -> None:
    seed_generators(1, "a")
    first = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    seed_generators(1, "a")
    assert torch.equal(first[0], torch.rand(3))
    assert math.isclose(first[1][0], np.random.rand())  # noqa: NPY002
