"""Why a row is scored as it is: SHAP values, their summary and the top three reasons of each row."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.conversion.champion import Champion
from ml.conversion.reasons import SHAP_ROWS, reason_texts, top_reasons
from ml.data.features import Mart
from ml.data.rows import Dataset

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

BUYING, LEAVING = "higher: buying", "higher: leaving"


@dataclass(frozen=True)
class FeatureEffect:
    """How much one feature moves the scores of the test rows at one decision point, or at all of them."""

    decision_point: str
    rank: int
    feature: str
    label: str
    feature_group: str
    description: str
    mean_abs_shap: float
    direction: str
    n_rows: int


@dataclass(frozen=True)
class Explanation:
    """Top reasons of the rows explained, the summary by feature, and a sample of test rows for the figure."""

    rows: Rows
    reasons: "list[pa.DictionaryArray]"
    effects: list[FeatureEffect]
    sample_values: Floats
    sample_inputs: "pd.DataFrame"


def explain(
    champion: Champion, data: Dataset, rows: Rows, test_rows: Rows, *, plot_rows: int, seed: int, threads: int
) -> Explanation:
    """Explain rows of the data set by the model's own SHAP values.

    Parameters
    ----------
    champion : Champion
        The model that scores.
    data : Dataset
        All rows.
    rows : ndarray of int
        Positions of the rows to explain, ascending.
    test_rows : ndarray of int
        Those among them that the summary and the figure are about.
    plot_rows : int
        Size of the sample for the figure.
    seed : int
        Seed of that sample.
    threads : int
        Threads to use; the numbers do not depend on it.

    Returns
    -------
    Explanation
        Reasons of `rows` in their order, and the summary.
    """
    model, mart, points = champion.model, champion.model.mart, data.decision_point
    in_test, in_sample = np.zeros((2, len(data)), dtype=bool)
    in_test[test_rows] = True
    in_sample[np.random.default_rng(seed).choice(test_rows, min(plot_rows, len(test_rows)), replace=False)] = True

    def explain_chunk(chunk: Rows) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_], Floats, Floats]:
        values = model.contributions(data.taken(chunk))
        top, pushes_up = top_reasons(values, mart, champion.constants.of(points[chunk], mart))
        tested = in_test[chunk]
        magnitude, codes = np.abs(values[tested]), points.codes[chunk][tested]
        sums = np.stack([magnitude[codes == code].sum(axis=0) for code in range(len(points.categories))])
        return top, pushes_up, sums, values[in_sample[chunk]]

    chunks = [rows[start : start + SHAP_ROWS] for start in range(0, len(rows), SHAP_ROWS)]
    with ThreadPoolExecutor(threads) as pool:
        tops, pushes, sums, samples = zip(*pool.map(explain_chunk, chunks), strict=True)
    sample_inputs, sample_values = data.taken(np.flatnonzero(in_sample)), np.concatenate(samples)
    totals = np.zeros((len(points.categories), len(mart.features)))
    for chunk_sums in sums:
        totals += chunk_sums
    return Explanation(
        rows=rows,
        # Not the rows themselves: a copy of them would be the largest thing in memory beside the data.
        reasons=reason_texts(data, mart, np.concatenate(tops), np.concatenate(pushes), at=rows),
        effects=_effects(totals, points.take(test_rows), champion, directions_of(sample_inputs, sample_values, mart)),
        sample_values=sample_values,
        sample_inputs=sample_inputs,
    )


def directions_of(inputs: "pd.DataFrame", values: Floats, mart: Mart) -> list[str]:
    """Say which way each feature pushes the score.

    Parameters
    ----------
    inputs : DataFrame
        Features of some rows.
    values : ndarray of shape (n_rows, n_features)
        Their SHAP values.
    mart : Mart
        Features, in the order of the columns.

    Returns
    -------
    list of str
        What `direction_of` says of a numeric feature, `by category` for others.
    """
    return [
        direction_of(inputs[feature.name], values[:, index]) if feature.kind == "numeric" else "by category"
        for index, feature in enumerate(mart.features)
    ]


def direction_of(column: "pd.Series[float]", values: Floats, words: tuple[str, str] = (BUYING, LEAVING)) -> str:
    """Say which way a numeric feature pushes, by the rank correlation of its values with its SHAP values.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        Values of the feature; nulls are left out.
    values : ndarray of shape (n_rows,)
        SHAP values of the same rows.
    words : (str, str)
        What to say where they rise with the values, and where they fall.

    Returns
    -------
    str
        One of these, or `mixed` between -0.3 and 0.3.
    """
    import pandas as pd

    known = column.notna().to_numpy()
    ranks = pd.DataFrame({"value": column.to_numpy()[known], "shap": values[known]}).rank()
    if len(ranks) < 2 or (ranks.nunique() < 2).any():
        return "mixed"
    correlation = ranks["value"].corr(ranks["shap"])
    if abs(correlation) < 0.3:
        return "mixed"
    return words[0] if correlation > 0 else words[1]


def _effects(
    totals: Floats, points: "pd.Categorical", champion: Champion, directions: Sequence[str]
) -> list[FeatureEffect]:
    """Rank the features overall and at each decision point, where they vary, by mean absolute SHAP value."""
    mart, constant = champion.model.mart, champion.constants.names
    counts = np.bincount(points.codes, minlength=len(points.categories))
    groups = [("all", totals.sum(axis=0), int(counts.sum()))]
    groups += [(str(point), totals[code], int(counts[code])) for code, point in enumerate(points.categories)]
    return [
        FeatureEffect(
            decision_point=point,
            rank=rank,
            feature=mart.features[index].name,
            label=mart.features[index].label,
            feature_group=mart.features[index].group,
            description=mart.features[index].description,
            mean_abs_shap=float(total[index] / rows),
            direction=directions[index],
            n_rows=rows,
        )
        for point, total, rows in groups
        if rows
        for rank, index in enumerate(_varying(np.argsort(-total, kind="stable"), mart, constant.get(point, ())), 1)
    ]


def _varying(order: Rows, mart: Mart, constant: Sequence[str]) -> list[int]:
    return [index for index in order if mart.features[index].name not in constant]
