"""Parquet files by which rows cross between another process and this one: a batch of them is in memory at a time."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.base import BATCH_ROWS

if TYPE_CHECKING:
    import pyarrow as pa


def read_files(folder: Path) -> tuple[int, Iterator["pa.RecordBatch"]]:
    """Read the rows of a folder's files, one file after the other.

    Parameters
    ----------
    folder : Path
        Folder of Parquet files, which is gone when all batches have been taken.

    Returns
    -------
    int
        How many rows there are.
    iterator of pyarrow.RecordBatch
        The rows.
    """
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))

    def batches() -> Iterator["pa.RecordBatch"]:
        for path in files:
            # A data set of files would read ahead: more in memory than all that is kept of the rows.
            with pq.ParquetFile(path, pre_buffer=False) as file:
                yield from file.iter_batches(BATCH_ROWS)
        shutil.rmtree(folder, ignore_errors=True)

    return sum(pq.read_metadata(path).num_rows for path in files), batches()


def write_file(rows: "pa.Table", path: Path) -> None:
    """Write rows to a file, with texts in place of codes.

    Parameters
    ----------
    rows : pyarrow.Table
        The rows.
    path : Path
        The file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in rows.schema
        ]
    )
    with pq.ParquetWriter(path, plain, coerce_timestamps="us") as file:
        # Codes of many rows are small, and their texts are not.
        for batch in rows.to_batches(BATCH_ROWS):
            file.write_table(pa.Table.from_batches([batch]).cast(plain))
