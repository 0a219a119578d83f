"""The difference between two arms, by design: units that were drawn, strata, and chances of treatment."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from ml.arrays import Floats, Rows

PERMUTATIONS = 2_000
# Units in each arm of a stratum that say how much units vary there; strata with fewer are compared with each other.
FEWEST_UNITS = 3
Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """A difference in means, treated minus control.

    `error` is its standard error, `degrees` the degrees of freedom of the t distribution that it follows; `treated` and
    `control` are the two means.
    """

    value: float
    error: float
    degrees: float
    treated: float
    control: float

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the interval of Student's t."""
        half = float(t.ppf(0.5 + confidence / 2, self.degrees)) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """Chance of so large a difference, either way, if there were none."""
        return float(2 * t.sf(abs(self.value) / self.error, self.degrees)) if self.error > 0 else float(self.value == 0)


@dataclass(frozen=True)
class Units:
    """The units that were drawn into the arms, each with the weight of its rows.

    Parameters
    ----------
    treatment : ndarray of shape (n_units,)
        1 for a treated unit, 0 for a control unit.
    stratum : ndarray of shape (n_units,)
        Stratum within which the unit was drawn, from 0 on.
    size : ndarray of shape (n_units,)
        How many rows the unit has.
    weight : ndarray of shape (n_units,)
        Sum of its rows' weights; the rows' number where all units of a stratum had one chance of treatment.
    """

    treatment: npt.NDArray[np.int8]
    stratum: Rows
    size: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def comparable(self) -> Cells:
        """Units of strata that have both arms and can say how sure that is: ndarray of shape (n_units,)."""
        fewest = self.counts.min(axis=1)
        # One such stratum alone has no other to be compared with.
        lowest = 2 if (fewest == 1).sum() == 1 and (fewest == 2).sum() == 0 else 1
        return np.asarray((fewest >= lowest)[self.stratum])

    @property
    def counts(self) -> Rows:
        """Units of each stratum, control and treated: ndarray of shape (n_strata, 2)."""
        return self._sums(np.ones(len(self))).astype(np.intp)

    def take(self, units: Cells) -> "Units":
        """Return some units, strata numbered anew."""
        stratum = np.unique(self.stratum[units], return_inverse=True)[1]
        return Units(self.treatment[units], stratum, self.size[units], self.weight[units])

    def difference(self, total: Floats) -> Difference:
        """Return the difference in means within strata, weighted by the strata's rows.

        An arm's mean is the sum of its units' totals over that of their weights. Its variance in a stratum comes from
        the units, times G / (G - 1) for its G units (Liang & Zeger 1986); with one row a unit it is Welch's, and so are
        the degrees of freedom (Satterthwaite). Strata with fewer than three units in an arm hardly say how much units
        vary: they are compared with each other (Pashley & Miratrix 2021).

        Parameters
        ----------
        total : ndarray of shape (n_units,)
            Weighted sum of each unit's outcomes. Every stratum has both arms.

        Returns
        -------
        Difference
            What was found; NaN as its error where nothing says how much units vary.

        References
        ----------
        Liang & Zeger (1986), Biometrika 73:13-22; Pashley & Miratrix (2021), Insights on variance estimation for
        blocked and matched pairs designs, Journal of Educational and Behavioral Statistics 46:271-296.
        """
        counts, weights = self.counts, self._sums(self.weight)
        means = self._sums(total) / weights
        residual = (total - means[self.stratum, self.treatment] * self.weight) / weights[self.stratum, self.treatment]
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self._sums(residual**2) * counts / (counts - 1)
        rows = np.bincount(self.stratum, self.size)
        share, effect = rows / rows.sum(), means[:, 1] - means[:, 0]
        is_large = (counts >= FEWEST_UNITS).all(axis=1)
        is_large |= (~is_large).sum() == 1
        parts = share[is_large, None] ** 2 * variance[is_large]
        found, freedom = float(parts.sum()), float((parts**2 / (counts[is_large] - 1)).sum())
        between = _between_strata(share[~is_large], effect[~is_large])
        found += between
        if not is_large.all():
            freedom += between**2 / max((~is_large).sum() - 1, 1)
        treated, control = share @ means[:, 1], share @ means[:, 0]
        degrees = found**2 / freedom if freedom > 0 else float(max(len(self) - 2, 1))
        return Difference(float(share @ effect), float(np.sqrt(found)), degrees, float(treated), float(control))

    def chance(self, total: Floats, seed: int) -> float:
        """Return the share of permutations of the arms within strata that show so large a difference, either way.

        The p-value of Fisher's randomisation test: it needs no assumption on how outcomes vary, however few the units.

        Parameters
        ----------
        total : ndarray of shape (n_units,)
            Weighted sum of each unit's outcomes.
        seed : int
            Seed of the permutations.

        Returns
        -------
        float
            Above 0, because the arms as they are count as one of the permutations.
        """
        rng = np.random.default_rng(seed)
        observed, as_large = abs(self.difference(total).value), 1
        order = np.argsort(self.stratum, kind="stable")
        for _ in range(PERMUTATIONS):
            shuffled = np.lexsort((rng.random(len(self)), self.stratum))
            treatment = np.empty_like(self.treatment)
            treatment[order] = self.treatment[shuffled]
            as_large += abs(replace(self, treatment=treatment).difference(total).value) >= observed * (1 - 1e-9)
        return as_large / (PERMUTATIONS + 1)

    def _sums(self, values: Floats) -> Floats:
        cell = 2 * self.stratum + self.treatment
        sums: Floats = np.bincount(cell, values, 2 * (int(self.stratum.max(initial=0)) + 1)).astype(np.float64)
        return sums.reshape(-1, 2)


def _between_strata(share: Floats, effect: Floats) -> float:
    """Variance of the weighted sum of small strata's effects, from how much these differ."""
    if not len(share):
        return 0.0
    together = share.sum()
    # A stratum of half the rows or more has no equals; the others' spread stands for its own.
    rest = np.maximum(together - 2 * share, together / len(share))
    factor = share**2 / rest
    mean = share @ effect / together
    return float(together**2 * (factor / (together + factor.sum()) * (effect - mean) ** 2).sum())


def sequence_reach(error: float, units: int, tuned_for: int, confidence: float) -> float:
    """Return how far an asymptotic confidence sequence reaches either side of a mean.

    The interval may be looked at after every unit, and a test may end at any look: over all of them together it misses
    the truth as seldom as its confidence says.

    Parameters
    ----------
    error : float
        Standard error of the mean now.
    units : int
        Units so far.
    tuned_for : int
        Number of units at which the sequence is narrowest; it must not depend on what was seen.
    confidence : float
        Confidence over all looks, 0 to 1.

    Returns
    -------
    float
        Half the width.

    References
    ----------
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Time-uniform central limit theory and asymptotic confidence
    sequences, Annals of Statistics 52:2613-2640, theorem 2.2 and its optimal rho.
    """
    alpha = 1 - confidence
    log = -2 * np.log(alpha)
    scaled = units * (log + np.log(log + 1)) / tuned_for
    reach = error * np.sqrt(2 * (scaled + 1) / scaled * np.log(np.sqrt(scaled + 1) / alpha))
    return float(max(reach, norm.ppf(0.5 + confidence / 2) * error))
