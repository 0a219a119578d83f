"""Models fitted so that none scores a row it has seen."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.config import Config, UpliftSettings
from ml.conversion.calibration import Calibrator, fit_calibrator
from ml.conversion.catboost import CatBoostModel
from ml.conversion.model import Training
from ml.data.features import Mart
from ml.data.split import sample_negatives
from ml.experiment.experiment import Experiment
from ml.uplift.base_model import CatBoostOnCodes

FEWEST_TREES = 10


@dataclass(frozen=True)
class ArmFit:
    """A calibrated model of one arm, and what models of the other folds say of the training rows."""

    model: CatBoostModel
    calibrator: Calibrator
    margin: Floats  # of every training row, by models of the other folds
    trees: int

    @property
    def crossed(self) -> Floats:
        """Calibrated probability of every training row, by models of the other folds."""
        return self.calibrator.probability(self.margin)


class Fitter:
    """Fits models on rows of one experiment; rows of a visitor stay in one fold."""

    def __init__(self, experiment: Experiment, mart: Mart, config: Config) -> None:
        self.experiment, self.mart, self.config = experiment, mart, config
        self.settings: UpliftSettings = config.uplift
        self.train = experiment.rows("train")
        self.fold = experiment.visitor % self.settings.folds

    def arm(self, of_arm: npt.NDArray[np.bool_]) -> ArmFit:
        """Fit, cross-fit and calibrate the model of one arm, given which rows are of it."""
        model = self.whole(of_arm)
        trees = max(model.booster.tree_count_, FEWEST_TREES)
        margin = np.empty(len(self.train))
        fold = self.fold[self.train]
        for held_out in range(self.settings.folds):
            rows = self.train[(fold != held_out) & of_arm[self.train]]
            fitted = self._fit(rows, self.train[:0], self.settings.model_copy(update={"max_trees": trees}))
            margin[fold == held_out] = fitted.log_odds(self.experiment.inputs.iloc[self.train[fold == held_out]])
        own = of_arm[self.train]
        calibrator = fit_calibrator("platt", margin[own], self.experiment.outcome[self.train[own]])
        return ArmFit(model, calibrator, margin, trees)

    def whole(self, of_arm: npt.NDArray[np.bool_], trees: int | None = None) -> CatBoostModel:
        """Fit one model on all training rows of an arm; without a number of trees it stops early."""
        rows = self.train[of_arm[self.train]]
        if trees is not None:
            return self._fit(rows, rows[:0], self.settings.model_copy(update={"max_trees": trees}))
        stop = self.experiment.rows("calibration")
        return self._fit(rows, stop[of_arm[stop]], self.settings)

    def response(self) -> tuple[CatBoostModel, Calibrator]:
        """Fit and calibrate the response model, which knows no arms."""
        everyone = np.ones(len(self.experiment), dtype=bool)
        model = self.whole(everyone)
        rows = self.experiment.rows("calibration")
        margin = model.log_odds(self.experiment.inputs.iloc[rows])
        return model, fit_calibrator("platt", margin, self.experiment.outcome[rows])

    def rival_rows(self) -> Rows:
        """Return the training rows that rivals learn from: all, or a sample of them."""
        if len(self.train) <= self.settings.rival_rows:
            return self.train
        rng = np.random.default_rng(self.config.seed)
        return np.sort(rng.choice(self.train, self.settings.rival_rows, replace=False))

    def matrix(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Numbers and category codes, as EconML takes them."""
        return np.column_stack(
            [
                column.cat.codes if column.dtype == "category" else column
                for _, column in self.experiment.inputs.iloc[rows].items()
            ]
        ).astype(np.float64)

    def base(self, trees: int, target: str) -> "CatBoostOnCodes":
        """Return an unfitted base model for EconML; `target` is "probability" or "value"."""
        names = list(self.experiment.inputs.columns)
        return CatBoostOnCodes(
            target=target,
            categorical=[names.index(name) for name in self.experiment.categorical],
            trees=trees,
            learning_rate=self.settings.learning_rate,
            depth=self.settings.depth,
            l2_leaf_reg=self.settings.l2_leaf_reg,
            seed=self.config.seed,
            threads=self.config.threads,
        )

    def _fit(self, rows: Rows, stop: Rows, settings: UpliftSettings) -> CatBoostModel:
        inputs, outcome = self.experiment.inputs, self.experiment.outcome
        (chosen, weights), (stop, stop_weights) = (
            sample_negatives(part, outcome, self.settings.sampling, self.config.seed) for part in (rows, stop)
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
