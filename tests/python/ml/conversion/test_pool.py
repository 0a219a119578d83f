"""Few rows go to CatBoost as arrays, many as a data frame; what a model says of them is the same."""

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostRegressor, Pool

from ml.conversion import pool
from ml.conversion.pool import pool_of

NAMES = ["number", "half", "kind", "place"]
TEXTS = ["kind", "place"]


def rows(size: int) -> pd.DataFrame:
    random = np.random.default_rng(size)
    numbers = random.normal(size=(size, 2)).astype(np.float32)
    numbers[random.random((size, 2)) < 0.2] = np.nan
    inputs = pd.DataFrame(numbers, columns=["number", "half"])
    for name, levels in (("kind", ["a", "é", "none"]), ("place", ["x", "7"])):
        codes = random.integers(0, len(levels), size)
        inputs[name] = pd.Categorical.from_codes(codes, pd.Index(levels))
    return inputs


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (NAMES, {}),
        (["half", "kind"], {}),
        (["number"], {}),
        ([*NAMES, "(arm)"], {"(arm)": 1}),
        (["kind", "number"], {}),
    ],
)
def test_a_few_rows_are_scored_as_many_are(
    names: list[str], more: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = rows(400).assign(**{name: np.float32(value) for name, value in more.items()})
    texts = [name for name in TEXTS if name in names]
    target = np.nan_to_num(learnt["half"]) + (learnt["kind"] == "é")
    model = CatBoostRegressor(iterations=20, logging_level="Silent", allow_writing_files=False, one_hot_max_size=2)
    model.fit(Pool(learnt[names], target, cat_features=texts))
    inputs = rows(30)
    few = model.predict(pool_of(inputs, names, more))
    assert pool_of(inputs, names, more) is pool_of(inputs, names, more)
    monkeypatch.setattr(pool, "FEW_ROWS", 0)
    assert np.array_equal(few, model.predict(pool_of(inputs, names, more)))
    assert len(set(few)) > 1


def test_other_rows_get_a_pool_of_their_own() -> None:
    first = pool_of(rows(10), NAMES)
    assert pool_of(rows(11), NAMES).num_row() == 11
    assert first.num_row() == 10
