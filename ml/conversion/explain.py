"""Why a row is scored as it is: SHAP values, their summary and the top three reasons of each row."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.conversion.model import Model
from ml.conversion.reasons import SHAP_ROWS, reason_texts, top_reasons
from ml.data.features import Mart
from ml.data.rows import Dataset

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class FeatureEffect:
    """How much one feature moves the scores of the test rows at one decision point, or at all of them."""

    decision_point: str
    rank: int
    feature: str
    feature_group: str
    description: str
    mean_abs_shap: float
    direction: str
    n_rows: int


@dataclass(frozen=True)
class Explanations:
    """Top reasons of the explained rows, the summary by feature, and a sample for the figure."""

    reasons: "list[pa.DictionaryArray]"
    effects: list[FeatureEffect]
    sample_values: Floats
    sample_inputs: "pd.DataFrame"


def explain(
    model: Model, data: Dataset, mart: Mart, rows: Rows, test_rows: Rows, plot_rows: int, seed: int, threads: int
) -> Explanations:
    """Explain rows of the data set by the model's own SHAP values.

    Parameters
    ----------
    model : Model
        The champion.
    data : Dataset
        All rows.
    mart : Mart
        Features with their descriptions.
    rows : array of int
        Positions of the rows to explain, ascending.
    test_rows : array of int
        Those among them that the summary and the figure are about.
    plot_rows : int
        Size of the sample for the figure.
    seed : int
        Seed of that sample.
    threads : int
        Threads to use; the numbers do not depend on it.

    Returns
    -------
    Explanations
        Reasons of `rows` in their order, and the summary.
    """
    points = data.decision_point
    chunks = [rows[start : start + SHAP_ROWS] for start in range(0, len(rows), SHAP_ROWS)]
    in_test = np.zeros(len(data), dtype=bool)
    in_test[test_rows] = True
    drawn = np.random.default_rng(seed).choice(test_rows, min(plot_rows, len(test_rows)), replace=False)
    in_sample = np.zeros(len(data), dtype=bool)
    in_sample[drawn] = True
    totals = np.zeros((len(points.categories), len(mart.features)))

    def explain_chunk(chunk: Rows) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_], Floats, Floats]:
        values = model.contributions(data.inputs.iloc[chunk])
        top, pushes_up = top_reasons(values, mart)
        tested = in_test[chunk]
        magnitude = np.abs(values[tested])
        codes = points.codes[chunk][tested]
        sums = np.stack([magnitude[codes == code].sum(axis=0) for code in range(len(points.categories))])
        return top, pushes_up, sums, values[in_sample[chunk]]

    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(explain_chunk, chunks))
    for _, _, sums, _ in done:
        totals += sums
    top = np.concatenate([part[0] for part in done])
    pushes_up = np.concatenate([part[1] for part in done])
    sample_values = np.concatenate([part[3] for part in done])
    sample_inputs = data.inputs.iloc[np.flatnonzero(in_sample)]
    counts = np.bincount(points.codes[test_rows], minlength=len(points.categories))
    directions = [
        direction_of(sample_inputs[feature.name], sample_values[:, index])
        if feature.kind == "numeric"
        else "by category"
        for index, feature in enumerate(mart.features)
    ]
    effects = _rank("all", totals.sum(axis=0), int(counts.sum()), mart, directions)
    for code, point in enumerate(points.categories):
        if counts[code]:
            effects += _rank(str(point), totals[code], int(counts[code]), mart, directions)
    reasons = reason_texts(data.inputs.iloc[rows], mart, top, pushes_up)
    return Explanations(reasons, effects, sample_values, sample_inputs)


def direction_of(column: "pd.Series[float]", values: Floats) -> str:
    """Say which way a numeric feature pushes, by the rank correlation of its values with its SHAP values.

    Parameters
    ----------
    column : Series
        Values of the feature; nulls are left out.
    values : array of float
        SHAP values of the same rows.

    Returns
    -------
    str
        `higher: buying`, `higher: leaving`, or `mixed` between -0.3 and 0.3.
    """
    import pandas as pd

    known = column.notna().to_numpy()
    ranks = pd.DataFrame({"value": column.to_numpy()[known], "shap": values[known]}).rank()
    if len(ranks) < 2 or (ranks.nunique() < 2).any():
        return "mixed"
    correlation = ranks["value"].corr(ranks["shap"])
    if abs(correlation) < 0.3:
        return "mixed"
    return "higher: buying" if correlation > 0 else "higher: leaving"


def _rank(point: str, totals: Floats, rows: int, mart: Mart, directions: Sequence[str]) -> list[FeatureEffect]:
    order = np.argsort(-totals, kind="stable")
    return [
        FeatureEffect(
            point,
            rank,
            mart.features[index].name,
            mart.features[index].group,
            mart.features[index].description,
            float(totals[index] / rows),
            directions[index],
            rows,
        )
        for rank, index in enumerate(order, 1)
    ]
