"""CatBoost as EconML takes its models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from ml.arrays import Floats


class CatBoostOnCodes(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """CatBoost as EconML wants its models: a matrix of numbers in, one number per row out.

    `target` is "probability" for a 0/1 outcome, of which the probability is predicted, or "value". The other
    parameters are CatBoost's; `categorical` gives the columns that hold category codes.
    """

    def __init__(
        self,
        *,
        target: str,
        categorical: Sequence[int],
        trees: int,
        learning_rate: float,
        depth: int,
        l2_leaf_reg: float,
        seed: int,
        threads: int,
    ) -> None:
        self.target, self.categorical, self.trees, self.learning_rate = target, categorical, trees, learning_rate
        self.depth, self.l2_leaf_reg, self.seed, self.threads = depth, l2_leaf_reg, seed, threads

    def fit(self, inputs: Floats, outcome: Floats) -> "CatBoostOnCodes":
        """Fit on rows of numbers and category codes."""
        from catboost import CatBoostClassifier, CatBoostRegressor

        kind = CatBoostClassifier if self.target == "probability" else CatBoostRegressor
        self.model_ = kind(
            iterations=self.trees,
            learning_rate=self.learning_rate,
            depth=self.depth,
            l2_leaf_reg=self.l2_leaf_reg,
            border_count=64,
            max_ctr_complexity=1,
            one_hot_max_size=32,
            random_seed=self.seed,
            thread_count=self.threads,
            allow_writing_files=False,
            logging_level="Silent",
        ).fit(self._pool(inputs, np.asarray(outcome).ravel()))
        return self

    def predict(self, inputs: Floats) -> Floats:
        """Predict a probability or a value per row: ndarray of shape (n_rows,)."""
        if self.target == "probability":
            return np.asarray(self.model_.predict_proba(self._pool(inputs))[:, 1])
        return np.asarray(self.model_.predict(self._pool(inputs)))

    def _pool(self, inputs: Floats, outcome: Floats | None = None) -> Any:
        import pandas as pd
        from catboost import Pool

        frame = pd.DataFrame(inputs)
        for column in self.categorical:
            frame[column] = frame[column].astype(np.int32)
        return Pool(frame, outcome, cat_features=list(self.categorical))
