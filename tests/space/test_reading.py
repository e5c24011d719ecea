"""How texts that no space can read are told."""

from __future__ import annotations

import pytest

from raynas.errors import SpaceError, UnknownNameError
from raynas.space.registered import spaces


@pytest.mark.parametrize(
    ("space", "text", "meant"),
    [
        ("as-vit", "as-vit-smal", "as-vit-small"),
        ("autoformer-tiny", " Autofromer-T", "autoformer-t"),
        ("resnet", "resnet-56", "resnet56"),
        ("vit-res-tiny", "vit-resnas-tinny", "vit-resnas-tiny"),
        ("vit", "deit_small", "deit-small"),
    ],
)
def test_a_name_with_a_slip_in_it_is_told_with_the_one_that_is_meant(space: str, text: str, meant: str) -> None:
    with pytest.raises(SpaceError) as caught:
        spaces.get(space).read(text)
    assert str(caught.value) == f"space {space!r} has no architecture {text.strip()!r}; did you mean {meant!r}?"


def test_a_name_that_is_like_none_is_told_with_those_that_there_are_before_the_form_of_texts() -> None:
    with pytest.raises(SpaceError, match=r"by name seed, as-vit-small, as-vit-base, as-vit-large; as-vit: a genotype"):
        spaces.get("as-vit").read("zzz")


@pytest.mark.parametrize("name", list(spaces))
def test_texts_of_any_length_are_refused_in_few_words(name: str) -> None:
    for text in ("8,2,3|4,1" * 9_999, "w192-m3.5,4-h3," + "3," * 9_999 + "3", "x" * 9_999):
        with pytest.raises(SpaceError) as caught:
            spaces.get(name).read(text)
        assert len(str(caught.value)) < 1_000


def test_a_text_of_a_space_is_not_taken_for_a_name() -> None:
    with pytest.raises(SpaceError, match=r"3 MLP ratios and 2 numbers of heads$"):
        spaces.get("autoformer-tiny").read("w192-m3.5,4,4-h3,3")


def test_a_model_of_timm_with_a_slip_in_its_name_is_told_with_those_that_are_like_it() -> None:
    with pytest.raises(SpaceError, match="there are vit_tiny_patch16_224, "):
        spaces.get("timm").read("vit_tinny_patch16_224")


@pytest.mark.parametrize("space", list(spaces))
def test_an_architecture_that_is_taken_for_a_space_is_told_with_the_space_that_it_is_of(space: str) -> None:
    for name in spaces.get(space).named:
        if name in spaces:
            continue
        with pytest.raises(
            UnknownNameError, match=rf"^unknown space '{name}'. It is an architecture of the space '"
        ) as told:
            spaces.get(name)
        of = str(told.value).split("It is an architecture of the space '")[1].partition("'")[0]
        assert name in spaces.get(of).named  # several spaces may have one of that name
