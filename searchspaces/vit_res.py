"""ViT-Res: a vision transformer of three stages with residual spatial reduction (Liao 2021, arXiv 2109.00642).

A stem of convolutions makes tokens of 14 pixels; between stages the grid is halved and the network widens, beside a
path that takes the mean of two by two tokens and gives the new channels zeros. One class token goes through all stages.
Every block has its own number of heads and of MLP units, and some may be absent. Written as text, stage by stage, an
architecture is `176h32:3x704,3x576,0/352h48:10x1408,8x1280/704h64:10x2560`: width, size of the heads, and heads x MLP
units of each place, 0 where no block stands.

`vit-res-tiny` and `vit-res-small` are the spaces of ViT-ResNAS-Tiny and of ViT-ResNAS-Small and -Medium.
`vit-res-nano` is theirs for images of 32 to 64 pixels and a laptop: tokens of 4 pixels, less than half the widths.

What is decided here:

* Genes of absent blocks make no difference: heads and MLP units of such a place are both 0, and an architecture that
  says 0 for one of them is read as one that says 0 for both. The source keeps hidden values there, and so takes equal
  networks for different ones.
* Which places of the published networks are empty is not published, only how many; here it is the last ones of their
  stage. A network has the same parameters and multiply-adds either way.
* What can be built: three stages whose widths do not shrink, each with a block at least, with any heads, sizes of heads
  and MLP units.
* Costs are those of the network that is used: the second head, which learns labels of patches in training, does not
  count. With it, the parameters are the published ones.
* Uniform are the architectures whose stages have the same option of width, of heads and of MLP units, and lack the
  same number of blocks, at their ends.
* The image side must be a multiple of what the last stage reduces it by, 56 pixels (nano: 16), so that grids can be
  halved twice. Multiply-adds of the stem follow the side; the source counts them at 224 pixels for all sides.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice, PerBlock
from raynas.space.growth import Growth
from raynas.space.search_space import SearchSpace, Stage

STEM_CHANNELS = 24
PATCH_SIZE, NANO_PATCH_SIZE = 7, 2
"""Side of a token in pixels of the stem's output, which has half the side of the image."""

_STAGES = 3
_STAGE = re.compile(r"([0-9]{1,6})h([0-9]{1,6}):((?:[0-9]{1,6}x[0-9]{1,6}|0)(?:,(?:[0-9]{1,6}x[0-9]{1,6}|0))*)")


def parse_text(text: str) -> Architecture:
    """Read 176h32:3x704,0/352h48:10x1408/704h64:10x2560.

    Raises:
        SpaceError: The text has another form.
    """
    matches = [_STAGE.fullmatch(stage) for stage in text.strip().lower().split("/")]
    if len(matches) != _STAGES or None in matches:
        raise SpaceError(
            f"vit-res: {text!r:.200} has another form than 176h32:3x704,0/352h48:10x1408/704h64:10x2560: width, size "
            "of the heads, and heads x MLP units of each place, of 3 stages"
        )
    stages = [match.groups() for match in matches if match]
    return _architecture(
        [int(width) for width, _, _ in stages],
        [int(size) for _, size, _ in stages],
        [
            [
                (0, 0) if block == "0" else (int(block.split("x")[0]), int(block.split("x")[1]))
                for block in blocks.split(",")
            ]
            for _, _, blocks in stages
        ],
    )


def format_text(architecture: Architecture) -> str:
    """176h32:3x704,0/352h48:10x1408/704h64:10x2560."""
    a: Any = architecture
    return "/".join(
        f"{width}h{size}:" + ",".join(f"{heads}x{units}" if heads else "0" for heads, units in blocks)
        for width, size, blocks in zip(a["width"], a["head_size"], _blocks(architecture), strict=True)
    )


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    a: Any = architecture
    for name in ("width", "depth", "head_size"):
        if not isinstance(a[name], tuple) or len(a[name]) != _STAGES:
            raise SpaceError(f"vit-res: {name} needs a list of {_STAGES} values, one for each stage, got {a[name]!r}")
        for i, value in enumerate(a[name]):
            _check_integer(f"{name}[{i}]", value, 1)
    for i in (1, 2):
        if a["width"][i] < a["width"][i - 1]:
            raise SpaceError(
                f"vit-res: width[{i}] is {a['width'][i]}, less than the {a['width'][i - 1]} before it; stages do not "
                "become narrower"
            )
    for i, (heads, units) in enumerate(zip(a["num_heads"], a["mlp_units"], strict=True)):
        _check_integer(f"num_heads[{i}]", heads, 0)
        _check_integer(f"mlp_units[{i}]", units, 0)
        if (heads == 0) != (units == 0):
            raise SpaceError(
                f"vit-res: num_heads[{i}] is {heads} and mlp_units[{i}] is {units}; an absent block has 0 of both"
            )
    for i, blocks in enumerate(_blocks(architecture)):
        if not any(heads for heads, _ in blocks):
            raise SpaceError(f"vit-res: stage {i + 1} has no block; a stage cannot be removed")


def stages(architecture: Architecture, side: int) -> list[Stage]:
    """The three stages; tokens include the class token.

    Args:
        architecture: What is drawn.
        side: Tokens a side in stage 1.
    """
    a: Any = architecture
    found = []
    for i, blocks in enumerate(_blocks(architecture)):
        present = [block for block in blocks if block[0]]
        heads, units = ([block[part] for block in present] for part in (0, 1))
        details = {"heads": f"{_span(heads)} of {a['head_size'][i]}", "MLP units": _span(units)}
        found.append(Stage(f"stage {i + 1}", a["width"][i], (side >> i) ** 2 + 1, len(present), details))
    return found


def uniform(fields: Mapping[str, Any]) -> Iterator[Architecture]:
    """Architectures whose stages have one option of everything each, and lack equally many blocks at their ends."""
    depth = [choice.options[0] for choice in fields["depth"]]
    head_size = [choice.options[0] for choice in fields["head_size"]]
    ends = list(itertools.accumulate(depth))
    # The first place of each stage has a block, and says what its stage may have.
    heads, units = ([fields[name].choices[end - n].options for end, n in zip(ends, depth, strict=True)] for name in
                    ("num_heads", "mlp_units"))  # fmt: skip
    removable = [
        [i for i in range(end - n, end) if 0 in fields["num_heads"].choices[i].options]
        for end, n in zip(ends, depth, strict=True)
    ]
    widths = list(zip(*(choice.options for choice in fields["width"]), strict=True))
    absent = range(min(map(len, removable)) + 1)
    for width, head, unit, missing in itertools.product(
        widths, zip(*heads, strict=True), zip(*units, strict=True), absent
    ):
        blocks = []
        for i, (end, n) in enumerate(zip(ends, depth, strict=True)):
            without = removable[i][len(removable[i]) - missing :]
            blocks.append([(0, 0) if at in without else (head[i], unit[i]) for at in range(end - n, end)])
        yield _architecture(width, head_size, blocks)


def published(width: Sequence[int], head_size: Sequence[int], blocks: Sequence[str], places: int = 0) -> Architecture:
    """A published network.

    Args:
        width: Channels of each stage.
        head_size: Channels of a head of each stage.
        blocks: Heads x MLP units of the blocks of each stage, such as "3x704 3x576".
        places: How many places each stage has, every second of which may be empty; 0: as many as it has blocks.
    """
    placed = []
    for text in blocks:
        present = iter([tuple(map(int, block.split("x"))) for block in text.split()])
        missing = max(0, places - len(text.split()))
        removable = range(1, places, 2)
        empty = removable[len(removable) - missing :]
        placed.append([(0, 0) if i in empty else next(present) for i in range(max(places, len(text.split())))])
    return _architecture(width, head_size, placed)


def _architecture(
    width: Sequence[int], head_size: Sequence[int], blocks: Sequence[Sequence[tuple[int, ...]]]
) -> Architecture:
    flat = [block for stage in blocks for block in stage]
    return Architecture(
        {
            "width": tuple(width),
            "depth": tuple(map(len, blocks)),
            "head_size": tuple(head_size),
            "num_heads": tuple(heads for heads, _ in flat),
            "mlp_units": tuple(units for _, units in flat),
        }
    )


def _blocks(architecture: Architecture) -> list[list[tuple[int, int]]]:
    """(heads, MLP units) of each place of each stage, 0 where no block stands."""
    a: Any = architecture
    flat = iter(zip(a["num_heads"], a["mlp_units"], strict=True))
    return [list(itertools.islice(flat, places)) for places in a["depth"]]


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)} to {max(values)}"


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpaceError(f"vit-res: {name} is {value!r}; it must be an integer of at least {least}")


# -- costs -------------------------------------------------------------------------------------------------------------


def num_params(
    architecture: Architecture,
    img_size: int,
    num_classes: int,
    *,
    patch_size: int = PATCH_SIZE,
    patch_head: bool = False,
) -> int:
    """Parameters, class token and position embeddings included.

    Args:
        architecture: The architecture.
        img_size: Side of the images in pixels.
        num_classes: Outputs of the head.
        patch_size: Side of a token in pixels of the stem's output.
        patch_head: Whether to count the head that learns labels of patches, which only a training has.
    """
    a: Any = architecture
    stem, side = STEM_CHANNELS, img_size // (2 * patch_size)
    first, last = a["width"][0], a["width"][-1]
    total = 3 * stem * 9 + 2 * stem * stem * 9 + 3 * 2 * stem + stem * patch_size**2 * first + first
    total += first + (side**2 + 1) * first
    for i, (width, size, blocks) in enumerate(zip(a["width"], a["head_size"], _blocks(architecture), strict=True)):
        if i:
            before = a["width"][i - 1]
            total += 2 * before + 9 * before * width + width + before * width + width + (side >> i) ** 2 * width
        for heads, units in blocks:
            inner = heads * size
            if heads:
                total += 4 * width + 3 * inner * (width + 1) + inner * width + width + 2 * width * units + units + width
    return int(total + 2 * last + (1 + patch_head) * (last + 1) * num_classes)


def macs(architecture: Architecture, img_size: int, num_classes: int, *, patch_size: int = PATCH_SIZE) -> int:
    """Multiply-adds of one image: convolutions, linear layers and both products of attention.

    Args:
        architecture: The architecture.
        img_size: Side of the images in pixels.
        num_classes: Outputs of the head.
        patch_size: Side of a token in pixels of the stem's output.
    """
    a: Any = architecture
    stem, side = STEM_CHANNELS, img_size // (2 * patch_size)
    total = (img_size // 2) ** 2 * (3 * stem * 9 + 2 * stem * stem * 9)
    total += side**2 * patch_size**2 * stem * a["width"][0]
    for i, (width, size, blocks) in enumerate(zip(a["width"], a["head_size"], _blocks(architecture), strict=True)):
        patches = (side >> i) ** 2
        if i:
            before = a["width"][i - 1]
            total += patches * width * 9 * before + before * width
        for heads, units in blocks:
            inner = heads * size
            total += (patches + 1) * (4 * inner * width + 2 * width * units) + 2 * (patches + 1) ** 2 * inner
    return int(total + a["width"][-1] * num_classes)


# -- the spaces --------------------------------------------------------------------------------------------------------


def _space(
    name: str,
    *,
    width: Sequence[Sequence[int]],
    head_size: Sequence[int],
    num_heads: Sequence[Sequence[int]],
    mlp_units: Sequence[Sequence[int]],
    removable: Sequence[bool],
    patch_size: int = PATCH_SIZE,
    **settings: Any,
) -> SearchSpace:
    """A space from the options of its stages, all of which have places that are removable alike."""

    def costs(count: Callable[..., int]) -> Callable[[Architecture, int, int], int]:
        return lambda architecture, img_size, num_classes: count(
            architecture, img_size, num_classes, patch_size=patch_size
        )

    return SearchSpace(
        name=name,
        fields={
            "width": tuple(Choice(*options) for options in width),
            "depth": tuple(Choice(len(removable)) for _ in range(_STAGES)),
            "head_size": tuple(map(Choice, head_size)),
            "num_heads": PerBlock(
                tuple(Choice(*options, *([0] if absent else [])) for options in num_heads for absent in removable)
            ),
            "mlp_units": PerBlock(tuple(Choice(*options) for options in mlp_units for _ in removable)),
        },
        training={"fused_attn": True},
        num_params=costs(num_params),
        macs=costs(macs),
        grammar=check_grammar,
        parse=parse_text,
        format=format_text,
        stages=lambda architecture, img_size: stages(architecture, img_size // (2 * patch_size)),
        uniform=uniform,
        img_size_multiple=8 * patch_size,
        objectives=("length_distortion",),
        paper="arXiv 2109.00642",
        **settings,
    )


vit_res_tiny = _space(
    "vit-res-tiny",
    width=((256, 224, 192, 176, 160), (512, 448, 384, 352, 320), (1024, 896, 768, 704, 640)),
    head_size=(32, 48, 64),
    num_heads=((6, 5, 4, 3), (12, 10, 8, 6), (12, 10, 8, 6)),
    mlp_units=(range(768, 383, -64), range(1536, 767, -128), range(3072, 1535, -256)),
    removable=(False, True) * 3,
    model="vit-res",
    growth=Growth(depth="depth", width="width", unit=16),
    named={
        "vit-res-tiny": published((192, 384, 768), (64, 64, 64), ["3x768 " * 4, "6x1536 " * 4, "12x3072 " * 4]),
        "vit-resnas-tiny": published(
            (176, 352, 704),
            (32, 48, 64),
            [
                "3x704 3x576 3x640 4x576 4x704",
                "10x1408 8x1408 8x1280 8x1408 10x1280 10x1024",
                "10x2560 10x1792 10x2816 8x2816 8x2560",
            ],
            places=6,
        ),
    },
    summary="Three stages with residual spatial reduction; heads and MLP units of up to 18 blocks each their own",
)

vit_res_small = _space(
    "vit-res-small",
    width=((320, 280, 240, 220, 200), (640, 560, 480, 440, 400), (1280, 1120, 960, 880, 800)),
    head_size=(32, 48, 64),
    num_heads=((8, 7, 6, 5), (16, 14, 12, 10), (16, 14, 12, 10)),
    mlp_units=(range(960, 479, -80), range(1920, 959, -160), range(3840, 1919, -320)),
    removable=(False, True, False, True, False, True, False),
    model="vit-res",
    growth=Growth(depth="depth", width="width", unit=20),
    named={
        "vit-resnas-small": published(
            (220, 440, 880),
            (32, 48, 64),
            [
                "5x880 5x880 7x800 5x720 5x720 5x720",
                "10x1760 10x1440 10x1920 10x1600 12x1600 12x1440",
                "16x3200 12x3200 16x2880 12x2240 14x2560",
            ],
            places=7,
        ),
        "vit-resnas-medium": published(
            (240, 640, 880),
            (32, 48, 64),
            [
                "7x960 6x960 7x800 8x960 7x880 8x880 6x800",
                "10x1120 14x1760 14x1920 16x1760 14x1440 16x1760 16x1920",
                "16x3200 10x3840 16x3840 12x3200 16x3520 14x3520",
            ],
            places=7,
        ),
    },
    summary="Three stages with residual spatial reduction; wider and deeper than vit-res-tiny",
)

vit_res_nano = _space(
    "vit-res-nano",
    width=((96, 88, 80, 72, 64), (192, 176, 160, 144, 128), (384, 352, 320, 288, 256)),
    head_size=(16, 24, 32),
    num_heads=((6, 5, 4, 3), (8, 7, 6, 5), (12, 10, 8, 6)),
    mlp_units=(range(288, 143, -24), range(576, 287, -48), range(1152, 575, -96)),
    removable=(False, False, True),
    patch_size=NANO_PATCH_SIZE,
    model="vit-res-nano",
    growth=Growth(depth="depth", width="width", unit=8),
    search_img_size=64,
    summary="Three stages with residual spatial reduction, for images of 32 to 64 pixels",
)
