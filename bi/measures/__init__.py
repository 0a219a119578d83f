"""The one definition of every number on the four pages, in SQL for the report and in DAX for Power BI.

A measure is an aggregate of one `bi_*` table. Its SQL is what DuckDB, MySQL and MariaDB share; its DAX says the same
and is held against it by tests. What is estimated or simulated is called so in its description. The measures stand in
the yml files beside this one; docs/powerbi.md says how to add one.
"""

from bi.measures.evaluation import evaluate, evaluate_together
from bi.measures.model import (
    ALL_PAGES,
    INTERVENTION,
    OVERVIEW,
    PAGES,
    PARAMETERS,
    RISK,
    ROI,
    Measure,
    MeasureError,
    Parameter,
)
from bi.measures.read import all_measures, page_measures, read_measures
from bi.measures.sql import measure_sql, measures_sql, together

__all__ = [
    "ALL_PAGES",
    "INTERVENTION",
    "OVERVIEW",
    "PAGES",
    "PARAMETERS",
    "RISK",
    "ROI",
    "Measure",
    "MeasureError",
    "Parameter",
    "all_measures",
    "evaluate",
    "evaluate_together",
    "measure_sql",
    "measures_sql",
    "page_measures",
    "read_measures",
    "together",
]
