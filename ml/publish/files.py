"""A run's files, which replace the last run's in one go."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml.conversion.models import MODELS
from ml.publish.artifacts import CALIBRATOR_FILE
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

CSV_ROWS = 100_000


@contextmanager
def staged_files(results: Path, run_id: str) -> Iterator[Path]:
    """Collect a run's files in a folder of their own and move them into place when the block succeeds.

    Parameters
    ----------
    results : Path
        Where the files belong.
    run_id : str
        Name of the run.

    Yields
    ------
    Path
        Folder with the same layout as `results`. Whatever it holds at the end replaces the file of the same name;
        after a failure nothing does.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        staging = results / f".{run_id}"
        staging.mkdir()
    except OSError as error:
        raise FunneliftError(
            f"cannot write results to {results}: {error.strerror} (--results, FUNNELIFT_RESULTS)"
        ) from None
    try:
        yield staging
        written = [path.name for path in staging.rglob("*")]
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                final = results / path.relative_to(staging)
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)
        # The last run's champion must not lie beside this one's as if it were in use.
        for model in MODELS.values():
            if CALIBRATOR_FILE in written and model.file_name not in written:
                (results / "models" / model.file_name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_csv(path: Path, rows: "pa.Table") -> None:
    """Write a table as CSV, a batch at a time.

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
            writer.write_table(rows.slice(start, CSV_ROWS).cast(schema))
