"""The XGBoost model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.config import XGBoostSettings
from ml.conversion.model import HISTOGRAM_BINS, Training, chunks
from ml.data.features import Mart

if TYPE_CHECKING:
    import pandas as pd


class XGBoostModel:
    """Gradient boosting on histograms; categories that training did not see count as missing."""

    name: ClassVar[str] = "xgboost"
    title: ClassVar[str] = "XGBoost"
    file_name: ClassVar[str] = "xgboost_model.json"

    def __init__(self, booster: Any, levels: dict[str, list[str]], mart: Mart, threads: int) -> None:
        self.booster, self.levels, self.mart, self.threads = booster, levels, mart, threads

    @classmethod
    def fit(cls, training: Training, settings: XGBoostSettings) -> "XGBoostModel":
        """Fit on the training rows, stop when the calibration split's log loss no longer falls."""
        import xgboost

        used = {name: training.inputs[name].cat.remove_unused_categories() for name in training.mart.categorical}
        levels = {name: [str(level) for level in column.cat.categories] for name, column in used.items()}
        train = xgboost.QuantileDMatrix(
            _with_levels(training.inputs, levels),
            training.label,
            weight=training.weights,
            max_bin=HISTOGRAM_BINS,
            enable_categorical=True,
            nthread=training.threads,
        )
        # Not in quantiles: each tree is asked about these rows, and quantiles are five times as slow to ask about.
        stop = xgboost.DMatrix(
            _with_levels(training.stop_inputs, levels),
            training.stop_label,
            weight=training.stop_weights,
            enable_categorical=True,
            nthread=training.threads,
        )
        booster = xgboost.train(
            {
                "objective": "binary:logistic",
                "eval_metric": "logloss",
                "tree_method": "hist",
                "max_bin": HISTOGRAM_BINS,
                "learning_rate": settings.learning_rate,
                "max_depth": settings.depth,
                "min_child_weight": settings.min_child_weight,
                "reg_lambda": settings.reg_lambda,
                "subsample": settings.subsample,
                "colsample_bytree": settings.colsample_bytree,
                "seed": training.seed,
                "nthread": training.threads,
            },
            train,
            num_boost_round=settings.max_trees,
            evals=[(stop, "calibration")],
            early_stopping_rounds=settings.early_stopping_rounds,
            verbose_eval=False,
        )
        booster = booster[: booster.best_iteration + 1]
        booster.set_attr(levels=json.dumps(levels))
        return cls(booster, levels, training.mart, training.threads)

    @classmethod
    def load(cls, path: Path, mart: Mart, threads: int) -> "XGBoostModel":
        """Read a saved model."""
        import xgboost

        booster = xgboost.Booster({"nthread": threads}, model_file=str(path))
        return cls(booster, json.loads(booster.attr("levels") or "{}"), mart, threads)

    def log_odds(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""
        return np.concatenate([self._predict(chunk, output_margin=True) for chunk in chunks(inputs)]).astype(np.float64)

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds, one column per feature."""
        values = np.concatenate([self._predict(chunk, pred_contribs=True) for chunk in chunks(inputs)])
        return np.asarray(values[:, :-1], dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write the model and the categories it knows."""
        self.booster.save_model(str(path))

    def _predict(self, inputs: "pd.DataFrame", **what: bool) -> npt.NDArray[np.float32]:
        import xgboost

        matrix = xgboost.DMatrix(_with_levels(inputs, self.levels), enable_categorical=True, nthread=self.threads)
        return np.asarray(self.booster.predict(matrix, **what))


def _with_levels(inputs: "pd.DataFrame", levels: dict[str, list[str]]) -> "pd.DataFrame":
    return inputs.assign(**{name: inputs[name].cat.set_categories(known) for name, known in levels.items()})
