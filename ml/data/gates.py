"""The gate: nothing trains on marts that do not add up, hold impossible values or give the answer away."""

import importlib
import logging
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ml.config import Config
from ml.data.features import NONE, Mart
from ml.data.rows import Dataset
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError


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
