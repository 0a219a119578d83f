"""The response baseline, which knows no arms: whoever is likely to convert comes first."""

import numpy as np

from ml.conversion.calibration import fit_calibrator
from ml.uplift.cross_fitting import CrossFitter, Fit


def fit_response(fitter: CrossFitter) -> Fit:
    """Fit one model on the training rows of both arms and calibrate it on the calibration rows.

    Parameters
    ----------
    fitter : CrossFitter
        Fits models on the experiment's rows.

    Returns
    -------
    Fit
        The baseline that every learner must beat.
    """
    experiment = fitter.experiment
    model = fitter.fit(np.ones(len(experiment), dtype=bool))
    rows = experiment.rows("calibration")
    log_odds = model.log_odds(experiment.inputs.iloc[rows])
    return Fit(model, fit_calibrator("platt", log_odds, experiment.outcome[rows]), log_odds)
