"""`dbt build --target mysql` as others see it: readers, kills, restarts, comments, servers that will not do."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from compiled import ROOT
from servers import DatabaseServer
from warehouse.contract import read_project
from warehouse.errors import ServerError
from warehouse.mysql_client.session import Session

WAIT_SECONDS = 60
SMALL_SHOP = ("--visitors", "2000", "--seed", "7")


def run(server: DatabaseServer, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **server.environment}, check=False, capture_output=True, text=True
    )


def dbt(folder: Path, *arguments: str) -> list[str]:
    return [
        *(str(Path(sys.executable).with_name("dbt")), "--no-use-colors", *arguments),
        *("--target-path", str(folder / "target"), "--log-path", str(folder / "logs")),
    ]


def built(server: DatabaseServer, folder: Path) -> None:
    """A small synthetic shop, loaded and built."""
    raw = folder / "raw"
    for command in (
        [sys.executable, "-m", "ingest", "synth", "--out", str(raw), *SMALL_SHOP],
        [sys.executable, "-m", "ingest", "load", "--raw", str(raw)],
        dbt(folder, "build"),
    ):
        outcome = run(server, *command)
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.fixture(scope="module")
def shop(mysql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[DatabaseServer, Path]:
    mysql_server.drop_databases()
    folder = tmp_path_factory.mktemp("shop")
    built(mysql_server, folder)
    return mysql_server, folder


@pytest.fixture
def private_shop(private_mariadb: DatabaseServer, tmp_path: Path) -> tuple[DatabaseServer, Path]:
    """A shop on a server that a test may kill."""
    built(private_mariadb, tmp_path)
    return private_mariadb, tmp_path


def contents(server: DatabaseServer) -> dict[str, tuple[int, int]]:
    """Rows and a checksum of every table people read; the session ends, or its transaction would keep the tables."""
    session = server.session()
    tables = [path.stem for path in (ROOT / "models" / "marts").glob("*.sql")]
    counted = {}
    for table in tables:
        ((rows,),) = session.rows(f"select count(*) from funnelift.{table}")
        ((_, checksum),) = session.rows(f"checksum table funnelift.{table}")
        counted[table] = (int(rows), int(checksum))
    session.close()
    return counted


def relations(session: Session) -> set[str]:
    return {
        str(name)
        for (name,) in session.rows("select table_name from information_schema.tables where table_schema = 'funnelift'")
    }


def wait_for(session: Session, statement: str) -> None:
    """Until a session of somebody else runs a statement that holds this text."""
    deadline = time.monotonic() + WAIT_SECONDS
    query = "select count(*) from information_schema.processlist where info like %s and id <> connection_id()"
    while session.rows(query, [f"%{statement}%"])[0][0] == 0:
        assert time.monotonic() < deadline, f"no session came to run {statement}"
        time.sleep(0.05)


def test_numbers_that_a_server_gives_in_steps_change_nothing(shop: tuple[DatabaseServer, Path]) -> None:
    """As on a cluster, where each node has numbers of its own."""
    server, folder = shop
    if not server.is_private:
        pytest.skip("changes a setting of the server, so it needs one of the tests' own")
    before = contents(server)
    session = server.session()
    session.execute("set global auto_increment_increment = 7, global auto_increment_offset = 3")
    try:
        outcome = run(server, *dbt(folder, "run", "--full-refresh"))
        assert outcome.returncode == 0, outcome.stdout
        assert contents(server) == before
        keys = "select count(*) > 1, max(mod(visitor_key, 7) <> 3) from funnelift.int_visitors"
        assert session.rows(keys) == [(1, 0)]
    finally:
        session.execute("set global auto_increment_increment = 1, global auto_increment_offset = 1")
        session.close()


def test_readers_never_miss_a_table_while_it_is_built_anew(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session = server.session()
    ((expected,),) = session.rows("select count(*) from funnelift.sessions")
    session.close()
    seen: set[object] = set()
    reads, done = 0, threading.Event()

    def look() -> None:
        nonlocal reads
        reader = server.session()
        while not done.is_set():
            try:
                seen.update(
                    reader.rows(
                        "select count(*), sum(f.session_id is not null) from funnelift.sessions s "
                        "join funnelift.session_funnels f on f.session_id = s.session_id"
                    )
                )
                reader.commit()  # or its transaction would keep the tables' names to itself
                reads += 1
            except ServerError as error:
                seen.add(str(error))
        reader.close()

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(3):
            outcome = run(server, *dbt(folder, "run", "--select", "sessions", "session_funnels"))
            assert outcome.returncode == 0, outcome.stdout
    finally:
        done.set()
        reader.join()
    assert seen == {(expected, expected)}
    assert reads > 20


def test_descriptions_are_comments_in_the_database(shop: tuple[DatabaseServer, Path]) -> None:
    session = shop[0].session()
    comments = dict(
        session.rows("select table_name, table_comment from information_schema.tables where table_schema = 'funnelift'")
    )
    columns = {
        (str(table), str(column)): str(comment)
        for table, column, comment in session.rows(
            "select table_name, column_name, column_comment from information_schema.columns "
            "where table_schema = 'funnelift'"
        )
    }
    models = [
        model
        for path in (ROOT / "models").rglob("*.yml")
        for model in yaml.safe_load(path.read_text()).get("models", [])
    ]
    assert len(models) > 20
    ephemeral = {"stg_events", "stg_refunds", "stg_item_properties"}
    assert {model["name"] for model in models} - comments.keys() == ephemeral, "which have no table of their own"
    for model in models:
        if model["name"] in ephemeral:
            continue
        if comments[model["name"]] == "VIEW":  # which has no comments on either server
            continue
        assert comments[model["name"]] == " ".join(model["description"].split()), model["name"]
        for column in model["columns"]:
            described = " ".join(column["description"].split())
            assert " ".join(columns[model["name"], column["name"]].split()) == described


def test_ids_compare_byte_by_byte_and_times_keep_their_milliseconds(shop: tuple[DatabaseServer, Path]) -> None:
    session = shop[0].session()
    types = session.rows(
        "select table_schema, table_name, column_name, column_type, collation_name from information_schema.columns "
        "where table_schema in ('funnelift', 'funnelift_raw')"
    )
    assert {collation for *_, collation in types if collation} == {session.server.collation}
    # Raw times are whole milliseconds; a contract's timestamp keeps the microseconds that ml gives.
    contracts = read_project()
    for layers, expected in ((("staging", "intermediate"), "datetime(3)"), (("marts", "predictions"), "datetime(6)")):
        names = {contract.name for contract in contracts.of_layer(*layers)}
        times = {kind for _, table, column, kind, _ in types if table in names and column.endswith("_at")}
        assert times == {expected}, layers
    assert not [(table, column) for _, table, column, kind, _ in types if "timestamp" in str(kind)]


def test_a_killed_build_leaves_the_old_tables_and_the_next_is_clean(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session, holder = server.session(), server.session()
    before = contents(server)
    holder.execute("lock tables funnelift.int_session_events write")
    process = subprocess.Popen(
        dbt(folder, "run", "--select", "int_session_totals"),
        cwd=ROOT,
        env={**os.environ, **server.environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(session, "create table `funnelift`.`int\\_session\\_totals\\_\\_new`")
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        holder.execute("unlock tables")
    assert contents(server) == before
    outcome = run(server, *dbt(folder, "build", "--select", "int_session_totals"))
    assert outcome.returncode == 0, outcome.stdout
    assert contents(server) == before
    assert not {name for name in relations(session) if name.endswith(("__new", "__old"))}


def test_a_second_build_waits_for_the_first(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session, holder = server.session(), server.session()
    before = contents(server)
    environment, select = {**os.environ, **server.environment}, ("--select", "int_session_totals")
    holder.execute("lock tables funnelift.int_session_events write")
    with subprocess.Popen(dbt(folder, "run", *select), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as first:
        try:
            wait_for(session, "create table `funnelift`.`int\\_session\\_totals\\_\\_new`")
            command = dbt(folder / "second", "run", *select)
            with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as second:
                wait_for(session, "select sleep(")
                # Longer than a build may be without a session, before it is taken for a killed one.
                time.sleep(4)
                wait_for(session, "select sleep(")
                holder.execute("unlock tables")
                output, _ = second.communicate(timeout=WAIT_SECONDS)
                assert (first.wait(), second.returncode) == (0, 0), output
        finally:
            holder.execute("unlock tables")
    assert contents(server) == before
    assert session.rows("select * from funnelift.build_claim") == []


def test_a_second_build_that_waited_too_long_refuses_and_names_the_first(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session, holder = server.session(), server.session()
    before = contents(server)
    environment, select = {**os.environ, **server.environment}, ("--select", "int_session_totals")
    patience = ("--vars", json.dumps({"build_wait_seconds": 5}))
    holder.execute("lock tables funnelift.int_session_events write")
    with subprocess.Popen(dbt(folder, "run", *select), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as first:
        try:
            wait_for(session, "create table `funnelift`.`int\\_session\\_totals\\_\\_new`")
            ((begun_at, build_id),) = session.rows("select begun_at, build_id from funnelift.build_claim")
            session.commit()
            second = run(server, *dbt(folder / "refused", "run", *select, *patience))
            assert second.returncode == 1
            assert f"Another dbt build is at work on this server, begun at {begun_at} UTC" in second.stdout
            assert session.rows("select build_id from funnelift.build_claim") == [(build_id,)]
        finally:
            session.commit()
            holder.execute("unlock tables")
        assert first.wait(timeout=WAIT_SECONDS) == 0
    assert contents(server) == before
    assert session.rows("select * from funnelift.build_claim") == []


def test_who_only_knows_how_locks_are_called_cannot_hold_up_a_build(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session, holder = server.session(), server.session()
    # A killed build has left its claim. While a lock of its name is held, it seems to be at work.
    session.execute("replace into funnelift.build_claim values (1, 'killed', '2015-05-03 03:00:00')")
    session.commit()
    for guess in ("funnelift.build", *(f"funnelift.build.{slot}" for slot in range(1, 65))):
        assert holder.rows("select get_lock(%s, 0)", [guess]) == [(1,)]
    outcome = run(server, *dbt(folder, "run", "--select", "int_session_totals", "--vars", '{"build_wait_seconds": 5}'))
    assert outcome.returncode == 0, outcome.stdout
    assert session.rows("select * from funnelift.build_claim") == []
    session.close()
    holder.close()


def test_a_build_that_another_took_over_stops_and_names_it(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session, holder = server.session(), server.session()
    before = contents(server)
    holder.execute("lock tables funnelift.int_session_events write")
    command = dbt(folder, "run", "--threads", "1", "--select", "int_session_totals", "int_session_history")
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **server.environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(session, "\\_\\_new`")
            session.execute("replace into funnelift.build_claim values (1, 'another', '2015-05-03 03:00:00')")
            session.commit()
        finally:
            holder.execute("unlock tables")
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    session.execute("delete from funnelift.build_claim")
    session.commit()
    assert process.returncode == 1
    assert "Another dbt build is at work on this server, begun at 2015-05-03 03:00:00 UTC" in output, output
    assert run(server, *dbt(folder, "build")).returncode == 0
    assert contents(server) == before


def test_a_server_lost_in_the_middle_is_said_and_the_next_build_is_clean(
    private_shop: tuple[DatabaseServer, Path],
) -> None:
    server, folder = private_shop
    before = contents(server)
    session, holder = server.session(), server.session()
    holder.execute("lock tables funnelift_raw.raw_item_properties write")
    command = dbt(folder, "build", "--full-refresh")
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **server.environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        wait_for(session, "`raw\\_item\\_properties`")
        server.stop(signal.SIGKILL)
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode != 0
    assert "Lost connection to MySQL server" in output or "Can't connect to MySQL server" in output, output
    server.start()
    assert contents(server) == before
    again = run(server, *dbt(folder, "build"))
    assert again.returncode == 0, again.stdout
    assert contents(server) == before
    assert not {name for name in relations(server.session()) if name.endswith(("__new", "__old"))}


def test_a_database_that_is_not_utf8mb4_is_refused_with_the_statement_that_mends_it(
    shop: tuple[DatabaseServer, Path],
) -> None:
    server, folder = shop
    session = server.session()
    session.execute("alter database funnelift character set latin1 collate latin1_swedish_ci")
    try:
        outcome = run(server, *dbt(folder, "run", "--select", "int_events"))
    finally:
        session.execute(f"alter database funnelift character set utf8mb4 collate {session.server.collation}")
    assert outcome.returncode != 0
    assert "alter database funnelift character set utf8mb4" in outcome.stdout


@pytest.mark.end_to_end
def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "FUNNELIFT_TARGET": "mysql",
        "FUNNELIFT_MYSQL_PORT": "1",
        "FUNNELIFT_MYSQL_HOST": "127.0.0.1",
    }
    outcome = subprocess.run(
        dbt(tmp_path, "build"), cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    assert outcome.returncode != 0
    assert "Can't connect to MySQL server on '127.0.0.1:1'" in outcome.stdout


def test_a_build_says_which_server_settings_would_make_it_faster(shop: tuple[DatabaseServer, Path]) -> None:
    server, folder = shop
    session = server.session()
    session.execute("set @before = @@innodb_flush_log_at_trx_commit")
    try:
        session.execute("set global innodb_flush_log_at_trx_commit = 1")
        small = run(server, *dbt(folder, "run", "--select", "stg_categories"))
        told = run(server, *dbt(folder, "run-operation", "server_advice", "--args", "{least_bytes: 0}"))
    finally:
        session.execute("set global innodb_flush_log_at_trx_commit = @before")
        session.close()
    assert "builds faster" not in small.stdout, small.stdout
    assert "innodb_flush_log_at_trx_commit = 2" in told.stdout, told.stdout
