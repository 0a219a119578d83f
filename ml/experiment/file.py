"""Any two-armed experiment in a CSV or Parquet file, checked like one on the mart."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

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
    outcomes_of,
    row_numbers,
    spellings,
    value_counts,
    written,
)
from ml.experiment.file_rows import in_both_arms, ordered, repeated
from ml.experiment.file_strata import chances_of, one_per_unit, shares_differ
from ml.experiment.file_table import is_comma_file, known_texts, read_table, texts_of
from ml.experiment.people import FileFeature, file_features
from ml.experiment.randomisation import Randomisation, check_randomisation, is_first
from ml.experiment.simulated import hash_shares
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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

    def __post_init__(self) -> None:
        if (self.treated is None) != (self.control is None) or (
            self.treated is not None and self.control is not None and written(self.treated) == written(self.control)
        ):
            raise FunneliftError(
                f"treated {self.treated!r} and control {self.control!r}: give two different values, or neither"
            )
        twice = sorted({name for name in self.special if self.special.count(name) > 1 or name in self.ignore})
        if twice:
            raise FunneliftError(
                f"column {', '.join(twice)} cannot be two of treatment, outcome, visitor, stratum, propensity "
                "and ignored at once"
            )

    @property
    def special(self) -> list[str]:
        """Columns that hold arm, outcome, visitor, stratum and chance of treatment."""
        named = (self.treatment, self.outcome, self.visitor, self.stratum, self.propensity)
        return [name for name in named if name is not None]

    @property
    def units(self) -> str:
        """What was randomised, in the plural."""
        return "rows" if self.visitor is None else "units"

    @property
    def values(self) -> list[str]:
        """Values of the treatment column that stand for the arms."""
        return [value for value in (self.treated, self.control) if value is not None]


@dataclass(frozen=True)
class FileExperiment:
    """An experiment read from a file.

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


def from_file(path: Path, columns: Columns, config: Config, *, treated_share: float | None = None) -> FileExperiment:
    """Read any two-armed experiment from a file.

    Numbers and dates are numeric features, texts and booleans are categories. Rows with another treatment are left out
    and counted. Visitors are split at random, by a hash of their id and the seed: in each arm, with and without a
    conversion, in the shares of `experiment.split`.

    Parameters
    ----------
    path : Path
        CSV (comma, semicolon or tab; plain or .gz; UTF-8, one header line) or Parquet.
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
    import pyarrow as pa

    table = _read(path, columns)
    taken = _taken(table, path, columns, config.experiment)
    rows = table.take(pa.array(taken.rows))
    notes = [*taken.notes, *repeated(rows, has_unit=columns.visitor is not None)]
    units = len(taken.rows) if taken.ids is None else len(taken.ids.unique())
    mart, inputs, dropped = _features(table, rows, columns, path, units)
    order = ordered(taken.ids, inputs, taken.arm, taken.outcome)
    at = pa.array(order.rows)
    treatment, outcome = taken.arm[order.rows], taken.outcome[order.rows]
    visitor = np.arange(len(order.rows), dtype=np.int32) if taken.ids is None else to_codes(order.key)
    is_binary = bool(np.isin(outcome, (0, 1)).all())
    good = (outcome == 0 if columns.lower_is_better else outcome > 0).astype(np.int8)
    numbers = pa.chunked_array([pa.array(taken.rows[order.rows] + 1)])
    experiment = Experiment(
        inputs=inputs.iloc[order.rows].reset_index(drop=True),
        categorical=tuple(mart.categorical),
        treatment=treatment,
        outcome=good,
        visitor=visitor,
        split=_random_split(order.key, visitor, treatment, good, config),
        treated_share=float(treatment[is_first(visitor)].mean()) if treated_share is None else treated_share,
        stratum=None if taken.stratum is None else taken.stratum[order.rows],
        propensity=None if taken.propensity is None else taken.propensity[order.rows],
    )
    single_features = _check_leakage(experiment, mart, path.name, config) if is_binary and mart.features else []
    randomisation = check_randomisation(experiment, config.experiment, ratio_is_designed=treated_share is not None)
    average = _average(experiment, outcome, columns, config)
    found = FileExperiment(
        identity=pa.table(
            {
                "row_number": numbers,
                "visitor_id": numbers.cast(pa.string()) if taken.ids is None else taken.ids.take(at),
            }
        ),
        mart=mart,
        experiment=experiment,
        single_features=single_features,
        randomisation=randomisation,
        source=f"experiment of {int(visitor.max()) + 1:,} visitors ({path.name})",
        rows_read=len(table),
        other_arms=taken.other_arms,
        dropped=dropped,
        notes=[*notes, *direction_hint(columns, average, is_binary=is_binary)],
        average=average,
        unrankable=None,
        features=file_features(rows, inputs),
    )
    return replace(found, unrankable=_unrankable(found, config, is_binary=is_binary))


@dataclass(frozen=True)
class _Taken:
    """The rows that take part, by their positions in the file, and what the special columns say of them."""

    rows: Rows
    arm: Codes
    outcome: Floats
    ids: "pa.ChunkedArray | None"
    stratum: npt.NDArray[np.int32] | None
    propensity: Floats | None
    other_arms: dict[str, int]
    notes: list[str]


def _taken(table: "pa.Table", path: Path, columns: Columns, settings: ExperimentSettings) -> _Taken:
    import pyarrow as pa

    arms = texts_of(table.column(columns.treatment), path, columns.treatment)
    arm = arms_of(arms, columns.treatment, columns.treated, columns.control)
    outcomes = known_texts(table.column(columns.outcome), path, columns.outcome)
    known = np.asarray(outcomes.is_valid().to_numpy())
    rows = np.flatnonzero((arm >= 0) & known)
    _refuse_empty_arm(arm[rows], path)
    notes = [*spellings(arms, arm), *_missing_outcomes(arm, known, columns.outcome, settings)]
    ids = None
    if columns.visitor is not None:
        ids = texts_of(table.column(columns.visitor), path, columns.visitor).take(pa.array(rows))
        both = in_both_arms(ids, arm[rows], columns.visitor)
        if both.any():
            people = len(ids.filter(pa.array(both)).unique())
            notes.append(
                f"{people:,} values of {columns.visitor} are in both arms and were left out, with {both.sum():,} rows."
            )
            rows, ids = rows[~both], ids.filter(pa.array(~both))
    _refuse_empty_arm(arm[rows], path)
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
    outcome = outcomes_of(outcomes.take(at), rows, columns.outcome, is_listed=is_listed)
    other_arms = value_counts(arms.filter(pa.array(arm < 0)))
    return _Taken(rows, arm[rows], outcome, ids, stratum, propensity, other_arms, notes)


def _refuse_empty_arm(arm: Codes, path: Path) -> None:
    for number, name in ARM_NAMES.items():
        if not (arm == number).any():
            raise FunneliftError(f"{path}: no {name} row is left that has a known outcome and a unit in one arm only")


def _missing_outcomes(arm: Codes, known: npt.NDArray[np.bool_], column: str, settings: ExperimentSettings) -> list[str]:
    """Say how many rows have no outcome, and whether the arms differ in that by more than chance."""
    from scipy import stats

    counts = np.array([[((arm == number) & (known == there)).sum() for there in (True, False)] for number in ARM_NAMES])
    (_, treated), (_, control) = counts
    if not treated + control:
        return []
    told = f"{treated + control:,} rows have no {column} and were left out ({treated:,} treated, {control:,} control)"
    p_value = float(stats.fisher_exact(counts).pvalue)
    if p_value >= settings.highest_mismatch_p:
        return [told]
    return [
        f"{told}; the arms differ in that by more than chance explains (p = {p_value:.2g}), so the treatment may have "
        "changed whose outcome is known: find these rows' outcomes before you trust the effect"
    ]


def _average(experiment: Experiment, outcome: Floats, columns: Columns, config: Config) -> AverageEffect:
    design = Design(
        experiment.treatment, outcome, experiment.visitor, experiment.stratum, experiment.propensity, columns.units
    )
    return designed_effect(
        design, experiment.inputs, confidence=config.evaluation.confidence,
        tuned_for=config.experiment.sequence_units, seed=config.seed,
    )  # fmt: skip


def _unrankable(found: FileExperiment, config: Config, *, is_binary: bool) -> str | None:
    """Why nothing can be learnt of whom the treatment changes."""
    experiment, average, settings = found.experiment, found.average, config.experiment
    if not is_binary:
        return "the outcome is an amount; a ranking needs a yes-or-no outcome"
    if not found.mart.features:
        return "no column is left that could be a feature"
    if not average.rows_are_even:
        return "the arms differ in rows per unit; give one row per unit to rank units"
    if shares_differ(experiment, settings.highest_mismatch_p):
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
    found = evaluate_features(
        experiment.inputs, mart.features, experiment.outcome, experiment.visitor,
        rows=rows, group=file_name, settings=config.leakage,
    )  # fmt: skip
    found.sort(key=lambda entry: (-entry.auc, entry.feature))
    refuse_leaks(found, config.leakage)
    return found


def _random_split(
    ids: "pa.ChunkedArray", visitor: npt.NDArray[np.int32], treatment: Codes, outcome: Codes, config: Config
) -> Codes:
    """Split visitors at random, with and without a conversion and in each arm in the same shares."""
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
