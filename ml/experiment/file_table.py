"""A CSV or Parquet file as a table, and its columns as text."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Floats
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
WHOLE = re.compile(r"^(-?\d+)\.0+$")  # a whole number with decimals
NAMELESS = "{} (without a name)"  # a column, by its place
NULL = ("", "nan")
# Numbers as spreadsheets of half of Europe write them, thousands apart by points, spaces or apostrophes.
DECIMAL_COMMA = r"^[+-]?(\d+|\d{1,3}([.\s\x{00a0}\x{202f}']\d{3})+)(,\d+)?$"
THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$|^[+-]?\d+(\.\d+)?$"


def read_table(path: Path, texts: Sequence[str], values: Sequence[str], what: str = "experiment file") -> "pa.Table":
    """Read a CSV or Parquet file.

    Parameters
    ----------
    path : Path
        The file.
    texts : sequence of str
        Columns of a CSV to read as they are written.
    values : sequence of str
        Texts that are never taken for a null.
    what : str
        What the file is, for the message.

    Returns
    -------
    pyarrow.Table
        Its rows, at least one.

    Raises
    ------
    FunneliftError
        When the file is missing, empty or neither.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    if not path.is_file():
        raise FunneliftError(f"no {what} at {path}")
    try:
        if path.suffix.lower() in PARQUET:
            table = parquet.read_table(path)
        else:
            defaults = arrow_csv.ConvertOptions()
            table = arrow_csv.read_csv(
                path,
                parse_options=arrow_csv.ParseOptions(delimiter=_delimiter(path), newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={name: pa.string() for name in texts},
                    null_values=[text for text in defaults.null_values if text not in values],
                    strings_can_be_null=True,
                ),
            )
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise FunneliftError(
            f"cannot read {path} ({error}): it must be CSV in UTF-8 with one header line (comma, semicolon or tab; "
            ".gz allowed), or Parquet (.parquet)"
        ) from None
    table = table.rename_columns(
        [name.strip() or NAMELESS.format(at) for at, name in enumerate(table.column_names, start=1)]
    )
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise FunneliftError(f"{path} has several columns called {', '.join(twice)}: rename them")
    if not len(table):
        raise FunneliftError(f"{path} has no rows")
    return table


def is_comma_file(path: Path) -> bool:
    """Return whether commas part the columns of a file."""
    return path.suffix.lower() not in PARQUET and _delimiter(path) == ","


def _delimiter(path: Path) -> str:
    import pyarrow as pa

    with pa.input_stream(str(path)) as stream:
        header = stream.read(1 << 16).decode("utf-8", errors="replace").split("\n", 1)[0]
    return max(",;\t", key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def texts_of(column: "pa.ChunkedArray", path: Path, name: str) -> "pa.ChunkedArray":
    """Return a column as text, whole numbers without decimals; nulls are refused."""
    import pyarrow.compute as pc

    text = known_texts(column, path, name)
    is_null = pc.is_null(text)
    nulls = text.null_count
    if nulls:
        raise FunneliftError(
            f"{path}: {nulls} of {len(text)} rows have no {name}; the first is data row "
            f"{pc.index(is_null, True).as_py() + 1}. Fill them in, or take these rows out and say why"
        )
    return text


def known_texts(column: "pa.ChunkedArray", path: Path, name: str) -> "pa.ChunkedArray":
    """Return a column as text, whole numbers without decimals, null where there is nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(plain(column, path, name).cast(pa.string()))
    text = pc.replace_substring_regex(text, WHOLE.pattern, r"\1")
    return pc.if_else(pc.is_in(text, pa.array(NULL)), pa.scalar(None, pa.string()), text)


def days_of(column: "pa.ChunkedArray") -> Floats:
    """Return dates or moments as days since 1970, NaN where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    milliseconds = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).cast(pa.float64())
    return np.asarray(pc.divide(milliseconds, 86_400_000.0).to_numpy())


def numbers_of(texts: "pa.ChunkedArray", *, is_listed: bool) -> "pa.ChunkedArray | None":
    """Read texts as numbers that have a decimal comma, or commas between thousands.

    Parameters
    ----------
    texts : pyarrow.ChunkedArray of shape (n_rows,)
        A column of text.
    is_listed : bool
        Whether commas part the file's columns: then a comma before three digits parts thousands, if all do.

    Returns
    -------
    pyarrow.ChunkedArray or None
        Float64; None where a text is no such number, or none has a comma.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(texts)

    def all_match(pattern: str) -> bool:
        return bool(pc.all(pc.match_substring_regex(trimmed, pattern)).as_py())

    if not pc.any(pc.match_substring(trimmed, ",")).as_py():
        return None
    if is_listed and all_match(THOUSANDS):
        return pc.replace_substring(trimmed, ",", "").cast(pa.float64())
    if all_match(DECIMAL_COMMA):
        plainer = pc.replace_substring_regex(trimmed, r"[^\d,+-]", "")
        return pc.replace_substring(plainer, ",", ".").cast(pa.float64())
    return None


def plain(column: "pa.ChunkedArray", path: Path, name: str) -> "pa.ChunkedArray":
    """Return a column without its dictionary; bytes that are no text are refused."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise FunneliftError(f"{path}: column {name} is not UTF-8 text: save the file as UTF-8")
    return column
