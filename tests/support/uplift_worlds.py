"""Randomised experiments whose effects are known: visitors come back, and their sessions' outcomes hang together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from scipy.stats import norm

from ml.experiment.arms import Arms

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True)
class World:
    """One row per session. `x` has three columns: the first moves demand, the second the effect, the third nothing.

    `p0` and `tau` are the probability of a conversion without treatment and what treatment adds to it, given `x`;
    `y0` and `y1` the outcomes without and with treatment. A visitor's sessions share an arm.
    """

    x: Floats
    treatment: Labels
    y0: Labels
    y1: Labels
    p0: Floats
    tau: Floats
    visitor: npt.NDArray[np.int32]

    @property
    def arms(self) -> Arms:
        """Arms, observed outcomes and visitors."""
        return Arms(self.treatment, self.outcome, self.visitor)

    @property
    def outcome(self) -> Labels:
        """What is observed: the outcome under the visitor's arm."""
        return np.where(self.treatment == 1, self.y1, self.y0)


def effect_of(x: Floats) -> Floats:
    """Return the effect before it is clipped to a probability: from -6 to 14 percentage points."""
    return np.asarray(0.2 * norm.cdf(1.2 * x[:, 1]) - 0.06)


def demand_of(x: Floats) -> Floats:
    """Return the probability of a conversion without treatment."""
    return np.asarray(expit(-2.2 + 0.8 * x[:, 0]))


def make_world(
    visitors: int,
    seed: int,
    effect: float = 1.0,
    treated_share: float = 0.5,
    sessions_per_visitor: float = 2.0,
    correlation: float = 0.5,
) -> World:
    """Draw an experiment.

    Parameters
    ----------
    visitors : int
        Number of visitors, the units that are randomised.
    seed : int
        Seed of all draws.
    effect : float
        Factor of the effect; 0 is the null world.
    treated_share : float
        Probability that a visitor is treated.
    sessions_per_visitor : float
        Mean number of sessions (geometric, at least one).
    correlation : float
        How much of the variance of x and of what drives outcomes beyond x is the visitor's, 0 to 1. Outcomes follow a
        Gaussian copula, so every single session converts with exactly the probability that x gives it.

    Returns
    -------
    World
        Rows by visitor.
    """
    rng = np.random.default_rng(seed)
    visitor = np.repeat(np.arange(visitors, dtype=np.int32), rng.geometric(1 / sessions_per_visitor, visitors))

    def shared_normal(columns: int) -> Floats:
        own = rng.normal(size=(visitors, columns))[visitor]
        return np.sqrt(correlation) * own + np.sqrt(1 - correlation) * rng.normal(size=(len(visitor), columns))

    x = shared_normal(3)
    p0 = demand_of(x)
    p1 = np.clip(p0 + effect * effect_of(x), 0, 1)
    luck = norm.cdf(shared_normal(1)[:, 0])
    treatment = (rng.random(visitors) < treated_share)[visitor].astype(np.int8)
    return World(x, treatment, (luck < p0).astype(np.int8), (luck < p1).astype(np.int8), p0, p1 - p0, visitor)
