"""Write a semantic model in TMDL, the Tabular Model Definition Language."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bi.powerbi.naming import lineage_tag

# The connector gives up after ten minutes, and a first import of many sessions takes longer.
TIMEOUT = "#duration(0, 4, 0, 0)"
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What a MySQL column becomes in Power Query (M), by its type in the model.
M_TYPES = {
    "string": "type text",
    "int64": "Int64.Type",
    "double": "type number",
    "decimal": "Currency.Type",
    "dateTime": "type datetime",
    "date": "type date",
}


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, type and the column of the source it comes from."""

    name: str
    data_type: str
    source: str
    description: str = ""
    format_string: str | None = None
    sort_by: str | None = None
    is_hidden: bool = False
    is_key: bool = False
    is_parameter: bool = False


@dataclass(frozen=True)
class Measure:
    """A measure: a name, a DAX expression and how it is shown."""

    name: str
    expression: str
    format_string: str
    display_folder: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table: columns, measures and where its rows come from, a view of the warehouse or a DAX expression.

    `range_by` names the view's column by which RangeStart and RangeEnd cut the rows, for incremental refresh.
    """

    name: str
    description: str
    columns: tuple[Column, ...] = ()
    measures: tuple[Measure, ...] = ()
    view: str | None = None
    range_by: str | None = None
    expression: str | None = None
    is_date_table: bool = False
    is_hidden: bool = False

    def column(self, source: str) -> Column:
        """Find a column by its name in the source.

        Parameters
        ----------
        source : str
            Name in the view.

        Returns
        -------
        Column
            The column.
        """
        return next(column for column in self.columns if column.source == source)


@dataclass(frozen=True)
class Parameter:
    """A parameter of Power Query: its value as M writes it, and its type."""

    name: str
    value: str
    description: str
    data_type: str = "Text"


@dataclass(frozen=True)
class Relationship:
    """Many rows of one table to one of another; filters go from the one to the many."""

    many: tuple[str, str]
    one: tuple[str, str]


def quoted(name: str) -> str:
    """Quote a name where TMDL wants it.

    Parameters
    ----------
    name : str
        Any name.

    Returns
    -------
    str
        The name, in single quotes unless it is letters, digits and underscores.
    """
    return name if _PLAIN_NAME.fullmatch(name) else "'" + name.replace("'", "''") + "'"


def table_file(table: Table) -> str:
    """Write a table's file.

    Parameters
    ----------
    table : Table
        The table.

    Returns
    -------
    str
        TMDL.
    """
    lines = [*_described(table.description, 0), f"table {quoted(table.name)}"]
    lines += ["\tisHidden"] if table.is_hidden else []
    lines += [f"\tlineageTag: {lineage_tag(table.name)}"]
    lines += ["\tdataCategory: Time"] if table.is_date_table else []
    for measure in table.measures:
        lines += ["", *_measure(table.name, measure)]
    for column in table.columns:
        lines += ["", *_column(table.name, column)]
    lines += ["", *_partition(table)]
    return "\n".join(lines) + "\n"


def model_file(tables: Sequence[Table], query_order: Sequence[str]) -> str:
    """Write the model's own file.

    Parameters
    ----------
    tables : sequence of Table
        All tables, in the order of the field list.
    query_order : sequence of str
        Parameters and tables in the order of the query editor.

    Returns
    -------
    str
        TMDL.
    """
    order = ",".join(f'"{name}"' for name in query_order)
    return "\n".join(
        [
            "model Model",
            "\tculture: en-GB",
            "\tdefaultPowerBIDataSourceVersion: powerBI_V3",
            "\tdiscourageImplicitMeasures",
            "\tsourceQueryCulture: en-GB",
            "",
            # The report has a date table of its own; Desktop need not make a hidden one for each date.
            "annotation __PBI_TimeIntelligenceEnabled = 0",
            "",
            f"annotation PBI_QueryOrder = [{order}]",
            "",
            *(f"ref table {quoted(table.name)}" for table in tables),
            "",
        ]
    )


def expressions_file(parameters: Iterable[Parameter]) -> str:
    """Write the parameters of Power Query.

    Parameters
    ----------
    parameters : iterable of Parameter
        All of them.

    Returns
    -------
    str
        TMDL.
    """
    lines: list[str] = []
    for parameter in parameters:
        meta = f'meta [IsParameterQuery=true, Type="{parameter.data_type}", IsParameterQueryRequired=true]'
        lines += _described(parameter.description, 0)
        lines += [f"expression {parameter.name} = {parameter.value} {meta}"]
        lines += [f"\tlineageTag: {lineage_tag('expression', parameter.name)}", ""]
        lines += [f"\tannotation PBI_ResultType = {parameter.data_type}", ""]
    return "\n".join(lines)


def relationships_file(relationships: Iterable[Relationship]) -> str:
    """Write the relationships.

    Parameters
    ----------
    relationships : iterable of Relationship
        All of them.

    Returns
    -------
    str
        TMDL.
    """
    lines: list[str] = []
    for relationship in relationships:
        many, one = (f"{quoted(table)}.{quoted(column)}" for table, column in (relationship.many, relationship.one))
        lines += [f"relationship {lineage_tag('relationship', many, one)}"]
        lines += [f"\tfromColumn: {many}", f"\ttoColumn: {one}", ""]
    return "\n".join(lines)


def source_query(table: Table) -> list[str]:
    """Write the Power Query (M) that reads a table from its view.

    Parameters
    ----------
    table : Table
        A table with a view.

    Returns
    -------
    list of str
        Lines of M. Columns are named, so that a new one in the view does not change the model, and typed, so that the
        connector's guess does not count.
    """
    names = ", ".join(f'"{column.source}"' for column in table.columns)
    types = ", ".join(f'{{"{column.source}", {M_TYPES[column.data_type]}}}' for column in table.columns)
    rows, ranged = "View", list[str]()
    if table.range_by:
        # On the view itself, so that the server does it.
        within = f"[{table.range_by}] >= RangeStart and [{table.range_by}] < RangeEnd"
        rows, ranged = "Range", [f"\tRange = Table.SelectRows(View, each {within}),"]
    return [
        "let",
        "\tSource = MySQL.Database(MySQLServer, MySQLDatabase, [ReturnSingleDatabase=true, "
        f"CreateNavigationProperties=false, TreatTinyAsBoolean=false, CommandTimeout={TIMEOUT}]),",
        f'\tView = Source{{[Schema=MySQLDatabase, Item="{table.view}"]}}[Data],',
        *ranged,
        f"\tColumns = Table.SelectColumns({rows}, {{{names}}}),",
        f"\tTyped = Table.TransformColumnTypes(Columns, {{{types}}})",
        "in",
        "\tTyped",
    ]


def _described(description: str, depth: int) -> list[str]:
    return [f"{chr(9) * depth}/// {line.strip()}" for line in description.splitlines() if line.strip()]


def _measure(table: str, measure: Measure) -> list[str]:
    body = measure.expression.strip().splitlines()
    lines = [*_described(measure.description, 1)]
    if len(body) == 1:
        lines += [f"\tmeasure {quoted(measure.name)} = {body[0]}"]
    else:
        lines += [f"\tmeasure {quoted(measure.name)} =", *(f"\t\t\t{line.rstrip()}" for line in body)]
    lines += [f"\t\tformatString: {measure.format_string}"] if measure.format_string else []
    lines += [f"\t\tdisplayFolder: {measure.display_folder}"]
    return [*lines, f"\t\tlineageTag: {lineage_tag(table, 'measure', measure.name)}"]


def _column(table: str, column: Column) -> list[str]:
    is_date = column.data_type == "date"
    lines = [*_described(column.description, 1), f"\tcolumn {quoted(column.name)}"]
    lines += [f"\t\tdataType: {'dateTime' if is_date else column.data_type}"]
    lines += ["\t\tisHidden"] if column.is_hidden else []
    lines += ["\t\tisKey"] if column.is_key else []
    lines += [f"\t\tformatString: {column.format_string}"] if column.format_string else []
    lines += [f"\t\tlineageTag: {lineage_tag(table, 'column', column.name)}", "\t\tsummarizeBy: none"]
    lines += [f"\t\tsourceColumn: {column.source}"]
    lines += [f"\t\tsortByColumn: {quoted(column.sort_by)}"] if column.sort_by else []
    if column.is_parameter:
        lines += ["", "\t\textendedProperty ParameterMetadata =", "\t\t\t\t{", '\t\t\t\t  "version": 0', "\t\t\t\t}"]
    lines += ["", "\t\tannotation SummarizationSetBy = User"]
    return [*lines, "", "\t\tannotation UnderlyingDateTimeDataType = Date"] if is_date else lines


def _partition(table: Table) -> list[str]:
    kind = "m" if table.view else "calculated"
    body = source_query(table) if table.view else (table.expression or "").splitlines()
    lines = [f"\tpartition {quoted(table.name)} = {kind}", "\t\tmode: import", "\t\tsource ="]
    return [*lines, *(f"\t\t\t\t{line}" for line in body)]
