"""The models that compete to score: each fitted on the same training rows and calibrated on the same others."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ml.cli import Steps
from ml.config import Config, RiskBands
from ml.conversion.bands import Thresholds
from ml.conversion.calibration import Fit, calibrate
from ml.conversion.champion import Champion
from ml.conversion.constants import Constants
from ml.conversion.model import Training
from ml.conversion.models import MODELS
from ml.data.features import Mart
from ml.data.rows import Dataset
from ml.data.split import Splits, sample_negatives


def training_rows(data: Dataset, mart: Mart, splits: Splits, config: Config) -> Training:
    """Sample the training split and put the calibration split beside it.

    Parameters
    ----------
    data : Dataset
        All rows.
    mart : Mart
        Features.
    splits : Splits
        Split of each row.
    config : Config
        Settings of the sample.

    Returns
    -------
    Training
        What every model is fitted on.
    """
    chosen, weights = sample_negatives(splits.rows("train"), data.label, config.sampling, config.seed)
    calibration = splits.rows("calibration")
    return Training(
        inputs=data.inputs.iloc[chosen],
        label=data.label[chosen],
        weights=weights,
        stop_inputs=data.inputs.iloc[calibration],
        stop_label=data.label[calibration],
        mart=mart,
        seed=config.seed,
        threads=config.threads,
    )


def fit_candidates(
    training: Training, calibration_visitor: npt.NDArray[np.int32], config: Config, progress: Steps
) -> dict[str, Fit]:
    """Fit every model, and calibrate it on the rows on which it stopped.

    Parameters
    ----------
    training : Training
        Rows to fit on, and the calibration split.
    calibration_visitor : ndarray of shape (n_calibration_rows,)
        Visitor number of the calibration split's rows.
    config : Config
        Settings of the models and of the calibration.
    progress : Steps
        Shows the steps.

    Returns
    -------
    dict of str to Fit
        Model name to its fit.
    """

    def fit(name: str) -> Fit:
        model = MODELS[name].fit(training, getattr(config.models, name))
        log_odds = model.log_odds(training.stop_inputs)
        return calibrate(model, log_odds, training.stop_label, calibration_visitor, config.calibration)

    titles = ", ".join(kind.title for kind in MODELS.values())
    # Side by side, because none of them keeps all cores busy.
    with progress.step(f"fitting and calibrating {titles}"), ThreadPoolExecutor(config.threads) as pool:
        return dict(zip(MODELS, pool.map(fit, MODELS), strict=True))


def choose_champion(candidates: dict[str, Fit], data: Dataset, splits: Splits, bands: RiskBands) -> Champion:
    """Choose the model with the lowest cross-fitted log loss on the calibration split.

    Parameters
    ----------
    candidates : dict of str to Fit
        Models by name.
    data : Dataset
        All rows.
    splits : Splits
        Split of each row; the calibration split gives the thresholds of the risk bands.
    bands : RiskBands
        Shares of that split's rows in the bands.

    Returns
    -------
    Champion
        The model that scores.
    """
    best = min(candidates.values(), key=lambda fit: fit.log_loss)
    calibration = splits.rows("calibration")
    log_odds = best.model.log_odds(data.inputs.iloc[calibration])
    thresholds = Thresholds.from_scores(log_odds, data.decision_point[calibration], bands)
    return Champion(best.model, best.calibrator, thresholds, Constants.from_rows(data, splits.rows("train")))
