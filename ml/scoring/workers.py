"""Scoring on an engine's own workers: the code that scores here too, in batches, by models that are sent as bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ml.config import Config
from ml.data.features import Mart
from ml.publish.artifacts import load_model
from ml.publish.workers import datasets, loaded
from ml.run import Stamp
from ml.scoring.changes import remade
from ml.scoring.conversion import conversion_rows
from ml.scoring.published import uplift_in
from ml.scoring.uplift import uplift_rows
from warehouse.contract import Contract
from warehouse.workers import OLD

if TYPE_CHECKING:
    import pyarrow as pa


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
            Rows of the contract, and what each is beside the one before.
        """
        for rows, data in datasets(batches, self.mart, self.plausible_from_ms):
            old = self._before(rows)
            yield from remade(self.contract, old, self._score(data, old)).to_batches()

    @property
    def _score(self) -> "Callable[..., pa.Table]":
        stamp, contract, run = self.stamp, self.contract, self.uplift_run
        key = (contract.name, stamp.model_version)
        if run is None:
            champion = loaded(self.files, key, lambda folder: load_model(folder, self.mart, 1))
            return lambda data, old: conversion_rows(data, champion, old, stamp, contract, threads=1)
        published = loaded(self.files, key, lambda folder: uplift_in(folder, run, self.mart, 1))
        score = partial(uplift_rows, mart=self.mart, config=self.config)
        return lambda data, old: score(data, published, old, stamp, contract)

    def _before(self, rows: "pa.Table") -> "pa.Table":
        names = self.contract.column_names
        old = rows.select([OLD + name for name in names]).rename_columns(names)
        return self.contract.cast(old.filter(old.column(self.contract.grain[0]).is_valid()))
