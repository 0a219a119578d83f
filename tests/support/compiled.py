"""Compile the dbt project once, then build it on any small DuckDB in a fraction of a second.

dbt takes seconds to start; a property test needs hundreds of builds. What runs here is dbt's own compiled SQL, model by
model in dependency order.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import yaml
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from ingest.raw_tables import RAW_TABLES
from paths import ROOT
from reference import Category, Event, Property, Reference

CATALOG = "world"
FEATURE_KEY = ("session_id", "decision_point")
Rows = dict[tuple[Any, ...], dict[str, Any]]


class Assignment(NamedTuple):
    """One line of raw_treatment_assignments, without its load."""

    visitorid: str
    assigned_at: int
    treatment: int
    stratum: str | None = None
    propensity: float | None = None
    offer: str | None = None


@dataclass(frozen=True)
class World:
    """The raw rows of one small shop."""

    events: list[Event]
    properties: list[Property]
    categories: list[Category]
    assignments: list[Assignment] = field(default_factory=list)
    loaded_ms: int | None = None

    def reference(self, **overrides: Any) -> Reference:
        return Reference(self.events, self.properties, self.categories, settings(**overrides), self.loaded_ms)


@dataclass(frozen=True)
class Model:
    """One compiled model."""

    name: str
    relation: str
    is_view: bool
    sql: str
    needs: frozenset[str]


def settings(**overrides: Any) -> dict[str, Any]:
    """The vars of dbt_project.yml, with some of them changed."""
    defaults: dict[str, Any] = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    assert overrides.keys() <= defaults.keys(), "not a var of the project"
    return defaults | overrides


def create_raw_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create schema if not exists funnelift_raw")
    for table, columns in RAW_TABLES.items():
        typed = ", ".join(f"{column.name} {column.data_type}" for column in columns)
        connection.execute(f"create table if not exists funnelift_raw.{table} ({typed})")


def insert_raw(connection: duckdb.DuckDBPyConnection, world: World, load_id: str = "load-1") -> None:
    """Append a world's rows to the raw tables, in the order given."""
    text, number, money = pa.string(), pa.int64(), pa.decimal128(18, 4)
    for table, row_type, types, rows in (
        ("raw_events", Event, [number, text, text, text, text, money, text, money, text], world.events),
        ("raw_item_properties", Property, [number, text, text, text], world.properties),
        ("raw_category_tree", Category, [text, text], world.categories),
        ("raw_treatment_assignments", Assignment, [text, number, number, text, pa.float64(), text], world.assignments),
    ):
        columns = list(zip(*rows, strict=True)) or [()] * len(types)
        arrays = [pa.array(values, type=kind) for values, kind in zip(columns, types, strict=True)]
        arrow = pa.table(arrays, names=list(row_type._fields))
        connection.register("incoming", arrow)
        connection.execute(f"insert into funnelift_raw.{table} by name select *, ? as load_id from incoming", [load_id])
        connection.unregister("incoming")
        connection.execute(
            """insert into funnelift_raw.raw_loads by name select ? as load_id, ? as raw_table, ? as line_count,
            ? as accepted_count, 0 as rejected_count, 0 as ignored_count, 0 as is_synthetic,
            make_timestamp(cast(? as bigint) * 1000) as loaded_at""",
            [load_id, table, len(rows), len(rows), world.loaded_ms],
        )


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Outcome:
    """What a dbt command gave: whether it passed, its result object, and every message of levels error and warning."""

    success: bool
    result: Any
    errors: str
    warnings: str = ""


def invoke(runner: dbtRunner, command: list[str]) -> Any:
    """Run a dbt command; dbt keeps a DuckDB file open until its process ends, which is here that of the tests."""
    try:
        return runner.invoke(command)
    finally:
        if DuckDBConnectionManager._ENV is not None:
            DuckDBConnectionManager._ENV.close()
        DuckDBConnectionManager.close_all_connections()


def run_dbt(*arguments: str, database: Path, manifest: Any = None, **overrides: Any) -> Outcome:
    """Run a dbt command in this process, leaving nothing in the project folder."""
    scratch, errors, warnings = database.parent, list[str](), list[str]()
    command = [
        *("--quiet", "--no-use-colors", "--no-send-anonymous-usage-stats", "--no-partial-parse", *arguments),
        *("--project-dir", str(ROOT), "--profiles-dir", str(ROOT)),
        *("--target-path", str(scratch / "target"), "--log-path", str(scratch / "logs")),
        *("--vars", json.dumps(overrides)),
    ]

    def listen(event: Any) -> None:
        if event.info.level == "error":
            errors.append(event.info.msg)
        if event.info.level == "warn":
            warnings.append(event.info.msg)

    with environment(FUNNELIFT_TARGET="duckdb", FUNNELIFT_DUCKDB_PATH=str(database)):
        outcome = invoke(dbtRunner(manifest=manifest, callbacks=[listen]), command)
    if outcome.exception:
        errors.append(str(outcome.exception))
    return Outcome(outcome.success, outcome.result, "\n".join(errors), "\n".join(warnings))


class Project:
    """The project's models, compiled under given vars."""

    def __init__(self, models: Sequence[Model], overrides: Mapping[str, Any]) -> None:
        self.models = list(models)
        self.overrides = dict(overrides)

    def upstream(self, name: str) -> set[str]:
        needs = {model.name: model.needs for model in self.models}
        found, waiting = set[str](), {name}
        while waiting:
            current = waiting.pop()
            found.add(current)
            waiting |= needs[current] - found
        return found

    def with_sql(self, name: str, wrap: str) -> "Project":
        """The same project with one model's SQL put into `wrap` in place of `{sql}`."""
        changed = [
            Model(model.name, model.relation, model.is_view, wrap.replace("{sql}", model.sql), model.needs)
            if model.name == name
            else model
            for model in self.models
        ]
        return Project(changed, self.overrides)

    def build(self, world: World, until: str | None = None) -> duckdb.DuckDBPyConnection:
        """A new in-memory warehouse holding the world and the models (or one model and what it needs)."""
        connection = duckdb.connect(":memory:", config={"threads": 2})
        connection.execute(f"set TimeZone = 'UTC'; attach ':memory:' as {CATALOG}; use {CATALOG}")
        create_raw_tables(connection)
        insert_raw(connection, world)
        connection.execute("create schema funnelift")
        wanted = {model.name for model in self.models} if until is None else self.upstream(until)
        for model in self.models:
            if model.name in wanted:
                connection.execute(f"create {'view' if model.is_view else 'table'} {model.relation} as {model.sql}")
        return connection


def compile_project(**overrides: Any) -> Project:
    """The project without models/bi compiled under changed vars; each set of vars is compiled once a test run."""
    return _compile(json.dumps(overrides, sort_keys=True))


@cache
def parsed_project() -> Any:
    """dbt's manifest of the project; what depends on vars within a model is read again when it is compiled or run."""
    with TemporaryDirectory() as scratch:
        outcome = run_dbt("parse", database=Path(scratch) / f"{CATALOG}.duckdb")
    assert outcome.success, outcome.errors
    return outcome.result


@cache
def _compile(overrides_json: str) -> Project:
    overrides = json.loads(overrides_json)
    with TemporaryDirectory() as scratch:
        database = Path(scratch) / f"{CATALOG}.duckdb"
        with duckdb.connect(str(database)) as connection:
            create_raw_tables(connection)
        outcome = run_dbt(
            *("compile", "--select", "resource_type:model", "--exclude", "path:models/bi", "path:models/predictions"),
            *("--indirect-selection", "empty"),
            database=database,
            manifest=parsed_project().deepcopy(),
            **overrides,
        )
        assert outcome.success, outcome.errors
        nodes = {result.node.unique_id: result.node for result in outcome.result}
        assert all(node.resource_type == "model" for node in nodes.values())
    # Ephemeral models are already inside the SQL of the models that use them.
    stored = {key: node for key, node in nodes.items() if node.config.materialized != "ephemeral"}

    def needs(key: str) -> set[str]:
        return {
            need
            for parent in nodes[key].depends_on.nodes
            if parent in nodes
            for need in ({parent} if parent in stored else needs(parent))
        }

    order = TopologicalSorter({key: needs(key) for key in stored}).static_order()
    return Project(
        [
            Model(
                name=stored[key].name,
                relation=stored[key].relation_name,
                is_view=stored[key].config.materialized == "view",
                sql=stored[key].compiled_code,
                needs=frozenset(stored[need].name for need in needs(key)),
            )
            for key in order
        ],
        overrides,
    )


def read(
    connection: duckdb.DuckDBPyConnection, table: str, key: Iterable[str]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """A mart's rows by key; a key that is not unique is an error."""
    cursor = connection.execute(f"select * from funnelift.{table}")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]
    found = {tuple(row[part] for part in key): row for row in rows}
    assert len(found) == len(rows), f"{table}: key {key} is not unique"
    return found


def feature_columns() -> list[str]:
    """The columns that the mart's own YAML calls features."""
    documents = [yaml.safe_load(path.read_text()) for path in (ROOT / "models").rglob("*.yml")]
    columns = [
        column
        for document in documents
        for model in document.get("models", [])
        if model["name"] == "session_features"
        for column in model["columns"]
    ]
    return [column["name"] for column in columns if column.get("meta", {}).get("role") == "feature"]
