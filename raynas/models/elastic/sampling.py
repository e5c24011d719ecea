"""Which sub-networks of a supernet a step trains.

That is multi-architectural sampling (Liao 2021, arXiv 2109.00642), the sandwich rule (Yu 2019, arXiv 1903.05134), or
one sub-network for all images. The images of a step are cut into blocks, and each block trains several sub-networks at
once; those that are drawn differ in every dimension that has enough choices. What a block draws follows from (seed,
step, block) alone: so it is the same whoever computes the block, and the blocks of a large step, over many workers,
train many sub-networks.
"""

from __future__ import annotations

from collections.abc import Collection
from math import floor
from typing import Literal

import numpy as np

from raynas.errors import ConfigError
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.fields import PerBlock, PerLayer
from raynas.space.search_space import SearchSpace

Strategy = Literal["multi", "single", "sandwich"]


def num_allowed(num_choices: int, epoch: int, warmup_epochs: int) -> int:
    """How many of a dimension's choices, the largest first, are drawn in an epoch.

    Args:
        num_choices: How many there are.
        epoch: The number of the epoch, from 0, in which only the largest is drawn.
        warmup_epochs: The number of the epoch from which on all are; 0: all from the start.
    """
    if not warmup_epochs:
        return num_choices
    return min(1 + floor(epoch * (num_choices - 1) / warmup_epochs), num_choices)


class SubnetSampler:
    """Draws the sub-networks that blocks of images train.

    Every decision of the space is drawn by itself: its allowed choices are listed again and again, as often as there
    are sub-networks to draw, and dealt out in random order. Whether a block that may be absent is there counts as a
    decision of four choices, two of which are yes: so it is left out in the last third of the warm-up at the earliest.

    Args:
        space: The space of the supernet.
        seed: The seed of the training.
        strategy: "multi": each block of images draws sub-networks of its own; "single": all of a step train one;
            "sandwich": each block trains the largest, the smallest, and others that it draws.
        per_block: How many sub-networks a block of images trains, with the largest and the smallest.
        warmup_epochs: Epochs over which smaller choices are let in one by one; 0: all are there from the start.
        shared: Names of fields that all sub-networks that a step draws have in common, such as the widths.

    Raises:
        ConfigError: A number is not positive, or does not go with the strategy; the space has no field of a name.
        SpaceError: A sandwich is asked for, and options of the space are no numbers.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        *,
        strategy: Strategy = "multi",
        per_block: int = 2,
        warmup_epochs: int = 30,
        shared: Collection[str] = (),
    ) -> None:
        if per_block < 1 or warmup_epochs < 0:
            raise ConfigError(
                f"per_block is {per_block} and warmup_epochs {warmup_epochs}; at least 1 and 0 are needed"
            )
        if strategy == "sandwich" and per_block < 3:
            raise ConfigError(
                "sampling sandwich trains the largest sub-network, the smallest and random ones: subnets is "
                f"{per_block}, at least 3 are needed"
            )
        if strategy == "sandwich" and warmup_epochs:
            raise ConfigError(
                f"choice_warmup_epochs is {warmup_epochs}; with sampling sandwich, which trains the smallest "
                "sub-network from the start, it must be 0"
            )
        if unknown := sorted(set(shared) - space.fields.keys()):
            raise ConfigError(f"space {space.name!r} has no field {', '.join(unknown)} that sub-networks may share")
        self._space, self._seed, self._strategy = space, seed, strategy
        self._per_block, self._warmup = per_block, warmup_epochs
        self._ends = [space.largest(), space.smallest()] if strategy == "sandwich" else []
        self._absent = dict(space.removable)
        self._orders = [self._order(i) for i in range(len(space.decisions))]
        self._is_shared = [decision.name.partition("[")[0] in shared for decision in space.decisions]

    def drawn(self, epoch: int, step: int, block: int) -> list[Architecture]:
        """The sub-networks of a block; the image in place i of the step is for that of number i modulo their count.

        Of a sandwich, the largest is the first and the smallest the second.

        Args:
            epoch: The number of the epoch, from 0.
            step: The number of the step over all epochs, from 0.
            block: The number of the block in the step, from 0.
        """
        count = 1 if self._strategy == "single" else self._per_block - len(self._ends)
        of_step = np.random.default_rng(seed_from(self._seed, "sub-networks", step))
        of_block = np.random.default_rng(seed_from(self._seed, "sub-networks", step, block))
        columns = []
        for i, order in enumerate(self._orders):
            is_shared = self._strategy == "single" or self._is_shared[i]
            rng, different = (of_step, 1) if is_shared else (of_block, count)
            options = _dealt(order[: num_allowed(len(order), epoch, self._warmup)], different, rng)
            if i in self._absent:
                is_there = _dealt([1, 1, 0, 0][: num_allowed(4, epoch, self._warmup)], different, rng)
                options = np.where(is_there, options, self._absent[i])
            columns.append(np.broadcast_to(options, count))
        drawn = [self._space.decode(numbers) for numbers in np.array(columns, np.int64).reshape(-1, count).T]
        return [*self._ends, *drawn]

    def in_play(self, epoch: int) -> str:
        """Which choices an epoch draws from, field by field, such as "width 96 88 / 192 176; num_heads 2 of 4".

        Args:
            epoch: The number of the epoch, from 0.
        """
        found = []
        for name, entry in self._space.fields.items():
            own = [i for i, decision in enumerate(self._space.decisions) if decision.name.partition("[")[0] == name]
            allowed = [self._orders[i][: num_allowed(len(self._orders[i]), epoch, self._warmup)] for i in own]
            if not own:
                continue
            if isinstance(entry, PerLayer | PerBlock):
                most, drawn = max((len(self._orders[i]), len(options)) for i, options in zip(own, allowed, strict=True))
                found.append(f"{name} {drawn} of {most}")
            else:
                texts = [
                    " ".join(str(self._space.decisions[i].options[option]) for option in options)
                    for i, options in zip(own, allowed, strict=True)
                ]
                found.append(f"{name} {' / '.join(texts)}")
        if self._absent:
            found.append("blocks may be absent" if num_allowed(4, epoch, self._warmup) > 2 else "all blocks there")
        return "; ".join(found)

    def _order(self, decision: int) -> list[int]:
        """Numbers of a decision's options, the largest first; those that are no numbers stay in their order."""
        options = self._space.decisions[decision].options
        numbers = [i for i in range(len(options)) if i != self._absent.get(decision)]
        if all(isinstance(option, int | float) for option in options):
            numbers.sort(key=lambda i: options[i], reverse=True)  # type: ignore[arg-type, return-value]
        return numbers


def _dealt(choices: list[int], count: int, rng: np.random.Generator) -> np.ndarray:
    """As many of some choices, none of which comes again before all have come."""
    rounds = -(-count // len(choices))
    return rng.permutation(np.tile(choices, rounds))[:count]
