"""Doubly robust scores of the effect."""

import numpy as np

from ml.arrays import Floats
from ml.experiment.arms import Arms

WEIGHT_FLOOR = 1e-3


def doubly_robust_effects(
    p_control: Floats, p_treatment: Floats, arms: Arms, propensity: Floats | None = None
) -> Floats:
    """Return each row's doubly robust score of the effect, whose mean estimates the average effect.

    mu1 - mu0 + T/e (Y - mu1) - (1-T)/(1-e) (Y - mu0), with e the share of treated rows (Robins, Rotnitzky & Zhao 1994).

    Parameters
    ----------
    p_control, p_treatment : ndarray of shape (n_rows,)
        Predicted outcomes mu0 and mu1, from models that did not see the row.
    arms : Arms
        T and Y of the same rows.
    propensity : ndarray of shape (n_rows,), optional
        Each row's own chance of treatment, where these differ: it is e.

    Returns
    -------
    ndarray of shape (n_rows,)
        One score per row.
    """
    share, outcome = arms.treatment.mean() if propensity is None else propensity, arms.outcome
    return np.asarray(
        p_treatment
        - p_control
        + np.where(arms.treatment == 1, (outcome - p_treatment) / share, -(outcome - p_control) / (1 - share))
    )


def precision_weights(p_control: Floats, p_treatment: Floats, treated_share: Floats | float) -> Floats:
    """Return how good a witness of the effect each row is: one over the variance of its doubly robust score.

    A row's outcome has the variance mu (1 - mu), so a row with a base rate of 1 % says far more than one of 40 %.

    Parameters
    ----------
    p_control, p_treatment : ndarray of shape (n_rows,)
        Predicted outcomes.
    treated_share : float or ndarray of shape (n_rows,)
        Chance of treatment e; the variance goes with 1 / (e (1 - e)).

    Returns
    -------
    ndarray of shape (n_rows,)
        e (1 - e) / (mu (1 - mu) + 0.001), with a mean of 1.
    """
    overall = np.clip((1 - treated_share) * p_control + treated_share * p_treatment, 0, 1)
    weights = treated_share * (1 - treated_share) / (overall * (1 - overall) + WEIGHT_FLOOR)
    return np.asarray(weights / weights.mean())
