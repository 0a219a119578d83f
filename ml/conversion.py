"""Will this session still convert? Three models, their calibration and the choice between them."""

import json
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ml.config import Calibration, CatBoostSettings, FunneliftError, LogisticSettings, XGBoostSettings
from ml.features import Mart

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
CHUNK_ROWS = 200_000
HISTOGRAM_BINS = 64


class Model(Protocol):
    """A fitted model that scores in log-odds and can say which feature pushed a score where."""

    name: ClassVar[str]
    file_name: ClassVar[str]

    def margin(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds, one row a row and one column a feature, in the mart's order."""

    def save(self, path: Path) -> None:
        """Write the model to a file; equal models give equal bytes."""


@dataclass(frozen=True)
class Training:
    """Rows to fit on, with weights that undo the sampling, and the calibration slice for early stopping."""

    inputs: "pd.DataFrame"
    label: Labels
    weights: npt.NDArray[np.float32]
    stop_inputs: "pd.DataFrame"
    stop_label: Labels
    mart: Mart
    seed: int
    threads: int
    stop_weights: npt.NDArray[np.float32] | None = None


class CatBoostModel:
    """Gradient boosting with native categorical features."""

    name: ClassVar[str] = "catboost"
    file_name: ClassVar[str] = "catboost_model.cbm"

    def __init__(self, booster: Any, mart: Mart, threads: int) -> None:
        self.booster, self.mart, self.threads = booster, mart, threads
        self._leaf_values = np.zeros((0, 0, 0))
        self._leaf_known = np.zeros((0, 0), dtype=bool)
        self._lock = Lock()

    @classmethod
    def fit(cls, training: Training, settings: CatBoostSettings) -> "CatBoostModel":
        """Fit on the training rows, stop when the calibration slice's log loss no longer falls; without one, never."""
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
            od_type="Iter",
            od_wait=settings.early_stopping_rounds,
            random_seed=training.seed,
            thread_count=training.threads,
            allow_writing_files=False,
            logging_level="Silent",
        )
        booster.fit(train, eval_set=stop)
        return cls(booster, training.mart, training.threads)

    @classmethod
    def load(cls, path: Path, mart: Mart, threads: int) -> "CatBoostModel":
        """Read a saved model."""
        from catboost import CatBoostClassifier

        return cls(CatBoostClassifier().load_model(str(path)), mart, threads)

    def margin(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""
        settings = {"prediction_type": "RawFormulaVal", "thread_count": self.threads}
        return np.concatenate([self.booster.predict(self._pool(chunk), **settings) for chunk in _chunks(inputs)])

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds, one column a feature.

        They add up over trees, and within a symmetric tree they depend on the leaf alone. So CatBoost is asked once a
        leaf, and each row sums its leaves: the same numbers seven times faster than asking for every row.
        """
        leaves = self.booster.calc_leaf_indexes(self._pool(inputs), thread_count=self.threads).astype(np.intp)
        with self._lock:
            self._learn_leaves(inputs, leaves)
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
        for tree in range(trees):
            new, example = np.unique(leaves[:, tree], return_index=True)
            unknown = ~self._leaf_known[tree, new]
            new, example = new[unknown], example[unknown]
            if len(new):
                alone = self.booster.copy()
                alone.shrink(tree + 1, ntree_start=tree)
                values = alone.get_feature_importance(
                    self._pool(inputs.iloc[example]), type="ShapValues", thread_count=1
                )
                self._leaf_values[tree, new] = np.asarray(values)[:, :-1]
                self._leaf_known[tree, new] = True

    def save(self, path: Path) -> None:
        """Write the model; what differs between equal models (time, random id) is taken out of the file."""
        metadata = self.booster.get_metadata()
        for key in ("train_finish_time", "model_guid"):
            if key in metadata.keys():  # noqa: SIM118 - CatBoost's metadata proxy has no __contains__
                metadata[key] = ""
        self.booster.save_model(str(path))

    def _pool(self, inputs: "pd.DataFrame") -> Any:
        from catboost import Pool

        return Pool(inputs, cat_features=self.mart.categorical)


class XGBoostModel:
    """Gradient boosting on histograms; categories that training did not see count as missing."""

    name: ClassVar[str] = "xgboost"
    file_name: ClassVar[str] = "xgboost_model.json"

    def __init__(self, booster: Any, levels: dict[str, list[str]], mart: Mart, threads: int) -> None:
        self.booster, self.levels, self.mart, self.threads = booster, levels, mart, threads

    @classmethod
    def fit(cls, training: Training, settings: XGBoostSettings) -> "XGBoostModel":
        """Fit on the training rows, stop when the calibration slice's log loss no longer falls."""
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
        stop = xgboost.QuantileDMatrix(
            _with_levels(training.stop_inputs, levels),
            training.stop_label,
            ref=train,
            max_bin=HISTOGRAM_BINS,
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

    def margin(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""
        return np.concatenate([self._predict(chunk, output_margin=True) for chunk in _chunks(inputs)]).astype(
            np.float64
        )

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds, one column a feature."""
        values = np.concatenate([self._predict(chunk, pred_contribs=True) for chunk in _chunks(inputs)])
        return np.asarray(values[:, :-1], dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write the model and the categories it knows."""
        self.booster.save_model(str(path))

    def _predict(self, inputs: "pd.DataFrame", **what: bool) -> npt.NDArray[np.float32]:
        import xgboost

        matrix = xgboost.DMatrix(_with_levels(inputs, self.levels), enable_categorical=True, nthread=self.threads)
        return np.asarray(self.booster.predict(matrix, **what))


class LogisticModel:
    """The baseline: logistic regression on log-scaled numbers and frequent categories."""

    name: ClassVar[str] = "logistic"
    file_name: ClassVar[str] = "logistic_model.joblib"

    def __init__(self, pipeline: Any, mart: Mart) -> None:
        self.pipeline, self.mart = pipeline, mart

    @classmethod
    def fit(cls, training: Training, settings: LogisticSettings) -> "LogisticModel":
        """Fit on the training rows."""
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

        numbers = make_pipeline(
            FunctionTransformer(signed_log),
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler(),
        )
        encoders = [
            (
                name,
                OneHotEncoder(
                    handle_unknown="infrequent_if_exist", min_frequency=settings.min_category_rows, dtype=np.float32
                ),
                [name],
            )
            for name in training.mart.categorical
        ]
        pipeline = make_pipeline(
            # Always sparse: a row's score must not depend on how many rows are scored with it.
            ColumnTransformer([("numbers", numbers, training.mart.numeric), *encoders], sparse_threshold=1.0),
            LogisticRegression(C=settings.inverse_regularisation, max_iter=300, tol=1e-4),
        )
        pipeline.fit(training.inputs, training.label, logisticregression__sample_weight=training.weights)
        # Mean of every column as the model saw it, so that contributions are differences from the average row.
        encoded = pipeline[0].transform(training.inputs)
        pipeline.column_means_ = np.asarray(
            encoded.T @ (training.weights / training.weights.sum(dtype=np.float64)), dtype=np.float64
        ).ravel()
        return cls(pipeline, training.mart)

    @classmethod
    def load(cls, path: Path, mart: Mart, threads: int) -> "LogisticModel":
        """Read a saved model; the caller has checked the file's hash."""
        import joblib  # type: ignore[import-untyped]

        return cls(joblib.load(path), mart)

    def margin(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""
        return np.concatenate([self.pipeline.decision_function(chunk) for chunk in _chunks(inputs)]).astype(np.float64)

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds (features taken as independent), one column a feature."""
        from scipy import sparse

        encoder, regression = self.pipeline[0], self.pipeline[1]
        positions = {name: index for index, name in enumerate(self.mart.names)}
        numeric = self.mart.numeric
        columns = np.empty(regression.coef_.shape[1], dtype=np.intp)
        indicator = encoder.named_transformers_["numbers"][1].indicator_.features_
        columns[encoder.output_indices_["numbers"]] = [positions[name] for name in numeric] + [
            positions[numeric[index]] for index in indicator
        ]
        for name in self.mart.categorical:
            columns[encoder.output_indices_[name]] = positions[name]
        by_feature = sparse.csr_array(
            (regression.coef_[0], (np.arange(len(columns)), columns)), shape=(len(columns), len(positions))
        )
        average = self.pipeline.column_means_ @ by_feature
        parts = []
        for chunk in _chunks(inputs):
            product = encoder.transform(chunk) @ by_feature
            parts.append((product.toarray() if sparse.issparse(product) else np.asarray(product)) - average)
        return np.concatenate(parts)

    def save(self, path: Path) -> None:
        """Write the fitted pipeline."""
        import joblib

        joblib.dump(self.pipeline, path)


MODELS: dict[str, Any] = {model.name: model for model in (CatBoostModel, XGBoostModel, LogisticModel)}


@dataclass(frozen=True)
class Calibrator:
    """A non-decreasing map from log-odds to probability: Platt's sigmoid or isotonic steps."""

    method: str
    knots: tuple[float, ...]
    values: tuple[float, ...]

    def probability(self, margin: Floats) -> Floats:
        """Turn log-odds into probabilities.

        Parameters
        ----------
        margin : array of float
            A model's log-odds.

        Returns
        -------
        array of float
            Calibrated probabilities.
        """
        if self.method == "platt":
            slope, intercept = self.values
            return np.asarray(expit(slope * margin + intercept))
        return np.interp(margin, self.knots, self.values)


@dataclass(frozen=True)
class Candidate:
    """A fitted model with its calibrator and the cross-fitted log loss of each calibration method."""

    model: Model
    calibrator: Calibrator
    log_losses: dict[str, float]

    @property
    def log_loss(self) -> float:
        """Log loss of the chosen method."""
        return self.log_losses[self.calibrator.method]

    def probability(self, inputs: "pd.DataFrame") -> Floats:
        """Return the calibrated probability of a conversion for each row."""
        return self.calibrator.probability(self.model.margin(inputs))


def fit_calibrator(method: str, margin: Floats, label: Labels) -> Calibrator:
    """Fit one calibration method.

    Parameters
    ----------
    method : str
        `platt` or `isotonic`.
    margin : array of float
        Log-odds on the calibration slice.
    label : array of int
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
        from sklearn.linear_model import LogisticRegression

        # A sigmoid that falls would turn the ranking round; flat is the most that a useless model gets.
        fitted = LogisticRegression(C=np.inf, tol=1e-8).fit(margin.reshape(-1, 1), label)
        slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if slope <= 0:
            slope, intercept = 0.0, float(np.log(label.mean() / (1 - label.mean())))
        return Calibrator(method, (), (slope, intercept))
    from sklearn.isotonic import IsotonicRegression

    smallest = 1 / (len(label) + 2)
    steps = IsotonicRegression(y_min=smallest, y_max=1 - smallest, out_of_bounds="clip").fit(margin, label)
    return Calibrator(method, tuple(map(float, steps.X_thresholds_)), tuple(map(float, steps.y_thresholds_)))


def calibrate(
    model: Model, margin: Floats, label: Labels, visitor: npt.NDArray[np.int32], settings: Calibration
) -> Candidate:
    """Choose the calibration method by cross-fitted log loss and fit it on the whole calibration slice.

    Parameters
    ----------
    model : Model
        The fitted model.
    margin, label, visitor : array
        Log-odds, label and visitor code of the calibration slice's rows.
    settings : Calibration
        Methods to try and number of folds; a visitor's rows stay in one fold.

    Returns
    -------
    Candidate
        The model with the better calibrator.
    """
    fold = visitor % settings.folds
    log_losses: dict[str, float] = {}
    for method in settings.methods:
        probability = np.empty(len(label))
        for held_out in range(settings.folds):
            rest = fold != held_out
            probability[~rest] = fit_calibrator(method, margin[rest], label[rest]).probability(margin[~rest])
        log_losses[method] = float(row_log_loss(probability, label).mean())
    best = min(log_losses, key=lambda method: log_losses[method])
    return Candidate(model, fit_calibrator(best, margin, label), log_losses)


def row_log_loss(probability: Floats, label: Labels) -> Floats:
    """Return each row's log loss.

    Parameters
    ----------
    probability : array of float
        Predicted probabilities of a conversion.
    label : array of int
        1 where the row converted.

    Returns
    -------
    array of float
        Losses in nats.
    """
    return np.asarray(-np.log(np.clip(np.where(label == 1, probability, 1 - probability), 1e-15, 1)))


def signed_log(values: Any) -> Any:
    """Return sign(x) log(1 + |x|), which tames long tails and keeps nulls."""
    return np.sign(values) * np.log1p(np.abs(values))


def _with_levels(inputs: "pd.DataFrame", levels: dict[str, list[str]]) -> "pd.DataFrame":
    return inputs.assign(**{name: inputs[name].cat.set_categories(known) for name, known in levels.items()})


def _chunks(inputs: "pd.DataFrame") -> "list[pd.DataFrame]":
    return [inputs.iloc[start : start + CHUNK_ROWS] for start in range(0, len(inputs), CHUNK_ROWS)]
