"""What an exported folder has for timm: the text of timm_model.py, and what the README says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raynas.models.plain_code import PlainCode

_REGISTERING = '''"""Registers the model of this folder with timm, under the name that config.json gives it.

After `import timm_model`, `timm.create_model(timm_model.NAME, pretrained=True)` is the model with its weights.
"""

import importlib.util
import json
import sys
from pathlib import Path

{imports}

FOLDER = Path(__file__).resolve().parent
CONFIG = json.loads((FOLDER / "config.json").read_text())
NAME = CONFIG["name"]

# By its path, since other exported models have a file of that name too; under a name by which pickles find its classes.
_module = f"{{NAME}}_network"
if _module not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_module, FOLDER / "model.py")
    sys.modules[_module] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules[_module])
_network = sys.modules[_module]

_cfg = {{key: tuple(value) if isinstance(value, list) else value for key, value in CONFIG["pretrained_cfg"].items()}}
default_cfgs = generate_default_cfgs({{NAME: {{**_cfg, "file": str(FOLDER / "model.safetensors")}}}})


{create}


_create.__name__ = NAME
_create.is_export = True
if not is_model(NAME):
    register_model(_create)
elif not hasattr(model_entrypoint(NAME), "is_export"):  # an export of that name has the same weights
    raise ImportError(f"timm has another model of the name {{NAME}}")
'''

_OWN = (
    "from timm.models import build_model_with_cfg, generate_default_cfgs, is_model, model_entrypoint, register_model",
    """def _made(**settings):
    # timm and its scripts say this to every network, and not every network has words for it.
    usual = {"in_chans": 3, "drop_rate": 0.0}
    return _network.create_model(**{key: value for key, value in settings.items() if usual.get(key) != value})


def _create(pretrained=False, **kwargs):
    # With features_only=True: maps of all stages, or of the last three blocks.
    features = {"feature_cls": "getter", "out_indices": CONFIG["default_features"]}
    fit = getattr(_network, "checkpoint_filter_fn", None)  # weights to another image side
    return build_model_with_cfg(_made, NAME, pretrained, feature_cfg=features, pretrained_filter_fn=fit, **kwargs)""",
)

_OF_TIMM = (
    """import timm
from timm.models import generate_default_cfgs, is_model, model_entrypoint, register_model, resolve_pretrained_cfg""",
    """def _create(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, **kwargs):
    cfg = resolve_pretrained_cfg(NAME, pretrained_cfg, pretrained_cfg_overlay)
    return timm.create_model(pretrained=pretrained, pretrained_cfg=cfg, **{**_network.SETTINGS, **kwargs})""",
)


def timm_model_text(code: PlainCode) -> str:
    """The text of timm_model.py.

    Args:
        code: What the model says of itself. A model that timm makes by a name is left to timm with all it can do.
    """
    imports, create = _OF_TIMM if code.timm_name is not None else _OWN
    return _REGISTERING.format(imports=imports, create=create)


def timm_readme(config: Mapping[str, Any]) -> list[str]:
    """Lines of README.md: how timm makes the model, with another head or image side, its features, a training loop.

    Args:
        config: What is written to config.json.
    """
    side, count = config["img_size"], config["default_features"]
    is_fixed = config["pretrained_cfg"]["fixed_input_size"]
    sides = [] if is_fixed else ["", "It takes images of other sides as it is."]
    larger = f"larger = timm.create_model(timm_model.NAME, pretrained=True, img_size={2 * side})  # resizes positions"
    lines = [
        "## With timm",
        "",
        f"timm, where it is installed, knows the model as `{config['name']}`, once",
        "`timm_model.py` of this folder was imported, and makes it with other heads, for images of other channels"
        f"{' or sides' if is_fixed else ''}:",
        "",
        *_code(
            "import timm",
            "",
            "import timm_model",
            "",
            "network = timm.create_model(timm_model.NAME, pretrained=True)",
            "another_head = timm.create_model(timm_model.NAME, pretrained=True, num_classes=5)",
            "no_head = timm.create_model(timm_model.NAME, pretrained=True, num_classes=0)  # pooled features, (B, C)",
            "grey = timm.create_model(timm_model.NAME, pretrained=True, in_chans=1)",
            *([larger] if is_fixed else []),
            "network.reset_classifier(7)  # a fresh head",
        ),
        *(sides or _of_other_sides(side)),
        *(_features(side, count, config["features"]) if count else []),
        "",
        "Fine-tuning in a loop of plain timm and torch, on photographs in `photos/CLASS/`, which timm prepares in its",
        "own way; trained on images as `images.py` makes them, the network needs them so afterwards, too:",
        "",
        *_code(*_fine_tuning()),
        "",
        "Two exports beside each other, here this one and that in the folder `../other`:",
        "",
        *_code(
            "import runpy",
            "",
            "import timm",
            "",
            'names = [runpy.run_path(f"{folder}/timm_model.py")["NAME"] for folder in (".", "../other")]',
            "networks = [timm.create_model(name, pretrained=True) for name in names]",
        ),
        "",
        "Names end in a hash of the weights: exports of other weights have other names. timm also reads this folder by",
        "itself:",
        "",
        *_code(
            "import timm",
            "",
            "import timm_model",
            "",
            'network = timm.create_model("local-dir:.", pretrained=True)  # or the path of this folder',
        ),
    ]
    return lines


def _of_other_sides(side: int) -> list[str]:
    return [
        "",
        "Images are to have the network's side: for `larger`, they are prepared by what timm.data's",
        f"`resolve_model_data_config(larger, {{'img_size': {2 * side}}})` gives.",
    ]


def _features(side: int, count: int, every: int) -> list[str]:
    return [
        "",
        f"Features of its blocks or stages, of which there are {every}; without `out_indices`, of the last ones:",
        "",
        *_code(
            "import timm",
            "import torch",
            "",
            "import timm_model",
            "",
            f"batch = torch.randn(2, 3, {side}, {side})",
            f"maps = timm.create_model(timm_model.NAME, pretrained=True, features_only=True, out_indices={count})",
            "print(maps.feature_info.channels(), maps.feature_info.reduction())",
            "print([found.shape for found in maps(batch)])  # (B, C, rows, columns) each",
            "",
            "network = timm.create_model(timm_model.NAME, pretrained=True).eval()",
            "last, every = network.forward_intermediates(batch)  # what the head is given, and all of them",
            "print(network.forward_head(last, pre_logits=True).shape)  # pooled, (B, C)",
        ),
    ]


def _fine_tuning() -> list[str]:
    return [
        "import timm",
        "import torch",
        "from timm.data import ImageDataset, create_transform, resolve_model_data_config",
        "from timm.optim import create_optimizer_v2",
        "",
        "import timm_model",
        "",
        "classes = 2",
        "network = timm.create_model(timm_model.NAME, pretrained=True, num_classes=classes, drop_rate=0.1)",
        "rules = resolve_model_data_config(network)  # image side, mean and std",
        'photos = ImageDataset("photos", transform=create_transform(**rules, is_training=True))',
        "loader = torch.utils.data.DataLoader(photos, batch_size=32, shuffle=True)",
        'optimizer = create_optimizer_v2(network, "adamw", lr=1e-3, weight_decay=0.05)',
        "network.train()",
        "for epoch in range(2):",
        "    for images, labels in loader:",
        "        loss = torch.nn.functional.cross_entropy(network(images), labels)",
        "        optimizer.zero_grad()",
        "        loss.backward()",
        "        optimizer.step()",
        '    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")',
    ]


def _code(*lines: str) -> list[str]:
    return [f"    {line}".rstrip() for line in lines]
