"""The engines, and the choice of one."""

from contextlib import AbstractContextManager
from importlib import import_module

from warehouse.base import Warehouse
from warehouse.errors import UsageError
from warehouse.settings import ENVIRONMENT, LoadSettings, WarehouseSettings

# Each is imported when it is asked for: nobody needs the drivers of the others.
ENGINES = {
    "duckdb": "warehouse.duckdb.DuckDBWarehouse",
    "mysql": "warehouse.mysql.MySQLWarehouse",
    "spark": "warehouse.spark.SparkWarehouse",
}


def find_engine(target: str, setting: str = "--target, FUNNELIFT_TARGET") -> type[Warehouse]:
    """Find the class of an engine.

    Parameters
    ----------
    target : str
        Name of the engine.
    setting : str
        What chose it, for the message.

    Returns
    -------
    type of Warehouse
        What the engine can do, and how to open it.

    Raises
    ------
    UsageError
        When there is no such engine.
    """
    if target not in ENGINES:
        *names, last = ENGINES
        raise UsageError(f"{setting}: {target!r} is no target; use {', '.join(names)} or {last}")
    module, _, name = ENGINES[target].rpartition(".")
    engine: type[Warehouse] = getattr(import_module(module), name)
    return engine


def choose_engine(target: str | None) -> tuple[LoadSettings, type[Warehouse]]:
    """Settle which warehouse a command works on, and its engine.

    Parameters
    ----------
    target : str or None
        What the command line says; None takes FUNNELIFT_TARGET, else DuckDB.

    Returns
    -------
    LoadSettings
        Place of the warehouse; nothing is opened yet.
    type of Warehouse
        Its engine.

    Raises
    ------
    UsageError
        When there is no such engine.
    """
    settings = LoadSettings.choose(target)
    return settings, find_engine(settings.target, "--target" if target else ENVIRONMENT["target"])


def open_warehouse(settings: WarehouseSettings) -> AbstractContextManager[Warehouse]:
    """Open the warehouse for reading and writing, no other training or scoring beside it, until the block ends.

    Parameters
    ----------
    settings : WarehouseSettings
        Target and place of the warehouse, and how long to wait for another run.

    Returns
    -------
    context manager of Warehouse
        The open warehouse.

    Raises
    ------
    FunneliftError
        When the target is unknown, the warehouse cannot be opened, or another run has it.
    """
    return find_engine(settings.target).open(settings)
