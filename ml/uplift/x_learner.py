"""The X-learner."""

import numpy as np

from ml.arrays import Predict, Rows
from ml.uplift.cross_fitting import CrossFitter


def fit_x_learner(fitter: CrossFitter, rows: Rows, trees: int) -> Predict:
    """Fit the X-learner by EconML.

    Parameters
    ----------
    fitter : CrossFitter
        Gives the base models, and the rows as EconML takes them.
    rows : ndarray of shape (n_rows,)
        Positions of the rows to learn from.
    trees : int
        Trees of each base model.

    Returns
    -------
    callable
        From positions of rows to their predicted effects.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """
    from econml.metalearners import XLearner
    from sklearn.dummy import DummyClassifier

    learner = XLearner(
        models=fitter.base(trees, "probability"),
        cate_models=fitter.base(trees, "value"),
        propensity_model=DummyClassifier(strategy="prior"),
        allow_missing=True,
    )
    experiment = fitter.experiment
    learner.fit(experiment.outcome[rows], experiment.treatment[rows], X=fitter.matrix(rows))
    return lambda asked: np.asarray(learner.effect(fitter.matrix(asked))).ravel()
