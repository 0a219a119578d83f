"""Models fitted so that none scores a row it has seen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.config import Config, UpliftSettings
from ml.conversion.calibration import Calibrator, fit_calibrator
from ml.conversion.catboost import CatBoostModel
from ml.conversion.model import Training
from ml.data.draw import at_random
from ml.data.features import Mart
from ml.data.split import sample_negatives
from ml.experiment.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

FEWEST_TREES = 10


@dataclass(frozen=True)
class Fit:
    """A fitted, calibrated model, and what it says of rows that it has not seen.

    `log_odds` are raw outputs: for the model of an arm, of every training row, by models of the other folds; for the
    response model, of the calibration rows. `without` has the model of an arm that did not see fold 0, 1 and so on.
    """

    model: CatBoostModel
    calibrator: Calibrator
    log_odds: Floats
    without: tuple[CatBoostModel, ...] = ()

    @property
    def crossed(self) -> Floats:
        """Calibrated probability of each of these rows."""
        return self.calibrator.probability(self.log_odds)

    @property
    def trees(self) -> int:
        """Trees that a model of fewer rows gets: as many as this one, and ten at least."""
        return trees_of(self.model)

    def probability(self, inputs: "pd.DataFrame") -> Floats:
        """Predict the probability of a conversion of rows that were not trained on: ndarray of shape (n_rows,)."""
        return self.calibrator.probability(self.model.log_odds(inputs))


def trees_of(model: CatBoostModel) -> int:
    """Return how many trees a model of fewer rows gets."""
    return max(int(model.booster.tree_count_), FEWEST_TREES)


class CrossFitter:
    """Fits models on rows of one experiment; rows of a visitor stay in one fold.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms.
    mart : Mart
        Features.
    config : Config
        Settings.
    """

    def __init__(self, experiment: Experiment, mart: Mart, config: Config) -> None:
        self.experiment, self.mart, self.config = experiment, mart, config
        self.settings: UpliftSettings = config.uplift
        self.train = experiment.rows("train")
        self.fold = experiment.visitor % self.settings.folds

    def cross_fit(self, of_arm: npt.NDArray[np.bool_]) -> Fit:
        """Fit, cross-fit and calibrate the model of one arm, given which rows are of it."""
        model = self.fit(of_arm)
        settings = self._with_trees(trees_of(model))
        log_odds = np.empty(len(self.train))
        fold = self.fold[self.train]
        without = []
        for held_out in range(self.settings.folds):
            rows = self.train[(fold != held_out) & of_arm[self.train]]
            fitted = self._fit(rows, self.train[:0], settings)
            without.append(fitted)
            log_odds[fold == held_out] = fitted.log_odds(self.experiment.inputs.iloc[self.train[fold == held_out]])
        own = of_arm[self.train]
        calibrator = fit_calibrator("platt", log_odds[own], self.experiment.outcome[self.train[own]])
        return Fit(model, calibrator, log_odds, tuple(without))

    def fit(self, of_arm: npt.NDArray[np.bool_]) -> CatBoostModel:
        """Fit one model on all training rows of an arm; it stops early."""
        rows = self.train[of_arm[self.train]]
        stop = self.experiment.rows("calibration")
        return self._fit(rows, stop[of_arm[stop]], self.settings)

    def fit_placebo(self, of_arm: npt.NDArray[np.bool_], trees: int) -> CatBoostModel:
        """Fit one model of so many trees on a placebo's share of the sampled rows: all placebos have one sample."""
        rows, sampling = self.train[of_arm[self.train]], self.settings.sampling
        part = max(1, sampling.min_negatives // self.settings.placebo_runs)
        fewer = {"max_trees": trees, "sampling": sampling.model_copy(update={"min_negatives": part})}
        return self._fit(rows, rows[:0], self.settings.model_copy(update=fewer))

    def _with_trees(self, trees: int) -> UpliftSettings:
        return self.settings.model_copy(update={"max_trees": trees})

    def _fit(self, rows: Rows, stop: Rows, settings: UpliftSettings) -> CatBoostModel:
        inputs, outcome = self.experiment.inputs, self.experiment.outcome
        (chosen, weights), (stop, stop_weights) = (
            sample_negatives(part, outcome, settings.sampling, at_random(self.config.seed)) for part in (rows, stop)
        )
        training = Training(
            inputs=inputs.iloc[chosen],
            label=outcome[chosen],
            weights=weights,
            stop_inputs=inputs.iloc[stop],
            stop_label=outcome[stop],
            mart=self.mart,
            seed=self.config.seed,
            threads=self.config.threads,
            stop_weights=stop_weights,
        )
        return CatBoostModel.fit(training, settings)
