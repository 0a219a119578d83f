"""A run's files, which replace the last run's in one go."""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ml.files import model_folder
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

CSV_ROWS = 100_000
LEFTOVER = re.compile(r"\.\d{8}T\d{9}Z")


def unregistered(_: str) -> bool:
    """Say of every run that no registry knows it, for commands without one."""
    return False


@contextmanager
def staged_files(results: Path, run_id: str, is_registered: Callable[[str], bool] = unregistered) -> Iterator[Path]:
    """Collect a run's files in a folder of their own and move them into place when the block succeeds.

    A run holds a lock on its folder for as long as it lives. So what killed runs have left is known: the files of one
    that the registry knows are moved into place, those of any other are removed.

    Parameters
    ----------
    results : Path
        Where the files belong.
    run_id : str
        Name of the run.
    is_registered : callable
        Says of a run's name whether the registry has it, so that its tables are published or its refusal is told.

    Yields
    ------
    Path
        Folder with the same layout as `results`. Whatever it holds at the end replaces the file of the same name, an
        empty file removes it (`leave_out`); after a failure nothing does.
    """
    staging = results / f".{run_id}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock = _locked_folder(staging)
    except OSError as error:
        raise FunneliftError(
            f"cannot write results to {results}: {error.strerror} (--results, FUNNELIFT_RESULTS)"
        ) from None
    try:
        _tidy_up(results, is_registered)
        yield staging
        _move(staging, results)
    except BaseException:
        # Once its models are in place the run may be registered: the next one finds out.
        if not model_folder(results, run_id).exists():
            shutil.rmtree(staging, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def place_models(results: Path, run_id: str) -> None:
    """Move a run's models into place before its tables are published, so that no registry names models that are not.

    Parameters
    ----------
    results : Path
        Folder of all results.
    run_id : str
        The run, whose files are staged.
    """
    staged = model_folder(results / f".{run_id}", run_id)
    if staged.exists():
        final = model_folder(results, run_id)
        final.parent.mkdir(exist_ok=True)
        staged.replace(final)


def _move(staging: Path, results: Path) -> None:
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            final = results / path.relative_to(staging)
            final.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size:
                path.replace(final)
            else:
                final.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)


def _locked_folder(folder: Path) -> int:
    """Make a folder and lock it: whoever finds it without a lock knows that its run is dead."""
    while True:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another run may have taken it for a leftover before it was locked.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), folder.stat()):
                return lock
        os.close(lock)


def _tidy_up(results: Path, is_registered: Callable[[str], bool]) -> None:
    for folder in sorted(results.iterdir()):
        if not (LEFTOVER.fullmatch(folder.name) and folder.is_dir()):
            continue
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            run_id = folder.name.removeprefix(".")
            if is_registered(run_id):
                _move(folder, results)
            else:
                shutil.rmtree(model_folder(results, run_id), ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def leave_out(path: Path) -> None:
    """Stage that a run has no such file, so that an earlier run's does not stay.

    Parameters
    ----------
    path : Path
        The file in the folder of `staged_files`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_csv(path: Path, rows: "pa.Table") -> None:
    """Write a table as CSV, a batch at a time.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.

    Parameters
    ----------
    path : Path
        File to write.
    rows : pyarrow.Table
        Its rows.
    """
    import pyarrow as pa
    from pyarrow import csv

    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [
            pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
            for field in rows.schema
        ]
    )
    with csv.CSVWriter(path, schema, write_options=csv.WriteOptions(quoting_style="needed")) as writer:
        for start in range(0, len(rows), CSV_ROWS):
            batch = rows.slice(start, CSV_ROWS)
            columns = [_harmless(column).cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
            writer.write_table(pa.table(columns, schema))


def _harmless(column: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Put an apostrophe before texts that a spreadsheet would take for a formula."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        # A text that many rows share is looked at once.
        chunks = [
            pa.DictionaryArray.from_arrays(
                chunk.indices, _harmless(pa.chunked_array([chunk.dictionary])).combine_chunks()
            )
            for chunk in column.chunks
        ]
        return pa.chunked_array(chunks) if chunks else column
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    is_formula = pc.match_substring_regex(column, r"^[=+\-@\t\r]")
    if not pc.any(is_formula).as_py():
        return column
    return pc.if_else(is_formula, pc.binary_join_element_wise("'", column, ""), column)
