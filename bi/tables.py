"""What the `bi_*` tables hold, from the models' yml, and how Power BI shows them, from `bi/tables.yml`."""

from functools import cache
from pathlib import Path
from typing import Any

from warehouse.contract import Contract, read_project
from warehouse.yaml_files import read_yaml

SHOWN = Path(__file__).resolve().parent / "tables.yml"


@cache
def contracts() -> dict[str, Contract]:
    """Read the contracts of the `bi_*` tables.

    Returns
    -------
    dict of str to Contract
        Table to its contract.
    """
    return {contract.name: contract for contract in read_project().of_layer("bi")}


@cache
def known_columns() -> dict[str, tuple[str, ...]]:
    """List the columns of the `bi_*` tables.

    Returns
    -------
    dict of str to tuple of str
        Table to its columns.
    """
    return {name: tuple(contract.column_names) for name, contract in contracts().items()}


@cache
def shown() -> dict[str, Any]:
    """Read how Power BI shows the tables.

    Returns
    -------
    dict
        `tables`, `left_out`, `formats`, `sorted_by` and `relationships`.
    """
    return read_yaml(SHOWN)  # type: ignore[no-any-return]


@cache
def power_bi_names() -> dict[str, str]:
    """Say what Power BI calls the tables; columns keep their names.

    Returns
    -------
    dict of str to str
        Table to its name in Power BI, in the order of the field list.
    """
    return {table: entry["name"] for table, entry in shown()["tables"].items()}
