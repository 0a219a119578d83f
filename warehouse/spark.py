"""The warehouse on Apache Spark: where it is, and how it is opened."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from warehouse.base import RawTables, Warehouse
from warehouse.contract import Column
from warehouse.errors import FunneliftError, UsageError
from warehouse.settings import PROJECT, LoadSettings, WarehouseSettings
from warehouse.spark_raw import LIST, loading
from warehouse.spark_session import SparkMarts

ENVIRONMENT = "FUNNELIFT_SPARK_WAREHOUSE"


class SparkWarehouse(SparkMarts):
    """A folder with raw tables as Parquet, which Spark's sessions read, and Spark's own tables."""

    @classmethod
    def open(cls, settings: WarehouseSettings) -> AbstractContextManager[Warehouse]:
        """See Warehouse; a Spark session on the folder that FUNNELIFT_SPARK_WAREHOUSE names."""
        return cls.open_folder(warehouse_folder())

    @classmethod
    def begin_load(
        cls, settings: LoadSettings, tables: Mapping[str, Sequence[Column]], *, is_first: bool = True
    ) -> AbstractContextManager[RawTables]:
        """See Warehouse; readers see the load's rows when the list of tables names them."""
        folder = warehouse_folder()
        if not folder.parent.is_dir():
            raise UsageError(f"{ENVIRONMENT}: the folder {folder.parent} does not exist")
        if not is_first and not (folder / LIST).is_file():
            raise FunneliftError(f"no loads at {folder} ({ENVIRONMENT}): nothing is loaded yet")
        folder.mkdir(exist_ok=True)
        return loading(folder, tables, settings.duckdb_memory_limit, has_marts=not is_first)

    @classmethod
    def back_up(cls, settings: LoadSettings, folder: Path) -> None:
        """See Warehouse; refused."""
        _not_yet("a backup")

    @classmethod
    def restore(cls, settings: LoadSettings, folder: Path, *, replace: bool) -> None:
        """See Warehouse; refused."""
        _not_yet("a backup")


def warehouse_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Find the folder of the Spark warehouse.

    Parameters
    ----------
    environment : mapping
        Environment variables.

    Returns
    -------
    Path
        FUNNELIFT_SPARK_WAREHOUSE, else `spark-warehouse` in the project.
    """
    return Path(environment.get(ENVIRONMENT) or PROJECT / "spark-warehouse").absolute()


def _not_yet(what: str) -> NoReturn:
    raise FunneliftError(
        f"{what} is not there yet on Spark: copy the folder of FUNNELIFT_SPARK_WAREHOUSE while nothing works on it "
        "(docs/spark.md)"
    )
