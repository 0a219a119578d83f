"""Rows of raw tables on their way into Parquet files, in this process or in a worker's."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from warehouse.base import RawRows
from warehouse.contract import Column
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


class RawFiles(RawRows):
    """Files of a folder, one for each table that gets rows. They are whole when they have been closed."""

    def __init__(self, tables: Mapping[str, Sequence[Column]], folder: Path) -> None:
        self._tables, self._folder = tables, folder
        self._open: dict[str, tuple[Path, pq.ParquetWriter]] = {}

    def append(self, table: str, rows: "pa.Table", **constants: str | int) -> int:
        """See RawRows."""
        if not rows.num_rows:
            return 0
        cast = cast_rows(table, self._tables[table], rows, constants)
        if table not in self._open:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{uuid4().hex}.parquet"
            self._open[table] = path, writer(path, cast.schema)
        self._open[table][1].write_table(cast)
        return len(rows)

    def close(self) -> dict[str, Path]:
        """Finish the files.

        Returns
        -------
        dict of str to Path
            The file of each table that got rows since the last time.
        """
        closed = {}
        for table, (path, file) in self._open.items():
            file.close()
            with path.open("rb") as written:
                os.fsync(written.fileno())
            closed[table] = path
        self._open = {}
        return closed


def writer(path: Path, schema: "pa.Schema") -> "pq.ParquetWriter":
    """Open a file as Spark reads it fastest: decimals that fit are whole numbers."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema, store_decimal_as_integer=True)


def schema_of(columns: Sequence[Column]) -> "pa.Schema":
    """Return the columns of a raw table in Arrow; its times are UTC, which Spark takes for moments."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    types = ((column.name, column.arrow_type) for column in columns)
    return pa.schema([(name, moment if pa.types.is_timestamp(kind) else kind) for name, kind in types])


def cast_rows(
    table: str, columns: Sequence[Column], rows: "pa.Table", constants: Mapping[str, str | int]
) -> "pa.Table":
    """Give rows the columns of a raw table.

    Parameters
    ----------
    table : str
        Name of the raw table.
    columns : sequence of Column
        Its columns.
    rows : pyarrow.Table
        Columns named as in the table; one left out is null.
    constants : mapping of str to str or int
        Columns with one value for all the rows.

    Returns
    -------
    pyarrow.Table
        All columns of the table, in their order and types.

    Raises
    ------
    FunneliftError
        A column is not the table's, a value does not fit its type, or there is a null where none may be.
    """
    import pyarrow as pa

    schema = schema_of(columns)
    if unknown := sorted({*rows.column_names, *constants} - set(schema.names)):
        raise FunneliftError(f"the table {table} has no column {', '.join(unknown)}")
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        if column.name in constants:
            values = pa.chunked_array([pa.repeat(pa.scalar(constants[column.name], field.type), rows.num_rows)])
        elif column.name in rows.column_names:
            try:
                values = rows[column.name].cast(field.type)
            except pa.ArrowException as error:
                raise FunneliftError(f"{table}.{column.name} is {column.data_type}: {error}") from None
        else:
            values = pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
        if values.null_count and not column.is_nullable:
            raise FunneliftError(f"{table}.{column.name} has {values.null_count} nulls and may have none")
        arrays.append(values)
    return pa.Table.from_arrays(arrays, schema=schema)
