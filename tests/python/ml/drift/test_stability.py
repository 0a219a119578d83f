"""The population stability index and its limit by chance, against independent computations."""

import math

import numpy as np
import pytest

from ml.drift.bins import MISSING, OTHER, category_bins, number_bins
from ml.drift.stability import contributions, population_stability, side, stability


def psi_by_hand(before: list[float], now: list[float]) -> float:
    """The formula as textbooks have it, for numbers cut at the first sample's deciles, without numpy."""
    ranked = sorted(before)
    cuts = sorted({ranked[math.ceil(len(ranked) * tenth / 10) - 1] for tenth in range(1, 10)})
    tables = []
    for values in (before, now):
        table = [0.0] * (len(cuts) + 1)
        for value in values:
            table[sum(value > cut for cut in cuts)] += 1
        tables.append(table)
    used = [place for place in range(len(cuts) + 1) if tables[0][place] + tables[1][place]]
    shares = [[(table[place] + 0.5) / (sum(table) + 0.5 * len(used)) for place in used] for table in tables]
    return sum((a - e) * math.log(a / e) for e, a in zip(*shares, strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_count", [False, True])
def test_the_index_is_that_of_an_independent_computation(seed: int, is_count: bool) -> None:
    rng = np.random.default_rng(seed)
    before, now = rng.normal(size=1_003), rng.normal(0.3, 1.2, size=217)
    if is_count:
        before, now = (np.floor(np.exp(values)) for values in (before, now))
    bins = number_bins(before, 10)
    counts = [np.bincount(bins.code(values), minlength=len(bins.labels)).astype(float) for values in (before, now)]
    found = population_stability(*counts)
    assert found == pytest.approx(psi_by_hand(before.tolist(), now.tolist()), rel=1e-12)
    assert found == pytest.approx(contributions(*counts).sum(), rel=1e-12)
    assert found > 0.01


def test_equal_shares_have_no_index_and_an_empty_sample_none() -> None:
    counts = np.array([20.0, 30, 0, 50])
    assert population_stability(counts, counts) == 0
    assert math.isnan(population_stability(counts, np.zeros(4)))
    assert not contributions(counts, np.zeros(4)).any()


def test_missing_numbers_have_a_bin_of_their_own() -> None:
    values = np.array([1.0, np.nan, 2, 3, np.nan])
    bins = number_bins(values, 2)
    assert bins.labels[-1] == MISSING
    assert (bins.code(values) == len(bins.labels) - 1).tolist() == [False, True, False, False, True]
    nothing = number_bins(np.full(3, np.nan), 10)
    assert nothing.labels == ("any value", MISSING)
    assert nothing.code(np.array([1.0, np.nan])).tolist() == [0, 1]


def test_rare_values_share_a_bin_and_a_new_one_is_named() -> None:
    before = (np.repeat([0, 1, 2, 3], [50, 30, 2, 5]).astype(np.int32), ["a", "b", "c", "(none)"])
    now = (np.repeat([0, 1, 2, 3], [40, 10, 3, 1]).astype(np.int32), ["a", "new", "(none)", "newer"])
    bins, old, recent = category_bins(before, now, 2)
    assert bins.labels == ("a", "b", OTHER, MISSING)
    assert np.bincount(old, minlength=4).tolist() == [50, 30, 2, 5]
    assert np.bincount(recent, minlength=4).tolist() == [40, 0, 11, 3]
    assert (bins.new_value, bins.new_value_share) == ("new", 10 / 54)


def clustered(rng: np.random.Generator, visitors: int) -> tuple[np.ndarray, np.ndarray]:
    """Visitors with one to many rows that resemble each other, and the bin of each row."""
    visitor = np.repeat(np.arange(visitors), rng.geometric(0.4, visitors))
    values = rng.normal(size=visitors)[visitor] + 0.5 * rng.normal(size=len(visitor))
    return visitor, np.digitize(values, [-1.2, -0.4, 0.4, 1.2]).astype(np.uint8)


def test_the_covariance_is_the_sum_over_visitors() -> None:
    visitor, codes = clustered(np.random.default_rng(3), 60)
    found = side(codes, visitor, 60, 5)
    share, expected = found.counts / len(codes), np.zeros((5, 5))
    for each in range(60):
        own = np.bincount(codes[visitor == each], minlength=5)
        off = own - own.sum() * share
        expected += np.outer(off, off)
    np.testing.assert_allclose(found.covariance, expected / len(codes) ** 2 * 60 / 59, atol=1e-15)


def test_one_visitor_says_nothing_of_chance() -> None:
    visitor, codes = clustered(np.random.default_rng(4), 50)
    before, alone = side(codes, visitor, 50, 5), side(np.zeros(30, np.uint8), np.zeros(30, np.intp), 1, 5)
    found = stability(before, alone, 0.05)
    assert found.psi > 0.5
    assert math.isnan(found.limit)


@pytest.mark.statistics
@pytest.mark.parametrize("false_alarms", [0.05, 0.005])
def test_chance_exceeds_the_limit_as_often_as_it_says(false_alarms: float) -> None:
    """Rows of one visitor resemble each other: with rows taken as independent, about every second draw exceeds it."""
    rng, draws = np.random.default_rng(17), 1_500
    exceeded, psis, means = 0, [], []
    for _ in range(draws):
        before, now = clustered(rng, 900), clustered(rng, 300)
        sides = [side(codes, visitor, visitors, 5) for (visitor, codes), visitors in ((before, 900), (now, 300))]
        found = stability(*sides, false_alarms)
        exceeded += found.psi > found.limit
        psis.append(found.psi)
        means.append(found.by_chance)
    error = math.sqrt(false_alarms * (1 - false_alarms) / draws)
    assert exceeded / draws == pytest.approx(false_alarms, abs=4 * error + 0.2 * false_alarms)
    assert np.mean(means) == pytest.approx(np.mean(psis), rel=0.08)
