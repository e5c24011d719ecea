"""The uniform architectures of each built-in space, and those of a given cost."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from raynas import Architecture, SearchSpace
from raynas.errors import SpaceError
from raynas.space.cost import COSTS, cost
from raynas.space.registered import spaces
from raynas.space.uniform import uniform_architectures, uniform_of_cost

WITH = [
    *("as-vit", "autoformer-tiny", "autoformer-small", "autoformer-base", "autoformer-tiny-plain"),
    *(
        "pit-tiny",
        "pit-xs",
        "pit-small",
        "vit",
        "vit-relative",
        "vit-elastic",
        "vit-res-tiny",
        "vit-res-small",
        "vit-res-nano",
    ),
]
HEADS = {  # nearest to 64 channels a head, of 3 or 4, 5 to 7, 9 or 10
    192: 3,
    216: 3,
    240: 4,
    320: 5,
    384: 6,
    448: 7,
    528: 9,
    576: 9,
    624: 10,
}
VIT_HEADS = {96: 3, 144: 3, 192: 3, 240: 4, 288: 4, 336: 6, 384: 6}  # of 3, 4, 6


def autoformers(widths: tuple[int, ...], depths: tuple[int, ...], ratios: tuple[float, ...]) -> list[str]:
    return [
        f"w{width}-m{','.join([str(ratio)] * depth)}-h{','.join([str(HEADS[width])] * depth)}"
        for width, depth, ratio in itertools.product(widths, depths, ratios)
    ]


def vit_res(
    widths: list[tuple[int, ...]],
    sizes: tuple[int, ...],
    heads: list[tuple[int, ...]],
    units: list[tuple[int, ...]],
    places: int,
    removable: tuple[int, ...],
) -> list[str]:
    found = []
    for width, head, unit, missing in itertools.product(widths, heads, units, range(len(removable) + 1)):
        empty = removable[len(removable) - missing :]
        blocks = [
            ",".join("0" if i in empty else f"{h}x{u}" for i in range(places)) for h, u in zip(head, unit, strict=True)
        ]
        found.append("/".join(f"{w}h{s}:{stage}" for w, s, stage in zip(width, sizes, blocks, strict=True)))
    return found


EXPECTED = {
    # Kernels of 1, 1.5 or 2 strides; 56, 28, 14 and 7 tokens a side in windows of 7.
    "as-vit": [
        f"{2 * k},8,{ratio}|{k},4,{ratio}|{k},2,{ratio}|{k},1,{ratio}|{heads}"
        for k, ratio, heads in itertools.product((2, 3, 4), (2, 3, 4, 5, 6), (16, 32, 64))
    ],
    "autoformer-tiny": autoformers((192, 216, 240), (12, 13, 14), (3.5, 4)),
    "autoformer-tiny-plain": autoformers((192, 216, 240), (12, 13, 14), (3.5, 4)),
    "autoformer-small": autoformers((320, 384, 448), (12, 13, 14), (3, 3.5, 4)),
    "autoformer-base": autoformers((528, 576, 624), (14, 15, 16), (3, 3.5, 4)),
    "pit-tiny": [f"b{b}-m{m}-d2,6,4-h2,4,8" for b in (16, 24, 32, 40) for m in (2, 4, 6, 8)],
    "pit-xs": [f"b{b}-m{m}-d2,6,4-h2,4,8" for b in (40, 48, 56, 64) for m in (2, 4, 6, 8)],
    "pit-small": [f"b{b}-m{m}-d2,6,4-h3,6,12" for b in (36, 48, 60, 72) for m in (2, 4, 6, 8)],
    "vit-res-tiny": vit_res(
        [(w, 2 * w, 4 * w) for w in (256, 224, 192, 176, 160)],
        (32, 48, 64),
        [(6, 12, 12), (5, 10, 10), (4, 8, 8), (3, 6, 6)],
        [(u, 2 * u, 4 * u) for u in (768, 704, 640, 576, 512, 448, 384)],
        6,
        (1, 3, 5),
    ),
    "vit-res-small": vit_res(
        [(w, 2 * w, 4 * w) for w in (320, 280, 240, 220, 200)],
        (32, 48, 64),
        [(8, 16, 16), (7, 14, 14), (6, 12, 12), (5, 10, 10)],
        [(u, 2 * u, 4 * u) for u in (960, 880, 800, 720, 640, 560, 480)],
        7,
        (1, 3, 5),
    ),
    "vit-res-nano": vit_res(
        [(w, 2 * w, 4 * w) for w in (96, 88, 80, 72, 64)],
        (16, 24, 32),
        [(6, 8, 12), (5, 7, 10), (4, 6, 8), (3, 5, 6)],
        [(u, 2 * u, 4 * u) for u in (288, 264, 240, 216, 192, 168, 144)],
        3,
        (2,),
    ),
    "vit-elastic": [
        f"p16-w{w}-h64:" + ",".join("0" if i in (1, 3, 5, 7, 9, 11)[6 - missing :] else f"{h}x{u}" for i in range(12))
        for w, h, u, missing in itertools.product((192, 168, 144, 120, 96), (3, 2), (768, 672, 576, 480, 384), range(7))
    ],
    "vit": [
        f"p{p}-w{w}-d{d}-h{VIT_HEADS[w]}-m{m}"
        for p, w, d, m in itertools.product((8, 16), VIT_HEADS, (4, 6, 8, 10, 12), (2, 3, 4))
    ],
    "vit-relative": [
        f"p{p}-w{w}-d{d}-h{VIT_HEADS[w]}-m{m}"
        for p, w, d, m in itertools.product((8, 16), VIT_HEADS, (4, 6, 8, 10, 12), (2, 3, 4))
    ],
}
SIZE: dict[str, Any] = {"img_size": 224, "num_classes": 1000}


@pytest.mark.parametrize("name", WITH)
def test_uniform_architectures_are_these_and_can_be_drawn(name: str) -> None:
    space = spaces.get(name)
    found = uniform_architectures(space)
    assert [architecture.key for architecture in found] == [space.read(text).key for text in EXPECTED[name]]
    assert all(architecture in space for architecture in found)


@pytest.mark.parametrize("name", WITH)
@pytest.mark.parametrize("counted", list(COSTS))
def test_the_one_of_a_cost_is_the_nearest_of_all(name: str, counted: str) -> None:
    space = spaces.get(name)
    costs = [(cost(space, space.read(text), counted, **SIZE), text) for text in EXPECTED[name]]
    low, high = min(costs)[0], max(costs)[0]
    for share in (-0.1, 0.0, 0.3, 0.5, 0.77, 1.0, 1.2):
        target = low + share * (high - low)
        found = uniform_of_cost(space, counted, target, **SIZE)
        nearest = min(abs(value - target) for value, _ in costs)
        assert abs(cost(space, found, counted, **SIZE) - target) == nearest
    assert cost(space, uniform_of_cost(space, counted, 0, **SIZE), counted, **SIZE) == low
    assert cost(space, uniform_of_cost(space, counted, 1e15, **SIZE), counted, **SIZE) == high


@pytest.mark.parametrize(
    ("name", "num_params", "text"),
    [
        # DeiT's to the last one, as timm has them, since patches of 8 cost nearly the same; PiT's as in the paper.
        ("vit", 5_717_416, "deit-tiny"),
        ("vit", 22_050_664, "deit-small"),
        ("pit-tiny", 4.9e6, "pit-ti"),
        ("pit-xs", 10.6e6, "pit-xs"),
        ("pit-small", 23.5e6, "pit-s"),
    ],
)
def test_published_baselines_are_the_uniform_architectures_of_their_size(
    name: str, num_params: float, text: str
) -> None:
    space = spaces.get(name)
    assert uniform_of_cost(space, "num_params", num_params, **SIZE) == space.read(text)


def test_by_hand_for_a_block_count() -> None:
    """Each block of autoformer-tiny-plain at width 192 and ratio 4 has 444,864 parameters."""
    space = spaces.get("autoformer-tiny-plain")
    block = 4 * 192 * 192 + 4 * 192 + 2 * 4 * 192 * 192 + 5 * 192 + 4 * 192
    assert block == 444_864
    # Patches and position of 197 tokens and the class token, last norm, head.
    rest = 192 * (768 + 1) + 198 * 192 + 2 * 192 + 1000 * 193
    found = uniform_of_cost(space, "num_params", rest + 13 * block, **SIZE)
    assert found == space.read("w192-m" + ",".join(["4"] * 13) + "-h" + ",".join(["3"] * 13))


@pytest.mark.parametrize("name", ["resnet", "timm"])
def test_a_space_without_uniform_architectures_says_so(name: str) -> None:
    with pytest.raises(SpaceError, match=f"space '{name}' does not say which of its architectures are uniform"):
        uniform_of_cost(spaces.get(name), "macs", 1e9, img_size=32, num_classes=10)


def test_every_built_in_space_is_decided_on() -> None:
    built_in = {name for name in spaces if spaces.get(name).model != "none"}
    assert {name for name in built_in if spaces.get(name).uniform is not None} == set(WITH)


def test_an_own_space_says_it_by_a_function_of_its_fields() -> None:
    from raynas import Choice, PerLayer

    def uniform(fields: Any) -> list[Architecture]:
        return [
            Architecture({"depth": depth, "width": (width,) * depth})
            for depth in fields["depth"].options
            for width in fields["width"].choice.options
        ]

    space = SearchSpace(
        "own",
        {"depth": Choice(1, 2), "width": PerLayer(Choice(3, 5))},
        model="none",
        uniform=uniform,
        num_params=lambda architecture, img_size, num_classes: sum(architecture["width"]),  # type: ignore[arg-type]
    )
    size = {"img_size": 8, "num_classes": 2}
    assert uniform_of_cost(space, "num_params", 6, **size)["width"] == (3, 3)
    assert uniform_of_cost(space, "num_params", 4, **size)["width"] == (3,)  # 3 and 5 are equally near
    assert uniform_of_cost(space, "num_params", 9, **size)["width"] == (5, 5)
