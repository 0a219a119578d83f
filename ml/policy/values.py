"""Whom to target, what it earns and with what certainty."""

from dataclasses import dataclass

import numpy as np

from ml.bootstrap import Bootstrap
from ml.config import PolicySettings
from ml.policy.choice import best_share, break_even_cost, break_even_share
from ml.policy.estimates import Scored, ShareSums
from ml.policy.gains import Gain, gains
from ml.policy.projection import Estimates, Projection, project
from ml.policy.sensitivity import Sensitivity, sensitivity
from ml.uplift.ranks import SHARES
from warehouse.errors import FunneliftError

STRATEGIES = ("uplift", "response", "random")


@dataclass(frozen=True)
class PolicyValue:
    """All that the rows which chose nothing say about money.

    `chosen` holds each strategy's share in percent, as chosen on the calibration split (0: treat nobody);
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
    calibration: Scored, valued: Scored, settings: PolicySettings, eligible_sessions: float, bootstrap: Bootstrap
) -> PolicyValue:
    """Choose each strategy's share on the calibration split and say what it earns by other rows.

    The share is the one of the highest doubly robust profit within the budget, among multiples of `share_step`; the
    smallest where several are equal.

    Parameters
    ----------
    calibration, valued : Scored
        Rows that choose the shares, and rows that value them. Both are ranked against the calibration rows' scores, by
        models that did not see them.
    settings : PolicySettings
        Cost, revenue, margin, budget and the multiples of the sensitivity grid.
    eligible_sessions : float
        Sessions that all figures and the budget are stated for.
    bootstrap : Bootstrap
        The intervals: percentiles of a Poisson bootstrap of the visitors, in which the targeted rows stay fixed. A
        resample in which a figure is not defined (ROI without a cost, ipw without an arm) counts as outside on both
        sides, and a bound that would lie there is null.

    Returns
    -------
    PolicyValue
        Projections of every strategy and share, the chosen ones, break-even, sensitivity and gains.

    Raises
    ------
    FunneliftError
        When a split lacks an arm, or too few visitors are in one for an interval.
    """
    planned, _ = ShareSums(calibration, eligible_sessions).observed()
    chosen = {strategy: best_share(planned[strategy], settings, settings.cost) for strategy in STRATEGIES}
    sums = ShareSums(valued, eligible_sessions)
    robust, weighted = sums.observed()
    robust_resamples, weighted_resamples = sums.resampled(bootstrap)
    if len(robust_resamples["uplift"].targeted) < 2:
        raise FunneliftError(
            f"policy: {sums.visitors} visitors of the training and the test split are too few for an interval; "
            "give these a larger share of the time span (experiment.split)"
        )
    own, resamples, confidence = robust["uplift"], robust_resamples["uplift"], bootstrap.confidence
    at_random = np.rint(sums.rows["uplift"][:, -1:] * SHARES).astype(np.int64)
    return PolicyValue(
        projections=[
            entry
            for name in STRATEGIES
            for entry in project(
                name,
                Estimates(robust[name], robust_resamples[name], weighted[name], weighted_resamples[name]),
                sums.rows.get(name, at_random),
                settings,
                confidence,
                chosen=chosen[name],
                n_rows=len(valued.arms),
                eligible_sessions=eligible_sessions,
            )
        ],
        chosen=chosen,
        break_even_share=break_even_share(own, settings),
        break_even_cost=break_even_cost(own, settings, chosen["uplift"]),
        sensitivity=sensitivity(planned["uplift"], own, resamples, settings, confidence),
        gains=gains(robust, robust_resamples, chosen, settings, confidence),
    )
