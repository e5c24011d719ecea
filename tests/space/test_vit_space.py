"""The space of plain vision transformers against published counts and formulas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from searchspaces.vit import vit

# parameters at 1000 classes and 224 pixels, and multiply-adds in billions, from the tables of DeiT and of timm
PUBLISHED = {"deit-tiny": (5_717_416, 1.3), "deit-small": (22_050_664, 4.6), "deit-base": (86_567_656, 17.6)}

architectures = st.builds(
    lambda patch, head_dim, depth, heads, ratio: Architecture(
        {"patch_size": patch, "embed_dim": head_dim * heads, "depth": depth, "num_heads": heads, "mlp_ratio": ratio}
    ),
    st.integers(1, 64),
    st.integers(1, 128),
    st.integers(1, 60),
    st.integers(1, 32),
    st.integers(1, 12) | st.sampled_from([2.5, 3.75]),
)


def layers(a, img_size, num_classes):
    """(inputs, outputs, positions, further parameters) of every matrix, one by one."""
    d, tokens = a["embed_dim"], (img_size // a["patch_size"]) ** 2 + 1
    hidden = int(d * a["mlp_ratio"])
    yield 3 * a["patch_size"] ** 2, d, tokens - 1, d
    for _ in range(a["depth"]):
        yield d, 3 * d, tokens, 3 * d + 2 * d
        yield d, d, tokens, d + 2 * d
        yield d, hidden, tokens, hidden
        yield hidden, d, tokens, d
    yield d, num_classes, 1, num_classes + 2 * d


def test_the_space_is_found_by_name():
    assert spaces.get("vit") is vit
    assert vit.size == 2 * 7 * 5 * 3 * 3


def test_the_module_needs_no_torch():
    code = "import sys, searchspaces.vit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_timm_is_imported_for_another_space():
    code = (
        "import sys; from raynas.space.registered import models; models.get('as-vit'); sys.exit('timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_of_the_published_models(name):
    num_params, gmacs = PUBLISHED[name]
    assert vit.num_params(vit.named[name], 224, 1000) == num_params
    assert vit.macs(vit.named[name], 224, 1000) / 1e9 == pytest.approx(gmacs, rel=0.04)


@settings(deadline=None)
@given(architectures, st.integers(1, 12), st.integers(1, 2000))
def test_closed_forms_equal_a_sum_over_layers(architecture, patches, num_classes):
    vit.validate(architecture)
    img_size = patches * architecture["patch_size"]
    made = list(layers(architecture, img_size, num_classes))
    tokens = patches**2 + 1
    d = architecture["embed_dim"]
    assert vit.num_params(architecture, img_size, num_classes) == (
        sum(i * o + more for i, o, _, more in made) + d + tokens * d
    )
    attention = architecture["depth"] * 2 * tokens * tokens * d
    assert vit.macs(architecture, img_size, num_classes) == sum(i * o * n for i, o, n, _ in made) + attention


@settings(deadline=None)
@given(architectures)
def test_texts_and_json_round_trip(architecture):
    text = vit.text(architecture)
    assert vit.read(text) == architecture
    assert vit.read(f" {text.upper()} ") == architecture
    assert vit.read(architecture.to_json()) == architecture


def test_the_text_says_what_the_fields_say():
    assert vit.text(vit.named["deit-tiny"]) == "p16-w192-d12-h3-m4"
    assert dict(vit.read("p8-w96-d4-h6-m2.5")) == {
        "patch_size": 8,
        "embed_dim": 96,
        "depth": 4,
        "num_heads": 6,
        "mlp_ratio": 2.5,
    }


@pytest.mark.parametrize("text", ["", "p16", "p16-w192-d12-h3", "p16-w192-d12-h3-m4-x", "w192-p16-d12-h3-m4"])
def test_text_of_another_form_is_refused(text):
    with pytest.raises(SpaceError, match="another form than p16-w192-d12-h3-m4"):
        vit.read(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch_size": 0}, "patch_size is 0; it must be an integer of at least 1"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": 2.5}, "depth is 2.5"),
        ({"depth": True}, "depth is True"),
        ({"num_heads": "3"}, "num_heads is '3'"),
        ({"num_heads": 5}, "num_heads is 5; it must divide embed_dim 192"),
        ({"embed_dim": (192, 192)}, "embed_dim is"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0; it must be a positive number"),
        ({"mlp_ratio": -4}, "mlp_ratio is -4"),
        ({"mlp_ratio": 0.005}, "mlp_ratio is 0.005"),
        ({"mlp_ratio": "4"}, "mlp_ratio is '4'"),
        ({"in_chans": 3}, "has the fields"),
    ],
)
def test_the_grammar_refuses_what_cannot_be_built(changes, says):
    with pytest.raises(SpaceError, match=says):
        vit.read({**vit.named["deit-tiny"], **changes})


def test_the_grammar_accepts_what_grows_out_of_a_sample():
    architecture = vit.sample(np.random.default_rng(0))
    for _ in range(6):
        architecture = vit.growth.widened(vit.growth.deepened(vit.fields, architecture, 0), 0.2)
        vit.validate(architecture)
        assert architecture["embed_dim"] % architecture["num_heads"] == 0


def test_its_one_stage_shows_tokens_with_the_class_token():
    (stage,) = vit.stages(vit.named["deit-small"], 224)
    assert (stage.width, stage.tokens, stage.depth) == (384, 197, 12)
    assert stage.details == {"patch": "16 x 16", "heads": "6", "mlp_ratio": "4"}
