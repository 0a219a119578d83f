"""Ask a warehouse for measures."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from bi.measures.model import Measure, Number, Value
from bi.measures.sql import Chosen, measures_sql, together
from warehouse.base import Warehouse


def evaluate(
    warehouse: Warehouse,
    measure: Measure,
    by: Sequence[str] = (),
    where: Mapping[str, Sequence[Value]] | None = None,
    parameters: Chosen = None,
) -> list[dict[str, Any]]:
    """Ask the warehouse for a measure.

    Parameters
    ----------
    warehouse : Warehouse
        An open warehouse.
    measure : Measure
        The measure.
    by, where, parameters
        See measure_sql.

    Returns
    -------
    list of dict
        The columns of `by`, and `value`: a float, an int or a text; null where there is nothing to say. Without `by`
        there is one.

    Raises
    ------
    MeasureError
        See measure_sql.
    """
    rows = evaluate_together(warehouse, [measure], by, where, parameters)
    return [{column: row[column] for column in by} | {"value": row[measure.name]} for row in rows]


def evaluate_together(
    warehouse: Warehouse,
    measures: Sequence[Measure],
    by: Sequence[str] = (),
    where: Mapping[str, Sequence[Value]] | None = None,
    parameters: Chosen = None,
) -> list[dict[str, Any]]:
    """Ask the warehouse for several measures of one table in as few queries as they need.

    Parameters
    ----------
    warehouse : Warehouse
        An open warehouse.
    measures : sequence of Measure
        Measures of one table, whatever their filters.
    by, where, parameters
        See measure_sql.

    Returns
    -------
    list of dict
        One for each combination of `by` that any of them has: its columns, and each measure's value by its name.

    Raises
    ------
    MeasureError
        See measure_sql.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    if not by:
        found[()] = {}
    for group in together(measures):
        names = [f"value_{number}" for number in range(1, len(group) + 1)]
        sql, values = measures_sql(group, by, where, parameters, names=names)
        for row in warehouse.query(sql, values):
            entry = found.setdefault(tuple(row[column] for column in by), {column: row[column] for column in by})
            entry |= {measure.name: _plain(row[name]) for measure, name in zip(group, names, strict=True)}
    blank = {measure.name: None for measure in measures}
    return [{column: row[column] for column in by} | blank | row for row in found.values()]


def _plain(value: Any) -> Number:
    """A sum of whole numbers is a decimal on MySQL, one of money on every engine."""
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    return value  # type: ignore[no-any-return]
