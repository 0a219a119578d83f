"""Where raw rows go: one transaction that takes a whole load, or nothing. Each engine has a module of its own."""

import datetime as dt
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa

SCHEMA = "funnelift_raw"


@dataclass(frozen=True)
class Column:
    """A column of a raw table; each engine has a type for its kind."""

    name: str
    kind: Literal["id", "word", "property", "text", "file", "price", "number", "flag", "moment"]
    nullable: bool = False


_LOAD_ID = Column("load_id", "word")
RAW_TABLES: dict[str, tuple[Column, ...]] = {
    "raw_events": (
        Column("timestamp", "number"),
        Column("visitorid", "id"),
        Column("event", "word"),
        Column("itemid", "id"),
        Column("transactionid", "id", nullable=True),
        Column("price", "price", nullable=True),
        Column("categoryid", "id", nullable=True),
        _LOAD_ID,
    ),
    "raw_item_properties": (
        Column("timestamp", "number"),
        Column("itemid", "id"),
        Column("property", "property"),
        Column("value", "text", nullable=True),
        _LOAD_ID,
    ),
    "raw_category_tree": (Column("categoryid", "id"), Column("parentid", "id", nullable=True), _LOAD_ID),
    "raw_treatment_assignments": (
        Column("visitorid", "id"),
        Column("assigned_at", "number"),
        Column("treatment", "number"),
        _LOAD_ID,
    ),
    # In the order of LoadRow.
    "raw_loads": (
        _LOAD_ID,
        Column("file", "file"),
        Column("content_sha256", "word"),
        Column("mapping_sha256", "word", nullable=True),
        Column("raw_table", "word"),
        Column("bytes", "number"),
        Column("line_count", "number"),
        Column("accepted_count", "number"),
        Column("rejected_count", "number"),
        Column("ignored_count", "number"),
        Column("is_synthetic", "flag"),
        Column("loaded_at", "moment"),
    ),
    "raw_rejects": (
        _LOAD_ID,
        Column("file", "file"),
        Column("line", "number"),
        Column("reason", "word"),
        Column("raw_text", "text"),
    ),
}


@dataclass(frozen=True)
class LoadRow:
    """One row of raw_loads: one file's load; `loaded_at` is UTC, to the millisecond."""

    load_id: str
    file: str
    content_sha256: str
    mapping_sha256: str | None
    raw_table: str
    bytes: int
    line_count: int
    accepted_count: int
    rejected_count: int
    ignored_count: int
    is_synthetic: bool
    loaded_at: dt.datetime


class Warehouse(ABC):
    """The raw tables inside one transaction: entered, it begins; left without an exception, it commits.

    The engine's own errors leave it as FunneliftError. `setting` names the environment variables that choose another.
    """

    setting: str

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def loads(self) -> list[LoadRow]:
        """
        List what has been loaded.

        Returns
        -------
        list of LoadRow
            One a file.
        """

    @abstractmethod
    def categories(self) -> set[str]:
        """
        List the categories that have a row in the category tree.

        Returns
        -------
        set of str
            Values of `categoryid`.
        """

    @abstractmethod
    def append(self, table: str, rows: pa.Table, **constants: str) -> int:
        """
        Add rows to a raw table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        rows : pyarrow.Table
            Columns named as in the table; one left out is null.
        **constants : str
            Columns with one value for all the rows, such as load_id.

        Returns
        -------
        int
            Rows written, as the engine counted them.
        """

    @abstractmethod
    def record(self, load: LoadRow) -> None:
        """
        Add a row to raw_loads.

        Parameters
        ----------
        load : LoadRow
            One file's load.
        """

    @abstractmethod
    def clear(self) -> None:
        """Empty every raw table, before anything is appended; like everything here, undone if the load fails."""
