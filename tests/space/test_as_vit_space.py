"""The space of As-ViT against the tables and formulas of its paper and code."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from searchspaces.as_vit import as_vit

SEED = "8,2,3|4,1,2|4,1,4|4,1,6|32"

# genotype, parameters with position embedding, GMACs at 224 pixels and 1000 classes
PUBLISHED = {
    "seed": (SEED, 2_419_976, 0.4915),
    "as-vit-small": ("8,2,3,3|4,1,2|4,1,4,4|4,1,6,2|32,88", 29_051_296, 5.132),
    "as-vit-base": ("8,2,3,3|4,1,2|4,1,4,5|4,1,6,2|32,116", 52_622_428, 8.754),
    "as-vit-large": ("8,2,3,5|4,1,2,2|4,1,4,5|4,1,6,2|32,180", 88_145_300, 22.358),
}
# millions of parameters and GFLOPs of the publication, whose counter includes more than products
ANNOUNCED = {"as-vit-small": (29.0, 5.3), "as-vit-base": (52.6, 8.9), "as-vit-large": (88.1, 22.6)}


def divides(grid, split):
    return grid // split > 0 and grid % (grid // split) == 0


SPLITS = [st.sampled_from([s for s in range(1, grid + 1) if divides(grid, s)]) for grid in (56, 28, 14, 7)]
architectures = st.builds(
    lambda kernel, split, mlp_ratio, eighth, depth, extra: Architecture(
        {
            "kernel": (kernel[0] + 2, *kernel[1:]),
            "split": split,
            "mlp_ratio": mlp_ratio,
            "num_heads": 8 * eighth,
            "depth": depth,
            "embed_dim": eighth + extra,
        }
    ),
    st.tuples(*[st.integers(2, 30)] * 4),
    st.tuples(*SPLITS),
    st.tuples(*[st.integers(1, 40)] * 4),
    st.integers(1, 128),
    st.tuples(*[st.integers(1, 40)] * 4),
    st.integers(0, 2000),
)


def slow_num_params(a, img_size, num_classes):
    """The sum over layers, one by one."""
    d = [min(1024, a["embed_dim"] * 2**i) for i in range(4)]
    total = 3 * a["kernel"][0] ** 2 * d[0] + d[0] + 2 * d[0] + (img_size // 4) ** 2 * d[0]
    for i, heads in enumerate((a["num_heads"] // 8, a["num_heads"] // 4, a["num_heads"] // 2, a["num_heads"])):
        inner = d[i] // heads * heads
        hidden = a["mlp_ratio"][i] * d[i]
        norms = 4 * d[i]
        attention = d[i] * 3 * inner + 3 * inner + inner * d[i] + d[i]
        mlp = d[i] * hidden + hidden + hidden * d[i] + d[i]
        total += a["depth"][i] * (norms + attention + mlp)
        if i < 3:
            merged = a["kernel"][i + 1] ** 2 * d[i]
            total += 2 * merged + merged * d[i + 1]
    return total + 2 * d[3] + (d[3] * d[3] + d[3]) + (d[3] * num_classes + num_classes)


def slow_macs(a, img_size, num_classes):
    d = [min(1024, a["embed_dim"] * 2**i) for i in range(4)]
    grids = [img_size // 4, img_size // 8, img_size // 16, img_size // 32]
    total = grids[0] ** 2 * d[0] * 3 * a["kernel"][0] ** 2
    for i, heads in enumerate((a["num_heads"] // 8, a["num_heads"] // 4, a["num_heads"] // 2, a["num_heads"])):
        inner = d[i] // heads * heads
        tokens = grids[i] ** 2
        window = grids[i] // a["split"][i] or 1
        windows = int(np.ceil(grids[i] / window)) ** 2
        attention = 2 * windows * (window**2) ** 2 * inner
        total += a["depth"][i] * (tokens * (4 * d[i] * inner + 2 * a["mlp_ratio"][i] * d[i] ** 2) + attention)
        if i < 3:
            total += grids[i + 1] ** 2 * a["kernel"][i + 1] ** 2 * d[i] * d[i + 1]
    return total + d[3] ** 2 + num_classes * d[3]


def test_the_space_is_found_by_name():
    assert spaces.get("as_vit") is as_vit


def test_it_has_the_published_number_of_topologies():
    assert as_vit.size == 4_556_250
    assert list(as_vit.fields) == ["kernel", "split", "mlp_ratio", "num_heads", "depth", "embed_dim"]
    assert [len(decision.options) for decision in as_vit.decisions] == [5, 3, 3, 3, 3, 3, 2, 5, 5, 5, 5, 3]


def test_the_module_needs_no_torch():
    code = "import sys, searchspaces.as_vit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_of_the_published_models(name):
    genotype, num_params, gmacs = PUBLISHED[name]
    architecture = as_vit.read(genotype)
    assert as_vit.read(name) == architecture
    assert as_vit.named[name] == architecture
    assert as_vit.num_params(architecture, 224, 1000) == num_params
    assert round(as_vit.macs(architecture, 224, 1000) / 1e9, 4 if name == "seed" else 3) == gmacs


@pytest.mark.parametrize("name", ANNOUNCED)
def test_costs_are_those_of_the_publication(name):
    num_params, gflops = ANNOUNCED[name]
    assert as_vit.num_params(as_vit.named[name], 224, 1000) == pytest.approx(num_params * 1e6, rel=2e-3)
    assert as_vit.macs(as_vit.named[name], 224, 1000) == pytest.approx(gflops * 1e9, rel=0.05)


@settings(deadline=None)
@given(architectures, st.integers(1, 16), st.integers(1, 2000))
def test_closed_forms_equal_a_sum_over_layers(architecture, size, num_classes):
    as_vit.validate(architecture)
    assert as_vit.num_params(architecture, 32 * size, num_classes) == slow_num_params(
        architecture, 32 * size, num_classes
    )
    assert as_vit.macs(architecture, 32 * size, num_classes) == slow_macs(architecture, 32 * size, num_classes)


@settings(deadline=None)
@given(architectures)
def test_genotypes_and_json_round_trip(architecture):
    text = as_vit.text(architecture)
    assert as_vit.read(text) == architecture
    assert as_vit.text(as_vit.read(text)) == text
    assert as_vit.read(text.replace("|", " / ")) == architecture
    assert as_vit.read(architecture.to_json()) == architecture


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32))
def test_what_is_sampled_is_in_the_grammar(seed):
    architecture = as_vit.sample(np.random.default_rng(seed))
    as_vit.validate(architecture)
    assert architecture in as_vit
    assert as_vit.read(as_vit.text(architecture)) == architecture
    for img_size in (32, 64, 96, 224):  # all windows tile the grid
        for i, split in enumerate(architecture["split"]):
            assert divides(img_size // (4 << i), split)


def test_the_genotype_says_what_the_fields_say():
    architecture = as_vit.read(" 8,2,3,3 / 4,1,2,1 / 4,1,4,4 / 4,1,6,2 / 32,88 ")
    assert dict(architecture) == {
        "kernel": (8, 4, 4, 4),
        "split": (2, 1, 1, 1),
        "mlp_ratio": (3, 2, 4, 6),
        "num_heads": 32,
        "depth": (3, 1, 4, 2),
        "embed_dim": 88,
    }
    assert as_vit.text(architecture) == "8,2,3,3|4,1,2|4,1,4,4|4,1,6,2|32,88"
    assert as_vit.text(as_vit.read("8,2,3,1|4,1,2,1|4,1,4,1|4,1,6,1|32,32")) == SEED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "5 parts"),
        ("8,2,3|4,1,2|4,1,4|4,1,6", "has 4"),
        ("8,2,3|4,1,2|4,1,4|4,1,6|32|1", "has 6"),
        ("8,2|4,1,2|4,1,4|4,1,6|32", "stage 1 .* is '8,2'"),
        ("8,2,3|4,1,2|4,1,4,1,1|4,1,6|32", "stage 3 .* is '4,1,4,1,1'"),
        ("8,2,3|4,1,2|4,1,4|4,-1,6|32", "stage 4"),
        ("8,2,3|4,1,2.5|4,1,4|4,1,6|32", "stage 2"),
        ("8,2,3|4,1,2|4,1,4|4,1,6|", "ends with ''"),
        ("8,2,3|4,1,2|4,1,4|4,1,6|32,32,1", "ends with '32,32,1'"),
        ("8,2,3|4,1,2|4,1,4|4,1,6|" + "9" * 5000, "ends with"),
    ],
)
def test_text_that_is_no_genotype_is_refused(text, says):
    with pytest.raises(SpaceError, match=says):
        as_vit.read(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel": (4, 2, 2, 2)},
        {"kernel": (16, 7, 5, 9)},
        {"split": (1, 1, 1, 1)},
        {"split": (7, 14, 7, 4)},
        {"split": (56, 28, 14, 7)},
        {"mlp_ratio": (1, 8, 1, 1)},
        {"depth": (3, 1, 12, 2)},
        {"num_heads": 24},
        {"num_heads": 8},
        {"embed_dim": 88},
        {"embed_dim": 9},
        {"embed_dim": 4},
        {"embed_dim": 3000},
        {"embed_dim": 1024, "num_heads": 1024},
    ],
)
def test_the_grammar_accepts_what_can_be_built(changes):
    as_vit.validate(as_vit.named["seed"].replace(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kernel": (3, 2, 2, 2)}, r"kernel\[0\] is 3; .* at least 4"),
        ({"kernel": (4, 2, 1, 2)}, r"kernel\[2\] is 1; .* at least 2"),
        ({"kernel": (4, 2, 2.5, 2)}, r"kernel\[2\] is 2.5"),
        ({"kernel": (4, 2, 2)}, "kernel needs a list of 4"),
        ({"kernel": 4}, "kernel needs a list of 4"),
        ({"split": (3, 1, 1, 1)}, r"split\[0\] is 3.*56 x 56.*1, 2, 4, 7, 8"),
        ({"split": (1, 1, 1, 8)}, r"split\[3\] is 8"),
        ({"split": (1, 0, 1, 1)}, r"split\[1\] is 0"),
        ({"mlp_ratio": (1, 1, 0, 1)}, r"mlp_ratio\[2\] is 0"),
        ({"mlp_ratio": ("2", 1, 1, 1)}, r"mlp_ratio\[0\] is '2'"),
        ({"depth": (1, 1, 1, 0)}, r"depth\[3\] is 0"),
        ({"depth": (True, 1, 1, 1)}, r"depth\[0\] is True"),
        ({"num_heads": 12}, "num_heads is 12; .* divisible by 8"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"num_heads": (16, 32)}, "num_heads is"),
        ({"embed_dim": 0}, "embed_dim is 0"),
        ({"embed_dim": 32.5}, "embed_dim is 32.5"),
        ({"embed_dim": 3}, "num_heads 32 with embed_dim 3 gives stage 1 4 heads for 3 channels"),
        ({"embed_dim": 1024, "num_heads": 1032}, "stage 4 1032 heads for 1024 channels"),
        ({"in_chans": 3}, "has the fields"),
    ],
)
def test_the_grammar_refuses_the_rest(changes, says):
    with pytest.raises(SpaceError, match=says):
        as_vit.read({**as_vit.named["seed"], **changes})


def test_stages_show_widths_tokens_and_windows():
    small = as_vit.stages(as_vit.named["as-vit-small"], 224)
    assert [stage.width for stage in small] == [88, 176, 352, 704]
    assert [stage.tokens for stage in small] == [3136, 784, 196, 49]
    assert [stage.depth for stage in small] == [3, 1, 4, 2]
    assert small[0].details["window"] == "28 x 28"
    assert small[1].details == {"kernel": "4, stride 2", "window": "global", "heads": "8", "mlp_ratio": "2"}
    assert [stage.width for stage in as_vit.stages(as_vit.named["as-vit-large"], 64)] == [180, 360, 720, 1024]
