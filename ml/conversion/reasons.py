"""The top reasons of a row's probability, in words."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.conversion.champion import Champion
from ml.data.features import NONE, Feature, Mart
from ml.data.rows import Dataset

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = 3
SHAP_ROWS = 25_000
LEAVING, BUYING = "Towards leaving", "Towards buying"


def reasons_of(champion: Champion, data: Dataset, explained: Rows, threads: int) -> "list[pa.DictionaryArray]":
    """Return the top reasons of rows, without a summary.

    Parameters
    ----------
    champion : Champion
        The model that scores.
    data : Dataset
        Rows.
    explained : ndarray of int
        Positions of those to explain, ascending.
    threads : int
        Threads to use; the reasons do not depend on it.

    Returns
    -------
    list of pyarrow.DictionaryArray
        For each reason one text per explained row.
    """
    model, mart, points = champion.model, champion.model.mart, data.decision_point

    def reasons(part: Rows) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
        constant = champion.constants.of(points[part], mart)
        # Not a copy of all rows: what was made of them for scoring serves again.
        rows = data.inputs if len(part) == len(data) else data.taken(part)
        return top_reasons(model.contributions(rows), mart, constant)

    parts = [explained[start : start + SHAP_ROWS] for start in range(0, len(explained), SHAP_ROWS)]
    if len(parts) == 1:
        done = [reasons(parts[0])]
    else:
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(reasons, parts))
    top, pushes_up = (np.concatenate(found) for found in zip(*done, strict=True))
    return reason_texts(data, mart, top, pushes_up, at=explained)


def top_reasons(
    values: Floats, mart: Mart, constant: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Pick the features with the largest SHAP values, whichever way they push.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features)
        SHAP values.
    mart : Mart
        Features, in the order of the columns.
    constant : ndarray of shape (n_rows, n_features)
        Which features have one value at the row's decision point, and are no reason there.

    Returns
    -------
    ndarray of shape (n_rows, n_reasons)
        Feature positions, strongest first.
    ndarray of shape (n_rows, n_reasons)
        Whether each pushes towards buying.
    """
    magnitude = np.abs(values)
    magnitude[:, [index for index, feature in enumerate(mart.features) if not feature.reason]] = -1
    magnitude[constant] = -1
    strongest = np.argpartition(magnitude, -REASONS, axis=1)[:, -REASONS:]
    by_strength = np.argsort(-np.take_along_axis(magnitude, strongest, axis=1), axis=1, kind="stable")
    top = np.take_along_axis(strongest, by_strength, axis=1)
    return top.astype(np.int16), np.take_along_axis(values, top, axis=1) > 0


def reason_texts(
    data: Dataset, mart: Mart, top: npt.NDArray[np.int16], pushes_up: npt.NDArray[np.bool_], *, at: Rows
) -> "list[pa.DictionaryArray]":
    """Write each reason out, as "Towards leaving: events in the session so far (events_so_far = 1)".

    Parameters
    ----------
    data : Dataset
        Rows.
    mart : Mart
        Features with their descriptions.
    top : ndarray of shape (n_rows, n_reasons)
        Feature positions.
    pushes_up : ndarray of shape (n_rows, n_reasons)
        Whether each pushes towards buying.
    at : ndarray of int
        Positions of the explained rows in the data set.

    Returns
    -------
    list of pyarrow.DictionaryArray
        For each reason one text per explained row.
    """
    import pyarrow as pa

    texts: list[str] = []
    codes = np.zeros(top.shape, dtype=np.int32)
    for index in np.unique(top):
        feature = mart.features[index]
        rows, places = np.nonzero(top == index)
        column, own = data.inputs[feature.name], at[rows]
        if feature.kind == "categorical":
            values, found = np.asarray(column.cat.categories), column.cat.codes.to_numpy()[own].astype(np.int64)
        else:
            values, found = np.unique(_three_digits(column.to_numpy()[own]), return_inverse=True)
        for value in values:
            texts += [f"{LEAVING}: {phrase(feature, value)}", f"{BUYING}: {phrase(feature, value)}"]
        start = len(texts) - 2 * len(values)
        codes[rows, places] = start + 2 * found + pushes_up[rows, places]
        data.let_go()
    dictionary = pa.array(texts, pa.string())
    return [pa.DictionaryArray.from_arrays(pa.array(column), dictionary) for column in codes.T]


def phrase(feature: Feature, value: Any) -> str:
    """Say one feature's value in words.

    Parameters
    ----------
    feature : Feature
        The feature.
    value : object
        Its value; NaN or `NONE` means null.

    Returns
    -------
    str
        Words, then the feature's name and value in brackets.
    """
    words = feature.reason
    if value == NONE or (isinstance(value, float | np.floating) and np.isnan(value)):
        return f"not known: {words} ({feature.name})"
    if feature.is_flag and value == 0:
        words = f"not so: {words}"
    shown = f"{value:,.6g}" if isinstance(value, float | np.floating) else str(value)
    return f"{words} ({feature.name} = {shown})"


def _three_digits(values: npt.NDArray[np.float32]) -> Floats:
    wide = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = 10.0 ** np.clip(2 - np.floor(np.log10(np.abs(wide))), None, 4)
    # Whole numbers below 1000 stay as they are, and so does 0; beyond, three digits.
    return np.where(np.isfinite(size), np.round(wide * size) / np.where(np.isfinite(size), size, 1), wide)
