"""One bootstrap of visitors: its weights, its runs over resamples and its intervals."""

from dataclasses import replace

import numpy as np
import pytest

from ml.arrays import Floats, Weights
from ml.bootstrap import RESAMPLES_AT_ONCE, Bootstrap, resampled_sums

PLAN = Bootstrap(resamples=2 * RESAMPLES_AT_ONCE + 3, confidence=0.9, seed=1)


def test_weights_are_poisson() -> None:
    weights = Bootstrap(100, 0.95, 1).weights(5000)
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.02)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.005)


def test_weights_follow_from_the_seed_alone() -> None:
    weights = PLAN.weights(50)
    assert np.array_equal(replace(PLAN, threads=4, confidence=0.5).weights(50), weights)
    assert np.array_equal(replace(PLAN, resamples=5).weights(50), weights[:5])
    assert not np.array_equal(replace(PLAN, seed=2).weights(50), weights)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_run_gives_every_resample_its_own_value_in_order(threads: int) -> None:
    sizes = []

    def total(weights: Weights) -> Floats:
        sizes.append(len(weights))
        return weights.sum(axis=1, dtype=np.float64)

    weights = PLAN.weights(50)
    found = replace(PLAN, threads=threads).run(total, weights)
    assert np.array_equal(found, weights.sum(axis=1))
    assert sorted(sizes) == [3, RESAMPLES_AT_ONCE, RESAMPLES_AT_ONCE]


def test_an_interval_leaves_out_what_is_not_finite() -> None:
    values = np.r_[np.arange(101.0), np.nan, np.inf]
    assert PLAN.interval(values) == pytest.approx((5, 95))
    assert np.isnan(PLAN.interval(np.full(3, np.nan))).all()


def test_resampled_sums_are_sums_over_copied_rows() -> None:
    rng = np.random.default_rng(2)
    codes, segment, columns = rng.integers(0, 20, 300), rng.integers(0, 4, 300), rng.normal(size=(300, 2))
    weights = PLAN.weights(20)
    found = resampled_sums(columns, segment, 5, codes, weights)
    assert found.shape == (PLAN.resamples, 5, 2)
    for resample in (0, PLAN.resamples - 1):
        rows = np.repeat(np.arange(300), weights[resample][codes])
        for number in range(5):
            own = columns[rows[segment[rows] == number]].sum(axis=0)
            np.testing.assert_allclose(found[resample, number], own, atol=1e-9)
