"""What each role of `python -m ops roles` may do on a real server, and what it may not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from secrets import token_urlsafe

import pyarrow as pa
import pytest

from ops.check import check
from ops.roles import ROLES
from paths import ROOT
from servers import DATABASES, DatabaseServer, environment_of, lacking
from warehouse.errors import NotAllowedError
from warehouse.mysql import LOAD_LOCK, LOCK
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings

# Its own, so that a named server keeps whatever roles it has.
PREFIX = "funnelift_test"
MARTS = ("funnelift.sessions", "funnelift.session_features")
PREDICTIONS = "funnelift.conversion_predictions"
# The one staging table that ml reads.
ASSIGNMENTS = "funnelift.stg_treatment_assignments"
WORKINGS = ("funnelift.int_events", "funnelift.int_session_events", ASSIGNMENTS)
SOURCES = ("funnelift_raw.raw_events", "funnelift_raw.raw_treatment_assignments", "funnelift_raw.raw_loads")
# Of the raw tables the one that no model reads.
REJECTS = "funnelift_raw.raw_rejects"
RAW = (*SOURCES, REJECTS)
# Just enough visitors for buyers in every slice, and models that are quick rather than good.
VISITORS = 10_000
QUICK = {
    "split": {"min_positives": 3},
    "models": {"catboost": {"max_trees": 60}, "xgboost": {"max_trees": 40}},
    "evaluation": {"bootstrap_resamples": 30},
    "explanation": {"plot_rows": 200},
    "experiment": {"split": {"min_positives": 3}, "min_conversions_per_arm": 1},
    "uplift": {"max_trees": 40, "bootstrap_resamples": 30},
    "policy": {"bootstrap_resamples": 30},
    "planner": {"simulations": 50},
}


@dataclass(frozen=True)
class Roles:
    """A server on which the script ran twice, and a user for each role."""

    server: DatabaseServer
    users: dict[str, Settings]
    grants: list[list[str]]

    @contextmanager
    def session(self, role: str | None = None) -> Iterator[Session]:
        """Of a role's user, else of the administrator; it keeps no table from the others and does not wait for them."""
        session = open_session(self.users[role] if role else self.server.settings, local_infile=True)
        try:
            session.execute("set autocommit = 1, lock_wait_timeout = 10")
            yield session
        finally:
            session.close()


@cache
def script(*options: str) -> str:
    command = [sys.executable, "-m", "ops", "roles", "--prefix", PREFIX, *options]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def run_script(session: Session, sql: str) -> None:
    lines = [line for line in sql.splitlines() if line and not line.startswith("--")]
    for statement in "\n".join(lines).removesuffix(";").split(";\n"):
        session.execute(statement)


def drop_users_and_roles(session: Session) -> None:
    for role in ROLES:
        session.execute(f"drop user if exists {PREFIX}_{role}_user")
        session.execute(f"drop role if exists {PREFIX}_{role}")


def grants_of(session: Session, role: str) -> list[str]:
    return [str(line) for (line,) in session.rows(f"show grants for {PREFIX}_{role}")]


@pytest.fixture(scope="module")
def roles(mysql_server: DatabaseServer) -> Iterator[Roles]:
    """Made as the administrator makes them: before anything is loaded or built, and once more."""
    mysql_server.drop_databases()
    administrator = mysql_server.session()
    drop_users_and_roles(administrator)
    try:
        grants = []
        for _ in range(2):
            run_script(administrator, script())
            grants.append([grant for role in ROLES for grant in grants_of(administrator, role)])
        password = f"{token_urlsafe(16)}-aA1"
        users = script("--users").removeprefix(script()).replace("\n-- create", "\ncreate")
        users = users.replace("\n-- grant", "\ngrant").replace("\n-- set", "\nset").replace("<password>", password)
        run_script(administrator, users)
        named = {
            role: replace(mysql_server.settings, user=f"{PREFIX}_{role}_user", password=password) for role in ROLES
        }
        yield Roles(mysql_server, named, grants)
    finally:
        drop_users_and_roles(administrator)
        administrator.close()
        mysql_server.drop_databases()


@pytest.fixture
def administrator(roles: Roles) -> Iterator[Session]:
    """A session of the administrator, beside tables of each layer with one row each."""
    with roles.session() as session:
        for database in DATABASES:
            session.execute(f"drop database if exists {database}")
        run_script(session, "\n".join(line for line in script().splitlines() if line.startswith("create database")))
        for table in (*RAW, *WORKINGS, *MARTS, PREDICTIONS):
            session.execute(f"create table {table} (id varchar(20) not null)")
            session.execute(f"insert into {table} values ('first')")
        yield session


def assert_refused(session: Session, *statements: str) -> None:
    allowed = []
    for statement in statements:
        with suppress(NotAllowedError):
            session.execute(statement)
            allowed.append(statement)
    assert not allowed


def writes(table: str) -> list[str]:
    """Every way to change a table, or to make something else of it."""
    return [
        f"insert into {table} values ('second')",
        f"update {table} set id = 'second'",
        f"delete from {table}",
        f"truncate table {table}",
        f"alter table {table} add column other int",
        f"create index other on {table} (id)",
        f"rename table {table} to {table}__old",
        f"drop table {table}",
    ]


def reads(*tables: str) -> list[str]:
    # No rows to fetch, so that a read that is allowed leaves nothing pending.
    return [f"do (select count(*) from {table})" for table in tables]


def swap(session: Session, table: str, *values: str) -> None:
    """Replace a table as ingest, dbt and ml do."""
    session.execute(f"create table {table}__new (id varchar(20) not null primary key)")
    session.load(f"{table}__new", pa.table({"id": list(values)}))
    session.commit()
    session.execute(f"rename table {table} to {table}__old, {table}__new to {table}")
    session.execute(f"drop table {table}__old")


def test_the_script_can_be_repeated(roles: Roles) -> None:
    first, second = roles.grants
    assert first == second
    assert len(first) > len(ROLES)


def test_the_client_takes_the_script(roles: Roles) -> None:
    client = shutil.which("mariadb") or shutil.which("mysql")
    if client is None:
        lacking("no mariadb or mysql client on this machine: install mariadb-client")
    server = roles.server.settings
    place = [f"--host={server.host}", f"--port={server.port}", f"--user={server.user}"]
    subprocess.run(
        [client, "--no-defaults", "--comments", *place],
        input=script("--users"),
        env={"MYSQL_PWD": server.password},
        check=True,
        capture_output=True,
        text=True,
    )


def test_texts_of_both_databases_compare_byte_by_byte(administrator: Session) -> None:
    found = administrator.rows(
        "select schema_name, default_collation_name from information_schema.schemata where schema_name in (%s, %s)",
        DATABASES,
    )
    assert sorted(found) == [(database, administrator.server.collation) for database in sorted(DATABASES)]


@pytest.mark.parametrize("role", ROLES)
def test_ops_check_is_content_with_each_role(roles: Roles, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with roles.session() as session:
        for database in DATABASES:
            session.execute(f"drop database if exists {database}")
        run_script(session, script())
    for key, value in environment_of(roles.users[role]).items():
        monkeypatch.setenv(key, value)
    assert [str(finding) for finding in check([role]) if finding.kind == "wrong"] == []


def test_the_reader_may_select_from_marts_and_predictions_and_nothing_else(roles: Roles) -> None:
    folders = ("marts", "bi", "predictions")
    readable = {file.stem for folder in folders for file in (ROOT / "models" / folder).glob("*.sql")}
    with roles.session() as session:
        usage, *selects = sorted(grants_of(session, "bi_reader"), key=lambda grant: "USAGE" not in grant)
    assert usage.startswith("GRANT USAGE ON *.*")
    assert all(grant.startswith("GRANT SELECT ON `funnelift`.") for grant in selects)
    # bi_status compares the predictions with the last build, with the rights of whoever asks.
    assert {grant.split("`")[3] for grant in selects} == {*readable, "last_build"}


def test_the_reader_cannot_take_the_locks_of_a_run(roles: Roles, administrator: Session) -> None:
    runs = {"loader": (LOAD_LOCK, "funnelift_raw"), "ml": (LOCK, "funnelift")}
    for lock, database in runs.values():
        assert administrator.lock_name(lock, database).startswith(f"{lock}.")
    with roles.session("bi_reader") as reader:
        # The names' ends, and whatever shows the names of locks that are held.
        assert_refused(reader, *reads("funnelift.run_locks", "funnelift_raw.run_locks"))
        assert_refused(reader, *reads("performance_schema.metadata_locks"))
        for lock, database in runs.values():
            assert reader.rows("select get_lock(%s, 0)", [lock]) == [(1,)]
            assert reader.rows("select get_lock(%s, 0)", [f"{lock}.{database}"]) == [(1,)]
        for role, (lock, database) in runs.items():
            with roles.session(role) as session, session.lock(lock, 0, database):
                pass


def test_the_reader_reads_what_is_swapped_in_and_changes_nothing(roles: Roles, administrator: Session) -> None:
    readable = (*MARTS, PREDICTIONS)
    with roles.session("bi_reader") as session:
        for table in readable:
            assert session.rows(f"select id from {table}") == [("first",)]
            swap(administrator, table, "second")
            assert session.rows(f"select id from {table}") == [("second",)]
            administrator.execute(f"drop table {table}")
            administrator.execute(f"create table {table} as select 'third' as id")
            assert session.rows(f"select id from {table}") == [("third",)]

        administrator.execute(f"create table {PREDICTIONS}__new (id int)")
        assert_refused(session, *reads(*RAW, *WORKINGS, f"{PREDICTIONS}__new"))
        seen = session.rows(
            "select concat(table_schema, '.', table_name) from information_schema.tables "
            "where table_schema in (%s, %s)",
            DATABASES,
        )
        assert {table for (table,) in seen} == set(readable)
        for table in (*readable, *RAW, *WORKINGS):
            assert_refused(session, *writes(table))
        assert_refused(session, "create table funnelift.other (id int)", "create table funnelift_raw.other (id int)")
        assert_refused(session, "create view funnelift.other as select 1 as id", "drop database funnelift")


def test_the_loader_swaps_raw_tables_and_sees_no_others(roles: Roles, administrator: Session) -> None:
    table = RAW[0]
    with roles.session("loader") as session:
        swap(session, table, "second", "third")
        session.load(table, pa.table({"id": ["fourth"]}))
        assert session.rows(f"select count(*) from {table}") == [(3,)]
        for other in (*WORKINGS, *MARTS, PREDICTIONS):
            assert_refused(session, *reads(other), *writes(other))
        assert_refused(session, "create table funnelift.other (id int)", "create table funnelift_raw.other (id int)")
        assert_refused(session, f"rename table {table} to funnelift.dim_date", "drop database funnelift_raw")
    assert administrator.rows(f"select count(*) from {table}") == [(3,)]


def test_ml_swaps_its_tables_and_cannot_change_a_mart(roles: Roles, administrator: Session) -> None:
    with roles.session("ml") as session:
        for table in ("funnelift.session_features", ASSIGNMENTS):
            assert session.rows(f"select id from {table}") == [("first",)]
        swap(session, PREDICTIONS, "second")
        assert session.rows(f"select id from {PREDICTIONS}") == [("second",)]
        for table in (*MARTS, *WORKINGS, *RAW):
            assert_refused(session, *writes(table))
        assert_refused(session, *reads(*RAW, "funnelift.int_events"))
        assert_refused(session, "create table funnelift.other (id int)", "drop database funnelift")
        # Nor may a table of its own become a mart that is not there yet.
        assert_refused(session, f"rename table {PREDICTIONS} to funnelift.dim_date")
        assert_refused(session, "create table funnelift.dim_date (id int)")
    for table in MARTS:
        assert administrator.rows(f"select id from {table}") == [("first",)]


def test_the_transformer_builds_from_raw_tables_that_it_cannot_change(roles: Roles, administrator: Session) -> None:
    with roles.session("transformer") as session:
        for statement in (
            "create schema if not exists funnelift",
            # Invoker: a definer's roles do not count on MariaDB, so the view would be refused what its owner may read.
            "create or replace sql security invoker view funnelift.stg_loads as select * from funnelift_raw.raw_loads",
            "create table funnelift.sessions__new as select * from funnelift.stg_loads",
            "alter table funnelift.sessions__new add index (id), comment 'One row a session.'",
            "create index by_id on funnelift.sessions__new (id)",
            "rename table funnelift.sessions to funnelift.sessions__old, funnelift.sessions__new to funnelift.sessions",
            "drop table funnelift.sessions__old",
            "drop view funnelift.stg_loads",
        ):
            session.execute(statement)
        assert session.rows("select id from funnelift.sessions") == [("first",)]
        for table in SOURCES:
            assert session.rows(f"select id from {table}") == [("first",)]
        assert_refused(session, *reads(REJECTS))
        for table in RAW:
            assert_refused(session, *writes(table))
        assert_refused(session, "create table funnelift_raw.other (id int)", "create schema funnelift_other")
    assert administrator.rows(f"select id from {RAW[0]}") == [("first",)]


def test_each_stage_runs_under_its_own_role(roles: Roles, tmp_path: Path) -> None:
    """From raw files to what the reader sees, each command as the user of its role."""

    def run_as(role: str, *command: str, code: int = 0) -> str:
        places = {"DBT_TARGET_PATH": "target", "DBT_LOG_PATH": "logs", "FUNNELIFT_RESULTS": "results"}
        environment = {**os.environ, **environment_of(roles.users[role])}
        environment |= {key: str(tmp_path / folder) for key, folder in places.items()}
        finished = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, check=False, capture_output=True, text=True
        )
        assert finished.returncode == code, f"{role}: {finished.stdout}{finished.stderr}"
        return finished.stdout

    with roles.session() as administrator:
        for database in DATABASES:
            administrator.execute(f"drop database if exists {database}")
        run_script(administrator, script())
    raw, quick = str(tmp_path / "raw"), tmp_path / "quick.json"
    quick.write_text(json.dumps(QUICK))
    run_as("loader", "ingest", "synth", "--out", raw, "--visitors", str(VISITORS))
    run_as("loader", "ingest", "load", "--raw", raw)
    run_as("loader", "ingest", "load", "--raw", raw, "--replace-synthetic")
    run_as("transformer", "dbt.cli.main", "--quiet", "build")
    printed = run_as("ml", "ml.train", "--config", str(quick))
    # What a role may not see looks as if it were missing, so what the training says of it would be false.
    assert f"The pages for people: {tmp_path / 'results' / 'report.html'}" in printed
    assert "not built" not in printed
    advice = (tmp_path / "results" / "recommendations.md").read_text(encoding="utf-8")
    assert "this run read an experiment and no shop events" not in advice
    run_as("ml", "ml.score", "--config", str(quick))
    assert "not built" not in run_as("ml", "ml.monitor", "--config", str(quick), code=4)

    with roles.session("bi_reader") as session:
        tables = ("conversion_predictions", "session_features")
        predictions, features = (session.rows(f"select count(*) from funnelift.{table}")[0][0] for table in tables)
        assert predictions == features > VISITORS
        assert session.rows("select count(*) from funnelift.ml_runs") == [(1,)]


@pytest.mark.parametrize(
    ("prefix", "message"), [("a-b", "letters, digits and underscores"), ("a" * 20, "at most 32 characters")]
)
def test_a_prefix_that_cannot_name_a_role_is_refused(prefix: str, message: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "ops", "roles", "--prefix", prefix],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 2
    assert message in finished.stderr
    assert finished.stdout == ""
