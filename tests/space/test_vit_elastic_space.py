"""The spaces around a plain vision transformer against sums over layers, and how they are named."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import cloudpickle

import raynas
from raynas import SearchSpace
from raynas.api.lists import listing
from raynas.errors import SpaceError, UnknownNameError
from raynas.report.embedding import registered_space
from raynas.space.registered import spaces
from raynas.storage.runs import load_run
from raynas.storage.sources import read_source
from searchspaces.vit import vit
from searchspaces.vit_elastic import vit_elastic

SMALL: SearchSpace = spaces.get("vit-elastic@p4-w48-d4-h3-m4")
LARGEST = ["p16-w192-d12-h3-m4", "p16-w384-d12-h6-m4", "p4-w48-d4-h3-m4", "p8-w60-d3-h5-m2.5", "p14-w64-d1-h1-m3"]


def layers(a: Any, img_size: int, num_classes: int) -> Any:
    """(weights, biases, tokens) of the convolution and of every linear layer."""
    patch, width = a["patch_size"], a["width"]
    patches = (img_size // patch) ** 2
    yield 3 * patch * patch * width, width, patches
    for heads, units in zip(a["num_heads"], a["mlp_units"], strict=True):
        if heads:
            inner = heads * a["head_size"]
            yield width * 3 * inner, 3 * inner, patches + 1
            yield inner * width, width, patches + 1
            yield width * units, units, patches + 1
            yield units * width, width, patches + 1
    yield width * num_classes, num_classes, 1


def test_the_module_needs_no_torch() -> None:
    code = "import sys, searchspaces.vit_elastic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- names -------------------------------------------------------------------------------------------------------------


def test_it_is_registered_and_named_by_its_largest_network() -> None:
    assert spaces.get("vit-elastic") is vit_elastic
    assert spaces.get("vit_elastic@p16-w192-d12-h3-m4.0") is vit_elastic
    assert spaces.get("vit-elastic@DeiT-Tiny") is vit_elastic
    assert SMALL.name == spaces.reference(SMALL) == "vit-elastic@p4-w48-d4-h3-m4"
    assert spaces.get("vit-elastic@ P4-w048-d4-h3-m4.00 ") is SMALL
    assert spaces.get("vit-elastic@deit-small").name == "vit-elastic@p16-w384-d12-h6-m4"
    assert [name for name in spaces if name.startswith("vit-elastic")] == ["vit-elastic"]
    assert "vit-elastic@p4-w48-d4-h3-m4" in spaces
    assert cloudpickle.loads(cloudpickle.dumps(SMALL)).fingerprint == SMALL.fingerprint


def test_another_process_finds_it_by_its_name() -> None:
    code = f"from raynas.space.registered import spaces; print(spaces.get({SMALL.name!r}).fingerprint)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == SMALL.fingerprint


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("vit-elastic@", SpaceError, "what follows vit-elastic@ is its largest network: vit: '' has another form"),
        ("vit-elastic@tiny", SpaceError, "space 'vit' has no architecture 'tiny'; did you mean 'deit-tiny'"),
        ("vit-elastic@p16", SpaceError, "vit: 'p16' has another form than p16-w192-d12-h3-m4"),
        ("vit-elastic@p4-w48-d4-h5-m4", SpaceError, "num_heads is 5; it must divide embed_dim 48"),
        ("vit-elastic@p4-w48-d257-h3-m4", SpaceError, "at most 256 depth, not 257"),
        ("vit-elastic@p4-w514-d2-h257-m4", SpaceError, "at most 256 num_heads, not 257"),
        ("vit-elastik@tiny", UnknownNameError, "unknown space 'vit-elastik'. Did you mean 'vit-elastic'?"),
        ("vit@tiny", UnknownNameError, "space 'vit' has no variants, so no @tiny can follow its name"),
    ],
)
def test_names_of_no_space_are_refused_in_a_line(name: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        spaces.get(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert registered_space(name) is None


def test_lists_have_the_plain_name() -> None:
    assert [row["name"] for row in listing("spaces") if "elastic" in row["name"]] == ["vit-elastic"]


def test_a_run_keeps_the_full_name(tmp_path: Path) -> None:
    """Also where the network was named in another form; and what is taken from the folder knows its space."""
    run = raynas.search(
        "vit-elastic@p4-w48-d4-h3-m4.0", searcher="random", objectives=["synflow"], budget=3, workers=0, batch_size=2,
        img_size=8, num_classes=3, out=tmp_path / "run",
    )  # fmt: skip
    found = load_run(tmp_path / "run")
    assert found.description["config"]["space"] == SMALL.name
    assert found.space is run.space is SMALL
    assert SMALL.name in json.dumps(found.description["identity"])
    taken = read_source(str(tmp_path / "run"))
    assert taken.space is SMALL
    assert taken.architecture in SMALL
    assert registered_space(SMALL.name) is SMALL  # whose pictures the page shows


# -- what there is to choose -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", LARGEST)
def test_the_largest_architecture_is_the_network_that_names_the_space(text: str) -> None:
    space, whole = spaces.get(f"vit-elastic@{text}"), vit.read(text)
    largest: Any = space.largest()
    for img_size, num_classes in product((2 * whole["patch_size"], 5 * whole["patch_size"]), (3, 1000)):  # type: ignore[operator]
        for name in ("num_params", "macs"):
            counts = [getattr(one, name)(a, img_size, num_classes) for one, a in ((space, largest), (vit, whole))]
            assert counts[0] == counts[1]
    assert largest["head_size"] * largest["num_heads"][0] == largest["width"] == whole["embed_dim"]
    assert sum(largest["depth"]) == whole["depth"]


def test_options_by_hand() -> None:
    found = {decision.name: decision.options for decision in SMALL.decisions}
    expected: dict[str, Any] = {"width": (48, 42, 36, 30, 24)}
    expected |= {f"num_heads[{i}]": (3, 2) if i % 2 == 0 else (3, 2, 0) for i in range(4)}
    expected |= {f"mlp_units[{i}]": (192, 168, 144, 120, 96) for i in range(4)}
    assert found == expected
    # Five widths; in each place heads and units, or, in two of them, none.
    assert SMALL.size == 5 * 10**2 * 11**2
    assert SMALL.text(SMALL.smallest()) == "p4-w24-h16:2x96,0,2x96,0"
    heads = spaces.get("vit-elastic@p16-w768-d12-h12-m4").decisions[1]
    assert heads == ("num_heads[0]", (12, 11, 10, 9, 8, 7, 6))


def test_a_small_largest_network_keeps_one_of_everything() -> None:
    space = spaces.get("vit-elastic@p4-w2-d2-h1-m0.5")
    assert [decision.options for decision in space.decisions] == [(2, 1), (1, 0)]
    assert space.size == 4


@pytest.mark.parametrize(("patch_size", "side"), [(4, 56), (8, 112), (14, 224), (16, 224), (32, 224), (20, 280)])
def test_images_are_224_pixels_or_14_patches(patch_size: int, side: int) -> None:
    space = spaces.get(f"vit-elastic@p{patch_size}-w48-d4-h3-m4")
    assert space.search_img_size == side
    assert space.img_size_multiple == patch_size


@pytest.mark.parametrize("text", LARGEST)
def test_costs_are_sums_over_layers(text: str) -> None:
    space, rng = spaces.get(f"vit-elastic@{text}"), np.random.default_rng(0)
    for _ in range(5):
        a: Any = space.sample(rng)
        img_size, num_classes = 3 * a["patch_size"], int(rng.integers(1, 100))
        tokens = 10
        present = sum(heads > 0 for heads in a["num_heads"])
        own = list(layers(a, img_size, num_classes))
        others = a["width"] * (1 + tokens + 4 * present + 2)  # class token, positions, norms
        assert space.num_params(a, img_size, num_classes) == sum(w + b for w, b, _ in own) + others
        products = 2 * tokens**2 * a["head_size"] * sum(a["num_heads"])
        assert space.macs(a, img_size, num_classes) == sum(w * n for w, _, n in own) + products


def test_samples_are_parts_of_the_largest_with_blocks_absent_at_every_second_place() -> None:
    rng = np.random.default_rng(0)
    absent = np.zeros(4)
    for _ in range(400):
        a: Any = SMALL.sample(rng)
        absent += [heads == 0 for heads in a["num_heads"]]
        assert [heads == 0 for heads in a["num_heads"]] == [units == 0 for units in a["mlp_units"]]
    assert absent[[0, 2]].tolist() == [0, 0]
    assert np.all(np.abs(absent[[1, 3]] - 200) < 3 * 10)


# -- reading -----------------------------------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "patch_size": 4, "width": 42, "depth": [4], "head_size": 16, "num_heads": [3, 0, 2, 0], "mlp_units": [96, 0, 192, 0]
}  # fmt: skip


def test_text_goes_and_comes_back() -> None:
    text = "p4-w42-h16:3x96,0,2x192,0"
    assert SMALL.read(text) == SMALL.read(FIELDS) == SMALL.read(f" {text.upper()} ")
    assert SMALL.text(SMALL.read(FIELDS)) == text
    assert SMALL.read(text) in SMALL
    larger = SMALL.read("p8-w500-h7:1x1,9x9000")  # can be built, and is not drawn
    assert larger not in SMALL
    assert pickle.loads(pickle.dumps(larger)) == larger


def test_what_is_said_of_an_absent_block_makes_no_difference() -> None:
    expected = SMALL.read(FIELDS)
    for changes in ({"num_heads": [3, 0, 2, 1]}, {"mlp_units": [96, 144, 192, 7]}, {"mlp_units": [96, 0, 192, 96]}):
        assert SMALL.read({**FIELDS, **changes}).key == expected.key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width is 0; it must be an integer of at least 1"),
        ({"width": [42]}, r"width is \(42,\)"),
        ({"patch_size": 2.5}, "patch_size is 2.5"),
        ({"head_size": True}, "head_size is True"),
        ({"depth": [2, 2]}, "depth needs a list of 1 value"),
        ({"depth": [3]}, "num_heads needs a list of 3 values"),
        ({"depth": 4}, "depth needs a list of 1 values"),
        ({"num_heads": [3, -1, 2, 0], "mlp_units": [96, 96, 192, 0]}, r"num_heads\[1\] is -1"),
        ({"mlp_units": [96, 0, 1.5, 0]}, r"mlp_units\[2\] is 1.5"),
        ({"num_heads": [0, 0, 0, 0]}, "there is no block; a network has one at least"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SMALL.read({**FIELDS, **changes})


@pytest.mark.parametrize(
    "text", ["", "p4-w42-h16", "p4-w42-h16:", "p4-w42-h16:3x96,", "p4-w42-d4-h3-m4", "p4-w42-h16:3", "64h16:3x144"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="has another form than p16-w168-h64:3x768,0,2x576"):
        SMALL.read(text)


def test_growth_adds_like_blocks_and_widens() -> None:
    growth = SMALL.growth
    assert growth is not None
    start = SMALL.read("p4-w40-h16:3x96,0,2x192,0")
    assert SMALL.text(growth.deepened(SMALL.fields, start, 0)) == "p4-w40-h16:3x96,0,2x192,0,2x192"
    assert growth.widened(start, 0.25)["width"] == 48
    assert growth.narrowed(start, 4)["width"] == 10
