"""The DR-learner."""

import numpy as np

from ml.arrays import Predict, Rows
from ml.uplift.cross_fitting import CrossFitter


def fit_dr_learner(fitter: CrossFitter, rows: Rows, trees: int) -> Predict:
    """Fit the DR-learner by EconML, cross-fitted by visitor.

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
    Kennedy (2023), Towards optimal doubly robust estimation of heterogeneous causal effects, EJS 17(2):3008-3049.
    """
    from econml.dr import DRLearner
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import GroupKFold

    learner = DRLearner(
        model_propensity=DummyClassifier(strategy="prior"),
        model_regression=fitter.base(trees, "probability"),
        model_final=fitter.base(trees, "value"),
        cv=GroupKFold(fitter.settings.folds),
        random_state=fitter.config.seed,
        allow_missing=True,
    )
    experiment = fitter.experiment
    learner.fit(
        experiment.outcome[rows], experiment.treatment[rows], X=fitter.matrix(rows), groups=experiment.visitor[rows]
    )
    return lambda asked: np.asarray(learner.effect(fitter.matrix(asked))).ravel()
