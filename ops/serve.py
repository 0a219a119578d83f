"""`python -m ops serve`: copy what Power BI reads from the warehouse that builds to a MySQL or MariaDB server.

The server then needs no dbt: a build on DuckDB takes a fraction of the time and money of one on the server.
"""

import argparse
import datetime as dt
from typing import TYPE_CHECKING

from bi.tables import contracts, shown
from ml.config import load_config
from ml.data.build import check_same_build, whole_build
from warehouse.base import Publication, Warehouse
from warehouse.errors import FunneliftError, UsageError
from warehouse.mysql import MySQLWarehouse
from warehouse.open import ENGINES, open_warehouse

if TYPE_CHECKING:
    import pyarrow as pa

SERVER = "mysql"
BUILT = "build_plan"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ops`.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands.
    """
    parser = commands.add_parser(
        "serve",
        help="copy what Power BI reads to a MySQL or MariaDB server",
        description="Copy the bi_* tables from the warehouse that builds to the server of FUNNELIFT_MYSQL_*. Readers "
        "see all the old tables until the end, then all the new ones. Run it after `python -m ml.train`.",
        epilog="Exit codes: 0 copied; 1 refused or failed, and readers see what they saw before; 2 wrong usage.",
    )
    parser.add_argument("--from", dest="source", help="warehouse that builds (default: FUNNELIFT_TARGET, else duckdb)")
    parser.add_argument(
        "--since", type=dt.date.fromisoformat, metavar="DATE",
        help="first day, YYYY-MM-DD, of the sessions that go as single rows; totals go whole (default: all)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Copy and print.

    Parameters
    ----------
    args : argparse.Namespace
        The options of add_parser.

    Returns
    -------
    int
        Exit code: 0 copied, 1 refused, 2 wrong usage.
    """
    try:
        copied = serve(args.source, since=args.since)
    except FunneliftError as error:
        print(f"nothing was copied: {error}")
        return error.exit_code
    for table, rows in copied.items():
        print(f"{rows:>12,} rows of {table}")
    return 0


def serve(source: str | None = None, since: dt.date | None = None) -> dict[str, int]:
    """Copy the tables that Power BI reads to the server, all of them at one moment.

    Parameters
    ----------
    source : str or None
        The warehouse that builds; None takes FUNNELIFT_TARGET, else DuckDB.
    since : date or None
        First day of the sessions that go as single rows, with their decisions; None takes all.

    Returns
    -------
    dict of str to int
        Table to the number of its rows.

    Raises
    ------
    UsageError
        The source is the server itself, or no engine.
    FunneliftError
        The last build or the server is not as it must be; readers see what they saw before.
    """
    reading = load_config(None, {} if source is None else {"target": source})
    if reading.target == SERVER:
        others = " or ".join(engine for engine in ENGINES if engine != SERVER)
        raise UsageError(f"--from, FUNNELIFT_TARGET: {SERVER} is what Power BI reads already; copy from {others}")
    writing = load_config(None, {"target": SERVER})
    MySQLWarehouse.provide()
    with open_warehouse(reading) as warehouse, open_warehouse(writing) as server:
        if server.columns(BUILT):
            raise FunneliftError(
                f"the server holds a warehouse of its own builds (funnelift.{BUILT}): its bi_* tables would be "
                "replaced. Copy to another server, or drop the databases funnelift and funnelift_raw there"
            )
        build = whole_build(warehouse)
        publications = _read(warehouse, since)
        check_same_build(warehouse, build)
        server.publish(publications)
    return {publication.name: len(publication.rows) for publication in publications}


def _read(warehouse: Warehouse, since: dt.date | None) -> list[Publication]:
    """The rows of all the tables; single rows from a day on, where there is one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found, sessions = [], None
    for table, told in shown()["tables"].items():
        contract, chosen = contracts()[table], None
        if since is not None and (moment := told.get("range_by")):
            # The first of these is the sessions themselves; of all others those go that belong to them.
            first = pa.scalar(dt.datetime.combine(since, dt.time()), pa.timestamp("us"))
            chosen = (
                pc.greater_equal(pc.field(moment), first) if sessions is None else pc.field("session_id").isin(sessions)
            )
        rows = _rows(warehouse, table, contract.column_names, chosen)
        if chosen is not None and sessions is None:
            sessions = rows["session_id"]
        found.append(Publication(contract, rows))
    return found


def _rows(warehouse: Warehouse, table: str, columns: list[str], chosen: "pa.compute.Expression | None") -> "pa.Table":
    import pyarrow as pa

    existing = warehouse.columns(table)
    if existing != columns:
        raise FunneliftError(f"funnelift.{table} is not that of this version: run `dbt build`, then this again")
    _, batches = warehouse.read(table, columns)
    parts = []
    for batch in batches:
        part = pa.Table.from_batches([batch])
        parts.append(part if chosen is None else part.filter(chosen))
    return pa.concat_tables(parts) if parts else contracts()[table].schema.empty_table()
