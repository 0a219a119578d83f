"""The models by name."""

from typing import Any

from ml.conversion.catboost import CatBoostModel
from ml.conversion.logistic import LogisticModel
from ml.conversion.xgboost import XGBoostModel

MODELS: dict[str, Any] = {model.name: model for model in (CatBoostModel, XGBoostModel, LogisticModel)}
