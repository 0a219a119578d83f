"""What a measure is, and the what-if parameters that some depend on."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from warehouse.base import SCHEMA
from warehouse.errors import FunneliftError

Value = str | int | float | date
Number = float | int | str | None

OVERVIEW, RISK, INTERVENTION, ROI = "Funnel Overview", "Risk Segments", "Intervention Strategy", "ROI Projection"
PAGES = (OVERVIEW, RISK, INTERVENTION, ROI)
ALL_PAGES = "All pages"

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
MARK = re.compile(r":(share|cost|revenue)\b")
MEDIAN = re.compile(r"median\((\w+)\)")


class MeasureError(FunneliftError):
    """A measure is not defined as it must be, or was asked for by what it does not have."""


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


PARAMETERS = {
    "share": Parameter(
        name="share",
        table="What-if Share",
        column="Share",
        default_column="chosen_share_percent",
        lowest=1,
        highest=100,
        step=1,
        description="Sessions treated, in percent.",
    ),
    "cost": Parameter(
        name="cost",
        table="What-if Cost",
        column="Cost",
        default_column="unit_cost",
        lowest=0,
        highest=50,
        step=0.5,
        description="Cost of treating, a conversion or a session.",
    ),
    "revenue": Parameter(
        name="revenue",
        table="What-if Revenue",
        column="Revenue",
        default_column="revenue_per_conversion",
        lowest=0,
        highest=500,
        step=5,
        description="Revenue of a conversion.",
    ),
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
