"""The CatBoost model."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.config import CatBoostSettings
from ml.conversion.fitting import fit_alone
from ml.conversion.model import HISTOGRAM_BINS, Training, chunks
from ml.conversion.pool import pool_of
from ml.data.features import Mart

if TYPE_CHECKING:
    import pandas as pd

# The loss decides when to stop; that of the training rows decides nothing.
STOP_METRIC = "Logloss:hints=skip_train~true"
# Of so few rows the values of all leaves at once are no burden.
FEW_ROWS = 200


class CatBoostModel:
    """Gradient boosting with native categorical features."""

    name: ClassVar[str] = "catboost"
    title: ClassVar[str] = "CatBoost"
    file_name: ClassVar[str] = "catboost_model.cbm"

    def __init__(self, booster: Any, mart: Mart, threads: int) -> None:
        self.booster, self.mart, self.threads = booster, mart, threads
        self._leaf_values = np.zeros((0, 0, 0))
        self._leaf_known = np.zeros((0, 0), dtype=bool)
        self._lock = Lock()

    @classmethod
    def fit(cls, training: Training, settings: CatBoostSettings) -> "CatBoostModel":
        """Fit on the training rows, stop when the calibration split's log loss no longer falls; without one, never."""
        from catboost import CatBoostClassifier, Pool

        cats = training.mart.categorical
        train = Pool(training.inputs, training.label, weight=training.weights, cat_features=cats)
        stop = None
        if len(training.stop_label):
            stop = Pool(training.stop_inputs, training.stop_label, weight=training.stop_weights, cat_features=cats)
        booster = CatBoostClassifier(
            iterations=settings.max_trees,
            learning_rate=settings.learning_rate,
            depth=settings.depth,
            l2_leaf_reg=settings.l2_leaf_reg,
            border_count=HISTOGRAM_BINS,
            max_ctr_complexity=1,
            one_hot_max_size=32,
            # What a category says of a row comes from the rows before it: in time, or in a file's drawn order. CatBoost
            # would try four random orders, in twice the time, and in each most rows know later ones.
            has_time=True,
            eval_metric=STOP_METRIC,
            # Without rows to stop on nobody looks at the loss, so it is measured once.
            metric_period=1 if stop is not None else settings.max_trees,
            od_type="Iter",
            od_wait=settings.early_stopping_rounds,
            random_seed=training.seed,
            thread_count=training.threads,
            allow_writing_files=False,
            logging_level="Silent",
        )
        fit_alone(booster, train, eval_set=stop)
        return cls(booster, training.mart, training.threads)

    @classmethod
    def load(cls, path: Path, mart: Mart, threads: int) -> "CatBoostModel":
        """Read a saved model."""
        from catboost import CatBoostClassifier

        return cls(CatBoostClassifier().load_model(str(path)), mart, threads)

    def log_odds(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""
        settings = {"prediction_type": "RawFormulaVal", "thread_count": self.threads}
        return np.concatenate([self.booster.predict(self._pool(chunk), **settings) for chunk in chunks(inputs)])

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds, one column per feature.

        They add up over trees, and within a symmetric tree they depend on the leaf alone. So CatBoost is asked once a
        leaf, and each row sums its leaves: the same numbers seven times faster than asking for every row.
        """
        leaves = self.booster.calc_leaf_indexes(self._pool(inputs), thread_count=self.threads).astype(np.intp)
        with self._lock:
            self._learn_leaves(inputs, leaves)
        if len(inputs) <= FEW_ROWS:
            # The sum goes over the trees in order, as below.
            return np.asarray(self._leaf_values[np.arange(leaves.shape[1]), leaves].sum(axis=1))
        values = np.zeros((len(self.mart.names), len(inputs)))
        for leaf_values, leaf in zip(self._leaf_values, leaves.T, strict=True):
            for feature in np.flatnonzero(leaf_values.any(axis=0)):
                values[feature] += leaf_values[:, feature].take(leaf)
        return values.T

    def _learn_leaves(self, inputs: "pd.DataFrame", leaves: npt.NDArray[np.intp]) -> None:
        trees = leaves.shape[1]
        if not self._leaf_known.size:
            most_leaves = int(max(self.booster.get_tree_leaf_counts()))
            self._leaf_values = np.zeros((trees, most_leaves, len(self.mart.names)))
            self._leaf_known = np.zeros((trees, most_leaves), dtype=bool)
        is_known = self._leaf_known[np.arange(trees), leaves].all(axis=0)
        for tree in np.flatnonzero(~is_known):
            new, example = np.unique(leaves[:, tree], return_index=True)
            unknown = ~self._leaf_known[tree, new]
            new, example = new[unknown], example[unknown]
            alone = self.booster.copy()
            alone.shrink(tree + 1, ntree_start=tree)
            values = alone.get_feature_importance(self._pool(inputs.iloc[example]), type="ShapValues", thread_count=1)
            self._leaf_values[tree, new] = np.asarray(values)[:, :-1]
            self._leaf_known[tree, new] = True

    def save(self, path: Path) -> None:
        """Write the model."""
        save_booster(self.booster, path)

    def _pool(self, inputs: "pd.DataFrame") -> Any:
        return pool_of(inputs, self.mart.names)


def save_booster(booster: Any, path: Path) -> None:
    """Write what CatBoost fitted; what differs between equal models (time, random id) is taken out of the file.

    Parameters
    ----------
    booster : CatBoost
        A classifier or regressor.
    path : Path
        File to write.
    """
    metadata = booster.get_metadata()
    for key in ("train_finish_time", "model_guid"):
        if key in metadata.keys():  # noqa: SIM118 - CatBoost's metadata proxy has no __contains__
            metadata[key] = ""
    booster.save_model(str(path))
