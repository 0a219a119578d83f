"""Which warehouse a load goes to."""

import os
from pathlib import Path

from ingest.warehouse import SCHEMA, Warehouse
from ingest.warehouse_duckdb import DuckDBWarehouse
from ingest.warehouse_mysql import MySQLWarehouse
from warehouse.errors import UsageError
from warehouse.mysql_client.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("duckdb", "mysql")


def choose_target(option: str | None) -> str:
    """
    Settle which warehouse to load into: the option, else FUNNELIFT_TARGET, else DuckDB.

    Parameters
    ----------
    option : str or None
        What the command line says.

    Returns
    -------
    str
        A target this version can load into.

    Raises
    ------
    UsageError
        It cannot.
    """
    target = option or os.environ.get("FUNNELIFT_TARGET") or "duckdb"
    if target not in TARGETS:
        where = "--target" if option else "FUNNELIFT_TARGET"
        raise UsageError(f"{where}: {target!r} is no target that ingest can load into; use {', '.join(TARGETS)}")
    return target


def open_warehouse(target: str) -> Warehouse:
    """
    Find the warehouse of a target.

    Parameters
    ----------
    target : str
        As choose_target gives it.

    Returns
    -------
    Warehouse
        Ready to be entered.

    Raises
    ------
    UsageError
        Its settings cannot work.
    """
    if target == "mysql":
        return MySQLWarehouse(Settings.from_environment())
    path = Path(os.environ.get("FUNNELIFT_DUCKDB_PATH") or ROOT / "warehouse.duckdb")
    if path.stem in ("funnelift", SCHEMA):
        raise UsageError(
            f"FUNNELIFT_DUCKDB_PATH: {path} cannot be used: DuckDB names the catalog after the file, and "
            f"{path.stem}.sessions would have two meanings; choose another name, e.g. warehouse.duckdb"
        )
    if not path.parent.is_dir():
        raise UsageError(f"FUNNELIFT_DUCKDB_PATH: the folder {path.parent} does not exist")
    return DuckDBWarehouse(path)
