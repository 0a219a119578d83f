"""The semantic model: which views become which tables, how they relate, and what people see of them.

Measures and parameters come from `bi.measures`, how tables are shown from `bi/tables.yml`, columns and descriptions
from `models/bi/_bi__models.yml`, of which dbt makes its manifest; so the model can be written anew without a warehouse
or a dbt run.
"""

from functools import cache
from typing import Any

from bi import measures as numbers
from bi.powerbi.tmdl import Column, Measure, Parameter, Relationship, Table
from bi.tables import contracts, shown
from warehouse.contract import Contract

SERVER, DATABASE = "127.0.0.1:3306", "funnelift"
KEY_MEASURES, VISITOR_TYPE = "Key Measures", "Visitor Type"

# A type of the models' yml, without its size, in the model. Ids stay text: Power BI would take a CHAR(36) for a GUID.
TYPES = {
    "varchar": "string",
    "text": "string",
    "integer": "int64",
    "bigint": "int64",
    "double": "double",
    "decimal": "decimal",
    "date": "date",
    "timestamp": "dateTime",
}


def parameters() -> list[Parameter]:
    """Say where the rows come from.

    Returns
    -------
    list of Parameter
        The parameters of Power Query. Power BI knows RangeStart and RangeEnd by name; as they are, all rows are read.
    """
    return [
        Parameter("MySQLServer", f'"{SERVER}"', "Host and port of the MySQL or MariaDB server."),
        Parameter("MySQLDatabase", f'"{DATABASE}"', "Database of the marts, predictions and bi_ views."),
        Parameter("RangeStart", "#datetime(1900, 1, 1, 0, 0, 0)", "Sessions from here on are read, UTC.", "DateTime"),
        Parameter("RangeEnd", "#datetime(2200, 1, 1, 0, 0, 0)", "Sessions before this are read, UTC.", "DateTime"),
    ]


@cache
def tables() -> tuple[Table, ...]:
    """Put the model's tables together.

    Returns
    -------
    tuple of Table
        Facts, dimensions, results, what-if parameters and, first, the table of all measures.
    """
    views = (_of_view(contracts()[view], entry) for view, entry in shown()["tables"].items())
    return (_key_measures(), *views, _visitor_types(), *map(_what_if, numbers.PARAMETERS.values()))


def relationships() -> list[Relationship]:
    """Relate facts to dimensions; the results of a training stand alone.

    Returns
    -------
    list of Relationship
        All of them, each filtering in one direction.
    """
    return [Relationship(tuple(entry["many"]), tuple(entry["one"])) for entry in shown()["relationships"]]


def _of_view(contract: Contract, entry: dict[str, Any]) -> Table:
    related = (relationship.one for relationship in relationships())
    keys = {column for table, column in related if table == entry["name"]}
    columns = []
    for column in contract.columns:
        if column.name in shown()["left_out"]:
            continue
        kind, by = TYPES[column.data_type.partition("(")[0]], shown()["sorted_by"].get(column.name)
        columns.append(
            Column(
                name=column.name,
                data_type=kind,
                source=column.name,
                description=column.description,
                format_string=shown()["formats"].get(kind),
                sort_by=by if by in contract.column_names else None,
                is_hidden=column.name not in entry["shown"],
                is_key=column.name in keys,
            )
        )
    name = entry["name"]
    return Table(
        name,
        contract.description,
        tuple(columns),
        view=contract.name,
        range_by=entry.get("range_by"),
        is_date_table=name == "Date",
    )


def _key_measures() -> Table:
    # A measure may not be called as a column of its table is, and `Revenue` would be: they have a table of their own.
    listed = tuple(
        Measure(
            name=measure.name,
            expression=measure.dax,
            format_string=measure.format,
            display_folder=f"{measure.page}\\{measure.folder}",
            description=measure.description,
        )
        for measure in numbers.all_measures()
    )
    blank = Column("blank", "string", "[blank]", "Empty: a table must have a column.", is_hidden=True)
    return Table(
        KEY_MEASURES,
        "All measures, by page. Each says the same as the SQL that the offline report shows.",
        (blank,),
        listed,
        expression='ROW("blank", "")',
    )


def _visitor_types() -> Table:
    column = Column("visitor_type", "string", "[visitor_type]", "new or returning.", is_key=True)
    return Table(
        VISITOR_TYPE,
        "Grain: one row per kind of visitor: new in the visitor's first session, else returning.",
        (column,),
        expression='DATATABLE("visitor_type", STRING, {{"new"}, {"returning"}})',
    )


def _what_if(parameter: numbers.Parameter) -> Table:
    is_whole = all(float(each).is_integer() for each in (parameter.lowest, parameter.highest, parameter.step))
    column = Column(
        parameter.column,
        "int64" if is_whole else "double",
        "[Value]",
        parameter.description,
        format_string="0" if is_whole else "0.0",
        is_parameter=True,
    )
    series = ", ".join(f"{value:g}" for value in (parameter.lowest, parameter.highest, parameter.step))
    description = f"What if: {parameter.description} Without a choice, what the last run used."
    return Table(parameter.table, description, (column,), expression=f"GENERATESERIES({series})")
