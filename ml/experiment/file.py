"""Any two-armed experiment in a CSV or Parquet file, checked like one on the mart."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.config import Config, ExperimentSettings
from ml.data.features import Feature, Mart
from ml.data.leakage import FeatureAuc, evaluate_features, refuse_leaks
from ml.data.rows import to_codes
from ml.experiment.designed import AverageEffect, Design, designed_effect
from ml.experiment.direction import direction_hint
from ml.experiment.experiment import ARM_NAMES, Experiment, check_arms, check_size
from ml.experiment.file_columns import (
    arms_of,
    feature_values,
    money_of,
    outcomes_of,
    row_numbers,
    spellings,
    value_counts,
    written,
)
from ml.experiment.file_doubts import doubts, drawn_together
from ml.experiment.file_rows import in_both_arms, ordered, repeated
from ml.experiment.file_strata import chances_of, one_per_unit
from ml.experiment.file_table import is_comma_file, known_texts, read_table, texts_of
from ml.experiment.people import FileFeature, file_features
from ml.experiment.randomisation import Randomisation, check_randomisation, is_first, shares_differ
from ml.experiment.simulated import hash_shares
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are what; every other one is a feature.

    Parameters
    ----------
    treatment : str
        Column that holds the arm.
    outcome : str
        Column of 0 and 1, or false and true.
    treated, control : str, optional
        Values of the treatment column for the arms; without them it must hold 0 and 1.
    offers : tuple of str
        Values of the treatment column for several treatments, in the place of `treated`.
    value : str, optional
        Column of money: what each row brought. Then the outcome says who bought; it may be the same column.
    visitor : str, optional
        Column that names the unit that was randomised; without it each row is one.
    stratum : str, optional
        Column that names the stratum within which units were randomised; without it there is one.
    propensity : str, optional
        Column of each row's chance of treatment; without it all units of a stratum had the same.
    lower_is_better : bool
        Whether an outcome of 1 is bad, as with churn. Rankings and money are then about rows that end with 0.
    ignore : tuple of str
        Columns that are no features: other outcomes, and all else that was measured after the treatment.
    """

    treatment: str
    outcome: str
    treated: str | None = None
    control: str | None = None
    visitor: str | None = None
    stratum: str | None = None
    propensity: str | None = None
    lower_is_better: bool = False
    ignore: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    value: str | None = None

    def __post_init__(self) -> None:
        given = [written(value) for value in self.values]
        if bool(self.offers or self.treated is not None) == (self.control is None) or len(set(given)) < len(given):
            treated = ", ".join(map(repr, self.offers)) or repr(self.treated)
            raise FunneliftError(
                f"treated {treated} and control {self.control!r}: give "
                f"{'' if self.offers else 'two '}different values, or neither; capitals and blanks around a value make "
                "no difference, so rename an arm that differs by nothing else"
            )
        if self.offers and self.propensity is not None:
            raise FunneliftError(
                "--propensity-column is the chance of one treatment: with several, name the strata within which they "
                "were drawn (--stratum-column)"
            )
        if self.value is not None and self.lower_is_better:
            raise FunneliftError("--lower-is-better is about a yes-or-no outcome; of money, more is better")
        twice = sorted({name for name in self.special if self.special.count(name) > 1 or name in self.ignore})
        if twice:
            raise FunneliftError(
                f"column {', '.join(twice)} cannot be two of treatment, outcome, visitor, stratum, propensity, value "
                "and ignored at once"
            )

    @property
    def special(self) -> list[str]:
        """Columns that hold arm, outcome, visitor, stratum, chance of treatment and money."""
        value = None if self.value == self.outcome else self.value
        named = (self.treatment, self.outcome, self.visitor, self.stratum, self.propensity, value)
        return [name for name in named if name is not None]

    @property
    def units(self) -> str:
        """What was randomised, in the plural."""
        return "rows" if self.visitor is None else "units"

    @property
    def values(self) -> list[str]:
        """Values of the treatment column that stand for the arms."""
        return [value for value in (self.treated, *self.offers, self.control) if value is not None]

    @property
    def arms(self) -> dict[int, str]:
        """What the arms are called, by their codes: 0 for the control, then the treatments."""
        names = self.offers or (ARM_NAMES[1] if self.treated is None else self.treated,)
        return {0: ARM_NAMES[0] if self.control is None else self.control, **dict(enumerate(names, start=1))}


@dataclass(frozen=True)
class FileExperiment:
    """An experiment read from a file, or one of the mart's in the same shape.

    `identity` holds row_number (of the file's data rows, from 1) and visitor_id of each row; `mart` describes the
    features, and `features` how they stand in the file. `other_arms` counts the rows left out by their value of the
    treatment column; `dropped` maps columns that are no feature to the reason; `notes` says how the file was read.
    `average` is the average effect, on the outcome as the file has it. `unrankable` says why nothing can be learnt of
    whom the treatment changes; None where it can.
    """

    identity: "pa.Table"
    mart: Mart
    experiment: Experiment
    randomisation: Randomisation
    single_features: list[FeatureAuc]
    source: str
    rows_read: int
    other_arms: dict[str, int]
    dropped: dict[str, str]
    notes: list[str]
    average: AverageEffect
    unrankable: str | None
    features: tuple[FileFeature, ...]


@dataclass(frozen=True)
class ArmRows:
    """Rows that take part in an experiment: those of a file, or sessions of the mart.

    A file's rows are in an order that their place in the file has no part in. `identity`, `mart`, `features`,
    `other_arms`, `dropped` and `notes` are those of `FileExperiment`. `arm` is 0 for the control and counts the
    treatments from 1. `outcome` is as the file has it, `value` the money that a row brought. `units` names the unit of
    each row, `visitor` numbers it in the order of the rows. `split` is a position in `SPLITS`; None where visitors are
    split at random.
    """

    identity: "pa.Table"
    mart: Mart
    features: tuple[FileFeature, ...]
    inputs: "pd.DataFrame"
    arm: Codes
    outcome: Floats
    value: Floats | None
    units: "pa.ChunkedArray"
    visitor: npt.NDArray[np.int32]
    stratum: npt.NDArray[np.int32] | None
    propensity: Floats | None
    rows_read: int
    other_arms: dict[str, int]
    dropped: dict[str, str]
    notes: list[str]
    split: Codes | None = None

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def is_binary(self) -> bool:
        """Whether every outcome is 0 or 1."""
        return bool(np.isin(self.outcome, (0, 1)).all())

    def of_arms(self, arms: tuple[int, ...]) -> "ArmRows":
        """Return the rows of some arms."""
        return self.at(np.flatnonzero(np.isin(self.arm, arms)))

    def at(self, rows: Rows) -> "ArmRows":
        """Return the rows at some positions, in order."""
        import pyarrow as pa

        return replace(
            self,
            identity=self.identity.take(pa.array(rows)),
            inputs=self.inputs.iloc[rows].reset_index(drop=True),
            arm=self.arm[rows],
            outcome=self.outcome[rows],
            value=_at(rows, self.value),
            units=self.units.take(pa.array(rows)),
            visitor=np.unique(self.visitor[rows], return_inverse=True)[1].astype(np.int32),
            stratum=_at(rows, self.stratum),
            propensity=_at(rows, self.propensity),
            split=_at(rows, self.split),
        )

    def splits(self, good: Codes, config: Config) -> Codes:
        """Return the split of each row, at random where no time has cut them.

        Parameters
        ----------
        good : ndarray of shape (n_rows,)
            Whether the row ended well.
        config : Config
            Settings.

        Returns
        -------
        ndarray of shape (n_rows,)
            Positions in `SPLITS`.
        """
        return random_split(self.units, self.visitor, self.arm, good, config) if self.split is None else self.split


def _at(rows: Rows, values: npt.NDArray[Kind] | None) -> npt.NDArray[Kind] | None:
    return None if values is None else values[rows]


def read_rows(path: Path, columns: Columns, config: Config) -> ArmRows:
    """Read the rows of a file that take part in an experiment.

    Numbers and dates are numeric features, texts and booleans are categories. Rows with another treatment are left out
    and counted.

    Parameters
    ----------
    path : Path
        CSV (comma, semicolon or tab; plain or .gz; UTF-8, one header line) or Parquet.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.

    Returns
    -------
    ArmRows
        The rows.

    Raises
    ------
    FunneliftError
        When the file or a column cannot be used.
    """
    import pyarrow as pa

    table = _read(path, columns)
    taken = _taken(table, path, columns, config.experiment)
    rows = table.take(pa.array(taken.rows))
    notes = [*taken.notes, *repeated(rows, has_unit=columns.visitor is not None)]
    notes += drawn_together(rows, taken.arm, taken.ids, columns)
    units = len(taken.rows) if taken.ids is None else len(taken.ids.unique())
    mart, inputs, dropped = _features(table, rows, columns, path, units)
    notes += doubts(
        columns, list(mart.names), taken.arm,
        outcome=taken.outcome, value=taken.value, cost=config.policy.cost,
    )  # fmt: skip
    order = ordered(taken.ids, inputs, taken.arm, taken.outcome, taken.value)
    at = pa.array(order.rows)
    numbers = pa.chunked_array([pa.array(taken.rows[order.rows] + 1)])
    ids = numbers.cast(pa.string()) if taken.ids is None else taken.ids.take(at)
    return ArmRows(
        identity=pa.table({"row_number": numbers, "visitor_id": ids}),
        mart=mart,
        features=file_features(rows, inputs),
        inputs=inputs.iloc[order.rows].reset_index(drop=True),
        arm=taken.arm[order.rows],
        outcome=taken.outcome[order.rows],
        value=_at(order.rows, taken.value),
        units=order.key,
        visitor=np.arange(len(order.rows), dtype=np.int32) if taken.ids is None else to_codes(order.key),
        stratum=_at(order.rows, taken.stratum),
        propensity=_at(order.rows, taken.propensity),
        rows_read=len(table),
        other_arms=taken.other_arms,
        dropped=dropped,
        notes=notes,
    )


def from_file(path: Path, columns: Columns, config: Config, *, treated_share: float | None = None) -> FileExperiment:
    """Read any two-armed experiment from a file.

    Visitors are split at random, by a hash of their id and the seed: in each arm, with and without a conversion, in the
    shares of `experiment.split`.

    Parameters
    ----------
    path : Path
        As `read_rows` takes it.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.
    treated_share : float, optional
        Designed share of treated visitors; without it the observed share is used and the sample ratio is not tested.

    Returns
    -------
    FileExperiment
        The experiment, checked.

    Raises
    ------
    GateError
        When a feature gives the outcome away, or arms were not assigned at random.
    FunneliftError
        When the file or a column cannot be used.
    """
    return checked_experiment(read_rows(path, columns, config), path.name, columns, config, treated_share=treated_share)


def checked_experiment(
    rows: ArmRows, name: str, columns: Columns, config: Config, *, treated_share: float | None,
    one_chance: bool = True,
) -> FileExperiment:  # fmt: skip
    """Check the rows of two arms, and estimate the average effect.

    Parameters
    ----------
    rows : ArmRows
        Rows of arm 0, the control, and arm 1.
    name : str
        What the file is called.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.
    treated_share : float, optional
        Designed share of treated visitors.
    one_chance : bool
        Whether a ranking needs that all had the same chance of treatment.

    Returns
    -------
    FileExperiment
        The experiment, checked.
    """
    treatment, visitor = rows.arm, rows.visitor
    good = (rows.outcome == 0 if columns.lower_is_better else rows.outcome > 0).astype(np.int8)
    experiment = Experiment(
        inputs=rows.inputs,
        categorical=tuple(rows.mart.categorical),
        treatment=treatment,
        outcome=good,
        visitor=visitor,
        split=rows.splits(good, config),
        treated_share=float(treatment[is_first(visitor)].mean()) if treated_share is None else treated_share,
        stratum=rows.stratum,
        propensity=rows.propensity,
    )
    # Features of the mart have passed the gate of all its rows.
    can_leak = rows.is_binary and rows.mart.features and rows.split is None
    single_features = _check_leakage(experiment, rows.mart, name, config) if can_leak else []
    randomisation = check_randomisation(experiment, config.experiment, ratio_is_designed=treated_share is not None)
    average = average_of(rows, rows.outcome, columns, config)
    hints = direction_hint(columns, average, is_binary=rows.is_binary)
    found = FileExperiment(
        identity=rows.identity,
        mart=rows.mart,
        experiment=experiment,
        single_features=single_features,
        randomisation=randomisation,
        source=f"experiment of {len(np.unique(visitor)):,} visitors ({name})",
        rows_read=rows.rows_read,
        other_arms=rows.other_arms,
        dropped=rows.dropped,
        notes=[*rows.notes, *(hints if rows.split is None else [])],
        average=average,
        unrankable=None,
        features=rows.features,
    )
    return replace(found, unrankable=_unrankable(found, config, is_binary=rows.is_binary, one_chance=one_chance))


@dataclass(frozen=True)
class _Taken:
    """The rows that take part, by their positions in the file, and what the special columns say of them."""

    rows: Rows
    arm: Codes
    outcome: Floats
    value: Floats | None
    ids: "pa.ChunkedArray | None"
    stratum: npt.NDArray[np.int32] | None
    propensity: Floats | None
    other_arms: dict[str, int]
    notes: list[str]


def _taken(table: "pa.Table", path: Path, columns: Columns, settings: ExperimentSettings) -> _Taken:
    import pyarrow as pa

    arms = texts_of(table.column(columns.treatment), path, columns.treatment)
    treated = columns.offers or (None if columns.treated is None else (columns.treated,))
    arm = arms_of(arms, columns.treatment, treated, columns.control)
    outcomes = known_texts(table.column(columns.outcome), path, columns.outcome)
    known = np.asarray(outcomes.is_valid().to_numpy())
    rows = np.flatnonzero((arm >= 0) & known)
    _refuse_empty_arm(arm[rows], path, columns)
    notes = [*spellings(arms, arm, columns.arms), *_missing_outcomes(arm, known, columns, settings)]
    ids = None
    if columns.visitor is not None:
        ids = texts_of(table.column(columns.visitor), path, columns.visitor).take(pa.array(rows))
        both = in_both_arms(ids, arm[rows], columns.visitor)
        if both.any():
            people = len(ids.filter(pa.array(both)).unique())
            arms_told = "several" if columns.offers else "both"
            notes.append(
                f"{people:,} values of {columns.visitor} are in {arms_told} arms and were left out, with "
                f"{both.sum():,} rows."
            )
            rows, ids = rows[~both], ids.filter(pa.array(~both))
    _refuse_empty_arm(arm[rows], path, columns)
    at, is_listed = pa.array(rows), is_comma_file(path)
    stratum = propensity = None
    if columns.stratum is not None:
        stratum = to_codes(texts_of(table.column(columns.stratum).take(at), path, columns.stratum))
    if columns.propensity is not None:
        propensity = chances_of(texts_of(table.column(columns.propensity).take(at), path, columns.propensity), rows,
                                columns.propensity, is_listed=is_listed)  # fmt: skip
    if ids is not None:
        one_per_unit(ids, columns.stratum, stratum)
        one_per_unit(ids, columns.propensity, propensity)
    outcome, value = _outcomes(table, outcomes.take(at), rows, path, columns)
    other_arms = value_counts(arms.filter(pa.array(arm < 0)))
    return _Taken(rows, arm[rows], outcome, value, ids, stratum, propensity, other_arms, notes)


def _outcomes(
    table: "pa.Table", outcomes: "pa.ChunkedArray", rows: Rows, path: Path, columns: Columns
) -> tuple[Floats, Floats | None]:
    """Return the outcomes of some rows, and the money that they brought."""
    import pyarrow as pa

    is_listed = is_comma_file(path)
    if columns.value is None:
        without = table.column(columns.outcome).null_count
        return outcomes_of(outcomes, rows, columns.outcome, is_listed=is_listed, without=without), None
    texts = known_texts(table.column(columns.value), path, columns.value).take(pa.array(rows))
    value = money_of(texts, rows, columns.value, is_listed=is_listed)
    if columns.value == columns.outcome:
        return (value > 0).astype(np.float64), value
    outcome = outcomes_of(outcomes, rows, columns.outcome, is_listed=is_listed)
    if not np.isin(outcome, (0, 1)).all():
        raise FunneliftError(
            f"outcome column {columns.outcome} must say who bought, 0 or 1, where {columns.value} says how much "
            f"(--value-column): give --outcome-column {columns.value} if no column says who bought"
        )
    return outcome, value


def _refuse_empty_arm(arm: Codes, path: Path, columns: Columns) -> None:
    names = columns.arms if columns.offers else ARM_NAMES
    for number, name in names.items():
        if not (arm == number).any():
            raise FunneliftError(f"{path}: no {name} row is left that has a known outcome and a unit in one arm only")


def _missing_outcomes(
    arm: Codes, known: npt.NDArray[np.bool_], columns: Columns, settings: ExperimentSettings
) -> list[str]:
    """Say how many rows have no outcome, and whether the arms differ in that by more than chance."""
    from scipy import stats

    column, names = columns.outcome, columns.arms if columns.offers else ARM_NAMES
    counts = np.array([[((arm == number) & (known == there)).sum() for there in (True, False)] for number in names])
    missing = counts[:, 1]
    if not missing.any():
        return []
    each = ", ".join(f"{count:,} {name}" for count, name in zip(missing, names.values(), strict=True))
    told = f"{missing.sum():,} rows have no {column} and were left out ({each})"
    test = stats.fisher_exact if len(names) == 2 else stats.chi2_contingency
    p_value = float(test(counts).pvalue)
    if p_value >= settings.highest_mismatch_p:
        return [told]
    return [
        f"{told}; the arms differ in that by more than chance explains (p = {p_value:.2g}), so the treatment may have "
        "changed whose outcome is known: find these rows' outcomes before you trust the effect"
    ]


def average_of(rows: ArmRows, outcome: Floats, columns: Columns, config: Config) -> AverageEffect:
    """Estimate the average effect on an outcome: that of the file, or money.

    Parameters
    ----------
    rows : ArmRows
        Rows of arm 0, the control, and arm 1.
    outcome : ndarray of shape (n_rows,)
        Any number per row.
    columns : Columns
        Which columns are what.
    config : Config
        Settings.

    Returns
    -------
    AverageEffect
        By design, with its intervals.
    """
    design = Design(rows.arm, outcome, rows.visitor, rows.stratum, rows.propensity, columns.units)
    return designed_effect(
        design, rows.inputs, confidence=config.evaluation.confidence,
        tuned_for=config.experiment.sequence_units, seed=config.seed,
    )  # fmt: skip


def _unrankable(found: FileExperiment, config: Config, *, is_binary: bool, one_chance: bool) -> str | None:
    """Why nothing can be learnt of whom the treatment changes."""
    experiment, average, settings = found.experiment, found.average, config.experiment
    if not is_binary:
        return "the outcome is an amount; if it is money, name it with --value-column to rank by it"
    if not found.mart.features:
        return "no column is left that could be a feature"
    if not average.rows_are_even:
        return "the arms differ in rows per unit; give one row per unit to rank units"
    if one_chance and shares_differ(experiment, settings.highest_mismatch_p):
        return "the chance of treatment differs between strata or units, and rankings are judged under one chance"
    fewest = min(average.units_treatment, average.units_control)
    if fewest < settings.min_units_per_arm:
        return (
            f"only {fewest:,} units in an arm, fewer than {settings.min_units_per_arm} (experiment.min_units_per_arm)"
        )
    try:
        check_size(experiment, config.uplift.folds)
        check_arms(experiment, settings)
    except FunneliftError as error:
        return str(error)
    return None


def _read(path: Path, columns: Columns) -> "pa.Table":
    table = read_table(path, columns.special, columns.values)
    missing = [name for name in (*columns.special, *columns.ignore) if name not in table.column_names]
    if missing:
        raise FunneliftError(
            f"{path} has no column {', '.join(missing)}: its columns are {', '.join(table.column_names)}"
        )
    return table


def _features(
    table: "pa.Table", rows: "pa.Table", columns: Columns, path: Path, units: int
) -> "tuple[Mart, pd.DataFrame, dict[str, str]]":
    """Return the features, their values, and why the other columns are none."""
    import pandas as pd

    others = [
        name for name in rows.column_names if name not in (*columns.special, *columns.ignore) or name == columns.stratum
    ]
    found: dict[str, npt.NDArray[np.float32] | pd.Categorical | str] = {}
    is_listed = is_comma_file(path)
    for name in others:
        why = row_numbers(table.column(name), name)
        found[name] = why or feature_values(rows.column(name), path, name, units=units, is_listed=is_listed)
    dropped = dict.fromkeys(columns.ignore, "ignored, as told")
    dropped |= {name: values for name, values in found.items() if isinstance(values, str)}
    kinds = {"numeric": np.ndarray, "categorical": pd.Categorical}
    features = [
        Feature(name, "file", kind, name)
        for kind, own in kinds.items()
        for name in others
        if isinstance(found[name], own)
    ]
    mart = Mart(tuple(features), columns.outcome, tuple(rows.column_names))
    inputs = pd.DataFrame({name: found[name] for name in mart.names}, index=pd.RangeIndex(len(rows)))
    return mart, inputs, dropped


def _check_leakage(experiment: Experiment, mart: Mart, file_name: str, config: Config) -> list[FeatureAuc]:
    rows = np.arange(len(experiment))
    measured = evaluate_features(
        experiment.inputs, mart.features, experiment.outcome, experiment.visitor,
        rows=rows, group=file_name, settings=config.leakage,
    )  # fmt: skip
    found = sorted(measured, key=lambda entry: (-entry.auc, entry.feature))
    refuse_leaks(found, config.leakage)
    return found


def random_split(
    ids: "pa.ChunkedArray", visitor: npt.NDArray[np.int32], treatment: Codes, outcome: Codes, config: Config
) -> Codes:
    """Split visitors at random, with and without a conversion and in each arm in the same shares.

    Parameters
    ----------
    ids : pyarrow.ChunkedArray of shape (n_rows,)
        What names each row's visitor.
    visitor, treatment, outcome : ndarray of shape (n_rows,)
        Number of the visitor, arm, and whether the row converted.
    config : Config
        Settings.

    Returns
    -------
    ndarray of shape (n_rows,)
        Position of each row's split in `SPLITS`.
    """
    first = np.flatnonzero(is_first(visitor))
    draw = hash_shares(f"{config.seed}:split:", ids)[first]
    stratum = 2 * treatment[first] + (np.bincount(visitor, outcome) > 0)
    settings = config.experiment.split
    edges = np.cumsum([settings.train_share, settings.calibration_share])
    split = np.empty(len(first), dtype=np.int8)
    for part in np.unique(stratum):
        visitors = np.flatnonzero(stratum == part)
        place = np.empty(len(visitors))
        place[np.argsort(draw[visitors])] = (np.arange(len(visitors)) + 0.5) / len(visitors)
        split[visitors] = np.searchsorted(edges, place)
    return split[visitor]
