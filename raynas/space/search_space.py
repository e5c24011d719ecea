"""Search spaces as values: which architectures may be drawn, which may be built, and which model family builds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import prod
from typing import Any, NamedTuple

import numpy as np

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture, FieldValue, frozen_value
from raynas.space.fields import Choice, Field, PerBlock, PerLayer, as_tuple, is_absent, positions
from raynas.space.growth import Growth
from raynas.space.reading import parsed


class Decision(NamedTuple):
    """One categorical decision with at least two options, named after its field and, in a list, its position."""

    name: str
    options: tuple[FieldValue, ...]


class Stage(NamedTuple):
    """What a picture of a network shows of one stage."""

    name: str
    width: int  # channels
    tokens: int
    depth: int  # blocks
    details: Mapping[str, str]  # such as {"kernel": "4", "heads": "8"}


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """Which architectures may be drawn, and how one becomes a model.

    Args:
        name: The space's name in the registry.
        fields: What can be chosen, by name, in this order; a field's number of layers stands before it. A tuple of
            choices gives each position its own.
        model: A name in `raynas.space.registered.models`, or a callable: (architecture, *, img_size, num_classes) ->
            nn.Module.
        model_version: A number that is raised when the same architecture and weights would give other outputs.
        scoring, training: Further keywords with which a model is built to be scored, or to be trained.
        num_params, macs: Closed forms (architecture, img_size, num_classes) -> int; None: counted on the built model.
        more_costs: Further costs of a run by name, such as a predicted latency, each a closed form of the same kind.
        grammar: A function that raises SpaceError for an architecture that cannot be built, whether or not it would be
            drawn; None: only what can be drawn can be built.
        parse, format: Functions that read and write the space's own text for architectures, beside JSON.
        stages: A function (architecture, img_size) -> stages for pictures; None: pictures show the fields.
        growth: How architectures grow in depth and width; None: they do not.
        uniform: Takes the fields, and gives those architectures that can be drawn and are uniform: blocks all alike,
            widths in proportion. A search is set beside the one of equal cost. None: the space has none.
        named: Published architectures, by their names.
        variants: Takes a text and gives the space of the same kind that NAME@TEXT names, such as the parts of another
            largest network. Its own name is NAME@TEXT, in one form of all texts that mean the same; a text that means
            the space itself gives the space itself, another one is a SpaceError. None: there are none.
        parts: Name of the spaces of the parts of single networks of this one, NAME@TEXT, for supernets around a network
            that was trained by itself; empty: there are none.
        is_named_only: Whether an architecture that nobody says the space of is never taken for one of this space, as
            another one has the same architectures.
        img_size_multiple: What the side of images in pixels must be divisible by.
        search_img_size: Side of images in pixels in `search` and `score` unless another is asked for.
        objectives: Proxies that `search` maximises or minimises unless others are asked for.
        summary: What is searched, in a sentence, for lists.
        paper: The publication that the space comes from, such as arXiv 2202.11921.
    """

    name: str
    fields: Mapping[str, Field]
    model: str | Callable[..., Any]
    model_version: int = 1
    scoring: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    num_params: Callable[[Architecture, int, int], int] | None = None
    macs: Callable[[Architecture, int, int], int] | None = None
    more_costs: Mapping[str, Callable[[Architecture, int, int], float]] = field(default_factory=dict)
    grammar: Callable[[Architecture], None] | None = None
    parse: Callable[[str], Architecture] | None = None
    format: Callable[[Architecture], str] | None = None
    stages: Callable[[Architecture, int], list[Stage]] | None = None
    growth: Growth | None = None
    uniform: Callable[[Mapping[str, Field]], Iterable[Architecture]] | None = None
    named: Mapping[str, Architecture] = field(default_factory=dict)
    variants: Callable[[str], SearchSpace] | None = None
    parts: str = ""
    is_named_only: bool = False
    img_size_multiple: int = 1
    search_img_size: int = 224
    objectives: tuple[str, ...] = ()
    summary: str = ""
    paper: str = ""

    def __post_init__(self) -> None:
        if not self.fields:
            raise SpaceError(f"space {self.name!r} has no fields, so there is nothing to choose")
        seen: set[str] = set()
        for name, entry in self.fields.items():
            if isinstance(entry, PerLayer | PerBlock) and entry.depth not in seen:
                raise SpaceError(f"space {self.name!r}: field {name!r} needs {entry.depth!r} before it")
            if isinstance(entry, PerBlock) and len(entry.choices) != self._num_places(entry.depth):
                raise SpaceError(
                    f"space {self.name!r}: field {name!r} has {len(entry.choices)} choices for the "
                    f"{self._num_places(entry.depth)} places of {entry.depth!r}"
                )
            seen.add(name)
        if self.growth is not None:
            unit = self.growth.unit
            for name in (self.growth.depth, self.growth.width, *([unit] if isinstance(unit, str) else [])):
                if name not in self.fields:
                    raise SpaceError(f"space {self.name!r}: its growth names {name!r}, which is no field of it")

    # -- the decisions, as a flat vector of option numbers --------------------------------------------------------

    @cached_property
    def _slots(self) -> tuple[tuple[str, int | None, Choice], ...]:
        """(field, position or None, choice) of every position that can exist, in the order of the fields."""
        return tuple(
            (name, None if isinstance(entry, Choice) else i, choice)
            for name, entry in self.fields.items()
            for i, choice in enumerate(positions(entry, self._max_depth))
        )

    @cached_property
    def _layout(self) -> tuple[tuple[str, bool, str | None, tuple[tuple[FieldValue, ...], ...]], ...]:
        """(field, whether it is a list, field of its depth or None, options of its positions), in their order."""
        layout = []
        for name, entry in self.fields.items():
            is_list, depth = not isinstance(entry, Choice), entry.depth if isinstance(entry, PerLayer) else None
            options = [choice.options for choice in positions(entry, self._max_depth)]
            for one in options if is_list else []:
                frozen_value(name, one)  # refuses lists in lists
            layout.append((name, is_list, depth, tuple(options)))
        return tuple(layout)

    @cached_property
    def block_fields(self) -> tuple[str, ...]:
        """Names of the fields that have a value for each block; the first of them says which blocks there are."""
        return tuple(name for name, entry in self.fields.items() if isinstance(entry, PerBlock))

    @cached_property
    def removable(self) -> tuple[tuple[int, int], ...]:
        """The number of the decision and of its option 0, for each block that may be absent."""
        chosen = [self._slots[i] for i in self._searched]
        return tuple(
            (i, number)
            for i, (name, _, choice) in enumerate(chosen)
            if name in self.block_fields[:1] and (number := choice.number(0)) is not None
        )

    @cached_property
    def _searched(self) -> tuple[int, ...]:
        return tuple(i for i, (_, _, choice) in enumerate(self._slots) if len(choice.options) > 1)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Everything that can be chosen; those of layers that an architecture lacks have no effect on it."""
        slots = [self._slots[i] for i in self._searched]
        return tuple(Decision(n if i is None else f"{n}[{i}]", choice.options) for n, i, choice in slots)

    @cached_property
    def _num_options(self) -> np.ndarray:
        return np.array([len(decision.options) for decision in self.decisions], dtype=np.int64)

    @cached_property
    def size(self) -> int:
        """The number of distinct architectures that can be drawn."""
        independent = prod(
            len(choice.options)
            for entry in self.fields.values()
            if not isinstance(entry, PerLayer | PerBlock)
            for choice in ([entry] if isinstance(entry, Choice) else entry)
        )
        of_blocks = [entry.choices for entry in self.fields.values() if isinstance(entry, PerBlock)]
        for choices in zip(*of_blocks, strict=True):
            is_removable = 0 in choices[0].options
            present = len(choices[0].options) - is_removable
            independent *= present * prod(len(choice.options) for choice in choices[1:]) + is_removable
        for depth in {entry.depth for entry in self.fields.values() if isinstance(entry, PerLayer)}:
            depths = self._depth_options(depth)
            layers = prod(
                len(entry.choice.options)
                for entry in self.fields.values()
                if isinstance(entry, PerLayer) and entry.depth == depth
            )
            independent = independent // len(depths) * sum(layers**d for d in depths)
        return independent

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the fields or their options."""
        fields = json.dumps(self.fields, default=asdict)
        return blake2b(fields.encode(), digest_size=8).hexdigest()

    def decode(self, options: Sequence[int] | np.ndarray) -> Architecture:
        """The architecture of one option number per decision; those of absent layers are ignored."""
        chosen = iter(options.tolist() if isinstance(options, np.ndarray) else options)
        fields: dict[str, Any] = {}
        for name, is_list, depth, options_of_positions in self._layout:
            values = [one[0] if len(one) == 1 else one[next(chosen)] for one in options_of_positions]
            fields[name] = tuple(values[: None if depth is None else fields[depth]]) if is_list else values[0]
        return self.canonical(Architecture.of_frozen(fields))

    def encode(self, architecture: Architecture) -> list[int]:
        """One option number per decision, -1 for layers and blocks that the architecture lacks.

        Raises:
            SpaceError: A value is not among its options.
        """
        self._check_shape(architecture)
        numbers = []
        for name, i, choice in self._slots:
            value: Any = architecture[name]
            if i is not None:
                if i >= len(value):
                    if len(choice.options) > 1:
                        numbers.append(-1)
                    continue
                value = value[i]
                if value == 0 and name in self.block_fields[1:] and self._is_absent(architecture, i):
                    if len(choice.options) > 1:
                        numbers.append(-1)
                    continue
            number = choice.number(value)
            if number is None:
                where = name if i is None else f"{name}[{i}]"
                raise SpaceError(f"space {self.name!r}: {where} is {value!r}, not one of {list(choice.options)}")
            if len(choice.options) > 1:
                numbers.append(number)
        return numbers

    # -- operations that searchers use ---------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every decision uniformly; a block that may be absent is so with probability 1/2."""
        return self.decode(self.drawn_options(rng, 1)[0])

    def drawn_options(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """Option numbers of so many draws, (number, decisions), each distributed as those of `sample`."""
        drawn = rng.integers(0, self._num_options, size=(number, len(self._num_options)))
        for i, absent in self.removable:
            is_absent = rng.random(number) < 0.5
            others = (absent + rng.integers(1, self._num_options[i], size=number)) % self._num_options[i]
            drawn[:, i] = np.where(is_absent, absent, np.where(drawn[:, i] == absent, others, drawn[:, i]))
        return drawn

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Change one decision that has an effect, chosen uniformly; layers that appear are drawn."""
        numbers = np.array(self.encode(architecture))
        active = np.flatnonzero(numbers >= 0)
        if not len(active):
            return architecture  # a space of one architecture
        at = rng.choice(active)
        step = rng.integers(1, self._num_options[at])
        numbers[at] = (numbers[at] + step) % self._num_options[at]
        return self.decode(np.where(numbers >= 0, numbers, rng.integers(0, self._num_options)))

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """Take each decision from either parent; a layer that only one parent has comes from that one."""
        a, b = np.array(self.encode(first)), np.array(self.encode(second))
        if not len(a):
            return first
        numbers = np.where(rng.random(len(a)) < 0.5, a, b)
        return self.decode(np.where(numbers >= 0, numbers, np.maximum(a, b)))

    def largest(self) -> Architecture:
        """The architecture with the largest option of every decision, of which all others may be parts.

        Raises:
            SpaceError: A decision has options that are no numbers, so that none is the largest.
        """
        return self._of_extreme_options(max, "largest")

    def smallest(self) -> Architecture:
        """The architecture with the smallest option of every decision; blocks that may be absent are.

        Raises:
            SpaceError: A decision has options that are no numbers, so that none is the smallest.
        """
        return self._of_extreme_options(min, "smallest")

    # -- reading and checking ------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> Architecture:
        """The form in which equal networks are equal: all fields of a block are 0 if one of them is.

        Args:
            architecture: An architecture; what has not the fields of the space is returned as it is.
        """
        if not self.block_fields:
            return architecture
        values = [architecture.get(name) for name in self.block_fields]
        lists = [value for value in values if isinstance(value, tuple)]
        if not lists or len(lists) < len(values) or len(set(map(len, lists))) > 1:
            return architecture
        blocks = [[0] * len(block) if any(map(is_absent, block)) else block for block in zip(*lists, strict=True)]
        return architecture.replace(**dict(zip(self.block_fields, zip(*blocks, strict=True), strict=True)))

    def validate(self, architecture: Architecture) -> None:
        """Accept everything that can be built, also what would not be drawn.

        Raises:
            SpaceError: Fields are missing, unknown, of the wrong length, or outside the grammar.
        """
        self._check_shape(architecture)
        if self.grammar is None:
            self.encode(architecture)
        else:
            self.grammar(architecture)

    def __contains__(self, architecture: Architecture) -> bool:
        try:
            self.encode(architecture)
        except SpaceError:
            return False
        return True

    def read(self, source: str | Mapping[str, Any]) -> Architecture:
        """An architecture from a mapping, JSON, the space's own text, or a published name; checked by `validate`.

        Raises:
            SpaceError: It cannot be read, or not be built.
        """
        try:
            architecture = self.canonical(self._parsed(source))
            self.validate(architecture)
        except SpaceError:
            raise
        except (TypeError, ValueError, KeyError) as error:
            raise SpaceError(f"space {self.name!r}: cannot read {source!r}: {error}") from error
        return architecture

    def text(self, architecture: Architecture) -> str:
        """The space's own text for an architecture, or JSON if it has none."""
        return self.format(architecture) if self.format is not None else architecture.to_json()

    def _parsed(self, source: str | Mapping[str, Any]) -> Architecture:
        if isinstance(source, Architecture):
            return source
        if not isinstance(source, str):
            return Architecture(source)
        return parsed(source, self.name, self.named, self.parse)

    def _check_shape(self, architecture: Architecture) -> None:
        if set(architecture) != set(self.fields):
            raise SpaceError(
                f"space {self.name!r}: an architecture has the fields {', '.join(self.fields)}; "
                f"got {', '.join(architecture) or 'none'}"
            )
        for name, entry in self.fields.items():
            value = architecture[name]
            if isinstance(entry, Choice):
                continue
            if isinstance(entry, PerBlock):
                places = as_tuple(architecture[entry.depth])
                length: Any = sum(number for number in places if isinstance(number, int))
            else:
                length = architecture[entry.depth] if isinstance(entry, PerLayer) else len(entry)
            if not isinstance(value, tuple) or len(value) != length:
                raise SpaceError(f"space {self.name!r}: {name} needs a list of {length} values, got {value!r}")

    def _of_extreme_options(self, choose: Callable[..., Any], which: str) -> Architecture:
        numbers = []
        for name, options in self.decisions:
            if not all(isinstance(option, int | float) and not isinstance(option, bool) for option in options):
                raise SpaceError(f"space {self.name!r}: {name} has no {which} option among {list(options)}")
            numbers.append(options.index(choose(options)))
        return self.decode(numbers)

    def _is_absent(self, architecture: Architecture, i: int) -> bool:
        """Whether no block stands in a place."""
        first: Any = architecture[self.block_fields[0]]
        return i < len(first) and is_absent(first[i])

    def _num_places(self, depth: str) -> int:
        entry = self.fields[depth]
        options = [choice.options for choice in entry] if isinstance(entry, tuple) else []
        numbers = [one[0] for one in options if len(one) == 1 and isinstance(one[0], int)]
        if not numbers or len(numbers) < len(options):
            raise SpaceError(f"space {self.name!r}: {depth!r} must be a list of choices of one integer each")
        return sum(int(number) for number in numbers if isinstance(number, int))

    def _depth_options(self, depth: str) -> tuple[int, ...]:
        entry = self.fields[depth]
        if not isinstance(entry, Choice):
            raise SpaceError(f"space {self.name!r}: {depth!r} must be one choice of integers")
        return tuple(int(option) for option in entry.options if isinstance(option, int))

    def _max_depth(self, depth: str) -> int:
        return max(self._depth_options(depth))
