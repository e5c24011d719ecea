"""The plain vision transformer with biases of relative positions, for fine-tuning (Bao 2021, arXiv 2106.08254).

Its architectures are those of `vit`, written as there. Each block has a bias of attention for each distance between
patches and each head, and keys have no bias; the head is given the mean over patches. Networks that were pre-trained in
the space `vit` are fine-tuned in it by `raynas finetune RUN --space vit-relative`, as arXiv 2205.14443 does it.
"""

from __future__ import annotations

from typing import Any

from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from searchspaces.vit import check_grammar, format_text, macs, parse_text, stages, uniform, vit
from searchspaces.vit import num_params as num_params_of_vit


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters of the plain network, less the biases of keys, with the tables of all blocks."""
    a: Any = architecture
    table = ((2 * (img_size // a["patch_size"]) - 1) ** 2 + 3) * a["num_heads"]
    return int(num_params_of_vit(architecture, img_size, num_classes) + a["depth"] * (table - a["embed_dim"]))


vit_relative = SearchSpace(
    name="vit-relative",
    fields=vit.fields,
    model="vit-relative",
    training={"fused_attn": True},
    num_params=num_params,
    macs=macs,
    grammar=check_grammar,
    parse=parse_text,
    format=format_text,
    stages=stages,
    growth=vit.growth,
    uniform=uniform,
    is_named_only=True,  # the same texts are of vit
    img_size_multiple=16,
    objectives=("length_distortion",),
    summary="The plain vision transformer with biases of relative positions, as timm's Beit has them",
    paper="arXiv 2106.08254",
)
