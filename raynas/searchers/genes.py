"""Genes of architectures: mutation and crossover gene by gene, and random draws within a band of cost (ViT-ResNAS).

A gene is a decision of the space, and for a block that may be absent one more, its existence. Genes of absent blocks
and layers have no effect, so an architecture does not have them (its canonical form); where a block or layer comes
into being, they are drawn uniformly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raynas.searchers.admission import Admission
from raynas.space.architecture import Architecture
from raynas.space.fields import PerBlock, PerLayer
from raynas.space.search_space import Decision, SearchSpace


class Genes:
    """The genes of a space's architectures.

    Args:
        space: The space whose decisions are the genes.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._num_options = np.array([len(decision.options) for decision in space.decisions], dtype=np.int64)
        self._absent = self._num_options.copy()  # the option that says so; one past the last where a block stays
        for i, number in space.removable:
            self._absent[i] = number
        self._is_removable = self._absent < self._num_options

    def mutated(self, architecture: Architecture, probability: float, rng: np.random.Generator) -> Architecture:
        """An architecture of which each gene mutates with some probability, independently.

        A decision is redrawn uniformly among its options, and so may stay as it is; existence is flipped.
        """
        numbers = np.array(self._space.encode(architecture), dtype=np.int64)
        was_absent = numbers == self._absent
        stays = (rng.random(len(numbers)) >= probability) & (numbers >= 0) & ~was_absent
        is_flipped = (rng.random(len(numbers)) < probability) & self._is_removable
        numbers = np.where(stays, numbers, self.all_present(rng))
        return self._space.decode(np.where(was_absent ^ is_flipped, self._absent, numbers))

    def crossed(
        self, first: Architecture, second: Architecture, probability: float, rng: np.random.Generator
    ) -> Architecture:
        """The first of two architectures, with each gene from the second with some probability.

        What only one of them has, such as the heads of a block that the other lacks, comes from that one.
        """
        a, b = (np.array(self._space.encode(one), dtype=np.int64) for one in (first, second))
        numbers = np.where(rng.random(len(a)) < probability, b, a)
        return self._space.decode(np.where(numbers >= 0, numbers, np.maximum(a, b)))

    def all_present(self, rng: np.random.Generator) -> np.ndarray:
        """An option number for each decision, (decisions,), drawn uniformly among those that leave no block out."""
        numbers = rng.integers(0, self._num_options - self._is_removable)
        return numbers + (numbers >= self._absent)

    def some_present(self, rng: np.random.Generator) -> np.ndarray:
        """The same, with each block that may be absent so with probability 1/2."""
        is_absent = (rng.random(len(self._absent)) < 0.5) & self._is_removable
        return np.where(is_absent, self._absent, self.all_present(rng))


class BoundedDraws:
    """Random architectures of which many are within bounds on costs, however narrow.

    Without bounds that are known before scoring, draws are uniform. Otherwise, as the source has it for its space:
    whatever has a value for each block or layer is at its largest, the rest is drawn uniformly; what is below a bound
    is given up, what is above one is reduced in random steps until it is not. A step takes one value of a block or
    layer to its next smaller option. After 100 steps, or once none is left, all values that are numbers take part, and
    blocks are removed too; in spaces without values for each block or layer, from the first step on. Where 32 draws in
    a row are below a bound, one starts with everything at its largest, so that bands near the top are found.

    Args:
        space: The space whose architectures are drawn.
        admits: Says whether an architecture meets the constraints on costs; only an `Admission` tells on which side of
            a band it is. None: all do.
    """

    num_first_steps = 100
    _most_below = 32

    def __init__(self, space: SearchSpace, admits: Callable[[Architecture], bool] | None) -> None:
        self._space = space
        self._admission = admits if isinstance(admits, Admission) else None
        self._genes = Genes(space)
        absent = dict(space.removable)
        repeated = {name for name, entry in space.fields.items() if isinstance(entry, PerBlock | PerLayer)}
        self._levels = [_levels(decision, absent.get(i)) for i, decision in enumerate(space.decisions)]
        self._is_repeated = [decision.name.partition("[")[0] in repeated for decision in space.decisions]
        self._absent = absent
        self._num_below = 0  # draws in a row

    def draw(self, rng: np.random.Generator) -> Architecture | None:
        """An architecture; None if this draw has come out below a bound, or cannot be reduced below another."""
        if self._admission is None:
            return self._space.decode(self._genes.some_present(rng))
        is_from_largest = self._num_below == self._most_below
        numbers = (self._genes.all_present(rng) if is_from_largest else self._genes.some_present(rng)).tolist()
        for i, levels in enumerate(self._levels):
            if levels and (is_from_largest or (self._is_repeated[i] and numbers[i] != self._absent.get(i))):
                numbers[i] = levels[-1]
        found = self._reduced(numbers, rng)
        self._num_below = self._num_below + 1 if found is None and not is_from_largest else 0
        return found

    def _reduced(self, numbers: list[int], rng: np.random.Generator) -> Architecture | None:
        """What random steps make of option numbers; None if they are below a bound, or cannot be reduced enough."""
        assert self._admission is not None
        is_new = True  # which blocks and layers there are
        step = 0
        while True:
            architecture = self._space.decode(numbers)
            violated = self._admission.violated(architecture)
            if not violated:
                return architecture
            if is_new:
                numbers = self._space.encode(architecture)  # -1 for what has no effect
            steps = self._steps(numbers, only_repeated=step < self.num_first_steps)
            if not steps or not all(bound.is_upper for bound in violated):
                return None
            i, number = steps[rng.integers(len(steps))]
            is_new = not self._is_repeated[i] or number == self._absent.get(i)
            numbers[i] = number
            step += 1

    def _steps(self, numbers: list[int], only_repeated: bool) -> list[tuple[int, int]]:
        """Decisions that have a smaller option, with its number."""
        steps = []
        for i, (number, levels) in enumerate(zip(numbers, self._levels, strict=True)):
            if number < 0 or number == self._absent.get(i) or number not in levels:
                continue
            if (at := levels.index(number)) > 0:
                steps.append((i, levels[at - 1]))
        if only_repeated and (first := [step for step in steps if self._is_repeated[step[0]]]):
            return first
        return steps + [(i, absent) for i, absent in self._absent.items() if numbers[i] != absent]


def _levels(decision: Decision, absent: int | None) -> list[int]:
    """The numbers of a decision's options from the smallest to the largest; none where some are no numbers."""
    options = {number: option for number, option in enumerate(decision.options) if number != absent}
    if any(isinstance(option, bool) or not isinstance(option, int | float) for option in options.values()):
        return []
    return sorted(options, key=lambda number: options[number])
