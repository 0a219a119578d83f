"""Doubly robust scores of the effect."""

import numpy as np

from ml.arrays import Floats
from ml.experiment.arms import Arms


def doubly_robust_effects(p_control: Floats, p_treatment: Floats, arms: Arms) -> Floats:
    """Return each row's doubly robust score of the effect, whose mean estimates the average effect.

    mu1 - mu0 + T/e (Y - mu1) - (1-T)/(1-e) (Y - mu0), with e the share of treated rows (Robins, Rotnitzky & Zhao 1994).

    Parameters
    ----------
    p_control, p_treatment : ndarray of shape (n_rows,)
        Predicted outcomes mu0 and mu1, from models that did not see the row.
    arms : Arms
        T and Y of the same rows.

    Returns
    -------
    ndarray of shape (n_rows,)
        One score per row.
    """
    share, outcome = arms.treatment.mean(), arms.outcome
    return np.asarray(
        p_treatment
        - p_control
        + np.where(arms.treatment == 1, (outcome - p_treatment) / share, -(outcome - p_control) / (1 - share))
    )
