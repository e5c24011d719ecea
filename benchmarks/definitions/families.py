"""Small networks of six families, with their parts named by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from definitions.case import Case
from torch import nn

from raynas.models.families.autoformer import AutoFormer
from raynas.models.families.pit import PiT
from raynas.space.architecture import Architecture

IMG_SIZE = 64
BATCH = 6


def _case(model: nn.Module, num_classes: int, **parts: Any) -> Case:
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():  # at fresh ones many of a transformer's gradients are nearly 0
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0, parameter[0].numel() ** -0.5 if "embed" not in name else 0.3)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)  # timm starts some at 0, and a branch would give out nothing
            nn.init.normal_(norm.bias, 0, 0.1)
    return Case(
        model.double().eval().requires_grad_(False),
        images=torch.randn(BATCH, 3, IMG_SIZE, IMG_SIZE, dtype=torch.float64, generator=generator),
        labels=torch.arange(BATCH) // 2 % num_classes,
        teacher=torch.randn(BATCH, 5, 3, 3, dtype=torch.float64, generator=generator),
        **parts,
    )


def _of_blocks(blocks: list[str]) -> dict[str, list[str]]:
    """Layers of transformer blocks with timm's names."""
    return {
        "attention": [f"{block}.attn.{layer}" for block in blocks for layer in ("qkv", "proj")],
        "mlp": [f"{block}.mlp.{layer}" for block in blocks for layer in ("fc1", "fc2")],
        "blocks": blocks,
    }


def _autoformer() -> Case:
    architecture = Architecture({"embed_dim": 12, "depth": 2, "mlp_ratio": (3.5, 4.0), "num_heads": (3, 4)})
    model = AutoFormer(architecture, img_size=IMG_SIZE, num_classes=5)
    parts = _of_blocks(["blocks.0", "blocks.1"])
    return _case(model, 5, **parts, head="head", final_norm="norm", prefix_tokens=1)


def _pit() -> Case:
    fields = {"base_dim": 4, "mlp_ratio": 2.0, "depth": (1, 2, 1), "num_heads": (2, 2, 4)}
    model = PiT(Architecture(fields), img_size=IMG_SIZE, num_classes=5)
    blocks = [f"transformers.{stage}.blocks.{i}" for stage, n in enumerate(fields["depth"]) for i in range(n)]
    parts = _of_blocks(blocks)
    return _case(model, 5, **parts, head="head", final_norm="norm", prefix_tokens=1, pools_all_tokens=True)


def _vit() -> Case:
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=IMG_SIZE, embed_dim=12, depth=2, num_heads=3, num_classes=101
    )
    parts = _of_blocks(["blocks.0", "blocks.1"])
    return _case(model, 101, **parts, head="head", final_norm="norm", prefix_tokens=1)


def _resnet() -> Case:
    model = timm.create_model("resnet10t", channels=(8, 12, 16, 24), num_classes=5)
    blocks = ["act1", "layer1", "layer2", "layer3", "layer4"]
    return _case(model, 5, attention=[], mlp=[], head="fc", final_norm="", blocks=blocks, prefix_tokens=None)


def _convnext() -> Case:
    model = timm.create_model("convnext_atto", depths=(1, 1, 2, 1), dims=(8, 12, 16, 24), num_classes=5)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.5)  # of 1e-6 branches give out next to nothing
    stages = [f"stages.{i}" for i in range(4)]
    mlp = [f"{s}.blocks.{i}.mlp.{fc}" for s, n in zip(stages, (1, 1, 2, 1), strict=True) for i in range(n)
           for fc in ("fc1", "fc2")]  # fmt: skip
    parts = {"attention": [], "mlp": mlp, "head": "head.fc", "final_norm": "head.norm", "blocks": stages}
    return _case(model, 5, **parts, prefix_tokens=None)


def _efficientnet() -> Case:
    model = timm.create_model("test_efficientnet", channel_multiplier=0.1, num_classes=5)
    blocks = [f"blocks.{i}" for i in range(5)]
    return _case(model, 5, attention=[], mlp=[], head="classifier", final_norm="", blocks=blocks, prefix_tokens=None)


FAMILIES: Mapping[str, Callable[[], Case]] = {
    "autoformer": _autoformer,
    "pit": _pit,
    "vit": _vit,
    "resnet": _resnet,
    "convnext": _convnext,
    "efficientnet": _efficientnet,
}
"""Functions that make a case of each family, under torch's generator."""
