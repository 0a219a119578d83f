"""The X-learner."""

from collections.abc import Callable

import numpy as np

from ml.arrays import Floats, Rows
from ml.uplift.cross_fitting import Fitter


def fit_x_learner(fitter: Fitter, rows: Rows, trees: int) -> "Callable[[Rows], Floats]":
    """Fit the X-learner (Künzel et al. 2019) by EconML; returns a function from rows to predicted effects."""
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
