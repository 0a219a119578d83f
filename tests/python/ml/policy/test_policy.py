"""Money: every figure by hand and by a plain loop, and in many simulated worlds as often right as it claims to be."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm

from ml.bootstrap import Bootstrap
from ml.config import PolicySettings, load_config
from ml.experiment.arms import Arms
from ml.policy.estimates import Scored, ShareSums
from ml.policy.gains import CHALLENGERS
from ml.policy.projection import Projection
from ml.policy.quadrants import QUADRANTS, quadrants
from ml.policy.values import STRATEGIES, PolicyValue, value_policies
from ml.uplift.ranks import deciles, percentile_ranks, smallest_share
from uplift_worlds import World, make_world
from warehouse.errors import FunneliftError

Floats = npt.NDArray[np.float64]
DEFAULTS = load_config(environment={}).policy
WORLDS = 200
CALIBRATION_VISITORS, TEST_VISITORS = 600, 1000


def policy(**changed: object) -> PolicySettings:
    return PolicySettings.model_validate(
        DEFAULTS.model_dump() | {"bootstrap_resamples": 20, "sensitivity": [1.0], "share_step": 1} | changed
    )


def projection(found: PolicyValue, strategy: str, percent: int) -> Projection:
    own = [each for each in found.projections if (each.strategy, each.share_percent) == (strategy, percent)]
    assert len(own) == 1
    return own[0]


def value(calibration: Scored, test: Scored, settings: PolicySettings, eligible: float = 1.0) -> PolicyValue:
    return value_policies(calibration, test, settings, eligible, Bootstrap(settings.bootstrap_resamples, 0.95, seed=3))


# --- by hand -------------------------------------------------------------------------------------------------------

# Eight rows, best first by uplift; every second one is treated, so e = 0.5 and each row weighs 1/e = 2.
TOY = Scored(
    arms=Arms(
        treatment=np.array([1, 0, 1, 0, 1, 0, 1, 0], np.int8),
        outcome=np.array([1, 0, 1, 1, 0, 0, 0, 1], np.int8),
        visitor=np.arange(8, dtype=np.int32),
    ),
    p_control=np.array([0.2, 0.2, 0.4, 0.4, 0.2, 0.2, 0.4, 0.4]),
    p_treatment=np.array([0.6, 0.6, 0.6, 0.6, 0.2, 0.2, 0.2, 0.2]),
    percentiles={"uplift": (7.5 - np.arange(8)) / 8, "response": (np.arange(8) + 0.5) / 8},
    value=np.full(8, 50.0),
)


@pytest.fixture(scope="module")
def toy() -> PolicyValue:
    # 800 sessions: 100 for each row.
    return value(TOY, TOY, policy(sensitivity=[0.5, 1.0, 2.0]), 800.0)


def test_by_hand_three_rows_targeted(toy: PolicyValue) -> None:
    found = projection(toy, "uplift", 32)
    assert (found.n_rows, found.n_targeted, found.n_targeted_treatment, found.n_targeted_control) == (8, 3, 2, 1)
    assert (found.eligible_sessions, found.targeted_sessions) == (800, 300)
    # Treated: 3 x 0.6 + 2 (0.4 + 0.4) = 3.4. Untreated: 0.2 + 0.2 + 0.4 + 2 (0 - 0.2) = 0.4.
    assert found.redemptions == pytest.approx(340)
    assert found.incremental_conversions == pytest.approx(300)
    assert found.incremental_revenue == found.incremental_margin == pytest.approx(15_000)
    assert found.cost == pytest.approx(1_700)
    assert found.profit == pytest.approx(13_300)
    assert found.roi == pytest.approx(13_300 / 1_700)
    # All treated convert, no control does: 3 (1 - 0) conversions and 3 redemptions.
    assert found.profit_ipw == pytest.approx(50 * 300 - 5 * 300)
    assert found.is_chosen


def test_by_hand_five_rows_targeted(toy: PolicyValue) -> None:
    found = projection(toy, "uplift", 63)
    # Treated: 2.6 + 2 (0.4 + 0.4 - 0.2) = 3.8. Untreated: 1.4 + 2 (-0.2 + 0.6) = 2.2.
    assert found.redemptions == pytest.approx(380)
    assert found.incremental_conversions == pytest.approx(160)
    assert found.profit == pytest.approx(50 * 160 - 5 * 380)
    # Treated 2 of 3, control 1 of 2: 5 x 2/3 redemptions, 5 x (2/3 - 1/2) more conversions.
    assert found.profit_ipw == pytest.approx(100 * (50 * 5 / 6 - 5 * 10 / 3))
    assert not found.is_chosen


def test_by_hand_all_rows_and_random(toy: PolicyValue) -> None:
    for strategy in STRATEGIES:
        found = projection(toy, strategy, 100)
        # Treated: 3.2 + 2 (0.4) = 4. Untreated: 2.4 + 2 (0.2 + 0.6) = 4.
        assert (found.redemptions, found.cost) == (pytest.approx(400), pytest.approx(2_000))
        assert (found.incremental_conversions, found.profit) == (pytest.approx(0), pytest.approx(-2_000))
        assert found.roi == pytest.approx(-1)
        # Both arms: 2 of 4.
        assert found.profit_ipw == pytest.approx(-2_000)
    half = projection(toy, "random", 50)
    assert (half.profit, half.cost, half.targeted_sessions, half.n_targeted) == (pytest.approx(-1_000), 1_000, 400, 4)


def test_by_hand_nobody_or_one_arm_targeted(toy: PolicyValue) -> None:
    nobody = projection(toy, "uplift", 1)
    assert (nobody.n_targeted, nobody.profit, nobody.profit_ci_lower, nobody.profit_ci_upper) == (0, 0, 0, 0)
    assert (nobody.profit_ipw, nobody.cost, nobody.roi, nobody.roi_ci_lower) == (0, 0, None, None)
    one_arm = projection(toy, "uplift", 7)
    assert (one_arm.n_targeted_treatment, one_arm.n_targeted_control) == (1, 0)
    assert one_arm.profit == pytest.approx(100 * (50 * (0.6 + 2 * 0.4 - 0.2) - 5 * 1.4))
    assert (one_arm.profit_ipw, one_arm.profit_ipw_ci_lower, one_arm.profit_ipw_ci_upper) == (None, None, None)


def test_by_hand_shares_break_even_and_gains(toy: PolicyValue) -> None:
    # Profit with 1 to 8 rows targeted: 53, 90, 133, 80, 61, 80, 51, -20. Row 3 comes in at 32 %, row 8 at 94 %.
    # Response ranks the other way round and loses at every share: -71, -100, -81, ...
    assert toy.chosen == {"uplift": 32, "response": 0, "random": 0}
    assert projection(toy, "response", 7).profit == pytest.approx(-7_100)
    assert toy.break_even_share == 93
    assert toy.break_even_cost == pytest.approx(50 * 3 / 3.4)
    gains = {gain.versus: gain for gain in toy.gains}
    assert tuple(gains) == CHALLENGERS
    assert {gain.strategy for gain in toy.gains} == {"uplift"}
    differences = [gains[challenger].difference for challenger in CHALLENGERS]
    assert differences == pytest.approx([13_300, 13_300, 13_300 + 0.32 * 2_000, 15_300, 13_300])
    assert all(gain.ci_lower <= gain.difference <= gain.ci_upper for gain in toy.gains)


def test_by_hand_sensitivity(toy: PolicyValue) -> None:
    found = {(each.cost, each.revenue_per_conversion): (each.share_percent, each.profit) for each in toy.sensitivity}
    expected = {
        # With three rows 3 more conversions and 3.4 redemptions, with two rows 2 and 2.
        (cost, revenue): (32, pytest.approx(100 * (3 * revenue - 3.4 * cost)))
        for cost in (2.5, 5.0, 10.0)
        for revenue in (25.0, 50.0, 100.0)
    }
    assert found == expected
    assert all(each.profit_ci_lower <= each.profit <= each.profit_ci_upper for each in toy.sensitivity)
    # At ten times the cost two rows earn 50 x 2 - 50 x 2 = 0, the rest less: nobody is treated.
    (dear,) = value(TOY, TOY, policy(cost=50)).sensitivity
    assert (dear.share_percent, dear.profit, dear.profit_ci_lower, dear.profit_ci_upper) == (0, 0, 0, 0)
    assert len(value(TOY, TOY, policy(cost=0, sensitivity=[1.0, 2.0])).sensitivity) == 2


def test_by_hand_cost_per_contact_margin_and_own_values() -> None:
    contact = projection(value(TOY, TOY, policy(cost_per="contact", margin=0.4), 800.0), "uplift", 32)
    assert (contact.cost, contact.incremental_revenue) == (pytest.approx(1_500), pytest.approx(15_000))
    assert (contact.incremental_margin, contact.profit) == (pytest.approx(6_000), pytest.approx(4_500))
    assert contact.roi == pytest.approx(3)
    assert contact.profit_ipw == pytest.approx(0.4 * 15_000 - 1_500)
    dearer = replace(TOY, value=np.array([50.0, 50, 100, 100, 50, 50, 50, 50]))
    found = projection(value(dearer, dearer, policy(), 800.0), "uplift", 32)
    # Treated: 30 + 30 + 60 + 2 (0.4 x 50 + 0.4 x 100) = 240. Untreated: 10 + 10 + 40 - 2 (0.2 x 50) = 40.
    assert (found.incremental_revenue, found.incremental_conversions) == (pytest.approx(20_000), pytest.approx(300))
    assert found.profit == pytest.approx(20_000 - 1_700)
    # The treated earn 75 on average, the control row nothing.
    assert found.profit_ipw == pytest.approx(100 * (3 * 75 - 3 * 5))


@pytest.mark.parametrize("step", [5, 10, 25])
def test_the_share_is_the_best_multiple_of_the_step(step: int) -> None:
    found = value(TOY, TOY, policy(share_step=step), 800.0)
    profits = {0: 0.0} | {each.share_percent: each.profit for each in found.projections if each.strategy == "uplift"}
    best = max(range(0, 101, step), key=lambda percent: profits[percent])
    assert found.chosen["uplift"] == best


def test_by_hand_budget() -> None:
    # One row costs 700, two 1,000, three 1,700.
    assert value(TOY, TOY, policy(budget=1_200), 800.0).chosen["uplift"] == 19
    assert value(TOY, TOY, policy(budget=699), 800.0).chosen["uplift"] == 0
    assert value(TOY, TOY, policy(budget=1_701), 800.0).chosen["uplift"] == 32
    # The same budget goes further in a smaller horizon.
    assert value(TOY, TOY, policy(budget=699), 80.0).chosen["uplift"] == 32


# --- by a plain loop -----------------------------------------------------------------------------------------------


def plain_estimates(data: Scored, percentile: Floats, share: float, weight: Floats) -> tuple[Floats, Floats]:
    """Return (conversions gained, redemptions, revenue gained), doubly robust and by inverse propensity, by row."""
    rows, treated = weight.sum(), (weight * data.arms.treatment).sum()
    e = treated / rows
    robust, arms = np.zeros(3), {0: np.zeros(3), 1: np.zeros(3)}
    for i in range(len(percentile)):
        if percentile[i] < 1 - share:
            continue
        t, y, mu0, mu1 = data.arms.treatment[i], data.arms.outcome[i], data.p_control[i], data.p_treatment[i]
        score1, score0 = mu1 + t / e * (y - mu1), mu0 + (1 - t) / (1 - e) * (y - mu0)
        robust += weight[i] * np.array([score1 - score0, score1, data.value[i] * (score1 - score0)])
        arms[t] += weight[i] * np.array([1, y, data.value[i] * y])
    with np.errstate(invalid="ignore"):
        means = {arm: totals / totals[0] for arm, totals in arms.items()}
    targeted = arms[0][0] + arms[1][0]
    weighted = targeted * np.array([means[1][1] - means[0][1], means[1][1], means[1][2] - means[0][2]])
    return robust / rows, weighted / rows


@pytest.mark.parametrize("cost_per", ["redemption", "contact"])
def test_estimates_and_intervals_equal_a_plain_loop(cost_per: str) -> None:
    visitors, resamples, eligible = 200, 40, 10_000.0
    data = scored(make_world(visitors, 5))
    data = replace(data, arms=replace(data.arms, visitor=data.arms.visitor * 7 + 3))
    own = policy(cost_per=cost_per, margin=0.7, bootstrap_resamples=resamples)
    found = value(data, data, own, eligible)
    (seed,) = np.random.SeedSequence(3).generate_state(1)
    position = data.arms.visitor_codes
    weights = [
        np.ones(len(position)),
        *Bootstrap(resamples, 0.95, int(seed)).weights(visitors).astype(float)[:, position],
    ]
    for strategy in ("uplift", "response"):
        for percent in (30, 65, 100):
            percentile, share = data.percentiles[strategy], percent / 100
            plain = [plain_estimates(data, percentile, share, weight) for weight in weights]
            inside = percentile >= 1 - share
            targeted = np.array([weight[inside].sum() / weight.sum() for weight in weights])
            robust, weighted = (np.array([pair[which] for pair in plain]) * eligible for which in (0, 1))
            charged = [each[:, 1] if cost_per == "redemption" else targeted * eligible for each in (robust, weighted)]
            profit, ipw = (0.7 * each[:, 2] - 5 * paid for each, paid in zip((robust, weighted), charged, strict=True))
            got = projection(found, strategy, percent)
            close = {"rel": 1e-9, "abs": 1e-6}
            assert got.profit == pytest.approx(profit[0], **close)
            assert got.profit_ipw == pytest.approx(ipw[0], **close)
            assert got.cost == pytest.approx(5 * charged[0][0], **close)
            assert got.n_targeted == inside.sum()
            for name, values in {
                "profit": profit[1:],
                "profit_ipw": ipw[1:],
                "incremental_conversions": robust[1:, 0],
                "roi": (profit / (5 * charged[0]))[1:],
            }.items():
                bounds = getattr(got, f"{name}_ci_lower"), getattr(got, f"{name}_ci_upper")
                assert bounds == pytest.approx(np.quantile(values, [0.025, 0.975]), **close)
            covariance = np.cov(robust[1:, 0], robust[1:, 1])
            assert got.incremental_conversions_se == pytest.approx(covariance[0, 0] ** 0.5, **close)
            assert got.redemptions_se == pytest.approx(covariance[1, 1] ** 0.5, **close)
            assert got.conversions_covariance == pytest.approx(covariance[0, 1], **close)


def test_a_visitor_whose_rows_all_come_twice_adds_no_certainty() -> None:
    once = scored(make_world(200, 6))
    twice = Scored(
        once.arms.take(np.repeat(np.arange(len(once.value)), 2)),
        *(np.repeat(column, 2) for column in (once.p_control, once.p_treatment)),
        {name: np.repeat(ranks, 2) for name, ranks in once.percentiles.items()},
        np.repeat(once.value, 2),
    )
    found = [projection(value(once, data, policy(), 1_000.0), "uplift", 40) for data in (once, twice)]
    assert found[1].profit_ci_lower == pytest.approx(found[0].profit_ci_lower)
    assert found[1].profit_ci_upper == pytest.approx(found[0].profit_ci_upper)


def test_resamples_in_parts_are_all_there_and_all_different(monkeypatch: pytest.MonkeyPatch) -> None:
    data = scored(make_world(100, 7))
    monkeypatch.setattr("ml.policy.estimates.WEIGHTS_AT_ONCE", 700)
    robust, weighted = ShareSums(data).resampled(Bootstrap(30, 0.95, seed=1))
    assert robust["uplift"].redemptions.shape == weighted["random"].targeted.shape == (30, 101)
    assert len(np.unique(robust["uplift"].redemptions[:, 100])) == 30


def test_roi_has_no_interval_where_resamples_may_cost_nothing() -> None:
    # One treated visitor converts; without it nothing is redeemed.
    flat = replace(
        TOY,
        arms=replace(TOY.arms, outcome=np.eye(8, dtype=np.int8)[0]),
        p_control=np.full(8, 0.0),
        p_treatment=np.full(8, 0.0),
    )
    found = projection(value(flat, flat, policy(bootstrap_resamples=200)), "uplift", 100)
    assert found.roi == pytest.approx(9)
    assert found.roi_ci_lower is None
    assert found.roi_ci_upper is None
    assert found.profit_ci_lower == 0
    assert found.profit_ci_upper > 0


def test_a_split_without_both_arms_or_visitors_enough_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for arm in (0, 1):
        lone = replace(TOY, arms=replace(TOY.arms, treatment=np.full(8, arm, np.int8)))
        for calibration, test in ((lone, TOY), (TOY, lone)):
            with pytest.raises(FunneliftError, match=rf"{8 * arm} treated and {8 - 8 * arm} control rows"):
                value(calibration, test, policy())
    monkeypatch.setattr(Bootstrap, "weights", lambda self, visitors: np.zeros((self.resamples, visitors), np.uint8))
    with pytest.raises(FunneliftError, match="8 visitors of the training and the test split are too few"):
        value(TOY, TOY, policy())


# --- for all data --------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 10_000)
COSTS = st.just(0.0) | st.floats(0.01, 80)
PER = st.sampled_from(["redemption", "contact"])


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, cost=COSTS, cost_per=PER, margin=st.floats(0.1, 1), own_values=st.booleans())
def test_strategies_meet_at_all_and_random_is_linear(
    seed: int, cost: float, cost_per: str, margin: float, own_values: bool
) -> None:
    data = scored(make_world(30, seed), own_values=own_values)
    if np.ptp(data.arms.treatment) == 0:
        return
    found = value(data, data, policy(cost=cost, cost_per=cost_per, margin=margin), 1_000.0)
    everybody = [projection(found, strategy, 100) for strategy in STRATEGIES]
    for each in everybody[1:]:
        # Equal to the last bit, whatever the ranking: rounding must not pass for a gain.
        assert replace(each, strategy="uplift", is_chosen=everybody[0].is_chosen) == everybody[0]
    for percent in range(1, 101):
        each, share = projection(found, "random", percent), percent / 100
        for name in ("profit", "profit_ci_lower", "cost", "redemptions", "targeted_sessions", "profit_ipw"):
            assert getattr(each, name) == pytest.approx(share * getattr(everybody[0], name), rel=1e-9, abs=1e-9)
    for each in found.projections:
        assert each.profit == pytest.approx(each.incremental_margin - each.cost)
        assert each.roi == (pytest.approx(each.profit / each.cost) if each.cost > 0 else None)
        numbers = [value for value in vars(each).values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, cost_per=PER, cost=st.floats(0.1, 40), budget=st.floats(1, 4_000), more=st.floats(1, 3))
def test_budgets_hold_and_a_dearer_treatment_never_reaches_further(
    seed: int, cost_per: str, cost: float, budget: float, more: float
) -> None:
    data = scored(make_world(30, seed))
    if np.ptp(data.arms.treatment) == 0:
        return
    own = policy(cost=cost, cost_per=cost_per)
    limited, wider, free, dearer = (
        value(data, data, own.model_copy(update=changed), 1_000.0)
        for changed in ({"budget": budget}, {"budget": budget * more}, {}, {"cost": cost * more, "cost_per": "contact"})
    )
    for strategy in STRATEGIES:
        shares = [each.chosen[strategy] for each in (limited, wider, free)]
        assert shares == sorted(shares)
        if limited.chosen[strategy]:
            assert projection(limited, strategy, limited.chosen[strategy]).cost <= budget
        if free.chosen[strategy]:
            best = projection(free, strategy, free.chosen[strategy]).profit
            assert best == max(each.profit for each in free.projections if each.strategy == strategy) > 0
        else:
            assert all(each.profit <= 0 for each in free.projections if each.strategy == strategy)
        if cost_per == "contact":
            assert dearer.chosen[strategy] <= free.chosen[strategy]
            costs = [projection(free, strategy, percent).cost for percent in range(1, 101)]
            assert costs == sorted(costs)
        for percent in (10, 55, 100):
            cheap, dear = projection(free, strategy, percent), projection(dearer, strategy, percent)
            if cost_per == "contact":
                assert dear.cost == pytest.approx(more * cheap.cost)
                assert dear.profit <= cheap.profit + 1e-9


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, levels=st.integers(1, 60), rows=st.integers(1, 300))
def test_the_top_share_of_the_calibration_rows_is_that_share_whatever_the_ties(
    seed: int, levels: int, rows: int
) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, rows).astype(float)
    other = rng.integers(-1, levels + 1, 50).astype(float)
    ranks = percentile_ranks(score, other, np.zeros(50))
    assert ranks == pytest.approx([min(np.mean(score < each), 1 - 2**-53) for each in other])
    tied = percentile_ranks(score, other, np.full(50, 1 - 2**-53))
    assert tied == pytest.approx([np.mean(score <= each) for each in other])
    every = np.concatenate([ranks, tied])
    assert (every >= 0).all()
    assert (every < 1).all()
    # With a tie-breaker spread evenly over each score's rows, every share is hit to within a row.
    order = np.argsort(score, kind="stable")
    place = np.arange(rows) - np.searchsorted(score[order], score[order])
    even = np.empty(rows)
    even[order] = (place + 0.5) / np.unique(score, return_counts=True)[1][
        np.unique(score, return_inverse=True)[1][order]
    ]
    own = percentile_ranks(score, score, even)
    for share in (0.01, 0.1, 0.37, 1.0):
        assert abs((own >= 1 - share).sum() - share * rows) <= 1


@settings(max_examples=60, deadline=None)
@given(
    percentile=st.lists(
        st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 99).map(lambda percent: percent / 100))
    )
)
def test_shares_and_deciles_follow_the_rule_to_the_last_bit(percentile: list[float]) -> None:
    ranks = np.array(percentile)
    shares, found = smallest_share(ranks), deciles(ranks)
    for rank, share, decile in zip(percentile, shares, found, strict=True):
        assert share == next(percent for percent in range(1, 101) if rank >= (100 - percent) / 100)
        assert decile == next(number for number in range(1, 11) if rank >= (10 - number) / 10)


def test_deciles_of_even_ranks_are_equal_in_size() -> None:
    assert np.bincount(deciles(np.arange(1_000) / 1_000), minlength=11).tolist() == [0] + [100] * 10


def test_quadrants_mean_what_they_say() -> None:
    names = [
        # cost 5 of each redemption, worth 50, usual rate 0.1
        (0.10, 0.20, "persuadable"),  # 50 x 0.1 - 5 x 0.2 = 4
        (0.50, 0.55, "sure thing"),  # 50 x 0.05 - 5 x 0.55 = -0.25: buys anyway, and would use the discount
        (0.10, 0.10, "sure thing"),
        (0.09, 0.09, "lost cause"),
        (0.30, 0.29, "sleeping dog"),
        (0.05, 0.04, "sleeping dog"),
    ]
    p0, p1 = (np.array([row[at] for row in names], dtype=float) for at in (0, 1))
    found = quadrants(p0, p1, np.full(len(p0), 50.0), 0.1, policy())
    assert [QUADRANTS[code] for code in found] == [row[2] for row in names]
    assert found.dtype == np.int8


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, cost=COSTS, cost_per=PER, margin=st.floats(0.1, 1), usual=st.floats(0, 1))
def test_quadrants_equal_a_plain_loop(seed: int, cost: float, cost_per: str, margin: float, usual: float) -> None:
    rng = np.random.default_rng(seed)
    p0, p1 = rng.choice(np.linspace(0, 1, 5), (2, 60))
    worth = rng.uniform(0, 100, 60)
    own = policy(cost=cost, cost_per=cost_per, margin=margin)
    for code, control, treated, revenue in zip(quadrants(p0, p1, worth, usual, own), p0, p1, worth, strict=True):
        paid = cost * treated if cost_per == "redemption" else cost
        if margin * revenue * (treated - control) - paid > 0:
            expected = "persuadable"
        elif treated < control:
            expected = "sleeping dog"
        else:
            expected = "sure thing" if control >= usual else "lost cause"
        assert QUADRANTS[code] == expected


# --- in many worlds ------------------------------------------------------------------------------------------------


def predict(x: Floats) -> tuple[Floats, Floats]:
    """Return predictions of a fixed model that has caught part of the truth and some noise."""
    p0 = np.asarray(expit(-2.2 + 0.8 * x[:, 0] + 0.4 * x[:, 2]))
    return p0, np.clip(p0 + 0.2 * norm.cdf(1.2 * x[:, 1] + 0.8 * x[:, 2]) - 0.06, 0, 1)


def worth(x: Floats) -> Floats:
    return np.asarray(40 + 10 * np.tanh(x[:, 0]))


def scores(x: Floats) -> dict[str, Floats]:
    p0, p1 = predict(x)
    return {"uplift": p1 - p0, "response": p0}


def scored(world: World, ranked_against: World | None = None, own_values: bool = True) -> Scored:
    reference = scores((ranked_against or world).x)
    ties = np.full(len(world.visitor), 0.5)
    ranks = {name: percentile_ranks(reference[name], score, ties) for name, score in scores(world.x).items()}
    values = worth(world.x) if own_values else np.full(len(ties), 50.0)
    return Scored(world.arms, *predict(world.x), ranks, values)


class Population:
    """A world so large that what a fixed policy earns there is the truth; by expected, not drawn, outcomes."""

    def __init__(self, effect: float, own: PolicySettings) -> None:
        world = make_world(150_000, 987_654_321, effect)
        paid = world.p0 + world.tau if own.cost_per == "redemption" else 1.0
        gain = own.margin * worth(world.x) * world.tau - own.cost * paid
        self.ranked, self.earned = {}, {}
        for name, score in scores(world.x).items():
            order = np.argsort(-score)
            self.ranked[name] = score[order][::-1]
            self.earned[name] = np.concatenate([[0.0], np.cumsum(gain[order])]) / len(gain)

    def profit(self, calibration: World, strategy: str, percent: int) -> float:
        """Return the expected profit per session of the share of a strategy, ranked against a calibration split."""
        if strategy == "random":
            return float(self.earned["uplift"][-1]) * percent / 100
        reference = np.sort(scores(calibration.x)[strategy])
        # Targeted is what more than this many calibration rows score below: percentile >= 1 - share.
        below = int(np.ceil(len(reference) * (1 - percent / 100) - 1e-9))
        ranked = self.ranked[strategy]
        first = np.searchsorted(ranked, reference[below - 1], side="right") if below else 0
        return float(self.earned[strategy][len(ranked) - first])


@dataclass(frozen=True)
class Run:
    """One world: what was found, and the truth about it."""

    calibration: World
    test: World
    found: PolicyValue


@pytest.fixture(scope="module", autouse=True)
def same_resamples() -> Iterator[None]:
    # The weights of the visitors know nothing of the data: drawn once they serve all worlds, in half the time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bootstrap, "weights", cache(Bootstrap.weights))
        yield


def run_worlds(effect: float, own: PolicySettings) -> list[Run]:
    runs = []
    for seed in range(WORLDS):
        calibration = make_world(CALIBRATION_VISITORS, 2 * seed, effect)
        test = make_world(TEST_VISITORS, 2 * seed + 1, effect)
        runs.append(Run(calibration, test, value(scored(calibration), scored(test, calibration), own)))
    return runs


MANY = policy(bootstrap_resamples=200)
FREE = MANY.model_copy(update={"cost": 0.0, "cost_per": "contact"})


@pytest.fixture(scope="module")
def effective() -> list[Run]:
    return run_worlds(1.0, MANY)


@pytest.fixture(scope="module")
def null() -> dict[str, list[Run]]:
    return {"free": run_worlds(0.0, FREE), "default": run_worlds(0.0, MANY)}


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(1.0, MANY)


def truth_of(
    runs: list[Run], population: Population, strategy: str, percent: int | None
) -> list[tuple[Projection, float]]:
    """Return the projection at a share, or at the chosen one, beside what it truly earns."""
    pairs = []
    for run in runs:
        share = percent or run.found.chosen[strategy]
        if share:
            truth = population.profit(run.calibration, strategy, share)
            pairs.append((projection(run.found, strategy, share), truth))
    return pairs


def is_unbiased(errors: Floats) -> bool:
    return bool(abs(errors.mean()) < 3 * errors.std(ddof=1) / len(errors) ** 0.5)


@pytest.mark.parametrize(("strategy", "percent"), [("uplift", None), ("response", None), ("uplift", 100)])
@pytest.mark.statistics
def test_intervals_of_profit_cover_the_truth_as_often_as_they_claim(
    effective: list[Run], population: Population, strategy: str, percent: int | None
) -> None:
    pairs = truth_of(effective, population, strategy, percent)
    assert len(pairs) > 0.95 * WORLDS
    robust = np.mean([found.profit_ci_lower <= truth <= found.profit_ci_upper for found, truth in pairs])
    weighted = np.mean([found.profit_ipw_ci_lower <= truth <= found.profit_ipw_ci_upper for found, truth in pairs])
    assert 0.92 <= robust <= 0.98
    assert 0.92 <= weighted <= 0.98


@pytest.mark.parametrize("name", ["free", "default"])
@pytest.mark.statistics
def test_without_any_effect_hardly_ever_is_a_strategy_said_to_earn(null: dict[str, list[Run]], name: str) -> None:
    said = [any(each.is_chosen and each.profit_ci_lower > 0 for each in run.found.projections) for run in null[name]]
    assert np.mean(said) <= 0.07
    better = [any(gain.ci_lower > 0 for gain in run.found.gains if gain.versus == "treat none") for run in null[name]]
    assert np.mean(better) <= 0.07


@pytest.mark.parametrize("estimator", ["profit", "profit_ipw"])
@pytest.mark.parametrize(
    ("strategy", "percent"), [("uplift", None), ("response", None), ("uplift", 100), ("random", 40)]
)
@pytest.mark.statistics
def test_a_share_chosen_on_the_calibration_slice_is_valued_without_bias(
    effective: list[Run], population: Population, strategy: str, percent: int | None, estimator: str
) -> None:
    pairs = truth_of(effective, population, strategy, percent)
    assert is_unbiased(np.array([getattr(found, estimator) - truth for found, truth in pairs]))


@pytest.mark.statistics
def test_a_share_chosen_on_the_test_slice_would_be_overvalued(null: dict[str, list[Run]]) -> None:
    # Nothing has an effect and nothing costs, so every policy truly earns 0.
    ours, theirs = [], []
    for run in null["free"]:
        own = {each.share_percent: each.profit for each in run.found.projections if each.strategy == "uplift"}
        ours.append(own.get(run.found.chosen["uplift"], 0.0))
        theirs.append(max(0.0, *own.values()))
    assert is_unbiased(np.array(ours))
    assert not is_unbiased(np.array(theirs))
    assert np.mean(theirs) > 5 * abs(np.mean(ours))


@pytest.mark.statistics
def test_good_predictions_narrow_the_interval(effective: list[Run]) -> None:
    for percent in (30, 100):
        found = [projection(run.found, "uplift", percent) for run in effective]
        robust = np.mean([each.profit_ci_upper - each.profit_ci_lower for each in found])
        weighted = np.mean([each.profit_ipw_ci_upper - each.profit_ipw_ci_lower for each in found])
        assert robust < 0.98 * weighted


@pytest.mark.statistics
def test_wrong_predictions_leave_the_value_unbiased(effective: list[Run], population: Population) -> None:
    for percent in (30, 100):
        errors, believed = [], []
        for run in effective:
            data = scored(run.test, run.calibration)
            wrong = replace(data, p_control=np.full(len(data.value), 0.4), p_treatment=1 - data.p_treatment)
            truth = population.profit(run.calibration, "uplift", percent)
            robust, _ = ShareSums(wrong).observed()
            errors.append(robust["uplift"].profit(MANY, MANY.cost)[0, percent] - truth)
            gain = (data.value - MANY.cost) * wrong.p_treatment - data.value * wrong.p_control
            believed.append((gain * (data.percentiles["uplift"] >= 1 - percent / 100)).mean() - truth)
        assert is_unbiased(np.array(errors))
        # The predictions taken at their word would be far off.
        assert abs(np.mean(believed)) > 10 * abs(np.mean(errors))
