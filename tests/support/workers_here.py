"""A DuckDB file as an engine with workers, in this process: what is sent to workers runs on small batches out of order.

On Spark the same code runs on real workers (test_train_spark.py); here many shops are tried in little time.
"""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.base import Publication
from warehouse.contract import Contract
from warehouse.duckdb import DuckDBWarehouse
from warehouse.workers import ADDED, CHANGED, OLD, SAME, STATE, Handed, Make, Remade, Remaking, WarehouseWithWorkers

BATCH_ROWS = 97


class WorkersHere(DuckDBWarehouse, WarehouseWithWorkers):
    """`gathered` counts the rows that came out of each gathering."""

    folder: Path
    gathered: list[int]

    def remake(self, remaking: Remaking) -> Remade:
        """See WarehouseWithWorkers."""
        contract, key = remaking.contract, list(remaking.contract.grain)
        old = self.table(contract)
        before = old.rename_columns([OLD + name for name in old.column_names])
        column, value = remaking.only or (key[0], None)
        rows = self._rows(remaking.table, (*remaking.columns, column))
        if value is not None:
            rows = rows.filter(pa.compute.equal(rows.column(column), value))
        rows = rows.select(list(remaking.columns))
        both = rows.join(before, key, [OLD + name for name in key], "left outer", coalesce_keys=False)
        made = _run(remaking.make, both)
        states = made.column(STATE).to_pylist()
        added, changed, same = (states.count(state) for state in (ADDED, CHANGED, SAME))
        place = self.folder / f"{uuid4().hex}.parquet"
        place.parent.mkdir(exist_ok=True)
        pq.write_table(made.drop_columns([STATE]), place)
        return Remade(contract, str(place), added, changed, removed=len(old) - changed - same)

    def publish(self, publications: Sequence[Publication]) -> None:
        """See Warehouse; what lies in files is read first."""
        super().publish([
            one if one.place is None else replace(one, rows=pq.read_table(one.place), place=None)
            for one in publications
        ])  # fmt: skip

    def gather(self, handed: Handed) -> tuple[int, Iterator[pa.RecordBatch]]:
        """See WarehouseWithWorkers."""
        made = self._made(handed)
        self.gathered.append(len(made))
        return len(made), iter(made.to_batches())

    def make(self, contract: Contract, handed: Handed) -> Publication:
        """See WarehouseWithWorkers."""
        made = self._made(handed)
        return Publication(contract, made)

    @contextmanager
    def spread(self, table: str, columns: Sequence[str], only: tuple[str, int], by: str) -> Iterator[Path]:
        """See WarehouseWithWorkers."""
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
        """See WarehouseWithWorkers."""
        sent = pickle.loads(pickle.dumps(make))
        return pa.Table.from_batches([batch for task in _singly(tasks) for batch in sent(iter([task]))], schema)

    def _rows(self, table: str, columns: Sequence[str]) -> pa.Table:
        return pa.Table.from_batches(list(self.read(table, list(dict.fromkeys(columns)))[1]))

    def _made(self, handed: Handed) -> pa.Table:
        rows = self._rows(handed.table, handed.columns).select(list(handed.columns))
        return _run(handed.make, rows, handed.schema)


def _run(make: Make, rows: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
    """What is sent makes of rows that come in small batches, out of order."""
    rows = rows.take(pa.array(np.random.default_rng(5).permutation(len(rows))))
    batches = [batch for start in range(0, len(rows), BATCH_ROWS)
               for batch in rows.slice(start, BATCH_ROWS).combine_chunks().to_batches()]  # fmt: skip
    found = list(pickle.loads(pickle.dumps(make))(iter(batches)))
    return pa.Table.from_batches(found, schema or (found[0].schema if found else rows.schema))


def _singly(tasks: pa.Table) -> list[pa.RecordBatch]:
    return [batch for place in range(len(tasks)) for batch in tasks.slice(place, 1).to_batches()]
