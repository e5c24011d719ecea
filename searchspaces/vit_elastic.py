"""Elastic ViT: all parts of one plain vision transformer, for supernets (Dosovitskiy 2020, arXiv 2010.11929).

A space is named by its largest network: `vit-elastic@p4-w128-d8-h4-m4` holds the parts of that network of the space
`vit`, and `vit-elastic` alone those of DeiT-Tiny, p16-w192-d12-h3-m4. The network may have been trained before, as its
parameters are named as timm names them. Written as text, an architecture is `p16-w168-h64:3x768,0,2x576`: patch size,
width, size of the heads, and heads x MLP units of each place, 0 where no block stands.

What is decided here:

* The size of the heads is that of the largest network, its width divided by its heads, whatever the width: a member
  keeps heads as they were learned, as in ViT-ResNAS (Liao 2021, arXiv 2109.00642). So widths need not be divisible by
  the number of heads, and heads together may be wider or narrower than the tokens.
* Width and MLP units are whole eighths of the largest, rounded down, from eight to four of them. Heads are all numbers
  from all heads to half of them, rounded up.
* Every second block may be absent, beginning with the second one; a member has at least half of the blocks. Genes of
  absent blocks make no difference: heads and MLP units of such a place are both 0, and an architecture that says 0 for
  one of them is read as one that says 0 for both.
* The largest network has at most 256 blocks and 256 heads; a name must not be able to fill the memory.
* Texts of the same largest network are one space, whose name has the space `vit`'s own text: m4.0 is m4, and deit-tiny
  is p16-w192-d12-h3-m4, which is `vit-elastic` itself.
* What can be built: a block at least, and any heads, size of heads and MLP units.
* Uniform are the architectures with one option of heads and of MLP units, and blocks absent at the end.
* Images have 224 pixels a side unless another number is asked for, or 14 patches a side where patches are smaller than
  14 pixels or do not tile 224, so that small patches do not make thousands of tokens.
* Costs count as those of the space `vit`: the class token and the position embeddings too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice, PerBlock
from raynas.space.growth import Growth
from raynas.space.search_space import SearchSpace, Stage
from searchspaces.vit import vit

NAME = "vit-elastic"
DEFAULT = "p16-w192-d12-h3-m4"
"""The largest network of the space that is named without one: DeiT-Tiny (Touvron 2020, arXiv 2012.12877)."""

_MOST = 256
_PLACE = "(?:[0-9]{1,6}x[0-9]{1,6}|0)"
_TEXT = re.compile(rf"p([0-9]{{1,6}})-w([0-9]{{1,6}})-h([0-9]{{1,6}}):({_PLACE}(?:,{_PLACE})*)")


def parse_text(text: str) -> Architecture:
    """Read p16-w168-h64:3x768,0,2x576.

    Raises:
        SpaceError: The text has another form.
    """
    if (match := _TEXT.fullmatch(text.strip().lower())) is None:
        raise SpaceError(
            f"vit-elastic: {text!r:.200} has another form than p16-w168-h64:3x768,0,2x576: patch, width, size of the "
            "heads, and heads x MLP units of each place"
        )
    patch_size, width, head_size, places = match.groups()
    blocks = [(0, 0) if one == "0" else (int(one.split("x")[0]), int(one.split("x")[1])) for one in places.split(",")]
    return _architecture(int(patch_size), int(width), int(head_size), blocks)


def format_text(architecture: Architecture) -> str:
    """p16-w168-h64:3x768,0,2x576."""
    a: Any = architecture
    places = ",".join(f"{heads}x{units}" if heads else "0" for heads, units in _blocks(architecture))
    return f"p{a['patch_size']}-w{a['width']}-h{a['head_size']}:{places}"


def check_grammar(architecture: Architecture) -> None:
    """Accept what can be built, sampled or not.

    Raises:
        SpaceError: It cannot be built; the message names the field, its value and what is allowed.
    """
    a: Any = architecture
    for name in ("patch_size", "width", "head_size"):
        _check_integer(name, a[name], 1)
    if not isinstance(a["depth"], tuple) or len(a["depth"]) != 1:
        raise SpaceError(f"vit-elastic: depth needs a list of 1 value, got {a['depth']!r}")
    _check_integer("depth[0]", a["depth"][0], 1)
    for i, (heads, units) in enumerate(_blocks(architecture)):
        _check_integer(f"num_heads[{i}]", heads, 0)
        _check_integer(f"mlp_units[{i}]", units, 0)
        if (heads == 0) != (units == 0):
            raise SpaceError(
                f"vit-elastic: num_heads[{i}] is {heads} and mlp_units[{i}] is {units}; an absent block has 0 of both"
            )
    if not _present(architecture):
        raise SpaceError("vit-elastic: there is no block; a network has one at least")


def num_params(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Parameters, class token and position embedding included."""
    a: Any = architecture
    width = a["width"]
    tokens = (img_size // a["patch_size"]) ** 2 + 1
    total = width * (3 * a["patch_size"] ** 2 + 1) + width + tokens * width
    for heads, units in _present(architecture):
        inner = heads * a["head_size"]
        total += 4 * width + 3 * inner * (width + 1) + inner * width + width + 2 * width * units + units + width
    return int(total + 2 * width + num_classes * (width + 1))


def macs(architecture: Architecture, img_size: int, num_classes: int) -> int:
    """Multiply-adds of one image: convolution, linear layers and both products of attention."""
    a: Any = architecture
    width = a["width"]
    patches = (img_size // a["patch_size"]) ** 2
    tokens = patches + 1
    total = patches * width * 3 * a["patch_size"] ** 2
    for heads, units in _present(architecture):
        inner = heads * a["head_size"]
        total += tokens * (4 * inner * width + 2 * width * units) + 2 * tokens**2 * inner
    return int(total + width * num_classes)


def stages(architecture: Architecture, img_size: int) -> list[Stage]:
    """The whole network as one stage; tokens include the class token."""
    a: Any = architecture
    present = _present(architecture)
    heads, units = ([block[part] for block in present] for part in (0, 1))
    details = {
        "patch": f"{a['patch_size']} x {a['patch_size']}",
        "heads": f"{_span(heads)} of {a['head_size']}",
        "MLP units": _span(units),
    }
    return [Stage("blocks", a["width"], (img_size // a["patch_size"]) ** 2 + 1, len(present), details)]


def uniform(fields: Mapping[str, Any]) -> Iterator[Architecture]:
    """Architectures whose blocks are alike, and of which some are absent at the end."""
    patch_size, head_size = (fields[name].options[0] for name in ("patch_size", "head_size"))
    # The first place has a block, and says what all others may have.
    heads, units = fields["num_heads"].choices, fields["mlp_units"].choices
    removable = [i for i, choice in enumerate(heads) if 0 in choice.options]
    for width, head, unit, missing in itertools.product(
        fields["width"].options, heads[0].options, units[0].options, range(len(removable) + 1)
    ):
        without = removable[len(removable) - missing :]
        blocks = [(0, 0) if i in without else (head, unit) for i in range(len(heads))]
        yield _architecture(patch_size, width, head_size, blocks)


def _architecture(patch_size: int, width: int, head_size: int, blocks: Sequence[tuple[int, int]]) -> Architecture:
    return Architecture(
        {
            "patch_size": patch_size,
            "width": width,
            "depth": (len(blocks),),
            "head_size": head_size,
            "num_heads": tuple(heads for heads, _ in blocks),
            "mlp_units": tuple(units for _, units in blocks),
        }
    )


def _blocks(architecture: Architecture) -> list[tuple[int, int]]:
    """(heads, MLP units) of each place, 0 where no block stands."""
    a: Any = architecture
    return list(zip(a["num_heads"], a["mlp_units"], strict=True))


def _present(architecture: Architecture) -> list[tuple[int, int]]:
    return [block for block in _blocks(architecture) if block[0]]


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)} to {max(values)}"


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpaceError(f"vit-elastic: {name} is {value!r}; it must be an integer of at least {least}")


# -- the spaces --------------------------------------------------------------------------------------------------------


def space_of(text: str) -> SearchSpace:
    """The space of the parts of a network.

    Args:
        text: The largest network, as the space `vit` reads it.

    Raises:
        SpaceError: It is none, or one with too many blocks or heads.
    """
    try:
        largest = vit.read(text)
    except SpaceError as error:
        raise SpaceError(f"what follows {NAME}@ is its largest network: {error}") from None
    canonical = vit.text(largest)
    if canonical == DEFAULT:
        return vit_elastic
    for name in ("depth", "num_heads"):
        number: Any = largest[name]
        if number > _MOST:
            raise SpaceError(f"the largest network of a space {NAME} has at most {_MOST} {name}, not {number}")
    return _space(f"{NAME}@{canonical}", largest)


def _space(name: str, largest: Architecture) -> SearchSpace:
    whole: Any = largest
    patch_size, width, depth, heads = (whole[field] for field in ("patch_size", "embed_dim", "depth", "num_heads"))
    numbers = Choice(*range(heads, (heads - 1) // 2, -1))
    removable = Choice(*numbers.options, 0)
    return SearchSpace(
        name=name,
        fields={
            "patch_size": Choice(patch_size),
            "width": _eighths(width),
            "depth": (Choice(depth),),
            "head_size": Choice(width // heads),
            "num_heads": PerBlock(tuple(removable if i % 2 else numbers for i in range(depth))),
            "mlp_units": PerBlock((_eighths(int(width * whole["mlp_ratio"])),) * depth),
        },
        model="vit-elastic",
        training={"fused_attn": True},
        num_params=num_params,
        macs=macs,
        grammar=check_grammar,
        parse=parse_text,
        format=format_text,
        stages=stages,
        growth=Growth(depth="depth", width="width", unit=8),
        uniform=uniform,
        variants=space_of,
        img_size_multiple=patch_size,
        search_img_size=14 * patch_size if patch_size < 14 or 224 % patch_size else 224,
        objectives=("length_distortion",),
        summary=f"Parts of one plain vision transformer, {vit.text(largest)}, for supernets; "
        f"{NAME}@TEXT holds those of another",
        paper="arXiv 2010.11929",
    )


def _eighths(whole: int) -> Choice:
    """Eight to four eighths of a number, rounded down; at least 1."""
    return Choice(*dict.fromkeys(max(1, whole * part // 8) for part in range(8, 3, -1)))


vit_elastic = _space(NAME, vit.read(DEFAULT))
