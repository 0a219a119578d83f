"""One control and one or several offers: each offer's experiment, and what offers do to money."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from ml.arrays import Floats
from ml.bootstrap import Bootstrap, visitor_codes
from ml.config import Config
from ml.experiment.designed import AverageEffect
from ml.experiment.file import ArmRows, Columns, FileExperiment, average_of, checked_experiment
from warehouse.errors import FunneliftError

# Amounts above this quantile of all amounts are cut there, to see what a few large ones do.
HIGHEST_AMOUNT = 0.99
FEWEST_UNITS = 5  # in an arm of a stratum; with fewer, resamples would lose it


@dataclass(frozen=True)
class ValueEffect:
    """The average effect on money.

    `average` is by design; `winsorised` is the same with amounts cut at `cut`; `bootstrap` is an interval that
    resamples units, None where strata are too small for it.
    """

    average: AverageEffect
    winsorised: AverageEffect
    cut: float
    bootstrap: tuple[float, float] | None

    @property
    def entries(self) -> dict[str, tuple[float, float, float]]:
        """What the table of metrics holds, by the metric's name."""
        found = {f"value_{name.removeprefix('average_')}": entry for name, entry in self.average.entries.items()}
        found["value_effect_winsorised"] = self.winsorised.effect
        if self.bootstrap is not None:
            found["value_effect_bootstrap"] = (self.average.effect[0], *self.bootstrap)
        return found


@dataclass(frozen=True)
class OfferExperiment:
    """One offer against the control: its code and name, its experiment, and its effect on money where that was told."""

    code: int
    name: str
    found: FileExperiment
    value: ValueEffect | None

    @property
    def main(self) -> AverageEffect:
        """The effect that the offer is judged by: on money where that was told."""
        return self.found.average if self.value is None else self.value.average


def offer_experiments(
    rows: ArmRows, name: str, columns: Columns, config: Config, *, shares: Mapping[int, float]
) -> list[OfferExperiment]:
    """Check each offer's experiment, and estimate its average effects.

    Parameters
    ----------
    rows : ArmRows
        Rows of all arms.
    name : str
        What the file is called.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.
    shares : mapping
        Code of each offer to its designed share of all visitors; empty where none was told.

    Returns
    -------
    list of OfferExperiment
        One per offer.
    """
    control, found = 1 - sum(shares.values()), []
    for code, offer in list(columns.arms.items())[1:]:
        own = rows.of_arms((0, code))
        own = replace(own, arm=(own.arm > 0).astype(np.int8))
        share = shares[code] / (shares[code] + control) if shares else None
        try:
            experiment = checked_experiment(own, name, columns, config, treated_share=share, one_chance=False)
        except FunneliftError as error:
            raise FunneliftError(
                f"{offer} against {columns.arms[0]}: {error}" if columns.offers else str(error)
            ) from None
        value = None if own.value is None else value_effect(own, own.value, columns, config)
        found.append(OfferExperiment(code, offer, experiment, value))
    return found


def value_effect(rows: ArmRows, value: Floats, columns: Columns, config: Config) -> ValueEffect:
    """Estimate the average effect on money, as it is, with large amounts cut, and by a bootstrap of units.

    Parameters
    ----------
    rows : ArmRows
        Rows of arm 0, the control, and arm 1.
    value : ndarray of shape (n_rows,)
        The money that each row brought.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.

    Returns
    -------
    ValueEffect
        What was found.
    """
    paid = value[value > 0]
    cut = float(np.quantile(paid, HIGHEST_AMOUNT)) if len(paid) else 0.0
    average = average_of(rows, value, columns, config)
    bootstrap = config.bootstrap(config.policy.bootstrap_resamples)
    interval = resampled_interval(rows, value, bootstrap) if average.rows_are_even else None
    return ValueEffect(average, average_of(rows, np.minimum(value, cut), columns, config), cut, interval)


def resampled_interval(rows: ArmRows, value: Floats, bootstrap: Bootstrap) -> tuple[float, float] | None:
    """Return the interval of a difference in means within strata that resamples units.

    Parameters
    ----------
    rows : ArmRows
        Rows of arm 0, the control, and arm 1.
    value : ndarray of shape (n_rows,)
        Any number per row.
    bootstrap : Bootstrap
        The interval.

    Returns
    -------
    (float, float) or None
        Its bounds; None where an arm of a stratum has hardly a unit.
    """
    codes, units = visitor_codes(rows.visitor)
    stratum = np.zeros(len(rows), np.intp) if rows.stratum is None else rows.stratum.astype(np.intp)
    cell, cells = 2 * stratum + rows.arm, 2 * (int(stratum.max()) + 1)
    weight = np.ones(len(rows))
    if rows.propensity is not None:
        weight = 1 / np.where(rows.arm == 1, rows.propensity, 1 - rows.propensity)

    def by_cell(values: Floats) -> sparse.csr_matrix:
        return sparse.csr_matrix((values, (cell, codes)), shape=(cells, units))

    sizes, totals, counts = by_cell(weight), by_cell(weight * value), by_cell(np.ones(len(rows)))
    if min(counts.getnnz(axis=1)) < FEWEST_UNITS:
        return None
    share = np.bincount(stratum) / len(rows)
    drawn = []
    for start in range(0, bootstrap.resamples, 100):
        some = replace(bootstrap, resamples=min(100, bootstrap.resamples - start), seed=bootstrap.seed + start)
        weights = some.weights(units).T.astype(np.float64)
        # A resample without a unit of some cell has no mean there, and is left out of the interval.
        with np.errstate(invalid="ignore"):
            means = ((totals @ weights) / (sizes @ weights)).reshape(len(share), 2, -1)
        drawn.append(share @ (means[:, 1] - means[:, 0]))
    return bootstrap.interval(np.concatenate(drawn))


def chances(rows: ArmRows, arms: int) -> Floats:
    """Return how likely each row was to be drawn into each arm: as told, else the arm's share of its stratum.

    Parameters
    ----------
    rows : ArmRows
        The rows.
    arms : int
        How many arms there are.

    Returns
    -------
    ndarray of shape (n_rows, n_arms)
        0 where a stratum lacks an arm.
    """
    if rows.propensity is not None:
        return np.column_stack([1 - rows.propensity, rows.propensity])
    stratum = np.zeros(len(rows), np.intp) if rows.stratum is None else rows.stratum.astype(np.intp)
    counts = np.bincount(stratum * arms + rows.arm, minlength=arms * (int(stratum.max()) + 1)).reshape(-1, arms)
    return np.asarray((counts / counts.sum(axis=1, keepdims=True))[stratum])
