"""PiT: a vision transformer of three stages with pooling between them (Heo 2021, arXiv 2103.16302).

Patches of 16 pixels at every 8th make a grid of 27 a side at 224 pixels, which pooling takes to 14 and to 7. A stage is
base_dim times its heads wide; MLP ratio and the width of a head are those of all stages. Written as text, an
architecture is `b32-m4-d2,6,4-h2,4,8`: base_dim, MLP ratio, depths, heads.

`pit-tiny` is the grid of the tiny-data benchmark (ViT-Bench-101, arXiv 2312.09059): 1,600 architectures, whose heads do
not decrease and which have 12 to 14 blocks. `pit-xs` and `pit-small` have the widths and heads of TF-TAS (Zhou 2022,
arXiv 2203.12217) under the same restrictions, so that all of them have a block 11, which distillation guides.

What is decided here:

* What can be built: three stages of at least one block, heads that each stage has a multiple of (the pooling is a
  depthwise convolution), and any positive MLP ratio whose hidden widths, rounded down, are at least 1.
* Uniform are the architectures whose heads, and so widths, double from stage to stage, and whose depths are the
  published ones, 2, 6 and 4.
* The image side must be a multiple of 8, at least 16, so that patches end where the image does. Pooling takes a grid of
  any side to the half, rounded up: 64 pixels make 7, 4 and 2 patches a side.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.growth import Growth
from raynas.space.search_space import SearchSpace, Stage

PATCH_SIZE = 16
STRIDE = 8

_TEXT = re.compile(
    r"b([0-9]{1,9})-m([0-9]{1,9}(?:\.[0-9]{1,20})?)"
    r"-d([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})-h([0-9]{1,9}),([0-9]{1,9}),([0-9]{1,9})"
)


def parse_text(text: str) -> Architecture:
    """Read b32-m4-d2,6,4-h2,4,8.

    Raises:
        SpaceError: The text has another form.
    """
    if (match := _TEXT.fullmatch(text.strip().lower())) is None:
        raise SpaceError(
            f"pit: {text!r:.200} has another form than b32-m4-d2,6,4-h2,4,8: base_dim, MLP ratio, depths, heads of 3 "
            "stages"
        )
    base_dim, mlp_ratio, *of_stages = match.groups()
    numbers = [int(number) for number in of_stages]
    fields = {"base_dim": int(base_dim), "mlp_ratio": float(mlp_ratio), "depth": numbers[:3], "num_heads": numbers[3:]}
    return Architecture(fields)


def format_text(architecture: Architecture) -> str:
    """b32-m4-d2,6,4-h2,4,8."""
    a: Any = architecture
    depth, heads = (",".join(map(str, a[name])) for name in ("depth", "num_heads"))
    return f"b{a['base_dim']}-m{a['mlp_ratio']}-d{depth}-h{heads}"


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    a: Any = architecture
    numbers = {"base_dim": a["base_dim"]}
    for name in ("depth", "num_heads"):
        if not isinstance(a[name], tuple) or len(a[name]) != 3:
            raise SpaceError(f"pit: {name} needs a list of 3 values, one for each stage, got {a[name]!r}")
        numbers.update({f"{name}[{i}]": value for i, value in enumerate(a[name])})
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SpaceError(f"pit: {name} is {value!r}; it must be an integer of at least 1")
    for i in (1, 2):
        if a["num_heads"][i] % a["num_heads"][i - 1]:
            raise SpaceError(
                f"pit: num_heads[{i}] is {a['num_heads'][i]}; it must be a multiple of the {a['num_heads'][i - 1]} "
                "before it, since pooling gives each channel a whole number of channels"
            )
    ratio = a["mlp_ratio"]
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or min(_widths(architecture)) * ratio < 1:
        raise SpaceError(f"pit: mlp_ratio is {ratio!r}; it must be a positive number that gives a hidden channel")


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters, class token and position embedding included."""
    a: Any = architecture
    widths, sides = _widths(architecture), _sides(img_size)
    total = widths[0] * (3 * PATCH_SIZE**2 + 1) + widths[0] * (sides[0] ** 2 + 1)
    for i, (depth, width) in enumerate(zip(a["depth"], widths, strict=True)):
        hidden = int(width * a["mlp_ratio"])
        total += depth * (width * (4 * width + 9 + 2 * hidden) + hidden)
        if i:
            total += width * (10 + widths[i - 1] + 1)
    return int(total + 2 * widths[2] + num_classes * (widths[2] + 1))


def macs(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Multiply-adds of one image: convolutions, linear layers and both products of attention."""
    a: Any = architecture
    widths, sides = _widths(architecture), _sides(img_size)
    total = sides[0] ** 2 * widths[0] * 3 * PATCH_SIZE**2
    for i, (depth, width, side) in enumerate(zip(a["depth"], widths, sides, strict=True)):
        tokens = side**2 + 1
        total += depth * tokens * width * (4 * width + 2 * int(width * a["mlp_ratio"]) + 2 * tokens)
        if i:
            total += width * (9 * side**2 + widths[i - 1])
    return int(total + widths[2] * num_classes)


def stages(architecture: Architecture, img_size: int) -> list[Stage]:
    """The three stages; tokens include the class token."""
    a: Any = architecture
    return [
        Stage(
            f"stage {i + 1}",
            width,
            side**2 + 1,
            a["depth"][i],
            {"heads": str(a["num_heads"][i]), "mlp_ratio": str(a["mlp_ratio"])},
        )
        for i, (width, side) in enumerate(zip(_widths(architecture), _sides(img_size), strict=True))
    ]


def uniform(fields: Mapping[str, Any]) -> Iterator[Architecture]:
    """Architectures in the published proportions: widths that double, depths 2, 6, 4, one MLP ratio."""
    doubling = [heads for heads in fields["num_heads"].options if heads == (heads[0], 2 * heads[0], 4 * heads[0])]
    for base_dim, ratio, heads in itertools.product(fields["base_dim"].options, fields["mlp_ratio"].options, doubling):
        yield Architecture({"base_dim": base_dim, "mlp_ratio": ratio, "depth": (2, 6, 4), "num_heads": heads})


def _widths(architecture: Architecture) -> list[int]:
    """Channels of each stage."""
    a: Any = architecture
    return [a["base_dim"] * heads for heads in a["num_heads"]]


def _sides(img_size: int) -> list[int]:
    """Patches a side of each stage."""
    first = (img_size - PATCH_SIZE) // STRIDE + 1
    return [first, -(-first // 2), -(-first // 4)]


# -- the spaces --------------------------------------------------------------------------------------------------------

_DEPTHS = [depth for depth in itertools.product((1, 2, 3), (4, 6, 8), (2, 4, 6)) if 12 <= sum(depth) <= 14]


def _space(
    name: str, base_dims: Sequence[int], heads: Sequence[int], summary: str, named: dict[str, Architecture]
) -> SearchSpace:
    return SearchSpace(
        name=name,
        fields={
            "base_dim": Choice(*base_dims),
            "mlp_ratio": Choice(2, 4, 6, 8),
            "depth": Choice(*_DEPTHS),
            "num_heads": Choice(*itertools.combinations_with_replacement(heads, 3)),
        },
        model="pit",
        training={"fused_attn": True},
        num_params=num_params,
        macs=macs,
        grammar=check_grammar,
        parse=parse_text,
        format=format_text,
        stages=stages,
        growth=Growth(depth="depth", width="base_dim", unit=4),
        uniform=uniform,
        named=named,
        img_size_multiple=STRIDE,
        objectives=("length_distortion",),
        summary=summary,
        paper="arXiv 2103.16302",
    )


pit_tiny = _space(
    "pit-tiny",
    (16, 24, 32, 40),
    (2, 4, 8),
    "Three stages with pooling between them; the 1,600 architectures of the tiny-data benchmark",
    {"pit-ti": parse_text("b32-m4-d2,6,4-h2,4,8")},
)

pit_xs = _space(
    "pit-xs",
    (40, 48, 56, 64),
    (2, 4, 8),
    "Three stages with pooling between them; wider heads than pit-tiny",
    {"pit-xs": parse_text("b48-m4-d2,6,4-h2,4,8")},
)

pit_small = _space(
    "pit-small",
    (36, 48, 60, 72),
    (3, 6, 12),
    "Three stages with pooling between them; more heads than pit-xs",
    {"pit-s": parse_text("b48-m4-d2,6,4-h3,6,12")},
)
