"""Predicted against observed uplift, by decile of the score."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels
from ml.bootstrap import percentile_interval, resampled_sums, visitor_codes, visitor_weights
from ml.config import UpliftSettings
from ml.uplift.curves import difference_in_means
from ml.uplift.intervals import widened


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
    is_simulated: bool


def decile_table(
    learner: str,
    decile: npt.NDArray[np.integer],
    predicted: Floats,
    treatment: Labels,
    outcome: Labels,
    visitor: npt.NDArray[np.int32],
    true_effect: Floats | None,
    settings: UpliftSettings,
    confidence: float,
    seed: int,
    is_simulated: bool,
) -> list[UpliftDecile]:
    """Set predicted against observed uplift, decile by decile of the score.

    Observed uplift is the treated minus the control conversion rate among the decile's rows.

    Parameters
    ----------
    learner : str
        Learner that the deciles belong to.
    decile : array of int, shape (rows,)
        Decile of each row, 1 (highest scores) to 10.
    predicted : array of float, shape (rows,)
        Predicted uplift, a difference in probabilities.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    true_effect : array of float, shape (rows,), optional
        Expected effect of each row, where a simulation knows it.
    settings : UpliftSettings
        Resamples.
    confidence : float
        Confidence of the intervals, 0 to 1.
    seed : int
        Seed of the resamples.
    is_simulated : bool
        Whether arms and effects are made up.

    Returns
    -------
    list of UpliftDecile
        Deciles in order with percentile intervals of a bootstrap of visitors, made wider as `widened` says. A decile
        without rows of both arms has no observed uplift and is left out.
    """
    codes, n_visitors = visitor_codes(visitor)
    weights = visitor_weights(n_visitors, settings.bootstrap_resamples, seed)
    ones = np.ones(len(outcome))
    sums = resampled_sums(np.column_stack([ones, outcome]), 2 * decile + treatment, 22, codes, weights)
    n, conversions = sums.reshape(len(weights), 11, 2, 2).transpose(3, 0, 1, 2)
    with np.errstate(invalid="ignore"):
        resampled = np.diff(conversions / n, axis=2)[..., 0]
    table = []
    for number in range(1, 11):
        rows = np.flatnonzero(decile == number)
        arm, converted = treatment[rows], outcome[rows]
        observed = difference_in_means(arm, converted)
        if not np.isfinite(observed):
            continue
        interval = percentile_interval(resampled[:, number], confidence)
        table.append(
            UpliftDecile(
                learner,
                number,
                int(np.sum(arm == 1)),
                int(np.sum(arm == 0)),
                int(np.sum(converted[arm == 1])),
                int(np.sum(converted[arm == 0])),
                float(predicted[rows].mean()),
                observed,
                *widened(observed, interval, arm, converted, visitor[rows], confidence),
                None if true_effect is None else float(true_effect[rows].mean()),
                is_simulated,
            )
        )
    return table
