"""The one definition of every number on the four pages, in SQL for the report and in DAX for Power BI.

A measure is an aggregate of one `bi_*` table. Its SQL is what DuckDB, MySQL and MariaDB share; its DAX says the same
and is held against it by tests. What is estimated or simulated is called so in its description.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from warehouse.base import SCHEMA, Warehouse

MODELS = Path(__file__).resolve().parents[1] / "models" / "bi" / "_bi__models.yml"
Value = str | int | float | date
Number = float | int | str | None

OVERVIEW, RISK, INTERVENTION, ROI = "Funnel Overview", "Risk Segments", "Intervention Strategy", "ROI Projection"
PAGES = (OVERVIEW, RISK, INTERVENTION, ROI)

# The tables as Power BI calls them; columns keep their names.
TABLES = {
    "bi_sessions": "Session",
    "bi_session_decisions": "Session Decision",
    "bi_funnel_daily": "Funnel Daily",
    "bi_dates": "Date",
    "bi_categories": "Category",
    "bi_decision_points": "Decision Point",
    "bi_roi": "ROI",
    "bi_roi_gains": "ROI Gain",
    "bi_roi_sensitivity": "ROI Sensitivity",
    "bi_uplift_deciles": "Uplift Decile",
    "bi_uplift_metrics": "Uplift Metric",
    "bi_experiment_plan": "Experiment Plan",
    "bi_ab_tests": "AB Test",
    "bi_shap": "SHAP",
    "bi_model_metrics": "Model Metric",
    "bi_calibration": "Calibration",
    "bi_status": "Status",
}

Unit = Literal["sessions", "conversions", "count", "share", "seconds", "days", "currency", "percent", "ratio", "text"]
FORMATS: dict[Unit, str] = {
    "sessions": "#,0",
    "conversions": "#,0",
    "count": "#,0",
    "share": "0.0%",
    "seconds": "#,0",
    "days": "#,0.0",
    "currency": "#,0",
    "percent": "0",
    "ratio": "0.000",
    "text": "",
}
# Two-sided 95 % of the normal distribution.
Z = "1.959963984540054"

MARK = re.compile(r":(share|cost|revenue)\b")
MEDIAN = re.compile(r"median\((\w+)\)")


class MeasureError(Exception):
    """A measure was asked for by a column, value or parameter that it does not have."""


@dataclass(frozen=True)
class Parameter:
    """A what-if question: a table of one column in Power BI, a bound value in SQL; by default as last run."""

    name: str
    table: str
    column: str
    default_column: str
    lowest: float
    highest: float
    step: float
    description: str

    @property
    def default_sql(self) -> str:
        """The value without a choice, as a scalar query."""
        return f"(select max({self.default_column}) from {SCHEMA}.bi_status)"

    @property
    def dax(self) -> str:
        """The value chosen, else the default."""
        return f"SELECTEDVALUE('{self.table}'[{self.column}], MAX('Status'[{self.default_column}]))"


PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        Parameter(
            "share", "What-if Share", "Share", "chosen_share_percent", 1, 100, 1, "Sessions treated, in percent."
        ),
        Parameter(
            "cost", "What-if Cost", "Cost", "unit_cost", 0, 50, 0.5, "Cost of treating, a conversion or a session."
        ),
        Parameter(
            "revenue", "What-if Revenue", "Revenue", "revenue_per_conversion", 0, 500, 5, "Revenue of a conversion."
        ),
    )
}


@dataclass(frozen=True)
class Measure:
    """One number: what it is, where it is shown, and how SQL and DAX get it.

    `sql` is an aggregate over `table` where `where` holds, null or 0 over no rows; `median(column)` stands for the
    median, and `:share`, `:cost` and `:revenue` for parameters. With `top`, the value is that column's entry for which
    `sql` is greatest, of equals the one with the lowest `top_order`. `format` is Power BI's.
    """

    name: str
    page: str
    folder: str
    description: str
    table: str
    sql: str
    dax: str
    unit: Unit
    where: str = ""
    top: str = ""
    top_order: str = ""

    @property
    def format(self) -> str:
        """Power BI's format string; empty for text."""
        return FORMATS[self.unit]

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters that it depends on, in the order of their marks."""
        return MARK.findall(f"{self.sql} {self.where}")


def measure_sql(
    measure: Measure,
    by: Sequence[str] = (),
    where: Mapping[str, Sequence[Value]] | None = None,
    parameters: Mapping[str, float | None] | None = None,
) -> tuple[str, list[Value | None]]:
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
    parameters: Mapping[str, float | None] | None = None,
    names: Sequence[str] | None = None,
) -> tuple[str, list[Value | None]]:
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
    first = measures[0]
    if len(together(measures)) > 1:
        raise MeasureError(f"these cannot be asked at once: {', '.join(measure.name for measure in measures)}")
    names = names or [f"value_{number}" for number in range(1, len(measures) + 1)]
    _check(first.table, [*by, *(where or {})])
    unknown = set(parameters or {}) - PARAMETERS.keys()
    if unknown:
        raise MeasureError(f"unknown parameters {sorted(unknown)}; there are {', '.join(PARAMETERS)}")
    source, conditions, condition_values = f"from {SCHEMA}.{first.table}", [], list[Value | None]()
    if first.where:
        text, values = _bound(first.where, parameters)
        conditions.append(f"({text})")
        condition_values += values
    for column, allowed in (where or {}).items():
        if isinstance(allowed, str) or not allowed:
            raise MeasureError(f"{first.name}: the filter on {column} needs a list of at least one value")
        conditions.append(f"{column} in ({', '.join('?' * len(allowed))})")
        condition_values += allowed
    grouped = ", ".join(by)
    order = f" group by {grouped} order by {grouped}" if by else ""
    chosen = f"{grouped}, " if by else ""
    median = MEDIAN.fullmatch(first.sql)
    if median:
        column = median[1]
        filters = " and ".join([*conditions, f"{column} is not null"])
        windows = f"partition by {grouped} " if by else ""
        ranked = (
            f"select {chosen}{column} as entry, row_number() over ({windows}order by {column}) as place, "
            f"count(*) over ({windows.strip()}) as places {source} where {filters}"
        )
        middle = f"from ({ranked}) as ranked where 2 * place between places and places + 2"
        return f"select {chosen}avg(entry) as {names[0]} {middle}{order}", condition_values
    filters = f" where {' and '.join(conditions)}" if conditions else ""
    expressions, values = list[str](), list[Value | None]()
    for measure in measures:
        text, bound = _bound(measure.sql, parameters)
        expressions.append(text)
        values += bound
    if first.top:
        windows = f"partition by {grouped} " if by else ""
        columns = ", ".join(dict.fromkeys([*by, first.top, first.top_order]))
        scored = f"select {columns}, {expressions[0]} as score {source}{filters} group by {columns}"
        ranked = (
            f"select {chosen}{first.top} as entry, row_number() over "
            f"({windows}order by score desc, {first.top_order}) as place from ({scored}) as scored"
        )
        order = f" order by {grouped}" if by else ""
        return (
            f"select {chosen}entry as {names[0]} from ({ranked}) as ranked where place = 1{order}",
            values + condition_values,
        )
    listed = ", ".join(f"{text} as {name}" for text, name in zip(expressions, names, strict=True))
    return f"select {chosen}{listed} {source}{filters}{order}", values + condition_values


def together(measures: Sequence[Measure]) -> list[list[Measure]]:
    """Group measures that one query can answer.

    Parameters
    ----------
    measures : sequence of Measure
        The measures.

    Returns
    -------
    list of list of Measure
        The same measures; those of a group share table and filter.
    """
    groups: dict[tuple[str, ...], list[Measure]] = {}
    for measure in measures:
        alone = measure.name if measure.top or MEDIAN.fullmatch(measure.sql) else ""
        groups.setdefault((measure.table, measure.where, alone), []).append(measure)
    return list(groups.values())


def evaluate(
    warehouse: Warehouse,
    measure: Measure,
    by: Sequence[str] = (),
    where: Mapping[str, Sequence[Value]] | None = None,
    parameters: Mapping[str, float | None] | None = None,
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
    parameters: Mapping[str, float | None] | None = None,
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
        One a combination of `by` that any of them has: its columns, and each measure's value by its name.

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
        sql, values = measures_sql(group, by, where, parameters, names)
        for row in warehouse.query(sql, values):
            entry = found.setdefault(tuple(row[column] for column in by), {column: row[column] for column in by})
            entry |= {measure.name: _plain(row[name]) for measure, name in zip(group, names, strict=True)}
    blank = {measure.name: None for measure in measures}
    return [{column: row[column] for column in by} | blank | row for row in found.values()]


@cache
def known_columns() -> dict[str, tuple[str, ...]]:
    """Read from the models' yml which columns the `bi_*` tables have.

    Returns
    -------
    dict of str to tuple of str
        Table to its columns.
    """
    described = yaml.safe_load(MODELS.read_text(encoding="utf-8"))["models"]
    return {model["name"]: tuple(column["name"] for column in model["columns"]) for model in described}


def _check(table: str, columns: Sequence[str]) -> None:
    unknown = sorted(set(columns) - set(known_columns()[table]))
    if unknown:
        raise MeasureError(f"{table} has no column {', '.join(map(repr, unknown))}")


def _bound(text: str, parameters: Mapping[str, float | None] | None) -> tuple[str, list[Value | None]]:
    """Put `?` where a chosen parameter is named, and the default's query where none is chosen."""
    values = list[Value | None]()

    def replaced(match: re.Match[str]) -> str:
        value = (parameters or {}).get(match[1])
        if value is None:
            return PARAMETERS[match[1]].default_sql
        values.append(value)
        return "?"

    return MARK.sub(replaced, text), values


def _plain(value: Any) -> Number:
    """A sum of whole numbers is a decimal on MySQL, one of money on every engine."""
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    return value  # type: ignore[no-any-return]


def _measure(
    name: str,
    place: tuple[str, str],
    unit: Unit,
    table: str,
    sql: str,
    dax: str,
    description: str,
    only: Mapping[str, str | int] | None = None,
    top: tuple[str, str] = ("", ""),
) -> Measure:
    """A measure whose filter is written once; `@` in the DAX is the table, `only` what its columns must equal."""
    only = only or {}
    power_bi = f"'{TABLES[table]}'"
    filters = [f"KEEPFILTERS(@[{column}] = {_literal(value, chr(34))})" for column, value in only.items()]
    whole = f"CALCULATE({', '.join([dax, *filters])})" if filters else dax
    return Measure(
        name=name,
        page=place[0],
        folder=place[1],
        description=description,
        table=table,
        sql=sql,
        dax=whole.replace("@", power_bi),
        unit=unit,
        where=" and ".join(f"{column} = {_literal(value, chr(39))}" for column, value in only.items()),
        top=top[0],
        top_order=top[1],
    )


def _literal(value: str | int, quote: str) -> str:
    return str(value) if isinstance(value, int) else f"{quote}{value}{quote}"


def _ratio(dividend: str, divisor: str) -> str:
    """A quotient as a double, null where the divisor is null or 0; `1e0` is a double on every engine."""
    return f"1e0 * {dividend} / nullif({divisor}, 0)"


def _single(
    name: str,
    place: tuple[str, str],
    unit: Unit,
    table: str,
    column: str,
    description: str,
    only: Mapping[str, str | int] | None = None,
) -> Measure:
    """A figure that ml worked out for one row: it is shown for one row at a time and never added up."""
    return _measure(
        name,
        place,
        unit,
        table,
        f"case when count(*) = 1 then max({column}) end",
        f"IF(COUNTROWS(@) = 1, MAX(@[{column}]))",
        description,
        only,
    )


def _with_bounds(
    name: str,
    place: tuple[str, str],
    unit: Unit,
    table: str,
    columns: tuple[str, str, str],
    description: str,
    only: Mapping[str, str | int] | None = None,
) -> list[Measure]:
    """The same with the ends of its 95 % interval."""
    value, lower, upper = columns
    end = f"end of the 95 % interval of {name}."
    return [
        _single(name, place, unit, table, value, description, only),
        _single(f"{name} lower", place, unit, table, lower, f"Lower {end}", only),
        _single(f"{name} upper", place, unit, table, upper, f"Upper {end}", only),
    ]


def _overview() -> list[Measure]:
    reach, money, time = (OVERVIEW, "Funnel"), (OVERVIEW, "Revenue"), (OVERVIEW, "Time to convert")
    steps, table, daily = (OVERVIEW, "Steps"), "bi_sessions", "bi_funnel_daily"
    before_last = {"is_last_step": 0}
    measures = [
        _measure("Sessions", reach, "sessions", table, "count(*)", "COUNTROWS(@)", "Sessions."),
        _measure(
            "Visitors",
            reach,
            "count",
            table,
            "count(distinct visitor_id)",
            "DISTINCTCOUNT(@[visitor_id])",
            "Different visitor ids: a person with two devices is two.",
        ),
        *(
            _measure(name, reach, "sessions", table, f"sum({column})", f"SUM(@[{column}])", description)
            for name, column, description in (
                ("View sessions", "has_view", "Sessions with a view."),
                ("Cart sessions", "has_addtocart", "Sessions with an addition to the cart."),
                ("Converting sessions", "has_transaction", "Sessions with a transaction."),
            )
        ),
        _measure(
            "Conversion rate",
            reach,
            "share",
            table,
            _ratio("sum(has_transaction)", "count(*)"),
            "DIVIDE([Converting sessions], [Sessions])",
            "Share of sessions with a transaction.",
        ),
        _measure(
            "View to cart rate",
            reach,
            "share",
            table,
            _ratio("sum(has_view * has_addtocart)", "sum(has_view)"),
            "DIVIDE(SUMX(@, @[has_view] * @[has_addtocart]), [View sessions])",
            "Share of the sessions with a view that also have an addition to the cart.",
        ),
        _measure(
            "Cart to transaction rate",
            reach,
            "share",
            table,
            _ratio("sum(has_addtocart * has_transaction)", "sum(has_addtocart)"),
            "DIVIDE(SUMX(@, @[has_addtocart] * @[has_transaction]), [Cart sessions])",
            "Share of the sessions with a cart that also have a transaction.",
        ),
        _measure(
            "Cart abandonment rate",
            reach,
            "share",
            table,
            _ratio("sum(has_addtocart * (1 - has_transaction))", "sum(has_addtocart)"),
            "DIVIDE(SUMX(@, @[has_addtocart] * (1 - @[has_transaction])), [Cart sessions])",
            "Share of the sessions with a cart that have no transaction.",
        ),
    ]
    for kind in ("new", "returning"):
        only, called = {"visitor_type": kind}, kind.capitalize()
        measures += [
            _measure(
                f"{called} visitor sessions",
                (OVERVIEW, "New and returning"),
                "sessions",
                table,
                "count(*)",
                "COUNTROWS(@)",
                f"Sessions of {kind} visitors; a visitor is new in the first session only.",
                only,
            ),
            _measure(
                f"{called} visitor conversion rate",
                (OVERVIEW, "New and returning"),
                "share",
                table,
                _ratio("sum(has_transaction)", "count(*)"),
                "DIVIDE(SUM(@[has_transaction]), COUNTROWS(@))",
                f"Share of the sessions of {kind} visitors with a transaction.",
                only,
            ),
        ]
    measures += [
        _measure(
            "Revenue",
            money,
            "currency",
            table,
            "sum(revenue)",
            "SUM(@[revenue])",
            "Prices of the items bought, each item of an order once; unknown prices count 0.",
        ),
        _measure(
            "Revenue per session",
            money,
            "currency",
            table,
            _ratio("sum(revenue)", "count(*)"),
            "DIVIDE([Revenue], [Sessions])",
            "Revenue over sessions.",
        ),
        _measure(
            "Revenue per converting session",
            money,
            "currency",
            table,
            _ratio("sum(revenue)", "sum(has_transaction)"),
            "DIVIDE([Revenue], [Converting sessions])",
            "Revenue over sessions with a transaction.",
        ),
        _measure(
            "Revenue lost",
            money,
            "currency",
            table,
            "sum(abandoned_value)",
            "SUM(@[abandoned_value])",
            "What sessions without a transaction left in their carts: not what could be won back.",
            {"has_transaction": 0},
        ),
        _measure(
            "Carted value", money, "currency", table, "sum(carted_value)", "SUM(@[carted_value])", "Value of all carts."
        ),
    ]
    for start, end, column in (
        ("view", "cart", "view_to_cart_seconds"),
        ("cart", "transaction", "cart_to_transaction_seconds"),
        ("view", "transaction", "view_to_transaction_seconds"),
    ):
        passed = f"from the first {start} to the first {end}, where the steps came in order."
        measures += [
            _measure(
                f"Median {start} to {end} seconds",
                time,
                "seconds",
                table,
                f"median({column})",
                f"MEDIAN(@[{column}])",
                f"Median time {passed}",
            ),
            _measure(
                f"Mean {start} to {end} seconds",
                time,
                "seconds",
                table,
                f"avg({column})",
                f"AVERAGE(@[{column}])",
                f"Mean time {passed} A few long sessions pull it up.",
            ),
        ]
    return [
        *measures,
        _measure(
            "Sessions at step",
            steps,
            "sessions",
            daily,
            "sum(entered)",
            "SUM(@[entered])",
            "Sessions with an event of the step. Read it by step: one session is at several.",
        ),
        _measure(
            "Step conversions",
            steps,
            "sessions",
            daily,
            "sum(converted)",
            "SUM(@[converted])",
            "Sessions at the step that are at the next one too.",
            before_last,
        ),
        _measure(
            "Step drop-offs",
            steps,
            "sessions",
            daily,
            "sum(dropped_off)",
            "SUM(@[dropped_off])",
            "Sessions at the step that are not at the next one.",
            before_last,
        ),
        _measure(
            "Step conversion rate",
            steps,
            "share",
            daily,
            _ratio("sum(converted)", "sum(entered)"),
            "DIVIDE(SUM(@[converted]), SUM(@[entered]))",
            "Share of the sessions at the step that are at the next one too.",
            before_last,
        ),
        _measure(
            "Step drop-off rate",
            steps,
            "share",
            daily,
            _ratio("sum(dropped_off)", "sum(entered)"),
            "DIVIDE(SUM(@[dropped_off]), SUM(@[entered]))",
            "Share of the sessions at the step that are not at the next one.",
            before_last,
        ),
        _measure(
            "Step revenue lost",
            steps,
            "currency",
            daily,
            "sum(revenue_lost)",
            "SUM(@[revenue_lost])",
            "What sessions that ended at the step left in their carts.",
            before_last,
        ),
        _measure(
            "Biggest drop-off step",
            steps,
            "text",
            daily,
            _ratio("sum(dropped_off)", "sum(entered)"),
            "MAXX(TOPN(1, SUMMARIZE(@, @[step], @[step_number]), [Step drop-off rate], DESC, @[step_number], ASC), "
            "@[step])",
            "The step with the highest drop-off rate; of equals the earlier one.",
            before_last,
            ("step", "step_number"),
        ),
    ]


def _risk() -> list[Measure]:
    table, sessions = "bi_session_decisions", "bi_sessions"
    found, act, value = (RISK, "Predictions"), (RISK, "Act now"), (RISK, "Value at risk")
    honest: dict[str, str | int] = {"is_out_of_sample": 1}
    note = "Out-of-sample rows only: later than anything the model saw."
    model, influence, curve = (RISK, "Model"), (RISK, "Reasons"), (RISK, "Calibration")
    champion = {"is_champion": 1}
    overall: dict[str, str | int] = {"is_champion": 1, "slice": "overall"}
    measures = [
        _measure("Scored decisions", found, "count", table, "count(*)", "COUNTROWS(@)", f"Predictions. {note}", honest),
        _measure(
            "Judged decisions",
            found,
            "count",
            table,
            "sum(is_closed)",
            "SUM(@[is_closed])",
            f"Predictions whose session is over, so that the outcome is known. {note}",
            honest,
        ),
        _measure(
            "Observed conversion",
            found,
            "share",
            table,
            _ratio("sum(has_transaction)", "sum(is_closed)"),
            "DIVIDE(SUM(@[has_transaction]), SUM(@[is_closed]))",
            f"Share of the judged decisions after which the session bought. {note}",
            honest,
        ),
        _measure(
            "Predicted conversion",
            found,
            "share",
            table,
            "avg(probability)",
            "AVERAGE(@[probability])",
            f"Mean predicted probability over the judged decisions. {note}",
            honest | {"is_closed": 1},
        ),
        _measure(
            "Abandon rate",
            found,
            "share",
            table,
            _ratio("(sum(is_closed) - sum(has_transaction))", "sum(is_closed)"),
            "DIVIDE(SUM(@[is_closed]) - SUM(@[has_transaction]), SUM(@[is_closed]))",
            f"Share of the judged decisions after which the session left without buying. {note}",
            honest,
        ),
        _measure(
            "Scored sessions",
            found,
            "sessions",
            sessions,
            "count(*)",
            "COUNTROWS(@)",
            f"Sessions with a prediction at their latest decision point. {note}",
            honest,
        ),
        _measure(
            "High-risk sessions",
            found,
            "sessions",
            sessions,
            "count(*)",
            "COUNTROWS(@)",
            f"Those whose risk of leaving is high against the usual at that point. {note}",
            honest | {"risk_band": "high"},
        ),
        _measure(
            "Abandoned value at risk",
            value,
            "currency",
            table,
            "sum(abandoned_value_at_risk)",
            "SUM(@[abandoned_value_at_risk])",
            "Value in the cart at each session's latest decision, times the probability of leaving without buying. "
            f"An estimate. {note}",
            honest | {"is_latest": 1},
        ),
        _measure(
            "Value at risk at the decision point",
            value,
            "currency",
            table,
            "sum(abandoned_value_at_risk)",
            "SUM(@[abandoned_value_at_risk])",
            f"The same at every decision. Read it by decision point: one cart counts at several. An estimate. {note}",
            honest,
        ),
        _measure(
            "Abandoned value left",
            value,
            "currency",
            sessions,
            "sum(abandoned_value)",
            "SUM(@[abandoned_value])",
            f"What the scored sessions without a transaction did leave in their carts. {note}",
            honest | {"has_transaction": 0},
        ),
    ]
    now: dict[str, str | int] = {"is_open": 1, "has_transaction": 0, "is_out_of_sample": 1}
    measures += [
        _measure(
            "Open sessions",
            act,
            "sessions",
            sessions,
            "count(*)",
            "COUNTROWS(@)",
            "Sessions still open by the data's own last event that have not bought and have a prediction.",
            now,
        ),
        _measure(
            "Open sessions at high risk",
            act,
            "sessions",
            sessions,
            "count(*)",
            "COUNTROWS(@)",
            "Those of them whose risk of leaving is high.",
            now | {"risk_band": "high"},
        ),
        _measure(
            "Open sessions worth treating",
            act,
            "sessions",
            sessions,
            "count(*)",
            "COUNTROWS(@)",
            "Those of them that are persuadable, where the last uplift run has scored them.",
            now | {"quadrant": "persuadable"},
        ),
        _measure(
            "Open cart value at risk",
            act,
            "currency",
            sessions,
            "sum(carted_value * abandon_probability)",
            "SUMX(@, @[carted_value] * @[abandon_probability])",
            "Value in the carts of open sessions times the probability of leaving without buying. An estimate.",
            now,
        ),
    ]
    for name, metric, description in (
        ("AUC", "auc_roc", "How often a buyer is ranked above a non-buyer, on the test slice. 0.5 is chance."),
        ("Average precision", "average_precision", "Read it against the base rate beside it, on the test slice."),
        ("Calibration error", "expected_calibration_error", "Mean distance of predicted and observed rate by bin."),
    ):
        measures += _with_bounds(
            name,
            model,
            "ratio",
            "bi_model_metrics",
            ("value", "ci_lower", "ci_upper"),
            description,
            overall | {"metric": metric},
        )
    return [
        *measures,
        _measure(
            "Base rate",
            model,
            "share",
            "bi_model_metrics",
            _ratio("max(n_positives)", "max(n_rows)"),
            "DIVIDE(MAX(@[n_positives]), MAX(@[n_rows]))",
            "Converting share of the test slice's rows.",
            overall | {"metric": "auc_roc"},
        ),
        *_with_bounds(
            "Model metric",
            model,
            "ratio",
            "bi_model_metrics",
            ("value", "ci_lower", "ci_upper"),
            "The champion's figure for one slice of the test rows and one metric.",
            champion,
        ),
        *_with_bounds(
            "Calibration observed",
            curve,
            "share",
            "bi_calibration",
            ("observed_rate", "ci_lower", "ci_upper"),
            "Observed conversion of one bin of equal count of one slice of the test rows, the champion's.",
            champion,
        ),
        _single(
            "Calibration predicted",
            curve,
            "share",
            "bi_calibration",
            "mean_predicted",
            "Mean predicted probability of the same bin.",
            champion,
        ),
        _single(
            "Feature influence",
            influence,
            "ratio",
            "bi_shap",
            "mean_abs_shap",
            "Mean absolute SHAP value of one feature at one decision point, or at all, in log-odds: what the model "
            "used, no cause.",
        ),
    ]


def _intervention() -> list[Measure]:
    table, deciles = "bi_sessions", "bi_uplift_deciles"
    effect, rank, who = (INTERVENTION, "Effect"), (INTERVENTION, "Ranking"), (INTERVENTION, "Quadrants")
    metrics, bounded = "bi_uplift_metrics", ("value", "ci_lower", "ci_upper")
    test = {"uplift_split": "test"}
    note = "Simulated where Effects simulated is 1."
    treated, control = "sum(treatment)", "sum(1 - treatment)"
    bought_treated, bought_control = "sum(treatment * experiment_outcome)", "sum((1 - treatment) * experiment_outcome)"
    difference = f"{_ratio(bought_treated, treated)} - {_ratio(bought_control, control)}"
    variance = (
        f"{_ratio(f'{bought_treated} * ({treated} - {bought_treated})', f'1e0 * {treated} * {treated} * {treated}')}"
        f" + {_ratio(f'{bought_control} * ({control} - {bought_control})', f'1e0 * {control} * {control} * {control}')}"
    )
    rates = (
        "DIVIDE(SUMX(@, @[treatment] * @[experiment_outcome]), SUM(@[treatment])) - "
        "DIVIDE(SUMX(@, (1 - @[treatment]) * @[experiment_outcome]), SUMX(@, 1 - @[treatment]))"
    )
    ends = (
        "VAR t = SUM(@[treatment]) VAR c = SUMX(@, 1 - @[treatment]) "
        "VAR bt = SUMX(@, @[treatment] * @[experiment_outcome]) "
        "VAR bc = SUMX(@, (1 - @[treatment]) * @[experiment_outcome]) "
        f"RETURN IF(t > 0 && c > 0, bt / t - bc / c {{sign}} {Z} * "
        "SQRT(ABS(bt * (t - bt) / (t * t * t) + bc * (c - bc) / (c * c * c))))"
    )
    return [
        *_with_bounds(
            "Average uplift",
            effect,
            "share",
            metrics,
            bounded,
            f"Conversion with treatment less conversion without, observed on the test slice. {note}",
            {"learner": "all", "metric": "average_effect"},
        ),
        _measure(
            "Treated conversion",
            effect,
            "share",
            table,
            _ratio(bought_treated, treated),
            "DIVIDE(SUMX(@, @[treatment] * @[experiment_outcome]), SUM(@[treatment]))",
            f"Conversion of the treated sessions of the test slice. {note}",
            test,
        ),
        _measure(
            "Control conversion",
            effect,
            "share",
            table,
            _ratio(bought_control, control),
            "DIVIDE(SUMX(@, (1 - @[treatment]) * @[experiment_outcome]), SUMX(@, 1 - @[treatment]))",
            f"Conversion of the untreated sessions of the test slice. {note}",
            test,
        ),
        _measure(
            "Observed uplift",
            effect,
            "share",
            table,
            difference,
            rates,
            f"Treated less control conversion of any group of sessions of the test slice. {note}",
            test,
        ),
        *(
            _measure(
                f"Observed uplift {end}",
                effect,
                "share",
                table,
                f"{difference} {sign} {Z} * sqrt(abs({variance}))",
                # A variable in front of CALCULATE's argument would see no filter, so it stands inside.
                ends.format(sign=sign),
                f"{end.capitalize()} end of its 95 % interval, sessions taken as independent: slightly too narrow.",
                test,
            )
            for end, sign in (("lower", "-"), ("upper", "+"))
        ),
        _measure(
            "Predicted uplift",
            effect,
            "share",
            table,
            "avg(uplift)",
            "AVERAGE(@[uplift])",
            f"Mean predicted uplift of sessions that the learner did not learn from. {note}",
            {"is_uplift_out_of_sample": 1},
        ),
        _measure(
            "Experiment sessions",
            effect,
            "sessions",
            table,
            "count(treatment)",
            "COUNT(@[treatment])",
            f"Sessions of the test slice in either arm. {note}",
            test,
        ),
        _measure(
            "Decile observed uplift",
            rank,
            "share",
            deciles,
            f"{_ratio('sum(conversions_treatment)', 'sum(n_treatment)')} - "
            f"{_ratio('sum(conversions_control)', 'sum(n_control)')}",
            "DIVIDE(SUM(@[conversions_treatment]), SUM(@[n_treatment])) - "
            "DIVIDE(SUM(@[conversions_control]), SUM(@[n_control]))",
            f"Treated less control conversion by tenth of the T-learner's score; 1 is the highest. {note}",
        ),
        _single("Decile uplift lower", rank, "share", deciles, "ci_lower", "Lower end of its 95 % interval."),
        _single("Decile uplift upper", rank, "share", deciles, "ci_upper", "Upper end of its 95 % interval."),
        _measure(
            "Decile predicted uplift",
            rank,
            "share",
            deciles,
            _ratio("sum(predicted_uplift * (n_treatment + n_control))", "sum(n_treatment + n_control)"),
            "DIVIDE(SUMX(@, @[predicted_uplift] * (@[n_treatment] + @[n_control])), "
            "SUMX(@, @[n_treatment] + @[n_control]))",
            f"Mean predicted uplift by the same tenth. {note}",
        ),
        *(
            measure
            for name, learner, versus, description in (
                ("Qini T-learner", "t_learner", "", "How well the T-learner ranks by uplift; 0 is random order."),
                ("Qini response", "response", "", "How well ranking by predicted conversion does."),
                ("Qini difference", "t_learner", "response", "T-learner less response, on the same resamples."),
            )
            for measure in _with_bounds(
                name,
                rank,
                "ratio",
                metrics,
                bounded,
                f"{description} {note}",
                {"learner": learner, "versus": versus, "metric": "qini"},
            )
        ),
        *_with_bounds(
            "Learner metric",
            rank,
            "ratio",
            metrics,
            bounded,
            f"Figure of one learner, or its difference to another (versus), and one metric, on the test slice. {note}",
        ),
        _measure(
            "Sessions with uplift",
            who,
            "sessions",
            table,
            "count(*)",
            "COUNTROWS(@)",
            f"Sessions with an uplift score that the learner did not learn from. {note}",
            {"is_uplift_out_of_sample": 1},
        ),
        *(
            _measure(
                name,
                who,
                "sessions",
                table,
                "count(*)",
                "COUNTROWS(@)",
                f"Those of them of which treating {description}. {note}",
                {"is_uplift_out_of_sample": 1, "quadrant": quadrant},
            )
            for name, quadrant, description in (
                ("Persuadables", "persuadable", "is expected to earn more than it costs"),
                ("Sure things", "sure thing", "costs more than it earns, for they buy anyway"),
                ("Lost causes", "lost cause", "costs more than it earns, for they do not buy"),
                ("Sleeping dogs", "sleeping dog", "makes fewer buy"),
            )
        ),
        *_with_bounds(
            "Profit over response targeting",
            (INTERVENTION, "Against response"),
            "currency",
            "bi_roi_gains",
            ("difference", "ci_lower", "ci_upper"),
            f"How much more uplift targeting earns than targeting the likeliest buyers, over the horizon. {note}",
            {"versus": "response"},
        ),
        *_with_bounds(
            "Profit over rival",
            (INTERVENTION, "Against response"),
            "currency",
            "bi_roi_gains",
            ("difference", "ci_lower", "ci_upper"),
            f"The same against one rival at its own best share. {note}",
        ),
    ]


def _roi() -> list[Measure]:
    table, status = "bi_roi", "bi_status"
    plan, curve, asked, money = (ROI, "Chosen plan"), (ROI, "Curve"), (ROI, "What if"), (ROI, "Sensitivity")
    planner, about = (ROI, "Experiment to run next"), (ROI, "About the data")
    chosen: dict[str, str | int] = {"strategy": "uplift", "is_chosen": 1}
    note = "Over the horizon, against treating nobody. Simulated where Effects simulated is 1."

    def from_status(
        name: str, place: tuple[str, str], unit: Unit, column: str, description: str, inside: str = "{}"
    ) -> Measure:
        return _measure(
            name,
            place,
            unit,
            status,
            inside.format(f"max({column})"),
            f"MAX(@[{column}])",
            description,
        )

    return [
        from_status(
            "Chosen share",
            plan,
            "percent",
            "chosen_share_percent",
            "Share of sessions to treat, in percent, by uplift.",
        ),
        _single("Sessions treated", plan, "sessions", table, "targeted_sessions", note, chosen),
        *_with_bounds(
            "Incremental conversions",
            plan,
            "conversions",
            table,
            ("incremental_conversions", "incremental_conversions_ci_lower", "incremental_conversions_ci_upper"),
            f"Conversions gained. {note}",
            chosen,
        ),
        _single(
            "Incremental revenue", plan, "currency", table, "incremental_revenue", f"Revenue gained. {note}", chosen
        ),
        _single("Cost", plan, "currency", table, "cost", f"Cost of treating. {note}", chosen),
        *_with_bounds(
            "Profit",
            plan,
            "currency",
            table,
            ("profit", "profit_ci_lower", "profit_ci_upper"),
            f"Margin gained less cost, doubly robust. {note}",
            chosen,
        ),
        *_with_bounds(
            "Profit by inverse propensity",
            plan,
            "currency",
            table,
            ("profit_ipw", "profit_ipw_ci_lower", "profit_ipw_ci_upper"),
            f"The same without a model of outcomes. {note}",
            chosen,
        ),
        *_with_bounds(
            "ROI", plan, "ratio", table, ("roi", "roi_ci_lower", "roi_ci_upper"), f"Profit over cost. {note}", chosen
        ),
        _single(
            "Profit of response targeting",
            plan,
            "currency",
            table,
            "profit",
            f"Profit of treating the likeliest buyers, at that strategy's own best share. {note}",
            {"strategy": "response", "is_chosen": 1},
        ),
        _single(
            "Profit of treating all",
            plan,
            "currency",
            table,
            "profit",
            f"Profit of treating every session. {note}",
            {"strategy": "uplift", "share_percent": 100},
        ),
        from_status(
            "Break-even share",
            plan,
            "percent",
            "break_even_share_percent",
            "Largest share, in percent, that loses nothing; 0: none.",
        ),
        from_status(
            "Break-even cost", plan, "currency", "break_even_cost", "Cost at which the chosen plan earns nothing."
        ),
        from_status("Horizon days", plan, "days", "horizon_days", "Days that the money is stated for."),
        *_with_bounds(
            "Curve profit",
            curve,
            "currency",
            table,
            ("profit", "profit_ci_lower", "profit_ci_upper"),
            f"Profit of one strategy at one share. {note}",
        ),
        *_with_bounds(
            "Curve ROI",
            curve,
            "ratio",
            table,
            ("roi", "roi_ci_lower", "roi_ci_upper"),
            f"ROI of one strategy at one share. {note}",
        ),
        *_with_bounds(
            "Curve incremental conversions",
            curve,
            "conversions",
            table,
            ("incremental_conversions", "incremental_conversions_ci_lower", "incremental_conversions_ci_upper"),
            f"Conversions gained by one strategy at one share. {note}",
        ),
        *_what_if(asked),
        *_with_bounds(
            "Sensitivity profit",
            money,
            "currency",
            "bi_roi_sensitivity",
            ("profit", "profit_ci_lower", "profit_ci_upper"),
            f"Profit at one cost and revenue of a conversion, the share chosen anew. {note}",
        ),
        _single(
            "Sensitivity share",
            money,
            "percent",
            "bi_roi_sensitivity",
            "share_percent",
            "The share that would be chosen there, in percent.",
        ),
        *(
            _single(name, planner, unit, "bi_experiment_plan", column, f"{description}, for one share of sessions.")
            for name, unit, column, description in _PLAN
        ),
        _measure(
            "Simulated experiments",
            planner,
            "count",
            "bi_ab_tests",
            "count(*)",
            "COUNTROWS(@)",
            "Simulated runs of the planned experiment.",
        ),
        _measure(
            "Simulated experiments that find it",
            planner,
            "share",
            "bi_ab_tests",
            "avg(1e0 * is_significant)",
            "AVERAGE(@[is_significant])",
            "Share of them that find the effect.",
        ),
        _measure(
            "Mean simulated lift",
            planner,
            "share",
            "bi_ab_tests",
            "avg(measured_lift)",
            "AVERAGE(@[measured_lift])",
            "Mean lift that they measure.",
        ),
        from_status(
            "Effects simulated", about, "count", "is_simulated", "1 when the effects were simulated: assumptions."
        ),
        from_status("Data synthetic", about, "count", "is_synthetic", "1 when the data were made up."),
        from_status(
            "What is missing", about, "text", "missing", "What keeps a page from being complete, and how to get it."
        ),
    ]


_PLAN: tuple[tuple[str, Unit, str, str], ...] = (
    ("Planned sessions an arm", "sessions", "sessions_per_arm", "Sessions that each arm needs"),
    ("Planned days", "days", "days_needed", "Days until both arms have them"),
    ("Planned lift", "share", "expected_lift", "Expected rise of the conversion rate"),
    ("Planned control rate", "share", "control_rate", "Conversion rate without treatment"),
    ("Smallest lift, short", "share", "smallest_lift_short", "Smallest lift that the shorter wait can show"),
    ("Smallest lift, long", "share", "smallest_lift_long", "Smallest lift that the longer wait can show"),
)


def _what_if(place: tuple[str, str]) -> list[Measure]:
    """Profit and ROI at a share, cost and revenue of one's own, with normal intervals from the published errors."""
    note = (
        "At the share, cost and revenue asked for, over the horizon, by uplift; by default those of the last run. "
        "Every conversion counts the same. Simulated where Effects simulated is 1."
    )
    conversions, units, earned = (
        "sum(incremental_conversions)",
        "sum(cost_units)",
        "sum(margin * incremental_conversions)",
    )
    profit = f"{earned} * :revenue - {units} * :cost"
    variance = (
        "sum(margin * margin * incremental_conversions_se * incremental_conversions_se) * :revenue * :revenue "
        "+ sum(cost_units_se * cost_units_se) * :cost * :cost "
        "- 2 * sum(margin * cost_units_covariance) * :revenue * :cost"
    )
    roi = f"{_ratio(f'({profit})', f'({units} * :cost)')}"
    # The quotient of conversions gained and paid for; its relative variance, by the delta method.
    gross = f"{_ratio(f'({earned} * :revenue)', f'({units} * :cost)')}"
    spread = (
        f"{_ratio('sum(incremental_conversions_se * incremental_conversions_se)', f'({conversions} * {conversions})')}"
        f" + {_ratio('sum(cost_units_se * cost_units_se)', f'({units} * {units})')}"
        f" - {_ratio('2 * sum(cost_units_covariance)', f'({conversions} * {units})')}"
    )

    def what_if(name: str, unit: Unit, sql: str, dax: str, description: str) -> Measure:
        filters = 'KEEPFILTERS(@[strategy] = "uplift"), KEEPFILTERS(@[share_percent] = share_asked)'
        whole = f"VAR share_asked = [Share asked] RETURN CALCULATE({dax}, {filters})" if "@" in dax else dax
        return Measure(
            name=name,
            page=place[0],
            folder=place[1],
            description=f"{description} {note}",
            table="bi_roi",
            sql=sql,
            dax=whole.replace("@", "'ROI'"),
            unit=unit,
            where="strategy = 'uplift' and share_percent = :share",
        )

    asked = [
        Measure(
            name=f"{parameter.column} asked",
            page=place[0],
            folder=place[1],
            description=f"{parameter.description} The choice, else what the last run used.",
            table="bi_status",
            sql=f"max(:{parameter.name})",
            dax=parameter.dax,
            unit="percent" if parameter.name == "share" else "currency",
        )
        for parameter in PARAMETERS.values()
    ]
    error = "[What-if profit error]"
    return [
        *asked,
        what_if(
            "What-if sessions treated",
            "sessions",
            "sum(targeted_sessions)",
            "SUM(@[targeted_sessions])",
            "Sessions treated.",
        ),
        what_if(
            "What-if conversions",
            "conversions",
            conversions,
            "SUM(@[incremental_conversions])",
            "Conversions gained.",
        ),
        what_if(
            "What-if paid units",
            "count",
            units,
            "SUM(@[cost_units])",
            "How often the cost is paid: conversions under treatment, or sessions treated.",
        ),
        what_if("What-if cost", "currency", f"{units} * :cost", "[What-if paid units] * [Cost asked]", "Cost."),
        what_if(
            "What-if margin",
            "currency",
            f"{earned} * :revenue",
            "VAR revenue = [Revenue asked] RETURN SUMX(@, @[margin] * @[incremental_conversions]) * revenue",
            "Margin gained.",
        ),
        what_if("What-if profit", "currency", profit, "[What-if margin] - [What-if cost]", "Margin gained less cost."),
        what_if(
            "What-if profit error",
            "currency",
            f"sqrt(abs({variance}))",
            "VAR r = [Revenue asked] VAR c = [Cost asked] RETURN SQRT(ABS("
            "SUMX(@, @[margin] * @[margin] * @[incremental_conversions_se] * @[incremental_conversions_se]) * r * r "
            "+ SUMX(@, @[cost_units_se] * @[cost_units_se]) * c * c "
            "- 2 * SUMX(@, @[margin] * @[cost_units_covariance]) * r * c))",
            "Standard error of the profit.",
        ),
        *(
            what_if(
                f"What-if profit {end}",
                "currency",
                f"{profit} {sign} {Z} * sqrt(abs({variance}))",
                f"[What-if profit] {sign} {Z} * {error}",
                f"{end.capitalize()} end of the 95 % interval of the profit.",
            )
            for end, sign in (("lower", "-"), ("upper", "+"))
        ),
        what_if("What-if ROI", "ratio", roi, "DIVIDE([What-if profit], [What-if cost])", "Profit over cost."),
        what_if(
            "What-if ROI error",
            "ratio",
            f"abs({gross}) * sqrt(abs({spread}))",
            "VAR g = DIVIDE([What-if margin], [What-if cost]) VAR n = SUM(@[incremental_conversions]) "
            "VAR u = SUM(@[cost_units]) RETURN IF(NOT ISBLANK(g) && n <> 0, ABS(g) * SQRT(ABS("
            "SUMX(@, @[incremental_conversions_se] * @[incremental_conversions_se]) / (n * n) "
            "+ SUMX(@, @[cost_units_se] * @[cost_units_se]) / (u * u) "
            "- 2 * SUM(@[cost_units_covariance]) / (n * u))))",
            "Standard error of the ROI, by the delta method.",
        ),
        *(
            what_if(
                f"What-if ROI {end}",
                "ratio",
                f"{roi} {sign} {Z} * abs({gross}) * sqrt(abs({spread}))",
                f"[What-if ROI] {sign} {Z} * [What-if ROI error]",
                f"{end.capitalize()} end of the 95 % interval of the ROI.",
            )
            for end, sign in (("lower", "-"), ("upper", "+"))
        ),
        what_if(
            "What-if break-even cost",
            "currency",
            f"{_ratio(f'({earned} * :revenue)', units)}",
            "DIVIDE([What-if margin], [What-if paid units])",
            "Cost at which that plan earns nothing.",
        ),
    ]


MEASURES: tuple[Measure, ...] = (*_overview(), *_risk(), *_intervention(), *_roi())
