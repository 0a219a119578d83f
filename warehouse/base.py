"""Where the marts are read and predictions are published: what every engine does, and the choice of one.

Only the modules `warehouse_duckdb` and `warehouse_mysql` know engines.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "funnelift"
BATCH_ROWS = 200_000
TARGETS = ("duckdb", "mysql")


@dataclass(frozen=True)
class Publication:
    """One table to write: its rows, its key, and whether they replace the table or are added to it.

    Fields of the Arrow schema that are not nullable become NOT NULL columns. The description, one sentence, becomes the
    table's comment.
    """

    name: str
    rows: "pa.Table"
    key: tuple[str, ...]
    append: bool = False
    description: str = ""

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
        if self.append and existing and list(existing) != self.rows.column_names:
            raise FunneliftError(
                f"{SCHEMA}.{self.name} was written by another version (columns {', '.join(existing)}): "
                "rename or drop it, then run again"
            )


class Warehouse(ABC):
    """An open warehouse. Use `open_warehouse`."""

    @abstractmethod
    def columns(self, table: str) -> list[str]:
        """Return a table's column names.

        Parameters
        ----------
        table : str
            Name in the schema funnelift.

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
            One dict a row, column name to value; a sum may be an int or a Decimal.
        """

    @abstractmethod
    def read(
        self, table: str, columns: Sequence[str], not_in: tuple[str, Sequence[str]] | None = None
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """Read columns of a table as Arrow batches, in no particular order.

        Parameters
        ----------
        table : str
            Name in the schema funnelift.
        columns : sequence of str
            Columns to read.
        not_in : (str, sequence of str), optional
            Another table and key columns: rows whose key that table holds are left out.

        Returns
        -------
        int
            Number of rows that will come.
        iterator of pyarrow.RecordBatch
            The rows; one batch is in memory at a time.
        """

    @abstractmethod
    def publish(self, publications: Sequence[Publication]) -> None:
        """Write tables so that readers see all of them or none.

        Parameters
        ----------
        publications : sequence of Publication
            Tables to replace or to add to.

        Raises
        ------
        FunneliftError
            When a key repeats or is null, or a table to be added to has other columns; nothing is written then.
        """
