"""What the `bi_*` tables hold, from the models' yml, and how Power BI shows them, from `bi/tables.yml`."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent
SHOWN = FOLDER / "tables.yml"
MODELS = FOLDER.parent / "models" / "bi" / "_bi__models.yml"


@cache
def models() -> dict[str, dict[str, Any]]:
    """Read the models' yml.

    Returns
    -------
    dict of str to dict
        Table to its description, columns and tests as dbt reads them.
    """
    return {model["name"]: model for model in yaml.safe_load(MODELS.read_text(encoding="utf-8"))["models"]}


@cache
def known_columns() -> dict[str, tuple[str, ...]]:
    """List the columns of the `bi_*` tables.

    Returns
    -------
    dict of str to tuple of str
        Table to its columns.
    """
    return {name: tuple(column["name"] for column in model["columns"]) for name, model in models().items()}


@cache
def shown() -> dict[str, Any]:
    """Read how Power BI shows the tables.

    Returns
    -------
    dict
        `tables`, `left_out`, `sorted_by` and `relationships`.
    """
    return yaml.safe_load(SHOWN.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@cache
def power_bi_names() -> dict[str, str]:
    """Say what Power BI calls the tables; columns keep their names.

    Returns
    -------
    dict of str to str
        Table to its name in Power BI, in the order of the field list.
    """
    return {table: entry["name"] for table, entry in shown()["tables"].items()}
