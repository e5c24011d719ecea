"""The PiT spaces against published counts, sums over layers and a table of trained networks."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.storage.tables import read_architectures
from searchspaces.pit import pit_small, pit_tiny, pit_xs

TABLE = Path(__file__).parents[2] / "../shared/data/vit_bench/pit_tiny.csv"
FIELDS = ["base_dim", "mlp_ratio", "depth", "num_heads"]

# parameters with 1000 classes at 224 pixels
PUBLISHED = {"pit-ti": (pit_tiny, 4_847_272), "pit-xs": (pit_xs, 10_618_888)}

# the ten splits of 12 to 14 blocks into stages
DEPTHS = "1-6-6, 1-8-4, 2-4-6, 2-6-4, 2-6-6, 2-8-2, 2-8-4, 3-4-6, 3-6-4, 3-8-2"

architectures = st.builds(
    lambda base, ratio, depth, heads: Architecture(
        {
            "base_dim": base,
            "mlp_ratio": ratio,
            "depth": depth,
            "num_heads": (heads[0], heads[0] * heads[1], heads[0] * heads[1] * heads[2]),
        }
    ),
    st.integers(2, 128),
    st.integers(1, 12) | st.sampled_from([0.5, 2.5, 3.3]),
    st.tuples(*[st.integers(1, 30)] * 3),
    st.tuples(*[st.integers(1, 4)] * 3),
)


def grids(img_size: int) -> list[int]:
    """Patches a side of the stages, by windows over a line: 16 pixels at every 8th, then 3 places at every 2nd."""
    sides = [sum(1 for start in range(0, img_size, 8) if start + 16 <= img_size)]
    for _ in range(2):
        padded = sides[-1] + 2
        sides.append(sum(1 for start in range(0, padded, 2) if start + 3 <= padded))
    return sides


def matrices(a: Any, img_size: int, num_classes: int) -> Any:
    """(weights, outputs, positions) of every layer, biases among the outputs; attention as layers without weights."""
    d = [a["base_dim"] * heads for heads in a["num_heads"]]
    sides = grids(img_size)
    yield 768 * d[0], d[0], sides[0] ** 2
    for i, side in enumerate(sides):
        n, hidden = side**2 + 1, int(d[i] * a["mlp_ratio"])
        if i:
            yield 9 * d[i], d[i], side**2
            yield d[i - 1] * d[i], d[i], 1
        for _ in range(a["depth"][i]):
            yield from [(d[i] * d[i], d[i], n)] * 4
            yield d[i] * hidden, hidden, n
            yield hidden * d[i], d[i], n
    yield d[2] * num_classes, num_classes, 1


def test_the_module_needs_no_torch() -> None:
    code = "import sys, searchspaces.pit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["pit-tiny", "pit-xs", "pit-small"])
def test_ten_thousand_samples_are_the_1600_architectures_of_the_grid(name: str) -> None:
    space, rng = spaces.get(name), np.random.default_rng(0)
    base_dims = {"pit-tiny": (16, 24, 32, 40), "pit-xs": (40, 48, 56, 64), "pit-small": (36, 48, 60, 72)}[name]
    heads = (3, 6, 12) if name == "pit-small" else (2, 4, 8)
    increasing = [(a, b, c) for a in heads for b in heads for c in heads if a <= b <= c]
    depths = [tuple(map(int, text.split("-"))) for text in DEPTHS.split(", ")]
    assert depths == [d for d in itertools.product((1, 2, 3), (4, 6, 8), (2, 4, 6)) if sum(d) in (12, 13, 14)]
    grid = set(itertools.product(base_dims, (2, 4, 6, 8), depths, increasing))
    assert len(grid) == space.size == 1600
    assert list(space.fields) == FIELDS
    drawn = [tuple(space.sample(rng)[field] for field in FIELDS) for _ in range(10_000)]
    # 10,000 draws miss one of 1,600 with a chance of 1600 * (1 - 1 / 1600) ** 10000 = 3.1 on average
    assert set(drawn) <= grid
    assert len(grid - set(drawn)) < 20
    for i in range(4):
        assert {values[i] for values in drawn} == {values[i] for values in grid}


def test_the_wider_grid_is_accepted_where_pooling_can_be_built() -> None:
    """Of 11,664 architectures with any order of heads and any depths, 4,320 can be built."""
    depths = itertools.product((1, 2, 3), (4, 6, 8), (2, 4, 6))
    total = built = 0
    for depth, heads in itertools.product(depths, itertools.product((2, 4, 8), repeat=3)):
        architecture = Architecture({"base_dim": 16, "mlp_ratio": 2, "depth": depth, "num_heads": heads})
        total += 1
        try:
            pit_tiny.validate(architecture)
            built += 1
        except SpaceError as error:
            assert "must be a multiple of" in str(error)
    assert (16 * total, 16 * built) == (11_664, 4_320)


# -- costs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_published_parameters(name: str) -> None:
    space, expected = PUBLISHED[name]
    assert space.read(name) in space
    assert space.num_params(space.read(name), 224, 1000) == expected


def test_the_known_number_of_architectures_has_4_to_22_million_parameters() -> None:
    options = [entry.options for entry in pit_tiny.fields.values()]
    counts = [
        pit_tiny.num_params(Architecture(dict(zip(FIELDS, values, strict=True))), 224, 100)
        for values in itertools.product(*options)
    ]
    assert sum(4 <= round(count / 1e6) <= 22 for count in counts) == 707


@settings(deadline=None)
@given(architectures, st.integers(2, 60), st.integers(1, 2000))
def test_closed_forms_equal_a_sum_over_layers(architecture: Architecture, eighths: int, num_classes: int) -> None:
    a: Any = architecture
    pit_tiny.validate(a)
    img_size = 8 * eighths
    made = list(matrices(a, img_size, num_classes))
    d, sides = [a["base_dim"] * heads for heads in a["num_heads"]], grids(img_size)
    norms = sum(4 * depth * width for depth, width in zip(a["depth"], d, strict=True)) + 2 * d[2]
    tokens = d[0] * (sides[0] ** 2 + 1)
    assert pit_tiny.num_params(a, img_size, num_classes) == sum(w + o for w, o, _ in made) + norms + tokens
    attention = sum(
        depth * 2 * width * (side**2 + 1) ** 2 for depth, width, side in zip(a["depth"], d, sides, strict=True)
    )
    assert pit_tiny.macs(a, img_size, num_classes) == sum(w * n for w, _, n in made) + attention


def test_parameters_of_the_table_are_exact(tmp_path: Path) -> None:
    if not TABLE.is_file():
        pytest.skip("needs ../shared/data/vit_bench/pit_tiny.csv")
    with TABLE.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    with (tmp_path / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    read = [pit_tiny.read(text) for text in read_architectures(tmp_path / "table.csv")]
    assert len(read) == 50
    for architecture, row in zip(read, table, strict=True):
        assert architecture in pit_tiny
        assert pit_tiny.num_params(architecture, 224, 100) == int(row["params_c100"])


# -- text and grammar --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(architectures)
def test_texts_and_json_round_trip(architecture: Architecture) -> None:
    text = pit_small.text(architecture)
    assert pit_small.read(text) == architecture
    assert pit_small.read(f" {text.upper()} ") == architecture
    assert pit_small.read(architecture.to_json()) == architecture


def test_the_text_says_what_the_fields_say() -> None:
    architecture = pit_tiny.read("b20-m2.5-d1,2,3-h2,2,8")
    assert dict(architecture) == {"base_dim": 20, "mlp_ratio": 2.5, "depth": (1, 2, 3), "num_heads": (2, 2, 8)}
    assert pit_tiny.text(pit_tiny.named["pit-ti"]) == "b32-m4-d2,6,4-h2,4,8"


@pytest.mark.parametrize("text", ["", "b32", "b32-m4-d2,6-h2,4,8", "b32-m4-d2,6,4-h2,4", "b32-m4-d2,6,4-h2,4,8,8"])
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="another form than b32-m4-d2,6,4-h2,4,8"):
        pit_tiny.read(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_dim": 0}, "base_dim is 0; it must be an integer of at least 1"),
        ({"base_dim": "32"}, "base_dim is '32'"),
        ({"depth": (2, 6, 0)}, r"depth\[2\] is 0"),
        ({"depth": (2, 6)}, "depth needs a list of 3 values"),
        ({"depth": 12}, "depth needs a list of 3 values"),
        ({"num_heads": (2, 4, True)}, r"num_heads\[2\] is True"),
        ({"num_heads": (2, 4, 8, 8)}, "num_heads needs a list of 3 values"),
        ({"num_heads": (4, 6, 12)}, r"num_heads\[1\] is 6; it must be a multiple of the 4 before it"),
        ({"num_heads": (2, 8, 4)}, r"num_heads\[2\] is 4; it must be a multiple of the 8 before it"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0; it must be a positive number"),
        ({"mlp_ratio": 0.01}, "mlp_ratio is 0.01"),
        ({"mlp_ratio": (4, 4, 4)}, "mlp_ratio is"),
        ({"embed_dim": 192}, "has the fields base_dim, mlp_ratio, depth, num_heads"),
    ],
)
def test_the_grammar_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        pit_tiny.read({**pit_tiny.named["pit-ti"], **changes})


@pytest.mark.parametrize("space", [pit_tiny, pit_xs, pit_small])
def test_what_grows_out_of_a_sample_can_be_built(space: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = grown = space.sample(rng)
        for stage, rate in enumerate((0.1, 0.15, 0.2)):
            grown = space.growth.widened(space.growth.deepened(space.fields, grown, stage), rate)
            space.validate(grown)
        assert grown["depth"] == tuple(depth + 1 for depth in first["depth"])
        assert grown["base_dim"] > first["base_dim"]
        assert grown["base_dim"] % 4 == 0


def test_stages_show_widths_and_tokens() -> None:
    shown = pit_tiny.stages(pit_tiny.named["pit-ti"], 224)
    assert [stage.width for stage in shown] == [64, 128, 256]
    assert [stage.tokens for stage in shown] == [27 * 27 + 1, 14 * 14 + 1, 7 * 7 + 1]
    assert [stage.depth for stage in shown] == [2, 6, 4]
    assert shown[1].details == {"heads": "4", "mlp_ratio": "4"}
    assert [stage.tokens for stage in pit_tiny.stages(pit_tiny.named["pit-ti"], 64)] == [50, 17, 5]
