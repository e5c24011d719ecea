"""AutoFormer: a vision transformer whose blocks have heads and MLP ratios of their own (Chen 2021, arXiv 2107.00651).

`autoformer-tiny`, `-small` and `-base` are in the authors' build: heads are 64 wide whatever the width of the network,
attention knows relative positions, logits come from the mean over patches. `autoformer-tiny-plain` has the choices of
Tiny in the build of the tiny-data benchmark (ViT-Bench-101, arXiv 2312.09059): heads share the width, and attention
knows no positions. One architecture is another network in each build; their scores and accuracies must not be mixed.

Written as text, an architecture is `w192-m3.5,4,4-h3,3,4`: width, then MLP ratio and heads of each block.

What is decided here:

* What can be built: positive integers, any positive MLP ratio whose hidden width, rounded down, is at least 1, and in
  the plain build heads that divide the width. So the published AutoFormer-T, with ratios that are not sampled, builds.
* Uniform are the architectures with one MLP ratio and one number of heads for all blocks, the one that is nearest to 64
  channels a head.
* Base has 9 or 10 heads, as the authors' supernet; their configuration for training from scratch also lists 8.
* `num_params` counts position embeddings and tables of relative positions. `macs` counts the products of this project's
  network, which needs fewer for relative positions than the authors'. `macs_official` is what the authors publish.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice, PerLayer
from raynas.space.growth import Growth
from raynas.space.search_space import SearchSpace, Stage

PATCH_SIZE = 16
HEAD_DIM = 64  # of the authors' build
_TABLES = 4 * 30 * HEAD_DIM  # rows and columns, of keys and of values; 29 distances and the class token

_NUMBERS = r"([0-9]{1,9}(?:\.[0-9]{1,20})?(?:\s*,\s*[0-9]{1,9}(?:\.[0-9]{1,20})?)*)"
_TEXT = re.compile(rf"w([0-9]{{1,9}})-m{_NUMBERS}-h{_NUMBERS}")


# -- text --------------------------------------------------------------------------------------------------------------


def parse_text(text: str) -> Architecture:
    """Read w192-m3.5,4,4-h3,3,4.

    Raises:
        SpaceError: The text has another form, or another number of MLP ratios than of heads.
    """
    if (match := _TEXT.fullmatch(text.strip().lower())) is None:
        raise SpaceError(
            f"autoformer: {text!r:.200} has another form than w192-m3.5,4,4-h3,3,4: width, MLP ratios, heads of "
            "the blocks"
        )
    mlp_ratio = [float(number) for number in match[2].split(",")]
    num_heads = [float(number) for number in match[3].split(",")]
    if len(mlp_ratio) != len(num_heads):
        raise SpaceError(
            f"autoformer: {text!r:.200} has {len(mlp_ratio)} MLP ratios and {len(num_heads)} numbers of heads"
        )
    return _architecture(int(match[1]), mlp_ratio, num_heads)


def format_text(architecture: Architecture) -> str:
    """w192-m3.5,4,4-h3,3,4."""
    a: Any = architecture
    return f"w{a['embed_dim']}-m{','.join(map(str, a['mlp_ratio']))}-h{','.join(map(str, a['num_heads']))}"


def _architecture(embed_dim: int, mlp_ratio: Sequence[float], num_heads: Sequence[float]) -> Architecture:
    return Architecture(
        {"embed_dim": embed_dim, "depth": len(mlp_ratio), "mlp_ratio": mlp_ratio, "num_heads": num_heads}
    )


# -- what can be built -------------------------------------------------------------------------------------------------


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built in the authors' build, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    a: Any = architecture
    heads = {f"num_heads[{i}]": value for i, value in enumerate(a["num_heads"])}
    for name, value in {"embed_dim": a["embed_dim"], "depth": a["depth"], **heads}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SpaceError(f"autoformer: {name} is {value!r}; it must be an integer of at least 1")
    for i, ratio in enumerate(a["mlp_ratio"]):
        if not isinstance(ratio, int | float) or isinstance(ratio, bool) or a["embed_dim"] * ratio < 1:
            raise SpaceError(
                f"autoformer: mlp_ratio[{i}] is {ratio!r}; it must be a positive number that gives a hidden channel"
            )


def check_plain_grammar(architecture: Architecture) -> None:
    """Accept what can be built in the plain build: heads must also divide the width.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    check_grammar(architecture)
    a: Any = architecture
    for i, heads in enumerate(a["num_heads"]):
        if a["embed_dim"] % heads:
            raise SpaceError(f"autoformer: num_heads[{i}] is {heads}; it must divide embed_dim {a['embed_dim']}")


# -- costs -------------------------------------------------------------------------------------------------------------


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters in the authors' build, position embedding and tables of relative positions included."""
    a: Any = architecture
    inner = [HEAD_DIM * heads for heads in a["num_heads"]]
    return _num_params(architecture, img_size, num_classes, inner) + _TABLES * len(inner)


def plain_num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters in the plain build, position embedding included."""
    a: Any = architecture
    return _num_params(architecture, img_size, num_classes, [a["embed_dim"]] * a["depth"])


def _num_params(architecture: Architecture, img_size: int, num_classes: int, inner: Sequence[int]) -> int:
    """Without tables of relative positions; `inner` has the width of all heads of each block."""
    a: Any = architecture
    width = a["embed_dim"]
    total = width * (3 * PATCH_SIZE**2 + 1) + width * ((img_size // PATCH_SIZE) ** 2 + 2)
    for heads_width, hidden in zip(inner, _hidden(architecture), strict=True):
        total += heads_width * (4 * width + 3) + hidden * (2 * width + 1) + 6 * width
    return int(total + 2 * width + num_classes * (width + 1))


def macs(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Multiply-adds of one image in the authors' build, as this project computes it.

    Products for relative positions are with each row and column of the grid, of which a grid of G patches a side has
    2 * (G + 1), the class token's included (see `raynas.models.families.autoformer_network`).
    """
    a: Any = architecture
    side = img_size // PATCH_SIZE
    places = 2 * (side + 1)
    tokens = side**2 + 1
    inner = [HEAD_DIM * heads for heads in a["num_heads"]]
    relative = sum(a["num_heads"]) * 2 * places * (side**2 * HEAD_DIM + tokens**2)
    return _macs(architecture, img_size, num_classes, inner) + int(relative)


def plain_macs(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Multiply-adds of one image in the plain build."""
    a: Any = architecture
    return _macs(architecture, img_size, num_classes, [a["embed_dim"]] * a["depth"])


def _macs(architecture: Architecture, img_size: int, num_classes: int, inner: Sequence[int]) -> int:
    """Convolution, linear layers and both products of attention; `inner` as in _num_params."""
    a: Any = architecture
    width = a["embed_dim"]
    patches = (img_size // PATCH_SIZE) ** 2
    tokens = patches + 1
    total = patches * width * 3 * PATCH_SIZE**2
    for heads_width, hidden in zip(inner, _hidden(architecture), strict=True):
        total += tokens * width * (4 * heads_width + 2 * hidden) + 2 * tokens**2 * heads_width
    return int(total + width * num_classes)


def macs_official(architecture: Architecture, num_classes: int = 1000, *, strict: bool = False) -> float:
    """What the authors' code counts at 224 pixels and publishes as FLOPs.

    It counts norms, half an operation for some additions, relative positions as 14 numbers a pair, and the head for all
    tokens. Blocks have 198 tokens there, as the class token is counted twice.

    Args:
        architecture: An architecture of the authors' build.
        num_classes: Outputs of the head.
        strict: Blocks have 197 tokens.
    """
    a: Any = architecture
    width, tokens = a["embed_dim"], 197 if strict else 198
    total = 196 * 768 * width + width + 197 * width / 2
    for heads, hidden in zip(a["num_heads"], _hidden(architecture), strict=True):
        inner = HEAD_DIM * heads
        total += tokens * (4 * width * inner + 2 * width * hidden + 2 * width + inner / 2)
        total += tokens**2 * (2 * inner + 28.5)
    return float(total + 197 * width * num_classes)


def _hidden(architecture: Architecture) -> list[int]:
    """Hidden width of each block's MLP."""
    a: Any = architecture
    return [int(ratio * a["embed_dim"]) for ratio in a["mlp_ratio"]]


def stages(architecture: Architecture, img_size: int) -> list[Stage]:
    """The whole network as one stage."""
    a: Any = architecture
    details = {
        "patch": f"{PATCH_SIZE} x {PATCH_SIZE}",
        "heads": _range(a["num_heads"]),
        "mlp_ratio": _range(a["mlp_ratio"]),
    }
    tokens = (img_size // PATCH_SIZE) ** 2 + 1
    return [Stage("blocks", a["embed_dim"], tokens, a["depth"], details)]


def uniform(fields: Mapping[str, Any]) -> Iterator[Architecture]:
    """Architectures whose blocks are alike, with heads in proportion to the width."""
    ratios, heads = fields["mlp_ratio"].choice.options, fields["num_heads"].choice.options
    for width, depth, ratio in itertools.product(fields["embed_dim"].options, fields["depth"].options, ratios):
        num_heads = min(heads, key=lambda number: abs(width / HEAD_DIM - number))
        yield _architecture(width, [ratio] * depth, [num_heads] * depth)


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


# -- the spaces --------------------------------------------------------------------------------------------------------


def _fields(embed_dim: Choice, depth: Choice, mlp_ratio: Choice, num_heads: Choice) -> dict[str, Any]:
    layers = {"mlp_ratio": PerLayer(mlp_ratio), "num_heads": PerLayer(num_heads)}
    return {"embed_dim": embed_dim, "depth": depth, **layers}


_TINY = _fields(Choice(192, 216, 240), Choice(12, 13, 14), Choice(3.5, 4), Choice(3, 4))


def _space(
    name: str, fields: dict[str, Any], summary: str, named: dict[str, Architecture], *, is_plain: bool = False
) -> SearchSpace:
    return SearchSpace(
        name=name,
        fields=fields,
        model="autoformer-plain" if is_plain else "autoformer",
        training={"fused_attn": True},
        num_params=plain_num_params if is_plain else num_params,
        macs=plain_macs if is_plain else macs,
        grammar=check_plain_grammar if is_plain else check_grammar,
        parse=parse_text,
        format=format_text,
        stages=stages,
        # In the plain build all sampled numbers of heads divide a grown width; in the other any width is built.
        growth=Growth(depth="depth", width="embed_dim", unit=12 if is_plain else 8),
        uniform=uniform,
        named=named,
        img_size_multiple=PATCH_SIZE,
        objectives=("length_distortion",),
        summary=summary,
        paper="arXiv 2312.09059" if is_plain else "arXiv 2107.00651",
    )


autoformer_tiny = _space(
    "autoformer-tiny",
    _TINY,
    "Heads and MLP ratios of each block, relative positions; 5 to 10 million parameters",
    {
        "autoformer-t": parse_text("w192-m3.5,3.5,3,3.5,3,3,4,4,3.5,4,3.5,4,3.5-h3,3,3,3,3,3,3,3,3,3,4,3,3"),
        # Found without training (Zhou 2022, arXiv 2203.12217).
        "tf-tas-t": parse_text("w192-m3.5,4,3.5,3.5,4,3.5,3.5,3.5,4,4,4,4,3.5-h4,3,3,3,3,4,4,3,3,3,4,3,3"),
    },
)

autoformer_small = _space(
    "autoformer-small",
    _fields(Choice(320, 384, 448), Choice(12, 13, 14), Choice(3, 3.5, 4), Choice(5, 6, 7)),
    "Heads and MLP ratios of each block, relative positions; 13 to 34 million parameters",
    {"autoformer-s": parse_text("w384-m3,3.5,3,3.5,4,4,4,4,4,4,4,3.5,4-h6,6,5,7,5,5,5,6,6,7,7,6,7")},
)

autoformer_base = _space(
    "autoformer-base",
    _fields(Choice(528, 576, 624), Choice(14, 15, 16), Choice(3, 3.5, 4), Choice(9, 10)),
    "Heads and MLP ratios of each block, relative positions; 42 to 76 million parameters",
    {"autoformer-b": parse_text("w576-m3.5,3.5,4,3.5,4,3.5,3.5,3,4,4,3,4,3,3.5-h9,9,9,9,9,10,9,9,10,9,10,9,9,10")},
)

autoformer_tiny_plain = _space(
    "autoformer-tiny-plain",
    _TINY,
    "The choices of autoformer-tiny in plain blocks, as trained on tiny data; heads share the width",
    {},
    is_plain=True,
)
