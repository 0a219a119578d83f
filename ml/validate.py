"""The gate: nothing trains on marts that do not add up, hold impossible values or give the answer away."""

import importlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.config import Config, FunneliftError, Leakage
from ml.features import NONE, Dataset, Feature, Mart
from ml.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd


class GateError(FunneliftError):
    """A gate that failed: its name, the two numbers that differ and what to do."""

    def __init__(self, gate: str, what: str, expected: object, found: object, remedy: str) -> None:
        super().__init__(f"gate {gate} failed: {what}: expected {expected}, found {found}. {remedy}")
        self.gate = gate


@dataclass(frozen=True)
class Summary:
    """The data set in a few numbers, as the warehouse and Python agree on them."""

    sessions: int
    converting_sessions: int
    conversion_rate: float
    is_synthetic: bool
    first_event_at: str
    last_event_at: str


@dataclass(frozen=True)
class PurePart:
    """A tail, a value or the nulls of one feature where (nearly) every row converts."""

    where: str
    rows: int
    positives: int


@dataclass(frozen=True)
class FeatureAuc:
    """How well one feature alone tells converting rows from the rest at one decision point."""

    feature: str
    decision_point: str
    auc: float
    rows: int
    positives: int
    pure: PurePart | None = None


REBUILD = "Run `dbt build`, so that all marts come from the same events; if it stays, a mart was changed by hand"

# Intermediate and funnel tables, not the mart itself: a row lost from the mart shows.
ROWS_SQL = """
select
    points.decision_point,
    count(*) as row_count,
    sum(funnels.has_transaction) as positive_count
from funnelift.int_decision_points as points
inner join funnelift.session_funnels as funnels on points.session_id = funnels.session_id
group by points.decision_point
"""
SESSIONS_SQL = """
select
    count(*) as session_count,
    sum(case when transaction_count > 0 then 1 else 0 end) as converting_session_count
from funnelift.sessions
"""
# Over whole numbers alone, MySQL's mean is a decimal with four digits.
FUNNELS_SQL = """
select
    count(*) as session_count,
    sum(has_transaction) as converting_session_count,
    avg(1e0 * has_transaction) as conversion_rate
from funnelift.session_funnels
"""
REPEATED_SQL = """
select count(*) as repeated_count
from (
    select session_id, decision_point
    from funnelift.session_features
    group by session_id, decision_point
    having count(*) > 1
) as repeated_keys
"""
SUMMARY_SQL = """
select session_count, converting_session_count, conversion_rate, is_synthetic, first_event_at, last_event_at
from funnelift.dataset_summary
"""


def check_counts(warehouse: Warehouse, data: Dataset) -> Summary:
    """Compare what Python read with what the warehouse's own SQL counts.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    data : Dataset
        All rows of the feature mart.

    Returns
    -------
    Summary
        The numbers both agree on.

    Raises
    ------
    GateError
        On the first number that differs.
    """
    for table in ("sessions", "session_funnels", "dataset_summary", "int_decision_points"):
        if not warehouse.columns(table):
            raise GateError("tables", f"table funnelift.{table}", "one", "none", "Run `dbt build` first")
    summaries = warehouse.query(SUMMARY_SQL)
    if len(summaries) != 1:
        raise GateError("summary", "rows of dataset_summary", 1, len(summaries), REBUILD)
    summary = summaries[0]

    for table, sql in (("sessions", SESSIONS_SQL), ("session_funnels", FUNNELS_SQL)):
        counted = warehouse.query(sql)[0]
        for number in ("session_count", "converting_session_count"):
            if int(counted[number] or 0) != int(summary[number] or 0):
                raise GateError(
                    number.replace("_", " "),
                    f"dataset_summary against {table}",
                    int(summary[number] or 0),
                    int(counted[number] or 0),
                    REBUILD,
                )
    sessions, converting = int(summary["session_count"]), int(summary["converting_session_count"])
    rate = converting / sessions if sessions else 0.0
    for source, found in (("dataset_summary", summary), ("session_funnels", warehouse.query(FUNNELS_SQL)[0])):
        if not np.isclose(float(found["conversion_rate"] or 0), rate, rtol=1e-9, atol=0):
            raise GateError(
                "conversion rate",
                f"Python's {converting}/{sessions} against {source}",
                rate,
                found["conversion_rate"],
                REBUILD,
            )

    counted_rows = {str(row["decision_point"]): row for row in warehouse.query(ROWS_SQL)}
    points = data.decision_point
    codes = np.asarray(points.codes)
    repeated = int(warehouse.query(REPEATED_SQL)[0]["repeated_count"])
    if repeated:
        raise GateError("key", "keys (session_id, decision_point) that repeat", 0, repeated, REBUILD)
    read = {str(point): np.flatnonzero(codes == code) for code, point in enumerate(points.categories)}
    for point in sorted(read.keys() | counted_rows.keys()):
        in_sql = counted_rows.get(point, {"row_count": 0, "positive_count": 0})
        row_count, positive_count = int(in_sql["row_count"]), int(in_sql["positive_count"])
        rows = read.get(point, np.empty(0, np.intp))
        if len(rows) != row_count:
            raise GateError("row count", f"rows of session_features at {point}", row_count, len(rows), REBUILD)
        positives = int((data.label[rows] == 1).sum())
        if positives != positive_count:
            raise GateError(
                "conversion rate",
                f"converting rows of {row_count} at {point}",
                f"{positive_count} ({positive_count / row_count:.6f}, SQL)",
                f"{positives} ({positives / row_count:.6f}, Python)",
                REBUILD,
            )
    return Summary(
        sessions=sessions,
        converting_sessions=converting,
        conversion_rate=rate,
        is_synthetic=bool(summary["is_synthetic"]),
        first_event_at=f"{summary['first_event_at']:%Y-%m-%d %H:%M:%S}",
        last_event_at=f"{summary['last_event_at']:%Y-%m-%d %H:%M:%S}",
    )


def check_values(data: Dataset, mart: Mart, config: Config) -> int:
    """Check nulls, ranges and accepted values with Great Expectations.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.
    mart : Mart
        Roles of the columns.
    config : Config
        Ranges and features that are never null.

    Returns
    -------
    int
        Number of expectations met.

    Raises
    ------
    GateError
        When one is not; all that are not are named.
    """
    nulls = {name: data.identity.column(name).null_count for name in data.identity.column_names}
    nulls["decision_point"] = int((np.asarray(data.decision_point) == NONE).sum())
    for name, count in nulls.items():
        if count:
            raise GateError("nulls", f"nulls in {name}", 0, count, REBUILD)

    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    gx: Any = importlib.import_module("great_expectations")
    gxe: Any = importlib.import_module("great_expectations.expectations")

    checked = {
        mart.label: data.label,
        "decided_ms": data.decided_ms,
        "is_mature": data.is_mature,
        "is_new_visitor": data.is_new_visitor,
    }
    frame = data.inputs.assign(**checked)  # type: ignore[arg-type]
    expectations: list[Any] = [gxe.ExpectTableRowCountToBeBetween(min_value=1)]
    for name in (mart.label, "is_mature", "is_new_visitor"):
        expectations.append(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[0, 1]))
    expectations.append(gxe.ExpectColumnMinToBeBetween(column="decided_ms", min_value=0))
    for name in mart.numeric:
        low, high = _range_of(name, config)
        # A feature that this shop cannot fill has no lowest value; whether it may be empty is the next question.
        if not np.isnan(data.inputs[name].to_numpy()).all():
            expectations.append(gxe.ExpectColumnMinToBeBetween(column=name, min_value=low))
            expectations.append(gxe.ExpectColumnMaxToBeBetween(column=name, max_value=high))
        if any(fnmatchcase(name, pattern) for pattern in config.never_null):
            expectations.append(gxe.ExpectColumnValuesToNotBeNull(column=name))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("marts").add_dataframe_asset("session_features")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    outcome = batch.validate(gx.ExpectationSuite("session_features", expectations=expectations), result_format="BASIC")
    broken = [result for result in outcome.results if not result.success]
    if broken:
        first, *others = [_describe(result) for result in broken]
        also = (
            f" Also: {'; '.join(f'{what}: expected {want}, found {got}' for what, want, got in others)}."
            if others
            else ""
        )
        raise GateError(
            "values",
            *first,
            f"Correct the events or the mart, then `dbt build`; ranges are settings of ml/config.yml.{also}",
        )
    return len(expectations)


def check_leakage(data: Dataset, mart: Mart, config: Config) -> list[FeatureAuc]:
    """Refuse a feature that alone tells converting rows from the rest too well to be honest.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart; only rows of closed sessions are judged.
    mart : Mart
        Roles of the columns.
    config : Config
        Highest believable AUC and purity, and features accepted with a reason.

    Returns
    -------
    list of FeatureAuc
        One entry a feature and judged decision point, best first.

    Raises
    ------
    GateError
        When a feature that is not accepted is above the highest AUC, or has a part of the highest purity.
    FunneliftError
        When an accepted feature does not exist.
    """
    unknown = sorted(set(config.leakage.accepted) - set(mart.names))
    if unknown:
        raise FunneliftError(f"settings: leakage.accepted names {', '.join(unknown)}, which the mart does not have")
    points = data.decision_point
    found = []
    for code, point in enumerate(points.categories):
        rows = np.flatnonzero((points.codes == code) & (data.is_mature == 1))
        found += judge_features(data.inputs, mart.features, data.label, data.visitor, rows, str(point), config.leakage)
    found.sort(key=lambda entry: (-entry.auc, entry.feature, entry.decision_point))
    refuse_leaks(found, config.leakage)
    return found


def judge_features(
    inputs: "pd.DataFrame",
    features: Sequence[Feature],
    label: npt.NDArray[np.int8],
    visitor: npt.NDArray[np.int32],
    rows: npt.NDArray[np.intp],
    group: str,
    settings: Leakage,
) -> list[FeatureAuc]:
    """Measure how much each feature alone says about the label among some rows of any features table.

    Parameters
    ----------
    inputs : DataFrame
        Features: float32 (NaN is null) and categories.
    features : sequence of Feature
        Names and kinds of the features to judge.
    label, visitor : array of int
        Label (0 or 1) and visitor code of every row of `inputs`.
    rows : array of int
        Positions of the rows to judge.
    group : str
        What these rows are, for people: a decision point or a file.
    settings : Leakage
        Fewest converting rows that can be judged, and the highest purity.

    Returns
    -------
    list of FeatureAuc
        One entry a feature; none when there are too few converting rows.
    """
    positive, negative = rows[label[rows] == 1], rows[label[rows] == 0]
    if len(positive) < settings.min_positives or not len(negative):
        return []
    found = []
    for feature in features:
        column, buyers = inputs[feature.name], visitor[positive]
        if feature.kind == "numeric":
            values = column.to_numpy()
            ranks = _rank(values[positive], values[negative])
            auc, pure = _auc(ranks), _pure_numbers(ranks, buyers, settings)
        else:
            codes = column.cat.codes.to_numpy()
            auc = category_auc(codes[positive], codes[negative], buyers, visitor[negative])
            pure = _pure_level(column.cat.categories, codes[positive], codes[negative], buyers, settings)
        found.append(FeatureAuc(feature.name, group, auc, len(positive) + len(negative), len(positive), pure))
    return found


def refuse_leaks(found: Sequence[FeatureAuc], settings: Leakage) -> None:
    """Raise for the first feature that is not accepted and says more than it honestly can.

    Parameters
    ----------
    found : sequence of FeatureAuc
        What `judge_features` measured, best first.
    settings : Leakage
        Highest believable AUC and purity, and features accepted with a reason.

    Raises
    ------
    GateError
        When there is one; an AUC comes before a pure part.
    """
    judged = [entry for entry in found if entry.feature not in settings.accepted]
    remedy = (
        "It probably knows the future: correct the feature or leave it out, or list it under leakage.accepted with a "
        "reason"
    )
    for entry in judged:
        if entry.auc > settings.highest_auc:
            raise GateError(
                "leakage",
                f"AUC of {entry.feature} alone at {entry.decision_point} "
                f"({entry.positives} of {entry.rows} rows convert)",
                f"at most {settings.highest_auc}",
                f"{entry.auc:.4f}",
                remedy,
            )
    for entry in judged:
        if entry.pure is not None:
            raise GateError(
                "leakage",
                f"share converting where {entry.feature} is {entry.pure.where} at {entry.decision_point} "
                f"(of all rows {entry.positives / entry.rows:.2%} convert)",
                f"below {settings.highest_purity:.1%}",
                f"{entry.pure.positives / entry.pure.rows:.1%} ({entry.pure.positives} of {entry.pure.rows} rows)",
                remedy,
            )


def numeric_auc(positive: npt.NDArray[np.float32], negative: npt.NDArray[np.float32]) -> float:
    """AUC of one numeric feature, whichever way it points, with nulls ranked lowest or highest.

    Parameters
    ----------
    positive, negative : array of float
        The feature's values on rows that convert and on rows that do not; NaN is null.

    Returns
    -------
    float
        The largest AUC of the two places for nulls and both directions, 0.5 to 1.
    """
    return _auc(_rank(positive, negative))


def category_auc(
    positive: npt.NDArray[Any],
    negative: npt.NDArray[Any],
    positive_visitor: npt.NDArray[Any],
    negative_visitor: npt.NDArray[Any],
) -> float:
    """AUC of one categorical feature, each row scored by the other half of the visitors.

    Parameters
    ----------
    positive, negative : array of int
        Category codes on rows that convert and on rows that do not.
    positive_visitor, negative_visitor : array of int
        Visitor codes of the same rows.

    Returns
    -------
    float
        Mean AUC over the two halves, at least 0.5.
    """
    levels = int(max(positive.max(), negative.max())) + 1
    aucs = []
    for half in (0, 1):
        learn_positive, learn_negative = positive_visitor % 2 == half, negative_visitor % 2 == half
        if learn_positive.all() or learn_negative.all():
            continue
        bought = np.bincount(positive[learn_positive], minlength=levels)
        left = np.bincount(negative[learn_negative], minlength=levels)
        overall = bought.sum() / max(1, bought.sum() + left.sum())
        rate = ((bought + 10 * overall) / (bought + left + 10)).astype(np.float32)
        aucs.append(numeric_auc(rate[positive[~learn_positive]], rate[negative[~learn_negative]]))
    return float(np.mean(aucs)) if aucs else 0.5


@dataclass(frozen=True)
class _Ranks:
    """Converting rows in order of a feature, and how many other rows lie below and not above each of them.

    `order` holds positions among the converting rows, those where the feature is null last; `values`, `below` and
    `not_above` cover the ones before.
    """

    order: npt.NDArray[np.intp]
    values: npt.NDArray[np.float32]
    below: npt.NDArray[np.intp]
    not_above: npt.NDArray[np.intp]
    known_negatives: int
    null_negatives: int


def _rank(positive: npt.NDArray[np.float32], negative: npt.NDArray[np.float32]) -> _Ranks:
    order = np.argsort(positive)
    values = positive[order[: len(positive) - np.isnan(positive).sum()]]
    known = np.sort(negative[~np.isnan(negative)])
    below, not_above = np.searchsorted(known, values, side="left"), np.searchsorted(known, values, side="right")
    return _Ranks(order, values, below, not_above, len(known), len(negative) - len(known))


def _auc(ranks: _Ranks) -> float:
    known_positives, null_positives = len(ranks.values), len(ranks.order) - len(ranks.values)
    pairs = float(len(ranks.order)) * (ranks.known_negatives + ranks.null_negatives)
    wins = (ranks.below.sum(dtype=np.float64) + ranks.not_above.sum(dtype=np.float64)) / 2
    wins += null_positives * ranks.null_negatives / 2
    nulls_lowest = (wins + known_positives * ranks.null_negatives) / pairs
    nulls_highest = (wins + null_positives * ranks.known_negatives) / pairs
    return float(max(nulls_lowest, 1 - nulls_lowest, nulls_highest, 1 - nulls_highest))


def _pure_numbers(ranks: _Ranks, visitor: npt.NDArray[np.int32], settings: Leakage) -> PurePart | None:
    values, known, count = ranks.values, len(ranks.values), len(ranks.order)
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])[:known])
    ends = np.append(starts, known)[1:]
    edges, below, not_above = values[starts], ranks.below[starts], ranks.not_above[starts]
    # Tails lie in one another: if the widest pure one has too few visitors, so has each other.
    parts = (
        ("{:g} or more", edges, starts, np.full_like(starts, known), ranks.known_negatives - below, 1),
        ("{:g} or less", edges, np.zeros_like(starts), ends, not_above, 1),
        ("{:g}", edges, starts, ends, not_above - below, len(edges)),
        ("null", np.zeros(1), np.array([known]), np.array([count]), np.array([ranks.null_negatives]), 1),
    )
    rate = count / (count + ranks.known_negatives + ranks.null_negatives)
    for where, edge, first, last, negatives, tried in parts:
        for part in _pure(last - first, negatives, rate, settings)[:tried]:
            rows = ranks.order[first[part] : last[part]]
            if len(np.unique(visitor[rows])) >= settings.min_positives:
                return PurePart(where.format(edge[part]), len(rows) + int(negatives[part]), len(rows))
    return None


def _pure_level(
    levels: "pd.Index[Any]",
    positive: npt.NDArray[Any],
    negative: npt.NDArray[Any],
    visitor: npt.NDArray[np.int32],
    settings: Leakage,
) -> PurePart | None:
    positives, negatives = (np.bincount(codes, minlength=len(levels)) for codes in (positive, negative))
    rate = len(positive) / (len(positive) + len(negative))
    for level in _pure(positives, negatives, rate, settings):
        if len(np.unique(visitor[positive == level])) >= settings.min_positives:
            rows = int(positives[level] + negatives[level])
            return PurePart(str(levels[level]), rows, int(positives[level]))
    return None


def _pure(
    positives: npt.NDArray[Any], negatives: npt.NDArray[Any], rate: float, settings: Leakage
) -> npt.NDArray[np.intp]:
    """Positions of the parts that are pure beyond chance, widest first."""
    rows = positives + negatives
    # Where nearly all rows convert a part may be pure by chance, unless many of its rows were due not to convert.
    is_pure = (
        (positives >= settings.min_positives)
        & (positives >= settings.highest_purity * rows)
        & (rows * (1 - rate) >= settings.min_positives / 2)
    )
    found = np.flatnonzero(is_pure)
    return found[np.argsort(-positives[found], kind="stable")]


def _range_of(name: str, config: Config) -> tuple[float, float]:
    for entry in config.ranges:
        if fnmatchcase(name, entry.pattern):
            return entry.low, entry.high
    return 0.0, float(np.finfo(np.float32).max)


def _describe(result: Any) -> tuple[str, str, object]:
    settings = result.expectation_config.kwargs
    kind = result.expectation_config.type
    found = result.result
    low, high = settings.get("min_value"), settings.get("max_value")
    if "not_be_null" in kind:
        return f"nulls in {settings['column']}", "0", found.get("unexpected_count", "some")
    if "value_set" in settings:
        values = sorted(set(found.get("partial_unexpected_list", [])))
        return f"values of {settings['column']} (-1: null)", f"{settings['value_set']}", f"also {values}"
    bounds = f"at least {low:g}" if high is None else f"at most {high:g}"
    what = "rows" if "row_count" in kind else f"{'lowest' if high is None else 'highest'} value"
    return f"{what} of {settings.get('column', 'session_features')}", bounds, found.get("observed_value")
