"""ResNets for small images, as teachers of students on tiny data sets (He 2015, arXiv 1512.03385, section 4.2).

Three stages of (depth - 2) / 6 basic blocks each; their widths are `width`, twice and four times that. The paper's have
width 16. Written as text, an architecture is `resnet56`, or `resnet56-w32` where the width is another than 16.

Where the paper leaves it open, this is decided here:

* Shortcuts have no parameters (option A, which the paper uses for these), so that `resnet20` has 269,722 parameters and
  `resnet56` 853,018 with 10 classes; with 1 x 1 convolutions in the two wider ones they would have 2,752 more.
* What can be built: any depth of 6 n + 2 and any positive width, for images of any side. What is drawn is small.
"""

from __future__ import annotations

import re
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice
from raynas.space.search_space import SearchSpace, Stage

_TEXT = re.compile(r"resnet([0-9]{1,9})(?:-w([0-9]{1,9}))?")
_WIDTH = 16


def parse_text(text: str) -> Architecture:
    """Read resnet56, or resnet56-w32.

    Raises:
        SpaceError: The text has another form.
    """
    if (match := _TEXT.fullmatch(text.strip().lower())) is None:
        raise SpaceError(f"resnet: {text!r:.200} has another form than resnet56 or resnet56-w32: depth, width")
    return Architecture({"depth": int(match[1]), "width": int(match[2] or _WIDTH)})


def format_text(architecture: Architecture) -> str:
    """resnet56; resnet56-w32."""
    a: Any = architecture
    return f"resnet{a['depth']}" + (f"-w{a['width']}" if a["width"] != _WIDTH else "")


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    depth, width = architecture["depth"], architecture["width"]
    if not _is_integer(depth, 8) or int(depth) % 6 != 2:  # type: ignore[arg-type]
        raise SpaceError(f"resnet: depth is {depth!r}; it must be 6 n + 2 for some n of at least 1, such as 20 or 56")
    if not _is_integer(width, 1):
        raise SpaceError(f"resnet: width is {width!r}; it must be an integer of at least 1")


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters of convolutions, BatchNorms and the head."""
    a: Any = architecture
    width, blocks = a["width"], (a["depth"] - 2) // 6
    total = width * (3 * 9 + 2)
    before = width
    for stage in range(3):
        after = width << stage
        total += after * (9 * before + 2) + (2 * blocks - 1) * after * (9 * after + 2)
        before = after
    return int(total + num_classes * (before + 1))


def macs(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Multiply-adds of one image: convolutions and the head."""
    a: Any = architecture
    width, blocks = a["width"], (a["depth"] - 2) // 6
    side = img_size
    total = side * side * width * 3 * 9
    before = width
    for stage in range(3):
        after = width << stage
        side = -(-side // 2) if stage else side
        total += side * side * 9 * after * (before + (2 * blocks - 1) * after)
        before = after
    return int(total + before * num_classes)


def stages(architecture: Architecture, img_size: int) -> list[Stage]:
    """The three stages."""
    a: Any = architecture
    blocks = (a["depth"] - 2) // 6
    sides = [img_size, -(-img_size // 2), -(-img_size // 4)]
    return [
        Stage(f"stage {i + 1}", a["width"] << i, side * side, blocks, {"kernel": "3", "stride": "2" if i else "1"})
        for i, side in enumerate(sides)
    ]


resnet = SearchSpace(
    name="resnet",
    fields={"depth": Choice(8, 14, 20), "width": Choice(8, 16, 24, 32)},
    model="resnet",
    num_params=num_params,
    macs=macs,
    grammar=check_grammar,
    parse=parse_text,
    format=format_text,
    stages=stages,
    named={f"resnet{depth}": parse_text(f"resnet{depth}") for depth in (20, 56)},
    search_img_size=32,
    objectives=("length_distortion",),
    summary="ConvNets for images of 32 pixels, as teachers",
    paper="arXiv 1512.03385",
)
