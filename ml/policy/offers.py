"""Who gets which offer, under one budget, and what that earns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats
from ml.bootstrap import Bootstrap, visitor_codes
from ml.uplift.offers import Costs, Responses

MOST_SUBSETS = 6  # offers of which every choice is tried where a fixed cost is paid
WEIGHTS_AT_ONCE = 2**24
HALVINGS = 60
NOBODY, EVERYBODY, BEST = "nobody", "everybody", "best offer for each"


@dataclass(frozen=True)
class Policy:
    """A rule that gives each row an offer, or none (0).

    Of `offers`, a row gets the one with the highest gain less `price` times its cost, where that is above 0. `price` is
    the Lagrange multiplier of the budget: what a unit of money must bring. Rows that would get another offer at
    `lower_price` get it by lot, with chance `share`, so that the budget is used up. A policy for everybody gives its
    one offer to a `share` of all, by lot.
    """

    kind: str
    offers: tuple[int, ...] = ()
    price: float = 0.0
    lower_price: float = 0.0
    share: float = 1.0

    def assign(self, gains: Floats, costs: Floats, ties: Floats) -> Codes:
        """Give rows their offers.

        Parameters
        ----------
        gains, costs : ndarray of shape (n_rows, n_offers)
            What each offer earns, its cost taken off, and that cost.
        ties : ndarray of shape (n_rows,)
            The lot, 0 to 1.

        Returns
        -------
        ndarray of shape (n_rows,)
            Code of the offer, from 1 on; 0 for none.
        """
        if self.kind == NOBODY:
            return np.zeros(len(gains), np.int8)
        by_lot = ties < self.share
        if self.kind == EVERYBODY:
            return np.where(by_lot, self.offers[0], 0).astype(np.int8)
        strict = _best(gains, costs, self.offers, self.price)
        return (
            strict
            if self.price == self.lower_price
            else np.where(by_lot, _best(gains, costs, self.offers, self.lower_price), strict).astype(np.int8)
        )


def _best(gains: Floats, costs: Floats, offers: tuple[int, ...], price: float) -> Codes:
    codes = np.array(offers)
    worth = gains[:, codes - 1] - price * costs[:, codes - 1]
    best = worth.argmax(axis=1)
    return np.where(worth[np.arange(len(worth)), best] > 0, codes[best], 0).astype(np.int8)


@dataclass(frozen=True)
class Valued:
    """Rows of a split: what the models say of them, and doubly robust scores of what they do in each arm.

    `gains` and `costs` are predicted, of shape (n_rows, n_offers). `scores` holds what rows do; `capped` the same with
    amounts cut at a high quantile. `rows` is what all figures are stated for.

    What is spent is counted by doubly robust scores: rows are chosen for a low predicted cost, so that the sum of
    predictions falls short of what they cost.
    """

    gains: Floats
    costs: Floats
    scores: Responses
    capped: Responses
    ties: Floats
    visitor: npt.NDArray[np.int32]
    rows: float

    def __len__(self) -> int:
        return len(self.ties)

    def paid(self, costs: Costs) -> Floats:
        """Return what each offer costs each row by doubly robust scores, fixed costs aside."""
        return costs.paid(self.scores.buys[:, 1:], self.scores.spends[:, 1:])


@dataclass(frozen=True)
class PolicyTotals:
    """What a policy does, against making nobody an offer; each figure with the bounds of its interval.

    `reach` is the share of its offers that the budget pays for, 1 where it pays for all: all figures are of these.
    """

    name: str
    is_chosen: bool
    reach: float
    treated: dict[str, float]
    cost: float
    conversions: tuple[float, float, float]
    revenue: tuple[float, float, float]
    profit: tuple[float, float, float]
    capped_profit: tuple[float, float, float]
    against_single: tuple[float, float, float] | None
    against_random: tuple[float, float, float] | None


def choose_policy(valued: Valued, offers: Sequence[int], costs: Costs, budget: float | None) -> Policy:
    """Choose the policy with the highest doubly robust profit: nobody, one offer for all, or the best for each.

    Parameters
    ----------
    valued : Valued
        Rows that no model learnt from.
    offers : sequence of int
        Codes of the offers that may be made.
    costs : Costs
        What they cost.
    budget : float, optional
        Most that may be spent, fixed costs included.

    Returns
    -------
    Policy
        The simplest one where several earn the same.
    """
    best, highest = Policy(NOBODY), 0.0
    for policy in _candidates(valued, tuple(offers), costs, budget):
        earned = _profit(valued, policy, costs)
        if earned > highest:
            best, highest = policy, earned
    return best


def single_policies(valued: Valued, offers: Sequence[int], costs: Costs, budget: float | None) -> list[Policy]:
    """Return the policies that make one offer to all, or to as many as the budget allows, the best one first.

    Parameters
    ----------
    valued : Valued
        Rows that no model learnt from.
    offers : sequence of int
        Codes of the offers that may be made.
    costs : Costs
        What they cost.
    budget : float, optional
        Most that may be spent.

    Returns
    -------
    list of Policy
        One per offer that the budget allows.
    """
    found, paid = [], valued.paid(costs)
    for offer in offers:
        left = np.inf if budget is None else budget - costs.fixed[offer - 1]
        everybody = valued.rows * float(paid[:, offer - 1].mean())
        if left > 0:
            found.append(Policy(EVERYBODY, (offer,), share=1.0 if everybody <= left else left / everybody))
    return sorted(found, key=lambda policy: -_profit(valued, policy, costs))


def best_for_each(valued: Valued, offers: tuple[int, ...], costs: Costs, budget: float | None) -> Policy:
    """Return the policy that gives each row the best of some offers, within the budget.

    Parameters
    ----------
    valued : Valued
        Rows by which the price of money is set.
    offers : tuple of int
        Codes of the offers.
    costs : Costs
        What they cost.
    budget : float, optional
        Most that may be spent.

    Returns
    -------
    Policy
        The policy.
    """
    free = Policy(BEST, offers)
    if budget is None:
        return free
    left = budget - sum(costs.fixed[offer - 1] for offer in offers)
    found = valued.paid(costs)

    def spent(price: float) -> float:
        given = _best(valued.gains, valued.costs, offers, price)
        rows = np.flatnonzero(given)
        return valued.rows / len(valued) * float(found[rows, given[rows] - 1].sum())

    if spent(0) <= left:
        return free
    paid = valued.costs[:, np.array(offers) - 1]
    gained = valued.gains[:, np.array(offers) - 1]
    # Above this price nothing is worth its cost; what costs nothing is given at any price.
    high = float((gained[paid > 0] / paid[paid > 0]).max(initial=0)) * (1 + 1e-9) + 1e-9
    low = 0.0
    if spent(high) > left:
        return Policy(NOBODY)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= left else (middle, high)
    least, most = spent(high), spent(low)
    return Policy(BEST, offers, price=high, lower_price=low, share=(left - least) / (most - least))


def value_offers(
    valued: Valued, policies: Sequence[tuple[str, Policy]], chosen: Policy, costs: Costs,
    *, names: Sequence[str], bootstrap: Bootstrap, budget: float | None = None,
) -> list[PolicyTotals]:  # fmt: skip
    """Value policies by rows that had no part in learning or choosing them.

    A policy that would spend more than the budget here makes its offers until the budget is used up: to as many rows as
    it reaches, drawn by lot.

    Parameters
    ----------
    valued : Valued
        Rows of the test split.
    policies : sequence of (str, Policy)
        Their names; the first one for everybody is the single offer that the others are compared with.
    chosen : Policy
        The policy that was chosen.
    costs : Costs
        What offers cost.
    names : sequence of str
        What the offers are called.
    bootstrap : Bootstrap
        The intervals: a Poisson bootstrap of visitors, the offers of each row fixed.
    budget : float, optional
        Most that may be spent, fixed costs included.

    Returns
    -------
    list of PolicyTotals
        One per policy, and what the chosen one's offers earn when they are dealt by lot.
    """
    plans = [(name, policy, _plan(valued, policy)) for name, policy in policies]
    own = next(plan for _, policy, plan in plans if policy == chosen)
    single = next((place for place, (_, policy, _) in enumerate(plans) if policy.kind == EVERYBODY), None)
    at_random = np.broadcast_to(own.mean(axis=0), own.shape)
    named = [(name, plan) for name, _, plan in plans]
    if own.any():
        named.append(("the chosen offers, dealt by lot", at_random))
    figures = np.stack([_figures(valued, plan, costs) for _, plan in named])
    fixed = np.array([_fixed(plan, costs) for _, plan in named])
    observed, resampled = _totals(valued, figures, bootstrap)
    reach = _reach(observed, fixed, costs.margin, budget)
    resampled *= _reach(resampled, fixed, costs.margin, budget)[..., None]
    observed *= reach[:, None]
    # Of the four figures, the third and the fourth are profits.
    observed[:, 2:] -= fixed[:, None]
    resampled[..., 2:] -= fixed[:, None]

    def interval(value: float, draws: Floats) -> tuple[float, float, float]:
        return (float(value), *bootstrap.interval(draws))

    def against(place: int, other: int | None) -> tuple[float, float, float] | None:
        if other is None or other == place:
            return None
        return interval(observed[place, 2] - observed[other, 2], resampled[:, place, 2] - resampled[:, other, 2])

    found = []
    for place, (name, plan) in enumerate(named):
        spends = [interval(observed[place, figure], resampled[:, place, figure]) for figure in range(4)]
        conversions, revenue, profit, capped = spends
        found.append(
            PolicyTotals(
                name=name,
                is_chosen=place < len(policies) and policies[place][1] == chosen,
                reach=float(reach[place]),
                treated=dict(zip(names, (plan.mean(axis=0) * reach[place] * valued.rows).tolist(), strict=True)),
                cost=costs.margin * revenue[0] - profit[0],
                conversions=conversions,
                revenue=revenue,
                profit=profit,
                capped_profit=capped,
                against_single=against(place, single),
                against_random=against(place, len(policies) if own.any() and place < len(policies) else None),
            )
        )
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number.

    Parameters
    ----------
    p_values : sequence of float
        One per comparison.

    Returns
    -------
    list of float
        Corrected, in the same order.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6:65-70.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    steps = np.array(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in corrected]


def _candidates(valued: Valued, offers: tuple[int, ...], costs: Costs, budget: float | None) -> Iterator[Policy]:
    yield from single_policies(valued, offers, costs, budget)
    sizes = range(1, len(offers) + 1) if any(costs.fixed) and len(offers) <= MOST_SUBSETS else [len(offers)]
    for size in sizes:
        for some in combinations(offers, size):
            yield best_for_each(valued, some, costs, budget)


def _plan(valued: Valued, policy: Policy) -> Floats:
    """Which row gets which offer: 0 and 1, shape (n_rows, n_offers)."""
    codes = policy.assign(valued.gains, valued.costs, valued.ties)
    return np.asarray(codes[:, None] == np.arange(1, valued.gains.shape[1] + 1), np.float64)


def _profit(valued: Valued, policy: Policy, costs: Costs) -> float:
    plan = _plan(valued, policy)
    earned = float((plan * costs.gained(valued.scores.buys, valued.scores.spends)).sum())
    return valued.rows / len(valued) * earned - _fixed(plan, costs)


def _fixed(plan: Floats, costs: Costs) -> float:
    return float((plan.any(axis=0) * np.array(costs.fixed)).sum())


def _reach(totals: Floats, fixed: Floats, margin: float, budget: float | None) -> Floats:
    """Share of each policy's offers that the budget pays for, by the figures of `_totals`: shape (..., n_policies)."""
    if budget is None:
        return np.ones(totals.shape[:-1])
    left, spent = np.maximum(budget - fixed, 0), margin * totals[..., 1] - totals[..., 2]
    return np.divide(left, spent, out=np.ones(spent.shape), where=spent > left)


def _figures(valued: Valued, plan: Floats, costs: Costs) -> Floats:
    """Extra conversions, extra revenue, profit and capped profit of each row: shape (n_rows, 4)."""
    scores, capped = valued.scores, valued.capped
    parts = [
        scores.buys[:, 1:] - scores.buys[:, :1],
        scores.spends[:, 1:] - scores.spends[:, :1],
        costs.gained(scores.buys, scores.spends),
        costs.gained(capped.buys, capped.spends),
    ]
    return np.column_stack([(plan * part).sum(axis=1) for part in parts])


def _totals(valued: Valued, figures: Floats, bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Totals of each policy's figures, and under resampled visitors: shapes (n_policies, 4), (n_resamples, …)."""
    codes, visitors = visitor_codes(valued.visitor)
    columns = [np.bincount(codes, column, visitors) for part in figures for column in part.T]
    sums = np.column_stack([*columns, np.bincount(codes, minlength=visitors)]).astype(np.float64)
    at_once = max(1, WEIGHTS_AT_ONCE // visitors)
    parts = [sums.sum(axis=0)[None]]
    for start in range(0, bootstrap.resamples, at_once):
        some = replace(bootstrap, resamples=min(at_once, bootstrap.resamples - start), seed=bootstrap.seed + start)
        parts.append(some.weights(visitors).astype(np.float64) @ sums)
    found = np.concatenate(parts)
    with np.errstate(invalid="ignore"):
        found = found[:, :-1] / found[:, -1:] * valued.rows
    shaped: Floats = np.asarray(found.reshape(len(found), *figures.shape[::2]), np.float64)
    return shaped[0], shaped[1:]
