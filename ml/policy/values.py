"""Whom to target, what it earns and with what certainty: policy value, ROI, break-even, sensitivity."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.arrays import Floats
from ml.config import PolicySettings
from ml.policy.estimates import Estimate, Scored, ShareSums
from ml.uplift.ranks import BINS, SHARES
from warehouse.errors import FunneliftError

STRATEGIES = ("uplift", "response", "random")
RIVALS = ("response", "random", "random at the same share", "treat all", "treat none")


@dataclass(frozen=True)
class Projection:
    """What a strategy earns when it targets a share of the eligible sessions, for `eligible_sessions` of them.

    Measured on the `n_rows` test rows and scaled. `incremental_conversions` is treated minus control among the
    targeted; `redemptions` the conversions of the targeted under treatment; both with standard errors and covariance,
    so that profit under other costs and revenues has an interval too. Doubly robust, unless named ipw. Profit is
    `incremental_margin - cost`, ROI that over cost: null where the cost is not above zero. The ipw figures are null
    where an arm has no row among the targeted. For `random` the counts of targeted rows are expected ones.
    """

    strategy: str
    share_percent: int
    is_chosen: bool
    n_rows: int
    n_targeted: int
    n_targeted_treatment: int
    n_targeted_control: int
    eligible_sessions: float
    targeted_sessions: float
    incremental_conversions: float
    incremental_conversions_ci_lower: float
    incremental_conversions_ci_upper: float
    incremental_conversions_se: float
    redemptions: float
    redemptions_se: float
    conversions_covariance: float
    incremental_revenue: float
    incremental_margin: float
    cost: float
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float
    profit_ipw: float | None
    profit_ipw_ci_lower: float | None
    profit_ipw_ci_upper: float | None
    roi: float | None
    roi_ci_lower: float | None
    roi_ci_upper: float | None
    is_simulated: bool


@dataclass(frozen=True)
class Sensitivity:
    """Profit of the uplift strategy under another cost and revenue, its share chosen anew on the calibration slice.

    Where conversions have values of their own, they move in proportion to `revenue_per_conversion`.
    """

    cost: float
    revenue_per_conversion: float
    share_percent: int
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float


@dataclass(frozen=True)
class Gain:
    """How much more profit a strategy makes than a rival, paired on the same resamples.

    The rivals are `RIVALS`: response and random are each at the share chosen for them, `random at the same share` is at
    the strategy's own, treat all and treat none ignore any budget.
    """

    strategy: str
    versus: str
    difference: float
    ci_lower: float
    ci_upper: float


@dataclass(frozen=True)
class PolicyValue:
    """All that the test slice says about money.

    `chosen` holds each strategy's share in percent, as chosen on the calibration slice (0: treat nobody);
    `break_even_share` the largest share in percent at which the uplift strategy's profit is not negative (0: none);
    `break_even_cost` the cost at which the chosen uplift strategy earns nothing, null where there is no such cost.
    """

    projections: list[Projection]
    chosen: dict[str, int]
    break_even_share: int
    break_even_cost: float | None
    sensitivity: list[Sensitivity]
    gains: list[Gain]


def value_policies(
    calibration: Scored,
    test: Scored,
    settings: PolicySettings,
    eligible_sessions: float,
    confidence: float,
    seed: int,
    is_simulated: bool,
) -> PolicyValue:
    """Choose each strategy's share on the calibration slice and say what it earns by the test slice.

    The share is the one of the highest doubly robust profit within the budget, among multiples of `share_step`; the
    smallest where several are equal.

    Parameters
    ----------
    calibration, test : Scored
        Rows of the two slices, ranked against the calibration rows' scores.
    settings : PolicySettings
        Cost, revenue, margin, budget, resamples and the multiples of the sensitivity grid.
    eligible_sessions : float
        Sessions that all figures and the budget are stated for.
    confidence : float
        Confidence of the intervals: percentiles of a Poisson bootstrap of the visitors, in which the targeted rows
        stay fixed. A resample in which a figure is not defined (ROI without a cost, ipw without an arm) counts as
        outside on both sides, and a bound that would lie there is null.
    seed : int
        Seed of the resamples.
    is_simulated : bool
        Whether the arms and effects are made up.

    Returns
    -------
    PolicyValue
        Projections of every strategy and share, the chosen ones, break-even, sensitivity and gains.

    Raises
    ------
    FunneliftError
        When a slice lacks an arm, or too few visitors are in one for an interval.
    """
    planned, _ = ShareSums(calibration, eligible_sessions).observed()
    chosen = {strategy: _best_share(planned[strategy], settings, settings.cost) for strategy in STRATEGIES}
    sums = ShareSums(test, eligible_sessions)
    robust, weighted = sums.observed()
    robust_resamples, weighted_resamples = sums.resampled(settings.bootstrap_resamples, seed)
    if len(robust_resamples["uplift"].targeted) < 2:
        raise FunneliftError(
            f"policy: {sums.visitors} visitors in the test slice are too few for an interval; "
            "give it a larger share of the time span (experiment.split)"
        )

    projections = []
    for strategy in STRATEGIES:
        figures = _figures(robust[strategy], robust_resamples[strategy], settings, confidence)
        ipw = weighted[strategy].profit(settings, settings.cost)[0]
        ipw_bounds = _bounds(weighted_resamples[strategy].profit(settings, settings.cost), confidence)
        figures |= {"profit_ipw": ipw, "profit_ipw_ci_lower": ipw_bounds[0], "profit_ipw_ci_upper": ipw_bounds[1]}
        stated = {name: [_or_none(value) for value in values.tolist()] for name, values in figures.items()}
        rows = sums.rows.get(strategy, np.rint(sums.rows["uplift"][:, -1:] * SHARES).astype(np.int64))
        for percent in range(1, 101):
            own: dict[str, Any] = {name: values[percent] for name, values in stated.items()}
            projections.append(
                Projection(
                    strategy=strategy,
                    share_percent=percent,
                    is_chosen=percent == chosen[strategy],
                    n_rows=len(test.treatment),
                    n_targeted=int(rows[:, percent].sum()),
                    n_targeted_treatment=int(rows[1, percent]),
                    n_targeted_control=int(rows[0, percent]),
                    eligible_sessions=eligible_sessions,
                    is_simulated=is_simulated,
                    **own,
                )
            )

    uplift, best = robust["uplift"], chosen["uplift"]
    return PolicyValue(
        projections=projections,
        chosen=chosen,
        break_even_share=int(np.flatnonzero(uplift.profit(settings, settings.cost)[0] >= 0)[-1]),
        break_even_cost=_break_even_cost(uplift, settings, best),
        sensitivity=_sensitivity(planned["uplift"], uplift, robust_resamples["uplift"], settings, confidence),
        gains=_gains(robust, robust_resamples, chosen, settings, confidence),
    )


def _best_share(planned: Estimate, settings: PolicySettings, cost: float, multiple: float = 1.0) -> int:
    profit = planned.profit(settings, cost, multiple)[0]
    if settings.budget is not None:
        # Treating more never costs less, although an estimate of it may.
        spent = np.maximum.accumulate(cost * planned.charged(settings)[0])
        profit = np.where(spent <= settings.budget, profit, -np.inf)
    candidates = np.arange(0, BINS + 1, settings.share_step)
    return int(candidates[np.argmax(profit[candidates])])


def _figures(found: Estimate, resamples: Estimate, settings: PolicySettings, confidence: float) -> dict[str, Floats]:
    cost = settings.cost * found.charged(settings)
    profit = found.profit(settings, settings.cost)
    profits = resamples.profit(settings, settings.cost)
    conversions, redemptions = resamples.incremental_conversions, resamples.redemptions
    centred = conversions - conversions.mean(axis=0), redemptions - redemptions.mean(axis=0)
    figures = {
        "targeted_sessions": found.targeted[0],
        "incremental_conversions": found.incremental_conversions[0],
        "incremental_conversions_se": conversions.std(axis=0, ddof=1),
        "redemptions": found.redemptions[0],
        "redemptions_se": redemptions.std(axis=0, ddof=1),
        "conversions_covariance": (centred[0] * centred[1]).sum(axis=0) / (len(conversions) - 1),
        "incremental_revenue": found.incremental_revenue[0],
        "incremental_margin": settings.margin * found.incremental_revenue[0],
        "cost": cost[0],
        "profit": profit[0],
        "roi": _ratio(profit, cost)[0],
    }
    for name, values in {
        "incremental_conversions": conversions,
        "profit": profits,
        "roi": _ratio(profits, settings.cost * resamples.charged(settings)),
    }.items():
        figures[f"{name}_ci_lower"], figures[f"{name}_ci_upper"] = _bounds(values, confidence)
    return figures


def _break_even_cost(found: Estimate, settings: PolicySettings, percent: int) -> float | None:
    margin, charged = settings.margin * found.incremental_revenue[0, percent], found.charged(settings)[0, percent]
    return float(margin / charged) if charged > 0 and margin >= 0 else None


def _sensitivity(
    planned: Estimate, found: Estimate, resamples: Estimate, settings: PolicySettings, confidence: float
) -> list[Sensitivity]:
    grid = []
    # A cost of 0 has no multiples.
    for cost in dict.fromkeys(settings.cost * multiple for multiple in settings.sensitivity):
        for multiple in dict.fromkeys(settings.sensitivity):
            percent = _best_share(planned, settings, cost, multiple)
            profit = float(found.profit(settings, cost, multiple)[0, percent])
            lower, upper = _bounds(resamples.profit(settings, cost, multiple)[:, percent], confidence)
            revenue = settings.revenue_per_conversion * multiple
            grid.append(Sensitivity(cost, revenue, percent, profit, float(lower), float(upper)))
    return grid


def _gains(
    found: dict[str, Estimate],
    resamples: dict[str, Estimate],
    chosen: dict[str, int],
    settings: PolicySettings,
    confidence: float,
) -> list[Gain]:
    places = [("response", chosen["response"]), ("random", chosen["random"]), ("random", chosen["uplift"])]
    places += [("random", 100), ("random", 0)]
    gains = []
    for versus, (rival, percent) in zip(RIVALS, places, strict=True):
        differences = [
            every["uplift"].profit(settings, settings.cost)[:, chosen["uplift"]]
            - every[rival].profit(settings, settings.cost)[:, percent]
            for every in (found, resamples)
        ]
        lower, upper = _bounds(differences[1], confidence)
        gains.append(Gain("uplift", versus, float(differences[0][0]), float(lower), float(upper)))
    return gains


def _ratio(profit: Floats, cost: Floats) -> Floats:
    ratio = np.full(profit.shape, np.nan)
    np.divide(profit, cost, out=ratio, where=cost > 0)
    return ratio


def _bounds(resamples: Floats, confidence: float) -> tuple[Floats, Floats]:
    # A resample without a figure lies below the lower and above the upper bound.
    undefined, tail = np.isnan(resamples), (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        lower = np.quantile(np.where(undefined, -np.inf, resamples), tail, axis=0)
        upper = np.quantile(np.where(undefined, np.inf, resamples), 1 - tail, axis=0)
    return lower, upper


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
