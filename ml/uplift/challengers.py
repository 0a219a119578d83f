"""The challengers of the T-learner: the same base models, combined in other ways by EconML."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ml.arrays import Predict, Rows
from ml.cli import Steps
from ml.uplift.cross_fitting import CrossFitter
from ml.uplift.dr_learner import fit_dr_learner
from ml.uplift.names import DR_LEARNER, TITLES, X_LEARNER
from ml.uplift.x_learner import fit_x_learner

CHALLENGERS: dict[str, Callable[[CrossFitter, Rows, int], Predict]] = {
    X_LEARNER: fit_x_learner,
    DR_LEARNER: fit_dr_learner,
}


def fit_challengers(fitter: CrossFitter, trees: int, steps: Steps) -> dict[str, Predict]:
    """Fit the challengers that the settings name.

    Parameters
    ----------
    fitter : CrossFitter
        Fits models on the experiment's rows.
    trees : int
        Trees of each base model.
    steps : Steps
        Shows what is being done.

    Returns
    -------
    dict of str to callable
        Learner name to a function from positions of rows, ndarray of shape (n_rows,), to their predicted effects.
    """
    rows = challenger_rows(fitter)
    challengers: dict[str, Predict] = {}
    for name in fitter.settings.challengers:
        with steps.step(f"fitting the {TITLES[name]}"), without_econml_warnings():
            challengers[name] = CHALLENGERS[name](fitter, rows, trees)
    return challengers


def challenger_rows(fitter: CrossFitter) -> Rows:
    """Return the positions of the training rows that challengers learn from: all, or a sample of them."""
    if len(fitter.train) <= fitter.settings.challenger_rows:
        return fitter.train
    rng = np.random.default_rng(fitter.config.seed)
    return np.sort(rng.choice(fitter.train, fitter.settings.challenger_rows, replace=False))


@contextmanager
def without_econml_warnings() -> Iterator[None]:
    """Silence EconML: it warns of missing values, which CatBoost handles, and of functions scikit-learn will drop."""
    with warnings.catch_warnings():
        for kind in (UserWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield
