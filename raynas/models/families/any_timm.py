"""Any model of timm, for the space `timm`; it comes in through an entry point, since timm takes seconds to import."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from raynas.models.plain_code import PlainCode
from raynas.space.architecture import Architecture

_PLAIN = '''"""A model of timm."""

import timm
from torch import nn


def model_of_timm(model_name: str, **settings: Any) -> nn.Module:
    """The model that timm knows by a name, with fresh weights."""
    return timm.create_model(model_name, **settings)
'''


def any_timm(
    architecture: Architecture,
    *,
    img_size: int = 224,
    num_classes: int = 1000,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    fused_attn: bool = False,
) -> nn.Module:
    """The model of a name, with weights drawn from torch's generator.

    Args:
        architecture: The architecture, whose only field is `name`, by which timm knows the model.
        img_size: Side of the images in pixels; taken by models that need to know it.
        num_classes: Number of classes, which is the number of the head's outputs.
        in_chans: Number of channels of the images.
        drop_path_rate: Probability in training that a residual branch is dropped, for models that have that.
        fused_attn: Whether to use torch's fused attention, which is faster but not differentiable in forward mode.
    """
    settings: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "img_size": img_size,
        "drop_path_rate": drop_path_rate,
    }
    model, taken = _created(str(architecture["name"]), settings)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused_attn  # type: ignore[assignment]
    first_conv = (getattr(model, "default_cfg", None) or {}).get("first_conv")
    plain = PlainCode(
        source=_PLAIN,
        network="model_of_timm",
        settings={"model_name": architecture["name"], **taken},
        packages=("torch", "timm"),
        first_conv=first_conv if isinstance(first_conv, str) else None,
        classifier=_classifier(model),
        timm_name=str(architecture["name"]).partition(".")[0],
    )
    model.plain_code = lambda: plain  # type: ignore[assignment]
    return model


def _created(name: str, settings: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The model with those settings that its class takes."""
    optional = [("img_size", "drop_path_rate"), ("drop_path_rate",), ("img_size",), ()]
    for names in optional:
        taken = {name: settings[name] for name in ("num_classes", "in_chans")} | {
            **{key: settings[key] for key in names}
        }
        try:
            return timm.create_model(name, **taken), taken
        except TypeError as error:
            if names == () or "unexpected keyword" not in str(error):
                raise
    raise AssertionError


def _classifier(model: nn.Module) -> str | tuple[str, ...] | None:
    found = (getattr(model, "default_cfg", None) or {}).get("classifier")
    return tuple(found) if isinstance(found, list | tuple) else found
