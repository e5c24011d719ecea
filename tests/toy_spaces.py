"""Small search spaces of every kind, and problems on them whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from raynas.searchers.base import Searcher
from raynas.space.architecture import Architecture
from raynas.space.fields import Choice, PerBlock, PerLayer
from raynas.space.growth import Growth
from raynas.space.registered import spaces
from raynas.space.results import Candidate, Constraint, Evaluation, Objective, Status, violations
from raynas.space.search_space import SearchSpace

single_decision = SearchSpace("toy-single", {"embed_dim": Choice(16, 32, 64)}, model="none")

two_architectures = SearchSpace("toy-two", {"depth": Choice(1), "is_wide": Choice(False, True)}, model="none")

one_architecture = SearchSpace("toy-one", {"depth": Choice(2), "sizes": (Choice(4), Choice(8))}, model="none")

# 4 stages as in As-ViT: 12 decisions, 4,556,250 architectures.
stages = SearchSpace(
    "toy-stages",
    {
        "kernel": (Choice(4, 5, 6, 7, 8), Choice(2, 3, 4), Choice(2, 3, 4), Choice(2, 3, 4)),
        "split": (Choice(2, 4, 8), Choice(1, 2, 4), Choice(1, 2), Choice(1)),
        "expansion": (Choice(2, 3, 4, 5, 6),) * 4,
        "depth": (Choice(1),) * 4,
        "num_heads": Choice(16, 32, 64),
        "embed_dim": Choice(32),
    },
    model="none",
)

# 1 to 3 layers with two choices each: 2 x (6 + 36 + 216) architectures from 2 x 3 x 216 combinations of decisions.
layers = SearchSpace(
    "toy-layers",
    {
        "activation": Choice("gelu", "relu"),
        "depth": Choice(1, 2, 3),
        "num_heads": PerLayer(Choice(3, 4)),
        "mlp_ratio": PerLayer(Choice(2, 3.5, 4)),
    },
    model="none",
)

# The joint choice of a pair, two numbers of layers, one of which can be 0, and a field that is fixed.
two_depths = SearchSpace(
    "toy-two-depths",
    {
        "patch": Choice((8, 8), (16, 4)),
        "depth": Choice(2, 4),
        "extra": Choice(0, 1),
        "window": PerLayer(Choice(7, 14)),
        "drop": PerLayer(Choice(0.0, 0.1), depth="extra"),
        "qkv_bias": Choice(True),
    },
    model="none",
)

# Two stages of two places and of one; the second place of each may be empty: 2 x (6 x 7) x (6 x 7) x 6 architectures.
blocks = SearchSpace(
    "toy-blocks",
    {
        "width": Choice(8, 16),
        "depth": (Choice(2), Choice(3)),
        "num_heads": PerBlock((Choice(1, 2), Choice(1, 2, 0), Choice(1, 2), Choice(1, 2, 0), Choice(2, 4))),
        "mlp_units": PerBlock((Choice(4, 8, 12),) * 4 + (Choice(4, 8, 16),)),
    },
    model="none",
)

# Two stages that grow one by one, and layers that grow with their values.
growing_stages = SearchSpace(
    "toy-growing-stages",
    {
        "activation": Choice("gelu", "relu"),
        "depth": (Choice(*range(1, 13)),) * 2,
        "embed_dim": Choice(*range(8, 200)),
    },
    model="none",
    growth=Growth(),
)
growing_layers = SearchSpace(
    "toy-growing-layers",
    {
        "activation": Choice("gelu", "relu"),
        "depth": Choice(*range(1, 9)),
        "width": Choice(*range(3, 100, 3)),
        "mlp_ratio": PerLayer(Choice(2, 3.5, 4)),
    },
    model="none",
    growth=Growth(width="width", unit=3),
)

all_spaces = (
    single_decision,
    two_architectures,
    one_architecture,
    stages,
    layers,
    two_depths,
    blocks,
    growing_stages,
    growing_layers,
)

Score = Callable[[Architecture], dict[str, float]]


def num_at_last_option(space: SearchSpace) -> Score:
    """A score named `score`: how many decisions take their last option."""
    best = [len(decision.options) - 1 for decision in space.decisions]
    return lambda architecture: {"score": float(sum(map(int.__eq__, space.encode(architecture), best)))}


def evenly_spaced(space: SearchSpace) -> Score:
    """A score named `score`: the sum over decisions of the option number on a scale from 0 to 1."""
    last = np.array([len(decision.options) - 1 for decision in space.decisions])
    return lambda architecture: {"score": float((np.array(space.encode(architecture)) / last).sum())}


def evaluated(candidate: Candidate, score: Score, constraints: tuple[Constraint, ...] = ()) -> Evaluation:
    scores = score(candidate.architecture)
    return Evaluation(candidate.id, candidate.architecture, Status.OK, scores, violations(constraints, scores))


def searched(
    searcher: Searcher,
    score: Score,
    budget: int,
    window: int | None = None,
    constraints: tuple[Constraint, ...] = (),
) -> list[Evaluation]:
    """Run the search loop: candidate k is asked when max(0, k - window + 1) results have been told, in order."""
    window = window or type(searcher).default_window  # type: ignore[attr-defined]
    asked: list[Candidate] = []
    told: list[Evaluation] = []
    while len(told) < budget:
        while len(asked) < min(budget, len(told) + window):
            new = searcher.ask(1)
            if not new:
                break
            asked += new
        if len(asked) == len(told):
            break
        told.append(evaluated(asked[len(told)], score, constraints))
        searcher.tell(told[-1:])
    return told


def best_score(evaluations: Iterable[Evaluation], name: str = "score") -> float:
    return max((e.scores[name] for e in evaluations if e.is_feasible), default=-np.inf)


maximize_score = (Objective("score"),)


# 15,625 architectures, few enough to try them all.
grid = SearchSpace("toy-grid", {"level": (Choice(0, 1, 2, 3, 4),) * 6}, model="none")

_GAINS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
_COSTS = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
GRID_BOUND = Constraint("cost", "<=", 20)


def gain_and_cost(architecture: Architecture) -> dict[str, float]:
    """`score` grows with the levels of `grid`, and `cost` faster."""
    levels = np.array(architecture["level"], dtype=float)
    return {"score": float(_GAINS @ levels), "cost": float(_COSTS @ levels**1.5)}


def all_gains_and_costs() -> np.ndarray:
    """`score` and `cost` of every architecture of `grid`, (15625, 2)."""
    levels = np.stack(np.meshgrid(*[np.arange(5.0)] * 6, indexing="ij"), axis=-1).reshape(-1, 6)
    return np.stack([levels @ _GAINS, levels**1.5 @ _COSTS], axis=1)


# ViT-Res networks of a few thousand parameters, for supernets.
_NANO = spaces.get("vit-res-nano")
small_res = SearchSpace(
    "small-res",
    {
        "width": (Choice(16, 8), Choice(24, 16), Choice(32, 24)),
        "depth": (Choice(1), Choice(2), Choice(1)),
        "head_size": (Choice(4), Choice(8), Choice(8)),
        "num_heads": PerBlock((Choice(2, 1), Choice(3, 2), Choice(3, 2, 0), Choice(4, 2))),
        "mlp_units": PerBlock((Choice(24, 16), Choice(32, 16), Choice(32, 16), Choice(48, 24))),
    },
    model="vit-res-nano",
    grammar=_NANO.grammar,
    num_params=_NANO.num_params,
    macs=_NANO.macs,
    uniform=_NANO.uniform,
    img_size_multiple=16,
)
