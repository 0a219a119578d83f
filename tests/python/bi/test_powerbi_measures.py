"""Every measure of the Power BI model, evaluated on a trained shop, equals its SQL: in all, filtered, and what if."""

import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

import policies
from bi import measures as numbers
from bi.powerbi import star
from bi.tables import power_bi_names
from ml.config import load_config
from powerbi_project import MODEL, PROJECT, copied
from powerbi_tools import Tools, tools
from synthetic_shop import SyntheticShop
from warehouse.open import open_warehouse

# A warehouse of one's own that is trained, instead of the small synthetic shop.
OWN = "FUNNELIFT_TEST_TRAINED_DUCKDB"
MEASURES = {measure.name: measure for measure in numbers.all_measures()}
KINDS = {"VARCHAR": "string", "INTEGER": "int64", "BIGINT": "int64", "DOUBLE": "double", "DATE": "date"}
# Measures of one row of a table, and the columns that pick it.
KEYS = {
    "bi_roi": ("strategy", "share_percent"),
    "bi_roi_gains": ("versus",),
    "bi_policies": ("policy",),
    "bi_roi_sensitivity": ("cost", "revenue_per_conversion"),
    "bi_uplift_deciles": ("decile",),
    "bi_uplift_metrics": ("learner", "versus", "metric"),
    "bi_experiment_plan": ("share_percent",),
    "bi_shap": ("decision_point", "feature"),
    "bi_model_metrics": ("slice", "metric"),
    "bi_calibration": ("slice", "bin"),
    "bi_sessions": ("quadrant",),
    "bi_session_decisions": ("risk_band",),
    "bi_funnel_daily": ("step",),
}

# By hand: with a warehouse of one's own, no fixture tells.
pytestmark = pytest.mark.end_to_end


@dataclass(frozen=True)
class Case:
    """A measure under a filter: as DAX has it, on a table and column, and as SQL has it, on a column of its view."""

    measure: str
    dax: Mapping[str, Sequence[Any]]
    sql: Mapping[str, Sequence[Any]]
    parameters: Mapping[str, float]


@pytest.fixture(scope="module")
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """A training that ranked by conversions, beside policies of one that learnt money."""
    trained = os.environ.get(OWN) or request.getfixturevalue("synthetic_shop").trained
    own = tmp_path_factory.mktemp("measures") / "warehouse.duckdb"
    shutil.copy(trained, own)
    with open_warehouse(load_config(None, {"duckdb_path": own}, environment={})) as opened:
        opened.publish(policies.publications())
    return duckdb.connect(own, read_only=True)


@pytest.fixture(scope="module")
def dax() -> Tools:
    return tools("dax")


def used_columns() -> set[str]:
    measured = re.findall(r"\[(\w+)\]", " ".join(measure.dax for measure in MEASURES.values()))
    related = (side[1] for relationship in star.relationships() for side in (relationship.many, relationship.one))
    return {*measured, *related, *(column for columns in KEYS.values() for column in columns)}


def plain(value: Any) -> Any:
    if isinstance(value, date):
        return {"date": value.isoformat()}
    return float(value) if isinstance(value, Decimal) else value


def imported(warehouse: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What Power BI would import, without the columns that no measure needs."""
    used, found = used_columns(), {}
    for table in star.tables():
        if table.view:
            columns = [column.source for column in table.columns if column.source in used] or [table.columns[0].source]
            listed = ", ".join(f'"{column}"' for column in columns)
            read = warehouse.execute(f"select {listed} from funnelift.{table.view}").fetchall()
            found[table.name] = {"columns": columns, "rows": [[plain(value) for value in row] for row in read]}
    return found


@pytest.fixture(scope="module")
def rows(warehouse: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    return imported(warehouse)


def cases(warehouse: duckdb.DuckDBPyConnection) -> list[Case]:
    """Each measure in all; by each dimension; by the columns that pick a row of its table; and what if."""

    def values(sql: str) -> list[Any]:
        return [row[0] for row in warehouse.execute(sql).fetchall()]

    categories = values("select category_key from funnelift.bi_sessions group by 1 order by count(*) desc limit 2")
    some_days = values("select date_day from funnelift.bi_dates order by 1")[10:24]
    found = [Case(name, {}, {}, {}) for name in MEASURES]
    for relationship in star.relationships():
        (fact, key), (dimension, its) = relationship.many, relationship.one
        if its == "category_key":
            choices = [[category] for category in categories] + [categories]
        elif its == "date_day":
            choices = [some_days]
        elif its == "visitor_type":
            choices = [["new"], ["returning"]]
        else:
            choices = [["landing"], ["engaged", "cart"]]
        for measure in MEASURES.values():
            if power_bi_names()[measure.table] == fact:
                found += [Case(measure.name, {f"{dimension}.{its}": choice}, {key: choice}, {}) for choice in choices]
    for measure in MEASURES.values():
        columns = KEYS.get(measure.table, ())
        if columns and not measure.parameters:
            listed = ", ".join(f'"{column}"' for column in columns)
            query = (
                f"select distinct {listed} from funnelift.{measure.table} where {columns[0]} is not null order by all"
            )
            picked = warehouse.execute(query).fetchall()
            for row in picked[:: max(1, len(picked) // 12)]:
                keys = {column: [value] for column, value in zip(columns, row, strict=True)}
                table = power_bi_names()[measure.table]
                found.append(Case(measure.name, {f"{table}.{column}": each for column, each in keys.items()}, keys, {}))
        if measure.parameters:
            for asked in (
                {"share": 37.0},
                {"share": 100.0, "cost": 12.5, "revenue": 80.0},
                {"cost": 0.0},
                {"revenue": 0.0},
            ):
                tables = {
                    f"{p.table}.{p.column}": [asked[p.name]] for p in numbers.PARAMETERS.values() if p.name in asked
                }
                found.append(Case(measure.name, tables, {}, asked))
    return found


def by_sql(warehouse: duckdb.DuckDBPyConnection, case: Case) -> Any:
    sql, bound = numbers.measure_sql(MEASURES[case.measure], where=case.sql, parameters=case.parameters)
    row = warehouse.execute(sql, bound).fetchone()
    # The entry with the highest figure: without rows there is none.
    return plain(row[0]) if row else None


def agree(expected: Any, found: Any) -> bool:
    # Over no rows SQL's counts are 0 and DAX's blank, which Power BI shows as nothing.
    if expected is None or found is None:
        return expected in (None, 0) and found in (None, 0)
    if isinstance(expected, str):
        return bool(expected == found)
    return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-9)


def differences(dax: Tools, folder: Path, rows: Any, asked: Sequence[Case], expected: Sequence[Any]) -> list[str]:
    filters = [(case.measure, {key: [plain(v) for v in choice] for key, choice in case.dax.items()}) for case in asked]
    found = dax.values(folder / MODEL, rows, filters)
    return [
        f"{case.measure} where {dict(case.dax)}: SQL {of_sql}, DAX {of_dax}"
        for case, of_sql, of_dax in zip(asked, expected, found, strict=True)
        if not agree(of_sql, of_dax)
    ]


@pytest.fixture(scope="module")
def asked(warehouse: duckdb.DuckDBPyConnection) -> list[Case]:
    return cases(warehouse)


@pytest.fixture(scope="module")
def expected(warehouse: duckdb.DuckDBPyConnection, asked: list[Case]) -> list[Any]:
    return [by_sql(warehouse, case) for case in asked]


def test_every_measure_equals_its_sql(dax: Tools, rows: Any, asked: list[Case], expected: list[Any]) -> None:
    assert differences(dax, PROJECT, rows, asked, expected) == []


def test_before_the_first_training_the_model_says_what_is_missing(dax: Tools, synthetic_shop: SyntheticShop) -> None:
    warehouse = duckdb.connect(synthetic_shop.untrained, read_only=True)
    asked = [Case(name, {}, {}, {}) for name in MEASURES]
    of_sql = [by_sql(warehouse, case) for case in asked]
    assert differences(dax, PROJECT, imported(warehouse), asked, of_sql) == []
    said = dict(zip(MEASURES, of_sql, strict=True))
    assert said["Notice"] == "Synthetic data; no effects yet"
    assert "No predictions: run python -m ml.train." in said["What is missing"]
    assert said["Sessions"] > 0


def test_every_measure_says_something_somewhere(asked: list[Case], expected: list[Any]) -> None:
    """An evaluator gives nothing for a measure that is broken, so an equal nothing must not be all there is."""
    said = {case.measure for case, value in zip(asked, expected, strict=True) if value is not None}
    assert MEASURES.keys() - said == set()


@pytest.mark.parametrize(
    ("measure", "old", "new"),
    [
        ("Revenue lost", "[has_transaction] = 0", "[has_transaction] = 1"),
        ("Scored sessions", "[is_out_of_sample] = 1", "[is_out_of_sample] = 0"),
        ("Conversion rate", "DIVIDE([Converting sessions], [Sessions])", "DIVIDE([Cart sessions], [Sessions])"),
        ("Biggest drop-off step", "DESC", "ASC"),
        ("What-if cost", "* [Cost asked]", "* [Revenue asked]"),
        ("What-if profit", "- [What-if cost]", "+ [What-if cost]"),
        ("Observed uplift", "SUM('Session'[treatment])) -", "SUM('Session'[treatments])) -"),
        ("Sessions at step", "SUM('Funnel Daily'[entered])", "SUM('Funnel Daily'[converted])"),
    ],
)
def test_a_changed_measure_differs(
    measure: str, old: str, new: str, tmp_path: Path, dax: Tools, rows: Any, asked: list[Case], expected: list[Any]
) -> None:
    project = copied(tmp_path)
    path = project.folder / MODEL / "tables" / f"{star.KEY_MEASURES}.tmdl"
    before, start, after = path.read_text().partition(f"\tmeasure {'' if ' ' not in measure else chr(39)}{measure}")
    assert old in after.split("\n\tmeasure")[0]
    path.write_text(before + start + after.replace(old, new, 1))
    own = [(case, value) for case, value in zip(asked, expected, strict=True) if case.measure == measure]
    assert differences(dax, project.folder, rows, [case for case, _ in own], [value for _, value in own]) != []


def test_a_lost_relationship_differs(
    tmp_path: Path, dax: Tools, rows: Any, asked: list[Case], expected: list[Any]
) -> None:
    project = copied(tmp_path)
    project.replace(f"{MODEL}/relationships.tmdl", "fromColumn: Session.category_key", "fromColumn: Session.decile")
    own = [(case, value) for case, value in zip(asked, expected, strict=True) if case.measure == "Sessions"]
    assert differences(dax, project.folder, rows, [case for case, _ in own], [value for _, value in own]) != []


def test_columns_hold_what_the_model_says(warehouse: duckdb.DuckDBPyConnection) -> None:
    for table in star.tables():
        if table.view is None:
            continue
        query = "select column_name, data_type from information_schema.columns where table_name = ?"
        types = dict(warehouse.execute(query, [table.view]).fetchall())
        for column in table.columns:
            found = types[column.source].partition("(")[0]
            kind = {"DECIMAL": "decimal", "TIMESTAMP": "dateTime"}.get(found) or KINDS[found]
            assert column.data_type == kind, f"{table.view}.{column.source} is {types[column.source]}"


def test_keys_are_unique_and_every_fact_finds_its_dimension(warehouse: duckdb.DuckDBPyConnection) -> None:
    views = {name: view for view, name in power_bi_names().items()}
    for relationship in star.relationships():
        (fact, key), (dimension, its) = relationship.many, relationship.one
        if dimension == star.VISITOR_TYPE:
            found = {
                row[0] for row in warehouse.execute(f"select distinct {key} from funnelift.{views[fact]}").fetchall()
            }
            assert found <= {"new", "returning"}
            continue
        one, many = f"funnelift.{views[dimension]}", f"funnelift.{views[fact]}"
        assert warehouse.execute(f"select count(*) - count(distinct {its}) from {one}").fetchone() == (0,)
        lost = f"select count(*) from {many} where {key} is not null and {key} not in (select {its} from {one})"
        assert warehouse.execute(lost).fetchone() == (0,), f"{fact}[{key}]"
