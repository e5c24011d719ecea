"""Evolution against the published rules, in slow obvious forms, on the spaces of ViT-ResNAS and others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from toy_spaces import best_score, blocks, evaluated, maximize_score, num_at_last_option, one_architecture, stages

from raynas.errors import ConfigError
from raynas.searchers import Evolution, RandomSearch
from raynas.searchers.admission import admission
from raynas.searchers.base import Searcher
from raynas.searchers.genes import BoundedDraws, Genes
from raynas.searchers.registered import searchers
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.results import Candidate, Constraint, Evaluation, Status, parse_band
from raynas.space.search_space import SearchSpace

TINY, SMALL, NANO = (spaces.get(f"vit-res-{name}") for name in ("tiny", "small", "nano"))
LIMITS = {"vit-resnas-tiny": 1.7944e9, "vit-resnas-small": 2.9e9, "vit-resnas-medium": 4.6e9}
FEW = {"population": 40, "parents": 10, "mutants": 10, "children": 10}


def published_macs(architecture: Architecture) -> int:
    """Multiply-adds of a ViT-Res at 224 pixels with 1000 classes, term by term as published."""
    a: Any = architecture
    total = 112**2 * (3 * 24 * 9 + 2 * 24 * 24 * 9) + 256 * 49 * 24 * a["width"][0]
    at = 0
    for stage, tokens in enumerate((257, 65, 17)):
        width = a["width"][stage]
        if stage:
            before = a["width"][stage - 1]
            total += (tokens - 1) * width * 9 * before + before * width
        for _ in range(a["depth"][stage]):
            inner, units = a["num_heads"][at] * a["head_size"][stage], a["mlp_units"][at]
            if units:
                total += tokens * (4 * inner * width + 2 * width * units) + 2 * tokens**2 * inner
            at += 1
    return int(total + 1000 * a["width"][2])


def bounds_of(limit: float) -> tuple[Constraint, Constraint]:
    return parse_band(f"macs:{0.975 * limit!r}:{limit!r}")


def within(space: SearchSpace, bounds: tuple[Constraint, ...], **settings: Any) -> Evolution:
    size = {"img_size": space.search_img_size, "num_classes": 1000}
    return Evolution(space, maximize_score, bounds, admits=admission(space, bounds, **size), **settings)


def macs_of(space: SearchSpace, architecture: Architecture) -> int:
    assert space.macs is not None
    return space.macs(architecture, space.search_img_size, 1000)


def weighted(space: SearchSpace) -> Any:
    """A score that grows with every number that an architecture has, each field with a weight of its own."""
    names = [name for name in space.fields if name not in ("name", "activation")]
    weights = dict(zip(names, 1 + np.random.default_rng(5).random(len(names)), strict=True))

    def score(architecture: Architecture) -> dict[str, float]:
        sums = {name: float(np.sum(np.array(architecture[name], dtype=float))) for name in names}
        return {"score": sum(weights[name] * np.log1p(total) for name, total in sums.items())}

    return score


def asked(searcher: Searcher, score: Any, budget: int, window: int = 150, seed: int | None = None) -> list[Candidate]:
    """What is asked in a run with some candidates in flight; results come in random order where a seed is given."""
    rng = None if seed is None else np.random.default_rng(seed)
    found: list[Candidate] = []
    waiting: list[Candidate] = []
    while len(found) < budget or waiting:
        new = searcher.ask(min(window - len(waiting), budget - len(found)))
        found += new
        waiting += new
        if not waiting:
            break
        candidate = waiting.pop(0 if rng is None else int(rng.integers(len(waiting))))
        searcher.tell([evaluated(candidate, score)])
    return found


def test_its_defaults_are_the_published_numbers() -> None:
    assert searchers.get("evolution") is Evolution
    searcher = Evolution(TINY, maximize_score)
    sizes = []
    while sum(sizes) < 3350:
        new = searcher.ask(10_000)
        assert searcher.ask(1) == []  # until all of a generation are told
        sizes.append(len(new))
        searcher.tell([Evaluation(one.id, one.architecture, scores={"score": float(one.id % 97)}) for one in new])
    assert sizes == [500] + [150] * 19


@pytest.mark.slow
def test_the_published_search_stays_in_its_band_and_never_repeats() -> None:
    limit = 1.7e8
    found = asked(within(NANO, bounds_of(limit)), weighted(NANO), 3350)
    assert [one.id for one in found] == list(range(3350))
    assert len({one.architecture for one in found}) == 3350
    assert all(0.975 * limit <= macs_of(NANO, one.architecture) <= limit for one in found)
    assert all(one.architecture in NANO for one in found)


@pytest.mark.parametrize("name", LIMITS)
def test_published_networks_and_what_is_asked_lie_in_the_published_bands(name: str) -> None:
    space, limit = (TINY if name.endswith("tiny") else SMALL), LIMITS[name]
    network = space.named[name]
    assert network in space
    found = [network, *(one.architecture for one in asked(within(space, bounds_of(limit), **FEW), weighted(space), 80))]
    assert len(set(found)) == 81
    assert all(0.975 * limit <= published_macs(one) <= limit for one in found)


@pytest.mark.parametrize("name", ["vit-res-tiny", "vit-res-nano", "vit", "autoformer-tiny", "as-vit", "pit-tiny"])
def test_it_searches_any_space_in_a_band(name: str) -> None:
    space, rng = spaces.get(name), np.random.default_rng(0)
    low, high = np.quantile([macs_of(space, space.sample(rng)) for _ in range(300)], [0.4, 0.6]).tolist()
    searcher = within(space, parse_band(f"macs:{low!r}:{high!r}"), **FEW)
    found = asked(searcher, num_at_last_option(space), 90)
    assert len({one.architecture for one in found}) == len(found) >= 60
    assert all(one.architecture in space and low <= macs_of(space, one.architecture) <= high for one in found)


def test_a_narrow_band_of_a_small_space_is_searched_to_its_end() -> None:
    space = spaces.get("vit")
    options = [range(len(decision.options)) for decision in space.decisions]
    everything = {space.decode(numbers) for numbers in itertools.product(*options)}
    bounds = parse_band("macs:1.9e9:2.2e9")
    expected = {one for one in everything if 1.9e9 <= macs_of(space, one) <= 2.2e9}
    searcher = within(space, bounds, **{**FEW, "population": 8})
    found = asked(searcher, num_at_last_option(space), 630)
    assert 10 < len(expected) == len(found) and {one.architecture for one in found} == expected
    assert searcher.ask(5) == [] == searcher.ask(1)


@pytest.mark.slow
@pytest.mark.parametrize("band", ["macs:1:2", "macs:1e12:2e12"])
def test_nothing_is_asked_where_nothing_is_in_the_band(band: str) -> None:
    assert within(NANO, parse_band(band)).ask(3) == []


def test_of_a_space_of_one_architecture_it_is_asked_once() -> None:
    assert len(asked(Evolution(one_architecture, maximize_score), num_at_last_option(one_architecture), 5)) == 1


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_what_is_asked_depends_neither_on_the_window_nor_on_the_order_of_results(window: int) -> None:
    bounds = bounds_of(1.7e8)
    first = asked(within(NANO, bounds, seed=3, **FEW), weighted(NANO), 120)
    assert asked(within(NANO, bounds, seed=3, **FEW), weighted(NANO), 120, window, seed=window) == first
    assert asked(within(NANO, bounds, seed=4, **FEW), weighted(NANO), 120) != first


def test_a_run_goes_on_where_it_stopped_once_its_results_are_told_again() -> None:
    bounds, score = bounds_of(1.7e8), weighted(NANO)
    whole = asked(within(NANO, bounds, **FEW), score, 130)
    for stopped in (13, 40, 75):
        again = within(NANO, bounds, **FEW)
        assert asked(again, score, stopped) == whole[:stopped]
        assert asked(again, score, 130 - stopped) == whole[stopped:]


def genes(space: SearchSpace, architecture: Architecture) -> list[int]:
    return space.encode(architecture)


def test_parents_are_the_best_of_the_whole_history() -> None:
    """Children alone, of two parents: what they have is of the first generation, as later ones are worse."""
    settings = {"population": 30, "parents": 2, "mutants": 0, "children": 5, "seed": 1}
    searcher = Evolution(stages, maximize_score, **settings)
    first = searcher.ask(30)
    scores = {one.id: float(value) for one, value in zip(first, np.random.default_rng(0).permutation(30), strict=True)}
    searcher.tell([Evaluation(one.id, one.architecture, scores={"score": scores[one.id]}) for one in first])
    a, b = (genes(stages, one.architecture) for one in sorted(first, key=lambda one: -scores[one.id])[:2])
    for _ in range(3):
        new = searcher.ask(5)
        for one in new:
            assert all(gene in pair for gene, *pair in zip(genes(stages, one.architecture), a, b, strict=True))
        searcher.tell([Evaluation(one.id, one.architecture, scores={"score": -1.0}) for one in new])


def test_failed_and_infeasible_results_are_no_parents() -> None:
    """Two of 30 are feasible, and the worst."""
    searcher = Evolution(stages, maximize_score, population=30, parents=9, mutants=0, children=8)
    first = searcher.ask(30)
    results = [Evaluation(one.id, one.architecture, scores={"score": 100.0 + one.id}) for one in first]
    told = [
        Evaluation(one.id, one.architecture, Status.FAILED, error="does not work")
        if one.id % 2
        else Evaluation(one.id, one.architecture, scores=one.scores, violations={"memory<=1": 1.0})
        for one in results
    ]
    told[4:6] = [Evaluation(one.id, one.architecture, scores={"score": float(one.id)}) for one in results[4:6]]
    searcher.tell(told)
    a, b = (genes(stages, one.architecture) for one in first[4:6])
    for one in searcher.ask(8):
        assert all(gene in pair for gene, *pair in zip(genes(stages, one.architecture), a, b, strict=True))


def test_without_any_feasible_result_it_draws_on() -> None:
    searcher = Evolution(stages, maximize_score, **FEW)
    first = searcher.ask(40)
    searcher.tell([Evaluation(one.id, one.architecture, Status.FAILED, error="no") for one in first])
    assert len({one.architecture for one in [*first, *searcher.ask(100)]}) == 60


def rate(hits: list[bool]) -> float:
    return float(np.mean(hits))


def sigmas(hits: list[bool], expected: float) -> float:
    """How far a rate is from what is expected, in standard deviations."""
    return abs(rate(hits) - expected) / np.sqrt(expected * (1 - expected) / len(hits))


def existence(architecture: Architecture) -> list[bool]:
    a: Any = architecture
    return [a["num_heads"][i] > 0 for i in range(1, 18, 2)]  # the places that may be empty


@pytest.mark.parametrize("probability", [0.3, 0.05])
def test_each_gene_mutates_with_the_probability_asked_for(probability: float) -> None:
    rng, mutation = np.random.default_rng(1), Genes(TINY)
    flips: list[bool] = []
    changes: dict[int, list[bool]] = {5: [], 4: [], 7: []}  # by the number of options: widths, heads, MLP units
    for _ in range(600):
        parent: Any = TINY.sample(rng)
        mutant: Any = mutation.mutated(parent, probability, rng)
        assert mutant in TINY
        flips += [one != other for one, other in zip(existence(parent), existence(mutant), strict=True)]
        changes[5] += [one != other for one, other in zip(parent["width"], mutant["width"], strict=True)]
        for options, field in ((4, "num_heads"), (7, "mlp_units")):
            changes[options] += [parent[field][i] != mutant[field][i] for i in range(0, 18, 2)]  # always there
    assert sigmas(flips, probability) < 3
    for options, hits in changes.items():
        assert sigmas(hits, probability * (options - 1) / options) < 3  # redrawn, it may stay as it is


def test_blocks_that_come_into_being_are_drawn_uniformly() -> None:
    rng = np.random.default_rng(2)
    mutants = [Genes(TINY).mutated(TINY.smallest(), 1.0, rng) for _ in range(500)]  # all existence is flipped
    for field, options in (("num_heads", (3, 4, 5, 6)), ("mlp_units", (384, 448, 512, 576, 640, 704, 768))):
        values: list[Any] = [one[field][1] for one in mutants]  # type: ignore[index]
        assert set(values) == set(options)
        assert all(sigmas([value == option for value in values], 1 / len(options)) < 3.5 for option in options)


@pytest.mark.parametrize("probability", [0.5, 0.2])
def test_each_gene_is_the_second_parents_with_the_probability_asked_for(probability: float) -> None:
    rng = np.random.default_rng(3)
    first, second = TINY.smallest(), TINY.largest()  # without the blocks that may be absent, and with all of them
    taken: list[bool] = []
    for _ in range(400):
        child: Any = Genes(TINY).crossed(first, second, probability, rng)
        assert child in TINY
        taken += [value == largest for value, largest in zip(child["width"], (256, 512, 1024), strict=True)]
        taken += existence(child)
        taken += [child["mlp_units"][i] == second["mlp_units"][i] for i in range(0, 18, 2)]  # type: ignore[index]
        # What only one parent has comes from that one.
        assert all(child["num_heads"][i] in (0, second["num_heads"][i]) for i in range(1, 18, 2))  # type: ignore[index]
    assert sigmas(taken, probability) < 3


def slow_individuals(limit: float, rng: np.random.Generator) -> Iterator[tuple[list[int], list[list[int]]]]:
    """The published random individual of vit-res-tiny: widths, and option numbers (heads, MLP units) of each block."""
    widths = ((256, 224, 192, 176, 160), (512, 448, 384, 352, 320), (1024, 896, 768, 704, 640))
    heads = ((6, 5, 4, 3), (12, 10, 8, 6), (12, 10, 8, 6))
    units = (range(768, 383, -64), range(1536, 767, -128), range(3072, 1535, -256))

    def macs(width: list[int], levels: list[list[int]]) -> int:
        present = [not level or level[0] >= 0 for level in levels]
        return published_macs(
            Architecture(
                {
                    "width": tuple(widths[s][width[s]] for s in range(3)),
                    "depth": (6, 6, 6),
                    "head_size": (32, 48, 64),
                    "num_heads": tuple(heads[i // 6][h] * present[i] for i, (h, _) in enumerate(levels)),
                    "mlp_units": tuple(units[i // 6][u] * present[i] for i, (_, u) in enumerate(levels)),
                }
            )
        )

    while True:
        width = rng.integers(5, size=3).tolist()
        levels = [[0, 0] if i % 2 == 0 or rng.random() < 0.5 else [-1, -1] for i in range(18)]
        if macs(width, levels) < 0.975 * limit:
            continue
        for step in itertools.count():
            if macs(width, levels) <= limit:
                break
            steps: list[Any] = [
                (levels[i], part) for i in range(18) for part in (0, 1) if 0 <= levels[i][part] < (3, 6)[part]
            ]
            if step >= 100 or not steps:
                steps += [(width, s) for s in range(3) if width[s] < 4]
                steps += [(levels, i) for i in range(1, 18, 2) if levels[i][0] >= 0]
            where, at = steps[rng.integers(len(steps))]
            where[at] = [-1, -1] if where is levels else where[at] + 1
        if macs(width, levels) >= 0.975 * limit:
            yield width, levels


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1.7944e9, 1.25e9])
def test_random_individuals_are_as_published(limit: float) -> None:
    """Moments of draws beside those of the published rule, written out; at the lower limit 100 steps do not suffice."""
    size, rng = {"img_size": 224, "num_classes": 1000}, np.random.default_rng(0)
    draws = BoundedDraws(TINY, admission(TINY, bounds_of(limit), **size))
    drawn: list[list[float]] = []
    while len(drawn) < 120:
        one: Any = draws.draw(rng)
        if one is not None:
            assert 0.975 * limit <= published_macs(one) <= limit
            present = [i for i in range(18) if one["num_heads"][i]]
            levels = [TINY.fields["mlp_units"].choices[i].options.index(one["mlp_units"][i]) for i in present]  # type: ignore[union-attr]
            drawn.append([one["width"][0], one["width"][2], len(present), float(np.mean(levels))])
    expected: list[list[float]] = []
    for width, levels in itertools.islice(slow_individuals(limit, np.random.default_rng(1)), 120):
        units = [level[1] for level in levels if level[0] >= 0]
        sizes = [(256, 224, 192, 176, 160)[width[0]], (1024, 896, 768, 704, 640)[width[2]]]
        expected.append([*sizes, len(units), float(np.mean(units))])
    a, b = np.array(drawn), np.array(expected)
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 120)
    assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 3.5 * error).all()


def test_without_a_band_draws_are_uniform_and_blocks_absent_half_the_time() -> None:
    rng, draws = np.random.default_rng(0), BoundedDraws(blocks, None)
    found: list[Any] = [draws.draw(rng) for _ in range(1000)]
    assert sigmas([one["num_heads"][1] == 0 for one in found], 0.5) < 3
    assert sigmas([one["width"] == 8 for one in found], 0.5) < 3
    assert sigmas([one["mlp_units"][4] == 16 for one in found], 1 / 3) < 3


@pytest.mark.parametrize("seed", range(4))
def test_it_beats_random_search_in_a_band(seed: int) -> None:
    """Also its own random draws, which are all that a first generation as large as the budget consists of."""
    bounds, score = bounds_of(1.7e8), weighted(NANO)
    admits = admission(NANO, bounds, img_size=64, num_classes=1000)
    settings = {"population": 60, "parents": 15, "mutants": 15, "children": 15}
    best = []
    for searcher in (
        within(NANO, bounds, seed=seed, **settings),
        RandomSearch(NANO, maximize_score, bounds, seed=seed, admits=admits),
        within(NANO, bounds, seed=seed, population=240),
    ):
        found = asked(searcher, score, 240)
        assert len(found) == 240
        best.append(best_score(evaluated(one, score) for one in found))
    assert best[0] > max(best[1:])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 0}, "population is an integer of at least 1, not 0"),
        ({"parents": 1}, "parents is an integer of at least 2, not 1"),
        ({"mutants": -1}, "mutants is an integer of at least 0, not -1"),
        ({"mutants": 0, "children": 0}, "needs mutants or children"),
        ({"mutation_probability": 1.5}, "mutation_probability is a number from 0 to 1, not 1.5"),
        ({"crossover_probability": -0.1}, "crossover_probability is a number from 0 to 1, not -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Evolution(stages, maximize_score, **settings)
