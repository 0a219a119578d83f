"""Scoring on an engine's own workers: the code that scores here too, in batches, by models that are sent as bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ml.config import Config
from ml.data.features import Mart
from ml.data.rows import build_dataset
from ml.publish.artifacts import load_model
from ml.run import Stamp
from ml.scoring.changes import plain
from ml.scoring.conversion import conversion_rows
from ml.scoring.published import uplift_in
from ml.scoring.uplift import uplift_rows
from warehouse.base import OLD
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

# Engines hand over smaller batches; each costs the models as much as some thousand rows.
ROWS_AT_ONCE = 50_000
# A worker's Python serves many tasks, and reads a model once.
_LOADED: dict[tuple[str, str], Any] = {}


@dataclass(frozen=True)
class BatchScorer:
    """Scores batches of the mart's rows, each beside the prediction that it had; it is sent to workers.

    `files` are the model's, by name. `uplift_run` is the published row of `uplift_runs`, None where the champion scores
    whether sessions convert.
    """

    mart: Mart
    config: Config
    contract: Contract
    stamp: Stamp
    plausible_from_ms: int
    files: dict[str, bytes]
    uplift_run: dict[str, Any] | None = None

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Score batches as they come, some together.

        Parameters
        ----------
        batches : iterator of pyarrow.RecordBatch
            Columns of the mart, and those of the prediction before with `OLD` before their names.

        Yields
        ------
        pyarrow.RecordBatch
            Rows of the contract.
        """
        for rows in _together(batches):
            own = rows.select(list(self.mart.columns))
            data = replace(
                build_dataset(own.to_batches(), len(own), self.mart), plausible_from_ms=self.plausible_from_ms
            )
            yield from plain(self._score(data, self._before(rows))).to_batches()

    @property
    def _score(self) -> "Callable[..., pa.Table]":
        key = (self.contract.name, self.stamp.model_version)
        if key not in _LOADED:
            _LOADED[key] = self._loaded()
        stamp, contract = self.stamp, self.contract
        if self.uplift_run is None:
            return lambda data, old: conversion_rows(data, _LOADED[key], old, stamp, contract, threads=1)
        score = partial(uplift_rows, mart=self.mart, config=self.config)
        return lambda data, old: score(data, _LOADED[key], old, stamp, contract)

    def _loaded(self) -> Any:
        with TemporaryDirectory() as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            if self.uplift_run is None:
                return load_model(folder, self.mart, 1)
            return uplift_in(folder, self.uplift_run, self.mart, 1)

    def _before(self, rows: "pa.Table") -> "pa.Table":
        names = self.contract.column_names
        old = rows.select([OLD + name for name in names]).rename_columns(names)
        return self.contract.cast(old.filter(old.column(self.contract.grain[0]).is_valid()))


def model_files(folder: Path, names: "Iterator[str] | list[str]") -> dict[str, bytes]:
    """Read files of a model, which the caller has checked.

    Parameters
    ----------
    folder : Path
        Where they are.
    names : iterable of str
        Their names.

    Returns
    -------
    dict of str to bytes
        Name to content.
    """
    return {name: (folder / name).read_bytes() for name in names}


def _together(batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.Table]":
    import pyarrow as pa

    found: list[pa.RecordBatch] = []
    for batch in batches:
        found.append(batch)
        if sum(map(len, found)) >= ROWS_AT_ONCE:
            yield pa.Table.from_batches(found)
            found = []
    if sum(map(len, found)):
        yield pa.Table.from_batches(found)
