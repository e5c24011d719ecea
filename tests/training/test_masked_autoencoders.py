"""Masked autoencoders and those with a teacher, against their papers' definitions (arXiv 2111.06377, 2205.14443)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from toy_trainings import StepCounter, largest_difference, plan, trained, weights

from raynas.errors import ConfigError, RaynasError
from raynas.models.masking import kept_tokens
from raynas.models.step_draws import StepContext, share_draws
from raynas.models.token_stages import TokenStages, sine_positions
from raynas.space.build import build
from raynas.space.registered import spaces
from raynas.training.batch import Batch
from raynas.training.folder import load_training
from raynas.training.objectives.objective import Objective
from raynas.training.run import execute_training
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank

SMALL = "p8-w48-d4-h4-m2"
LARGER = "p8-w96-d6-h6-m2"
SETTINGS: dict[str, Any] = {
    "space": "vit",
    "architecture": SMALL,
    "img_size": 32,
    "objective": "mae",
    "lr": None,
    "min_lr": 0.0,
    "drop_path_rate": 0.0,
    "warmup_prefix": True,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    trained(folder, **{**SETTINGS, "architecture": LARGER, "epochs": 1, "max_images": 120})
    return str(folder)


def objective(**settings: Any) -> Objective:
    """The objective of a training at its first step."""
    task = plan(**{**SETTINGS, **settings}).task("cpu", threads=1, loader_processes=0)
    found = StepRunner(task, WorkerRank()).objective
    begin(found)
    return found


def begin(found: Objective, step: int = 0, images: int = 8) -> None:
    context = StepContext(0, 0, step, step, 10, images, (np.arange(images),))
    found.start_step(context)
    draws = share_draws(found)
    draws.begin_step(context, torch.device("cpu"))
    draws.begin_pass(torch.arange(images))


def batch(images: int = 8, side: int = 32) -> Batch:
    pixels = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(1))
    return Batch((pixels,), None, torch.arange(images))


# -- what is computed --------------------------------------------------------------------------------------------------


def test_masks_follow_from_the_step_and_the_position() -> None:
    found: Any = objective()
    first = found._kept(batch())[0].kept
    begin(found)
    assert torch.equal(found._kept(batch())[0].kept, first)
    assert len({tuple(sorted(one.tolist())) for one in first}) > 1
    begin(found, step=1)
    assert not torch.equal(found._kept(batch())[0].kept, first)


def test_a_new_network_is_drawn_as_the_source_draws_it() -> None:
    found: Any = objective()
    model = found.model
    assert torch.equal(model.pos_embed, sine_positions(4, 48, prefix=1))
    assert not model.pos_embed.requires_grad
    fc1 = model.blocks[0].mlp.fc1
    bound = (6 / (48 + 96)) ** 0.5
    assert fc1.bias.abs().max() == 0
    assert 0.95 * bound < fc1.weight.abs().max() <= bound
    patches = model.patch_embed.proj.weight
    assert 0.95 * (6 / (192 + 48)) ** 0.5 < patches.abs().max() <= (6 / (192 + 48)) ** 0.5
    assert 0.01 < model.cls_token.std() < 0.03
    assert 0.01 < found.decoder.mask_token.std() < 0.03


def test_tokens_decay_but_biases_and_norms_do_not() -> None:
    task = plan(**SETTINGS, weight_decay=0.3).task("cpu", threads=1, loader_processes=0)
    runner = StepRunner(task, WorkerRank())
    decayed = {id(one) for group in runner.optimizer.param_groups if group["weight_decay"] for one in group["params"]}
    names = {name for name, parameter in runner.objective.named_parameters() if id(parameter) in decayed}
    trained_names = {name for name, parameter in runner.objective.named_parameters() if parameter.requires_grad}
    assert {"model.cls_token", "decoder.mask_token"} <= names
    for name in trained_names - names:
        assert name.endswith("bias") or "norm" in name


def test_the_learning_rate_rises_from_0_to_its_peak_and_falls_to_0() -> None:
    settings = {**SETTINGS, "epochs": 10, "batch_size": 22, "max_images": 245}  # 10 steps an epoch
    made = plan(**settings, base_lr=1.5e-4)
    assert made.config.lr == pytest.approx(1.5e-4 * 22 / 256)
    assert made.config.warmup_epochs == 1
    runner = StepRunner(made.task("cpu", threads=1, loader_processes=0), WorkerRank())
    rates = []
    for step in range(101):
        runner.scheduler.step_update(step)
        rates.append(runner.optimizer.param_groups[0]["lr"])
    assert rates[0] == 0
    assert rates[10] == max(rates) == pytest.approx(made.config.lr)
    assert rates[55] == pytest.approx(made.config.lr / 2)
    assert rates[99] == pytest.approx(made.config.lr * (1 - np.cos(np.pi / 90)) / 2)


def test_hidden_patches_alone_make_the_loss() -> None:
    found: Any = objective()
    images = batch()
    masking, _ = found._kept(images)
    begin(found)
    loss = found(images).total
    loss.backward()
    changed = images.images.clone()
    by_patch = changed.unfold(2, 8, 8).unfold(3, 8, 8)  # (b, 3, 4, 4, 8, 8), a view
    for image in range(len(images)):
        row, column = divmod(int(masking.hidden[image].argmax()), 4)
        by_patch[image, :, row, column] = torch.randn(3, 8, 8)
    begin(found)
    other = found(Batch((changed,), None, images.positions)).total
    assert other != loss  # another target
    assert found.model.head.weight.grad is None


# -- teachers ----------------------------------------------------------------------------------------------------------


def test_teacher_and_network_see_the_same_patches(teacher: str) -> None:
    found: Any = objective(objective="d-mae", teacher=teacher)
    images = batch()
    masking, kept = found._kept(images)
    stages = TokenStages(found.teacher.model)
    taught = kept_tokens(stages.embedded(images.images), masking, 1)
    assert kept.shape == (8, 5, 48)
    assert taught.shape == (8, 5, 96)
    (logits,) = found._attention_of_teacher(images.images, masking)
    assert logits.shape == (8, 6, 5, 5)
    assert [tuple(one.weight.shape) for one in found.adapters] == [(6, 4, 1, 1)]
    assert found.adapters[0].bias is None


def test_a_network_that_is_its_own_teacher_has_no_difference(teacher: str) -> None:
    found: Any = objective(objective="d-mae", teacher=teacher, architecture=LARGER, attention_pairs="2:2,5:5")
    found.model.load_state_dict(found.teacher.model.state_dict())
    for adapter in found.adapters:
        torch.nn.init.dirac_(adapter.weight)
    found.eval()
    loss = found(batch())
    assert loss.terms["attention_loss"] < 1e-10
    assert float(loss.total.detach()) == pytest.approx(float(loss.terms["reconstruction_loss"]), abs=1e-6)


@pytest.mark.parametrize("kind", ["d-mae", "d2-mae"])
def test_the_loss_is_the_sum_of_both_terms_and_the_teacher_learns_nothing(teacher: str, kind: str) -> None:
    found: Any = objective(objective=kind, teacher=teacher, attention_weight=0.7)
    before = {name: value.clone() for name, value in found.teacher.state_dict().items()}
    loss = found(batch())
    loss.total.backward()
    terms = {name: float(value) for name, value in loss.terms.items()}
    assert float(loss.total.detach()) == pytest.approx(
        terms["reconstruction_loss"] + 0.7 * terms["attention_loss"], abs=1e-6
    )
    assert all(parameter.grad is None for parameter in found.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in found.teacher.state_dict().items())


def test_attention_after_the_softmax_can_be_compared(teacher: str) -> None:
    found: Any = objective(objective="d-mae", teacher=teacher, attention_signal="softmax")
    images = batch()
    masking, kept = found._kept(images)
    begin(found)
    loss = found(images).terms["attention_loss"]
    q, k, _ = _qkv(found.model.blocks[3], TokenStages(found.model).through(kept, 0, 3), 4)
    own = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 12**0.5).softmax(-1)
    aim = found._attention_of_teacher(images.images, masking)[0].softmax(-1)
    mixed = torch.einsum("oh,bhnm->bonm", found.adapters[0].weight[:, :, 0, 0], own)
    assert float(loss) == pytest.approx(float((mixed - aim).square().mean().detach()), rel=1e-4)


def _qkv(block: Any, tokens: torch.Tensor, heads: int) -> Any:
    qkv = block.attn.qkv(block.norm1(tokens))
    return qkv.reshape(*qkv.shape[:2], 3, heads, -1).unbind(2)


def test_d2_mae_reconstructs_early_and_compares_late(teacher: str) -> None:
    found: Any = objective(objective="d2-mae", teacher=teacher, early_blocks=3)
    assert {name.partition(".")[0] for name, _ in found.late.named_parameters()} == {"norm", "qkv"}
    images = batch()
    masking, kept = found._kept(images)
    early = found._stages.through(kept, 0, 3)
    found._loss(images.images, found._stages.normalised(early), masking).backward()
    gradients = [_largest_gradient(block) for block in found.model.blocks]
    assert all(one > 0 for one in gradients[:3])
    assert gradients[3] == 0
    assert all(parameter.grad is None for parameter in found.late.parameters())
    found.zero_grad(set_to_none=True)
    begin(found)
    masking, kept = found._kept(images)
    found._joined(torch.zeros(()), [found.late(found._stages.through(kept))], images, masking).total.backward()
    for block in found.model.blocks:
        assert block.attn.qkv.weight.grad.abs().max() > 0
    assert found.late.qkv.weight.grad.abs().max() > 0


def _largest_gradient(block: torch.nn.Module) -> float:
    return max(0.0 if one.grad is None else float(one.grad.abs().max()) for one in block.parameters())


def test_two_thirds_of_the_blocks_are_8_of_12(teacher: str) -> None:
    assert plan(**{**SETTINGS, "objective": "d2-mae", "teacher": teacher}).config.early_blocks == 3
    made = plan(**{**SETTINGS, "objective": "d2-mae", "teacher": teacher, "architecture": "p8-w48-d12-h4-m2"})
    assert made.config.early_blocks == 8


# -- trainings ---------------------------------------------------------------------------------------------------------


def test_digits_are_reconstructed_better_and_attention_comes_near_the_teachers(tmp_path: Path, teacher: str) -> None:
    settings = {**SETTINGS, "epochs": 15, "max_images": 400, "batch_size": 36, "lr": 2e-3, "augment": "none"}
    trained(tmp_path / "run", **{**settings, "objective": "d-mae", "teacher": teacher})
    rows = load_training(tmp_path / "run").metrics.to_pylist()
    assert rows[-1]["reconstruction_loss"] < 0.8 * rows[0]["reconstruction_loss"]
    assert rows[-1]["attention_loss"] < 0.7 * rows[0]["attention_loss"]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert 0 <= rows[-1]["val_knn_top1"] <= 1
    pictures = sorted(one.name for one in (tmp_path / "run" / "pictures").iterdir())
    assert {"images-1.png", "kept_patches-15.png", "reconstructions-15.png"} <= set(pictures)
    with Image.open(tmp_path / "run" / "pictures" / "reconstructions-15.png") as picture:
        assert picture.size == (8 * 32, 32)


@pytest.mark.parametrize("kind", ["mae", "d2-mae"])
def test_an_interrupted_training_is_gone_on_with_bit_for_bit(tmp_path: Path, teacher: str, kind: str) -> None:
    settings = {**SETTINGS, "objective": kind, "augment": "light", **({} if kind == "mae" else {"teacher": teacher})}
    whole = trained(tmp_path / "whole", **settings)
    stopped = execute_training(plan(**settings), tmp_path / "run", is_stopped=StepCounter(8).is_stopped)
    assert stopped["status"] == "interrupted"
    assert largest_difference(trained(tmp_path / "run", **settings), whole) == 0
    columns = ("train_loss", "val_loss", "val_knn_top1")
    rows = [load_training(tmp_path / name).metrics.select(columns).to_pylist() for name in ("run", "whole")]
    assert rows[0] == rows[1]


def test_passes_change_no_more_than_rounding(tmp_path: Path, teacher: str) -> None:
    settings = {**SETTINGS, "objective": "d-mae", "teacher": teacher, "epochs": 1}
    one = trained(tmp_path / "one", **settings)
    assert largest_difference(one, trained(tmp_path / "two", **settings, accumulation=2)) < 1e-5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mae", "d2-mae"])
def test_two_workers_train_as_one(tmp_path: Path, teacher: str, kind: str) -> None:
    settings = {**SETTINGS, "objective": kind, **({} if kind == "mae" else {"teacher": teacher})}
    one = trained(tmp_path / "one", **settings)
    two = trained(tmp_path / "two", workers=2, **settings)
    assert largest_difference(one, two) < 1e-4
    rows = [load_training(tmp_path / name).metrics.to_pylist()[-1] for name in ("one", "two")]
    for name in ("train_loss", "val_loss", "val_knn_top1"):
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-4)


def test_images_need_no_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(40):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
        (tmp_path / "images" / f"{number}.png").write_bytes(buffer.getvalue())
    settings = {**SETTINGS, "data": f"folder:{tmp_path}/images", "max_images": None, "batch_size": 12, "epochs": 1}
    trained(tmp_path / "run", **settings)
    (row,) = load_training(tmp_path / "run").metrics.to_pylist()
    assert row["val_loss"] > 0
    assert row["val_knn_top1"] is None
    with pytest.raises(RaynasError, match="labels"):
        plan(**{**settings, "objective": "classification"})


def test_the_encoder_is_timms_with_equal_features(tmp_path: Path) -> None:
    trained(tmp_path / "run", **{**SETTINGS, "epochs": 1})
    own = load_training(tmp_path / "run").model().eval()
    copy = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=48, depth=4, num_heads=4, mlp_ratio=2, num_classes=10
    ).eval()
    copy.load_state_dict(weights(tmp_path / "run"))
    images, stages = batch().images, TokenStages(own)
    features = stages.normalised(stages.through(stages.embedded(images)))
    assert torch.allclose(copy.forward_features(images), features, atol=1e-6)


def test_it_goes_on_from_given_weights_with_their_positions(tmp_path: Path) -> None:
    space = spaces.get("vit")
    torch.manual_seed(3)
    model = build(space, space.read(SMALL), img_size=32, num_classes=10)
    torch.save(model.state_dict(), tmp_path / "given.pt")
    found: Any = objective(weights=str(tmp_path / "given.pt"))
    given = dict(model.named_parameters())
    assert all(torch.equal(parameter, given[name]) for name, parameter in found.model.named_parameters())
    assert not found.model.pos_embed.requires_grad


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_ratio": 0.99}, "mask_ratio is 0.99, which leaves no patch of 16"),
        ({"decoder_width": 30}, "width is 30 and its heads are 1: the width is to be a multiple of 4"),
        ({"decoder_heads": 5}, "multiple of 4, and of the heads"),
        ({"architecture": "p8-w90-d2-h3-m2"}, "multiple of 4, not 90"),
        ({"space": "as-vit", "architecture": "4,2,2|2,1,2|2,1,2|2,1,2|8,8"}, "computed on some of its patches"),
        ({"space": "timm", "architecture": "resnet10t"}, "cannot be computed on some of its patches"),
        ({"momentum": 0.5}, "momentum: the objective mae has no such setting"),
        ({"objective": "classification", "mask_ratio": 0.5}, "mask_ratio: the objective classification has no such"),
        ({"teacher": "random:deit-tiny"}, "learns from no teacher"),
        ({"objective": "d-mae"}, "d-mae learns from a teacher"),
        ({"objective": "d-mae", "teacher": "random:resnet20"}, "teacher .*cannot be computed on some of its patches"),
        ({"objective": "d-mae", "teacher": "random:deit-tiny"}, "14 x 14 patches of images of 224 pixels.* 4 x 4"),
        ({"objective": "d2-mae", "early_blocks": 5}, "early_blocks is 5, more than the 4 blocks"),
        ({"objective": "d2-mae", "attention_pairs": "3:5"}, "attention_pairs: the objective d2-mae has no such"),
        ({"objective": "d-mae", "attention_pairs": "4:5"}, "pair 4:5 is beyond the 4 blocks of the network"),
        ({"objective": "d-mae", "attention_pairs": "1:5,3:2"}, "later blocks go with later blocks"),
        ({"objective": "d-mae", "attention_pairs": "x"}, "pairs are BLOCK:STAGE"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(teacher: str, settings: dict[str, Any], message: str) -> None:
    kind = settings.get("objective", "mae")
    given = {"teacher": teacher} if kind in ("d-mae", "d2-mae") and message != "d-mae learns from a teacher" else {}
    with pytest.raises(ConfigError, match=message) as refused:
        plan(**{**SETTINGS, **given, **settings})
    assert "\n" not in str(refused.value)
