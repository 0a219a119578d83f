"""Predicted against observed uplift, by decile of the score."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.experiment.arms import Arms
from ml.experiment.difference import Units
from ml.experiment.intervals import widened


@dataclass(frozen=True)
class UpliftDecile:
    """One decile of test rows by score (1 is the highest): predicted and observed uplift, and the truth if known."""

    learner: str
    decile: int
    n_treatment: int
    n_control: int
    conversions_treatment: int
    conversions_control: int
    predicted_uplift: float
    observed_uplift: float
    ci_lower: float
    ci_upper: float
    true_uplift: float | None


def decile_table(
    decile: npt.NDArray[np.integer],
    predicted: Floats,
    arms: Arms,
    confidence: float,
    *,
    learner: str,
    true_effect: Floats | None = None,
) -> list[UpliftDecile]:
    """Set predicted against observed uplift, decile by decile of the score.

    Observed uplift is the treated minus the control conversion rate among the decile's rows.

    Parameters
    ----------
    decile : ndarray of shape (n_rows,)
        Decile of each row, 1 (highest scores) to 10.
    predicted : ndarray of shape (n_rows,)
        Predicted uplift, a difference in probabilities.
    arms : Arms
        The same rows.
    confidence : float
        Confidence of the intervals, 0 to 1.
    learner : str
        Learner that the deciles belong to.
    true_effect : ndarray of shape (n_rows,), optional
        Expected effect of each row, where a simulation knows it.

    Returns
    -------
    list of UpliftDecile
        Deciles in order with intervals of Student's t by visitor, made wider as `widened` says. A decile without rows
        of both arms has no observed uplift and is left out.
    """
    table = []
    for number in range(1, 11):
        rows = np.flatnonzero(decile == number)
        own = arms.take(rows)
        observed = own.difference_in_means
        if not np.isfinite(observed):
            continue
        lower, upper = widened(observed, _interval(own, confidence), own, confidence)
        table.append(
            UpliftDecile(
                learner=learner,
                decile=number,
                n_treatment=own.counts[1],
                n_control=own.counts[2],
                conversions_treatment=own.conversions[0],
                conversions_control=own.conversions[1],
                predicted_uplift=float(predicted[rows].mean()),
                observed_uplift=observed,
                ci_lower=lower,
                ci_upper=upper,
                true_uplift=None if true_effect is None else float(true_effect[rows].mean()),
            )
        )
    return table


def _interval(arms: Arms, confidence: float) -> tuple[float, float]:
    """Return the interval of the difference in rates by visitor: of a few hundred rows a bootstrap's is too narrow.

    Where an arm has a single visitor nothing says how much visitors vary: any difference may be.
    """
    # A visitor has one arm; rows that claim otherwise are two units.
    unit, codes = np.unique(2 * arms.visitor_codes + arms.treatment, return_inverse=True)
    size = np.bincount(codes).astype(np.float64)
    units = Units((unit % 2).astype(np.int8), np.zeros(len(unit), np.intp), size, size)
    if units.counts.min() < 2:
        return -1.0, 1.0
    return units.difference(np.bincount(codes, arms.outcome).astype(np.float64)).interval(confidence)
