"""Rows of the feature mart as a command reads them: few in memory, many with their features in a file."""

from pathlib import Path

from ml.config import Config
from ml.data.features import MART, Mart
from ml.data.rows import Dataset, build_dataset
from warehouse.base import Warehouse


def read_rows(warehouse: Warehouse, mart: Mart, config: Config, folder: Path) -> Dataset:
    """Read all rows of the feature mart; beyond `rows_in_memory` their features are kept in a file.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    mart : Mart
        Roles of the columns.
    config : Config
        Settings.
    folder : Path
        Where the file is.

    Returns
    -------
    Dataset
        One row per session and decision point.
    """
    rows, batches = warehouse.read(MART, mart.columns)
    return build_dataset(batches, rows, mart, folder=folder_for(rows, config, folder))


def folder_for(rows: int, config: Config, folder: Path) -> Path | None:
    """Return the folder for the features of so many rows; None where they stay in memory."""
    return folder if rows > config.rows_in_memory else None
