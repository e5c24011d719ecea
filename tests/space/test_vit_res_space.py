"""The ViT-Res spaces against published counts, sums over layers, and how many architectures there are."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from searchspaces.vit_res import num_params, vit_res_nano, vit_res_small, vit_res_tiny

SPACES = {"vit-res-tiny": vit_res_tiny, "vit-res-small": vit_res_small, "vit-res-nano": vit_res_nano}
PATCH = {"vit-res-tiny": 7, "vit-res-small": 7, "vit-res-nano": 2}

# Parameters with and without the head of patches, and multiply-adds, with 1,000 classes at 224 pixels: counted on the
# networks of the authors' code.
NAMED = {
    ("vit-res-tiny", "ViT-Res-Tiny"): (42_781_736, 42_012_736, 1_794_378_240),
    ("vit-res-tiny", "ViT-ResNAS-Tiny"): (41_498_552, 40_793_552, 1_782_630_272),
    ("vit-res-small", "ViT-ResNAS-Small"): (64_605_108, 63_724_108, 2_845_501_856),
    ("vit-res-small", "ViT-ResNAS-Medium"): (97_323_672, 96_442_672, 4_513_135_936),
}
# The largest network of a space is the one whose weights its supernet has.
LARGEST = {
    "vit-res-tiny": (85_839_464, 84_814_464, 3_497_553_920),
    "vit-res-small": (156_599_528, 155_318_528, 6_260_342_784),
}


def largest(name: str) -> Architecture:
    space = SPACES[name]
    return space.decode([decision.options.index(max(decision.options)) for decision in space.decisions])


def layers(a: Any, img_size: int, patch: int, num_classes: int) -> Any:
    """(weights, biases, places) of every convolution and linear layer, and attention as layers without weights."""
    half = img_size // 2
    yield 3 * 9 * 24, 0, half**2
    yield from [(24 * 9 * 24, 0, half**2)] * 2
    side = half // patch
    yield 24 * patch**2 * a["width"][0], a["width"][0], side**2
    place = 0
    for stage in range(3):
        width, before = a["width"][stage], a["width"][stage - 1]
        if stage:
            side //= 2
            yield 9 * before * width, width, side**2
            yield before * width, width, 1
        n = side**2 + 1
        for _ in range(a["depth"][stage]):
            q, hidden = a["num_heads"][place] * a["head_size"][stage], a["mlp_units"][place]
            place += 1
            if q == 0:
                continue
            yield 3 * width * q, 3 * q, n
            yield q * width, width, n
            yield width * hidden, hidden, n
            yield hidden * width, width, n
    yield a["width"][2] * num_classes, num_classes, 1


def other_params(a: Any, img_size: int, patch: int) -> int:
    """Norms, class token and position embeddings."""
    side = img_size // 2 // patch
    first = a["width"][0]
    total = 3 * 2 * 24 + first + (side**2 + 1) * first + 2 * a["width"][2]
    heads = iter(a["num_heads"])
    for stage in range(3):
        if stage:
            side //= 2
            total += 2 * a["width"][stage - 1] + side**2 * a["width"][stage]
        total += sum(4 * a["width"][stage] for _ in range(a["depth"][stage]) if next(heads))
    return int(total)


def attention_products(a: Any, img_size: int, patch: int) -> int:
    """Multiply-adds of queries with keys and of attention with values."""
    side = img_size // 2 // patch
    heads = iter(a["num_heads"])
    return sum(
        2 * ((side >> stage) ** 2 + 1) ** 2 * next(heads) * a["head_size"][stage]
        for stage in range(3)
        for _ in range(a["depth"][stage])
    )


def test_the_module_needs_no_torch() -> None:
    code = "import sys, searchspaces.vit_res; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("space", "name"), NAMED)
def test_published_networks_have_the_published_costs(space: str, name: str) -> None:
    architecture = SPACES[space].read(name)
    with_head, without, macs = NAMED[space, name]
    assert SPACES[space].num_params(architecture, 224, 1000) == without
    assert num_params(architecture, 224, 1000, patch_head=True) == with_head
    assert SPACES[space].macs(architecture, 224, 1000) == macs


def test_found_networks_are_members_and_meet_the_bands_they_were_searched_in() -> None:
    for name, bound in (("ViT-ResNAS-Tiny", 1.7944e9), ("ViT-ResNAS-Small", 2.9e9), ("ViT-ResNAS-Medium", 4.6e9)):
        space = vit_res_tiny if name.endswith("Tiny") else vit_res_small
        architecture = space.read(name)
        assert architecture in space
        assert 0.975 * bound <= space.macs(architecture, 224, 1000) <= bound
    assert vit_res_tiny.read("ViT-Res-Tiny") not in vit_res_tiny  # made by hand, with heads of 64 in all stages


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_network_is_the_supernet_s(name: str) -> None:
    with_head, without, macs = LARGEST[name]
    architecture, space = largest(name), SPACES[name]
    assert space.num_params(architecture, 224, 1000) == without
    assert num_params(architecture, 224, 1000, patch_head=True) == with_head
    assert space.macs(architecture, 224, 1000) == macs


def test_there_are_as_many_networks_as_distinct_stages_say() -> None:
    """28 pairs of heads and MLP units of a block, 29 where it may be absent, 5 widths a stage."""
    assert vit_res_tiny.size == (5 * 28**3 * 29**3) ** 3
    assert vit_res_small.size == (5 * 28**4 * 29**3) ** 3
    assert f"{vit_res_tiny.size:.3e} {vit_res_small.size:.3e}" == "1.918e+28 4.211e+32"
    assert vit_res_nano.size == (5 * 28**2 * 29) ** 3


@pytest.mark.parametrize("name", SPACES)
def test_closed_forms_equal_sums_over_layers(name: str) -> None:
    space, rng, patch = SPACES[name], np.random.default_rng(0), PATCH[name]
    for _ in range(50):
        a: Any = space.sample(rng)
        img_size, num_classes = 8 * patch * int(rng.integers(1, 8)), int(rng.integers(2, 2000))
        made = list(layers(a, img_size, patch, num_classes))
        params = sum(weights + biases for weights, biases, _ in made) + other_params(a, img_size, patch)
        assert space.num_params(a, img_size, num_classes) == params
        products = sum(weights * places for weights, _, places in made) + attention_products(a, img_size, patch)
        assert space.macs(a, img_size, num_classes) == products


@pytest.mark.parametrize("name", SPACES)
def test_text_is_read_back(name: str) -> None:
    space, rng = SPACES[name], np.random.default_rng(1)
    for _ in range(50):
        architecture = space.sample(rng)
        assert space.read(space.text(architecture)) == architecture
        assert [stage.depth for stage in space.stages(architecture, 56 * 4)] == [
            block.count("x") for block in space.text(architecture).split("/")
        ]
    assert spaces.get(name) is space


FIELDS: dict[str, Any] = {
    "width": [64, 128, 256],
    "depth": [1, 2, 1],
    "head_size": [16, 24, 32],
    "num_heads": [3, 5, 0, 6],
    "mlp_units": [144, 288, 0, 576],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": [64, 128]}, "width needs a list of 3 values"),
        ({"width": [64, 48, 256]}, r"width\[1\] is 48, less than the 64 before it"),
        ({"width": [0, 128, 256]}, r"width\[0\] is 0; it must be an integer of at least 1"),
        ({"head_size": [16, 24, 2.5]}, r"head_size\[2\] is 2.5"),
        ({"depth": [1, 1, 1]}, "num_heads needs a list of 3 values"),
        ({"depth": 4}, "depth needs a list of 3 values"),
        ({"depth": [1, "2", 1]}, "num_heads needs a list of 2 values"),
        ({"num_heads": [3, -5, 0, 6]}, r"num_heads\[1\] is -5"),
        ({"num_heads": [0, 5, 5, 6]}, "stage 1 has no block; a stage cannot be removed"),
        ({"mlp_units": [144, 0, 0, 576]}, "stage 2 has no block"),
        ({"num_heads": [True, 5, 0, 6]}, r"num_heads\[0\] is True"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    assert vit_res_nano.read(FIELDS)
    with pytest.raises(SpaceError, match=message):
        vit_res_nano.read({**FIELDS, **changes})


@pytest.mark.parametrize("text", ["", "64h16:3x144", "64h16:3x144/128h24:5x288/256h32:6x576/1h1:1x1", "ah16:3x144/b/c"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="has another form than"):
        vit_res_nano.read(text)


def test_growth_adds_like_blocks_and_widens_all_stages() -> None:
    growth = vit_res_nano.growth
    assert growth is not None
    start = vit_res_nano.read(FIELDS)
    deeper = growth.deepened(vit_res_nano.fields, start, 1)
    assert vit_res_nano.text(deeper) == "64h16:3x144/128h24:5x288,0,5x288/256h32:6x576"
    wider = growth.widened(start, 0.25)
    assert wider["width"] == (80, 160, 320)
    vit_res_nano.validate(growth.widened(deeper, 0.1))
    assert growth.narrowed(start, 4)["width"] == (16, 32, 64)
    with pytest.raises(SpaceError, match="width 64 is not divisible by 5"):
        growth.narrowed(start, 5)
