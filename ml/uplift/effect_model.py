"""One CatBoost model of effects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from ml.arrays import Floats, Labels
from ml.conversion.catboost import save_booster
from ml.conversion.fitting import fit_alone
from ml.conversion.model import HISTOGRAM_BINS, chunks
from ml.conversion.pool import pool_of

if TYPE_CHECKING:
    import pandas as pd

ARM = "(arm)"
MOST_LEVELS = 32


@dataclass(frozen=True)
class Growth:
    """How a model grows: number of trees, their depth, and how much of each is taken."""

    trees: int
    depth: int
    learning_rate: float
    l2_leaf_reg: float = 10.0


def effect_features(inputs: "pd.DataFrame") -> list[str]:
    """Return the columns that effects are learnt from: numbers, and categories of up to 32 levels.

    A category of many levels gives CatBoost a number that says how often its rows convert. Effects are far smaller than
    such differences, so it costs time and finds chance. Where there is nothing else, all columns count.
    """
    short = [
        str(name)
        for name, column in inputs.items()
        if column.dtype != "category" or len(column.cat.categories) <= MOST_LEVELS
    ]
    return short or list(inputs.columns)


@dataclass(frozen=True)
class EffectModel:
    """A regression of effects, or, where the arm is a feature, a model of the outcome asked about both arms."""

    booster: Any
    threads: int

    @classmethod
    def fit_values(
        cls, inputs: "pd.DataFrame", values: Floats, weights: Floats | None, growth: Growth, *, seed: int, threads: int
    ) -> "EffectModel":
        """Fit a regression of values, such as doubly robust scores, on features."""
        from catboost import CatBoostRegressor

        return cls(_fitted(CatBoostRegressor, inputs, values, weights, growth, seed=seed, threads=threads), threads)

    @classmethod
    def fit_outcome(
        cls, inputs: "pd.DataFrame", arm: Labels, outcome: Labels, growth: Growth, *, seed: int, threads: int
    ) -> "EffectModel":
        """Fit a model of a 0/1 outcome on features and the arm."""
        from catboost import CatBoostClassifier

        with_arm = inputs.assign(**{ARM: arm.astype(np.float32)})
        return cls(_fitted(CatBoostClassifier, with_arm, outcome, None, growth, seed=seed, threads=threads), threads)

    @classmethod
    def load(cls, path: Path, threads: int) -> "EffectModel":
        """Read a saved model."""
        from catboost import CatBoost

        return cls(CatBoost().load_model(str(path)), threads)

    def save(self, path: Path) -> None:
        """Write the model; equal models give equal bytes."""
        save_booster(self.booster, path)

    def effect(self, inputs: "pd.DataFrame") -> Floats:
        """Return the predicted effect of each row; columns that the model does not know are left aside."""
        names = list(self.booster.feature_names_)
        if ARM not in names:
            return self._raw(inputs)
        control, treated = (expit(self._raw(inputs, {ARM: arm})) for arm in (0, 1))
        return np.asarray(treated - control)

    @property
    def features(self) -> list[str]:
        """The columns that the model knows, in order."""
        return list(self.booster.feature_names_)

    def contributions(self, inputs: "pd.DataFrame") -> Floats:
        """Return the SHAP values of a regression: ndarray of shape (n_rows, n_features)."""
        from catboost import Pool

        own = inputs[self.features]
        pool = Pool(own, cat_features=_categorical(own))
        values = self.booster.get_feature_importance(pool, type="ShapValues", thread_count=self.threads)
        return np.asarray(values)[:, :-1]

    def _raw(self, inputs: "pd.DataFrame", more: Mapping[str, float] | None = None) -> Floats:
        settings = {"prediction_type": "RawFormulaVal", "thread_count": self.threads}
        pools = (pool_of(chunk, self.features, more) for chunk in chunks(inputs))
        return np.concatenate([np.empty(0), *(self.booster.predict(pool, **settings) for pool in pools)])


def _fitted(
    kind: Any, inputs: "pd.DataFrame", target: Any, weights: Floats | None, growth: Growth, *, seed: int, threads: int
) -> Any:
    from catboost import Pool

    booster = kind(
        iterations=growth.trees,
        learning_rate=growth.learning_rate,
        depth=growth.depth,
        l2_leaf_reg=growth.l2_leaf_reg,
        border_count=HISTOGRAM_BINS,
        one_hot_max_size=MOST_LEVELS,
        random_seed=seed,
        thread_count=threads,
        allow_writing_files=False,
        logging_level="Silent",
    )
    return fit_alone(booster, Pool(inputs, target, weight=weights, cat_features=_categorical(inputs)))


def _categorical(inputs: "pd.DataFrame") -> Sequence[str]:
    return [str(name) for name, column in inputs.items() if column.dtype == "category"]
