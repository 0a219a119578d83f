"""The average effect is what tea-tasting and statsmodels say, to 1e-9, wherever they do the same thing."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import statsmodels.api as sm
import tea_tasting as tt
from statsmodels.stats.proportion import proportions_ztest

from ml.config import load_config
from ml.experiment.arms import Arms
from ml.experiment.average_effect import average_effect
from ml.experiment.designed import AverageEffect, Design, designed_effect
from ml.experiment.difference import Units
from ml.experiment.experiment import Experiment
from ml.experiment.randomisation import check_randomisation

SAME = {"abs": 1e-9, "rel": 1e-9}
CONFIG = load_config(environment={})


def people(number: int, seed: int, treated_share: float = 0.3) -> pd.DataFrame:
    """Units with sessions, orders and money, each twice: during the test, and before it."""
    rng = np.random.default_rng(seed)
    treated, level = rng.random(number) < treated_share, rng.gamma(2, 1, number)
    people = pd.DataFrame({"variant": treated.astype(np.int64), "sessions": 1 + rng.poisson(level)})
    people["orders"] = rng.binomial(people["sessions"], np.clip(0.1 * level + 0.05 * treated, 0, 1))
    people["bought"] = (people["orders"] > 0).astype(np.int64)
    people["money"] = people["orders"] * rng.gamma(3, 20, number)
    people["money_before"] = rng.poisson(level) * rng.gamma(3, 20, number)
    return people


def teas(metric: Any, table: pd.DataFrame) -> Any:
    return tt.Experiment(metric=metric).analyze(table)["metric"]


def by_design(treatment: Any, outcome: Any, unit: Any) -> AverageEffect:
    design = Design(np.asarray(treatment, np.int8), np.asarray(outcome, np.float64), np.asarray(unit, np.int32))
    nothing = pd.DataFrame(index=range(len(design.treatment)))
    return designed_effect(design, nothing, confidence=0.95, tuned_for=5000, seed=1)


def same(found: AverageEffect, theirs: Any) -> None:
    ours = [*found.effect, found.treated_mean, found.control_mean, found.p_value]
    expected = [theirs.effect_size, theirs.effect_size_ci_lower, theirs.effect_size_ci_upper]
    assert ours == pytest.approx([*expected, theirs.treatment, theirs.control, theirs.pvalue], **SAME)
    relative = (theirs.rel_effect_size, theirs.rel_effect_size_ci_lower, theirs.rel_effect_size_ci_upper)
    assert found.relative == pytest.approx(relative, **SAME)


@pytest.mark.parametrize("column", ["money", "bought", "orders"])
@pytest.mark.parametrize(("number", "treated_share"), [(2_000, 0.5), (300, 0.1)])
def test_means_and_proportions(column: str, number: int, treated_share: float) -> None:
    table = people(number, 1, treated_share)
    found = by_design(table["variant"], table[column], np.arange(number))
    same(found, teas(tt.Mean(column, equal_var=False, use_t=True), table))


def rows_of(table: pd.DataFrame) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """One row a session: whose it was, and whether it held an order."""
    unit = np.repeat(np.arange(len(table), dtype=np.int32), table["sessions"])
    place = np.arange(len(unit)) - (np.cumsum(table["sessions"]) - table["sessions"]).to_numpy()[unit]
    return unit, (place < table["orders"].to_numpy()[unit]).astype(np.float64)


def test_rates_of_rows_of_units_are_ratio_metrics_by_the_delta_method() -> None:
    table = people(1_500, 2)
    unit, outcome = rows_of(table)
    found = by_design(table["variant"].to_numpy()[unit], outcome, unit)
    assert found.rows_are_even
    same(found, teas(tt.RatioOfMeans("orders", "sessions", equal_var=False, use_t=True), table))


def test_the_variance_by_visitor_is_statsmodels_cluster_robust_one() -> None:
    table = people(1_500, 3)
    unit, outcome = rows_of(table)
    arm = table["variant"].to_numpy()[unit]
    variance, means = 0.0, []
    for own in (arm == 1, arm == 0):
        fit = sm.OLS(outcome[own], np.ones(own.sum())).fit(cov_type="cluster", cov_kwds={"groups": unit[own]})
        variance += float(fit.cov_params()[0, 0])
        means.append(float(fit.params[0]))
    value, lower, upper = average_effect(Arms(arm.astype(np.int8), outcome.astype(np.int8), unit), 0.95)
    reach = 1.959963984540054 * np.sqrt(variance)
    assert (value, lower, upper) == pytest.approx(
        (means[0] - means[1], means[0] - means[1] - reach, means[0] - means[1] + reach), **SAME
    )


def test_a_difference_less_what_a_covariate_explains_is_cuped() -> None:
    """With CUPED's slope. `average_effect_adjusted` has other slopes, by a penalty and of other folds."""
    table = people(2_000, 4)
    theirs = teas(tt.Mean("money", "money_before", equal_var=False, use_t=True), table)
    before = table["money_before"] - table["money_before"].mean()
    pooled = float((before * (table["money"] - table["money"].mean())).sum() / (before**2).sum())
    ones = np.ones(len(table))
    units = Units(table["variant"].to_numpy(np.int8), np.zeros(len(table), np.intp), ones, ones)
    found = units.difference((table["money"] - pooled * before).to_numpy())
    assert [found.value, *found.interval(0.95), found.p_value] == pytest.approx(
        [theirs.effect_size, theirs.effect_size_ci_lower, theirs.effect_size_ci_upper, theirs.pvalue], **SAME
    )


@pytest.mark.parametrize("treated_share", [0.5, 0.2])
def test_the_adjusted_effect_is_that_of_a_regression_with_interactions(treated_share: float) -> None:
    """Lin's estimator with statsmodels; cross-fitting and the penalty leave a twentieth of the error."""
    rng = np.random.default_rng(6)
    number = 20_000
    features = rng.normal(size=(number, 3)).clip(-2, 2)
    arm = (rng.random(number) < treated_share).astype(np.int8)
    money = 5 + features @ [2.0, -1.0, 0.5] + arm * (0.3 + features @ [0.5, 0.0, 0.2]) + rng.normal(size=number)
    design = Design(arm, money, np.arange(number, dtype=np.int32))
    inputs = pd.DataFrame(features.astype(np.float32), columns=["a", "b", "c"])
    found = designed_effect(design, inputs, confidence=0.95, tuned_for=5000, seed=1)
    assert found.adjusted is not None
    centred = features - features.mean(axis=0)
    terms = np.column_stack([np.ones(number), arm, centred, arm[:, None] * centred])
    theirs = sm.OLS(money, terms).fit(cov_type="HC2")
    # HC2 takes the features as given; people that were drawn have others, on whom the effect depends.
    error = np.sqrt(theirs.bse[1] ** 2 + (centred @ theirs.params[5:]).var() / number)
    value, lower, upper = found.adjusted
    assert abs(value - theirs.params[1]) < 0.05 * error
    assert (upper - lower) / (2 * 1.959963984540054) == pytest.approx(error, rel=0.01)
    # It pays: the plain difference is twice as uncertain.
    assert np.ptp(found.effect[1:]) > 2 * (upper - lower)


@pytest.mark.parametrize(("treated_share", "designed"), [(0.5, 0.5), (0.27, 0.3), (0.1, 0.1)])
def test_sample_ratio(treated_share: float, designed: float) -> None:
    number = 4_000
    table = people(number, 5, treated_share)
    experiment = Experiment(
        inputs=pd.DataFrame({"x": np.zeros(number, np.float32)}),
        categorical=(),
        treatment=table["variant"].to_numpy(np.int8),
        outcome=table["bought"].to_numpy(np.int8),
        visitor=np.arange(number, dtype=np.int32),
        split=np.zeros(number, np.int8),
        treated_share=designed,
    )
    settings = CONFIG.experiment.model_copy(update={"allow_mismatch": True})
    p_value = check_randomisation(experiment, settings).ratio_p
    odds = designed / (1 - designed)
    assert p_value == pytest.approx(teas(tt.SampleRatio(odds, method="norm", correction=False), table).pvalue, **SAME)
    treated = int(table["variant"].sum())
    assert p_value == pytest.approx(proportions_ztest(treated, number, designed, prop_var=designed)[1], **SAME)
