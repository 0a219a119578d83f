"""From log-odds to probabilities, and the choice between models."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ml.arrays import Floats, Labels
from ml.config import Calibration
from ml.conversion.model import Model
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd

NEWTON_STEPS = 50
SMALLEST_STEP = 1e-12
SMALLEST_GAIN = 1e-10


@dataclass(frozen=True)
class Calibrator:
    """A non-decreasing map from log-odds to probability: Platt's sigmoid or isotonic steps."""

    method: str
    knots: tuple[float, ...]
    values: tuple[float, ...]

    def probability(self, log_odds: Floats) -> Floats:
        """Turn log-odds into probabilities.

        Parameters
        ----------
        log_odds : ndarray of shape (n_rows,)
            A model's log-odds.

        Returns
        -------
        ndarray of shape (n_rows,)
            Calibrated probabilities.
        """
        if self.method == "platt":
            slope, intercept = self.values
            return np.asarray(expit(slope * log_odds + intercept))
        return np.interp(log_odds, self.knots, self.values)


@dataclass(frozen=True)
class Fit:
    """A model fitted and calibrated, with the cross-fitted log loss of each calibration method."""

    model: Model
    calibrator: Calibrator
    log_losses: dict[str, float]

    @property
    def log_loss(self) -> float:
        """Log loss of the chosen method."""
        return self.log_losses[self.calibrator.method]

    def probability(self, inputs: "pd.DataFrame") -> Floats:
        """Return the calibrated probability of a conversion for each row."""
        return self.calibrator.probability(self.model.log_odds(inputs))


def fit_calibrator(method: str, log_odds: Floats, label: Labels) -> Calibrator:
    """Fit one calibration method.

    Parameters
    ----------
    method : str
        `platt` or `isotonic`.
    log_odds : ndarray of shape (n_rows,)
        Log-odds of the calibration split's rows.
    label : ndarray of shape (n_rows,)
        Labels of the same rows, both values present.

    Returns
    -------
    Calibrator
        Never decreasing, never exactly 0 or 1.

    Raises
    ------
    FunneliftError
        When only one class is there.
    """
    if label.min() == label.max():
        raise FunneliftError("calibration needs rows with and without a purchase: load more data")
    if method == "platt":
        slope, intercept = _fit_sigmoid(log_odds, label)
        # A sigmoid that falls would turn the ranking round; flat is the most that a useless model gets.
        if slope <= 0:
            slope, intercept = 0.0, float(np.log(label.mean() / (1 - label.mean())))
        return Calibrator(method, (), (slope, intercept))
    from sklearn.isotonic import IsotonicRegression

    smallest = 1 / (len(label) + 2)
    steps = IsotonicRegression(y_min=smallest, y_max=1 - smallest, out_of_bounds="clip").fit(log_odds, label)
    return Calibrator(method, tuple(map(float, steps.X_thresholds_)), tuple(map(float, steps.y_thresholds_)))


def _fit_sigmoid(log_odds: Floats, label: Labels) -> tuple[float, float]:
    """Return slope and intercept of the most likely sigmoid, by Newton's method; where none is, of one near it."""

    def loss(line: Floats) -> float:
        said = line[0] * log_odds + line[1]
        return float(np.logaddexp(0, said).sum() - said @ label)

    rate = float(label.mean())
    line = np.array([0.0, np.log(rate / (1 - rate))])
    lowest = loss(line)
    for _ in range(NEWTON_STEPS):
        probability = expit(line[0] * log_odds + line[1])
        error, spread = label - probability, probability * (1 - probability)
        slant = spread @ log_odds
        curvature = np.array([[(spread * log_odds) @ log_odds, slant], [slant, spread.sum()]])
        step = np.linalg.lstsq(curvature, np.array([error @ log_odds, error.sum()]), rcond=None)[0]
        # Too long a step is halved until it gains.
        while (found := loss(line + step)) > lowest and np.abs(step).max() > SMALLEST_STEP:
            step /= 2
        if found > lowest:
            break
        line, gained, lowest = line + step, lowest - found, found
        # Newton doubles the digits that are right: after a step that gains so little all are.
        if gained <= SMALLEST_GAIN * lowest:
            break
    return float(line[0]), float(line[1])


def calibrate(
    model: Model, log_odds: Floats, label: Labels, visitor: npt.NDArray[np.int32], settings: Calibration
) -> Fit:
    """Choose the calibration method by cross-fitted log loss and fit it on the whole calibration split.

    Parameters
    ----------
    model : Model
        The fitted model.
    log_odds, label, visitor : ndarray of shape (n_rows,)
        Log-odds, label and visitor number of the calibration split's rows.
    settings : Calibration
        Methods to try and number of folds; a visitor's rows stay in one fold.

    Returns
    -------
    Fit
        The model with the better calibrator.
    """
    fold = visitor % settings.folds
    log_losses: dict[str, float] = {}
    for method in settings.methods:
        probability = np.empty(len(label))
        for held_out in range(settings.folds):
            rest = fold != held_out
            probability[~rest] = fit_calibrator(method, log_odds[rest], label[rest]).probability(log_odds[~rest])
        log_losses[method] = float(row_log_loss(probability, label).mean())
    best = min(log_losses, key=lambda method: log_losses[method])
    return Fit(model, fit_calibrator(best, log_odds, label), log_losses)


def row_log_loss(probability: Floats, label: Labels) -> Floats:
    """Return each row's log loss.

    Parameters
    ----------
    probability : ndarray of shape (n_rows,)
        Predicted probabilities of a conversion.
    label : ndarray of shape (n_rows,)
        1 where the row converted.

    Returns
    -------
    ndarray of shape (n_rows,)
        Losses in nats.

    Examples
    --------
    >>> row_log_loss(np.array([0.5, 1.0]), np.array([1, 1])).round(3).tolist()
    [0.693, -0.0]
    """
    return np.asarray(-np.log(np.clip(np.where(label == 1, probability, 1 - probability), 1e-15, 1)))
