"""Write measures as queries that DuckDB, MySQL and MariaDB share."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bi.measures.model import MARK, MEDIAN, PARAMETERS, Measure, MeasureError, Value
from bi.tables import known_columns
from warehouse.base import SCHEMA

# A sum or a mean of one column: over some of the rows it can be had beside what is asked of all of them.
OF_COLUMN = re.compile(r"(sum|avg)\((\w+)\)")
# What a view takes from a table row by row. A question for these columns alone needs no join of its predictions.
STORED = {"bi_sessions": "bi_session_facts"}
Values = list[Value | None]
Chosen = Mapping[str, float | None] | None


def measure_sql(
    measure: Measure,
    by: Sequence[str] = (),
    where: Mapping[str, Sequence[Value]] | None = None,
    parameters: Chosen = None,
) -> tuple[str, Values]:
    """Write a measure's query, broken down and filtered.

    Parameters
    ----------
    measure : Measure
        The measure.
    by : sequence of str
        Columns of the measure's table to break it down by.
    where : mapping of str to sequence, optional
        Column to the values that rows may have in it.
    parameters : mapping of str to float, optional
        Chosen values of what-if parameters; by default what the last run used.

    Returns
    -------
    str
        A query with `?` for each value: the columns of `by`, then `value`; ordered by the former.
    list
        The values.

    Raises
    ------
    MeasureError
        When a column or parameter is unknown, or a filter has no value.
    """
    return measures_sql([measure], by, where, parameters, names=["value"])


def measures_sql(
    measures: Sequence[Measure],
    by: Sequence[str] = (),
    where: Mapping[str, Sequence[Value]] | None = None,
    parameters: Chosen = None,
    *,
    names: Sequence[str] | None = None,
) -> tuple[str, Values]:
    """Write one query for several measures of the same table and filter, as `together` groups them.

    Parameters
    ----------
    measures : sequence of Measure
        The measures; one alone if it is a median or has a `top`.
    by, where, parameters
        See measure_sql.
    names : sequence of str, optional
        What the values are called; by default value_1, value_2 and so on.

    Returns
    -------
    str
        A query with `?` for each value.
    list
        The values.

    Raises
    ------
    MeasureError
        See measure_sql; or when the measures cannot share a query.
    """
    # The filters of all others go on where this one's ends.
    first = min(measures, key=lambda measure: len(measure.where))
    if len(together(measures)) > 1:
        raise MeasureError(f"these cannot be asked at once: {', '.join(measure.name for measure in measures)}")
    unknown = set(parameters or {}) - PARAMETERS.keys()
    if unknown:
        raise MeasureError(f"unknown parameters {sorted(unknown)}; there are {', '.join(PARAMETERS)}")
    names = names or [f"value_{number}" for number in range(1, len(measures) + 1)]
    rows = _rows(first, by, where or {}, parameters)
    rows = replace(rows, table=_source(first.table, [*by, *(where or {}), *map(_mentioned, measures)]))
    if median := MEDIAN.fullmatch(first.sql):
        return _median(median[1], rows, names[0])
    expressions = [_bound(_within(measure, first.where), parameters) for measure in measures]
    if first.top:
        return _top(first, expressions[0], rows, names[0])
    listed = ", ".join(f"{text} as {name}" for (text, _), name in zip(expressions, names, strict=True))
    values = [value for _, bound in expressions for value in bound]
    return f"select {rows.chosen}{listed} {rows.source}{rows.filters}{rows.order}", values + rows.values


def together(measures: Sequence[Measure]) -> list[list[Measure]]:
    """Group measures that one query can answer.

    Parameters
    ----------
    measures : sequence of Measure
        The measures.

    Returns
    -------
    list of list of Measure
        The same measures; those of a group share the table, and a filter or its beginning.
    """
    groups: dict[tuple[str, ...], list[Measure]] = {}
    for measure in sorted(measures, key=lambda measure: len(measure.where)):
        alone = measure.name if measure.top or MEDIAN.fullmatch(measure.sql) else ""
        wider = (
            (table, start, other)
            for table, start, other in groups
            if table == measure.table and not alone and not other and _goes_on(measure, start)
        )
        groups.setdefault(next(wider, (measure.table, measure.where, alone)), []).append(measure)
    return list(groups.values())


def _goes_on(measure: Measure, start: str) -> bool:
    """Whether a measure has this filter, or is a sum or a mean over some of the rows that it leaves."""
    if measure.where == start:
        return True
    begins = not start or measure.where.startswith(f"{start} and ")
    return begins and " or " not in measure.where and OF_COLUMN.fullmatch(measure.sql) is not None


def _within(measure: Measure, start: str) -> str:
    """Write a measure's aggregate over rows that the beginning of its filter has left."""
    rest = measure.where.removeprefix(start).removeprefix(" and ")
    return OF_COLUMN.sub(rf"\1(case when {rest} then \2 end)", measure.sql) if rest else measure.sql


def _mentioned(measure: Measure) -> str:
    return f"{measure.sql} {measure.where} {measure.top} {measure.top_order}"


def _source(table: str, texts: Sequence[str]) -> str:
    """Say where the columns that texts mention can be read with the least work."""
    stored = STORED.get(table)
    if stored is None:
        return table
    columns = set(re.findall(r"\w+", " ".join(texts))) & set(known_columns()[table])
    return stored if columns <= set(known_columns()[stored]) else table


@dataclass(frozen=True)
class _Rows:
    """The rows that a query is over: where they come from, which of them count, and how they are broken down."""

    table: str
    by: Sequence[str]
    conditions: list[str]
    values: Values

    @property
    def source(self) -> str:
        return f"from {SCHEMA}.{self.table}"

    @property
    def filters(self) -> str:
        return f" where {' and '.join(self.conditions)}" if self.conditions else ""

    @property
    def chosen(self) -> str:
        return "".join(f"{column}, " for column in self.by)

    @property
    def windows(self) -> str:
        return f"partition by {', '.join(self.by)} " if self.by else ""

    @property
    def order(self) -> str:
        grouped = ", ".join(self.by)
        return f" group by {grouped} order by {grouped}" if self.by else ""


def _rows(measure: Measure, by: Sequence[str], where: Mapping[str, Sequence[Value]], parameters: Chosen) -> _Rows:
    unknown = sorted({*by, *where} - set(known_columns()[measure.table]))
    if unknown:
        raise MeasureError(f"{measure.table} has no column {', '.join(map(repr, unknown))}")
    conditions, values = list[str](), Values()
    if measure.where:
        text, bound = _bound(measure.where, parameters)
        conditions.append(f"({text})")
        values += bound
    for column, allowed in where.items():
        if isinstance(allowed, str) or not allowed:
            raise MeasureError(f"{measure.name}: the filter on {column} needs a list of at least one value")
        conditions.append(f"{column} in ({', '.join('?' * len(allowed))})")
        values += allowed
    return _Rows(measure.table, by, conditions, values)


def _median(column: str, rows: _Rows, name: str) -> tuple[str, Values]:
    """The middle entry, or the mean of the two middle ones: not every engine has a median."""
    filters = " and ".join([*rows.conditions, f"{column} is not null"])
    ranked = (
        f"select {rows.chosen}{column} as entry, row_number() over ({rows.windows}order by {column}) as place, "
        f"count(*) over ({rows.windows.strip()}) as places {rows.source} where {filters}"
    )
    middle = f"from ({ranked}) as ranked where 2 * place between places and places + 2"
    return f"select {rows.chosen}avg(entry) as {name} {middle}{rows.order}", rows.values


def _top(measure: Measure, score: tuple[str, Values], rows: _Rows, name: str) -> tuple[str, Values]:
    """The entry of one column for which the score is greatest."""
    text, values = score
    columns = ", ".join(dict.fromkeys([*rows.by, measure.top, measure.top_order]))
    scored = f"select {columns}, {text} as score {rows.source}{rows.filters} group by {columns}"
    ranked = (
        f"select {rows.chosen}{measure.top} as entry, row_number() over "
        f"({rows.windows}order by score desc, {measure.top_order}) as place from ({scored}) as scored"
    )
    order = f" order by {', '.join(rows.by)}" if rows.by else ""
    return (
        f"select {rows.chosen}entry as {name} from ({ranked}) as ranked where place = 1{order}",
        values + rows.values,
    )


def _bound(text: str, parameters: Chosen) -> tuple[str, Values]:
    """Put `?` where a chosen parameter is named, and the default's query where none is chosen."""
    values = Values()

    def replaced(match: re.Match[str]) -> str:
        value = (parameters or {}).get(match[1])
        if value is None:
            return PARAMETERS[match[1]].default_sql
        values.append(value)
        return "?"

    return MARK.sub(replaced, text), values
