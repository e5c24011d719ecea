"""Search spaces as values, in one file, as all of it is tried on the same drawn spaces."""

from __future__ import annotations

import itertools
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy_spaces import all_spaces, blocks, growing_layers, layers, one_architecture, stages, two_depths

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice, PerBlock, PerLayer
from raynas.space.search_space import SearchSpace

scalars = st.one_of(
    st.integers(-(10**12), 10**12), st.floats(-1e9, 1e9, allow_nan=False), st.booleans(), st.text(max_size=5)
)
architectures = st.dictionaries(
    st.text(min_size=1, max_size=6), st.one_of(scalars, st.lists(scalars, max_size=4)), max_size=5
).map(Architecture)
seeds = st.integers(0, 2**32)


def options(min_size: int = 1) -> st.SearchStrategy[Choice]:
    values = st.one_of(st.integers(1, 50), st.sampled_from(["gelu", "relu", "swish"]), st.just(3.5))
    return st.lists(values, min_size=min_size, max_size=3, unique=True).map(lambda values: Choice(*values))


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Single choices, lists, layers of one or two depths or blocks, in varying order."""
    fields: dict[str, Any] = {}
    has_blocks = draw(st.booleans())
    if draw(st.booleans()):
        fields["first"] = draw(options())
    for depth in [] if has_blocks else draw(st.sampled_from([[], ["depth"], ["depth", "depth2"]])):
        fields[depth] = Choice(*draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)))
        for i in range(draw(st.integers(1, 2))):
            fields[f"{depth}_layers{i}"] = PerLayer(draw(options()), depth=depth)
    if has_blocks:
        places = draw(st.sampled_from([[1], [2], [1, 1]]))
        fields["places"] = tuple(map(Choice, places))
        may_be_empty = draw(st.lists(st.booleans(), min_size=sum(places), max_size=sum(places)))
        present = [draw(options()) for _ in may_be_empty]
        fields["first_of_blocks"] = PerBlock(
            tuple(Choice(*one.options, *[0] * empty) for one, empty in zip(present, may_be_empty, strict=True)),
            "places",
        )
        fields["second_of_blocks"] = PerBlock(tuple(draw(options()) for _ in may_be_empty), "places")
    fields["stages"] = tuple(draw(st.lists(options(), min_size=1, max_size=3)))
    return SearchSpace("drawn", fields, model="none")


def enumerated(space: SearchSpace) -> set[Architecture]:
    """Every architecture, from the definition of the fields alone."""
    found: list[dict[str, Any]] = [{}]
    for name, entry in space.fields.items():
        if isinstance(entry, Choice):
            found = [{**one, name: option} for one in found for option in entry.options]
        elif isinstance(entry, PerLayer):
            found = [
                {**one, name: values}
                for one in found
                for values in itertools.product(entry.choice.options, repeat=int(one[entry.depth]))
            ]
        elif isinstance(entry, PerBlock):
            found = [
                {**one, name: values}
                for one in found
                for values in itertools.product(
                    *[
                        (0,) if name.startswith("second") and one["first_of_blocks"][i] == 0 else choice.options
                        for i, choice in enumerate(entry.choices)
                    ]
                )
            ]
        else:
            found = [
                {**one, name: v} for one in found for v in itertools.product(*[choice.options for choice in entry])
            ]
    return {Architecture(one) for one in found}


on_every_space = pytest.mark.parametrize("space", all_spaces, ids=lambda space: space.name)


# -- architectures -----------------------------------------------------------------------------------------------------


@given(architectures)
def test_json_and_pickle_give_the_architecture_back(architecture: Architecture) -> None:
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert Architecture.from_json(json.dumps(dict(architecture))).key == architecture.key
    assert pickle.loads(pickle.dumps(architecture)) == architecture
    assert len(architecture.key) == 32


@given(architectures, st.randoms(use_true_random=False))
def test_the_key_does_not_depend_on_the_order_of_fields(architecture: Architecture, random: Any) -> None:
    items = list(architecture.items())
    random.shuffle(items)
    shuffled = Architecture(dict(items))
    assert (shuffled.key, hash(shuffled)) == (architecture.key, hash(architecture))


@given(st.integers(-(2**50), 2**50))
def test_the_key_does_not_depend_on_the_form_of_a_number(value: int) -> None:
    forms: list[Any] = [value, float(value), np.int64(value), np.float64(value)]
    assert len({Architecture({"a": form, "b": [form]}).key for form in forms}) == 1
    assert Architecture({"a": -0.0}) == Architecture({"a": 0})


def test_true_is_not_one() -> None:
    assert Architecture({"a": True}) != Architecture({"a": 1})


def test_an_architecture_cannot_change() -> None:
    values = [1, 2]
    architecture = Architecture({"a": values})
    values.append(3)
    assert architecture["a"] == (1, 2)
    with pytest.raises(TypeError):
        architecture["a"] = 3  # type: ignore[index]
    assert architecture.replace(b=1.0) == Architecture({"b": 1, "a": [1, 2]})


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), {"x": 1}, [[1]], object(), np.nan, [None]])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(SpaceError, match="field 'a'"):
        Architecture({"a": value})


@pytest.mark.parametrize("text", ["", "{", "[1]", "1", '"a"', "null", '{"a": NaN}', '{"a": {}}', '{"a": Infinity}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(SpaceError):
        Architecture.from_json(text)


# -- operations --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_size_counts_every_architecture_once(space: SearchSpace) -> None:
    assert space.size == len(enumerated(space))


@on_every_space
def test_size_counts_every_architecture_of_the_toy_spaces(space: SearchSpace) -> None:
    too_many = {
        stages.name: 4_556_250,
        blocks.name: 2 * 6 * 7 * 6 * 7 * 6,
        growing_layers.name: 2 * 33 * sum(3**depth for depth in range(1, 9)),
    }
    assert space.size == (too_many.get(space.name) or len(enumerated(space)))


@settings(max_examples=100, deadline=None)
@given(spaces(), seeds)
def test_samples_stay_in_the_space_and_survive_encoding(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = enumerated(space)
    for architecture in (space.sample(rng) for _ in range(5)):
        assert architecture in every and architecture in space
        space.validate(architecture)
        assert space.read(architecture.to_json()) == architecture
        numbers = space.encode(architecture)
        assert len(numbers) == len(space.decisions)
        for number, decision in zip(numbers, space.decisions, strict=True):
            assert -1 <= number < len(decision.options)
        assert space.decode(np.maximum(numbers, 0)) == architecture
        absent = [i for i, number in enumerate(numbers) if number < 0]
        other = [len(space.decisions[i].options) - 1 if i in absent else numbers[i] for i in range(len(numbers))]
        assert space.decode(other) == architecture


@given(spaces(), st.data())
def test_numbers_of_options_are_read_decision_by_decision(space: SearchSpace, data: st.DataObject) -> None:
    numbers = [data.draw(st.integers(0, len(decision.options) - 1)) for decision in space.decisions]
    architecture = space.decode(numbers)
    blocks = [architecture[name] for name in space.block_fields]
    for decision, number in zip(space.decisions, numbers, strict=True):
        name, _, position = decision.name.partition("[")
        values = architecture[name]
        i = int(position.rstrip("]")) if position else None
        is_absent_block = name in space.block_fields and i is not None and any(block[i] == 0 for block in blocks)
        if i is None:
            assert values == decision.options[number]
        elif is_absent_block:
            assert values[i] == 0
        elif i < len(values):
            assert values[i] == decision.options[number]
    assert all(len(architecture[name]) == architecture[entry.depth] for name, entry in space.fields.items()
               if isinstance(entry, PerLayer))  # fmt: skip


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(spaces())
def test_samples_reach_every_architecture_and_no_other(space: SearchSpace) -> None:
    assume(space.size <= 20)
    rng = np.random.default_rng(0)
    assert {space.sample(rng) for _ in range(3000)} == enumerated(space)


@settings(max_examples=150, deadline=None)
@given(spaces(), seeds)
def test_mutation_changes_one_decision(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    child = space.mutate(parent, rng)
    assert child in space
    before, after = space.encode(parent), space.encode(child)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if not any(number >= 0 for number in before):
        assert child == parent
        return
    # Layers that appear or vanish come with their depth.
    kept = [i for i in changed if before[i] >= 0 and after[i] >= 0]
    assert len(kept) == 1
    if len(changed) > 1:
        assert space.decisions[kept[0]].name.startswith(("depth", "first_of_blocks"))


@on_every_space
def test_mutation_reaches_every_decision(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    changed: set[int] = set()
    for _ in range(600):
        parent = space.sample(rng)
        pairs = zip(space.encode(parent), space.encode(space.mutate(parent, rng)), strict=True)
        changed |= {i for i, (a, b) in enumerate(pairs) if a != b}
    assert changed == set(range(len(space.decisions)))


@settings(max_examples=150, deadline=None)
@given(spaces(), seeds)
def test_crossover_takes_everything_from_the_parents(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.crossover(first, second, rng)
    assert child in space
    numbers = zip(space.encode(child), space.encode(first), space.encode(second), strict=True)
    assert all(number in (-1, a, b) for number, a, b in numbers)
    assert space.crossover(first, first, rng) == first


def test_a_block_that_may_be_absent_is_so_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([blocks.sample(rng)["num_heads"] for _ in range(4000)])
    assert (drawn == 0).mean(0).tolist() == pytest.approx([0, 0.5, 0, 0.5, 0], abs=0.03)
    present = drawn[:, 1][drawn[:, 1] > 0]
    assert (present == 1).mean() == pytest.approx(0.5, abs=0.04)


def test_what_is_said_of_an_absent_block_makes_no_difference() -> None:
    fields = {"width": 8, "depth": [2, 3]}
    forms = [
        {**fields, "num_heads": [1, heads, 1, 1, 2], "mlp_units": [4, units, 4, 4, 4]}
        for heads, units in ((0, 0), (0, 12), (2, 0), (0.0, 4.0))
    ]
    assert len({blocks.read(form) for form in forms}) == 1
    architecture = blocks.read(forms[1])
    assert architecture in blocks
    assert (architecture["num_heads"], architecture["mlp_units"]) == ((1, 0, 1, 1, 2), (4, 0, 4, 4, 4))
    with pytest.raises(SpaceError, match=r"num_heads\[0\] is 0, not one of"):
        blocks.read({**fields, "num_heads": [0, 1, 1, 1, 2], "mlp_units": [4] * 5})
    with pytest.raises(SpaceError, match="mlp_units needs a list of 5 values"):
        blocks.read({**fields, "num_heads": [1, 1, 1, 1, 2], "mlp_units": [4] * 4})


def test_blocks_have_places_of_a_fixed_number() -> None:
    for depth in (Choice(1, 2), Choice(2), (Choice(1, 2),), (Choice(1), Choice("2"))):
        with pytest.raises(SpaceError, match="'depth' must be a list of choices of one integer each"):
            SearchSpace("toy", {"depth": depth, "a": PerBlock((Choice(1, 2),))}, model="none")
    with pytest.raises(SpaceError, match="field 'a' has 1 choices for the 3 places of 'depth'"):
        SearchSpace("toy", {"depth": (Choice(1), Choice(2)), "a": PerBlock((Choice(1, 2),))}, model="none")


def test_equal_generators_give_equal_results() -> None:
    def drawn() -> list[Architecture]:
        rng = np.random.default_rng(9)
        one, other = layers.sample(rng), layers.sample(rng)
        return [one, other, layers.mutate(one, rng), layers.crossover(one, other, rng)]

    assert drawn() == drawn()


def test_decisions_are_named_after_field_and_position() -> None:
    assert [decision.name for decision in layers.decisions] == [
        "activation",
        "depth",
        *(f"num_heads[{i}]" for i in range(3)),
        *(f"mlp_ratio[{i}]" for i in range(3)),
    ]
    assert two_depths.decisions[0].options == ((8, 8), (16, 4))
    assert one_architecture.decisions == ()
    assert len(stages.decisions) == 12  # the split of the last stage is fixed


# -- reading and checking ----------------------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {"activation": "gelu", "depth": 2, "num_heads": [3, 4], "mlp_ratio": [2, 3.5]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 4, "num_heads": [3] * 4, "mlp_ratio": [2] * 4}, r"depth is 4, not one of \[1, 2, 3\]"),
        ({"depth": 3}, r"num_heads needs a list of 3 values, got \(3, 4\)"),
        ({"num_heads": [3, 4, 3]}, "num_heads needs a list of 2 values"),
        ({"num_heads": 3}, "num_heads needs a list of 2 values, got 3"),
        ({"num_heads": [3, 5]}, r"num_heads\[1\] is 5, not one of \[3, 4\]"),
        ({"activation": "swish"}, "activation is 'swish', not one of"),
        ({"activation": ["gelu"]}, "activation is "),
        ({"depth": "2"}, "num_heads needs a list of 2 values|depth is '2'"),
        ({"width": 3}, "has the fields activation, depth, num_heads, mlp_ratio; got .*width"),
    ],
)
def test_what_is_outside_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    architecture = Architecture({**FIELDS, **changes})
    assert architecture not in layers
    for refuse in (layers.validate, layers.encode, layers.read):
        with pytest.raises(SpaceError, match=message):
            refuse(architecture)


def test_missing_fields_are_refused() -> None:
    with pytest.raises(SpaceError, match="got activation"):
        layers.read({"activation": "gelu"})
    with pytest.raises(SpaceError, match="got none"):
        layers.read({})


def test_truth_values_and_numbers_are_different_options() -> None:
    """Python has True == 1, but the two would have different keys."""
    for fields in ({"a": 1}, {"a": True}):
        space = SearchSpace("toy", {"a": Choice(*fields.values(), "other")}, model="none")
        assert Architecture(fields) in space
        assert Architecture({"a": 1 if fields["a"] is True else True}) not in space
    pairs = SearchSpace("toy", {"a": Choice((1, 2), (3, 4))}, model="none")
    assert Architecture({"a": [1, 2.0]}) in pairs
    assert Architecture({"a": [True, 2]}) not in pairs
    depths = SearchSpace("toy", {"depth": Choice(1, 2), "a": PerLayer(Choice(3, 4))}, model="none")
    assert Architecture({"depth": True, "a": [3]}) not in depths


def test_numbers_are_read_in_any_form() -> None:
    assert layers.read({**FIELDS, "depth": 2.0, "mlp_ratio": [2.0, 3.5]}) == Architecture(FIELDS)


def test_own_text_and_names_are_read() -> None:
    space = SearchSpace(
        "toy",
        {"a": Choice(1, 2)},
        model="none",
        parse=lambda text: Architecture({"a": int(text)}),
        format=lambda architecture: f"{architecture['a']}",
        named={"Toy-S": Architecture({"a": 1})},
    )
    assert space.read("2") == Architecture({"a": 2}) == space.read(' {"a": 2}')
    assert space.read(" toy-s ") == Architecture({"a": 1})
    assert space.text(Architecture({"a": 2})) == "2"
    assert layers.text(Architecture(FIELDS)) == Architecture(FIELDS).to_json()
    with pytest.raises(SpaceError, match="a is 3"):
        space.read("3")
    with pytest.raises(SpaceError, match="cannot read 'x'"):
        space.read("x")
    with pytest.raises(SpaceError, match="an architecture is a JSON object, not 'tiny'"):
        layers.read("tiny")


def test_a_grammar_accepts_what_would_not_be_drawn() -> None:
    def grammar(architecture: Architecture) -> None:
        if int(str(architecture["a"])) % 2:
            raise SpaceError("a must be even")

    space = SearchSpace("toy", {"a": Choice(2, 4)}, model="none", grammar=grammar)
    assert space.read({"a": 6}) not in space
    for value, message in ((3, "must be even"), ("x", "cannot read")):
        with pytest.raises(SpaceError, match=message):
            space.read({"a": value})


@pytest.mark.parametrize("values", [(), (1, 1), (1, 1.0), ("a", "b", "a")])
def test_options_are_distinct(values: tuple[Any, ...]) -> None:
    with pytest.raises(SpaceError, match="distinct options"):
        Choice(*values)


def test_a_space_has_fields() -> None:
    with pytest.raises(SpaceError, match="space 'toy' has no fields"):
        SearchSpace("toy", {}, model="none")


def test_text_that_is_no_json_is_said_to_be_so_once() -> None:
    with pytest.raises(SpaceError) as told:
        Architecture.from_json('{"width":16')
    assert str(told.value).lower().count("json") == 1


def test_a_depth_stands_before_its_layers() -> None:
    with pytest.raises(SpaceError, match="field 'a' needs 'depth' before it"):
        SearchSpace("toy", {"a": PerLayer(Choice(1, 2)), "depth": Choice(1, 2)}, model="none")
