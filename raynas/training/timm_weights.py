"""Weights of timm's models in local files, timm:NAME:FILE, and of plain vision transformers for the space `vit`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from raynas.errors import ConfigError, StoreError, error_words
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.teachers import renormalisation
from raynas.space.build import build
from raynas.space.registered import spaces
from raynas.storage.fetched import on_this_machine
from raynas.storage.files import exists, is_folder
from raynas.storage.paths import as_path
from raynas.training.checkpoints import check_weights, read_weights


class TimmViT(NamedTuple):
    """A plain vision transformer of timm with its weights.

    Args:
        text: The network as the space `vit` writes it, such as p16-w192-d12-h3-m4.
        weights: All parameters by name, for images that are normalised by the mean and std of ImageNet.
        img_size: Side in pixels of the images that its position embedding is for.
        num_classes: Number of its outputs.
    """

    text: str
    weights: dict[str, torch.Tensor]
    img_size: int
    num_classes: int


def read_timm_vit(spec: str) -> TimmViT:
    """Read timm:NAME:FILE, a plain vision transformer of timm with the weights of a local file.

    Networks that timm gives images of another mean and std than ImageNet's get them by their patch convolution, whose
    weights are scaled so: on images as they are normalised here, the logits are those of timm's network on its own.

    Args:
        spec: A text of that form; the file is a safetensors file, a state dict, or a checkpoint.

    Raises:
        ConfigError: The form or the name is unknown, or the model is another one than the space `vit` has.
        StoreError: The file is missing, damaged, or holds the weights of another architecture.
    """
    kind, _, rest = spec.strip().partition(":")
    if kind != "timm" or not rest:
        raise ConfigError(f"weights {spec!r} are not of the form timm:NAME:FILE")
    name, file = name_and_file(f"weights {spec!r}", rest)
    model: Any = _on_meta(name)
    text = _plain_text(name, model)
    weights = read_given_weights(file)
    if "head.weight" in weights:
        model = _on_meta(name, num_classes=len(weights["head.weight"]))
    check_weights(model, weights, str(file))
    about = _about(model)
    scale, shift = (
        torch.from_numpy(one)[:, None, None]
        for one in renormalisation(about.get("mean", IMAGENET_MEAN), about.get("std", IMAGENET_STD))
    )
    kernel, bias = (weights[f"patch_embed.proj.{which}"] for which in ("weight", "bias"))
    exact = kernel.double()
    weights["patch_embed.proj.weight"] = (exact * scale).to(kernel.dtype)
    weights["patch_embed.proj.bias"] = (bias.double() + (exact * shift).sum((1, 2, 3))).to(bias.dtype)
    return TimmViT(text, weights, model.patch_embed.img_size[0], len(weights["head.weight"]))


def name_and_file(where: str, rest: str) -> tuple[str, Path]:
    """The name of a model and the file of its weights.

    Args:
        where: What says so, in words for messages.
        rest: What follows timm: in it, NAME:FILE.

    Raises:
        ConfigError: No file is named.
        StoreError: There is none of that name.
    """
    name, colon, file = rest.partition(":")
    if not colon or not file:
        raise ConfigError(f"{where} has no file of weights: nothing is downloaded, so it is timm:NAME:FILE")
    path = as_path(file).expanduser()
    if not exists(path) or is_folder(path):
        raise StoreError(f"{where}: there is no file {file!r}")
    return name, path


def read_given_weights(path: Path) -> dict[str, torch.Tensor]:
    """All weights of a file that a user names, of which there is a copy on this machine if it is in an object store.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        return read_weights(on_this_machine(path))
    except OSError as error:
        raise StoreError(f"cannot read weights {path}: {error_words(error)}") from None


def timm_model(name: str, **settings: Any) -> nn.Module:
    """A model of timm with weights that are drawn.

    Args:
        name: The name that timm has for it.
        settings: Keywords of timm's own.

    Raises:
        ConfigError: timm has no such model; the message has names that are like it.
    """
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3)
        raise ConfigError(f"timm has no model {name!r}.{' Did you mean ' + ', '.join(near) + '?' if near else ''}")
    model: nn.Module = timm.create_model(name, pretrained=False, **settings)
    return model


def _on_meta(name: str, **settings: Any) -> nn.Module | None:
    """The model without values; None if it cannot be made so, which the plain vision transformers can."""
    try:
        with torch.device("meta"):
            return timm_model(name, **settings)
    except ConfigError:
        raise
    except Exception:  # timm's models fail in many ways where tensors have no values
        return None


def _plain_text(name: str, model: Any) -> str:
    """A network, None for one that could not be made, as the space `vit` writes it.

    Raises:
        ConfigError: It is no plain vision transformer with a class token.
    """
    from timm.models.vision_transformer import VisionTransformer

    refusal = ConfigError(
        f"timm:{name} is no plain vision transformer: its class token is to give the logits, and its layers are to be "
        "those of the space 'vit', such as of deit_tiny_patch16_224"
    )
    if type(model) is not VisionTransformer or model.global_pool != "token" or model.no_embed_class:
        raise refusal
    block, embed = model.blocks[0], model.patch_embed
    hidden = getattr(getattr(block.mlp, "fc1", None), "out_features", None)
    side = getattr(embed, "img_size", None)
    if hidden is None or not side or side[0] != side[1] or embed.patch_size[0] != embed.patch_size[1]:
        raise refusal
    space = spaces.get("vit")
    architecture = space.read(
        {
            "patch_size": embed.patch_size[0],
            "embed_dim": model.embed_dim,
            "depth": len(model.blocks),
            "num_heads": block.attn.num_heads,
            "mlp_ratio": _ratio(hidden, model.embed_dim),
        }
    )
    plain = build(space, architecture, img_size=side[0], num_classes=model.num_classes, device="meta")
    if _layers(plain) != _layers(model):
        raise refusal
    return space.text(architecture)


def _layers(model: nn.Module) -> tuple[list[str], dict[str, torch.Size]]:
    """All layers with their settings, as torch writes them below the name of the network's class; and all shapes."""
    return repr(model).splitlines()[1:], {name: value.shape for name, value in model.state_dict().items()}


def _ratio(hidden: int, width: int) -> float:
    """The shortest decimal number whose product with the width, rounded down, is the hidden width."""
    for digits in range(16):
        scale: int = 10**digits
        ratio = ceil(hidden * scale / width) / scale
        if int(width * ratio) == hidden:
            return ratio
    return hidden / width


def _about(model: nn.Module) -> Mapping[str, Any]:
    return getattr(model, "default_cfg", None) or {}
