"""The engines: how one is found, where its settings come from, and that each can do what its class says."""

import ast
import datetime as dt
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import contract
from ml.config import load_config
from paths import ROOT
from servers import DatabaseServer
from warehouse import spark_raw
from warehouse.base import Publication, RawRows, RawTables, Warehouse
from warehouse.contract import Column
from warehouse.errors import FunneliftError, RepeatedKeyError, ServerError, UsageError
from warehouse.mysql_client.session import RUN_LOCKS
from warehouse.open import ENGINES, find_engine
from warehouse.settings import LOAD_MEMORY, LoadSettings, WarehouseSettings
from warehouse.spark_raw import SparkRawTables
from warehouse.spark_session import session_settings

TABLES = {
    "raw_visits": (
        Column("visitor", "varchar(64)"),
        Column("note", "text", is_nullable=True),
        Column("seen_at", "timestamp", is_nullable=True),
        Column("load_id", "varchar(64)"),
    ),
    "raw_prices": (Column("price", "decimal(18, 4)"), Column("is_new", "integer"), Column("load_id", "varchar(64)")),
}


def test_an_engine_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="FUNNELIFT_TARGET: 'oracle' is no target; use duckdb, mysql or spark"):
        find_engine("oracle", "FUNNELIFT_TARGET")


@pytest.mark.parametrize("target", ENGINES)
def test_an_engine_states_what_it_can_do(target: str) -> None:
    engine = find_engine(target)
    assert issubclass(engine, Warehouse)
    assert engine.settings_names.startswith("FUNNELIFT_")
    for capability in ("swaps_together", "has_transactions", "has_primary_keys"):
        assert isinstance(getattr(engine, capability), bool)


def test_no_driver_is_imported_before_its_engine_is_asked_for_but_the_one_that_must_come_first() -> None:
    script = (
        "import sys, warehouse.open\n"
        "print(*sorted({'duckdb', 'mysql.connector', 'pyarrow', 'connectorx', '_mysql_connector'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == ["_mysql_connector"]


def test_only_the_engines_themselves_import_a_driver() -> None:
    """DuckDB is also a library: ingest checks lines and measures files with it, in memory, whatever the engine."""
    allowed = {("ingest", "duckdb")}
    found = set()
    for package in ("ingest", "bi", "ml", "ops"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    is_from = isinstance(node, ast.ImportFrom)
                    names = [node.module or ""] if is_from else [one.name for one in node.names]
                    found |= {(package, name.partition(".")[0]) for name in names}
    drivers = {"duckdb", "mysql", "connectorx", "pymysql", "pyspark"}
    assert {(package, module) for package, module in found if module in drivers} <= allowed


def test_the_command_line_wins_over_the_environment_and_that_over_the_defaults() -> None:
    environment = {"FUNNELIFT_TARGET": "mysql", "FUNNELIFT_DUCKDB_PATH": "shop.duckdb"}
    assert LoadSettings.choose(None, {}) == LoadSettings("duckdb", ROOT / "warehouse.duckdb")
    assert LoadSettings.choose(None, environment) == LoadSettings("mysql", Path("shop.duckdb"))
    assert LoadSettings.choose("duckdb", environment).target == "duckdb"
    assert LoadSettings.choose(None, {}).duckdb_memory_limit == LOAD_MEMORY
    assert LoadSettings.choose(None, {"FUNNELIFT_DUCKDB_MEMORY": "2GB"}).duckdb_memory_limit == "2GB"
    assert LoadSettings.choose(None, dict.fromkeys(environment, "")) == LoadSettings.choose(None, {})


def test_whatever_a_user_can_act_on_is_one_kind_of_error() -> None:
    assert issubclass(ServerError, FunneliftError)
    assert (FunneliftError.exit_code, ServerError.exit_code, UsageError.exit_code) == (1, 1, 2)


def require(engine: type[Warehouse], capability: str) -> None:
    if not getattr(engine, capability):
        pytest.skip(f"{engine.__name__} does not claim {capability}")


# --- raw tables, on every engine


class Loading:
    """Loads into an engine's raw tables, and what they hold seen from outside."""

    def __init__(self, target: str, path: Path, rows: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.engine = find_engine(target)
        self.settings = LoadSettings(target, path)
        self.rows = rows

    def begin(self) -> AbstractContextManager[RawTables]:
        return self.engine.begin_load(self.settings, TABLES)

    def visitors(self) -> list[str]:
        return [visitor for (visitor,) in self.rows("select visitor from funnelift_raw.raw_visits order by visitor")]


@pytest.fixture(params=list(ENGINES))
def loading(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    path = tmp_path / "warehouse.duckdb"

    def in_file(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(path, read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def on_server(sql: str) -> list[tuple[Any, ...]]:
        session = server.session()
        try:
            return session.rows(sql)
        finally:
            session.close()

    def in_copies(sql: str) -> list[tuple[Any, ...]]:
        """What the list of copies tells Spark."""
        with duckdb.connect() as connection:
            connection.execute("create schema funnelift_raw")
            for line in (tmp_path / "spark" / "raw_tables.json").read_text().splitlines():
                copy = json.loads(line)
                files = f"read_parquet('{copy['location']}/*.parquet')"
                connection.execute(f"create table funnelift_raw.{copy['name']} as from {files}")
            return connection.execute(sql).fetchall()

    if request.param != "mysql":
        monkeypatch.setenv("FUNNELIFT_SPARK_WAREHOUSE", str(tmp_path / "spark"))
        yield Loading(request.param, path, in_copies if request.param == "spark" else in_file)
        return
    server: DatabaseServer = request.getfixturevalue("empty_mysql")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield Loading(request.param, path, on_server)


def visits(*visitors: str) -> pa.Table:
    return pa.table({"visitor": list(visitors)})


def test_rows_arrive_with_constants_and_what_is_left_out_is_null(loading: Loading) -> None:
    with loading.begin() as raw:
        assert raw.append("raw_visits", visits("a", "A"), load_id="first") == 2
        assert raw.append("raw_visits", visits(), load_id="first") == 0
        assert raw.append("raw_prices", pa.table({"price": [1.5], "is_new": [1]}), load_id="first") == 1
        assert sorted(raw.distinct("raw_visits", ["load_id", "visitor"])) == [("first", "A"), ("first", "a")]
        assert raw.distinct("raw_visits", ["note", "load_id"]) == [(None, "first")]
    assert loading.rows("select count(*), count(note), count(seen_at) from funnelift_raw.raw_visits") == [(2, 0, 0)]


def test_a_load_that_fails_leaves_nothing(loading: Loading) -> None:
    require(loading.engine, "has_transactions")
    with loading.begin() as raw:
        raw.append("raw_visits", visits("old"), load_id="first")

    def fail(raw: RawTables) -> None:
        raw.append("raw_visits", visits("new"), load_id="second")
        raw.append("raw_prices", pa.table({"price": [1.5], "is_new": [1]}), load_id="second")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), loading.begin() as raw:
        fail(raw)
    assert loading.visitors() == ["old"]
    assert loading.rows("select count(*) from funnelift_raw.raw_prices") == [(0,)]


def test_cleared_tables_make_way_for_the_new_rows_all_at_once_or_not_at_all(loading: Loading) -> None:
    with loading.begin() as raw:
        raw.append("raw_visits", visits("old"), load_id="first")

    def fail(raw: RawTables) -> None:
        raw.clear()
        assert raw.distinct("raw_visits", ["visitor"]) == []
        raw.append("raw_visits", visits("lost"), load_id="second")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), loading.begin() as raw:
        fail(raw)
    assert loading.visitors() == ["old"]
    with loading.begin() as raw:
        raw.clear()
        raw.append("raw_visits", visits("new"), load_id="third")
        assert raw.distinct("raw_visits", ["visitor"]) == [("new",)]
    assert loading.visitors() == ["new"]
    tables = loading.rows("select table_name from information_schema.tables where table_schema = 'funnelift_raw'")
    assert {table for (table,) in tables} - {RUN_LOCKS} == set(TABLES)


def test_a_null_where_none_may_be_fails_the_load(loading: Loading) -> None:
    nothing = pa.table({"visitor": pa.array([None], pa.string())})
    with pytest.raises((FunneliftError, ValueError)), loading.begin() as raw:
        raw.append("raw_visits", nothing, load_id="first")
    with loading.begin() as raw:
        assert raw.distinct("raw_visits", ["visitor"]) == []


def test_a_condition_takes_rows_out_wherever_they_came_from(loading: Loading) -> None:
    with loading.begin() as raw:
        raw.append("raw_visits", visits("a", "b"), load_id="first")
        raw.append("raw_prices", pa.table({"price": [1.5], "is_new": [1]}), load_id="first")
    with loading.begin() as raw:
        raw.append("raw_visits", visits("b", "c"), load_id="second")
        gone = "load_id in (select load_id from funnelift_raw.raw_prices where price > ?) and visitor <> ?"
        assert raw.delete("raw_visits", gone, ["1", "a"]) == 1
        assert raw.delete("raw_visits", "note is not null", []) == 0
        assert raw.fill("raw_prices", "select 2.25, 0, max(load_id) from funnelift_raw.raw_visits", []) == 1
        assert sorted(raw.query("select visitor from funnelift_raw.raw_visits")) == [("a",), ("b",), ("c",)]
    assert loading.visitors() == ["a", "b", "c"]
    with loading.begin() as raw:
        assert raw.delete("raw_visits", "load_id = ?", ["second"]) == 2
    assert loading.visitors() == ["a"]
    assert sorted(loading.rows("select price from funnelift_raw.raw_prices")) == [(Decimal("1.5"),), (Decimal("2.25"),)]


def test_times_come_back_as_they_went_in(loading: Loading) -> None:
    seen = dt.datetime(2026, 3, 29, 2, 30, 0, 125000)
    rows = visits("a").append_column("seen_at", pa.array([seen], pa.timestamp("ms")))
    with loading.begin() as raw:
        raw.append("raw_visits", rows, load_id="first")
    with loading.begin() as raw:
        assert raw.distinct("raw_visits", ["seen_at"]) == [(seen,)]
        assert raw.query("select count(*) from funnelift_raw.raw_visits where seen_at < ?", [seen]) == [(0,)]


def test_items_are_loaded_one_by_one_where_there_are_no_workers(loading: Loading) -> None:
    def load(item: str, raw: RawRows) -> str:
        raw.append("raw_visits", visits(item), load_id="first")
        return item.upper()

    with loading.begin() as raw:
        assert not raw.has_workers
        found = [(made, len(raw.distinct("raw_visits", ["visitor"]))) for made in raw.each(load, ["a", "b"])]
    assert found == [("A", 1), ("B", 2)]


# --- raw tables of Spark, which are files


@pytest.fixture
def spark_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FUNNELIFT_SPARK_WAREHOUSE", str(tmp_path / "spark"))
    return tmp_path / "spark"


def load_visits(*visitors: str, tables: Mapping[str, Sequence[Column]] = TABLES) -> None:
    with find_engine("spark").begin_load(LoadSettings("spark"), tables) as raw:
        raw.append("raw_visits", visits(*visitors), load_id="first")


def listed(folder: Path, table: str = "raw_visits") -> tuple[Path, list[str]]:
    """The folder that Spark is told for a table, and the visitors or load ids in it."""
    lines = map(json.loads, (folder / "raw_tables.json").read_text().splitlines())
    (place,) = (Path(line["location"]) for line in lines if line["name"] == table)
    return place, sorted(pq.read_table(place)["visitor"].to_pylist())


def test_a_load_leaves_what_builds_read_and_only_that(spark_folder: Path) -> None:
    load_visits("a")
    first = listed(spark_folder)
    assert first[1] == ["a"]
    load_visits()
    assert listed(spark_folder) == first, "laid out again though nothing was loaded"
    load_visits("b")
    second = listed(spark_folder)
    assert second[1] == ["a", "b"]
    assert pq.read_table(first[0])["visitor"].to_pylist() == ["a"], "for a build that is at work"
    load_visits("c")
    places = {path.name for path in (spark_folder / "raw").iterdir()}
    assert places == {place.parent.name for place, _ in (second, listed(spark_folder))}


def test_a_load_that_is_killed_leaves_the_old_rows_and_the_next_tidies_up(
    spark_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_visits("a")
    first = listed(spark_folder)
    for moment in ("finish", "_lay_out"):
        with monkeypatch.context() as patched:
            patched.setattr(SparkRawTables, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            if (child := os.fork()) == 0:
                load_visits("b")
            assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert listed(spark_folder) == first
    assert len(list((spark_folder / "raw").iterdir())) > 1
    load_visits("c")
    assert listed(spark_folder)[1] == ["a", "c"]
    assert len(list((spark_folder / "raw").iterdir())) == 2


def test_files_of_before_are_linked_and_small_ones_joined(spark_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_raw, "SMALL_ROWS", 3)
    load_visits("a", "b", "c")
    (first,) = listed(spark_folder)[0].glob("*")
    number = first.stat().st_ino
    load_visits("d")
    load_visits("e")
    place, visitors = listed(spark_folder)
    assert visitors == ["a", "b", "c", "d", "e"]
    assert len(list(place.glob("*"))) == 2
    assert (place / first.name).stat().st_ino == number


def test_only_what_a_query_names_is_opened_for_it(spark_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    show = SparkRawTables._show

    def note(raw: SparkRawTables, table: str, piece: Sequence[Path] | None = None) -> None:
        shown.append(table)
        show(raw, table, piece)

    load_visits("a")
    monkeypatch.setattr(SparkRawTables, "_show", note)
    with find_engine("spark").begin_load(LoadSettings("spark"), TABLES) as raw:
        for visitor in ("b", "c"):
            raw.append("raw_visits", visits(visitor), load_id="second")
            assert raw.distinct("raw_prices", ["load_id"]) == []
        assert shown == ["raw_prices"]
        assert sorted(raw.distinct("raw_visits", ["visitor"])) == [("a",), ("b",), ("c",)]
        assert shown == ["raw_prices", "raw_visits"]


def test_a_load_that_lacks_memory_names_the_setting(spark_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELIFT_DUCKDB_MEMORY", "30MB")
    many = "select list(md5(range::text)) from range(3000000)"
    with (
        pytest.raises(
            FunneliftError, match=r"(?s)the warehouse failed: .*FUNNELIFT_DUCKDB_MEMORY \(now 30MB\) allows more"
        ),
        find_engine("spark").begin_load(LoadSettings.choose("spark"), TABLES) as raw,
    ):
        raw.query(many)


def test_where_files_have_no_links_they_are_copied(spark_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    load_visits("a")
    load_visits("b")
    assert listed(spark_folder)[1] == ["a", "b"]


def test_a_second_load_at_the_same_time_is_refused(spark_folder: Path) -> None:
    with find_engine("spark").begin_load(LoadSettings("spark"), TABLES) as raw:
        raw.append("raw_visits", visits("a"), load_id="first")
        with pytest.raises(FunneliftError, match="in use by another program: wait for the other load"):
            load_visits("b")
    assert listed(spark_folder)[1] == ["a"]


def test_a_table_gets_its_new_columns_and_keeps_its_rows(spark_folder: Path) -> None:
    load_visits("a")
    wider = TABLES | {"raw_visits": (*TABLES["raw_visits"], Column("page", "text", is_nullable=True))}
    load_visits("b", tables=wider)
    with find_engine("spark").begin_load(LoadSettings("spark"), wider) as raw:
        assert sorted(raw.distinct("raw_visits", ["visitor", "page"])) == [("a", None), ("b", None)]
    assert "`page` string" in (spark_folder / "raw_tables.json").read_text()


def test_a_warehouse_that_was_moved_is_found_where_it_is(spark_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_visits("a")
    moved = spark_folder.rename(spark_folder.with_name("moved"))
    monkeypatch.setenv("FUNNELIFT_SPARK_WAREHOUSE", str(moved))
    load_visits()
    assert listed(moved)[1] == ["a"]
    shutil.rmtree(listed(moved)[0])
    with pytest.raises(FunneliftError, match=r"raw_tables\.json names the folder .*raw_visits, which is not there"):
        load_visits("b")


def test_rows_that_do_not_fit_their_table_are_refused(spark_folder: Path) -> None:
    for rows, told in (
        (pa.table({"price": ["much"], "is_new": [1]}), r"raw_prices\.price is decimal\(18, 4\)"),
        (pa.table({"price": [1.5], "is_new": [1], "colour": ["red"]}), "raw_prices has no column colour"),
        (pa.table({"is_new": [1]}), r"raw_prices\.price has 1 nulls and may have none"),
    ):
        with (
            pytest.raises(FunneliftError, match=told),
            find_engine("spark").begin_load(LoadSettings("spark"), TABLES) as raw,
        ):
            raw.append("raw_prices", rows, load_id="first")


def test_who_tends_the_raw_tables_sees_what_builds_have_made(spark_folder: Path) -> None:
    load_visits("a")
    for table in ("last_build", "taken_away_just_now"):
        (spark_folder / "funnelift.db" / table).mkdir(parents=True)
    pq.write_table(pa.table({"build_id": ["b"]}), spark_folder / "funnelift.db" / "last_build" / "part.parquet")
    with find_engine("spark").begin_load(LoadSettings("spark"), TABLES, is_first=False) as raw:
        assert raw.query("select build_id from funnelift.last_build") == [("b",)]
        made = "select table_name from information_schema.tables where table_schema = ?"
        assert raw.query(made, ["funnelift"]) == [("last_build",)]


def test_loads_of_an_older_version_are_taken_over_where_their_copies_are_whole(spark_folder: Path) -> None:
    load_visits("a")
    (spark_folder / "loads.duckdb").touch()
    with pytest.raises(FunneliftError, match="a load of an older version died before its rows were copied"):
        load_visits("b")
    (spark_folder / "raw_tables_are_copied").touch()
    load_visits("b")
    assert listed(spark_folder)[1] == ["a", "b"]
    assert not (spark_folder / "loads.duckdb").exists()


def test_what_spark_cannot_do_yet_is_said(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match="a backup is not there yet on Spark"):
        find_engine("spark").back_up(LoadSettings("spark"), tmp_path)


def test_a_spark_session_has_the_settings_of_dbts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = session_settings({"FUNNELIFT_SPARK_MASTER": "spark://host:7077", "FUNNELIFT_SPARK_WAREHOUSE": str(tmp_path)})
    assert told["spark.master"] == "spark://host:7077"
    assert told["spark.sql.warehouse.dir"] == str(tmp_path)
    assert told["spark.sql.session.timeZone"] == "UTC"
    assert not [value for value in told.values() if "{" in value]
    monkeypatch.setenv("FUNNELIFT_SPARK_WAREHOUSE", str(tmp_path / "none"))
    with (
        pytest.raises(FunneliftError, match="load and build first"),
        find_engine("spark").open(load_config(None, {"target": "spark"}, {})),
    ):
        pass


# --- publications, on every engine that has them


class Publishing(NamedTuple):
    """An open warehouse, and a way to run a statement beside it once it is closed."""

    engine: type[Warehouse]
    settings: WarehouseSettings
    execute: Callable[[str], list[tuple[Any, ...]]]

    def publish(self, *publications: Publication) -> None:
        with self.engine.open(self.settings) as warehouse:
            warehouse.publish(publications)

    def visitors(self, table: str) -> list[str]:
        return [visitor for (visitor,) in self.execute(f"select visitor from funnelift.{table} order by visitor")]


@pytest.fixture(params=[name for name in ENGINES if name != "spark"])
def publishing(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publishing:
    path = tmp_path / "warehouse.duckdb"
    settings = load_config(None, {"target": request.param, "duckdb_path": path}, {})

    def in_file(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(path) as connection:
            return connection.execute(sql).fetchall()

    def on_server(sql: str) -> list[tuple[Any, ...]]:
        with closing(server.session()) as session:
            if sql.startswith("select"):
                return session.rows(sql)
            session.execute(sql)
            return []

    if request.param == "duckdb":
        execute = in_file
    else:
        server: DatabaseServer = request.getfixturevalue("empty_mysql")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        execute = on_server
    execute("create schema funnelift")
    return Publishing(find_engine(request.param), settings, execute)


def publication(table: str, *visitors: str, append: bool = False) -> Publication:
    described = contract(table, ("visitor",), visitor="varchar(64)", score="double?")
    return Publication(described, pa.table({"visitor": visitors, "score": [0.5] * len(visitors)}), append)


def test_tables_that_are_published_together_change_together_or_not_at_all(publishing: Publishing) -> None:
    require(publishing.engine, "swaps_together")
    publishing.publish(publication("alpha", "a"), publication("beta", "a"))
    with pytest.raises(FunneliftError, match="nothing was published, a key is broken"):
        publishing.publish(publication("alpha", "b"), publication("beta", "b", "b"))
    assert (publishing.visitors("alpha"), publishing.visitors("beta")) == (["a"], ["a"])
    publishing.publish(
        publication("alpha", "b"),
        publication(
            "beta",
            "a",
            "b",
        ),
    )
    assert (publishing.visitors("alpha"), publishing.visitors("beta")) == (["b"], ["a", "b"])


def test_rows_are_added_to_all_tables_or_to_none(publishing: Publishing) -> None:
    require(publishing.engine, "has_transactions")
    publishing.publish(publication("alpha", "a"), publication("beta", "a"))
    with pytest.raises(FunneliftError, match="nothing was published, a key is broken"):
        publishing.publish(publication("alpha", "b", append=True), publication("beta", "a", append=True))
    assert (publishing.visitors("alpha"), publishing.visitors("beta")) == (["a"], ["a"])


def test_the_engine_itself_refuses_a_second_row_with_the_same_key(publishing: Publishing) -> None:
    require(publishing.engine, "has_primary_keys")
    publishing.publish(publication("alpha", "a", "A"))
    with pytest.raises((duckdb.ConstraintException, RepeatedKeyError)):
        publishing.execute("insert into funnelift.alpha values ('a', 0.1)")
    assert publishing.visitors("alpha") == ["A", "a"]


def test_a_full_disk_is_said_and_leaves_the_old_rows(tmp_path: Path) -> None:
    """DuckDB ends the transaction by itself then; what it says of the rollback would hide why."""
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("create schema funnelift")
        connection.execute("create table funnelift.alpha as select 'old' as visitor")
    settings = load_config(None, {"duckdb_path": path}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    many = publication("alpha", *(f"visitor {number}" for number in range(100_000)))
    engine, complaint = find_engine("duckdb"), r"the warehouse failed: .*(No space|too large)"
    with pytest.raises(FunneliftError, match=complaint), engine.open(settings) as warehouse:  # noqa: PT012
        # No file may grow any more, as on a disk that is full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
        try:
            warehouse.publish([many])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with duckdb.connect(path) as connection:
        assert connection.execute("select * from funnelift.alpha").fetchall() == [("old",)]
