"""The experiment to run next: its size by other formulas, and runs of it that find what they were sized to find."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_effectsize,
    proportions_ztest,
    samplesize_proportions_2indep_onetail,
)

from ml.config import PlannerSettings, load_config
from ml.experiment.arms import Arms
from ml.policy.ab_test import ab_test_simulation
from ml.policy.estimates import Scored
from ml.policy.planner import Plan, experiment_plan
from ml.uplift.ranks import percentile_ranks
from uplift_worlds import World, make_world
from warehouse.errors import FunneliftError

DEFAULTS = load_config(environment={}).planner


def planner(**changed: object) -> PlannerSettings:
    return PlannerSettings.model_validate(DEFAULTS.model_dump() | changed)


def scored(world: World) -> Scored:
    ranks = percentile_ranks(world.tau, world.tau, np.full(len(world.tau), 0.5))
    both = {"uplift": ranks, "response": ranks}
    value = np.full(len(ranks), 50.0)
    return Scored(world.arms, world.p0, world.p0 + world.tau, both, value)


def rows(treated: tuple[int, int], control: tuple[int, int]) -> Scored:
    """Return rows of two arms (conversions, rows), all predicted to convert at their arm's rate."""
    drawn = ((0, *control), (1, *treated))
    treatment = np.concatenate([np.full(n, arm, np.int8) for arm, _, n in drawn])
    outcome = np.concatenate([np.arange(n) < conversions for _, conversions, n in drawn]).astype(np.int8)
    n = len(treatment)
    ranks = (np.random.default_rng(0).permutation(n) + 0.5) / n
    both = {"uplift": ranks, "response": ranks}
    p_control, p_treatment = np.full(n, control[0] / control[1]), np.full(n, treated[0] / treated[1])
    arms = Arms(treatment, outcome, np.arange(n, dtype=np.int32))
    return Scored(arms, p_control, p_treatment, both, np.full(n, 50.0))


def plan_for_all(test: Scored, sessions_per_day: float, **changed: object) -> Plan:
    (plan,) = experiment_plan(test, sessions_per_day, planner(shares=[100], **changed))
    return plan


@pytest.mark.parametrize(("control", "treated"), [(50, 60), (10, 14), (400, 430), (0, 10)])
@pytest.mark.parametrize(("power", "significance"), [(0.8, 0.05), (0.9, 0.01), (0.5, 0.1)])
def test_sizes_and_lifts_are_statsmodels_own(control: int, treated: int, power: float, significance: float) -> None:
    data = rows((treated, 1_000), (control, 1_000))
    plan = plan_for_all(data, 3_000.0, power=power, significance=significance)
    low, high = control / 1_000, treated / 1_000
    assert (plan.control_rate, plan.expected_lift) == (pytest.approx(low), pytest.approx(high - low))
    expected = NormalIndPower().solve_power(proportion_effectsize(high, low), power=power, alpha=significance)
    assert plan.sessions_per_arm == pytest.approx(math.ceil(expected), abs=1)
    # Half of the day's sessions go to each arm.
    assert plan.days_needed == pytest.approx(plan.sessions_per_arm / 1_500)
    for days, lift in ((14, plan.smallest_lift_short), (28, plan.smallest_lift_long)):
        effect = proportion_effectsize(low + lift, low)
        found = NormalIndPower().power(effect, nobs1=1_500 * days, alpha=significance)
        assert found == pytest.approx(power, abs=1e-6)
    assert 0 < plan.smallest_lift_long < plan.smallest_lift_short


def test_sizes_are_near_those_of_the_test_without_the_arcsine() -> None:
    plan = plan_for_all(rows((60, 1_000), (50, 1_000)), 1_000.0)
    other = samplesize_proportions_2indep_onetail(0.01, 0.05, power=0.8, alpha=0.05, alternative="two-sided")
    assert plan.sessions_per_arm == pytest.approx(other, rel=0.02)


def test_lifts_hold_far_beyond_what_a_root_finder_reaches() -> None:
    plan = plan_for_all(rows((60, 1_000), (50, 1_000)), 1e11)
    n = 1e11 / 2 * 14
    # For a small lift: (z_0.975 + z_0.8) standard errors of the difference.
    assert plan.smallest_lift_short == pytest.approx(2.801585 * math.sqrt(2 * 0.05 * 0.95 / n), rel=1e-3)


def test_the_targeted_have_their_own_rate_and_lift_and_share_of_the_traffic() -> None:
    world = make_world(40_000, 1)
    data = scored(world)
    plans = experiment_plan(data, 2_000.0, planner(shares=[10, 50, 100]))
    assert [plan.share_percent for plan in plans] == [10, 50, 100]
    for plan in plans:
        top = data.percentiles["uplift"] >= 1 - plan.share_percent / 100
        # Four standard errors of a difference of means, at the most that they can be.
        error = 4 * math.sqrt(4 * 0.25 / top.sum())
        assert plan.expected_lift == pytest.approx(world.tau[top].mean(), abs=error)
        assert plan.control_rate == pytest.approx(world.p0[top].mean(), abs=error)
        assert plan.days_needed * 1_000 * top.mean() == pytest.approx(plan.sessions_per_arm)
        assert (plan.sessions_per_day, plan.days_short, plan.days_long) == (2_000, 14, 28)
    assert plans[0].expected_lift > plans[1].expected_lift > plans[2].expected_lift


def test_without_a_lift_no_size_is_named() -> None:
    for treated in (50, 40):
        plan = plan_for_all(rows((treated, 1_000), (50, 1_000)), 1_000.0)
        assert (plan.sessions_per_arm, plan.days_needed) == (None, None)
        assert plan.expected_lift <= 0 < plan.smallest_lift_short


def test_extreme_rates_and_traffic_give_numbers_or_nothing() -> None:
    nobody = plan_for_all(rows((0, 50), (0, 50)), 1_000.0)
    assert (nobody.control_rate, nobody.expected_lift, nobody.sessions_per_arm) == (0, 0, None)
    assert nobody.smallest_lift_short > 0
    everybody = plan_for_all(rows((50, 50), (50, 50)), 1_000.0)
    assert (everybody.control_rate, everybody.smallest_lift_short, everybody.smallest_lift_long) == (1, None, None)
    idle = plan_for_all(rows((20, 50), (10, 50)), 0.0)
    assert (idle.days_needed, idle.smallest_lift_short, idle.smallest_lift_long) == (None, None, None)
    assert idle.sessions_per_arm > 0
    # Doubly robust rates of few rows leave 0 to 1: (0.9 - 2 x 0.9) / 2 untreated, (0.2 + 0.1 + 2 x 0.9) / 2 treated.
    odd = rows((1, 1), (0, 1))
    odd = replace(odd, p_control=np.array([0.9, 0.0]), p_treatment=np.array([0.2, 0.1]))
    plan = plan_for_all(odd, 100.0)
    assert (plan.control_rate, plan.expected_lift) == (0, 1)
    far = replace(odd, percentiles={"uplift": np.array([0.1, 0.2]), "response": np.array([0.1, 0.2])})
    assert [plan.share_percent for plan in experiment_plan(far, 100.0, planner())] == [100]


def test_rows_that_plan_nothing_are_refused() -> None:
    data = rows((60, 1_000), (50, 1_000))
    with pytest.raises(FunneliftError, match="2000 treated and 0 control rows"):
        plan_for_all(replace(data, arms=replace(data.arms, treatment=np.ones(2_000, np.int8))), 100.0)


@settings(max_examples=60, deadline=None)
@given(
    control=st.floats(0, 1),
    treated=st.floats(0, 1),
    n=st.integers(1, 400),
    seed=st.integers(0, 99),
    significance=st.floats(0.001, 0.4),
)
def test_every_simulated_test_equals_statsmodels(
    control: float, treated: float, n: int, seed: int, significance: float
) -> None:
    own = planner(simulations=5, significance=significance)
    found = ab_test_simulation(control, treated, n, own, seed)
    assert [test.replicate for test in found] == [1, 2, 3, 4, 5]
    for test in found:
        pair = np.array([test.conversions_treatment, test.conversions_control])
        assert (test.n_control, test.n_treatment) == (n, n)
        assert test.measured_lift == pytest.approx((pair[0] - pair[1]) / n)
        if 0 < pair.sum() < 2 * n:
            assert test.p_value == pytest.approx(proportions_ztest(pair, [n, n])[1], rel=1e-9, abs=1e-12)
        else:
            assert test.p_value == 1
        bounds = confint_proportions_2indep(*np.column_stack([pair, [n, n]]).ravel(), "newcomb", alpha=significance)
        assert (test.ci_lower, test.ci_upper) == pytest.approx(bounds)
        assert -1 <= test.ci_lower <= test.measured_lift <= test.ci_upper <= 1
        assert test.is_significant == (test.p_value < significance)


@pytest.mark.parametrize(("control", "treated"), [(50, 60), (10, 14), (300, 330)])
def test_the_planned_experiment_finds_its_lift_as_often_as_planned(control: int, treated: int) -> None:
    plan = plan_for_all(rows((treated, 1_000), (control, 1_000)), 1_000.0)
    runs = ab_test_simulation(
        plan.control_rate,
        plan.control_rate + plan.expected_lift,
        plan.sessions_per_arm,
        planner(simulations=10_000),
        seed=1,
    )
    assert np.mean([run.is_significant for run in runs]) == pytest.approx(0.8, abs=4 * 0.004)
    covered = np.mean([run.ci_lower <= plan.expected_lift <= run.ci_upper for run in runs])
    assert covered == pytest.approx(0.95, abs=4 * 0.0022)


def test_an_experiment_on_nothing_finds_something_as_often_as_its_significance() -> None:
    runs = ab_test_simulation(0.05, 0.05, 4_000, planner(simulations=10_000), seed=2)
    assert np.mean([run.is_significant for run in runs]) == pytest.approx(0.05, abs=4 * 0.0022)
    again = ab_test_simulation(0.05, 0.05, 4_000, planner(simulations=10_000), seed=2)
    assert again == runs


def test_impossible_rates_and_empty_arms_are_refused() -> None:
    for control, treated, name in ((-0.1, 0.5, "control rate is -0.1"), (0.5, math.nan, "treatment rate is nan")):
        with pytest.raises(FunneliftError, match=name):
            ab_test_simulation(control, treated, 10, planner(), 1)
    with pytest.raises(FunneliftError, match="0 sessions per arm"):
        ab_test_simulation(0.1, 0.2, 0, planner(), 1)
