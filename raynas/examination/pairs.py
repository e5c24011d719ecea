"""Which pairs of nodes are measured, and which of them at once."""

from __future__ import annotations

from collections.abc import Sequence

MOST_PAIRS = 30
"""All ordered pairs of up to six nodes; of more nodes, each is measured with its neighbours alone."""


def chosen_pairs(nodes: int) -> list[tuple[int, int]]:
    """Ordered pairs of nodes, by number: the first one calls the second, and takes an object from there.

    All of them, or where those were more than `MOST_PAIRS`, each node with the next, so that each calls once and is
    called once.
    """
    if is_sample(nodes):
        return [(taker, (taker + 1) % nodes) for taker in range(nodes)]
    return [(taker, giver) for taker in range(nodes) for giver in range(nodes) if taker != giver]


def is_sample(nodes: int) -> bool:
    """Whether there are too many nodes for all pairs."""
    return nodes * (nodes - 1) > MOST_PAIRS


def rounds(pairs: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Pairs in rounds, so that no node is in two pairs of a round, and none waits for another's transfer."""
    found: list[list[tuple[int, int]]] = []
    for pair in pairs:
        fitting = (one for one in found if not {node for other in one for node in other} & set(pair))
        if (one := next(fitting, None)) is None:
            found.append([pair])
        else:
            one.append(pair)
    return found
