"""SQL that was written for DuckDB, as SQLite reads it."""

import re
import sqlite3
from typing import Any

# Windows that move take amounts off their sums again, which only whole numbers bear.
UNITS = 10_000


class UnportableError(Exception):
    """The SQL holds what SQLite does not know."""


def portable(sql: str) -> str:
    """DuckDB's SQL as SQLite reads it.

    Parameters
    ----------
    sql : str
        A model, compiled for DuckDB.

    Returns
    -------
    str
        The same, with tables named plainly, whole division as `/`, days as numbers, and decimals by a function.
    """
    sql = re.sub(r'"live"\."[a-z_]+"\."([a-z_]+)"', r"\1", sql)
    sql = re.sub(r"cast\('([^']*)' as double\)", r"to_double('\1')", sql)
    sql = re.sub(r"date '1970-01-01' \+ ", "", sql.replace("//", "/"))
    while found := re.search(r"\s+as decimal\(\d+, 4\)\)", sql):
        start = _opening(sql, found.start())
        sql = f"{sql[:start]}to_amount({sql[start + len('cast(') : found.start()]}){sql[found.end() :]}"
    return sql


def in_units(sql: str) -> str:
    """The SQL of usual prices for prices in ten-thousandths: a sum becomes an amount where it becomes a double."""
    found, count = re.subn(r"cast\((price_sum\w*) as double\)", r"of_units(\1)", sql)
    if count != 1:
        raise UnportableError("the sum of prices is not where it was")
    return found


def _opening(sql: str, end: int) -> int:
    """Where the `cast(` stands whose bracket is open at a place."""
    depth = 1
    for place in range(end - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(sql[place], 0)
        if not depth:
            start = place + 1 - len("cast(")
            if re.fullmatch(r"\W?cast\(", sql[max(start - 1, 0) : place + 1]) is None:
                break
            return start
    raise UnportableError("a cast to a decimal that cannot be read")


def _to_amount(value: float | None) -> float | None:
    """An amount of four decimals; a whole one as an integer, whose sums are exact."""
    if value is None:
        return None
    rounded = round(value, 4)
    return int(rounded) if rounded == int(rounded) else rounded


def add_functions(connection: sqlite3.Connection) -> None:
    """Add what DuckDB knows and SQLite does not.

    Parameters
    ----------
    connection : sqlite3.Connection
        Gets the functions.
    """

    def joined(*parts: object) -> str:
        return "".join(str(part) for part in parts if part is not None)

    def least(*values: Any) -> Any:
        return min((value for value in values if value is not None), default=None)

    for name, count, function in (
        ("to_amount", 1, _to_amount), ("to_double", 1, float), ("least", -1, least), ("concat", -1, joined),
        ("make_timestamp", 1, lambda microseconds: microseconds),
        ("of_units", 1, lambda units: None if units is None else units / UNITS),
    ):  # fmt: skip
        connection.create_function(name, count, function, deterministic=True)
