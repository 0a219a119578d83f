"""A run's release: the folder of its models, with all that shows what they are, so that a run can come back."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml.files import model_folder
from ml.publish.registry import PUBLISHED, RUNS, UPLIFT_RUNS, runs_by_age
from warehouse.base import Publication, Warehouse
from warehouse.contract import Contract
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

TABLES_FOLDER = "tables"
SHOWN = ("model_card.md", "figures", "metrics")


def write_tables(folder: Path, tables: Iterable[Publication]) -> None:
    """Keep the rows of tables that speak of a run's champion.

    Parameters
    ----------
    folder : Path
        Folder of the run's models.
    tables : iterable of Publication
        The rows.
    """
    from pyarrow import parquet

    (folder / TABLES_FOLDER).mkdir(parents=True, exist_ok=True)
    for table in tables:
        parquet.write_table(table.rows, folder / TABLES_FOLDER / f"{table.name}.parquet")


def read_tables(folder: Path, contracts: Sequence[Contract], run_id: str) -> list[Publication]:
    """Return what `write_tables` kept.

    Parameters
    ----------
    folder : Path
        Folder of the run's models.
    contracts : sequence of Contract
        The tables.
    run_id : str
        The run, which every row must name.

    Returns
    -------
    list of Publication
        Ready to replace the tables.

    Raises
    ------
    FunneliftError
        When a table is missing or of another run.
    """
    return [Publication(contract, _read(folder, contract, run_id)) for contract in contracts]


def _read(folder: Path, contract: Contract, run_id: str) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / TABLES_FOLDER / f"{contract.name}.parquet"
    try:
        rows = parquet.read_table(path)
    except (OSError, pa.ArrowException):
        raise FunneliftError(f"no {path}, or it cannot be read: restore the folder of run {run_id}") from None
    if rows.column("run_id").unique().to_pylist() != [run_id]:
        raise FunneliftError(f"{path} is not of run {run_id}: restore the folder of that run")
    return rows


def put_in_place(folder: Path, results: Path) -> None:
    """Copy what shows a run's champion to where people look for it.

    Parameters
    ----------
    folder : Path
        Folder of the run's models.
    results : Path
        Folder of all results, or where they are staged.
    """
    for name in SHOWN:
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, results / name, dirs_exist_ok=True)
        else:
            shutil.copy2(source, results / name)


def prune(warehouse: Warehouse, results: Path, kept: int) -> list[str]:
    """Remove the models of all but the newest runs; those of published runs always stay.

    Parameters
    ----------
    warehouse : Warehouse
        Where the registry is.
    results : Path
        Folder of all results.
    kept : int
        How many runs keep their models.

    Returns
    -------
    list of str
        Runs whose models were removed.
    """
    runs, uplift_runs = runs_by_age(warehouse, RUNS), runs_by_age(warehouse, UPLIFT_RUNS)
    ids = {table: list(dict.fromkeys(run[name] for run in found)) for table, found, name in (
        (RUNS, runs, "run_id"), (UPLIFT_RUNS, uplift_runs, "model_run_id"),
    )}  # fmt: skip
    stay = {run_id for found in ids.values() for run_id in found[:kept]}
    stay |= {run["run_id"] for run in runs if run["status"] == PUBLISHED}
    stay |= {run["model_run_id"] for run in uplift_runs if run["status"] == PUBLISHED}
    removed = []
    for run_id in sorted({run_id for found in ids.values() for run_id in found} - stay):
        folder = model_folder(results, run_id)
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(run_id)
    return removed
