"""The average effect of an experiment as it was designed, with everything that belongs to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.stats import ttest_ind

from ml.arrays import Codes, Floats, Rows
from ml.experiment.adjustment import explained
from ml.experiment.arms import Arms
from ml.experiment.difference import Difference, Units, sequence_reach
from ml.experiment.experiment import ARM_NAMES
from ml.experiment.intervals import widened
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd

FEW_UNITS = 30  # in an arm; with fewer, an interval says less than it seems to
UNEVEN = 0.001


@dataclass(frozen=True)
class Design:
    """Rows of an experiment, as it was designed.

    Parameters
    ----------
    treatment : ndarray of shape (n_rows,)
        1 or 0.
    outcome : ndarray of shape (n_rows,)
        What came of each row: 0 and 1, or amounts.
    unit : ndarray of shape (n_rows,)
        Number of the unit that was drawn, such as a visitor.
    stratum : ndarray of shape (n_rows,), optional
        Stratum within which it was drawn, from 0 on; without it there is one.
    propensity : ndarray of shape (n_rows,), optional
        Chance of treatment that the unit had; without it all units of a stratum had the same.
    name : str
        What a unit is called.
    """

    treatment: Codes
    outcome: Floats
    unit: npt.NDArray[np.int32]
    stratum: npt.NDArray[np.int32] | None = None
    propensity: Floats | None = None
    name: str = "rows"

    @property
    def strata(self) -> npt.NDArray[np.int32]:
        """Stratum of each row."""
        return np.zeros(len(self.treatment), np.int32) if self.stratum is None else self.stratum

    @property
    def weight(self) -> Floats:
        """Weight of each row: one over the chance of its arm."""
        if self.propensity is None:
            return np.ones(len(self.treatment))
        return 1 / np.where(self.treatment == 1, self.propensity, 1 - self.propensity)

    @property
    def chance(self) -> Floats:
        """Chance of treatment of each row: as told, else the share of its stratum."""
        if self.propensity is not None:
            return self.propensity
        strata = self.strata
        return np.asarray((np.bincount(strata, self.treatment) / np.maximum(np.bincount(strata), 1))[strata])


@dataclass(frozen=True)
class AverageEffect:
    """The average effect, treated minus control.

    `value` with its fixed-horizon interval is the designed estimate; `adjusted` takes out what features explain;
    `relative` is the effect as a share of the control mean; `sequence` may be looked at again and again. Each holds
    value, lower and upper bound, and is None where it is not defined. `per` says what an outcome is counted by.
    `chance_p` is the randomisation test's p-value where units are few. `warnings` says what a reader must know.
    """

    effect: tuple[float, float, float]
    adjusted: tuple[float, float, float] | None
    relative: tuple[float, float, float] | None
    sequence: tuple[float, float, float]
    treated_mean: float
    control_mean: float
    p_value: float
    chance_p: float | None
    per: str
    unit: str
    units_treatment: int
    units_control: int
    rows: tuple[int, int, int]
    warnings: tuple[str, ...]
    rows_are_even: bool

    @property
    def entries(self) -> dict[str, tuple[float, float, float]]:
        """What the table of metrics holds, by the metric's name."""
        named = {
            "average_effect_all_slices": self.effect,
            "average_effect_adjusted": self.adjusted,
            "average_effect_sequence": self.sequence,
            "relative_lift": self.relative,
        }
        return {name: entry for name, entry in named.items() if entry is not None and np.isfinite(entry).all()}


def designed_effect(
    design: Design, inputs: "pd.DataFrame", *, confidence: float, tuned_for: int, seed: int
) -> AverageEffect:
    """Estimate the average effect of an experiment as it was designed.

    Where the arms differ in rows per unit, rows say another thing in each arm: the effect is then on units, of which an
    outcome counts once (amounts: their sum).

    Parameters
    ----------
    design : Design
        Its rows.
    inputs : DataFrame of shape (n_rows, n_features)
        Features, for the adjustment.
    confidence : float
        Confidence of the intervals, 0 to 1.
    tuned_for : int
        Units at which the confidence sequence is narrowest.
    seed : int
        Seed of the permutations.

    Returns
    -------
    AverageEffect
        What was found.

    Raises
    ------
    FunneliftError
        When an arm holds fewer than two units.
    """
    codes, first = _units(design.unit)
    size: Floats = np.bincount(codes).astype(np.float64)
    weight: Floats = np.bincount(codes, design.weight).astype(np.float64)
    treatment, stratum = design.treatment[first].astype(np.int8), design.strata[first].astype(np.intp)
    even, told = _evenness(size, treatment, design.name)
    outcome, per = design.outcome, "row" if size.max() == 1 or even else design.name.removesuffix("s")
    total: Floats = np.bincount(codes, design.weight * outcome).astype(np.float64)
    if not even:
        total, weight, size = _per_unit(design, codes, first)
    every = Units(treatment, stratum, size, weight)
    _refuse_few(every, design.name)
    kept = every.comparable
    units, total = every.take(kept), total[kept]
    _refuse_few(units, design.name)
    found = units.difference(total)
    warnings = [*told, *_left_out(kept, design.name), *_few(units, design.name)]
    binary = bool(np.isin(outcome, (0, 1)).all())
    interval = found.interval(confidence)
    if binary and design.stratum is None and even:
        arms = Arms(design.treatment, outcome.astype(np.int8), design.unit)
        interval = widened(found.value, interval, arms, confidence)
    taken = kept[codes]
    rows = (int(taken.sum()), int(design.treatment[taken].sum()), int((design.treatment[taken] == 0).sum()))
    reach = sequence_reach(found.error, len(units), tuned_for, confidence)
    reach = max(reach, interval[1] - found.value, found.value - interval[0])
    is_few = bool(warnings) and min(units.counts.sum(axis=0)) < FEW_UNITS and design.propensity is None
    return AverageEffect(
        effect=(found.value, *interval),
        adjusted=_adjusted(design, inputs, (codes, kept, units), confidence) if even else None,
        relative=_relative(units, total, found, confidence),
        sequence=(found.value, found.value - reach, found.value + reach),
        treated_mean=found.treated,
        control_mean=found.control,
        p_value=found.p_value,
        chance_p=units.chance(total, seed) if is_few else None,
        per=per,
        unit=design.name,
        units_treatment=int(units.treatment.sum()),
        units_control=int((units.treatment == 0).sum()),
        rows=rows,
        warnings=tuple(warnings),
        rows_are_even=even,
    )


def _units(unit: npt.NDArray[np.int32]) -> tuple[Rows, Rows]:
    _, first, codes = np.unique(unit, return_index=True, return_inverse=True)
    return codes, first


def _per_unit(design: Design, codes: Rows, first: Rows) -> tuple[Floats, Floats, Floats]:
    """Totals, weights and sizes of units that count once each: whether any row converted, or the sum of amounts."""
    sums: Floats = np.bincount(codes, design.outcome).astype(np.float64)
    total = (sums > 0).astype(np.float64) if np.isin(design.outcome, (0, 1)).all() else sums
    weight = design.weight[first]
    return total * weight, weight, np.ones(len(first))


def _evenness(size: Floats, treatment: Codes, name: str) -> tuple[bool, list[str]]:
    treated, control = size[treatment == 1], size[treatment == 0]
    if size.max() == 1 or min(len(treated), len(control)) < 2:
        return True, []
    p_value = float(treated.mean() == control.mean())
    if np.ptp(treated) + np.ptp(control) > 0:
        p_value = float(ttest_ind(treated, control, equal_var=False).pvalue)
    if p_value >= UNEVEN:
        return True, []
    return False, [
        f"the arms differ in rows per unit ({treated.mean():.3g} rows for each of the treated {name}, "
        f"{control.mean():.3g} for each of the others, p = {p_value:.2g}): the treatment changes how often a unit "
        "comes, so rates of rows compare other things. The effect is on units, each counted once"
    ]


def _refuse_few(units: Units, name: str) -> None:
    for arm, title in ARM_NAMES.items():
        found = int((units.treatment == arm).sum())
        if found < 2:
            raise FunneliftError(
                f"{found} {name} in the {title} arm that can be compared; an interval needs at least two units in each "
                "arm: check the treatment column, the column of strata, and that the unit is what was drawn"
            )


def _left_out(kept: npt.NDArray[np.bool_], name: str) -> list[str]:
    alone = int((~kept).sum())
    return [f"{alone:,} {name} are in strata without both arms and were left out of the average effect"] * (alone > 0)


def _few(units: Units, name: str) -> list[str]:
    treated, control = int(units.treatment.sum()), int((units.treatment == 0).sum())
    if min(treated, control) >= FEW_UNITS:
        return []
    return [
        f"only few units were drawn ({treated:,} treated and {control:,} control {name}): intervals are wide, by "
        "Student's t, and should be read with caution; the randomisation test does not need many units"
    ]


def _adjusted(
    design: Design, inputs: "pd.DataFrame", grouped: tuple[Rows, npt.NDArray[np.bool_], Units], confidence: float
) -> tuple[float, float, float] | None:
    codes, kept, units = grouped
    predicted = explained(inputs, design.outcome, design.treatment, codes.astype(np.int32), design.chance)
    if not predicted.any():
        return None
    left: Floats = np.bincount(codes, design.weight * (design.outcome - predicted)).astype(np.float64)
    found = units.difference(left[kept])
    return (found.value, *found.interval(confidence))


def _relative(units: Units, total: Floats, found: Difference, confidence: float) -> tuple[float, float, float] | None:
    """The ratio of the means less 1, with the delta method's interval of its logarithm."""
    if found.control <= 0 or found.treated <= 0:
        return None
    scale = np.where(units.treatment == 1, found.treated, found.control)
    ratio, (lower, upper) = found.treated / found.control, units.difference(total / scale).interval(confidence)
    # The scaled means are both 1, so the interval is that of the logarithm around 0.
    return ratio - 1, float(ratio * np.exp(lower) - 1), float(ratio * np.exp(upper) - 1)
