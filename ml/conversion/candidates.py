"""The models that compete to score: each fitted on the same training rows and calibrated on the same others."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ml.arrays import Rows
from ml.cli import Steps
from ml.config import Config, RiskBands
from ml.conversion.bands import Thresholds
from ml.conversion.calibration import Fit, calibrate
from ml.conversion.champion import Champion
from ml.conversion.constants import Constants
from ml.conversion.model import Training
from ml.conversion.models import MODELS
from ml.data.draw import by_key
from ml.data.features import Mart
from ml.data.rows import Dataset, renumbered
from ml.data.split import Classes, sample_bounded, sample_negatives


def training_rows(
    data: Dataset, mart: Mart, train: Rows, calibration: Rows, config: Config, *, of: Classes | None = None
) -> tuple[Training, Rows]:  # fmt: skip
    """Sample the training split and put the calibration split beside it, or a sample where that is too large.

    Parameters
    ----------
    data : Dataset
        Rows.
    mart : Mart
        Features.
    train, calibration : ndarray of int
        Positions of the rows of both splits.
    config : Config
        Settings of the sample.
    of : Classes, optional
        How many rows the training split has, where `train` holds only those that can be drawn.

    Returns
    -------
    Training
        What every model is fitted on.
    ndarray of int
        Positions of the rows of the training split among it.
    """
    draw = by_key(data.identity, config.seed)
    chosen, weights = sample_negatives(train, data.label, config.sampling, draw, of)
    stop, stop_weights = sample_bounded(calibration, data.label, config.sampling.max_rows, draw)
    training = Training(
        inputs=data.taken(chosen),
        label=data.label[chosen],
        weights=weights,
        stop_inputs=data.taken(stop),
        stop_label=data.label[stop],
        mart=mart,
        seed=config.seed,
        threads=config.threads,
        stop_weights=stop_weights,
    )
    return training, chosen


def fit_candidates(
    training: Training, data: Dataset, calibration: Rows, config: Config, progress: Steps
) -> dict[str, Fit]:  # fmt: skip
    """Fit every model, and calibrate it on rows of the calibration split.

    Parameters
    ----------
    training : Training
        Rows to fit on, and rows to stop on.
    data : Dataset
        Rows.
    calibration : ndarray of int
        Positions of the calibration split's rows.
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
        asked = [training.stop_inputs] if training.stop_weights is None else data.parts(calibration)
        log_odds = np.concatenate([model.log_odds(part) for part in asked])
        return calibrate(model, log_odds, data.label[calibration], visitor, config.calibration)

    visitor = renumbered(data.visitor[calibration])
    titles = ", ".join(kind.title for kind in MODELS.values())
    # Side by side, because none of them keeps all cores busy.
    with progress.step(f"fitting and calibrating {titles}"), ThreadPoolExecutor(config.threads) as pool:
        return dict(zip(MODELS, pool.map(fit, MODELS), strict=True))


def choose_champion(
    candidates: dict[str, Fit], data: Dataset, calibration: Rows, bands: RiskBands, constants: Constants
) -> Champion:  # fmt: skip
    """Choose the model with the lowest cross-fitted log loss on the calibration split.

    Parameters
    ----------
    candidates : dict of str to Fit
        Models by name.
    data : Dataset
        Rows.
    calibration : ndarray of int
        Positions of the calibration split's rows, which give the thresholds of the risk bands.
    bands : RiskBands
        Shares of these rows in the bands.
    constants : Constants
        What the models could not learn from.

    Returns
    -------
    Champion
        The model that scores.
    """
    best = min(candidates.values(), key=lambda fit: fit.log_loss)
    log_odds = np.concatenate([best.model.log_odds(part) for part in data.parts(calibration)])
    thresholds = Thresholds.from_scores(log_odds, data.decision_point[calibration], bands)
    return Champion(best.model, best.calibrator, thresholds, constants)
