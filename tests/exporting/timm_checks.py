"""What timm's own tests ask of its networks, asked of exports, in a process that cannot import raynas.

    python timm_checks.py FOLDER

runs each check on each export in the folder, and prints a line of JSON for each: export, check, and what went wrong.
The checks follow those of timm's suite that apply, with expected values from hooks and from timm's own functions.
One file: it runs alone, where nothing else of the tests can be imported.
"""

from __future__ import annotations

import inspect
import json
import math
import pickle
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ABSENT = ("raynas", "searchspaces", "ray")


class Absent:
    """Makes the import of raynas an error."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())  # type: ignore[arg-type]

import timm  # noqa: E402
import torch  # noqa: E402
from timm.data import resolve_model_data_config  # noqa: E402
from timm.layers import resample_abs_pos_embed  # noqa: E402
from timm.models import FeatureInfo  # noqa: E402
from timm.optim import param_groups_layer_decay  # noqa: E402

CLASSES = 5


class Export:
    """An export of a folder, which timm knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = json.loads((folder / "config.json").read_text())
        self.name = str(runpy.run_path(str(folder / "timm_model.py"))["NAME"])
        self.size = int(self.about["img_size"])
        self.is_timms = self.about["space"] == "timm"
        self.has_two_heads = isinstance(self.about["classifier"], list)

    def create(self, **settings: Any) -> Any:
        torch.manual_seed(0)
        return timm.create_model(self.name, pretrained=True, **settings).eval()

    def images(self, channels: int = 3, size: int | None = None) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(2, channels, size or self.size, size or self.size, generator=generator)

    def weights(self) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        return load_file(self.folder / "model.safetensors")

    def heads(self) -> tuple[str, ...]:
        found = self.about["classifier"]
        return tuple(found) if self.has_two_heads else (found,)


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def as_map(model: Any, output: Any) -> torch.Tensor:
    """What a block or stage gave, as a map (B, C, rows, columns)."""
    if isinstance(output, tuple):  # PiT: a map and the class token
        return output[0]  # type: ignore[no-any-return]
    if output.ndim == 3:
        patches = output[:, model.num_prefix_tokens :]
        side = math.isqrt(patches.shape[1])
        return patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]
    is_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
    return output.permute(0, 3, 1, 2) if is_last else output  # type: ignore[no-any-return]


def hooked(model: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """What the modules gave that the model names as its features."""
    found: dict[str, Any] = {}
    names = [one["module"] for one in model.feature_info]
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, out))
        for name in names
    ]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return [as_map(model, found[name]) for name in names]


# -- checks ------------------------------------------------------------------------------------------------------------


def check_pretrained_logits_are_those_of_the_network(export: Export) -> None:
    given, expected = torch.load(export.folder / "expected.pt")
    with torch.no_grad():
        for model in (export.create(), timm.create_model(f"local-dir:{export.folder}", pretrained=True).eval()):
            same(model(given), expected)
    fresh = timm.create_model(export.name)
    assert fresh(export.images()).shape == (2, CLASSES)
    head = export.heads()[0]
    assert not torch.equal(fresh.get_parameter(f"{head}.weight"), export.weights()[f"{head}.weight"])


def check_default_cfg(export: Export) -> None:
    model = export.create()
    cfg, state = model.default_cfg, model.state_dict()
    assert cfg is model.pretrained_cfg
    assert cfg["input_size"] == (3, export.size, export.size)
    assert cfg["num_classes"] == model.num_classes == CLASSES
    assert cfg["architecture"] == export.name
    assert (cfg["mean"], cfg["std"]) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert state[f"{cfg['first_conv']}.weight"].shape[1] == 3
    for name in export.heads():
        assert state[f"{name}.weight"].shape[0] == state[f"{name}.bias"].shape[0] == CLASSES
    heads = model.get_classifier()
    assert set(heads if isinstance(heads, tuple) else (heads,)) == {model.get_submodule(one) for one in export.heads()}
    rules = resolve_model_data_config(model)
    assert rules["input_size"] == (3, export.size, export.size)
    if cfg["pool_size"] is not None and not export.is_timms:
        with torch.no_grad():
            assert tuple(as_map(model, model.forward_features(export.images())).shape[2:]) == cfg["pool_size"]


def check_heads(export: Export) -> None:
    model, images, given = export.create(), export.images(), []
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda _, args: given.append(args[0]))
        for name in export.heads()
    ]
    with torch.no_grad():
        logits = model(images)
        pooled = torch.stack(given).mean(0) if export.has_two_heads else given[0]
        pooled = pooled.flatten(1)
        for handle in handles:
            handle.remove()
        features = model.forward_features(images)
        same(model.forward_head(features), logits)
        same(model.forward_head(features, pre_logits=True).flatten(1), pooled)
        assert pooled.shape == (2, model.num_features) == (2, model.head_hidden_size)
        same(export.create(num_classes=0)(images), pooled)
        model.reset_classifier(0)
        same(model(images), pooled)
        model.reset_classifier(0, "")
        assert model(images).ndim in (3, 4)
        assert export.create(num_classes=0, global_pool="")(images).ndim in (3, 4)
        for pool in (None, "avg" if export.about["space"] not in ("pit-tiny",) else "token"):
            model = export.create()
            model.reset_classifier(3, pool)
            assert model(images).shape == (2, 3)
            assert model.num_classes == 3
    kept = export.create(num_classes=9).state_dict()
    stored = export.weights()
    assert kept.keys() == stored.keys()
    for name, value in stored.items():
        if name.rpartition(".")[0] in export.heads():
            assert kept[name].shape[0] == 9
        else:
            assert torch.equal(kept[name], value), name


def check_gradients(export: Export) -> None:
    model = export.create(drop_rate=0.1).train()
    model(export.images()).mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without, without
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def check_features(export: Export) -> None:
    images = export.images()
    every = hooked(export.create(), images)
    count = len(every)
    with torch.no_grad():
        for asked, numbers in ((None, None), ([0], [0]), ([-1], [count - 1]), (list(range(count)), range(count))):
            wrapped = export.create(features_only=True, **({} if asked is None else {"out_indices": asked})).eval()
            found = wrapped(images)
            if numbers is None:
                numbers = range(count)[-len(found) :]
            assert len(found) == len(numbers)
            info = wrapped.feature_info
            for one, number, channels, step in zip(found, numbers, info.channels(), info.reduction(), strict=True):
                same(one, every[number])
                assert one.shape[1] == channels
                assert one.shape[2] <= math.ceil(export.size / step)


def check_intermediates(export: Export) -> None:
    model, images = export.create(), export.images()
    every, count = hooked(model, images), len(model.feature_info)
    with torch.no_grad():
        final = model.forward_features(images)
        last, found = model.forward_intermediates(images)
        same(last, final)
        expected = every[-len(found) :]  # of timm's ConvNets the stem counts too
        for one, other in zip(found, expected, strict=True):
            same(one, other)
        info = FeatureInfo(model.feature_info, out_indices=tuple(range(count)))
        assert [one.shape[1] for one in found] == info.channels()
        (alone,) = model.forward_intermediates(images, indices=[0], stop_early=True, intermediates_only=True)
        same(alone, every[0])
        assert len(model.forward_intermediates(images, indices=1, intermediates_only=True)) == 1
        if export.is_timms:
            return
        options = inspect.signature(model.forward_intermediates).parameters
        assert {"indices", "return_prefix_tokens", "norm", "stop_early", "output_fmt", "intermediates_only"} <= {
            *options
        }
        (tokens,) = model.forward_intermediates(images, indices=[-1], output_fmt="NLC", intermediates_only=True)
        same(tokens, every[-1].flatten(2).transpose(1, 2))
        (normed,) = model.forward_intermediates(images, indices=[-1], norm=True, intermediates_only=True)
        if final.shape[1] > 1:  # PiT gives the class token alone
            same(normed, as_map(model, final))
        (found_pair,) = model.forward_intermediates(
            images, indices=[-1], norm=True, return_prefix_tokens=True, intermediates_only=True
        )
        if getattr(model, "num_prefix_tokens", 0):
            same(found_pair[1], final[:, : model.num_prefix_tokens])
        else:
            same(found_pair, normed)
        for wrong in ({"indices": [count]}, {"indices": 0}, {"output_fmt": "NCL"}):
            try:
                model.forward_intermediates(images, **wrong)
            except (ValueError, AssertionError):
                continue
            raise AssertionError(f"{wrong} was taken")


def check_pruning(export: Export) -> None:
    model, images = export.create(), export.images()
    with torch.no_grad():
        (expected,) = model.forward_intermediates(images, indices=[0], intermediates_only=True)
        before = sum(one.numel() for one in model.parameters())
        assert list(model.prune_intermediate_layers([0], prune_norm=True)) == [0]
        (found,) = model.forward_intermediates(images, indices=[0], intermediates_only=True)
        same(found, expected)
        assert sum(one.numel() for one in model.parameters()) < before
        left = {name for name, _ in model.named_modules()}
        assert export.is_timms or not left & {one["module"] for one in export.create().feature_info[1:]}
        whole = export.create()
        assert list(whole.prune_intermediate_layers(1, prune_head=False))[-1] >= 0
        assert whole(images).shape == (2, CLASSES) or export.is_timms or export.about["space"] == "pit-tiny"


def check_checkpointing(export: Export) -> None:
    def passed(enable: bool) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], int]:
        model = export.create().train()
        model.set_grad_checkpointing(enable)
        saved = [0]

        def count(one: torch.Tensor) -> torch.Tensor:
            saved[0] += one.nbytes
            return one

        with torch.autograd.graph.saved_tensors_hooks(count, lambda one: one):
            model(export.images()).square().sum().backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        return gradients, dict(model.named_buffers()), saved[0]

    plain, checkpointed = passed(False), passed(True)
    assert plain[0].keys() == checkpointed[0].keys()
    for name, gradient in plain[0].items():
        same(checkpointed[0][name], gradient)
    if not export.is_timms:  # timm's ConvNets count a batch twice
        for name, buffer in plain[1].items():
            same(checkpointed[1][name], buffer)
    model = export.create().train()
    model.set_grad_checkpointing()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.nbytes) or one, lambda one: one):
        model(export.images())
    model.set_grad_checkpointing(False)
    every = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: every.append(one.nbytes) or one, lambda one: one):
        model(export.images())
    assert sum(kept) < 0.7 * sum(every), (sum(kept), sum(every))


def check_channels(export: Export) -> None:
    stored = export.weights()[f"{export.about['first_conv']}.weight"]
    grey = export.create(in_chans=1)
    same(grey.state_dict()[f"{export.about['first_conv']}.weight"], stored.sum(1, keepdim=True))
    assert grey(export.images(channels=1)).shape == (2, CLASSES)
    more = export.create(in_chans=6)
    same(more.state_dict()[f"{export.about['first_conv']}.weight"], torch.cat([stored, stored], 1) / 2)
    assert more(export.images(channels=6)).shape == (2, CLASSES)


def check_another_side(export: Export) -> None:
    stored, larger = export.weights(), 2 * export.size
    if not export.about["pretrained_cfg"]["fixed_input_size"]:
        assert export.create()(export.images(size=larger)).shape == (2, CLASSES)
        return
    model = export.create(img_size=larger)
    assert model(export.images(size=larger)).shape == (2, CLASSES)
    assert timm.create_model(export.name, img_size=(larger, larger))(export.images(size=larger)).shape == (2, CLASSES)
    resized = 0
    for name, value in model.state_dict().items():
        if name.endswith("pos_embed"):
            resized += 1
            before = stored[name]
            if before.ndim == 4:  # a grid, channels first in PiT and last in As-ViT
                flat = (
                    before.flatten(2).transpose(1, 2) if export.about["space"] == "pit-tiny" else before.flatten(1, 2)
                )
                now = value.flatten(2).transpose(1, 2) if export.about["space"] == "pit-tiny" else value.flatten(1, 2)
                prefix = 0
            else:
                flat, now, prefix = before, value, 0 if name.startswith("reductions.") else 1
            side = math.isqrt(now.shape[1] - prefix)
            same(now, resample_abs_pos_embed(flat, [side, side], num_prefix_tokens=prefix))
            assert value.shape != before.shape
        elif "relative_position" not in name:
            assert torch.equal(value, stored[name]), name
    assert resized


def check_wrong_side(export: Export) -> None:
    """Images of another size are refused by both sizes, where the network takes but one."""
    model, side = export.create(), export.size
    if export.is_timms:
        return
    if not export.about["pretrained_cfg"]["fixed_input_size"]:
        assert model(torch.randn(2, 3, side, 2 * side)).shape == (2, CLASSES)
        assert export.create(img_size=(side, 2 * side))(torch.randn(2, 3, side, 2 * side)).shape == (2, CLASSES)
        return
    for height, width in ((2 * side, 2 * side), (side, 2 * side), (side - 1, side - 1)):
        images = torch.randn(2, 3, height, width)
        for call in (model, model.forward_features, model.forward_intermediates):
            try:
                call(images)
            except (ValueError, AssertionError) as error:  # ours and timm's
                said = str(error)
            else:
                raise AssertionError(f"{call} took images of {height} x {width}")
            assert any(str(one) in said for one in (height, width)) and str(side) in said, said


def check_odd_batches(export: Export) -> None:
    """An empty batch gives no rows, and an image that is no batch is refused by its shape."""
    model, side = export.create(), export.size
    if export.is_timms or export.about["space"] in ("vit", "vit-relative"):  # whose classes are timm's own
        return
    assert model(torch.randn(0, 3, side, side)).shape == (0, CLASSES)
    try:
        model(torch.randn(3, side, side))
    except ValueError as error:
        said = str(error)
    else:
        raise AssertionError("an image was taken for a batch")
    assert f"(3, {side}, {side})" in said, said


def check_stochastic_depth(export: Export) -> None:
    """Blocks are dropped in training alone."""
    model, images = export.create(drop_path_rate=0.9), export.images()
    same(model(images), export.create()(images))
    if export.is_timms:
        return
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()  # whose statistics of a batch would differ with what is dropped, and without
    assert not torch.equal(model(images), model(images))


def check_groups(export: Export) -> None:
    model = export.create()
    names = {name for name, _ in model.named_parameters()}
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()
    if not export.is_timms and export.about["space"] != "vit-res-nano":  # whose authors decay positions
        assert {"cls_token", "pos_embed"} & names <= exempt
    groups = param_groups_layer_decay(model, 0.05, no_weight_decay_list=exempt, layer_decay=0.5)
    scales = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    assert len(scales) == len(names)
    of = {name: scales[id(one)] for name, one in model.named_parameters()}
    first = of[f"{export.about['first_conv']}.weight"]
    assert first == min(of.values()) < 1
    assert {of[f"{name}.weight"] for name in export.heads()} == {1.0}
    blocks = [of[name] for name in of if name.startswith(("blocks.", "stages.", "transformers."))]
    assert blocks == sorted(blocks), of
    assert len(set(blocks)) > 1 or export.is_timms  # timm's ResNet has names of its own
    assert model.group_matcher(coarse=True).keys() == {"stem", "blocks"}


def check_pickles(export: Export) -> None:
    """Whole networks are pickled, as torch.save and processes of one's own do it."""
    model, images = export.create(), export.images()
    same(pickle.loads(pickle.dumps(model))(images), model(images))


CHECKS: dict[str, Callable[[Export], None]] = {
    name.removeprefix("check_"): value for name, value in list(globals().items()) if name.startswith("check_")
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    exports = [Export(one) for one in sorted(folder.iterdir())]  # all in one process
    assert len({export.name for export in exports}) == len(exports)
    for export in exports:
        for name, check in CHECKS.items():
            try:
                check(export)
                wrong = ""
            except Exception:
                wrong = traceback.format_exc()
            print(json.dumps({"export": export.folder.name, "check": name, "wrong": wrong}), flush=True)
    assert not set(ABSENT) & set(sys.modules)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
