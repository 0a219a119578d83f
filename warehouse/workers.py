"""Engines whose own workers run Python: rows go from worker to worker, and few or none come here."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.base import Publication, Warehouse
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

# Before the names of columns of a table as it was; the column that says what a row is beside it, and what it says.
OLD, STATE = "old__", "state__"
ADDED, CHANGED, SAME = "added", "changed", "same"
Make = Callable[[Iterator["pa.RecordBatch"]], Iterator["pa.RecordBatch"]]
"""What workers run: takes and returns batches."""


@dataclass(frozen=True)
class Remaking:
    """How an engine's workers make a table of predictions anew from another table, row by row.

    Each row of `table` comes beside the one that the contract's table has under the same key now: its columns have
    `OLD` before their names, and are null where there is none. `make` is sent to the workers, takes batches and returns
    them with the contract's columns and `STATE`: whether a row is `ADDED`, `CHANGED` or the `SAME`. `only` is a column
    and the one value of it that counts.
    """

    contract: Contract
    table: str
    columns: tuple[str, ...]
    make: Make
    only: tuple[str, str] | None = None


@dataclass(frozen=True)
class Remade:
    """What workers have made: where the rows are, and how many are new, other than they were, and no more."""

    contract: Contract
    place: str
    added: int
    changed: int
    removed: int

    @property
    def publication(self) -> Publication | None:
        """The new rows, ready to publish; None where there is nothing to do."""
        if not (self.added or self.changed or self.removed):
            return None
        return Publication(self.contract, self.contract.schema.empty_table(), place=self.place)


@dataclass(frozen=True)
class Handed:
    """Rows of a table that an engine's workers hand to a function, a batch at a time.

    `make` is sent to the workers, and takes and returns batches: with the columns of `schema`, or with those that it
    took where there is none.
    """

    table: str
    columns: tuple[str, ...]
    make: Make
    schema: "pa.Schema | None" = None


class WarehouseWithWorkers(Warehouse):
    """A warehouse, open, whose workers run functions that are sent to them."""

    @abstractmethod
    def remake(self, remaking: Remaking) -> Remade:
        """Let the workers make a table of predictions anew; readers see it when it is published.

        Parameters
        ----------
        remaking : Remaking
            From which rows, and by what.

        Returns
        -------
        Remade
            What to publish.
        """

    @abstractmethod
    def gather(self, handed: Handed) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """Let the workers look at rows of a table, and bring here what they make of them.

        Parameters
        ----------
        handed : Handed
            Which rows, and who looks at them.

        Returns
        -------
        int
            Number of rows that will come.
        iterator of pyarrow.RecordBatch
            The rows; one batch is in memory at a time.
        """

    @abstractmethod
    def make(self, contract: Contract, handed: Handed) -> Publication:
        """Let the workers make a table anew from rows of another; readers see it when it is published.

        Parameters
        ----------
        contract : Contract
            Of the table that is made.
        handed : Handed
            Which rows, and what makes the contract's rows of them.

        Returns
        -------
        Publication
            The rows, where the workers have written them.
        """

    @abstractmethod
    def spread(
        self, table: str, columns: Sequence[str], only: tuple[str, int], by: str
    ) -> AbstractContextManager[Path]:  # fmt: skip
        """Let the workers write rows of a table to Parquet files that each of them sees, until the block ends.

        Parameters
        ----------
        table : str
            Name in the schema.
        columns : sequence of str
            Columns to write.
        only : (str, int)
            A column, and the one value of it that counts.
        by : str
            One of the columns, with plain words as values: each has a folder of files, named as Hive does.

        Returns
        -------
        context manager of Path
            The folder of all.
        """

    @abstractmethod
    def each(self, tasks: "pa.Table", make: Make, schema: "pa.Schema") -> "pa.Table":
        """Let the workers do tasks beside each other.

        Parameters
        ----------
        tasks : pyarrow.Table
            One row per task.
        make : callable
            Is sent to the workers; takes and returns batches.
        schema : pyarrow.Schema
            What it returns.

        Returns
        -------
        pyarrow.Table
            What all tasks returned.
        """
