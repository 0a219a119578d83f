"""What the uplift strategy would earn under another cost and revenue."""

from dataclasses import dataclass

from ml.config import PolicySettings
from ml.policy.choice import best_share
from ml.policy.estimates import Estimate
from ml.policy.intervals import bounds


@dataclass(frozen=True)
class Sensitivity:
    """Profit of the uplift strategy under another cost and revenue, its share chosen anew on the calibration split.

    Where conversions have values of their own, they move in proportion to `revenue_per_conversion`.
    """

    cost: float
    revenue_per_conversion: float
    share_percent: int
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float


def sensitivity(
    planned: Estimate, found: Estimate, resamples: Estimate, settings: PolicySettings, confidence: float
) -> list[Sensitivity]:
    """Value the uplift strategy under every multiple of cost and revenue in the settings.

    Parameters
    ----------
    planned : Estimate
        What the strategy yields on the calibration split, where its share is chosen.
    found, resamples : Estimate
        What it yields on the valued rows, as they are and resampled.
    settings : PolicySettings
        Cost, revenue and their multiples.
    confidence : float
        Confidence of the intervals, 0 to 1.

    Returns
    -------
    list of Sensitivity
        One per cost and revenue.
    """
    grid = []
    # A cost of 0 has no multiples.
    for cost in dict.fromkeys(settings.cost * multiple for multiple in settings.sensitivity):
        for multiple in dict.fromkeys(settings.sensitivity):
            percent = best_share(planned, settings, cost, multiple)
            profit = float(found.profit(settings, cost, multiple)[0, percent])
            lower, upper = bounds(resamples.profit(settings, cost, multiple)[:, percent], confidence)
            revenue = settings.revenue_per_conversion * multiple
            grid.append(Sensitivity(cost, revenue, percent, profit, float(lower), float(upper)))
    return grid
