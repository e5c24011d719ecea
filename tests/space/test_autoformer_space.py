"""The AutoFormer spaces against published counts, the authors' formulas and tables of trained networks."""

from __future__ import annotations

import csv
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
from raynas.space.search_space import SearchSpace
from raynas.storage.tables import read_architectures
from searchspaces.autoformer import (
    autoformer_base,
    autoformer_small,
    autoformer_tiny,
    autoformer_tiny_plain,
    macs_official,
)

TABLES = Path(__file__).parents[2] / "../shared/data/vit_bench"
FIELDS = ["embed_dim", "depth", "mlp_ratio", "num_heads"]

# parameters with 1000 classes at 224 pixels, of the authors' repositories
PUBLISHED = {
    "autoformer-t": (autoformer_tiny, 5_867_944),
    "tf-tas-t": (autoformer_tiny, 6_200_776),
    "autoformer-s": (autoformer_small, 22_891_432),
    "autoformer-b": (autoformer_base, 53_691_688),
}
# widths, depths, MLP ratios, heads, number of architectures
CHOICES = {
    "autoformer-tiny": ({192, 216, 240}, {12, 13, 14}, {3.5, 4}, {3, 4}, 1_056_964_608),
    "autoformer-small": ({320, 384, 448}, {12, 13, 14}, {3, 3.5, 4}, {5, 6, 7}, 77_103_263_459_313),
    "autoformer-base": ({528, 576, 624}, {14, 15, 16}, {3, 3.5, 4}, {9, 10}, 10_108_977_168_384),
    "autoformer-tiny-plain": ({192, 216, 240}, {12, 13, 14}, {3.5, 4}, {3, 4}, 1_056_964_608),
}

layers = st.lists(st.tuples(st.integers(1, 12) | st.sampled_from([0.25, 3.3, 3.75]), st.integers(1, 12)), min_size=1)
architectures = st.builds(
    lambda width, made: Architecture(
        {
            "embed_dim": width,
            "depth": len(made),
            "mlp_ratio": [ratio for ratio, _ in made],
            "num_heads": [heads for _, heads in made],
        }
    ),
    st.integers(4, 900),
    layers,
)


def matrices(a: Any, img_size: int, num_classes: int, head_dim: int | None) -> Any:
    """(inputs, outputs, positions, further parameters) of every matrix, one by one."""
    width, patches = a["embed_dim"], (img_size // 16) ** 2
    yield 3 * 16 * 16, width, patches, width
    for ratio, heads in zip(a["mlp_ratio"], a["num_heads"], strict=True):
        inner = width if head_dim is None else heads * head_dim
        hidden = int(width * ratio)
        for _ in range(3):
            yield width, inner, patches + 1, inner
        yield inner, width, patches + 1, width
        yield width, hidden, patches + 1, hidden
        yield hidden, width, patches + 1, width
    yield width, num_classes, 1, num_classes


def norms_and_tokens(a: Any, img_size: int) -> int:
    width, tokens = a["embed_dim"], (img_size // 16) ** 2 + 1
    return (2 * a["depth"] + 1) * 2 * width + (tokens + 1) * width


def rows(name: str) -> list[dict[str, str]]:
    path = TABLES / name
    if not path.is_file():
        pytest.skip(f"needs ../shared/data/vit_bench/{name}")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def of_table(space: SearchSpace, table: list[dict[str, str]], folder: Path) -> list[Architecture]:
    """The architectures of a table, read as `raynas score --file` reads them."""
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    return [space.read(text) for text in read_architectures(folder / "table.csv")]


def test_the_module_needs_no_torch() -> None:
    code = "import sys, searchspaces.autoformer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", CHOICES)
def test_the_spaces_have_the_published_sizes(name: str) -> None:
    space = spaces.get(name)
    widths, depths, ratios, heads, size = CHOICES[name]
    assert space.size == size == len(widths) * sum((len(ratios) * len(heads)) ** depth for depth in depths)
    assert list(space.fields) == FIELDS


@pytest.mark.parametrize("name", CHOICES)
def test_ten_thousand_samples_stay_inside_and_hit_every_choice(name: str) -> None:
    space, rng = spaces.get(name), np.random.default_rng(0)
    widths, depths, ratios, heads, _ = CHOICES[name]
    seen: Any = [set(), set(), set(), set()]
    for _ in range(10_000):
        a: Any = space.sample(rng)
        depth = a["depth"]
        assert len(a["mlp_ratio"]) == len(a["num_heads"]) == depth
        for found, values in zip(seen, ([a["embed_dim"]], [depth], a["mlp_ratio"], a["num_heads"]), strict=True):
            found.update(values)
    assert seen == [widths, depths, ratios, heads]


# -- costs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_published_parameters(name: str) -> None:
    space, expected = PUBLISHED[name]
    assert space.num_params(space.read(name), 224, 1000) == expected


def test_the_published_tiny_lies_outside_the_choices_of_its_space() -> None:
    found = autoformer_tiny.named["autoformer-t"]
    assert 3 in found["mlp_ratio"]
    assert found not in autoformer_tiny
    assert autoformer_small.named["autoformer-s"] in autoformer_small
    assert autoformer_base.named["autoformer-b"] in autoformer_base
    assert autoformer_tiny.named["tf-tas-t"] in autoformer_tiny


@settings(deadline=None)
@given(architectures, st.integers(1, 24), st.integers(1, 2000))
def test_closed_forms_equal_a_sum_over_matrices(architecture: Architecture, side: int, num_classes: int) -> None:
    space, a, img_size = autoformer_tiny, architecture, 16 * side
    space.validate(a)
    made = list(matrices(a, img_size, num_classes, 64))
    tables = 4 * (2 * 14 + 2) * 64 * len(a["num_heads"])
    assert space.num_params(a, img_size, num_classes) == (
        sum(i * o + more for i, o, _, more in made) + norms_and_tokens(a, img_size) + tables
    )
    total = sum(i * o * n for i, o, n, _ in made)
    for heads in a["num_heads"]:
        for _ in range(2):  # of queries with keys, of attention with values
            # every channel of a head, and one for every row and column of the grid, the class token's included
            total += heads * (side**2 + 1) ** 2 * (64 + 2 * (side + 1))
            # every patch with the vectors of all rows and all columns
            total += heads * side**2 * 2 * (side + 1) * 64
    assert space.macs(a, img_size, num_classes) == total


@settings(deadline=None)
@given(architectures, st.integers(1, 24), st.integers(1, 2000))
def test_plain_closed_forms_equal_a_sum_over_matrices(architecture: Architecture, side: int, num_classes: int) -> None:
    width = 11 * 12 * 35 * 6
    a, img_size = architecture.replace(embed_dim=width), 16 * side
    autoformer_tiny_plain.validate(a)
    made = list(matrices(a, img_size, num_classes, None))
    assert autoformer_tiny_plain.num_params(a, img_size, num_classes) == (
        sum(i * o + more for i, o, _, more in made) + norms_and_tokens(a, img_size)
    )
    attention = 2 * (side**2 + 1) ** 2 * width * len(a["num_heads"])
    assert autoformer_tiny_plain.macs(a, img_size, num_classes) == sum(i * o * n for i, o, n, _ in made) + attention


def test_heads_cost_nothing_in_the_plain_build() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = autoformer_tiny_plain.sample(rng)
        few, many = (drawn.replace(num_heads=[heads] * drawn["depth"]) for heads in (3, 4))
        for count in ("num_params", "macs"):
            plain, official = getattr(autoformer_tiny_plain, count), getattr(autoformer_tiny, count)
            assert plain(few, 224, 100) == plain(drawn, 224, 100) == plain(many, 224, 100)
            assert official(few, 224, 100) < official(many, 224, 100)


def test_the_plain_space_has_the_known_extremes() -> None:
    count = autoformer_tiny_plain.num_params
    small = Architecture({"embed_dim": 192, "depth": 12, "mlp_ratio": [3.5] * 12, "num_heads": [3] * 12})
    large = Architecture({"embed_dim": 240, "depth": 14, "mlp_ratio": [4] * 14, "num_heads": [4] * 14})
    assert (count(small, 224, 100), count(large, 224, 100)) == (5_100_196, 9_977_140)


@pytest.mark.parametrize("strict", [False, True])
def test_official_macs_are_those_of_the_authors_formula(strict: bool) -> None:
    n = 197 if strict else 198
    for name, (space, _) in PUBLISHED.items():
        a: Any = space.named[name]
        e = a["embed_dim"]
        total = 196 * 768 * e + e + 197 * e / 2 + 197 * e * 1000
        for ratio, heads in zip(a["mlp_ratio"], a["num_heads"], strict=True):
            q, f = 64 * heads, int(ratio * e)
            total += n * e + 3 * n * e * q + 2 * n**2 * q + n * q * e + n * e + 2 * n * e * f
            total += 28 * n**2 + n**2 / 2 + n * q / 2
        assert macs_official(a, strict=strict) == total


def test_official_macs_and_parameters_are_those_of_the_published_table(tmp_path: Path) -> None:
    table = rows("autoformer_small_official.csv")
    read = of_table(autoformer_small, table, tmp_path)
    assert len(read) == 500
    for architecture, row in zip(read, table, strict=True):
        assert architecture in autoformer_small
        assert macs_official(architecture) == pytest.approx(float(row["flops_M"]) * 1e6, abs=1e-3)
        assert autoformer_small.num_params(architecture, 224, 1000) == round(float(row["params_M"]) * 1e6)


def test_parameters_of_the_plain_table_are_exact(tmp_path: Path) -> None:
    table = rows("autoformer_tiny_plain.csv")
    read = of_table(autoformer_tiny_plain, table, tmp_path)
    assert len(read) == 100
    for architecture, row in zip(read, table, strict=True):
        assert architecture in autoformer_tiny_plain
        assert autoformer_tiny_plain.num_params(architecture, 224, 100) == int(row["params_c100"])


# -- text and grammar --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(architectures)
def test_texts_and_json_round_trip(architecture: Architecture) -> None:
    text = autoformer_base.text(architecture)
    assert autoformer_base.read(text) == architecture
    assert autoformer_base.read(f" {text.upper()} ".replace(",", ", ")) == architecture
    assert autoformer_base.read(architecture.to_json()) == architecture


def test_the_text_says_what_the_fields_say() -> None:
    architecture = autoformer_tiny.read("w200-m3.5,4.0-h3,12")
    assert dict(architecture) == {"embed_dim": 200, "depth": 2, "mlp_ratio": (3.5, 4), "num_heads": (3, 12)}
    assert autoformer_tiny.text(architecture) == "w200-m3.5,4-h3,12"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "another form than w192"),
        ("w192-m3,4", "another form than w192"),
        ("w192-m3,,4-h3,3,3", "another form than w192"),
        ("w192-m3,4-h3,3,", "another form than w192"),
        ("w192-m3,4-h3", "has 2 MLP ratios and 1 numbers of heads"),
        ("w192-m3,4-h3,3.5", r"num_heads\[1\] is 3.5"),
    ],
)
def test_text_of_another_form_is_refused(text: str, says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        autoformer_tiny.read(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"embed_dim": 0}, "embed_dim is 0; it must be an integer of at least 1"),
        ({"embed_dim": 192.5}, "embed_dim is 192.5"),
        ({"embed_dim": True}, "embed_dim is True"),
        ({"embed_dim": (192, 192)}, "embed_dim is"),
        ({"depth": 0, "mlp_ratio": [], "num_heads": []}, "depth is 0"),
        ({"depth": 3}, "mlp_ratio needs a list of 3 values"),
        ({"mlp_ratio": 4}, "mlp_ratio needs a list of 2 values"),
        ({"num_heads": (3,)}, "num_heads needs a list of 2 values"),
        ({"mlp_ratio": (4, 0)}, r"mlp_ratio\[1\] is 0; it must be a positive number"),
        ({"mlp_ratio": (0.001, 4)}, r"mlp_ratio\[0\] is 0.001"),
        ({"mlp_ratio": ("4", 4)}, r"mlp_ratio\[0\] is '4'"),
        ({"num_heads": (3, 0)}, r"num_heads\[1\] is 0"),
        ({"num_heads": ("3", 3)}, r"num_heads\[0\] is '3'"),
        ({"patch_size": 16}, "has the fields embed_dim, depth, mlp_ratio, num_heads"),
    ],
)
@pytest.mark.parametrize("space", [autoformer_tiny, autoformer_tiny_plain])
def test_the_grammar_refuses_what_cannot_be_built(space: SearchSpace, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        space.read({"embed_dim": 192, "depth": 2, "mlp_ratio": (4, 4), "num_heads": (3, 3), **changes})


def test_only_in_the_plain_build_must_heads_divide_the_width() -> None:
    text = "w192-m3.5,4-h3,5"
    assert autoformer_tiny.read(text)["num_heads"] == (3, 5)
    with pytest.raises(SpaceError, match=r"num_heads\[1\] is 5; it must divide embed_dim 192"):
        autoformer_tiny_plain.read(text)


@pytest.mark.parametrize("name", CHOICES)
def test_what_grows_out_of_a_sample_can_be_built(name: str) -> None:
    space = spaces.get(name)
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = grown = space.sample(rng)
        for rate in (0.05, 0.1, 0.2):
            grown = space.growth.widened(space.growth.deepened(space.fields, grown, 0), rate)
            space.validate(grown)
        assert grown["embed_dim"] > first["embed_dim"]
        assert grown["depth"] == first["depth"] + 3
        assert grown["num_heads"][-4:] == first["num_heads"][-1:] * 4


def test_its_one_stage_shows_what_blocks_range_over() -> None:
    (stage,) = autoformer_tiny.stages(autoformer_tiny.named["autoformer-t"], 224)
    assert (stage.width, stage.tokens, stage.depth) == (192, 197, 13)
    assert stage.details == {"patch": "16 x 16", "heads": "3 to 4", "mlp_ratio": "3 to 4"}
    (stage,) = autoformer_tiny.stages(autoformer_tiny.read("w64-m4,4-h1,1"), 64)
    assert (stage.tokens, stage.details["heads"]) == (17, "1")
