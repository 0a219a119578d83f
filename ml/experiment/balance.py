"""Covariate balance: how each feature differs between the arms."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.experiment.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd

# Fewer rows than this in an arm, of a feature or of a category's level, say nothing about balance.
FEWEST_ROWS = 10
LEVELS = 30  # of a category, that are compared within strata


@dataclass(frozen=True)
class Balance:
    """How one covariate differs between the arms: a number, the share of its nulls, or a category.

    Means are of the feature, the share of nulls or, for a category, the share of the level that differs most. `smd` is
    the standardised mean difference, treated minus control; `p_value` the chance of a difference as large under
    randomisation, before the correction for many covariates.
    """

    covariate: str
    mean_treatment: float
    mean_control: float
    smd: float
    p_value: float


def balances_of(experiment: Experiment, rows: Rows) -> list[Balance]:
    """Compare every feature between the arms.

    A mean is tested against what permuting the arms of the same visitors would give: that distribution's mean, variance
    and skewness are known exactly, and a Pearson type III curve has the same three; the heavier of its tails is used
    for both sides. (Welch's test raises false alarms for rare features where arms differ in size.) Categories are
    tested by chi-square, rare levels as one. Within strata, or under known chances of treatment, see
    `stratified_balances`.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    rows : ndarray of shape (n_visitors,)
        Positions of the rows to compare, one per visitor.

    Returns
    -------
    list of Balance
        The worst first; features with too few rows to compare are left out.

    References
    ----------
    Mielke and Berry (2007), Permutation Methods: A Distance Function Approach, chapter 2 (three-moment approximation).
    """
    if experiment.stratum is not None or experiment.propensity is not None:
        return stratified_balances(experiment, rows)
    treated, balances = experiment.treatment[rows] == 1, []
    for name, column in experiment.inputs.items():
        if name in experiment.categorical:
            balances += _category_balance(str(name), column.array, rows, treated)
        else:
            balances += _numeric_balance(str(name), column.to_numpy()[rows], treated)
    return sorted(balances, key=lambda entry: (entry.p_value, -abs(entry.smd), entry.covariate))


def _numeric_balance(name: str, values: npt.NDArray[np.float32], treated: npt.NDArray[np.bool_]) -> list[Balance]:
    null = np.isnan(values)
    if not null.any():
        return _mean_balance(name, values.astype(np.float64), treated)
    return [
        *_mean_balance(f"nulls of {name}", null.astype(np.float64), treated),
        *_mean_balance(name, values[~null].astype(np.float64), treated[~null]),
    ]


def _mean_balance(covariate: str, values: Floats, treated: npt.NDArray[np.bool_]) -> list[Balance]:
    from scipy import stats

    n, m = len(values), int(treated.sum())
    if min(m, n - m) < FEWEST_ROWS or values.min() == values.max():
        return []
    arm = treated.astype(np.float64)
    total, total_treated = values.sum(), values @ arm
    mean_treatment, mean_control = total_treated / m, (total - total_treated) / (n - m)
    difference = mean_treatment - mean_control
    deviation = values - total / n
    square = deviation * deviation
    sum_squares = square.sum()
    squares_treated = square @ arm - m * (mean_treatment - total / n) ** 2
    squares_control = sum_squares - m * (n - m) / n * difference**2 - squares_treated
    variance = (squares_treated / (m - 1) + squares_control / (n - m - 1)) / 2
    # Rounding leaves a trace of variance where each arm has one value only.
    smd = difference / np.sqrt(variance) if variance > 1e-12 * sum_squares / n else np.copysign(np.inf, difference)
    # Moments of a mean of m values drawn without replacement out of these n.
    z = difference / np.sqrt(sum_squares / (n - 1) * n / (m * (n - m)))
    skewness = (square @ deviation / n) / (sum_squares / n) ** 1.5
    skewness *= (n - 2 * m) * np.sqrt(n - 1) / (np.sqrt(m * (n - m)) * (n - 2))
    p_value = min(1.0, 2 * float(stats.pearson3.sf(abs(z), abs(skewness))))
    return [Balance(covariate, float(mean_treatment), float(mean_control), float(smd), p_value)]


def _category_balance(name: str, values: "pd.Categorical", rows: Rows, treated: npt.NDArray[np.bool_]) -> list[Balance]:
    from scipy import stats

    codes = values.codes[rows]
    counts = np.array([np.bincount(codes[treated == arm], minlength=len(values.categories)) for arm in (True, False)])
    share = counts.sum(axis=1) / counts.sum()
    is_common = counts.sum(axis=0) * share.min() >= FEWEST_ROWS
    names = [str(level) for level in values.categories[is_common]]
    cells, rare = counts[:, is_common], counts[:, ~is_common].sum(axis=1)
    if rare.sum() * share.min() >= FEWEST_ROWS:
        cells, names = np.column_stack([cells, rare]), [*names, "(rare levels)"]
    if len(names) < 2:
        return []
    expected = cells.sum(axis=0) * (cells.sum(axis=1) / cells.sum())[:, None]
    p_value = float(stats.chi2.sf(((cells - expected) ** 2 / expected).sum(), len(names) - 1))
    p_treatment, p_control = cells / cells.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        smd = (p_treatment - p_control) / np.sqrt((p_treatment * (1 - p_treatment) + p_control * (1 - p_control)) / 2)
    worst = int(np.abs(smd).argmax())
    covariate = f"{name} = {names[worst]}"
    return [Balance(covariate, float(p_treatment[worst]), float(p_control[worst]), float(smd[worst]), p_value)]


def stratified_balances(experiment: Experiment, rows: Rows) -> list[Balance]:
    """Compare every feature between arms that were drawn within strata, or with known chances of treatment.

    A mean is tested against what permuting the arms within strata, or drawing them with their chances, would give:
    mean, variance and skewness of that are known, as for `balances_of`. Each frequent level of a category is a mean.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    rows : ndarray of shape (n_visitors,)
        Positions of the rows to compare, one per visitor.

    Returns
    -------
    list of Balance
        The worst first.
    """
    treated = experiment.treatment[rows] == 1
    stratum = np.zeros(len(rows), np.intp) if experiment.stratum is None else experiment.stratum[rows].astype(np.intp)
    chance = None if experiment.propensity is None else experiment.propensity[rows]
    balances = []
    for covariate, values in _means_of(experiment, rows):
        known = ~np.isnan(values)
        entry = _score_balance(
            covariate, values[known], treated[known], stratum[known], None if chance is None else chance[known]
        )
        balances += [] if entry is None else [entry]
    return sorted(balances, key=lambda entry: (entry.p_value, -abs(entry.smd), entry.covariate))


def _means_of(experiment: Experiment, rows: Rows) -> Iterator[tuple[str, Floats]]:
    for name, column in experiment.inputs.items():
        if name in experiment.categorical:
            codes, levels = column.array.codes[rows], column.array.categories
            counts = np.bincount(codes, minlength=len(levels))
            for level in np.flatnonzero(counts >= 2 * FEWEST_ROWS)[:LEVELS]:
                yield f"{name} = {levels[level]}", (codes == level).astype(np.float64)
            continue
        values = column.to_numpy()[rows].astype(np.float64)
        if np.isnan(values).any():
            yield f"nulls of {name}", np.isnan(values).astype(np.float64)
        yield str(name), values


def _score_balance(
    covariate: str, values: Floats, treated: npt.NDArray[np.bool_], stratum: Rows, chance: Floats | None
) -> Balance | None:
    from scipy import stats

    if min(treated.sum(), (~treated).sum()) < FEWEST_ROWS or not len(values) or values.min() == values.max():
        return None
    strata = int(stratum.max()) + 1
    n, m = np.bincount(stratum, minlength=strata), np.bincount(stratum, treated, strata)
    if chance is None:
        centred = values - (np.bincount(stratum, values, strata) / np.maximum(n, 1))[stratum]
        square, cube = np.bincount(stratum, centred**2, strata), np.bincount(stratum, centred**3, strata)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.nan_to_num(m * (n - m) / (n * (n - 1)) * square).sum()
            third = np.nan_to_num(m * (n - m) * (n - 2 * m) / (n * (n - 1) * (n - 2)) * cube, posinf=0, neginf=0).sum()
        score, weight = centred[treated].sum(), np.nan_to_num(m * (n - m) / np.maximum(n, 1)).sum()
    else:
        own = chance * (1 - chance)
        centred = values - (np.bincount(stratum, own * values, strata) / np.bincount(stratum, own, strata))[stratum]
        spread, third = (own * centred**2).sum(), (own * (1 - 2 * chance) * centred**3).sum()
        score, weight = ((treated - chance) * centred).sum(), own.sum()
    if spread <= 1e-9 * len(values) * values.var():
        return None
    p_value = min(1.0, 2 * float(stats.pearson3.sf(abs(score) / np.sqrt(spread), abs(third) / spread**1.5)))
    difference, mean = score / weight, values.mean()
    share = treated.mean()
    return Balance(
        covariate,
        float(mean + (1 - share) * difference),
        float(mean - share * difference),
        float(difference / values.std()),
        p_value,
    )
