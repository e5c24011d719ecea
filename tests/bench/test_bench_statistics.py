"""Statistics of predictors and labels against scipy and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from raynas.bench.combination import Combination
from raynas.bench.config import BenchSettings
from raynas.bench.correlations import StatisticsSettings, statistics
from raynas.bench.folder import parsed_labels
from raynas.bench.predictors import Kind, Predictor, check_combinations
from raynas.errors import ConfigError, UnknownNameError
from raynas.space.results import Objective
from raynas.stats.rank_correlation import bootstrapped
from raynas.stats.rounding import without_rounding


def predictor(name: str, values: Any, kind: Kind = Kind.PROXY, *, up: bool = True) -> Predictor:
    column = np.asarray(values, float)
    statuses = tuple("failed" if math.isnan(value) else "ok" for value in column)
    return Predictor(name, kind, up, column, statuses, 0.5)


def rows_of(predictors: list[Predictor], labels: dict[str, Any], strata: Any = None, **asked: Any) -> dict[Any, Any]:
    columns = {name: np.asarray(label, float) for name, label in labels.items()}
    table = statistics(predictors, columns, strata or {}, StatisticsSettings(**{"resamples": 80, **asked}))
    found = {}
    for row in table.to_pylist():
        key = (row["proxy"], row["label"]) if row["within"] is None else (row["proxy"], row["within"], row["stratum"])
        found[key] = row
    return found


N = 60
RNG = np.random.default_rng(0)
SIZE = RNG.integers(1, 30, N).astype(float)
TRUTH = SIZE + 6 * RNG.standard_normal(N)
GOOD = TRUTH + 4 * RNG.standard_normal(N)
POOR = -(SIZE + 20 * RNG.standard_normal(N))


@pytest.fixture(scope="module")
def found() -> dict[Any, Any]:
    gaps = GOOD.copy()
    gaps[::7] = math.nan
    rare = TRUTH.round()
    rare[:20] = math.nan
    return rows_of(
        [
            predictor("good", GOOD),
            predictor("gaps", gaps),
            predictor("poor", POOR, up=False),
            predictor("flat", np.ones(N)),
            predictor("none", np.full(N, math.nan)),
            predictor("num_params", SIZE, Kind.BASELINE),
            predictor("depth*width", SIZE.round(-1), Kind.BASELINE),
        ],
        {"top1": TRUTH, "rare": rare},
    )


def test_correlations_are_scipys_over_rows_that_have_a_value(found: dict[Any, Any]) -> None:
    known = np.arange(N) % 7 != 0
    last = np.arange(N) >= 20
    for key, score, truth, rows in (
        (("good", "top1"), GOOD, TRUTH, known | ~known),
        (("gaps", "top1"), GOOD, TRUTH, known),
        (("gaps", "rare"), GOOD, TRUTH.round(), known & last),
        (("poor", "top1"), -POOR, TRUTH, known | ~known),
    ):
        row = found[key]
        assert row["tau"] == pytest.approx(stats.kendalltau(score[rows], truth[rows]).statistic)
        assert row["rho"] == pytest.approx(stats.spearmanr(score[rows], truth[rows]).statistic)
        assert row["r"] == pytest.approx(stats.pearsonr(score[rows], truth[rows]).statistic)
        assert row["n"] == rows.sum()
        assert row["tau_low"] < row["tau"] < row["tau_high"]
    assert found["gaps", "rare"]["n_label"] == 40
    assert found["gaps", "top1"]["statuses"] == "51 ok, 9 failed"
    assert found["gaps", "top1"]["distinct"] == 51


def test_partial_tau_and_intervals_are_those_of_single_pairs(found: dict[Any, Any]) -> None:
    row = found["good", "top1"]
    plain = bootstrapped(GOOD, TRUTH, resamples=80)
    partial = bootstrapped(GOOD, TRUTH, given=SIZE, resamples=80)
    assert (row["tau"], row["tau_low"], row["tau_high"]) == pytest.approx(tuple(plain))
    assert (row["partial_tau"], row["partial_tau_low"], row["partial_tau_high"]) == pytest.approx(tuple(partial))
    assert found["num_params", "top1"]["partial_tau"] is None  # given itself
    assert found["num_params", "top1"]["partial_tau_low"] is None


def test_lead_is_the_difference_on_the_same_resamples(found: dict[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    drawn = []
    for rows in [np.arange(N), *(rng.integers(0, N, N) for _ in range(80))]:
        taus = [stats.kendalltau(column[rows], TRUTH[rows]).statistic for column in (GOOD, SIZE, SIZE.round(-1))]
        drawn.append(taus[0] - max(taus[1:]))
    row = found["good", "top1"]
    assert row["lead"] == pytest.approx(drawn[0])
    assert (row["lead_low"], row["lead_high"]) == pytest.approx(tuple(np.quantile(drawn[1:], [0.025, 0.975])))
    assert row["useful"] is True
    assert found["poor", "top1"]["useful"] is False
    assert found["num_params", "top1"]["lead"] is None
    assert found["num_params", "top1"]["useful"] is None


@pytest.mark.parametrize("noise", [0.05, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("named", ["num_params", "macs", "depth*width"])
def test_useful_is_what_leads_beyond_chance(noise: float, named: str) -> None:
    """The interval of the difference to the best that costs nothing excludes 0, on resamples drawn here."""
    rng = np.random.default_rng(int(100 * noise))
    truth = rng.standard_normal(40)
    score = truth + noise * rng.standard_normal(40)
    sizes = {name: truth + 5 * rng.standard_normal(40) for name in ("num_params", "macs", "depth*width")}
    sizes[named] = truth + rng.standard_normal(40)
    given = [predictor("score", score), *(predictor(name, size, Kind.BASELINE) for name, size in sizes.items())]
    row = rows_of(given, {"y": truth}, resamples=120)["score", "y"]
    drawn = []
    rng = np.random.default_rng(0)
    for rows in [np.arange(40), *(rng.integers(0, 40, 40) for _ in range(120))]:
        taus = [stats.kendalltau(column[rows], truth[rows]).statistic for column in (score, *sizes.values())]
        drawn.append(taus[0] - max(taus[1:]))
    assert row["useful"] == (np.quantile(drawn[1:], 0.025) > 0 and row["tau"] > 0)
    assert row["lead"] == pytest.approx(drawn[0])


def test_differences_that_are_rounding_alone_are_zero() -> None:
    values = np.array([7e-15, -3e-16, 1e-9, 0.2, math.nan])
    np.testing.assert_array_equal(without_rounding(values), [0, 0, 1e-9, 0.2, math.nan])
    np.testing.assert_array_equal(without_rounding(values, 1e-6), [7e-15, -3e-16, 1e-9, 0.2, math.nan])


def test_a_proxy_with_gaps_has_to_beat_size_on_its_own_rows() -> None:
    size, truth = np.arange(8.0), np.array([0, 1, 2, 3, 7, 6, 5, 4.0])
    score = np.array([0, 1, 2, 3, math.nan, math.nan, math.nan, math.nan])
    row = rows_of([predictor("score", score), predictor("num_params", size, Kind.BASELINE)], {"top1": truth})
    assert row["num_params", "top1"]["tau"] < 1
    assert row["score", "top1"]["tau"] == 1
    assert row["score", "top1"]["lead"] == 0  # size is as good there
    assert row["score", "top1"]["useful"] is False


COMPARED = [
    *("lead", "lead_low", "lead_high", "useful", "partial_tau", "partial_tau_low", "partial_tau_high", "n_sized"),
]


@pytest.mark.parametrize("lacking", [{"num_params"}, {"macs"}, {"depth*width"}, {"num_params", "macs"}])
@pytest.mark.parametrize("missing", [[7], [0, 59], list(range(3, 60, 5))])
def test_what_lacks_a_cost_changes_nothing_that_is_compared_with_size(lacking: set[str], missing: list[int]) -> None:
    """It is as in a bench that never had these architectures; correlations keep them."""
    rng = np.random.default_rng(len(missing))
    proxies = {"good": GOOD, "poor": -POOR, "gaps": np.where(np.arange(N) % 7 == 2, math.nan, GOOD)}
    costs = {name: SIZE + rng.standard_normal(N) for name in ("num_params", "macs", "depth*width")}

    def bench(rows: list[int], holes: list[int]) -> dict[Any, Any]:
        sizes = {name: cost.copy() for name, cost in costs.items()}
        for name in lacking:
            sizes[name][holes] = math.nan
        given = [predictor(name, values[rows]) for name, values in proxies.items()]
        given += [predictor("good+poor", (GOOD - POOR)[rows], Kind.COMBINATION)]
        given += [predictor(name, values[rows], Kind.BASELINE) for name, values in sizes.items()]
        return rows_of(given, {"top1": TRUTH[rows]})

    everything, without = bench(list(range(N)), missing), bench([i for i in range(N) if i not in missing], [])
    for name in (*proxies, "good+poor"):
        found, wanted = everything[name, "top1"], without[name, "top1"]
        assert [found[field] for field in COMPARED] == [wanted[field] for field in COMPARED]
        assert isinstance(found["useful"], bool)
        assert found["n"] > found["n_sized"] == wanted["n"]


@pytest.mark.parametrize("known", [0, 3])
def test_nothing_is_compared_with_costs_that_hardly_any_architecture_has(known: int) -> None:
    cost = np.where(np.arange(N) < known, SIZE, math.nan)
    row = rows_of([predictor("good", GOOD), predictor("num_params", cost, Kind.BASELINE)], {"y": TRUTH})["good", "y"]
    assert row["tau"] > 0
    assert [row[field] for field in COMPARED] == [None] * 7 + [known]


def test_what_is_constant_or_missing_has_no_correlation(found: dict[Any, Any]) -> None:
    for name, distinct in (("flat", 1), ("none", 0)):
        row = found[name, "top1"]
        assert [row[field] for field in ("tau", "tau_low", "rho", "r", "partial_tau", "lead", "useful")] == [None] * 7
        assert row["distinct"] == distinct
    assert found["flat", "top1"]["top_10pct"] == pytest.approx(0.1)
    assert found["none", "top1"]["top_10pct"] is None


def test_nothing_positive_is_needed_to_beat_sizes_that_mislead() -> None:
    truth = np.arange(10.0)
    row = rows_of(
        [predictor("down", -truth + [0, 5] * 5), predictor("num_params", -truth, Kind.BASELINE)], {"y": truth}
    )
    assert row["down", "y"]["tau"] < 0 < row["down", "y"]["lead"]
    assert row["down", "y"]["useful"] is False


def test_strata_by_hand() -> None:
    # Widths 9, 10 and 8.
    truth = np.concatenate([[1, 2, 3, 4, 5, 6], [11, 12, 13, 14], [20, 21, 22]])
    score = np.concatenate([[6, 5, 4, 3, 2, 1], [17, 19, 18, 20], [30, 31, 32]])
    widths = ["9"] * 6 + ["10"] * 4 + ["8"] * 3
    found = rows_of([predictor("score", score)], {"y": truth}, {"width": widths}, resamples=10)
    assert found["score", "y"]["tau"] > 0
    assert found["score", "width", "9"]["tau"] == pytest.approx(-1)
    assert found["score", "width", "10"]["tau"] == pytest.approx((5 - 1) / 6)
    assert found["score", "width", "8"]["tau"] is None  # three are too few
    assert [found["score", "width", name]["n"] for name in ("8", "9", "10")] == [3, 6, 4]
    mean = found["score", "width", None]
    assert mean["tau"] == pytest.approx((6 * -1 + 4 * 4 / 6) / 10)
    assert mean["n"] == 10
    assert mean["tau_low"] <= mean["tau"] <= mean["tau_high"]
    assert [key[2] for key in found if len(key) == 3] == [None, "8", "9", "10"]  # numbers by size


def test_a_stratum_in_which_a_predictor_is_constant_is_left_out_of_its_mean() -> None:
    truth, score = [1, 2, 3, 4.0] * 2, [1, 1, 1, 1.0, 1, 2, 3, 4.0]
    found = rows_of([predictor("score", score)], {"y": truth}, {"half": ["a"] * 4 + ["b"] * 4}, resamples=10)
    assert found["score", "half", "a"]["tau"] is None
    assert found["score", "half", None]["tau"] == pytest.approx(1)
    assert found["score", "half", None]["n"] == 4


def test_intervals_within_strata_are_of_the_same_resamples() -> None:
    half = ["a"] * 30 + ["b"] * 30
    found = rows_of([predictor("good", GOOD)], {"y": TRUTH}, {"half": half})
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(80):
        rows = rng.integers(0, N, N)
        first, second = rows[rows < 30], rows[rows >= 30]
        taus = [stats.kendalltau(GOOD[part], TRUTH[part]).statistic for part in (first, second)]
        drawn.append((30 * taus[0] + 30 * taus[1]) / 60)
    mean = found["good", "half", None]
    assert (mean["tau_low"], mean["tau_high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


# -- labels and combinations as text -----------------------------------------------------------------------------------


def test_labels_have_a_direction() -> None:
    assert parsed_labels(BenchSettings(labels=("acc", "acc:max", "loss:min"))) == [
        Objective("acc"),
        Objective("acc", True),
        Objective("loss", False),
    ]
    with pytest.raises(ConfigError, match="a label is NAME, NAME:max or NAME:min, not 'acc:up'"):
        parsed_labels(BenchSettings(labels=("acc:up",)))


def test_combinations_have_weights_and_a_method() -> None:
    one = Combination.parse("dss + 0.5*tvt+depth*width:min_max")
    assert one.parts == (("dss", 1.0), ("tvt", 0.5), ("depth*width", 1.0))
    assert one.method == "min_max"
    assert Combination.parse("a+b", "rank_sum").method == "rank_sum"
    for text in ("a", "a+", "+", "a+b:median"):
        with pytest.raises(ConfigError, match="combination"):
            Combination.parse(text)
    with pytest.raises(UnknownNameError, match=r"combination 'a\+c': 'c' is not computed\. What is: a, b"):
        check_combinations([Combination.parse("a+b"), Combination.parse("a+c")], ["a", "b"])


def test_a_combination_by_hand() -> None:
    up, down = np.array([1.0, 2.0, 3.0, math.nan]), np.array([3.0, 1.0, math.nan, math.nan])
    # Ranks 2, 3, 4, 1 and, downwards, 3, 4, 1.5, 1.5; the last has neither.
    values = Combination.parse("u+d").values([up, down], [True, False])
    assert values[:3] == pytest.approx([math.log(2 * 3 / 16), math.log(3 * 4 / 16), math.log(4 * 1.5 / 16)])
    assert math.isnan(values[3])
    assert Combination.parse("u+d:rank_sum").values([up, down], [True, False])[:3].tolist() == [5, 7, 5.5]
