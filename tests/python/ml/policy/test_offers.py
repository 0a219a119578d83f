"""Who gets which offer, under one budget: against a linear programme, by hand, and in worlds whose truth is known."""

from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from scipy.optimize import linprog
from statsmodels.stats.multitest import multipletests

from ml.policy.offers import (
    EVERYBODY,
    NOBODY,
    Policy,
    Valued,
    best_for_each,
    choose_policy,
    holm,
    single_policies,
    value_offers,
)
from ml.uplift.offers import Costs
from policies import BASKET, BOOTSTRAP, ROWS, costs, rows


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_one_price_of_money_earns_what_the_best_plan_within_the_budget_earns(seed: int, share: float) -> None:
    valued = rows(seed, offers=3)
    paid = costs(3, basket=BASKET)
    free = best_for_each(valued, (1, 2, 3), paid, None)
    given = free.assign(valued.gains, valued.costs, valued.ties)
    spent = valued.costs[np.arange(ROWS), given - 1][given > 0].sum()
    budget = share * spent
    policy = best_for_each(valued, (1, 2, 3), paid, budget)
    assert policy.price > 0
    given = policy.assign(valued.gains, valued.costs, valued.ties)
    own = np.flatnonzero(given)
    spent = valued.costs[own, given[own] - 1].sum()
    assert spent == pytest.approx(budget, rel=0.02, abs=6)
    each_once = np.repeat(np.eye(ROWS), 3, axis=1)
    plan = linprog(-valued.gains.ravel(), A_ub=np.vstack([valued.costs.ravel(), each_once]),
                   b_ub=np.append(spent, np.ones(ROWS)), bounds=(0, 1))  # fmt: skip
    assert valued.gains[own, given[own] - 1].sum() == pytest.approx(-plan.fun, rel=0.02)


def test_rows_that_look_alike_share_a_budget_by_lot() -> None:
    valued = rows(1, offers=1)
    alike = Valued(
        np.full((ROWS, 1), 3.0),
        np.full((ROWS, 1), 2.0),
        valued.scores,
        valued.capped,
        valued.ties,
        valued.visitor,
        600.0,
    )
    policy = best_for_each(alike, (1,), costs(1, contact=2), 300.0)
    given = policy.assign(alike.gains, alike.costs, alike.ties)
    assert given.sum() == pytest.approx(150, abs=30)
    assert best_for_each(alike, (1,), costs(1, contact=2), 1200.0).assign(alike.gains, alike.costs, alike.ties).all()
    assert set(given[alike.ties < policy.share]) == {1}


def test_what_costs_nothing_is_given_at_any_price_and_what_loses_never() -> None:
    gains = np.column_stack([np.full(ROWS, 2.0), np.full(ROWS, 5.0), np.full(ROWS, -1.0)])
    paid = np.column_stack([np.zeros(ROWS), np.full(ROWS, 4.0), np.zeros(ROWS)])
    valued = Valued(
        gains, paid, rows(1, 3).scores, rows(1, 3).scores, rows(1).ties, np.arange(ROWS, dtype=np.int32), 600.0
    )
    none = (0.0, 0.0, 0.0)
    policy = best_for_each(valued, (1, 2, 3), Costs((0.0, 4.0, 0.0), none, none, none, 1.0), 400.0)
    given = policy.assign(gains, paid, valued.ties)
    assert set(given) == {1, 2}
    assert (given == 2).sum() == pytest.approx(100, abs=30)


def test_fixed_costs_leave_out_offers_that_do_not_earn_them_back() -> None:
    valued = rows(3, offers=2)
    everything = choose_policy(valued, (1, 2), costs(2), None)
    assert everything.offers == (1, 2)
    one = choose_policy(valued, (1, 2), costs(2, fixed=2000), None)
    assert len(one.offers) == 1
    assert choose_policy(valued, (1, 2), costs(2, fixed=1e6), None).kind == NOBODY
    assert choose_policy(valued, (1, 2), costs(2, fixed=2000), 1999.0).kind == NOBODY
    assert choose_policy(valued, (1, 2), costs(2, contact=1e4), None).kind == NOBODY


def test_values_are_the_sums_of_the_rows_scores() -> None:
    valued, paid = rows(4), costs(2, contact=1.5, fixed=10)
    singles = single_policies(valued, (1, 2), paid, None)
    best = best_for_each(valued, (1, 2), paid, None)
    policies = [("nobody", Policy(NOBODY)), *((str(each.offers[0]), each) for each in singles), ("best", best)]
    found = value_offers(valued, policies, best, paid, names=["none", "A", "B"][1:], bootstrap=BOOTSTRAP)
    named = {entry.name: entry for entry in found}
    given = best.assign(valued.gains, valued.costs, valued.ties)
    spends, own = valued.scores.spends, np.flatnonzero(given)
    revenue = (spends[own, given[own]] - spends[own, 0]).sum()
    assert named["best"].revenue[0] == pytest.approx(revenue)
    assert named["best"].cost == pytest.approx(1.5 * len(own) + 10 * len(set(given[own])))
    assert named["best"].profit[0] == pytest.approx(revenue - named["best"].cost)
    assert named["best"].treated == pytest.approx({"A": (given == 1).sum(), "B": (given == 2).sum()})
    assert named["nobody"].profit == (0, 0, 0)
    for entry in found:
        assert entry.profit[1] <= entry.profit[0] <= entry.profit[2]
    single = named[str(singles[0].offers[0])]
    assert named["best"].against_single is not None
    assert named["best"].against_single[0] == pytest.approx(named["best"].profit[0] - single.profit[0])
    mix = [np.mean(given == code) for code in (1, 2)]
    by_lot = sum(share * (spends[:, code] - spends[:, 0] - 1.5).sum() for code, share in zip((1, 2), mix, strict=True))
    assert found[-1].profit[0] == pytest.approx(by_lot - 20)
    assert not found[-1].is_chosen
    assert [entry.is_chosen for entry in found] == [False, False, False, True, False]


@pytest.mark.parametrize("fixed", [0.0, 100.0])
def test_a_budget_is_set_by_what_offers_cost_and_not_by_what_was_predicted(fixed: float) -> None:
    # Whoever is predicted to cost little is treated first, and costs twice that.
    true, paid, budget = rows(6), costs(2, basket=BASKET, fixed=fixed), 900.0
    valued = replace(true, costs=true.costs / 2)
    best = best_for_each(valued, (1, 2), paid, budget)
    given = best.assign(valued.gains, valued.costs, valued.ties)
    own = np.flatnonzero(given)
    assert BASKET * valued.scores.spends[own, given[own]].sum() + 2 * fixed == pytest.approx(budget, rel=0.02)
    for single in single_policies(valued, (1, 2), paid, budget):
        everybody = BASKET * valued.scores.spends[:, single.offers[0]].sum()
        assert single.share * everybody + fixed == pytest.approx(budget)


def test_a_policy_that_would_break_the_budget_makes_offers_until_it_is_used_up() -> None:
    valued, paid, budget = rows(7), costs(2, basket=BASKET, fixed=10), 400.0
    free = best_for_each(valued, (1, 2), paid, None)
    policies = [("nobody", Policy(NOBODY)), ("A", Policy(EVERYBODY, (1,), share=0.1)), ("best", free)]
    asked: dict[str, Any] = {"names": ["A", "B"], "bootstrap": BOOTSTRAP}
    whole = value_offers(valued, policies, free, paid, **asked)
    cut = value_offers(valued, policies, free, paid, budget=budget, **asked)
    assert [entry.reach for entry in whole] == [1, 1, 1, 1]
    assert [entry.reach for entry in cut[:2]] == [1, 1]
    assert cut[:2] == [replace(entry, against_single=ANY, against_random=ANY) for entry in whole[:2]]
    for before, after in zip(whole[2:], cut[2:], strict=True):
        assert before.cost > budget
        assert after.cost == pytest.approx(budget)
        assert after.reach == pytest.approx((budget - 20) / (before.cost - 20))
        assert after.treated == pytest.approx({name: after.reach * count for name, count in before.treated.items()})
        assert after.revenue[0] == pytest.approx(after.reach * before.revenue[0])
        assert after.profit[0] == pytest.approx(after.reach * (before.profit[0] + 20) - 20)
        # However the visitors are drawn, no more is spent: what is uncertain is the revenue alone.
        assert after.profit[1:] == pytest.approx([bound - budget for bound in after.revenue[1:]])


def test_intervals_resample_visitors_not_rows() -> None:
    valued = rows(5)
    policies = [("all", Policy(EVERYBODY, (1,)))]

    def width(visitor: np.ndarray) -> float:  # type: ignore[type-arg]
        own = Valued(valued.gains, valued.costs, valued.scores, valued.capped, valued.ties, visitor, 600.0)
        (entry, _) = value_offers(own, policies, policies[0][1], costs(2), names=["A", "B"], bootstrap=BOOTSTRAP)
        return entry.profit[2] - entry.profit[1]

    order = np.argsort(valued.scores.spends[:, 1] - valued.scores.spends[:, 0])
    alike = np.empty(ROWS, np.int32)
    alike[order] = np.arange(ROWS) // 6
    assert width(alike) > 2 * width(np.arange(ROWS, dtype=np.int32))


def test_holm_is_statsmodels() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 5, 9):
        p_values = rng.random(size) ** 3
        assert holm(list(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])
