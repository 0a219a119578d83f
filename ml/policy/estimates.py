"""What targeting any share of a ranking yields: doubly robust and by inverse propensity."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ml.arrays import Floats
from ml.bootstrap import Bootstrap
from ml.config import PolicySettings
from ml.experiment.arms import Arms
from ml.uplift.ranks import BINS, SHARES, smallest_share
from warehouse.errors import FunneliftError

WEIGHTS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Scored:
    """Rows of one split of an experiment, as a policy sees them.

    `p_control` and `p_treatment` are the predicted probabilities of a conversion. `percentiles` maps the strategies
    uplift and response to each row's rank, 0 to 1: the share of calibration rows with a lower score, ties broken at
    random; targeting the top share s means percentile >= 1 - s. `value` is the revenue of a conversion.
    """

    arms: Arms
    p_control: Floats
    p_treatment: Floats
    percentiles: dict[str, Floats]
    value: Floats


@dataclass(frozen=True)
class Estimate:
    """What targeting the top 0 to 100 percent of a split yields.

    Every array has one row per resample and one column per share, from 0 to 100 percent: the sessions targeted, what
    treating them changes in conversions and in revenue, and the conversions they have when treated. NaN where an arm
    that the estimator needs has no row.
    """

    targeted: Floats
    incremental_conversions: Floats
    redemptions: Floats
    incremental_revenue: Floats

    @property
    def at_random(self) -> "Estimate":
        """The same shares of treating all: what a random choice yields on average, without drawing one."""
        return Estimate(*(getattr(self, field.name)[:, -1:] * SHARES for field in fields(self)))

    def charged(self, settings: PolicySettings) -> Floats:
        """Return how often the cost is paid: for redemptions, or for sessions targeted."""
        return self.redemptions if settings.cost_per == "redemption" else self.targeted

    def profit(self, settings: PolicySettings, cost: float, multiple: float = 1.0) -> Floats:
        """Return the profit at a cost and a multiple of all revenue."""
        return settings.margin * multiple * self.incremental_revenue - cost * self.charged(settings)


class ShareSums:
    """Sums over the rows that each share of each ranking targets, fast under any weights of the visitors.

    Rows are binned by the smallest share that targets them; all that the estimators need is then a sum by visitor,
    arm and bin, which a resample weights: one sparse product, no pass over the rows.

    Parameters
    ----------
    scored : Scored
        Rows of one split, both arms among them.
    sessions : float
        Sessions that the estimates are stated for; 1 states them per session of the split.

    Raises
    ------
    FunneliftError
        When the split lacks an arm.
    """

    def __init__(self, scored: Scored, sessions: float = 1.0) -> None:
        arms = scored.arms
        _, treated, control = arms.counts
        if not (treated and control):
            raise FunneliftError(
                f"policy: a split has {treated} treated and {control} control rows and needs both arms; "
                "give it a larger share of the time span (experiment.split)"
            )
        self.visitors, self.sessions = arms.n_visitors, sessions
        columns = [np.ones(len(arms)), scored.p_treatment, scored.p_control, arms.outcome.astype(np.float64)]
        columns += [column * scored.value for column in columns[1:]]
        self.shape = (len(scored.percentiles), len(columns), 2, BINS)
        self.rows, blocks = {}, []
        for ranking, percentile in scored.percentiles.items():
            cell = arms.treatment.astype(np.int64) * BINS + smallest_share(percentile) - 1
            self.rows[ranking] = up_to_share(np.bincount(cell, minlength=2 * BINS).reshape(2, BINS), axis=-1)
            for column in columns:
                some = np.flatnonzero(column)
                at = (cell[some], arms.visitor_codes[some])
                blocks.append(sparse.csr_matrix((column[some], at), shape=(2 * BINS, self.visitors)))
        # By column, so that a product reads each visitor's weights once.
        self.matrix: Any = sparse.vstack(blocks).tocsc()

    def observed(self) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return what `estimates` finds in the split as it is: arrays of one row."""
        return self.estimates(np.ones((1, self.visitors), np.uint8))

    def resampled(self, bootstrap: Bootstrap) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return what `estimates` finds in a Poisson bootstrap of the visitors, in bounded memory.

        Parameters
        ----------
        bootstrap : Bootstrap
            Number of resamples, and their seed.

        Returns
        -------
        (dict, dict)
            Doubly robust and inverse-propensity estimates, one row per resample that holds both arms.
        """
        at_once = max(1, WEIGHTS_AT_ONCE // self.visitors)
        sizes = [min(at_once, bootstrap.resamples - start) for start in range(0, bootstrap.resamples, at_once)]
        seeds = np.random.SeedSequence(bootstrap.seed).generate_state(len(sizes))
        parts = [
            self.estimates(replace(bootstrap, resamples=size, seed=int(own)).weights(self.visitors))
            for size, own in zip(sizes, seeds, strict=True)
        ]
        robust, weighted = ([part[which] for part in parts] for which in (0, 1))
        return _joined(robust), _joined(weighted)

    def estimates(self, weights: npt.NDArray[np.uint8]) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return each ranking's doubly robust and inverse-propensity estimates under weights of the visitors.

        Doubly robust (AIPW): the sum over the targeted of mu1 - mu0 + T/e (Y - mu1) - (1-T)/(1-e) (Y - mu0), with the
        predicted probabilities as mu and the treated share of the split as e. Inverse propensity (Hajek): the
        difference between the arms' means among the targeted, times the targeted. Both re-estimate every share and
        every mean under the weights.

        Parameters
        ----------
        weights : ndarray of shape (n_resamples, n_visitors)
            In the order of the visitors' numbers. Resamples without a row in one of the arms are left out.

        Returns
        -------
        (dict, dict)
            Each ranking's estimate, `random` among them.

        References
        ----------
        Robins, Rotnitzky & Zhao (1994), JASA 89(427); Dudik, Langford & Li (2011), ICML; Hajek (1971).
        """
        sums = up_to_share((self.matrix @ weights.T.astype(np.float64)).reshape(*self.shape, -1), axis=-2)
        # Treating all is the same whatever the ranking, to the last bit: else rounding would pass for a difference.
        sums[..., -1, :] = sums[:1, ..., -1, :]
        sums = np.moveaxis(sums[..., (sums[0, 0, :, -1] > 0).all(axis=0)], -1, 0)
        robust, weighted = {}, {}
        for ranking, own in zip(self.rows, np.moveaxis(sums, 1, 0), strict=True):
            robust[ranking], weighted[ranking] = self._of_ranking(own)
        robust["random"], weighted["random"] = robust["uplift"].at_random, weighted["uplift"].at_random
        return robust, weighted

    def _of_ranking(self, sums: Floats) -> tuple[Estimate, Estimate]:
        rows, conversions, revenues = sums[:, 0], sums[:, 1:4], sums[:, 4:]
        targeted, all_rows = rows.sum(axis=1), rows.sum(axis=1)[:, -1:]
        found = []
        for estimator in (_doubly_robust, _inverse_propensity):
            treated, control = estimator(rows, conversions)
            treated_revenue, control_revenue = estimator(rows, revenues)
            totals = (targeted, treated - control, treated, treated_revenue - control_revenue)
            found.append(Estimate(*(total / all_rows * self.sessions for total in totals)))
        return found[0], found[1]


def up_to_share(bins: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """Turn one entry per bin into one per share, 0 to 100 percent: the sum of all bins up to it."""
    nobody = np.zeros_like(np.take(bins, [0], axis))
    return np.concatenate([nobody, np.cumsum(bins, axis)], axis)


def _doubly_robust(rows: Floats, sums: Floats) -> tuple[Floats, Floats]:
    # Axes: resample, (mu1, mu0, y), arm, share; `rows` has no second one. Totals of the targeted, treated and not.
    mu1, mu0, y = sums[:, 0], sums[:, 1], sums[:, 2]
    treated_share = rows[:, 1, -1:] / rows[..., -1].sum(axis=1, keepdims=True)
    treated = mu1.sum(axis=1) + (y[:, 1] - mu1[:, 1]) / treated_share
    return treated, mu0.sum(axis=1) + (y[:, 0] - mu0[:, 0]) / (1 - treated_share)


def _inverse_propensity(rows: Floats, sums: Floats) -> tuple[Floats, Floats]:
    targeted = rows.sum(axis=1)
    with np.errstate(invalid="ignore"):
        treated, control = (sums[:, 2, arm] / rows[:, arm] * targeted for arm in (1, 0))
    return np.where(targeted == 0, 0, treated), np.where(targeted == 0, 0, control)


def _joined(parts: list[dict[str, Estimate]]) -> dict[str, Estimate]:
    names = [field.name for field in fields(Estimate)]
    return {
        ranking: Estimate(*(np.concatenate([getattr(part[ranking], name) for part in parts]) for name in names))
        for ranking in parts[0]
    }
