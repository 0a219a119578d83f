"""A DuckDB file as an engine with workers, in this process: what is sent to workers runs on small batches out of order.

On Spark the same code runs on real workers (test_train_spark.py); here many shops are tried in little time.
"""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.base import Handed, Make, Publication
from warehouse.contract import Contract
from warehouse.duckdb import DuckDBWarehouse

BATCH_ROWS = 97


class WorkersHere(DuckDBWarehouse):
    """`gathered` counts the rows that came out of each gathering."""

    has_workers = True
    folder: Path
    gathered: list[int]

    def gather(self, handed: Handed) -> tuple[int, Iterator[pa.RecordBatch]]:
        """See Warehouse."""
        made = self._made(handed)
        self.gathered.append(len(made))
        return len(made), iter(made.to_batches())

    def make(self, contract: Contract, handed: Handed) -> Publication:
        """See Warehouse."""
        made = self._made(handed)
        return Publication(contract, made)

    @contextmanager
    def spread(self, table: str, columns: Sequence[str], only: tuple[str, int], by: str) -> Iterator[Path]:
        """See Warehouse."""
        rows = self._rows(table, (*columns, only[0]))
        rows = rows.filter(pa.compute.equal(rows.column(only[0]), only[1])).select(list(columns))
        place = self.folder / uuid4().hex
        for value in rows.column(by).unique().to_pylist():
            own = rows.filter(pa.compute.equal(rows.column(by), value)).drop_columns([by])
            (place / f"{by}={value}").mkdir(parents=True)
            for part, start in enumerate(range(0, len(own), 500)):
                pq.write_table(own.slice(start, 500), place / f"{by}={value}" / f"{part}.parquet")
        yield place

    def each(self, tasks: pa.Table, make: Make, schema: pa.Schema) -> pa.Table:
        """See Warehouse."""
        sent = pickle.loads(pickle.dumps(make))
        return pa.Table.from_batches([batch for task in _singly(tasks) for batch in sent(iter([task]))], schema)

    def _rows(self, table: str, columns: Sequence[str]) -> pa.Table:
        return pa.Table.from_batches(list(self.read(table, list(dict.fromkeys(columns)))[1]))

    def _made(self, handed: Handed) -> pa.Table:
        rows = self._rows(handed.table, handed.columns).select(list(handed.columns))
        rows = rows.take(pa.array(np.random.default_rng(5).permutation(len(rows))))
        batches = [batch for start in range(0, len(rows), BATCH_ROWS)
                   for batch in rows.slice(start, BATCH_ROWS).combine_chunks().to_batches()]  # fmt: skip
        sent = pickle.loads(pickle.dumps(handed.make))
        found = list(sent(iter(batches)))
        return pa.Table.from_batches(found, handed.schema or (found[0].schema if found else rows.schema))


def _singly(tasks: pa.Table) -> list[pa.RecordBatch]:
    return [batch for place in range(len(tasks)) for batch in tasks.slice(place, 1).to_batches()]
