"""The logistic regression, the baseline."""

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.arrays import Floats
from ml.config import LogisticSettings
from ml.conversion import signed_log
from ml.conversion.model import Training, chunks
from ml.data.features import Mart

if TYPE_CHECKING:
    import pandas as pd

# So few rows are kept as the model sees them: they are explained after they are scored, and encoding takes longest.
FEW_ROWS = 1000


class LogisticModel:
    """The baseline: logistic regression on log-scaled numbers and frequent categories."""

    name: ClassVar[str] = "logistic"
    title: ClassVar[str] = "Logistic regression"
    file_name: ClassVar[str] = "logistic_model.joblib"

    def __init__(self, pipeline: Any, mart: Mart) -> None:
        self.pipeline, self.mart = pipeline, mart
        self._latest: tuple[weakref.ref[pd.DataFrame], Any] | None = None

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
        import joblib

        return cls(joblib.load(path), mart)

    def log_odds(self, inputs: "pd.DataFrame") -> Floats:
        """Return the log-odds of a conversion for each row."""
        parts = [self.pipeline[1].decision_function(self._encoded(chunk)) for chunk in chunks(inputs)]
        return np.concatenate(parts).astype(np.float64)

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return SHAP values in log-odds (features taken as independent), one column per feature."""
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
        for chunk in chunks(inputs):
            product = self._encoded(chunk) @ by_feature
            parts.append((product.toarray() if sparse.issparse(product) else np.asarray(product)) - average)
        return np.concatenate(parts)

    def _encoded(self, inputs: "pd.DataFrame") -> Any:
        latest = self._latest
        if latest is not None and latest[0]() is inputs:
            return latest[1]
        encoded = self.pipeline[0].transform(inputs)
        if len(inputs) <= FEW_ROWS:
            self._latest = weakref.ref(inputs), encoded
        return encoded

    def save(self, path: Path) -> None:
        """Write the fitted pipeline."""
        import joblib

        joblib.dump(self.pipeline, path)
