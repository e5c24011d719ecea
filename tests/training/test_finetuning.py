"""Fine-tuning from the weights of a training: rates by depth, pooling, shares of labels, kept blocks, a linear head.

One file, since its tests start from one pre-training.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from toy_trainings import largest_difference, plan, trained, weights

import raynas
from raynas.api.finetunings import finetune, finetuned_variants
from raynas.errors import ConfigError, RaynasError, RaynasWarning
from raynas.exporting.folder import load_export
from raynas.models.step_draws import StepContext
from raynas.models.token_stages import sine_positions
from raynas.space.build import build
from raynas.space.registered import spaces
from raynas.storage.run_folder import read_description
from raynas.training.batch import Batch
from raynas.training.checkpoints import LAST, checkpoint_folder
from raynas.training.folder import load_training
from raynas.training.identity import identity_text
from raynas.training.optimizers import layer_scales
from raynas.training.run import TrainingListener
from raynas.training.step import StepRunner
from raynas.training.task import WorkerRank
from raynas.trials.run import TrialsListener

VIT: dict[str, Any] = {"space": "vit", "architecture": "p8-w48-d4-h4-m2", "img_size": 32, "drop_path_rate": 0.0}
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 32, "max_images": 220, "threads": 1, "loader_processes": 0}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mae") / "run"
    trained(folder, **VIT, objective="mae", epochs=1, max_images=120)
    return folder


def vit(depth: int = 12, **settings: Any) -> torch.nn.Module:
    space = spaces.get("vit")
    return build(space, space.read(f"p8-w48-d{depth}-h4-m2"), img_size=32, num_classes=10, **settings)


def silent(**settings: Any) -> dict[str, Any]:
    return {**QUICK, "listener": TrainingListener(), "data": "digits", **settings}


# -- rates by depth ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_rates_fall_from_the_head_to_the_embedding(pool: str) -> None:
    found = layer_scales(vit(pool=pool), 0.85)
    assert found["head.weight"] == 1
    assert found["norm.weight" if pool == "token" else "fc_norm.weight"] == 1
    assert found["blocks.11.mlp.fc2.bias"] == pytest.approx(0.85)
    assert found["blocks.0.norm1.weight"] == pytest.approx(0.85**12)
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
        assert found[name] == pytest.approx(0.85**13) == pytest.approx(0.1209, abs=1e-4)
    assert found.keys() == dict(vit(pool=pool).named_parameters()).keys()


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_rates_fall_in_any_network_whose_blocks_are_known(name: str) -> None:
    found = layer_scales(timm.create_model(name, num_classes=10), 0.5)
    values = list(found.values())
    assert values == sorted(values)  # in the order in which they compute
    assert values[-1] == 1
    assert values[0] < values[-1]


def test_one_rate_is_that_of_before() -> None:
    assert layer_scales(vit(), 1.0) == {}
    with pytest.raises(ConfigError, match="does not say where its blocks are"):
        layer_scales(torch.nn.Linear(2, 2), 0.5)


def test_the_optimizer_and_the_schedule_have_these_rates() -> None:
    task = plan(**VIT, layer_decay=0.5, lr=1e-2, warmup_epochs=0).task("cpu", threads=1, loader_processes=0)
    runner = StepRunner(task, WorkerRank())
    runner.scheduler.step_update(0)
    names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
    rates = {names[id(one)]: group["lr"] for group in runner.optimizer.param_groups for one in group["params"]}
    assert rates["head.weight"] == pytest.approx(1e-2)
    assert rates["blocks.3.attn.qkv.weight"] == pytest.approx(5e-3)
    assert rates["pos_embed"] == pytest.approx(1e-2 / 32)
    decays = {
        names[id(one)]: group["weight_decay"] for group in runner.optimizer.param_groups for one in group["params"]
    }
    assert decays["pos_embed"] == decays["cls_token"] == decays["blocks.0.norm1.weight"] == 0
    assert decays["head.weight"] == 0.05


def test_rates_by_256_images() -> None:
    assert plan(**VIT, lr=None, base_lr=1e-3, batch_size=64).config.lr == pytest.approx(2.5e-4)
    assert plan(**VIT, lr=5e-4, base_lr=1e-3).config.lr == 5e-4
    assert plan(**VIT, lr=None, base_lr=1e-3).config.base_lr is None


# -- pooling -----------------------------------------------------------------------------------------------------------


def test_the_head_can_be_given_the_normalised_mean_over_patches() -> None:
    torch.manual_seed(0)
    model: Any = vit(3, pool="mean").eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = model.blocks(model._pos_embed(model.patch_embed(images)))
    mean = tokens[:, 1:].mean(1)
    by_hand = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    assert torch.allclose(model(images), by_hand @ model.head.weight.T + model.head.bias, atol=1e-5)


@pytest.mark.parametrize("pool", ["token", "mean"])
@pytest.mark.parametrize("heads", [3, 12])
def test_vit_tiny_has_its_published_number_of_parameters(pool: str, heads: int) -> None:
    space = spaces.get("vit")
    model = build(space, space.read(f"p16-w192-d12-h{heads}-m4"), pool=pool, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_717_416


def test_a_network_that_pools_by_the_mean_is_read_exported_and_evaluated(tmp_path: Path, pretrained: Path) -> None:
    finetune(pretrained, out=tmp_path / "run", **silent())
    training = load_training(tmp_path / "run")
    assert training.description["model"]["settings"]["pool"] == "mean"
    model = training.model()
    assert isinstance(model.fc_norm, torch.nn.LayerNorm)
    raynas.export(tmp_path / "run", tmp_path / "export")
    images = torch.randn(3, 3, 32, 32)
    exported = load_export(tmp_path / "export").model
    assert torch.allclose(exported(images), model(images), atol=1e-6)
    assert raynas.evaluate(tmp_path / "run").top1 == pytest.approx(training.summary["top1"])
    assert raynas.evaluate(tmp_path / "export", data="digits").images == 1797


# -- two heads ---------------------------------------------------------------------------------------------------------


def two_logits_by_hand(model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head of the mean over patches says, and that of the class token."""
    tokens = model.blocks(model._pos_embed(model.patch_embed(images)))
    given = [tokens[:, 1:].mean(1), tokens[:, 0]]
    normalised = [(x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-6).sqrt() for x in given]
    parts = ((model.fc_norm, model.head), (model.norm_dist, model.head_dist))
    first, second = (
        (x * norm.weight + norm.bias) @ head.weight.T + head.bias
        for x, (norm, head) in zip(normalised, parts, strict=True)
    )
    return first, second


def test_logits_of_two_heads_are_averaged_but_where_each_is_to_learn() -> None:
    torch.manual_seed(0)
    model: Any = vit(3, pool="both")
    images = torch.randn(2, 3, 32, 32)
    first, second = two_logits_by_hand(model, images)
    assert not torch.allclose(first, second, atol=1e-2)
    for training in (True, False):
        assert torch.allclose(model.train(training)(images), (first + second) / 2, atol=1e-5)
    model.set_distilled_training(True)
    assert torch.allclose(model.eval()(images), (first + second) / 2, atol=1e-5)
    for found, by_hand in zip(model.train()(images), (first, second), strict=True):
        assert torch.allclose(found, by_hand, atol=1e-5)


def test_a_second_head_is_a_norm_and_a_linear_layer_more() -> None:
    space = spaces.get("vit")
    model = build(space, space.read("p16-w192-d12-h12-m4"), pool="both", device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == 5_717_416 + 2 * 192 + 193 * 1000
    scales = layer_scales(vit(pool="both"), 0.85)
    assert {scales[f"{name}.weight"] for name in ("head", "head_dist", "fc_norm", "norm_dist")} == {1}
    assert scales["blocks.11.mlp.fc2.bias"] == pytest.approx(0.85)


def test_labels_teach_the_first_head_and_the_teacher_the_second() -> None:
    """The hard loss of arXiv 2012.12877 with half of the weight, by hand and by what it leaves without gradient."""
    made = plan(
        **VIT, pool="both", teacher="random:resnet8", guidance_weight=0.0, logit_weight=0.5, logit_targets="hard",
        augment="none",
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = vit(4, pool="both")
    objective: Any = made.objective.make(model).train()
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 5])
    objective.start_step(StepContext(0, 0, 0, 0, 1, 6, (np.arange(6),)))
    loss = objective(Batch((images,), labels, torch.arange(6)))
    first, second = two_logits_by_hand(model, images)
    with torch.no_grad():
        teacher = objective.teacher(images, [])[0].argmax(1)

    def cross_entropy(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return (logits.logsumexp(1) - logits[torch.arange(6), classes]).mean()

    smoothing = made.config.label_smoothing
    task = (1 - smoothing) * cross_entropy(first, labels)
    task = task + smoothing * (first.logsumexp(1, keepdim=True) - first).mean()
    assert loss.total.item() == pytest.approx(0.5 * task.item() + 0.5 * cross_entropy(second, teacher).item(), rel=1e-5)
    of_task, of_teacher = torch.autograd.grad(
        loss.total, [model.head.weight, model.head_dist.weight], retain_graph=True
    )
    assert of_task.abs().max() > 0 < of_teacher.abs().max()
    (none,) = torch.autograd.grad(cross_entropy(second, teacher), [model.head.weight], allow_unused=True)
    assert none is None
    with torch.no_grad():
        sums = objective.eval().evaluate(model.eval(), Batch((images,), labels, torch.arange(6)))
        expected = 6 * cross_entropy((first + second) / 2, labels)
    assert float(sums["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_fine_tuning_with_a_teacher_has_two_heads_which_leave_with_it(tmp_path: Path, pretrained: Path) -> None:
    trained(tmp_path / "teacher", space="resnet", architecture="resnet8", epochs=1)
    settings = silent(epochs=2, teacher=str(tmp_path / "teacher"))
    finetune(pretrained, out=tmp_path / "run", **settings)
    description = read_description(tmp_path / "run")
    config = description["config"]
    assert (config["pool"], config["logit_weight"], config["logit_targets"]) == ("both", 0.5, "hard")
    assert config["guidance_weight"] == 0
    training = load_training(tmp_path / "run")
    model: Any = training.model()
    assert description["model"]["num_params"] == sum(one.numel() for one in model.parameters())
    assert {"task_loss", "logit_loss"} <= set(training.metrics.column_names)
    given, found = weights(pretrained), weights(tmp_path / "run")
    assert found.keys() - given.keys() == {
        f"{name}.{kind}" for name in ("fc_norm", "norm_dist", "head_dist") for kind in ("weight", "bias")
    }
    folder = raynas.export(tmp_path / "run", tmp_path / "export")
    images = torch.randn(3, 3, 32, 32)
    exported = load_export(folder)
    assert exported.config["num_params"] == description["model"]["num_params"]
    with torch.no_grad():
        assert torch.allclose(exported.model(images), model(images), atol=1e-6)
        first, second = two_logits_by_hand(model, images)
        assert torch.allclose(model(images), (first + second) / 2, atol=1e-5)
    code = "import sys; sys.modules['raynas'] = None; import timm, timm_model, torch; "
    code += "m = timm.create_model(timm_model.NAME, pretrained=True).eval(); torch.manual_seed(0); "
    code += "print(m(torch.ones(1, 3, 32, 32))[0, 3].item()); m.reset_classifier(4); print(m.head_dist.out_features); "
    code += "print(timm.create_model(timm_model.NAME, pretrained=True, num_classes=7).head_dist.out_features)"
    said = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout
    value, reset, other = said.split()
    assert float(value) == pytest.approx(model(torch.ones(1, 3, 32, 32))[0, 3].item(), abs=1e-5)
    assert (reset, other) == ("4", "7")
    assert raynas.evaluate(tmp_path / "run").top1 == pytest.approx(training.summary["top1"])


def test_with_a_teacher_networks_that_pool_in_one_way_learn_by_their_one_head(tmp_path: Path, pretrained: Path) -> None:
    taught = silent(teacher="random:resnet8", space="vit-relative")
    finetune(pretrained, out=tmp_path / "run", **taught)
    config = read_description(tmp_path / "run")["config"]
    assert (config["pool"], config["logit_weight"], config["guidance_weight"]) == (None, 0.5, 0)
    finetune(pretrained, out=tmp_path / "one", **silent(teacher="random:resnet8", pool="token"))
    assert read_description(tmp_path / "one")["config"]["pool"] == "token"


# -- what is kept, and what is fresh -----------------------------------------------------------------------------------


def test_the_encoder_is_kept_and_head_and_its_norm_are_fresh(pretrained: Path) -> None:
    file = str(checkpoint_folder(pretrained) / LAST)
    given = weights(pretrained)
    task = plan(**VIT, pool="mean", weights=file, weights_policy="encoder").task("cpu", threads=1, loader_processes=0)
    found: Any = StepRunner(task, WorkerRank()).model
    for name, value in found.state_dict().items():
        if not name.startswith(("head.", "fc_norm.")):
            assert torch.equal(value, given[name]), name
    assert torch.equal(found.pos_embed, sine_positions(4, 48, prefix=1))
    assert found.pos_embed.requires_grad  # trained from now on
    assert (found.fc_norm.weight == 1).all()


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_only_the_first_blocks_can_be_kept(pretrained: Path, kept: int) -> None:
    file = str(checkpoint_folder(pretrained) / LAST)
    given = weights(pretrained)
    settings = {"weights": file, "weights_policy": "encoder", "kept_blocks": kept}
    found = StepRunner(plan(**VIT, **settings).task("cpu", threads=1, loader_processes=0), WorkerRank()).model
    for name, value in found.state_dict().items():
        if name.endswith("qkv.weight"):
            assert torch.equal(value, given[name]) == (int(name.split(".")[1]) < kept), name
    assert torch.equal(found.state_dict()["patch_embed.proj.weight"], given["patch_embed.proj.weight"])


# -- shares of labels --------------------------------------------------------------------------------------------------


def test_a_share_of_the_labels_is_spread_over_the_classes() -> None:
    whole, part = plan(**VIT, max_images=None), plan(**VIT, max_images=None, label_fraction=0.1, batch_size=16)
    assert np.array_equal(whole.val_rows, part.val_rows)
    assert set(part.rows) < set(whole.rows)
    assert len(part.rows) == round(0.1 * len(whole.rows))
    assert part.class_counts["train"]["most"] - part.class_counts["train"]["fewest"] <= 2
    tiny = plan(**VIT, max_images=None, label_fraction=1e-4, batch_size=2)
    assert len(tiny.rows) == 10  # one of each class
    assert not np.array_equal(plan(**VIT, label_fraction=0.2, batch_size=16, seed=1).rows,
                              plan(**VIT, label_fraction=0.2, batch_size=16).rows)  # fmt: skip


# -- the identity of trainings of before -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed", [{"pool": "mean"}, {"label_fraction": 0.5}, {"layer_decay": 0.9}, {"warmup_prefix": True}]
)
def test_new_settings_are_in_the_identity_only_where_they_change_something(changed: dict[str, Any]) -> None:
    text = identity_text(plan(**VIT).identity())
    (name,) = changed
    at_rest = getattr(plan(**VIT).config, name)
    assert identity_text(plan(**VIT, **{name: at_rest}).identity()) == text
    assert identity_text(plan(**{**VIT, "batch_size": 16, **changed}).identity()) != identity_text(
        plan(**{**VIT, "batch_size": 16}).identity()
    )


# -- the commands' functions -------------------------------------------------------------------------------------------


def test_fine_tuning_has_the_published_defaults(tmp_path: Path, pretrained: Path) -> None:
    finetune(pretrained, out=tmp_path / "run", **silent())
    config = read_description(tmp_path / "run")["config"]
    assert config["layer_decay"] == 0.85
    assert config["lr"] == pytest.approx(1e-3 * 32 / 256)
    assert (config["pool"], config["weights_policy"]) == ("mean", "encoder-resized")
    assert (config["mixup"], config["cutmix"], config["label_smoothing"]) == (0.2, 0, 0)
    assert config["weights"] == str(checkpoint_folder(pretrained) / LAST)
    resumed = finetune(out=tmp_path / "run", resume=True, listener=TrainingListener(), epochs=None)
    assert resumed.summary["status"] == "completed"


def test_networks_of_contrast_have_a_layer_decay_of_their_own(tmp_path: Path) -> None:
    moco = {**VIT, "objective": "moco-v3", "projector_width": 16, "projector_dim": 8}
    trained(tmp_path / "moco", **moco, epochs=1, max_images=80)
    finetune(tmp_path / "moco", out=tmp_path / "run", **silent(max_images=80))
    assert read_description(tmp_path / "run")["config"]["layer_decay"] == 0.75


def test_a_linear_probe_trains_the_head_alone(tmp_path: Path, pretrained: Path) -> None:
    finetune(pretrained, method="linear", out=tmp_path / "run", **silent(epochs=2))
    given = weights(pretrained)
    for name, value in weights(tmp_path / "run").items():
        if not name.startswith(("head.", "fc_norm.")):
            assert torch.equal(value, given[name]), name
    (first, last) = load_training(tmp_path / "run").metrics.to_pylist()
    assert last["train_loss"] < first["train_loss"]
    assert first["val_knn_top1"] == last["val_knn_top1"]  # its features stay
    assert largest_difference({"head": weights(tmp_path / "run")["head.weight"]}, {"head": given["head.weight"]}) > 0


@pytest.mark.long
def test_shares_of_labels_are_compared_as_trials(tmp_path: Path, pretrained: Path) -> None:
    found = finetuned_variants(
        pretrained, vary={"label_fraction": [0.3, 1.0], "kept_blocks": [0, 4]}, out=tmp_path / "variants", workers=0,
        **{**silent(batch_size=16), "listener": TrialsListener()},
    )  # fmt: skip
    assert found.summary["status"] == "completed"
    rows = found.summary["trials"]
    assert {(row["settings"]["label_fraction"], row["settings"]["kept_blocks"]) for row in rows} == {
        (0.3, 0), (0.3, 4), (1.0, 0), (1.0, 4),
    }  # fmt: skip
    assert all(0 <= row["top1"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (None, {"method": "half"}, "there is no method 'half': it is one of full, linear"),
        ("vit", {"architecture": "deit-tiny"}, "needs weights to start from"),
        ("pretrained", {"kept_blocks": 5}, "kept_blocks is 5, and ViT has 4 blocks"),
        ("pretrained", {"label_fraction": 0.0}, "label_fraction"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, pretrained: Path, source: str | None, settings: dict[str, Any], message: str
) -> None:
    given: Any = pretrained if source == "pretrained" else source
    with pytest.raises(RaynasError, match=message):
        finetune(given, out=tmp_path / "run", **{**silent(), **settings})
    assert not (tmp_path / "run").exists()


def test_models_with_one_way_to_pool_say_so() -> None:
    with pytest.raises(ConfigError, match="have one way to pool"):
        plan(pool="mean")
    with pytest.raises(ConfigError, match="kept_blocks go with a file of weights"):
        plan(**VIT, kept_blocks=2)


def test_what_was_trained_without_labels_teaches_no_classes_and_leaves_with_a_warning(
    tmp_path: Path, pretrained: Path
) -> None:
    with pytest.raises(ConfigError, match=r"needs a teacher that has learned classes: .* was trained without labels"):
        finetune(pretrained, out=tmp_path / "run", **silent(epochs=1, teacher=str(pretrained)))
    assert not (tmp_path / "run").exists()
    with pytest.warns(RaynasWarning, match="trained without labels: the export has its features"):
        folder = raynas.export(pretrained, tmp_path / "export")
    assert "its head knows nothing until it is trained" in (folder / "README.md").read_text()
    assert load_export(folder).config["weights"]["head"] == "not trained"
