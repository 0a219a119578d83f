"""The choice of an engine."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from warehouse.base import TARGETS, Warehouse
from warehouse.errors import FunneliftError
from warehouse.settings import WarehouseSettings


@contextmanager
def open_warehouse(settings: WarehouseSettings) -> Iterator[Warehouse]:
    """Open the warehouse for reading and writing, no other training or scoring beside it, until the block ends.

    Parameters
    ----------
    settings : WarehouseSettings
        Target and place of the warehouse, and how long to wait for another run.

    Yields
    ------
    Warehouse
        The open warehouse.

    Raises
    ------
    FunneliftError
        When the target is unknown, the warehouse cannot be opened, or another run has it.
    """
    if settings.target == "duckdb":
        from warehouse.duckdb import open_duckdb

        target: AbstractContextManager[Warehouse] = open_duckdb(settings)
    elif settings.target == "mysql":
        from warehouse.mysql import open_mysql

        target = open_mysql(settings)
    else:
        raise FunneliftError(
            f"unknown target {settings.target!r}: ml works on {' and '.join(TARGETS)} (--target, FUNNELIFT_TARGET)"
        )
    with target as warehouse:
        yield warehouse
