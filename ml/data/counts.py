"""The gate of counts: what Python read is what the warehouse's own SQL counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.data.gates import REBUILD, GateError
from ml.data.rows import Dataset
from ml.data.split import Classes
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError

TABLES = ("sessions", "session_funnels", "dataset_summary", "int_decision_points")
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
select
    session_count, converting_session_count, conversion_rate, is_synthetic, first_plausible_ms, first_plausible_at,
    last_plausible_at, implausible_event_count, implausible_visitor_id, implausible_event_at
from funnelift.dataset_summary
"""


@dataclass(frozen=True)
class Summary:
    """The data set in a few numbers, as the warehouse and Python agree on them.

    `first_at` and `last_at` are the first and the last event of a plausible time; `wrong_clocks` says how many events
    have another one, blank if none has.
    """

    sessions: int
    converting_sessions: int
    conversion_rate: float
    is_synthetic: bool
    first_plausible_ms: int
    first_at: str
    last_at: str
    wrong_clocks: str


def check_sessions(warehouse: Warehouse) -> Summary:
    """Compare the counts of sessions that the warehouse's tables give.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    Summary
        The numbers on which all agree.

    Raises
    ------
    GateError
        On the first number that differs.
    """
    for table in TABLES:
        if not warehouse.columns(table):
            raise GateError("tables", f"table funnelift.{table}", "one", "none", "Run `dbt build` first")
    summaries = warehouse.query(SUMMARY_SQL)
    if len(summaries) != 1:
        raise GateError("summary", "rows of dataset_summary", 1, len(summaries), REBUILD)
    summary = _summary(summaries[0])
    _check_sessions(warehouse, summary, summaries[0])
    return summary


def rows_at_points(data: Dataset) -> dict[str, Classes]:
    """Count rows by decision point.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.

    Returns
    -------
    dict of str to Classes
        Decision point to how many converted.
    """
    points = data.decision_point
    return {str(point): Classes.of(data.label[points.codes == code]) for code, point in enumerate(points.categories)}


def check_point(point: str, known: Iterable[str]) -> None:
    """Refuse a decision point that the mart does not have.

    Parameters
    ----------
    point : str
        The experiment's decision point.
    known : iterable of str
        Those of the mart.

    Raises
    ------
    FunneliftError
        When it is none of them.
    """
    if point not in known:
        raise FunneliftError(f"experiment.decision_point {point!r} is unknown: the mart has {', '.join(sorted(known))}")


def _summary(row: Mapping[str, Any]) -> Summary:
    sessions, converting = int(row["session_count"] or 0), int(row["converting_session_count"] or 0)
    return Summary(
        sessions=sessions,
        converting_sessions=converting,
        conversion_rate=converting / sessions if sessions else 0.0,
        is_synthetic=bool(row["is_synthetic"]),
        first_plausible_ms=int(row["first_plausible_ms"]),
        first_at=f"{row['first_plausible_at']:%Y-%m-%d %H:%M:%S}",
        last_at=f"{row['last_plausible_at']:%Y-%m-%d %H:%M:%S}",
        wrong_clocks=_wrong_clocks(row),
    )


def _wrong_clocks(row: Mapping[str, Any]) -> str:
    if not row["implausible_event_count"]:
        return ""
    example = (
        f", such as one of visitor {row['implausible_visitor_id']} at {row['implausible_event_at']:%Y-%m-%d %H:%M:%S}"
        if row["implausible_visitor_id"] is not None
        else ""
    )
    count = row["implausible_event_count"]
    return f"{count:,} {'event has' if count == 1 else 'events have'} an implausible time{example}"


def _check_sessions(warehouse: Warehouse, summary: Summary, summary_row: Mapping[str, Any]) -> None:
    sessions, funnels = warehouse.query(SESSIONS_SQL)[0], warehouse.query(FUNNELS_SQL)[0]
    expected = {"session_count": summary.sessions, "converting_session_count": summary.converting_sessions}
    for table, counted in (("sessions", sessions), ("session_funnels", funnels)):
        for name, number in expected.items():
            found = int(counted[name] or 0)
            if found != number:
                raise GateError(name.replace("_", " "), f"dataset_summary against {table}", number, found, REBUILD)
    for source, row in (("dataset_summary", summary_row), ("session_funnels", funnels)):
        if not np.isclose(float(row["conversion_rate"] or 0), summary.conversion_rate, rtol=1e-9, atol=0):
            raise GateError(
                "conversion rate",
                f"Python's {summary.converting_sessions}/{summary.sessions} against {source}",
                summary.conversion_rate,
                row["conversion_rate"],
                REBUILD,
            )


def check_rows(warehouse: Warehouse, read: Mapping[str, Classes]) -> None:
    """Compare the rows that Python counted in the mart with what the warehouse's own SQL counts elsewhere.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    read : mapping of str to Classes
        Decision point to the rows that Python counted.

    Raises
    ------
    GateError
        On the first number that differs.
    """
    repeated = int(warehouse.query(REPEATED_SQL)[0]["repeated_count"])
    if repeated:
        raise GateError("key", "keys (session_id, decision_point) that repeat", 0, repeated, REBUILD)
    counted = {
        str(row["decision_point"]): (int(row["row_count"]), int(row["positive_count"]))
        for row in warehouse.query(ROWS_SQL)
    }
    for point in sorted(read.keys() | counted.keys()):
        row_count, positive_count = counted.get(point, (0, 0))
        found = read.get(point, Classes(0, 0))
        if found.rows != row_count:
            raise GateError("row count", f"rows of session_features at {point}", row_count, found.rows, REBUILD)
        if found.positives != positive_count:
            raise GateError(
                "conversion rate",
                f"converting rows of {row_count} at {point}",
                f"{positive_count} ({positive_count / row_count:.6f}, SQL)",
                f"{found.positives} ({found.positives / row_count:.6f}, Python)",
                REBUILD,
            )
