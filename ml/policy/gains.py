"""How much more the uplift strategy earns than simpler ones."""

from dataclasses import dataclass

from ml.config import PolicySettings
from ml.policy.estimates import Estimate
from ml.policy.intervals import bounds

CHALLENGERS = ("response", "random", "random at the same share", "treat all", "treat none")


@dataclass(frozen=True)
class Gain:
    """How much more profit a strategy makes than a challenger, paired on the same resamples.

    The challengers are `CHALLENGERS`: response and random are each at the share chosen for them, `random at the same
    share` is at the strategy's own, treat all and treat none ignore any budget.
    """

    strategy: str
    versus: str
    difference: float
    ci_lower: float
    ci_upper: float


def gains(
    found: dict[str, Estimate],
    resamples: dict[str, Estimate],
    chosen: dict[str, int],
    settings: PolicySettings,
    confidence: float,
) -> list[Gain]:
    """Set the uplift strategy at its chosen share against every challenger.

    Parameters
    ----------
    found, resamples : dict of str to Estimate
        Each strategy's estimates on the valued rows, as they are and resampled.
    chosen : dict of str to int
        Each strategy's share in percent.
    settings : PolicySettings
        Cost and margin.
    confidence : float
        Confidence of the intervals, 0 to 1.

    Returns
    -------
    list of Gain
        One per challenger.
    """
    places = [("response", chosen["response"]), ("random", chosen["random"]), ("random", chosen["uplift"])]
    places += [("random", 100), ("random", 0)]
    compared = []
    for versus, (challenger, percent) in zip(CHALLENGERS, places, strict=True):
        difference, differences = (
            every["uplift"].profit(settings, settings.cost)[:, chosen["uplift"]]
            - every[challenger].profit(settings, settings.cost)[:, percent]
            for every in (found, resamples)
        )
        lower, upper = bounds(differences, confidence)
        compared.append(Gain("uplift", versus, float(difference[0]), float(lower), float(upper)))
    return compared
