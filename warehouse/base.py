"""What every engine does: load raw tables, read marts, publish predictions. Each engine has a file beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from warehouse.contract import Column, Contract
from warehouse.settings import LoadSettings, WarehouseSettings

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA, RAW_SCHEMA = "funnelift", "funnelift_raw"
BATCH_ROWS = 200_000
T = TypeVar("T")


@dataclass(frozen=True)
class Publication:
    """Rows of one table to write, cast to its contract.

    They replace the table, or, with `append`, are added to it. `removes` holds the keys of rows that leave a table that
    is added to, before the rows come in: so a key in both is a row that changes.
    `place` is where workers of the engine have written `placed` rows, and `rows` is empty then.
    """

    contract: Contract
    rows: "pa.Table"
    append: bool = False
    removes: "pa.Table | None" = None
    place: str | None = None
    placed: int = 0

    def __post_init__(self) -> None:
        """Cast the rows; raises FunneliftError where they do not fit the contract."""
        object.__setattr__(self, "rows", self.contract.cast(self.rows))
        if self.removes is not None:
            object.__setattr__(self, "append", True)
            object.__setattr__(self, "removes", self.removes.select(list(self.key)))

    @property
    def row_count(self) -> int:
        """How many rows there are, here or where workers wrote them."""
        return len(self.rows) + self.placed

    @property
    def name(self) -> str:
        """The table's name."""
        return self.contract.name

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that no two rows share."""
        return self.contract.grain

    def check_columns(self, existing: Sequence[str]) -> None:
        """Refuse to add rows to a table with other columns.

        Parameters
        ----------
        existing : sequence of str
            The table's columns; none when there is no table.

        Raises
        ------
        FunneliftError
            When they are not those of the rows.
        """
        if self.append:
            self.contract.check_table(existing)


@dataclass(frozen=True)
class Among:
    """Which rows of a table to read: those whose `key` stands in another table, there with a `number` above a bound.

    The other table has one row per key.
    """

    table: str
    key: str
    number: str
    above: int


@dataclass(frozen=True)
class Joined:
    """Columns of another table beside a table's own, where the key is the same and a column has one of some values.

    `values` are plain words of the code's own, such as names of splits.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    where: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse values that are no plain words: an engine may write them into its SQL."""
        if not all(value.isidentifier() for value in self.values):
            raise ValueError(f"{self.values} must be plain words")


class RawRows(ABC):
    """Raw tables to which rows are added."""

    @abstractmethod
    def append(self, table: str, rows: "pa.Table", **constants: str | int) -> int:
        """Add rows to a raw table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        rows : pyarrow.Table
            Columns named as in the table; one left out is null.
        **constants : str or int
            Columns with one value for all the rows, such as load_id.

        Returns
        -------
        int
            Rows written, as the engine counted them.
        """


class RawTables(RawRows):
    """The raw tables inside one transaction. Use `Warehouse.begin_load`."""

    @property
    def has_workers(self) -> bool:
        """Whether there are workers that can append rows, each those of an item."""
        return False

    def each(self, make: Callable[[T, RawRows], T], items: Sequence[T]) -> Iterator[T]:
        """Append the rows of each of some items: on workers at the same time, where there are any, else here.

        Parameters
        ----------
        make : callable
            Appends the rows of an item, and returns what is known of it then. It is sent to the workers.
        items : sequence
            The items.

        Yields
        ------
        item
            What `make` has returned, in the order of the items; its rows are in the tables then, those of the items
            after it are not.

        Raises
        ------
        FunneliftError
            As `make` raised it, for the first item where it did.
        """
        for item in items:
            yield make(item, self)

    @abstractmethod
    def distinct(self, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Read what differs in some columns of a small table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        columns : sequence of str
            Columns to read.

        Returns
        -------
        list of tuple
            Distinct rows, in no particular order.
        """

    @abstractmethod
    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a query with few rows, in the SQL that every engine shares.

        Parameters
        ----------
        sql : str
            The statement, with `?` for each value; raw tables are named with their schema.
        values : sequence, optional
            The values, in the order of their marks.

        Returns
        -------
        list of tuple
            The rows.
        """

    @abstractmethod
    def fill(self, table: str, query: str, values: Sequence[object]) -> int:
        """Add the rows of a query to a raw table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        query : str
            A select in the SQL that every engine shares, with the table's columns in their order and `?` for each
            value.
        values : sequence
            The values, in the order of their marks.

        Returns
        -------
        int
            Rows added, as the engine counted them.
        """

    @abstractmethod
    def delete(self, table: str, condition: str, values: Sequence[object]) -> int:
        """Delete rows of a raw table.

        Parameters
        ----------
        table : str
            Name of a raw table.
        condition : str
            Which rows, in the SQL that every engine shares, with `?` for each value.
        values : sequence
            The values, in the order of their marks.

        Returns
        -------
        int
            Rows deleted, as the engine counted them.
        """

    @abstractmethod
    def clear(self) -> None:
        """Empty every raw table, before anything is appended; like everything here, undone if the load fails."""


class Warehouse(ABC):
    """An engine's warehouse, open: use `open_warehouse`. What the engine can do stands on its class, as data."""

    settings_names: ClassVar[str]
    """The settings that name another warehouse of this engine, for messages."""
    swaps_together: ClassVar[bool]
    """Whether readers see all the tables of a publication change at once."""
    has_transactions: ClassVar[bool]
    """Whether rows added to several tables can be undone until they are committed."""
    has_primary_keys: ClassVar[bool]
    """Whether the engine itself refuses a second row with the same key."""

    @classmethod
    @abstractmethod
    def open(cls, settings: WarehouseSettings) -> AbstractContextManager["Warehouse"]:
        """Open it for reading and writing, no other training or scoring beside it, until the block ends.

        Parameters
        ----------
        settings : WarehouseSettings
            Place of the warehouse, and how long to wait for another run.

        Returns
        -------
        context manager of Warehouse
            The open warehouse.

        Raises
        ------
        FunneliftError
            When it cannot be opened, or another run has it.
        """

    @classmethod
    @abstractmethod
    def begin_load(
        cls, settings: LoadSettings, tables: Mapping[str, Sequence[Column]], *, is_first: bool = True
    ) -> AbstractContextManager[RawTables]:
        """Open the raw tables for one load, which commits when the block ends without an exception.

        Parameters
        ----------
        settings : LoadSettings
            Place of the warehouse.
        tables : mapping of str to sequence of Column
            The raw tables; those that are missing are made, and those of an older version get the columns they lack.
        is_first : bool
            Whether this may be the first load: else a warehouse without loads is refused, and none is made.

        Returns
        -------
        context manager of RawTables
            The raw tables, no other load beside this one. Nothing is opened before the block begins.

        Raises
        ------
        UsageError
            At once, when a setting cannot work.
        FunneliftError
            When the warehouse cannot be opened, another load has it, or it fails.
        """

    @classmethod
    @abstractmethod
    def back_up(cls, settings: LoadSettings, folder: Path) -> None:
        """Write everything, as it is at one moment, to files of the engine's own kind.

        Parameters
        ----------
        settings : LoadSettings
            Place of the warehouse.
        folder : Path
            An empty folder.

        Raises
        ------
        FunneliftError
            When there is no warehouse, somebody writes to it, or it fails.
        """

    @classmethod
    @abstractmethod
    def restore(cls, settings: LoadSettings, folder: Path, *, replace: bool) -> None:
        """Make the warehouse what it was when `back_up` wrote the files: readers see all of the old or all of the new.

        Parameters
        ----------
        settings : LoadSettings
            Place of the warehouse.
        folder : Path
            What `back_up` wrote.
        replace : bool
            Whether a warehouse that is there makes way; else it is refused.

        Raises
        ------
        FunneliftError
            When there is a warehouse already, somebody has it, or it fails; it is as it was then.
        """

    @abstractmethod
    def columns(self, table: str, schema: str = SCHEMA) -> list[str]:
        """Return a table's column names.

        Parameters
        ----------
        table : str
            Name in the schema.
        schema : str
            The schema, such as that of the raw tables.

        Returns
        -------
        list of str
            Names in the table's order; empty when there is no such table.
        """

    @abstractmethod
    def query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Run a small query in the SQL that every engine shares.

        Parameters
        ----------
        sql : str
            The statement, with `?` for each value.
        values : sequence, optional
            The values, in the order of their marks.

        Returns
        -------
        list of dict
            One dict per row, column name to value; a sum may be an int or a Decimal.
        """

    @abstractmethod
    def read(
        self, table: str, columns: Sequence[str], among: Among | None = None, schema: str = SCHEMA
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """Read columns of a table as Arrow batches, in no particular order.

        Parameters
        ----------
        table : str
            Name in the schema.
        columns : sequence of str
            Columns to read.
        among : Among, optional
            Which rows, told by a table of funnelift; all of them without it.
        schema : str
            The schema, such as that of the raw tables.

        Returns
        -------
        int
            Number of rows that will come.
        iterator of pyarrow.RecordBatch
            The rows; one batch is in memory at a time.
        """

    def table(self, contract: Contract, among: Among | None = None) -> "pa.Table":
        """Read rows of a table that ml writes, cast to its contract.

        Parameters
        ----------
        contract : Contract
            The table's contract.
        among : Among, optional
            Which rows; all of them without it.

        Returns
        -------
        pyarrow.Table
            The rows, in no particular order; none where there is no table.

        Raises
        ------
        FunneliftError
            When the table has other columns.
        """
        import pyarrow as pa

        existing = self.columns(contract.name)
        contract.check_table(existing)
        rows, batches = self.read(contract.name, contract.column_names, among) if existing else (0, iter(()))
        found = list(batches)
        return contract.cast(pa.Table.from_batches(found)) if rows else contract.schema.empty_table()

    @abstractmethod
    def read_joined(self, table: str, columns: Sequence[str], other: Joined) -> Iterator["pa.RecordBatch"]:
        """Read columns of a table beside those of another as Arrow batches, in no particular order.

        Parameters
        ----------
        table : str
            Name in the schema funnelift.
        columns : sequence of str
            Columns to read of it.
        other : Joined
            The other table, and which of its rows.

        Returns
        -------
        iterator of pyarrow.RecordBatch
            Rows whose key is in both tables; one batch is in memory at a time.
        """

    @abstractmethod
    def publish(self, publications: Sequence[Publication]) -> None:
        """Write tables so that readers see all of them or none.

        Parameters
        ----------
        publications : sequence of Publication
            Tables to replace, to add to or to change rows of.

        Raises
        ------
        FunneliftError
            When a key repeats or is null, or a table to be added to has other columns; nothing is written then.
        """
