"""What features say of an outcome before the arms are looked at, so that less of it is noise."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
LEVELS = 20  # of a category, the most frequent ones
PENALTIES = np.logspace(-4, 2, 13)
ROWS_AT_ONCE = 100_000


def explained(inputs: "pd.DataFrame", outcome: Floats, treatment: npt.NDArray[np.int8], unit: npt.NDArray[np.int32],
              chance: Floats) -> Floats:  # fmt: skip
    """Predict (1 - e) mu1 + e mu0 for each row, by models that saw neither the row nor its unit.

    The difference in means of the outcome less this prediction is the augmented inverse-propensity estimate (AIPW) with
    cross-fitting: it has the same mean as the plain difference, and a smaller variance as far as features tell. mu1 and
    mu0 are ridge regressions of each arm, the penalty by generalised cross-validation.

    Parameters
    ----------
    inputs : DataFrame of shape (n_rows, n_features)
        Features.
    outcome, treatment, unit : ndarray of shape (n_rows,)
        Outcome, arm and unit of each row.
    chance : ndarray of shape (n_rows,)
        Chance of treatment, e.

    Returns
    -------
    ndarray of shape (n_rows,)
        The predictions; zeros where there is no feature or too little to learn from.

    References
    ----------
    Lin (2013), Annals of Applied Statistics 7:295-318; Chernozhukov et al. (2018), Econometrics Journal 21:C1-C68;
    Golub, Heath & Wahba (1979), Technometrics 21:215-223.
    """
    columns = _columns(inputs)
    if not columns:
        return np.zeros(len(outcome))
    width = len(columns) + 1
    fold = unit % FOLDS
    moments = np.zeros((2, FOLDS, width + 1, width + 1))
    for start in range(0, len(outcome), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        block = np.column_stack([_design(columns, rows), outcome[rows]])
        for arm in (0, 1):
            for held_out in range(FOLDS):
                some = block[(treatment[rows] == arm) & (fold[rows] == held_out)]
                moments[arm, held_out] += some.T @ some
    rest = moments.sum(axis=1, keepdims=True) - moments
    if rest[:, :, 0, 0].min() < 2 * width:
        return np.zeros(len(outcome))
    coefficients = np.array([[_ridge(rest[arm, held_out]) for held_out in range(FOLDS)] for arm in (0, 1)])
    predicted = np.empty(len(outcome))
    for start in range(0, len(outcome), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        mu = np.einsum("rc,arc->ar", _design(columns, rows), coefficients[:, fold[rows]])
        predicted[rows] = (1 - chance[rows]) * mu[1] + chance[rows] * mu[0]
    return predicted


def _columns(inputs: "pd.DataFrame") -> list[npt.NDArray[np.float32]]:
    """Standardised numbers, nulls at their mean, and flags of nulls and of frequent levels."""
    flags, found = [], []
    for _, column in inputs.items():
        if column.dtype == "category":
            codes = column.cat.codes.to_numpy()
            counts = np.bincount(codes, minlength=len(column.cat.categories))
            flags += [codes == level for level in np.argsort(-counts, kind="stable")[:LEVELS]]
            continue
        values = column.to_numpy().astype(np.float64)
        null = np.isnan(values)
        if null.any():
            flags.append(null)
        known = values[~null]
        if len(known) and known.std() > 0:
            # What lies far out would weigh too much in a straight line.
            low, high = np.quantile(known, [0.005, 0.995])
            clipped = np.clip(np.where(null, known.mean(), values), low, high)
            found.append(clipped)
    found += [flag.astype(np.float64) for flag in flags]
    return [
        ((values - values.mean()) / values.std()).astype(np.float32) for values in found if values.std() > 0
    ]  # fmt: skip


def _design(columns: list[npt.NDArray[np.float32]], rows: slice) -> Floats:
    parts = [column[rows].astype(np.float64) for column in columns]
    return np.column_stack([np.ones(len(parts[0])), *parts])


def _ridge(moments: Floats) -> Floats:
    """Coefficients by the penalty with the least generalised cross-validation error, from sums of products."""
    rows, product, target = moments[0, 0], moments[:-1, :-1], moments[:-1, -1]
    mean = product[0] / rows
    centred = product[1:, 1:] - rows * np.outer(mean[1:], mean[1:])
    level = target[0] / rows
    covariance, total = target[1:] - rows * mean[1:] * level, moments[-1, -1] - rows * level**2
    values, vectors = np.linalg.eigh(centred)
    values, along = np.maximum(values, 0), vectors.T @ covariance
    best, chosen = np.inf, np.zeros(len(along))
    for penalty in (*(PENALTIES * rows), np.inf):
        shrunk = along / (values + penalty)
        left = total - 2 * shrunk @ along + shrunk**2 @ values
        error = left / (1 - (1 + (values / (values + penalty)).sum()) / rows) ** 2
        if error < best:
            best, chosen = error, shrunk
    slopes = vectors @ chosen
    return np.concatenate([[level - mean[1:] @ slopes], slopes])
