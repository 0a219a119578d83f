"""Where the warehouse is and how it may be used: the one place that reads FUNNELIFT_TARGET and FUNNELIFT_DUCKDB_*.

A server's own settings are its engine's: `mysql_client/settings.py` reads FUNNELIFT_MYSQL_*.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ENVIRONMENT = {"target": "FUNNELIFT_TARGET", "duckdb_path": "FUNNELIFT_DUCKDB_PATH"}
# A load gains nothing from more: it reads no row again.
LOAD_MEMORY = "1GB"
PROJECT = Path(__file__).resolve().parents[1]


class WarehouseSettings(Protocol):
    """What opening a warehouse needs to know; the settings of the modelling commands say it."""

    @property
    def target(self) -> str:
        """The engine: a name in `warehouse.open.ENGINES`."""

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


@dataclass(frozen=True)
class LoadSettings:
    """What a load needs to know of the warehouse."""

    target: str = "duckdb"
    duckdb_path: Path = PROJECT / "warehouse.duckdb"
    duckdb_memory_limit: str = LOAD_MEMORY

    @classmethod
    def choose(cls, target: str | None = None, environment: Mapping[str, str] = os.environ) -> "LoadSettings":
        """Settle where to load: the command line over the environment over the defaults.

        Parameters
        ----------
        target : str, optional
            What the command line says.
        environment : mapping
            Environment variables.

        Returns
        -------
        LoadSettings
            The settings; nothing is opened yet.
        """
        path = environment.get(ENVIRONMENT["duckdb_path"])
        return cls(
            target or environment.get(ENVIRONMENT["target"]) or cls.target,
            Path(path) if path else cls.duckdb_path,
            environment.get("FUNNELIFT_DUCKDB_MEMORY") or cls.duckdb_memory_limit,
        )
