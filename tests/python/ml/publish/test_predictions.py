"""The file of predictions: while there are few of them."""

from pathlib import Path

import pyarrow as pa
import pytest

from contracts import contract
from ml.publish.predictions import write_predictions
from warehouse.base import Publication

FILE = "predictions/conversion_predictions.csv"
DESCRIBED = contract("conversion_predictions", ("session_id",), session_id="varchar(64)")
NO_ROWS, ROWS = pa.table({"session_id": pa.array([], pa.string())}), pa.table({"session_id": ["a", "b"]})


@pytest.mark.parametrize(
    ("made", "max_rows", "lines"),
    [
        (Publication(DESCRIBED, ROWS), 2, ["session_id", "a", "b"]),
        (Publication(DESCRIBED, ROWS), 1, []),
        # Workers have written them.
        (Publication(DESCRIBED, NO_ROWS, place="there", placed=2), 2, []),
    ],
)
def test_more_rows_than_asked_for_are_in_the_table_alone(
    tmp_path: Path, made: Publication, max_rows: int, lines: list[str]
) -> None:
    write_predictions(tmp_path, made, max_rows)
    assert [line.strip('"') for line in (tmp_path / FILE).read_text().splitlines()] == lines
