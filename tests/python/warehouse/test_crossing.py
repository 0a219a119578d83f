"""Rows cross between processes in files: all of them, and few in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse import crossing
from warehouse.crossing import read_files, write_file

BATCH, BATCHES, FILES = 10_000, 40, 8


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "BATCH_ROWS", BATCH)


def coded() -> pa.Table:
    """Rows whose codes are small beside their texts."""
    codes = pa.array(np.arange(BATCH * BATCHES, dtype=np.int32) % 3)
    texts = pa.array(["a" * 400, "b" * 400, None])
    return pa.table({"number": np.arange(BATCH * BATCHES), "text": pa.DictionaryArray.from_arrays(codes, texts)})


def test_rows_come_back_and_the_files_go(tmp_path: Path) -> None:
    (tmp_path / "crossing").mkdir()
    write_file(coded(), tmp_path / "crossing" / "0.parquet")
    write_file(coded().slice(0, 0), tmp_path / "crossing" / "1.parquet")
    count, batches = read_files(tmp_path / "crossing")
    found = pa.Table.from_batches(batches)
    expected = coded().cast(found.schema)
    assert count == len(expected)
    assert found.equals(expected)
    assert not (tmp_path / "crossing").exists()


@pytest.fixture
def memory() -> Iterator[pa.MemoryPool]:
    """What Arrow takes from here on, and the most that it had."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(before)


def test_few_rows_are_in_memory_while_they_are_read(tmp_path: Path, memory: pa.MemoryPool) -> None:
    draw = np.random.default_rng(0)
    for number in range(FILES):
        pq.write_table(pa.table({"number": draw.normal(size=BATCH * BATCHES)}), tmp_path / f"{number}.parquet")
    written, most = memory.max_memory(), 0
    for _ in read_files(tmp_path)[1]:
        most = max(most, memory.bytes_allocated())
    assert max(most, memory.max_memory() - written) < 8 * BATCH * BATCHES * FILES / 3


def test_few_texts_are_in_memory_while_rows_are_written(tmp_path: Path, memory: pa.MemoryPool) -> None:
    rows = coded()
    before = memory.bytes_allocated()
    write_file(rows, tmp_path / "0.parquet")
    assert memory.max_memory() - before < 400 * len(rows) * 2 / 3 / 3
