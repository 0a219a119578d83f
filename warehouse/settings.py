"""Where the warehouse is and how it may be used."""

from pathlib import Path
from typing import Protocol


class WarehouseSettings(Protocol):
    """What opening a warehouse needs to know; the settings of ml and those of the loader both say it."""

    @property
    def target(self) -> str:
        """The engine: a name in `warehouse.open.TARGETS`."""

    @property
    def duckdb_path(self) -> Path:
        """File of a DuckDB warehouse."""

    @property
    def duckdb_memory_limit(self) -> str:
        """What DuckDB may hold in memory before it spills to disk, such as 5GB."""

    @property
    def threads(self) -> int:
        """Threads of the engine."""

    @property
    def lock_wait_seconds(self) -> int:
        """How long to wait for another run that has the warehouse."""
