"""Whether the arms of an experiment look as if they were dealt at random: sample ratio and covariate balance."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.config import ExperimentSettings
from ml.data.gates import GateError

if TYPE_CHECKING:
    import pandas as pd

    from ml.experiment.experiment import Experiment

# Fewer rows than this in an arm, of a feature or of a category's level, say nothing about balance.
JUDGED_ROWS = 10
SHOWN = 10  # names that a message lists


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


@dataclass(frozen=True)
class Randomisation:
    """Whether arms look as if they were dealt at random: visitors an arm, and each covariate, the worst first.

    `ratio_p` is null where no share was designed; `worst_p` is the smallest p-value times the number of covariates.
    `warnings` says what a reader must know: what was not tested, and mismatches that were let through.
    """

    visitors_treatment: int
    visitors_control: int
    ratio_p: float | None
    balances: tuple[Balance, ...]
    worst_p: float
    warnings: tuple[str, ...]


def check_randomisation(
    experiment: "Experiment", settings: ExperimentSettings, *, ratio_is_designed: bool = True
) -> Randomisation:
    """Test whether the arms look as if they were dealt at random.

    The number of visitors an arm is tested against the design by chi-square. Covariates are compared on each visitor's
    first row. A mean is tested against what dealing the same visitors anew would give: that distribution's mean,
    variance and skewness are known exactly, and a Pearson type III curve has the same three; the heavier of its tails
    is used for both sides. (Welch's test raises false alarms for rare features where arms differ in size.) Categories
    are tested by chi-square, rare levels as one. p-values of covariates are multiplied by their number (Bonferroni).

    Parameters
    ----------
    experiment : Experiment
        The experiment; rows without an arm are left aside.
    settings : ExperimentSettings
        How unlikely a mismatch may be, and whether a worse one stops the run.
    ratio_is_designed : bool
        Whether the experiment's treated share was designed; if not there is nothing to test it against.

    Returns
    -------
    Randomisation
        What was found.

    Raises
    ------
    GateError
        When the ratio or a covariate is less likely than `highest_mismatch_p`, unless a mismatch is allowed.

    References
    ----------
    Fabijan et al. (2019), Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD.
    Mielke and Berry (2007), Permutation Methods: A Distance Function Approach, chapter 2 (three-moment approximation).
    """
    from scipy import stats

    with_arm = np.flatnonzero(experiment.treatment >= 0)
    first = with_arm[is_first(experiment.visitor[with_arm])]
    treated = experiment.treatment[first] == 1
    visitors, share = np.array([treated.sum(), (~treated).sum()]), experiment.treated_share
    ratio_p, warnings, faults = None, [], []
    if ratio_is_designed:
        ratio_p = float(stats.chisquare(visitors, visitors.sum() * np.array([share, 1 - share])).pvalue)
        if ratio_p < settings.highest_mismatch_p:
            faults.append(
                (
                    "sample ratio",
                    f"visitors in the arms, {share:.2%} of them treated (experiment.treated_share)",
                    f"about {visitors.sum() * share:,.0f} treated and {visitors.sum() * (1 - share):,.0f} control",
                    f"{visitors[0]:,} and {visitors[1]:,} ({visitors[0] / visitors.sum():.2%} treated, "
                    f"p = {ratio_p:.2g})",
                )
            )
    else:
        warnings.append(
            f"the designed share of treated visitors was not told, so the sample ratio ({visitors[0]:,} treated, "
            f"{visitors[1]:,} control, {visitors[0] / visitors.sum():.2%} treated) was not tested"
        )

    balances = []
    for name, column in experiment.inputs.items():
        if name in experiment.categorical:
            balances += _category_balance(str(name), column.array, first, treated)
        else:
            balances += _numeric_balance(str(name), column.to_numpy()[first], treated)
    balances.sort(key=lambda entry: (entry.p_value, -abs(entry.smd), entry.covariate))
    worst_p = min(1.0, balances[0].p_value * len(balances)) if balances else 1.0
    if worst_p < settings.highest_mismatch_p:
        worst, *others = [b for b in balances if b.p_value * len(balances) < settings.highest_mismatch_p]
        also = f"; also unbalanced: {', '.join(entry.covariate for entry in others[:SHOWN])}" if others else ""
        faults.append(
            (
                "balance",
                f"{worst.covariate}, mean among treated and control visitors",
                f"a difference that chance explains (p of at least {settings.highest_mismatch_p:g})",
                f"{worst.mean_treatment:.4g} and {worst.mean_control:.4g} (standardised difference {worst.smd:.3f}, "
                f"p = {worst_p:.2g} corrected for {len(balances)} comparisons{also})",
            )
        )
    remedy = (
        "The salt dealt the made-up arms badly: choose another experiment.simulation.salt"
        if experiment.is_simulated
        else "The arms were not dealt at random, visitors were lost from one, or a feature was measured after the "
        "treatment changed it. Find out which: correct the assignments, or leave the feature out. "
        "experiment.allow_mismatch goes on all the same, and says so"
    )
    errors = [GateError(*fault, remedy) for fault in faults]
    if errors and not settings.allow_mismatch:
        raise errors[0]
    warnings += [str(error).removesuffix(f". {remedy}") for error in errors]
    return Randomisation(int(visitors[0]), int(visitors[1]), ratio_p, tuple(balances), worst_p, tuple(warnings))


def is_first(visitor: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Mark the first row of each visitor.

    Parameters
    ----------
    visitor : array of int
        Visitor code of each row.

    Returns
    -------
    array of bool
        True where no earlier row has the same visitor.
    """
    rows = np.arange(len(visitor))
    first = np.empty(int(visitor.max(initial=0)) + 1, dtype=np.intp)
    # Written backwards, a visitor's first row is the last to say where it is.
    first[visitor[::-1]] = rows[::-1]
    return np.asarray(first[visitor] == rows)


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
    if min(m, n - m) < JUDGED_ROWS or values.min() == values.max():
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


def _category_balance(
    name: str, values: "pd.Categorical", first: npt.NDArray[np.intp], treated: npt.NDArray[np.bool_]
) -> list[Balance]:
    from scipy import stats

    codes = values.codes[first]
    counts = np.array([np.bincount(codes[treated == arm], minlength=len(values.categories)) for arm in (True, False)])
    share = counts.sum(axis=1) / counts.sum()
    is_common = counts.sum(axis=0) * share.min() >= JUDGED_ROWS
    names = [str(level) for level in values.categories[is_common]]
    cells, rare = counts[:, is_common], counts[:, ~is_common].sum(axis=1)
    if rare.sum() * share.min() >= JUDGED_ROWS:
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
