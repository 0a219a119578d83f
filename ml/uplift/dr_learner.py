"""The DR-learner."""

from collections.abc import Callable

import numpy as np

from ml.arrays import Floats, Rows
from ml.uplift.cross_fitting import Fitter


def fit_dr_learner(fitter: Fitter, rows: Rows, trees: int) -> "Callable[[Rows], Floats]":
    """Fit the DR-learner (Kennedy 2023) by EconML; returns a function from rows to predicted effects."""
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
