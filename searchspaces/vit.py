"""The plain vision transformer: one width, one depth, global attention (Dosovitskiy 2020, arXiv 2010.11929).

Small choices around DeiT's (Touvron 2020, arXiv 2012.12877); depth and width also grow, the width by one channel a head
or more. Written as text, an architecture is `p16-w192-d12-h3-m4`: patch size, width, depth, heads, MLP ratio.

Where timm leaves it open, this is decided here:

* What can be built: a width that the heads divide; positive integers, and any positive MLP ratio whose hidden width,
  rounded down, is at least 1. The image side must be divisible by the patch size, which the model checks.
* Uniform are the architectures with the number of heads that is nearest to 64 channels a head, as DeiT's; blocks are
  alike in all of them.
* `macs` counts all tokens, the class token too, and one token in the head. `num_params` counts the position embedding,
  so it depends on the image size.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.growth import Growth
from raynas.space.search_space import SearchSpace, Stage

_HEAD_DIM = 64  # of DeiT
_TEXT = re.compile(r"p([0-9]{1,9})-w([0-9]{1,9})-d([0-9]{1,9})-h([0-9]{1,9})-m([0-9]{1,9}(?:\.[0-9]{1,20})?)")


def parse_text(text: str) -> Architecture:
    """Read p16-w192-d12-h3-m4.

    Raises:
        SpaceError: The text has another form.
    """
    if (match := _TEXT.fullmatch(text.strip().lower())) is None:
        raise SpaceError(
            f"vit: {text!r:.200} has another form than p16-w192-d12-h3-m4: patch, width, depth, heads, MLP ratio"
        )
    patch_size, embed_dim, depth, num_heads, mlp_ratio = match.groups()
    return _architecture(int(patch_size), int(embed_dim), int(depth), int(num_heads), float(mlp_ratio))


def format_text(architecture: Architecture) -> str:
    """p16-w192-d12-h3-m4."""
    a: Any = architecture
    return f"p{a['patch_size']}-w{a['embed_dim']}-d{a['depth']}-h{a['num_heads']}-m{a['mlp_ratio']}"


def _architecture(patch_size: int, embed_dim: int, depth: int, num_heads: int, mlp_ratio: float) -> Architecture:
    return Architecture(
        {
            "patch_size": patch_size,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
        }
    )


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    a: Any = architecture
    for name in ("patch_size", "embed_dim", "depth", "num_heads"):
        if not isinstance(a[name], int) or isinstance(a[name], bool) or a[name] < 1:
            raise SpaceError(f"vit: {name} is {a[name]!r}; it must be an integer of at least 1")
    if a["embed_dim"] % a["num_heads"]:
        raise SpaceError(f"vit: num_heads is {a['num_heads']}; it must divide embed_dim {a['embed_dim']}")
    ratio = a["mlp_ratio"]
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or a["embed_dim"] * ratio < 1:
        raise SpaceError(f"vit: mlp_ratio is {ratio!r}; it must be a positive number that gives a hidden channel")


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters, class token and position embedding included."""
    a: Any = architecture
    width, hidden = a["embed_dim"], int(a["embed_dim"] * a["mlp_ratio"])
    tokens = (img_size // a["patch_size"]) ** 2 + 1
    block = width * (4 * width + 9 + 2 * hidden) + hidden
    total = width * (3 * a["patch_size"] ** 2 + 1) + width + tokens * width
    return int(total + a["depth"] * block + 2 * width + num_classes * (width + 1))


def macs(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Multiply-adds of one image: convolution, linear layers and both products of attention."""
    a: Any = architecture
    width, hidden = a["embed_dim"], int(a["embed_dim"] * a["mlp_ratio"])
    patches = (img_size // a["patch_size"]) ** 2
    tokens = patches + 1
    block = tokens * width * (4 * width + 2 * hidden + 2 * tokens)
    return int(patches * width * 3 * a["patch_size"] ** 2 + a["depth"] * block + width * num_classes)


def stages(architecture: Architecture, img_size: int) -> list[Stage]:
    """The whole network as one stage."""
    a: Any = architecture
    details = {
        "patch": f"{a['patch_size']} x {a['patch_size']}",
        "heads": str(a["num_heads"]),
        "mlp_ratio": str(a["mlp_ratio"]),
    }
    tokens = (img_size // a["patch_size"]) ** 2 + 1
    return [Stage("blocks", a["embed_dim"], tokens, a["depth"], details)]


def uniform(fields: Mapping[str, Any]) -> Iterator[Architecture]:
    """Architectures with heads in proportion to the width."""
    names = ("patch_size", "embed_dim", "depth", "mlp_ratio")
    for patch_size, width, depth, ratio in itertools.product(*(fields[name].options for name in names)):
        num_heads = min(fields["num_heads"].options, key=lambda number: abs(width / _HEAD_DIM - number))
        yield _architecture(patch_size, width, depth, num_heads, ratio)


vit = SearchSpace(
    name="vit",
    fields={
        "patch_size": Choice(8, 16),
        "embed_dim": Choice(96, 144, 192, 240, 288, 336, 384),  # all numbers of heads divide all of them
        "depth": Choice(4, 6, 8, 10, 12),
        "num_heads": Choice(3, 4, 6),
        "mlp_ratio": Choice(2, 3, 4),
    },
    model="vit",
    model_version=2,
    training={"fused_attn": True},
    num_params=num_params,
    macs=macs,
    grammar=check_grammar,
    parse=parse_text,
    format=format_text,
    stages=stages,
    growth=Growth(depth="depth", width="embed_dim", unit="num_heads"),
    uniform=uniform,
    named={
        "deit-tiny": _architecture(16, 192, 12, 3, 4),
        "deit-small": _architecture(16, 384, 12, 6, 4),
        "deit-base": _architecture(16, 768, 12, 12, 4),
        "mae-lite-tiny": _architecture(16, 192, 12, 12, 4),
        "mae-lite-small": _architecture(16, 384, 12, 12, 4),
    },
    parts="vit-elastic",
    img_size_multiple=16,
    objectives=("length_distortion",),
    summary="The plain vision transformer of timm: one width, one depth, global attention",
    paper="arXiv 2010.11929",
)
