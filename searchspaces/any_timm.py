"""Any model that timm knows by name, to be scored, trained and exported like an architecture of one's own.

An architecture is the name alone: {"name": "vit_tiny_patch16_224"}, or as text vit_tiny_patch16_224. A search draws
from a dozen small ones; every name that timm lists is accepted. Nothing is downloaded: weights are drawn.

`num_params` and `macs` are counted on the model. A model whose class takes no image size, as most ConvNets, works on
images of any; where its name holds one, that is not binding.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.search_space import SearchSpace

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z0-9_]+)?")


def parse_name(text: str) -> Architecture:
    """Read the name of a model.

    Raises:
        SpaceError: It does not look like a name of timm's.
    """
    if _NAME.fullmatch(text.strip()) is None:
        raise SpaceError(f"timm: {text!r:.200} is not the name of a model, such as vit_tiny_patch16_224")
    return Architecture({"name": text.strip()})


def check_grammar(architecture: Architecture) -> None:
    """Accept every name that timm lists.

    Raises:
        SpaceError: timm has no such model; the message has names that are like it.
    """
    import timm  # seconds, and only here needed

    name = str(architecture["name"])
    if not timm.is_model(name):
        like = get_close_matches(name, timm.list_models(), n=3)
        raise SpaceError(f"timm: no model is called {name!r:.200}" + (f"; there are {', '.join(like)}" if like else ""))


any_timm = SearchSpace(
    name="timm",
    fields={
        "name": Choice(
            "vit_tiny_patch16_224",
            "deit_tiny_patch16_224",
            "deit_tiny_distilled_patch16_224",
            "pit_ti_224",
            "xcit_nano_12_p16_224",
            "mixer_s32_224",
            "convnext_atto",
            "resnet18",
            "mobilenetv3_small_100",
            "efficientnet_b0",
            "pvt_v2_b0",
            "levit_128s",
        )
    },
    model="timm",
    training={"fused_attn": True},
    grammar=check_grammar,
    parse=parse_name,
    format=lambda architecture: str(architecture["name"]),
    objectives=("dss",),
    summary="Any model of timm by its name, with weights that are drawn",
    paper="https://github.com/huggingface/pytorch-image-models",
)
