"""Any two-armed experiment in a CSV or Parquet file, checked like one on the mart."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes
from ml.config import Config
from ml.data.features import NONE, Feature, Mart
from ml.data.leakage import FeatureAuc, evaluate_features, refuse_leaks
from ml.data.rows import to_codes
from ml.experiment.experiment import ARMS, Experiment, check_arms, check_size
from ml.experiment.randomisation import Randomisation, check_randomisation, is_first
from ml.experiment.simulated import hash_shares
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SHOWN = 10  # values that a message lists
PARQUET = (".parquet", ".pq")
WHOLE = re.compile(r"^(-?\d+)\.0+$")  # a whole number with decimals
BINARY = {"0": 0, "1": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class FileExperiment:
    """An experiment read from a file.

    `identity` holds row_number (of the file's data rows, from 1) and visitor_id of each row; `mart` describes the
    features; `other_arms` counts the rows left out by their value of the treatment column; `dropped` maps columns that
    are no feature to the reason.
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


def from_file(
    path: Path,
    treatment_column: str,
    treated: str | None,
    control: str | None,
    outcome_column: str,
    ignore: Sequence[str],
    visitor_column: str | None,
    config: Config,
    treated_share: float | None = None,
) -> FileExperiment:
    """Read any two-armed experiment from a file.

    Every column that is not the treatment, the outcome, the visitor or ignored is a feature: numbers and dates as
    numbers, texts and booleans as categories. Rows with another treatment are left out and counted. Visitors are split
    at random, by a hash of their id and the seed: in each arm, with and without a conversion, in the shares of
    `experiment.split`.

    Parameters
    ----------
    path : Path
        CSV (comma, semicolon or tab; plain or .gz; UTF-8, one header line) or Parquet.
    treatment_column : str
        Column that holds the arm.
    treated, control : str, optional
        Its values for the arms; without them it must hold 0 and 1.
    outcome_column : str
        Column of 0 and 1, or false and true.
    ignore : sequence of str
        Columns that are no features: other outcomes, and all else that was measured after the treatment.
    visitor_column : str, optional
        Column that names the unit that was randomised; without it each row is one.
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
        When a feature gives the outcome away, or arms were not dealt at random.
    FunneliftError
        When the file or a column cannot be used.
    """
    import pandas as pd
    import pyarrow as pa

    if (treated is None) != (control is None) or (treated is not None and treated == control):
        raise FunneliftError(f"treated {treated!r} and control {control!r}: give two different values, or neither")
    special = [treatment_column, outcome_column, *([visitor_column] if visitor_column is not None else [])]
    twice = sorted({name for name in special if special.count(name) > 1 or name in ignore})
    if twice:
        raise FunneliftError(
            f"column {', '.join(twice)} cannot be two of treatment, outcome, visitor and ignored at once"
        )
    table = _read_table(path, special, [value for value in (treated, control) if value is not None])
    missing = [name for name in (*special, *ignore) if name not in table.column_names]
    if missing:
        raise FunneliftError(
            f"{path} has no column {', '.join(missing)}: its columns are {', '.join(table.column_names)}"
        )
    texts = {name: _texts(table.column(name), path, name) for name in special}
    arm = _arms(texts[treatment_column], treatment_column, treated, control)
    rows = np.flatnonzero(arm >= 0)
    if len(rows) < config.uplift.folds:
        raise FunneliftError(
            f"{path} has {len(rows)} rows in its two arms, fewer than the {config.uplift.folds} folds of cross-fitting "
            "(uplift.folds): use more data"
        )
    treatment = arm[rows]
    outcome = _outcomes(texts[outcome_column].take(pa.array(rows)), rows, outcome_column)
    numbers = pa.chunked_array([rows + 1])
    ids = numbers.cast(pa.string()) if visitor_column is None else texts[visitor_column].take(pa.array(rows))
    visitor = to_codes(ids)
    both = int((np.bincount(visitor, treatment) % np.bincount(visitor) != 0).sum())
    if both:
        raise FunneliftError(
            f"{both} values of {visitor_column} are in both arms, but one visitor has one arm: name the column that "
            "was randomised, or take these visitors out"
        )

    others = [name for name in table.column_names if name not in (*special, *ignore)]
    found = {name: _feature_values(table.column(name).take(pa.array(rows)), path, name) for name in others}
    dropped = dict.fromkeys(ignore, "ignored, as told")
    dropped |= {name: values for name, values in found.items() if isinstance(values, str)}
    numeric = [Feature(name, "file", "numeric", name) for name in others if isinstance(found[name], np.ndarray)]
    categorical = [
        Feature(name, "file", "categorical", name) for name in others if isinstance(found[name], pd.Categorical)
    ]
    mart = Mart((*numeric, *categorical), outcome_column, tuple(table.column_names))
    if not mart.features:
        reasons = "; ".join(f"{name}: {why}" for name, why in dropped.items()) or "there is no other column"
        raise FunneliftError(f"{path} has no column left that could be a feature ({reasons})")

    settings = config.experiment
    experiment = Experiment(
        inputs=pd.DataFrame({name: found[name] for name in mart.names}),
        categorical=tuple(mart.categorical),
        treatment=treatment,
        outcome=outcome,
        visitor=visitor,
        split=_random_split(ids, visitor, treatment, outcome, config),
        treated_share=float(treatment[is_first(visitor)].mean()) if treated_share is None else treated_share,
    )
    single_features = evaluate_features(
        experiment.inputs, mart.features, outcome, visitor,
        rows=np.arange(len(rows)), group=path.name, settings=config.leakage,
    )  # fmt: skip
    single_features.sort(key=lambda entry: (-entry.auc, entry.feature))
    refuse_leaks(single_features, config.leakage)
    randomisation = check_randomisation(experiment, settings, ratio_is_designed=treated_share is not None)
    check_size(experiment, config.uplift.folds)
    check_arms(experiment, settings)
    return FileExperiment(
        identity=pa.table({"row_number": numbers, "visitor_id": ids}),
        mart=mart,
        experiment=experiment,
        randomisation=randomisation,
        single_features=single_features,
        source=f"experiment of {int(visitor.max()) + 1:,} visitors ({path.name})",
        rows_read=len(table),
        other_arms=_value_counts(texts[treatment_column].filter(pa.array(arm < 0))),
        dropped=dropped,
    )


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


def _read_table(path: Path, texts: Sequence[str], values: Sequence[str]) -> "pa.Table":
    """Read a file; some columns of a CSV as they are written, in which some values are never taken for a null."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    if not path.is_file():
        raise FunneliftError(f"no experiment file at {path}")
    try:
        if path.suffix.lower() in PARQUET:
            table = parquet.read_table(path)
        else:
            defaults = arrow_csv.ConvertOptions()
            table = arrow_csv.read_csv(
                path,
                parse_options=arrow_csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={name: pa.string() for name in texts},
                    null_values=[text for text in defaults.null_values if text not in values],
                    strings_can_be_null=True,
                ),
            )
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise FunneliftError(
            f"cannot read {path} ({error}): it must be CSV in UTF-8 with one header line (comma, semicolon or tab; "
            ".gz allowed), or Parquet (.parquet)"
        ) from None
    table = table.rename_columns([name.strip() for name in table.column_names])
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise FunneliftError(f"{path} has several columns called {', '.join(twice)}: rename them")
    if not len(table):
        raise FunneliftError(f"{path} has no rows")
    return table


def _delimiter(path: Path) -> str:
    import pyarrow as pa

    with pa.input_stream(str(path)) as stream:
        header = stream.read(1 << 16).decode("utf-8", errors="replace").split("\n", 1)[0]
    return max(",;\t", key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _texts(column: "pa.ChunkedArray", path: Path, name: str) -> "pa.ChunkedArray":
    """Return a column as text, whole numbers without decimals; nulls are refused."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(_plain(column, path, name).cast(pa.string()))
    text = pc.replace_substring_regex(text, WHOLE.pattern, r"\1")
    is_null = pc.or_(pc.fill_null(pc.is_in(text, pa.array(["", "nan"])), False), pc.is_null(text))
    nulls = pc.sum(is_null).as_py()
    if nulls:
        raise FunneliftError(
            f"{path}: {nulls} of {len(text)} rows have no {name}; the first is data row "
            f"{pc.index(is_null, True).as_py() + 1}. Fill them in, or take these rows out and say why"
        )
    return text


def _plain(column: "pa.ChunkedArray", path: Path, name: str) -> "pa.ChunkedArray":
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise FunneliftError(f"{path}: column {name} is not UTF-8 text: save the file as UTF-8")
    return column


def _arms(texts: "pa.ChunkedArray", column: str, treated: str | None, control: str | None) -> Codes:
    encoded = texts.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    there = ", ".join(f"{value!r} ({count:,} rows)" for value, count in list(_value_counts(texts).items())[:SHOWN])
    if treated is None or control is None:
        arm_of = [BINARY.get(level.lower(), -1) for level in levels]
        if -1 in arm_of:
            raise FunneliftError(
                f"treatment column {column} holds {len(levels)} values, not only 0 and 1: {there}. Say which are the "
                "arms (--treated VALUE --control VALUE); other rows are left out"
            )
    else:
        values = {WHOLE.sub(r"\1", value.strip()): arm for value, arm in ((treated, 1), (control, 0))}
        arm_of = [values.get(level, -1) for level in levels]
    for number, words in ARMS:
        if number not in arm_of:
            raise FunneliftError(f"treatment column {column} has one arm only, no {words} row: it holds {there}")
    return np.asarray(np.array(arm_of, dtype=np.int8)[encoded.indices.to_numpy()])


def _value_counts(texts: "pa.ChunkedArray") -> dict[str, int]:
    import pyarrow.compute as pc

    counts = {entry["values"]: int(entry["counts"]) for entry in pc.value_counts(texts).to_pylist()}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _outcomes(texts: "pa.ChunkedArray", rows: npt.NDArray[np.intp], column: str) -> Codes:
    encoded = texts.combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    value_of = np.array([BINARY.get(level.lower(), -1) for level in levels], dtype=np.int8)
    outcome = np.asarray(value_of[encoded.indices.to_numpy()])
    bad = np.flatnonzero(outcome < 0)
    if len(bad):
        values = [level for level in levels if level.lower() not in BINARY]
        raise FunneliftError(
            f"outcome column {column} must hold 0 and 1 (or false and true), but {len(bad)} rows hold something else: "
            f"{', '.join(map(repr, values[:SHOWN]))}{' …' if len(values) > SHOWN else ''}, first in data row "
            f"{rows[bad[0]] + 1}. Take a yes-or-no outcome"
        )
    return outcome


def _feature_values(
    column: "pa.ChunkedArray", path: Path, name: str
) -> "npt.NDArray[np.float32] | pd.Categorical | str":
    """Return a column's values as a feature, or why it is none."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _plain(column, path, name)
    kind = column.type
    if column.null_count == len(column):
        return "empty"
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = column.cast(pa.string())
        distinct = pc.count_distinct(text).as_py()
        if distinct > len(text) / 2:
            return f"an id: {distinct:,} different texts in {len(text):,} rows"
        values = pd.Categorical(pc.fill_null(text, NONE).to_pandas())
        return "the same in all rows" if len(values.categories) == 1 else values
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        days = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64())
        column = pc.divide(days, 86_400_000.0)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return f"neither number, text nor date: {kind}"
    with np.errstate(over="ignore"):
        numbers = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float32)
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        raise FunneliftError(
            f"{path}: column {name} has {infinite} infinite values: correct them, or ignore the column"
        )
    is_constant = not np.isnan(numbers).any() and numbers.min() == numbers.max()
    return "the same in all rows" if is_constant or np.isnan(numbers).all() else numbers
