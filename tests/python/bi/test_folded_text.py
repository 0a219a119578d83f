"""Power BI's text comparison ignores case and spaces at the end: keys and counts must not rest on text."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bi.measures import page_measures
from bi.powerbi import star
from bi.tables import power_bi_names
from compiled import World, create_raw_tables, insert_raw, parsed_project, run_dbt
from reference import Category, Event, Property
from worlds import DAY_MS, MIDNIGHT_MS

VISITORS = ["Ann", "ann", "ANN", "Bob"]
CATEGORIES = ["Shoes", "shoes", "SHOES", "Hats"]


def folded(value: Any) -> Any:
    return value.casefold().rstrip() if isinstance(value, str) else value


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """A shop whose ids differ in case only: each visitor looks at each category once."""
    database: Path = tmp_path_factory.mktemp("folded") / "world.duckdb"
    events = [
        Event(MIDNIGHT_MS + day * DAY_MS, visitor, "view", f"item of {category}")
        for day, category in enumerate(CATEGORIES)
        for visitor in VISITORS
    ]
    told = [Property(MIDNIGHT_MS - 1, f"item of {category}", "categoryid", category) for category in CATEGORIES]
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
        insert_raw(connection, World(events, told, [Category(name, None) for name in CATEGORIES]))
    outcome = run_dbt("run", database=database, manifest=parsed_project().deepcopy())
    assert outcome.success, outcome.errors
    return duckdb.connect(str(database))


def rows(warehouse: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    return warehouse.execute(sql).fetchall()


def test_each_dimension_has_its_keys_once(warehouse: duckdb.DuckDBPyConnection) -> None:
    views = {name: view for view, name in power_bi_names().items()}
    for relationship in star.relationships():
        (fact, key), (dimension, its) = relationship.many, relationship.one
        if dimension == star.VISITOR_TYPE:
            continue
        keys = [folded(value) for (value,) in rows(warehouse, f"select {its} from funnelift.{views[dimension]}")]
        assert len(keys) == len(set(keys)), f"{dimension}[{its}]"
        found = {folded(value) for (value,) in rows(warehouse, f"select distinct {key} from funnelift.{views[fact]}")}
        assert found - {None} <= set(keys), f"{fact}[{key}]"


def test_each_category_keeps_its_sessions_and_its_name(warehouse: duckdb.DuckDBPyConnection) -> None:
    counts = {"bi_sessions": "count(*)", "bi_session_decisions": "count(*)", "bi_funnel_daily": "sum(entered)"}
    for table, count in counts.items():
        found = rows(warehouse, f"select category_key, {count} from funnelift.{table} group by 1")
        assert sorted(sessions for _, sessions in found) == [4, 4, 4, 4], table
    names = [folded(name) for (name,) in rows(warehouse, "select category_name from funnelift.bi_categories")]
    assert len(set(names)) == len(names) == 5


def test_visitors_are_counted_by_number(warehouse: duckdb.DuckDBPyConnection) -> None:
    (measure,) = (measure for measure in page_measures() if measure.name == "Visitors")
    (column,) = re.findall(r"DISTINCTCOUNT\('?Session'?\[(\w+)\]\)", measure.dax)
    values = {folded(value) for (value,) in rows(warehouse, f"select {column} from funnelift.{measure.table}")}
    assert len(values) == len(VISITORS)
