"""The code that scores here, on an engine's own workers: models are sent as bytes, and rows come in batches."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ml.conversion.predictions import explained_predictions
from ml.data.features import Mart
from ml.data.rows import Dataset, build_dataset
from ml.data.split import NEW, SPLITS
from ml.data.workers import SplitRule
from ml.publish.artifacts import load_model
from ml.publish.predictions import prediction_rows
from ml.publish.tables import plain
from ml.run import Stamp
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

# Engines hand over smaller batches; each costs the models as much as some thousand rows.
ROWS_AT_ONCE = 50_000
# A worker's Python serves many tasks, and reads a model once.
_LOADED: dict[tuple[str, str], Any] = {}


@dataclass(frozen=True)
class SplitScorer:
    """Scores batches of the mart's rows, each with the split that it has by a training's rule.

    Rows of closed sessions that were decided after `last_ms`, when the training was over, are new.
    """

    mart: Mart
    contract: Contract
    stamp: Stamp
    rule: SplitRule
    files: dict[str, bytes]
    last_ms: int | None = None

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        """Score batches as they come, some together.

        Parameters
        ----------
        batches : iterator of pyarrow.RecordBatch
            Columns of the mart.

        Yields
        ------
        pyarrow.RecordBatch
            Rows of `conversion_predictions`.
        """
        import pandas as pd

        key = (self.contract.name, self.stamp.model_version)
        champion = loaded(self.files, key, lambda folder: load_model(folder, self.mart, 1))
        for _, data in datasets(batches, self.mart, self.rule.plausible_from_ms):
            codes = self.rule.codes_of(data)
            if self.last_ms is not None:
                codes[(data.is_mature == 1) & (data.decided_ms > self.last_ms)] = len(SPLITS)
            split = pd.Categorical.from_codes(codes, pd.Index([*SPLITS, NEW], dtype=object))
            predictions = explained_predictions(champion, data, split, 1)
            yield from plain(prediction_rows(predictions, self.stamp, self.contract)).to_batches()


def loaded(files: dict[str, bytes], key: tuple[str, str], load: Callable[[Path], Any]) -> Any:
    """Load models from what was sent, once for all tasks of a worker.

    Parameters
    ----------
    files : dict of str to bytes
        The models' files by name.
    key : (str, str)
        The table that they make, and their version.
    load : callable
        Takes a folder with the files.

    Returns
    -------
    object
        What it returned.
    """
    if key not in _LOADED:
        with TemporaryDirectory() as name:
            folder = Path(name)
            for file, content in files.items():
                (folder / file).write_bytes(content)
            _LOADED[key] = load(folder)
    return _LOADED[key]


def model_files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
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


def datasets(
    batches: "Iterator[pa.RecordBatch]", mart: Mart, plausible_from_ms: int
) -> "Iterator[tuple[pa.Table, Dataset]]":  # fmt: skip
    """Put batches together until they are worth a model's while, and make model inputs of them.

    Parameters
    ----------
    batches : iterator of pyarrow.RecordBatch
        As the engine hands them over: columns of the mart, and others.
    mart : Mart
        Roles of the columns.
    plausible_from_ms : int
        Rows before have an implausible time.

    Yields
    ------
    pyarrow.Table
        The rows.
    Dataset
        The same, in order of time.
    """
    for rows in _together(batches):
        own = rows.select(list(mart.columns))
        yield rows, replace(build_dataset(own.to_batches(), len(own), mart), plausible_from_ms=plausible_from_ms)


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
