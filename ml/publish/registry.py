"""The registry: which run is published, and what becomes of the others. Numbers give the order, never clocks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.publish.tables import stamped
from ml.run import Stamp
from warehouse.base import Publication, Warehouse
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

RUNS, UPLIFT_RUNS, SCORE_RUNS = "ml_runs", "uplift_runs", "score_runs"
PUBLISHED, RETIRED, REFUSED = "published", "retired", "refused"
LONGEST_REASON = 512
SCORED_UP_TO_SQL = """
select scores.scored_table, scores.build_number
from funnelift.score_runs as scores
inner join (
    select scored_table, max(score_number) as score_number from funnelift.score_runs group by scored_table
) as latest on scores.scored_table = latest.scored_table and scores.score_number = latest.score_number
"""


@dataclass(frozen=True)
class ScoreRun:
    """One row of `score_runs`: what a training, scoring or rollback did to one table of predictions."""

    score_number: int
    scored_table: str
    action: str
    build_number: int
    rows_added: int
    rows_changed: int
    rows_removed: int


def published_run(warehouse: Warehouse, table: str) -> dict[str, Any] | None:
    """Return the row of the run that is published.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    table : str
        ml_runs or uplift_runs.

    Returns
    -------
    dict or None
        Column name to value; None before the first training.
    """
    if "status" not in warehouse.columns(table):
        return None
    rows = warehouse.query(f"select * from funnelift.{table} where status = ?", [PUBLISHED])
    return rows[0] if rows else None


def is_registered(warehouse: Warehouse, run_id: str) -> bool:
    """Say whether a registry has a run.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    run_id : str
        The run.

    Returns
    -------
    bool
        True once its tables are published, or its refusal is told.
    """
    return any(
        warehouse.query(f"select run_id from funnelift.{table} where run_id = ?", [run_id])
        for table in (RUNS, UPLIFT_RUNS)
        if warehouse.columns(table)
    )


def names_run(warehouse: Warehouse, table: str, run_id: str) -> bool:
    """Say whether a table of predictions was written by a run: its rows are all of one, so the first one tells.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    table : str
        The table of predictions.
    run_id : str
        The run.

    Returns
    -------
    bool
        False too where the table is missing or empty.
    """
    rows = warehouse.query(f"select run_id from funnelift.{table} limit 1") if warehouse.columns(table) else []
    return [row["run_id"] for row in rows] == [run_id]


def next_number(warehouse: Warehouse, contract: Contract) -> int:
    """Return the number that comes after all in a registry.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    contract : Contract
        Contract of the table, whose first column is the number.

    Returns
    -------
    int
        1 where there is none yet.
    """
    existing = warehouse.columns(contract.name)
    contract.check_table(existing)
    if not existing:
        return 1
    rows = warehouse.query(f"select max({contract.column_names[0]}) as highest from funnelift.{contract.name}")
    return int(rows[0]["highest"] or 0) + 1


def succession(warehouse: Warehouse, contract: Contract, new: "pa.Table") -> Publication:
    """Register a run; the one that was published until now retires if the new one is.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    contract : Contract
        Contract of ml_runs or uplift_runs.
    new : pyarrow.Table
        Rows as they shall stand there: a run that is new, or that comes back.

    Returns
    -------
    Publication
        To be published together with the predictions.
    """
    import pyarrow as pa

    entries = contract.cast(new).to_pylist()
    ids = {entry["run_id"] for entry in entries}
    known = warehouse.table(contract).to_pylist()
    is_succeeded = any(entry["status"] == PUBLISHED for entry in entries)
    former = [entry for entry in known if is_succeeded and entry["status"] == PUBLISHED and entry["run_id"] not in ids]
    removed = [{"run_id": entry["run_id"]} for entry in known if entry["run_id"] in ids] + former
    rows = [*entries, *({**entry, "status": RETIRED} for entry in former)]
    return Publication(
        contract,
        pa.Table.from_pylist(rows, schema=contract.schema),
        removes=pa.table({"run_id": pa.array([entry["run_id"] for entry in removed], pa.string())}),
    )


def scored_up_to(warehouse: Warehouse) -> dict[str, int]:
    """Return the build up to which each table of predictions is.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    dict of str to int
        Table name to build number; a table without a row was never scored.
    """
    rows = warehouse.query(SCORED_UP_TO_SQL) if warehouse.columns(SCORE_RUNS) else []
    return {row["scored_table"]: int(row["build_number"]) for row in rows}


def score_runs(contract: Contract, entries: Iterable[tuple[ScoreRun, Stamp]]) -> Publication:
    """Lay out the rows of `score_runs` that a training, scoring or rollback adds.

    Parameters
    ----------
    contract : Contract
        Contract of score_runs.
    entries : iterable of (ScoreRun, Stamp)
        One per table, each with the stamp of its rows.

    Returns
    -------
    Publication
        Ready to add.
    """
    import pyarrow as pa

    rows = [
        stamped(pa.table({name: [value] for name, value in vars(entry).items()}), stamp, contract)
        for entry, stamp in entries
    ]
    return Publication(contract, pa.concat_tables(rows), append=True)


def short(reason: str) -> str:
    """Cut a reason to what its column holds."""
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 3] + "..."


def runs_by_age(warehouse: Warehouse, table: str) -> list[Mapping[str, Any]]:
    """Return the runs of a registry, the newest first.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    table : str
        ml_runs or uplift_runs.

    Returns
    -------
    list of mapping
        Column name to value.
    """
    if "run_number" not in warehouse.columns(table):
        return []
    return list(warehouse.query(f"select * from funnelift.{table} order by run_number desc"))
