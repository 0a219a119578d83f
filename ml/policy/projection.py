"""What a strategy earns at every share, with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.arrays import Counts, Floats, finite_or_none
from ml.config import PolicySettings
from ml.policy.estimates import Estimate
from ml.policy.intervals import bounds


@dataclass(frozen=True)
class Projection:
    """What a strategy earns when it targets a share of the eligible sessions, for `eligible_sessions` of them.

    Measured on `n_rows` rows of the training and the test split, and scaled. `incremental_conversions` is treated minus
    control among the targeted; `redemptions` the conversions of the targeted under treatment; both with standard errors
    and covariance, so that profit under other costs and revenues has an interval too. Doubly robust, unless named ipw.
    Profit is `incremental_margin - cost`, ROI that over cost: null where the cost is not above zero. The ipw figures
    are null where an arm has no row among the targeted. For `random` the counts of targeted rows are expected ones.
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


@dataclass(frozen=True)
class Estimates:
    """One strategy on the valued rows: both estimators' figures, on the rows as they are and resampled."""

    robust: Estimate
    robust_resamples: Estimate
    weighted: Estimate
    weighted_resamples: Estimate


def project(
    strategy: str, estimates: Estimates, rows: Counts, settings: PolicySettings, confidence: float, **common: Any
) -> list[Projection]:
    """State what a strategy earns at each share from 1 to 100 percent.

    Parameters
    ----------
    strategy : str
        Name of the strategy.
    estimates : Estimates
        What targeting each share yields.
    rows : ndarray of shape (2, 101)
        Control and treated rows that each share targets.
    settings : PolicySettings
        Cost and margin.
    confidence : float
        Confidence of the intervals, 0 to 1.
    **common
        Fields that are the same at every share, and `chosen`: the strategy's chosen share in percent.

    Returns
    -------
    list of Projection
        One per share.
    """
    chosen = common.pop("chosen")
    figures = _figures(estimates, settings, confidence)
    stated = {name: [finite_or_none(value) for value in values.tolist()] for name, values in figures.items()}
    projections = []
    for percent in range(1, 101):
        own: dict[str, Any] = {name: values[percent] for name, values in stated.items()}
        projections.append(
            Projection(
                strategy=strategy,
                share_percent=percent,
                is_chosen=percent == chosen,
                n_targeted=int(rows[:, percent].sum()),
                n_targeted_treatment=int(rows[1, percent]),
                n_targeted_control=int(rows[0, percent]),
                **common,
                **own,
            )
        )
    return projections


def _figures(estimates: Estimates, settings: PolicySettings, confidence: float) -> dict[str, Floats]:
    found, resamples = estimates.robust, estimates.robust_resamples
    cost = settings.cost * found.charged(settings)
    profit, profits = (each.profit(settings, settings.cost) for each in (found, resamples))
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
        "profit_ipw": estimates.weighted.profit(settings, settings.cost)[0],
        "roi": _ratio(profit, cost)[0],
    }
    for name, values in {
        "incremental_conversions": conversions,
        "profit": profits,
        "profit_ipw": estimates.weighted_resamples.profit(settings, settings.cost),
        "roi": _ratio(profits, settings.cost * resamples.charged(settings)),
    }.items():
        figures[f"{name}_ci_lower"], figures[f"{name}_ci_upper"] = bounds(values, confidence)
    return figures


def _ratio(profit: Floats, cost: Floats) -> Floats:
    ratio = np.full(profit.shape, np.nan)
    np.divide(profit, cost, out=ratio, where=cost > 0)
    return ratio
