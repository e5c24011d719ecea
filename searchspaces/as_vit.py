"""As-ViT: overlapping tokens, windowed attention and four stages (Chen 2022, arXiv 2202.11921).

The searched topology has 12 free decisions (the paper's thirteenth, the split of stage 4, has one option) in 4,556,250
combinations; depth and width are grown afterwards. An architecture is also written as a genotype
`K1,S1,E1[,L1]|K2,S2,E2[,L2]|K3,S3,E3[,L3]|K4,S4,E4[,L4]|A[,C]`: a stage's kernel, attention split, MLP ratio and depth
(1 unless given), then the heads of stage 4 and the width of stage 1 (32 unless given).

Where the paper leaves it open, this is decided here:

* What can be built: kernels at least as large as their stride (4, then 2), so that no pixel and no token is skipped;
  splits whose windows tile the 224-pixel grid of 56, 28, 14, 7 tokens a side; integer MLP ratios and depths of at least
  1; heads divisible by 8, so that every stage has a whole number; widths that give each head at least one channel.
* A window has max(1, grid // split) tokens a side on every grid. Where a grid of another image size cannot be tiled, it
  is padded and the padding masked. The sampled splits tile every grid of an image side divisible by 32.
* Heads that do not divide the width leave the attention narrower than the stage, as in the authors' code.
* Uniform are the architectures with one MLP ratio, windows of one size (7 tokens a side at 224 pixels), and kernels of
  one proportion to their strides; widths double from stage to stage in all of them.
* `num_params` counts the position embedding, which trained models have and scored ones lack. `macs` counts the products
  of convolutions, linear layers and attention, and is the same with and without it.
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

MAX_WIDTH = 1024
_GRIDS = (56, 28, 14, 7)  # tokens a side at 224 pixels
_STRIDES = (4, 2, 2, 2)
_WIDTH = 32

_FORM = "K1,S1,E1[,L1]|K2,S2,E2[,L2]|K3,S3,E3[,L3]|K4,S4,E4[,L4]|A[,C], such as 8,2,3|4,1,2|4,1,4|4,1,6|32"
_STAGE = re.compile(r"([0-9]{1,9})\s*,\s*([0-9]{1,9})\s*,\s*([0-9]{1,9})(?:\s*,\s*([0-9]{1,9}))?")
_ENDS = re.compile(r"([0-9]{1,9})(?:\s*,\s*([0-9]{1,9}))?")


def parse_genotype(text: str) -> Architecture:
    """Read a genotype; stages are separated by `|` or `/`, spaces are allowed.

    Raises:
        SpaceError: The text has another form.
    """
    parts = [part.strip() for part in re.split(r"[|/]", text)]
    if len(parts) != 5:
        raise SpaceError(f"as-vit: a genotype has 5 parts, {_FORM}; {text!r:.200} has {len(parts)}")
    stages = []
    for i, part in enumerate(parts[:4], start=1):
        if (match := _STAGE.fullmatch(part)) is None:
            raise SpaceError(
                f"as-vit: stage {i} of {text!r:.200} is {part!r:.200}; expected 3 or 4 integers, as in {_FORM}"
            )
        stages.append([int(group or 1) for group in match.groups()])
    if (match := _ENDS.fullmatch(parts[4])) is None:
        raise SpaceError(f"as-vit: {text!r:.200} ends with {parts[4]!r:.200}; expected heads[,width], as in {_FORM}")
    kernel, split, mlp_ratio, depth = zip(*stages, strict=True)
    return Architecture(
        {
            "kernel": kernel,
            "split": split,
            "mlp_ratio": mlp_ratio,
            "num_heads": int(match[1]),
            "depth": depth,
            "embed_dim": int(match[2] or _WIDTH),
        }
    )


def format_genotype(architecture: Architecture) -> str:
    """The shortest genotype: depths of 1 and a width of 32 are left out."""
    a: Any = architecture
    stages = []
    for kernel, split, mlp_ratio, depth in zip(a["kernel"], a["split"], a["mlp_ratio"], a["depth"], strict=True):
        stages.append(f"{kernel},{split},{mlp_ratio}" + (f",{depth}" if depth != 1 else ""))
    width = f",{a['embed_dim']}" if a["embed_dim"] != _WIDTH else ""
    return "|".join([*stages, f"{a['num_heads']}{width}"])


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    a: Any = architecture
    for name in ("kernel", "split", "mlp_ratio", "depth"):
        for i, value in enumerate(a[name]):
            _check_at_least(f"{name}[{i}]", value, _STRIDES[i] if name == "kernel" else 1)
    for i, (grid, split) in enumerate(zip(_GRIDS, a["split"], strict=True)):
        if split > grid or grid % (grid // split):
            allowed = [s for s in range(1, grid + 1) if grid % (grid // s) == 0]
            raise SpaceError(
                f"as-vit: split[{i}] is {split}: windows cannot tile {grid} x {grid} tokens; "
                f"allowed: {', '.join(map(str, allowed))}"
            )
    heads, width = a["num_heads"], a["embed_dim"]
    _check_at_least("num_heads", heads, 8)
    if heads % 8:
        raise SpaceError(f"as-vit: num_heads is {heads}; it must be divisible by 8, as stage 1 has an eighth of them")
    _check_at_least("embed_dim", width, 1)
    for i in range(4):
        if min(MAX_WIDTH, width << i) < heads >> (3 - i):
            raise SpaceError(
                f"as-vit: num_heads {heads} with embed_dim {width} gives stage {i + 1} {heads >> (3 - i)} heads "
                f"for {min(MAX_WIDTH, width << i)} channels; a head needs at least one channel"
            )


def _check_at_least(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpaceError(f"as-vit: {name} is {value!r}; it must be an integer of at least {least}")


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters as trained, position embedding included."""
    a: Any = architecture
    kernel, mlp_ratio, depth = a["kernel"], a["mlp_ratio"], a["depth"]
    heads, width = a["num_heads"], a["embed_dim"]
    before = min(MAX_WIDTH, width)
    total = before * (3 * kernel[0] ** 2 + 3 + (img_size // 4) ** 2)
    for i in range(4):
        dim, stage_heads = min(MAX_WIDTH, width << i), heads >> (3 - i)
        inner = dim // stage_heads * stage_heads
        total += depth[i] * (dim * (6 + 4 * inner + mlp_ratio[i] * (2 * dim + 1)) + 3 * inner)
        if i:
            total += kernel[i] ** 2 * before * (2 + dim)
            before = dim
    total += before * (3 + before + num_classes) + num_classes
    return int(total)


def macs(architecture: Architecture, img_size: int, num_classes: int, *, stride: int = 4) -> int:
    """Multiply-adds of one image: convolution, linear layers and both products of attention.

    Args:
        architecture: What is counted.
        img_size: Image side in pixels, divisible by the stride.
        num_classes: Outputs of the head.
        stride: Stride of the patch embedding, other than 4 while training is re-tokenized.
    """
    a: Any = architecture
    kernel, split, mlp_ratio, depth = a["kernel"], a["split"], a["mlp_ratio"], a["depth"]
    heads, width = a["num_heads"], a["embed_dim"]
    grid, before = img_size // stride, 3
    total = 0
    for i in range(4):
        dim, stage_heads = min(MAX_WIDTH, width << i), heads >> (3 - i)
        inner = dim // stage_heads * stage_heads
        window = max(1, grid // split[i])
        attended = (-(-grid // window) * window * window) ** 2
        tokens = grid * grid
        total += tokens * dim * (kernel[i] ** 2 * before + depth[i] * (4 * inner + 2 * mlp_ratio[i] * dim))
        total += depth[i] * 2 * attended * inner
        before, grid = dim, -(-grid // 2)
    return int(total + before * (before + num_classes))


def stages(architecture: Architecture, img_size: int) -> list[Stage]:
    """The four stages, with what each decision means there."""
    a: Any = architecture
    shown = []
    for i in range(4):
        grid = img_size // (4 << i)
        window = max(1, grid // a["split"][i])
        details = {
            "kernel": f"{a['kernel'][i]}, stride {_STRIDES[i]}",
            "window": f"{window} x {window}" if window < grid else "global",
            "heads": str(a["num_heads"] >> (3 - i)),
            "mlp_ratio": str(a["mlp_ratio"][i]),
        }
        shown.append(Stage(f"stage {i + 1}", min(MAX_WIDTH, a["embed_dim"] << i), grid * grid, a["depth"][i], details))
    return shown


def uniform(fields: Mapping[str, Any]) -> Iterator[Architecture]:
    """Architectures whose stages are alike: in MLP ratio, window, and kernel in proportion to the stride."""
    kernels = itertools.product(*(choice.options for choice in fields["kernel"]))
    even = [each for each in kernels if len({k / stride for k, stride in zip(each, _STRIDES, strict=True)}) == 1]
    splits = itertools.product(*(choice.options for choice in fields["split"]))
    equal = [each for each in splits if len({grid / split for grid, split in zip(_GRIDS, each, strict=True)}) == 1]
    (width,), depth = fields["embed_dim"].options, [choice.options[0] for choice in fields["depth"]]
    ratios, heads = fields["mlp_ratio"][0].options, fields["num_heads"].options
    for kernel, split, ratio, num_heads in itertools.product(even, equal, ratios, heads):
        yield Architecture(
            {
                "kernel": kernel,
                "split": split,
                "mlp_ratio": (ratio,) * 4,
                "num_heads": num_heads,
                "depth": depth,
                "embed_dim": width,
            }
        )


_MLP_RATIO = Choice(2, 3, 4, 5, 6)
_MERGE_KERNEL = Choice(2, 3, 4)

as_vit = SearchSpace(
    name="as-vit",
    fields={
        "kernel": (Choice(4, 5, 6, 7, 8), _MERGE_KERNEL, _MERGE_KERNEL, _MERGE_KERNEL),
        "split": (Choice(2, 4, 8), Choice(1, 2, 4), Choice(1, 2), Choice(1)),
        "mlp_ratio": (_MLP_RATIO,) * 4,
        "num_heads": Choice(16, 32, 64),
        "depth": (Choice(1),) * 4,
        "embed_dim": Choice(_WIDTH),
    },
    model="as-vit",
    model_version=2,
    scoring={"pos_embed": False},
    training={"fused_attn": True},
    num_params=num_params,
    macs=macs,
    grammar=check_grammar,
    parse=parse_genotype,
    format=format_genotype,
    stages=stages,
    growth=Growth(
        depth="depth",
        width="embed_dim",
        unit=4,
        scored_divisor=4,
        stop="num_params>=80e6",
        constraints=("num_params<=110e6",),
    ),
    uniform=uniform,
    named={
        "seed": parse_genotype("8,2,3|4,1,2|4,1,4|4,1,6|32"),
        "as-vit-small": parse_genotype("8,2,3,3|4,1,2,1|4,1,4,4|4,1,6,2|32,88"),
        "as-vit-base": parse_genotype("8,2,3,3|4,1,2,1|4,1,4,5|4,1,6,2|32,116"),
        "as-vit-large": parse_genotype("8,2,3,5|4,1,2,2|4,1,4,5|4,1,6,2|32,180"),
    },
    img_size_multiple=32,
    search_img_size=64,
    objectives=("length_distortion",),
    summary="Overlapping tokens, windowed attention, four stages; grown in depth and width afterwards",
    paper="arXiv 2202.11921",
)
