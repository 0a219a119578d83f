"""Doubly robust scores of the effect."""

import numpy as np

from ml.arrays import Floats, Labels


def doubly_robust_effects(p_control: Floats, p_treatment: Floats, treatment: Labels, outcome: Labels) -> Floats:
    """Return each row's doubly robust score of the effect, whose mean estimates the average effect.

    mu1 - mu0 + T/e (Y - mu1) - (1-T)/(1-e) (Y - mu0), with e the share of treated rows (Robins, Rotnitzky & Zhao 1994).

    Parameters
    ----------
    p_control, p_treatment : array of float
        Predicted outcomes mu0 and mu1, from models that did not see the row.
    treatment, outcome : array of int
        T and Y, 0 or 1.

    Returns
    -------
    array of float
        One score a row.
    """
    share = treatment.mean()
    return np.asarray(
        p_treatment
        - p_control
        + np.where(treatment == 1, (outcome - p_treatment) / share, -(outcome - p_control) / (1 - share))
    )
