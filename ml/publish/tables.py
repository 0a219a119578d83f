"""Rows of the prediction tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ml.run import Stamp
from warehouse.base import Publication
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

Entry = TypeVar("Entry")


def publication(
    contract: Contract, kind: type[Any], entries: Iterable[Any], stamp: Stamp, *, append: bool = False
) -> Publication:
    """Lay out dataclass instances as the rows of a table.

    Parameters
    ----------
    contract : Contract
        The table's contract.
    kind : type
        The dataclass; its fields are the table's columns but for those of the stamp.
    entries : iterable of instances
        What to lay out, one row per entry; there may be none.
    stamp : Stamp
        Run, model version, time, and what is made up.
    append : bool
        Whether the rows are added to the table instead of replacing it.

    Returns
    -------
    Publication
        Ready to write.
    """
    import pyarrow as pa

    entries = list(entries)
    columns = {field.name: pa.array([getattr(entry, field.name) for entry in entries]) for field in fields(kind)}
    return Publication(contract, stamped(pa.table(columns), stamp, contract), append)


def entries_of(kind: type[Entry], rows: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Make dataclass instances of published rows, the reverse of `publication`.

    Parameters
    ----------
    kind : type
        The dataclass.
    rows : iterable of mapping
        Column name to value, as a warehouse returns them; other columns are left aside.

    Returns
    -------
    list
        One instance per row.
    """
    convert: dict[Any, Callable[[Any], Any]] = {bool: bool, int: int, float: float, str: str, datetime: lambda at: at}
    converters = {
        field.name: next(convert[known] for known in convert if field.type in (known, known | None))
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return [
        kind(**{name: None if row[name] is None else to(row[name]) for name, to in converters.items()}) for row in rows
    ]


def stamped(rows: "pa.Table", stamp: Stamp, contract: Contract | None = None) -> "pa.Table":
    """Add the stamp to rows and cast them to their table's contract.

    Parameters
    ----------
    rows : pyarrow.Table
        The rows.
    stamp : Stamp
        Run, model version, time, and what is made up.
    contract : Contract, optional
        The table's contract; rows for a file have none.

    Returns
    -------
    pyarrow.Table
        The rows with what they lack of is_simulated (where the contract has it), run_id, model_version and scored_at.
    """
    import pyarrow as pa

    values = {
        "is_simulated": int(stamp.is_simulated),
        "run_id": stamp.run_id,
        "model_version": stamp.model_version,
        "scored_at": stamp.scored_at.replace(tzinfo=None),
    }
    for name, value in values.items():
        if name not in rows.column_names and (contract is None or name in contract.column_names):
            column = pa.repeat(pa.scalar(value), len(rows))
            if isinstance(value, str):
                # A text that all rows share stands once in memory.
                column = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), len(rows)), [value])
            rows = rows.append_column(name, column)
    return rows if contract is None else contract.cast(rows)


def plain(rows: "pa.Table") -> "pa.Table":
    """Return rows whose texts have no dictionary.

    Parameters
    ----------
    rows : pyarrow.Table
        Any rows.

    Returns
    -------
    pyarrow.Table
        The same rows.
    """
    import pyarrow as pa

    columns = {
        name: column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
    return pa.table(columns)
