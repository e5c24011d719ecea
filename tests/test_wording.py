"""Quantities in words."""

from __future__ import annotations

from typing import Any

import pytest

from raynas.wording import (
    compact,
    duration,
    first_of,
    memory_size,
    nearest,
    percent,
    plural,
    rounded,
    setting_text,
    size_in_words,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (950, "950"), (2_421_322, "2.421 M"), (80e6, "80 M"), (1.5e9, "1.5 G"), (1250, "1.25 k")],
)
def test_a_quantity_has_up_to_four_digits(value: float, text: str) -> None:
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(9999, "9,999"), (10_000, "10.0 k"), (12_345_678, "12.3 M"), (999_960, "1.00 M"), (4e12, "4.00 T")],
)
def test_a_count_has_three_digits(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("most", "text"), [(2, "ant; bee; and 1,998 more"), (2000, "; ".join(["ant", "bee", *["cow"] * 1998]))]
)
def test_the_first_names_are_told_with_the_number_of_the_others(most: int, text: str) -> None:
    assert first_of(["ant", "bee", *["cow"] * 1998], most, "; ") == text
    assert first_of([]) == ""


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["ant", "fly, house", "cat"], 'ant, "fly, house", cat'),
        (["ant ", " bee", "", "wild cat"], '"ant ", " bee", "", wild cat'),
        (
            ['"ant"', 'a "big" bee', 'cat, "big"', "dog\\, one"],
            '"\\"ant\\"", a "big" bee, "cat, \\"big\\"", "dog\\\\, one"',
        ),
        ([0, 7], "0, 7"),
    ],
)
def test_names_in_a_list_can_be_told_apart(names: list[Any], text: str) -> None:
    assert first_of(names) == text


def test_what_may_stand_in_a_name_follows_from_what_stands_between_them() -> None:
    assert first_of(["fly, house", "cat; big"], between="; ") == 'fly, house; "cat; big"'


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 MiB"),
        (2**20 // 2, "0.5 MiB"),
        (107_374_182, "102 MiB"),
        (2**30 - 1, "1024 MiB"),
        (3 * 2**29, "1.50 GiB"),
        (2**40, "1024.00 GiB"),
    ],
)
def test_memory_below_a_gibibyte_is_in_mebibytes(size: int, text: str) -> None:
    assert memory_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.7e-05, "0.0 s"),
        (0.034, "0.034 s"),
        (0.5, "0.5 s"),
        (11.63, "11.6 s"),
        (59.94, "59.9 s"),
        (61, "1 min 01 s"),
        (125, "2 min 05 s"),
        (3720, "1 h 02 min"),
        (86_399, "23 h 59 min"),
        (180_000, "2 d 2 h"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_nearest_name_is_found_whatever_its_case() -> None:
    names = ("as-vit-small", "As-ViT-Base", "seed")
    assert nearest("AS-VIT-smal", names) == "as-vit-small"
    assert nearest("as-vit-bse", names) == "As-ViT-Base"
    assert nearest("8,2,3|4,1", names) is None


def test_shares_counts_and_settings() -> None:
    assert percent(0.875) == "87.50 %"
    assert [plural(count, "image", "images") for count in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
    assert setting_text([[0, 16], True, 0.05, None]) == "[0 16] yes 0.05 none"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (225, "225"),
        (12_345, "12,345"),
        (4_556_250, "4,556,250 (4.56 million)"),
        (10**25 + 7, "about 1.0 × 10^25"),  # noqa: RUF001
    ],
)
def test_a_large_size_is_told_in_words_too(size: int, words: str) -> None:
    assert size_in_words(size) == words
