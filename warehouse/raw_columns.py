"""Raw tables that an older version made: which columns they lack, and what their rows get in these."""

from collections.abc import Mapping, Sequence

from warehouse.contract import Column
from warehouse.errors import FunneliftError

LOADS, LOAD_NUMBER = "raw_loads", "load_number"


def lacking(tables: Mapping[str, Sequence[Column]], present: Mapping[str, Sequence[str]]) -> list[str]:
    """Find the raw tables that lack a column.

    Parameters
    ----------
    tables : mapping of str to sequence of Column
        The raw tables as they should be.
    present : mapping of str to sequence of str
        The raw tables that are there, and their columns.

    Returns
    -------
    list of str
        Names of tables that must be written anew.

    Raises
    ------
    FunneliftError
        Such a table has a column that is not known, which would be lost.
    """
    old = []
    for table, columns in tables.items():
        known = {column.name for column in columns}
        if table not in present or known <= set(present[table]):
            continue
        if unknown := sorted(set(present[table]) - known):
            raise FunneliftError(
                f"the table {table} was made by an older version and must get new columns, but it also has "
                f"{', '.join(unknown)}, which no version knows: drop what you have added, then run again"
            )
        old.append(table)
    return old


def copied(columns: Sequence[Column], present: Mapping[str, Sequence[str]], table: str, database: str) -> str:
    """Write the query whose rows fill the new table, in the order of its columns.

    Loads get their numbers in the order in which they were made, and rows get those of their loads.

    Parameters
    ----------
    columns : sequence of Column
        Columns of the new table.
    present : mapping of str to sequence of str
        The raw tables that are there, and their columns.
    table : str
        The old table.
    database : str
        Where the old tables are.

    Returns
    -------
    str
        A select statement in the SQL that every engine shares.
    """
    number = LOAD_NUMBER if LOAD_NUMBER in present.get(LOADS, ()) else "row_number() over (order by loaded_at, load_id)"
    source = f"from {database}.{table} as source"
    numbered = LOAD_NUMBER not in present[table] and LOADS in present and "load_id" in present[table]
    if numbered:
        source += (
            f" left join (select load_id, {number} as load_number from {database}.{LOADS}) as loads"
            " on loads.load_id = source.load_id"
        )

    def cell(column: Column) -> str:
        if column.name in present[table]:
            # `timestamp` is the one name that is also a word of SQL, and a column all the same behind its table's name.
            return f"source.{column.name}"
        if column.name == LOAD_NUMBER and numbered:
            return "coalesce(loads.load_number, 0)"
        return "null" if column.is_nullable else "0"

    return f"select {', '.join(map(cell, columns))} {source}"
