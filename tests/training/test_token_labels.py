"""Labels of patches: mixtures that agree with pixels, the same on any cut of a step, and trainings with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_spaces import small_res
from toy_trainings import SMALL, largest_difference, weights

import raynas
from raynas import Choice, SearchSpace
from raynas.errors import ConfigError
from raynas.models.step_draws import StepContext
from raynas.space.registered import spaces
from raynas.training.batch import Batch
from raynas.training.checkpoints import LAST, checkpoint_folder, read_checkpoint
from raynas.training.config import TrainConfig
from raynas.training.folder import load_training
from raynas.training.images import microbatches
from raynas.training.objectives.classification import Classification
from raynas.training.objectives.objective import exported_part
from raynas.training.objectives.token_labels import PatchHead, TokenLabels
from raynas.training.plan import TrainingPlan, make_training_plan
from raynas.training.run import execute_training

SIDE = 8  # pixels of a patch
CLASSES = 32
LARGEST = small_res.largest()
TRAINING: dict[str, Any] = {
    "architecture": LARGEST.to_json(), "img_size": 32, "data": "digits", "max_images": 80, "batch_size": 16,
    "epochs": 2, "augment": "none", "threads": 1, "loader_processes": 0, "loggers": [], "token_labels": True,
}  # fmt: skip


def plan(space: SearchSpace = small_res, **settings: Any) -> TrainingPlan:
    return make_training_plan(TrainConfig.make({**TRAINING, "space": space.name, **settings}), space=space)


def labels_of(grid: int = 4, *, smoothing: float = 0.0, block_images: int = 128) -> TokenLabels:
    return TokenLabels(CLASSES, smoothing, grid, 5, block_images)


def context(size: int, number: int = 0, seed: int = 0) -> StepContext:
    return StepContext(seed, 0, number, number, 100, size, (np.arange(size),))


def encoded(size: int, grid: int = 4, positions: np.ndarray | None = None) -> Batch:
    """Images all of whose pixels are the number of their class."""
    labels = torch.from_numpy(np.random.default_rng(0).permutation(size)) % CLASSES
    images = labels.float().view(-1, 1, 1, 1).expand(-1, 3, grid * SIDE, grid * SIDE).clone()
    rows = torch.arange(size) if positions is None else torch.from_numpy(positions)
    return Batch((images[rows],), labels[rows], rows)


@pytest.mark.parametrize("grid", [2, 4, 5])
def test_pixels_and_labels_of_patches_agree(grid: int) -> None:
    """Of a mixture, each pixel is the mean of the class numbers under its patch's target."""
    numbers = torch.arange(CLASSES, dtype=torch.float32)
    for step in range(10):
        batch = encoded(16, grid)
        images, (classes, patches) = labels_of(grid).mixed(batch, context(16, step))
        assert images.shape == batch.images.shape
        assert patches.shape == (16, grid * grid, CLASSES)
        expected = (patches @ numbers).view(16, 1, grid, grid)
        by_patch = images.view(16, 3, grid, SIDE, grid, SIDE)
        torch.testing.assert_close(by_patch, expected[:, :, :, None, :, None].expand_as(by_patch), rtol=0, atol=1e-4)
        torch.testing.assert_close(classes, patches.mean(1), rtol=0, atol=1e-6)
        torch.testing.assert_close(classes.sum(1), torch.ones(16), rtol=0, atol=1e-5)


def test_the_share_of_a_class_is_that_of_unchanged_patches() -> None:
    """The first half by CutMix, whose patches are whole; the second half by Mixup, whose patches are all alike."""
    changed = set()
    for step in range(60):
        batch = encoded(16)
        assert batch.labels is not None
        images, (classes, patches) = labels_of().mixed(batch, context(16, step))
        unchanged = (images == batch.images).view(16, 3, 4, SIDE, 4, SIDE).all(5).all(3).all(1).flatten(1)
        for i in range(8):
            own, other = int(batch.labels[i]), int(batch.labels[15 - i])
            assert classes[i, own] == pytest.approx(float(unchanged[i].float().mean()))
            assert classes[i, own] + classes[i, other] == 1
            assert patches[i, unchanged[i], own].eq(1).all()
            assert patches[i, ~unchanged[i], other].eq(1).all()
        assert len({tuple(row.tolist()) for row in unchanged[:8]}) == 1  # one box for all
        changed.add(int((~unchanged[0]).sum()))
        torch.testing.assert_close(patches[8:], classes[8:, None].expand(-1, 16, -1), rtol=0, atol=0)
        shares = classes[8:].gather(1, batch.labels[8:, None])
        assert shares.unique().numel() == 1
    assert {0, 1, 2, 4} < changed <= {0, 1, 2, 3, 4, 6, 8, 10, 12}


def test_labels_are_smoothed_before_they_are_mixed() -> None:
    batch = encoded(16)
    _, hard = labels_of().mixed(batch, context(16))
    _, soft = labels_of(smoothing=0.1).mixed(batch, context(16))
    for one, other in zip(hard, soft, strict=True):
        torch.testing.assert_close(other, 0.9 * one + 0.1 / CLASSES)


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("block_images", [128, 12])
def test_parts_of_a_step_are_the_whole_bit_for_bit(parts: int, block_images: int) -> None:
    mixing = labels_of(smoothing=0.1, block_images=block_images)
    whole, (classes, patches) = mixing.mixed(encoded(32), context(32, 3))
    seen = []
    for positions in microbatches(np.arange(32), parts):
        images, (of_images, of_patches) = mixing.mixed(encoded(32, positions=positions), context(32, 3))
        assert torch.equal(images, whole[positions])
        assert torch.equal(of_images, classes[positions])
        assert torch.equal(of_patches, patches[positions])
        seen.extend(positions.tolist())
    assert sorted(seen) == list(range(32))


def test_halves_of_each_block_are_mixed_in_the_two_ways() -> None:
    """Blocks of 12, 12 and 8 positions; and of each block, two or three sub-networks in turn see as much of both."""
    kinds = np.array([*[0] * 6, *[1] * 6, *[0] * 6, *[1] * 6, *[0] * 4, *[1] * 4])
    by_cutmix = np.ones(32, bool)
    for step in range(5):
        _, (_, patches) = labels_of(block_images=12).mixed(encoded(32), context(32, step))
        by_cutmix &= ((patches == 0) | (patches == 1)).all(2).all(1).numpy()
    assert np.array_equal(by_cutmix, kinds == 0)
    for subnets in (2, 3):
        for member in range(subnets):
            assert kinds[:24][np.arange(24) % subnets == member].mean() == 0.5


def test_draws_follow_from_seed_step_and_block_alone() -> None:
    mixing = labels_of(block_images=8)
    again = mixing.drawn(context(64, 5, seed=7), 2)
    assert np.array_equal(mixing.drawn(context(64, 5, seed=7), 2), again)
    later_session = StepContext(7, 1, 2, 5, 999, 64, (np.arange(4),))
    assert np.array_equal(mixing.drawn(later_session, 2), again)
    different = {
        mixing.drawn(context(64, step, seed=seed), block).tobytes()
        for seed in (7, 8)
        for step in (5, 6)
        for block in (2, 3)
    }
    assert len(different) == 8


@pytest.mark.parametrize("grid", [1, 2, 4, 7])
def test_a_box_lies_anywhere_and_has_the_published_sizes(grid: int) -> None:
    def sizes(area: int) -> set[tuple[int, int]]:
        """Heights of the published code, written out, with the widths that fit the area."""
        if not area:
            return {(0, 0)}
        heights = range(1, max(1, min(grid, area) - 1)) or [1]
        boxes = [(height, area // height) for height in heights]
        return {(area // grid, grid) if width > grid else (height, width) for height, width in boxes}

    allowed = set().union(*(sizes(area) for area in range(grid**2)))
    found, covered = set(), np.zeros((grid, grid))
    for step in range(3000):
        cutmix, mixup = labels_of(grid).drawn(context(16, step), 0)
        rows, columns = np.nonzero(cutmix == 0)
        height, width = (int(np.ptp(one)) + 1 if len(one) else 0 for one in (rows, columns))
        assert len(rows) == height * width
        assert 0 <= mixup.min() == mixup.max() <= 1
        found.add((height, width))
        covered += cutmix == 0
    assert found == allowed
    assert grid == 1 or covered.min() > 0.2 * covered.max()


def test_the_shares_of_mixtures_have_the_published_distributions() -> None:
    """The area of a box is floor(16 u) for u uniform; Mixup's shares have the variance of Beta(0.8, 0.8), 1 / 10.4."""
    drawn = np.array([labels_of().drawn(context(16, step), 0)[:, :1, :] for step in range(4000)])
    assert drawn[:, 1].mean() == pytest.approx(0.5, abs=0.02)
    assert drawn[:, 1, 0, 0].var() == pytest.approx(1 / 10.4, abs=0.005)
    empty = np.mean([(labels_of().drawn(context(16, step), 0)[0] == 1).all() for step in range(4000)])
    assert empty == pytest.approx(1 / 16, abs=0.015)


def test_the_loss_is_the_sum_of_two_cross_entropies() -> None:
    mixing = labels_of(smoothing=0.1)
    _, targets = mixing.mixed(encoded(16), context(16))
    logits, of_patches = torch.randn(16, CLASSES), torch.randn(16, 16, CLASSES)
    loss = mixing.loss((logits, of_patches), targets)
    by_hand = [-sum(float(t @ one.log_softmax(0)) for t, one in zip(targets[0], logits, strict=True)) / 16]
    rows = zip(targets[1].reshape(-1, CLASSES), of_patches.reshape(-1, CLASSES), strict=True)
    by_hand.append(-sum(float(t @ one.log_softmax(0)) for t, one in rows) / 256)
    assert [float(loss.terms[name]) for name in ("class_loss", "patch_loss")] == pytest.approx(by_hand, rel=1e-4)
    assert float(loss.total) == pytest.approx(sum(by_hand), rel=1e-4)


def test_narrower_tokens_are_computed_by_the_first_channels() -> None:
    head = PatchHead(6, 3, torch.device("cpu"))
    tokens = torch.randn(2, 5, 4)
    padded = torch.cat([tokens, torch.zeros(2, 5, 2)], 2)
    torch.testing.assert_close(head(tokens), torch.nn.functional.linear(padded, head.weight, head.bias))
    assert not head.bias.any()


def test_tokens_of_patches_come_with_the_logits() -> None:
    """Of the last stage, row by row: what changes in a corner of the image moves that corner's token the most."""
    torch.manual_seed(0)
    model: Any = raynas.build(small_res, LARGEST, img_size=64, num_classes=5).eval()
    images = torch.randn(1, 3, 64, 64)
    logits, tokens = model.forward_with_patches(model.stem_features(images))
    assert tokens.shape == (1, 16, 32)
    assert torch.equal(logits, model(images))
    images[:, :, :16, 48:] = 3.0
    moved = (model.forward_with_patches(model.stem_features(images))[1] - tokens).norm(dim=2)[0]
    assert int(moved.argmax()) == 3


def test_evaluation_knows_nothing_of_patches() -> None:
    model = raynas.build(small_res, LARGEST, img_size=32, num_classes=10).eval()
    batch = Batch((torch.randn(4, 3, 32, 32),), torch.arange(4), torch.arange(4))
    made = Classification(model, num_classes=10, token_labels=TokenLabels(10, 0.1, 2, 32))
    assert made.evaluate(model, batch) == Classification(model, num_classes=10).evaluate(model, batch)
    assert exported_part(made) == "model"
    assert {*made.parts()} == {"model", "patch_head"}


# -- trainings ---------------------------------------------------------------------------------------------------------


def test_a_training_goes_on_and_its_network_has_no_head_of_patches(tmp_path: Path) -> None:
    execute_training(plan(), tmp_path / "whole")
    # In the middle of the first epoch, whose head of patches is in no other file than the checkpoint.
    stop = iter([False, True])
    summary = execute_training(plan(), tmp_path / "parts", is_stopped=lambda: next(stop, True))
    assert summary["status"] == "interrupted"
    assert read_checkpoint(checkpoint_folder(tmp_path / "parts") / LAST)["parts"]["patch_head"]["weight"].shape[0] == 10
    execute_training(plan(), tmp_path / "parts", resume=True)
    assert largest_difference(weights(tmp_path / "parts"), weights(tmp_path / "whole")) == 0
    training = load_training(tmp_path / "parts")
    count: Any = small_res.num_params
    counted = sum(parameter.numel() for parameter in training.model(space=small_res).parameters())
    assert counted == training.description["model"]["num_params"] == count(LARGEST, 32, 10)
    columns = {name: np.array(training.metrics[name]) for name in ("train_loss", "class_loss", "patch_loss")}
    assert columns["train_loss"] == pytest.approx(columns["class_loss"] + columns["patch_loss"], rel=1e-5)


def test_presets_give_way_and_are_no_part_of_what_a_training_is() -> None:
    """An identity names labels of patches where there are some, and stays what it was without."""
    strong = plan(augment="strong")
    assert (strong.config.mixup, strong.config.cutmix) == (0.0, 0.0)
    assert strong.identity()["objective"] == {"name": "classification", "label_smoothing": 0.1, "token_labels": True}
    without = plan(augment="strong", token_labels=False)
    assert without.config.mixup is None
    assert without.identity()["objective"] == {"name": "classification", "label_smoothing": 0.1}
    assert strong.settings == without.settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"mixup": 0.2}, r"token_labels mix images in their own way: mixup must be 0"),
        ({"mixup": 0.2, "cutmix": 1.0}, r"mixup and cutmix must be 0 or left out"),
        (
            {"space": spaces.get("as-vit"), "architecture": SMALL},
            r"space 'as-vit' have no token_labels: AsViT gives no tokens of patches",
        ),
        ({"objective": "distillation", "teacher": "random:resnet8"}, r"token_labels go with classification and"),
        ({"retokenize": "0:8,1:4"}, r"retokenize"),
    ],
)
def test_what_does_not_go_with_labels_of_patches_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        plan(**settings)
    assert "\n" not in str(error.value)


def test_a_grid_that_is_no_square_is_refused() -> None:
    class Odd(torch.nn.Module):
        def __init__(self, architecture: Any, *, img_size: int, num_classes: int) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, num_classes)

        def forward_with_patches(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.head(features.mean((2, 3))), features.flatten(2).transpose(1, 2)[:, :6]

    space = SearchSpace("odd", {"width": Choice(3)}, Odd, num_params=lambda *_: 1, macs=lambda *_: 1)
    with pytest.raises(ConfigError, match=r"square grid .* space 'odd' have 6 at 32 pixels"):
        plan(space, architecture='{"width": 3}', drop_path_rate=0.0)
