"""Which share of sessions to target."""

import numpy as np

from ml.config import PolicySettings
from ml.policy.estimates import Estimate
from ml.uplift.ranks import BINS


def best_share(planned: Estimate, settings: PolicySettings, cost: float, multiple: float = 1.0) -> int:
    """Return the share of the highest profit within the budget; the smallest where several are equal.

    Parameters
    ----------
    planned : Estimate
        What targeting each share of the calibration split yields.
    settings : PolicySettings
        Margin and budget; only multiples of `share_step` are candidates.
    cost : float
        Cost of treating.
    multiple : float
        Multiple of all revenue.

    Returns
    -------
    int
        Share in percent, 0 to 100.
    """
    profit = planned.profit(settings, cost, multiple)[0]
    if settings.budget is not None:
        # Treating more never costs less, although an estimate of it may.
        spent = np.maximum.accumulate(cost * planned.charged(settings)[0])
        profit = np.where(spent <= settings.budget, profit, -np.inf)
    candidates = np.arange(0, BINS + 1, settings.share_step)
    return int(candidates[np.argmax(profit[candidates])])


def break_even_share(found: Estimate, settings: PolicySettings) -> int:
    """Return the largest share in percent at which the profit is not negative; 0 where there is none."""
    return int(np.flatnonzero(found.profit(settings, settings.cost)[0] >= 0)[-1])


def break_even_cost(found: Estimate, settings: PolicySettings, percent: int) -> float | None:
    """Return the cost at which targeting a share earns nothing; None where there is no such cost."""
    margin, charged = settings.margin * found.incremental_revenue[0, percent], found.charged(settings)[0, percent]
    return float(margin / charged) if charged > 0 and margin >= 0 else None
