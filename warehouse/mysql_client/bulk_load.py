"""Rows into a table by LOAD DATA LOCAL INFILE: the statement, and the stream of CSV that it reads."""

import os
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as arrow_csv

from warehouse.mysql_client.names import name

BATCH_ROWS = 100_000


def batches_of(
    rows: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema | None
) -> tuple[Iterable[pa.RecordBatch], pa.Schema]:
    """Return rows as batches, of bounded size where they are a table, and their schema.

    Parameters
    ----------
    rows : pyarrow.Table or iterable of pyarrow.RecordBatch
        The rows.
    schema : pyarrow.Schema, optional
        Schema of the batches, where rows is not a table.

    Returns
    -------
    iterable of pyarrow.RecordBatch
        The rows.
    pyarrow.Schema
        Their schema.
    """
    if isinstance(rows, pa.Table):
        return rows.to_batches(max_chunksize=BATCH_ROWS), rows.schema
    assert schema is not None, "batches come without a schema of their own"
    return rows, schema


def load_statement(table: str, schema: pa.Schema, constants: Collection[str]) -> str:
    """Write the statement that loads a CSV file; its values are the file's path and the constants.

    Parameters
    ----------
    table : str
        The table as SQL names it.
    schema : pyarrow.Schema
        Columns of the file; empty text in a nullable one arrives as null.
    constants : collection of str
        Columns with one value for all the rows.

    Returns
    -------
    str
        The statement, with a `%s` mark for each value.
    """
    columns = list(schema)
    nullable = {column.name for column in columns if column.nullable}
    targets = ", ".join(f"@v{at}" if one.name in nullable else name(one.name) for at, one in enumerate(columns))
    # By its length: a comparison with '' would take blanks, or characters without weight, for nothing too.
    settings = [
        f"{name(column.name)} = if(length(@v{at}) = 0, null, @v{at})"
        for at, column in enumerate(columns)
        if column.name in nullable
    ]
    settings += [f"{name(column)} = %s" for column in constants]
    return (
        f"load data local infile %s into table {table} character set utf8mb4 "
        "fields terminated by ',' optionally enclosed by '\"' escaped by '' lines terminated by '\\n' "
        f"({targets}) {'set ' + ', '.join(settings) if settings else ''}"
    )


@contextmanager
def csv_pipe(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """Make a path from which rows can be read as CSV, once, while the block runs; nothing lies on the disk.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        The rows; no more than a batch is in memory twice.

    Yields
    ------
    str
        The path.
    """
    failures: list[BaseException] = []
    source, sink = os.pipe()

    def write() -> None:
        try:
            with os.fdopen(sink, "wb") as pipe:
                _write_csv(pipe, batches)
        except BrokenPipeError:
            pass  # the reader stopped; it says why
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield f"/dev/fd/{source}"
    finally:
        # A writer that still has rows when nobody reads any more ends by this.
        os.close(source)
        writer.join()
        if failures:
            raise failures[0]


def _write_csv(pipe: BinaryIO, batches: Iterable[pa.RecordBatch]) -> None:
    options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in batches:
        columns = [_plain(column) for column in batch.columns]
        arrow_csv.write_csv(pa.RecordBatch.from_arrays(columns, names=batch.schema.names), pipe, options)


def _plain(column: pa.Array) -> pa.Array:
    """Values as CSV can hold them: texts written out, truth as 0 and 1."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
