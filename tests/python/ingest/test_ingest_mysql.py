"""Loading into MySQL and MariaDB: the same rows, rejects and guarantees as on DuckDB, on a real server."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import warehouse.mysql as mysql_engine
from ingest.limits import VALUE_BYTES
from ingest.raw_tables import RAW_TABLES
from ingest.unload import unload
from loading import ASSIGNMENTS_HEADER, EVENTS_HEADER, GOOD_LINE, REES46_HEADER, Outcome, Shop, make_shop
from ops.retain import retain
from ops.roles import statements
from paths import ROOT
from servers import DatabaseServer, free_port
from warehouse.mysql import LOAD_LOCK
from warehouse.mysql_client.databases import provide_database
from warehouse.mysql_client.session import RUN_LOCKS, Session, open_session
from warehouse.mysql_client.settings import Settings

ALLOW_ALL = ["--max-reject-rate", "1"]
REPLACE = ["--replace-synthetic"]
PATIENCE_SECONDS = 60

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class ServedShop:
    """A shop whose files load into a server, and into DuckDB for comparison."""

    shop: Shop
    server: DatabaseServer

    def load(self, *paths: Path, options: list[str] | None = None) -> Outcome:
        return self.shop.load(*paths, options=["--target", "mysql", *(options or [])])

    def start(self, *paths: Path, options: list[str] | None = None) -> subprocess.Popen[str]:
        """The real command, as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "ingest", "load", "--raw", *map(str, paths), *(options or [])],
            env=os.environ | self.server.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        session = self.server.session()
        try:
            return session.rows(query)
        finally:
            session.close()

    def tables(self) -> set[str]:
        """What loads have made, beside the names of their locks."""
        query = "select table_name from information_schema.tables where table_schema = 'funnelift_raw'"
        return {str(name) for (name,) in self.rows(query)} - {RUN_LOCKS}

    def contents(self) -> Rows:
        """Every row of every raw table, in an order of its own."""
        return {
            table: ordered(self.rows(f"select {columns(table)} from funnelift_raw.{table}"))
            for table in sorted(self.tables() & set(RAW_TABLES))
        }

    def duckdb_contents(self) -> Rows:
        return {
            table: ordered(self.shop.rows(f"select {columns(table)} from funnelift_raw.{table}"))
            for table in sorted(RAW_TABLES)
        }

    def assert_loads_alike(self, *paths: Path, options: list[str] | None = None) -> Rows:
        """Load the same files into both and return what both hold."""
        for outcome in (self.load(*paths, options=options), self.shop.load(*paths, options=options)):
            assert outcome.code == 0, outcome.output
        found, expected = self.contents(), self.duckdb_contents()
        for table in RAW_TABLES:
            assert found[table] == expected[table], table
        return found


def columns(table: str) -> str:
    """All but the time of the load, which two loads do not share."""
    return ", ".join(column.name for column in RAW_TABLES[table] if column.name != "loaded_at")


def ordered(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: [(value is not None, value) for value in row])


def lines(count: int, start: int = 0) -> str:
    return "".join(f"{1437926001434 + n},{n},view,{n % 7},\n" for n in range(start, start + count))


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.fixture
def served(
    empty_mysql: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> ServedShop:
    shop = make_shop(tmp_path, monkeypatch, capsys)
    for name, value in empty_mysql.environment.items():
        if name != "FUNNELIFT_TARGET":
            monkeypatch.setenv(name, value)
    return ServedShop(shop, empty_mysql)


# --- the same rows ----------------------------------------------------------------------------------------------------


def test_the_real_sample_arrives_as_on_duckdb_and_a_second_load_is_a_no_op(
    served: ServedShop, shared_data: Path
) -> None:
    sample = shared_data / "retailrocket_sample"
    found = served.assert_loads_alike(sample)
    assert [len(found[table]) for table in ("raw_events", "raw_item_properties", "raw_category_tree")] == [
        2771,
        102,
        1669,
    ]
    times = served.rows("select loaded_at from funnelift_raw.raw_loads order by 1")
    again = served.load(sample)
    assert again.code == 0
    assert again.output.count("already loaded") == 3
    assert served.contents() == found
    assert served.rows("select loaded_at from funnelift_raw.raw_loads order by 1") == times


NASTY = [
    "😀",
    "\U0010fffd",
    "é",
    "e\u0301",
    "it's",
    'say "so"',
    '"',
    '","',
    "back\\slash",
    "\\",
    "\\N",
    "\\n",
    "NULL",
    "null",
    "a,b",
    "a\nb",
    "\nb\n",
    "a\tb",
    "a\rb",
    "%s",
    "{}",
    "'; drop table raw_events; -- ",
    "\u200b",
    "\x01",
    "0",
    "n12.0",
]


def test_nasty_texts_arrive_as_on_duckdb(served: ServedShop) -> None:
    ids = ["ab", "AB", "Ab", "ab\u200b", "äb", "a\u0308b", "007", "7", *NASTY]
    # Quoted, a blank value is a value: neither a null nor an empty text.
    values = [*NASTY, "", " ", "   ", " a", "a ", "a\u00a0"]
    events = (
        f"{1437926001434 + n},{quoted(one)},transaction,{quoted(one)},{quoted(one)}\n" for n, one in enumerate(ids)
    )
    properties = (f"1437879600000,{n},790,{quoted(value)}\n" for n, value in enumerate(values))
    served.shop.write("a 'file' \\ %s \"named\" 😀.csv", EVENTS_HEADER + "".join(events))
    served.shop.write("props.csv", "timestamp,itemid,property,value\n" + "".join(properties))
    served.shop.write("tree.csv", "categoryid,parentid\nA,\na,A\nÄ, \n")
    arms = ["treatment", "Control", "1", "0"]
    assignments = (f"{quoted(one)},{1437926001434 + n},{arms[n % 4]}\n" for n, one in enumerate(ids))
    served.shop.write("experiment.csv", ASSIGNMENTS_HEADER + "".join(assignments))
    found = served.assert_loads_alike()
    assert found["raw_rejects"] == []
    assert {visitor for _, visitor, *_ in found["raw_events"]} == {one.strip(" ") for one in ids}
    assert [(visitor, treatment) for visitor, _, treatment, *_ in found["raw_treatment_assignments"]] == sorted(
        (one.strip(" "), int(arms[n % 4] in ("treatment", "1"))) for n, one in enumerate(ids)
    )
    assert {value for *_, value, _, _ in found["raw_item_properties"]} == {value or None for value in values}


def test_other_formats_and_a_mapping_arrive_as_on_duckdb(served: ServedShop) -> None:
    shop = served.shop
    shop.write("tree.csv", "categoryid,parentid\nelectronics,shop\n")
    prices = ["1302.48", "0", "", "0.00005", "99999999999999.9999"]
    cells = ["electronics.audio", "Electronics.Audio", "", "😀.b", "electronics"]
    rows = [
        f"2019-10-01 00:00:0{n} UTC,purchase,{n},{n}00,{cells[n]},acer,{price},54{n},u\n"
        for n, price in enumerate(prices)
    ]
    shop.write("export.csv", REES46_HEADER + "".join(rows))
    served.assert_loads_alike(options=["--mapping", str(ROOT / "examples" / "rees46.yml"), *ALLOW_ALL])

    event = {"timestamp": 1437926001434, "visitorid": "\u2028", "event": "transaction", "itemid": "a\\b"}
    jsonl = shop.write("events.jsonl", json.dumps(event | {"transactionid": 'x"\n'}) + "\n" + json.dumps(event) + "\n")
    table = pa.table({**{name: [value] for name, value in event.items()}, "transactionid": ["a\0b"]})
    parquet = shop.raw / "events.parquet"
    pq.write_table(table, parquet)
    served.assert_loads_alike(jsonl, parquet, options=ALLOW_ALL)


def test_rejects_are_those_of_duckdb(served: ServedShop) -> None:
    long = "x" * 129
    bad = [
        *(b"1437926001434,79", b"", b"yesterday,79,view,1,", b"-5,79,view,1,", b"1437926001,79,view,1,"),
        *(b"9437926001434,79,view,1,", b"1437926001434,79,remove,1,", b"1437926001434,,view,1,"),
        *(b"1437926001434,79,view, ,", b"1437926001434,79,transaction,1,", b"1437926001434,7\xff9,view,1,"),
        *(b"1437926001434,7\x009,view,1,", b'1437926001434,"7"9,view,\\,', "\u200b😀\t'\\N,".encode()),
        *(f"1437926001434,{long},view,1,".encode(), b"NULL", b"\\N", b"x" * 5000, b"trailing blanks  "),
    ]
    served.shop.write("events.csv", EVENTS_HEADER.encode() + b"\n".join([*bad, GOOD_LINE.encode() + b"14379,cut off"]))
    served.shop.write(
        "props.csv",
        f"timestamp,itemid,property,value\n1437879600000,{long},790,n1\n1437879600000,1,{'p' * 256},n1\n"
        "1437879600000,,790,n1\n1437879600000,1,,n1\n1437879600000,1,790,n1\n",
    )
    served.shop.write("tree.csv", f"categoryid,parentid\n{long},1\n,4\n1,{long}\n2,1\n")
    served.shop.write(
        "experiment.csv", f"{ASSIGNMENTS_HEADER}{long},1437926001434,1\n1,x,1\n,1437926001434,1\n1,1437926001434,2\n"
    )
    rejects = served.assert_loads_alike(options=ALLOW_ALL)["raw_rejects"]
    # The line that is cut off counts as well.
    assert len(rejects) == len(bad) + 1 + 4 + 3 + 4
    assert len({reason for *_, reason, _ in rejects}) == 19


def test_texts_arrive_whole_up_to_the_limits(served: ServedShop) -> None:
    smiles = "😀" * 128
    served.shop.write("events.csv", EVENTS_HEADER + f"1437926001434,{smiles},transaction,{smiles},{smiles}\n")
    served.shop.write(
        "props.csv",
        f"timestamp,itemid,property,value\n1437879600000,{smiles},{'é' * 255},{'v' * VALUE_BYTES}\n"
        f"1437879600001,1,790,{'v' * (VALUE_BYTES + 1)}\n",
    )
    found = served.assert_loads_alike(options=ALLOW_ALL)
    assert [reason for *_, reason, _ in found["raw_rejects"]] == ["value_too_long"]


def test_tables_have_the_promised_shape(served: ServedShop) -> None:
    served.shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    assert served.load().code == 0
    session = served.server.session()
    collation = session.server.collation
    assert session.rows(
        "select default_character_set_name, default_collation_name from information_schema.schemata "
        "where schema_name = 'funnelift_raw'"
    ) == [("utf8mb4", collation)]
    tables = session.rows(
        "select table_name, engine, table_collation from information_schema.tables "
        "where table_schema = 'funnelift_raw' and table_name <> 'run_locks' order by 1"
    )
    assert tables == [(table, "InnoDB", collation) for table in sorted(RAW_TABLES)]
    types = dict(
        session.rows(
            "select column_name, concat(data_type, coalesce(character_maximum_length, '')) "
            "from information_schema.columns where table_schema = 'funnelift_raw' and table_name <> 'raw_rejects'"
        )
    )
    assert types["visitorid"] == "varchar128"
    assert types["timestamp"] == types["assigned_at"] == types["treatment"] == "bigint"
    assert types["price"] == "decimal"
    assert types["value"] == "mediumtext16777215"
    assert types["loaded_at"] == "datetime"
    assert session.rows("select collation(visitorid) from funnelift_raw.raw_events") == [(collation,)]
    session.close()


# --- whole or nothing -------------------------------------------------------------------------------------------------


def test_over_the_reject_rate_nothing_is_written(served: ServedShop) -> None:
    served.shop.write("events.csv", EVENTS_HEADER + lines(98) + "x,1,view,1,\n1437926001434,,view,1,\n")
    outcome = served.load()
    assert outcome.code == 1
    assert "events.csv: 2 of 100 lines rejected (2.00%, allowed 1.00%)" in outcome.output
    assert not any(served.contents().values())
    assert served.load(options=["--max-reject-rate", "0.02"]).code == 0
    assert len(served.contents()["raw_rejects"]) == 2


def test_rows_that_do_not_arrive_fail_the_load(served: ServedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    original = mysql_engine.MySQLRawTables.append

    def forgetful(self: mysql_engine.MySQLRawTables, table: str, rows: pa.Table, **constants: str) -> int:
        return original(self, table, rows.slice(1), **constants)

    monkeypatch.setattr(mysql_engine.MySQLRawTables, "append", forgetful)
    served.shop.write("events.csv", EVENTS_HEADER + lines(10))
    outcome = served.load()
    assert outcome.code == 1
    assert "do not add up" in outcome.output
    assert not any(served.contents().values())


@pytest.fixture
def holder(served: ServedShop) -> Iterator[Session]:
    """Another session, which keeps a load from finishing by holding a table."""
    session = served.server.session()
    yield session
    session.close()


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing happened"
        # InnoDB shows a stale list of transactions to whom asks again within a tenth of a second.
        time.sleep(0.15)


def rows_written_by_the_load(session: Session) -> int:
    ((count,),) = session.rows(
        "select coalesce(max(trx_rows_modified), 0) from information_schema.innodb_trx "
        "where trx_mysql_thread_id = is_used_lock(%s)",
        [session.lock_name(LOAD_LOCK, "funnelift_raw")],
    )
    return int(count)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_for_the_servers_end_of_it(session: Session) -> None:
    with session.lock(LOAD_LOCK, PATIENCE_SECONDS, "funnelift_raw"):
        pass


@pytest.mark.parametrize("moment", ["while rows stream", "when all is written but not committed"])
def test_a_killed_load_leaves_nothing_and_the_next_is_clean(served: ServedShop, holder: Session, moment: str) -> None:
    first = served.shop.write("first.csv", EVENTS_HEADER + lines(10))
    assert served.load(first).code == 0
    before = served.contents()
    count = 300_000
    events = served.shop.write("events.csv", EVENTS_HEADER + lines(count, start=10) + "x,1,view,1,\n")
    # The row of raw_loads is the last thing written: without it there is no commit, however fast the machine.
    holder.execute("lock tables funnelift_raw.raw_loads read")
    process = served.start(events)
    enough = 1 if moment == "while rows stream" else count + 1
    watcher = served.server.session()
    wait_until(lambda: rows_written_by_the_load(watcher) >= enough, process)
    kill(process)
    holder.execute("unlock tables")
    wait_for_the_servers_end_of_it(watcher)
    watcher.close()
    assert served.contents() == before
    assert served.load(events).code == 0
    assert served.rows("select count(*), count(distinct visitorid) from funnelift_raw.raw_events") == [
        (count + 10, count + 10)
    ]


def synthetic(served: ServedShop, name: str, count: int, start: int = 0) -> Path:
    served.shop.write(f"{name}/synthetic.json", "{}")
    return served.shop.write(f"{name}/events.csv", EVENTS_HEADER + lines(count, start)).parent


def test_a_killed_replacement_is_whole_or_nothing_and_the_next_clears_up(served: ServedShop, holder: Session) -> None:
    assert served.load(synthetic(served, "made", 10)).code == 0
    before = served.contents()
    others = synthetic(served, "others", 20, start=100)
    # A reader in the middle of a query keeps the swap waiting.
    holder.rows("select count(*) from funnelift_raw.raw_events")
    process = served.start(others, options=REPLACE)
    watcher = served.server.session()
    renames = "select count(*) from information_schema.processlist where id = is_used_lock(%s) and info like %s"
    lock = watcher.lock_name(LOAD_LOCK, "funnelift_raw")
    wait_until(lambda: watcher.rows(renames, [lock, "rename table%"]) == [(1,)], process)
    kill(process)
    holder.rollback()
    wait_for_the_servers_end_of_it(watcher)
    watcher.close()
    after_the_kill = served.contents()
    assert len(after_the_kill["raw_events"]) in (10, 20)
    assert after_the_kill["raw_events"] == before["raw_events"] or len(after_the_kill["raw_loads"]) == 1
    assert served.tables() > set(RAW_TABLES), "the kill left nothing to clear up"
    assert served.load(others, options=REPLACE).code == 0
    assert served.tables() == set(RAW_TABLES)
    assert served.rows("select min(visitorid), count(*) from funnelift_raw.raw_events") == [("100", 20)]
    assert served.rows("select count(*) from funnelift_raw.raw_loads") == [(1,)]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_stops_in_the_middle_is_said_so_and_the_next_load_is_clean(
    served: ServedShop, holder: Session, how: signal.Signals
) -> None:
    if not served.server.is_private:
        pytest.skip("stops the server, so it needs one of the tests' own")
    events = served.shop.write("events.csv", EVENTS_HEADER + lines(1000))
    first = served.shop.write("first.csv", EVENTS_HEADER + lines(10, start=5000))
    assert served.load(first).code == 0
    before = served.contents()
    holder.execute("lock tables funnelift_raw.raw_loads read")
    process = served.start(events)
    watcher = served.server.session()
    wait_until(lambda: rows_written_by_the_load(watcher) >= 1000, process)
    served.server.stop(how)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    served.server.start()
    assert process.returncode == 1
    assert "the connection was lost" in output
    assert "run the same command again" in output
    assert served.contents() == before
    assert served.load(events).code == 0
    assert served.rows("select count(*) from funnelift_raw.raw_events") == [(1010,)]


# --- synthetic data ---------------------------------------------------------------------------------------------------


def test_a_replacement_shows_readers_the_old_rows_or_the_new_ones(served: ServedShop) -> None:
    folders = [synthetic(served, name, count) for name, count in (("small", 1000), ("large", 2000))]
    assert served.load(folders[0]).code == 0
    seen: set[tuple[Any, ...]] = set()
    failures: list[BaseException] = []
    is_over = threading.Event()

    def read() -> None:
        session = served.server.session()
        try:
            while not is_over.is_set():
                seen.update(session.rows("select count(*), count(distinct load_id) from funnelift_raw.raw_events"))
                session.commit()
        except BaseException as failure:
            failures.append(failure)
        finally:
            session.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(1, 7):
            assert served.load(folders[turn % 2], options=REPLACE).code == 0
    finally:
        is_over.set()
        reader.join()
    assert failures == []
    assert seen <= {(1000, 1), (2000, 1)}
    assert served.tables() == set(RAW_TABLES)
    assert [count for (count,) in served.rows("select accepted_count from funnelift_raw.raw_loads")] == [1000]


def test_a_failed_replacement_keeps_the_synthetic_data(served: ServedShop) -> None:
    assert served.load(synthetic(served, "made", 10)).code == 0
    before = served.contents()
    bad = served.shop.write("real/events.csv", EVENTS_HEADER + "x,1,view,1,\n").parent
    outcome = served.load(bad)
    assert outcome.code == 1
    assert "load into another warehouse (FUNNELIFT_MYSQL_HOST, FUNNELIFT_MYSQL_PORT)" in outcome.output
    assert served.load(bad, options=REPLACE).code == 1
    assert served.contents() == before
    assert served.tables() == set(RAW_TABLES)


# --- two at once ------------------------------------------------------------------------------------------------------


def test_a_load_waits_for_another_one(served: ServedShop) -> None:
    events = served.shop.write("events.csv", EVENTS_HEADER + lines(10))
    session = served.server.session()
    waiting = "select count(*) from information_schema.processlist where info like %s"
    provide_database(session, "funnelift_raw")
    with session.lock(LOAD_LOCK, 0, "funnelift_raw"):
        process = served.start(events)
        wait_until(lambda: session.rows(waiting, ["select get_lock('%"]) == [(1,)], process)
        assert session.columns("funnelift_raw", "raw_events") == []
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output
    assert served.rows("select count(*) from funnelift_raw.raw_events") == [(10,)]


def test_a_load_that_waited_too_long_says_for_whom(served: ServedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_engine, "LOAD_LOCK_SECONDS", 0)
    served.shop.write("events.csv", EVENTS_HEADER + lines(10))
    session = served.server.session()
    provide_database(session, "funnelift_raw")
    with session.lock(LOAD_LOCK, 0, "funnelift_raw"):
        outcome = served.load()
    session.close()
    assert outcome.code == 1
    assert "another run holds the lock funnelift.load" in outcome.output
    assert served.tables() == set()


def test_of_two_loads_of_the_same_files_one_finds_them_loaded(served: ServedShop) -> None:
    events = served.shop.write("events.csv", EVENTS_HEADER + lines(10))
    both = [served.start(events) for _ in range(2)]
    outputs = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("already loaded" in output for output in outputs) == 1
    assert served.rows("select count(*) from funnelift_raw.raw_events") == [(10,)]


# --- what is refused, and how it is said ------------------------------------------------------------------------------


@pytest.fixture
def limited(served: ServedShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Settings]]:
    """Makes loads run as a user with these grants and no others."""
    user, password = "funnelift_test_limited", f"{token_urlsafe(16)}-aA1"
    administrator = served.server.session()
    administrator.execute(f"drop user if exists {user}")
    administrator.execute(f"create user {user} identified by %s", [password])

    def grant(*grants: str) -> Settings:
        for one in grants:
            administrator.execute(f"grant {one} to {user}")
        monkeypatch.setenv("FUNNELIFT_MYSQL_USER", user)
        monkeypatch.setenv("FUNNELIFT_MYSQL_PASSWORD", password)
        return replace(served.server.settings, user=user, password=password)

    yield grant
    administrator.execute(f"drop user {user}")
    administrator.close()


def refused(served: ServedShop, code: int = 1) -> str:
    served.shop.write("events.csv", EVENTS_HEADER + GOOD_LINE)
    outcome = served.load()
    assert outcome.code == code
    assert "Traceback" not in outcome.output
    return outcome.output


def test_a_server_that_is_down(served: ServedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELIFT_MYSQL_PORT", str(free_port()))
    assert "no MySQL or MariaDB server answers" in refused(served)


def test_a_setting_that_cannot_work(served: ServedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELIFT_MYSQL_PORT", "mysql")
    assert "FUNNELIFT_MYSQL_PORT: 'mysql' is no port number" in refused(served, code=2)


def test_a_wrong_password(
    served: ServedShop, limited: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited()
    monkeypatch.setenv("FUNNELIFT_MYSQL_PASSWORD", "not-the-password")
    output = refused(served)
    assert "refuses this user or password" in output
    assert "not-the-password" not in output


def test_a_missing_database_that_may_not_be_created(served: ServedShop, limited: Callable[..., Settings]) -> None:
    limited("select on funnelift.*")
    output = refused(served)
    assert "there is no database funnelift_raw, or this user may not see it" in output
    assert "create database `funnelift_raw` character set utf8mb4 collate" in output


def test_a_missing_privilege(served: ServedShop, limited: Callable[..., Settings]) -> None:
    assert served.load(served.shop.write("first.csv", EVENTS_HEADER + lines(10))).code == 0
    before = served.contents()
    limited("select on funnelift_raw.*", "select, insert, create on funnelift_raw.run_locks")
    output = refused(served)
    assert "lacks a privilege" in output
    assert "INSERT" in output.upper()
    assert served.contents() == before


def test_the_loaders_role_is_enough(served: ServedShop, limited: Callable[..., Settings]) -> None:
    administrator = served.server.session()
    script = statements("funnelift_test")
    try:
        for statement in script:
            administrator.execute(statement)
        settings = limited("funnelift_test_loader")
        verb = "for" if administrator.server.is_mariadb else "to"
        administrator.execute(f"set default role funnelift_test_loader {verb} {settings.user}")
        assert open_session(settings).rows("select current_role()")[0][0] is not None
        assert served.load(synthetic(served, "made", 10)).code == 0
        outcome = served.load(synthetic(served, "others", 20), options=REPLACE)
        assert outcome.code == 0, outcome.output
        assert served.rows("select count(*) from funnelift_raw.raw_events") == [(20,)]
        administrator.execute("create table funnelift.build_plan as select 'b' as build_id")
        administrator.execute("create table funnelift.last_build as select 'b' as build_id")
        administrator.execute("create table funnelift.built_loads as select load_number from funnelift_raw.raw_loads")
        assert retain(dt.date(2015, 7, 26), target="mysql") == (0, 0, 0)
        unload(["events.csv"], target="mysql")
        assert served.rows("select count(*) from funnelift_raw.raw_events") == [(0,)]
    finally:
        for statement in script:
            if statement.startswith("create role"):
                administrator.execute(statement.replace("create role if not exists", "drop role if exists"))
        administrator.close()


def test_local_infile_off(served: ServedShop) -> None:
    if not served.server.is_private:
        pytest.skip("changes a setting of the server, so it needs one of the tests' own")
    session = served.server.session()
    session.execute("set global local_infile = 0")
    try:
        assert "local_infile off" in refused(served)
    finally:
        session.execute("set global local_infile = 1")
        session.close()


def test_a_database_that_is_not_utf8mb4(served: ServedShop) -> None:
    session = served.server.session()
    session.execute("create database funnelift_raw character set latin1")
    output = refused(served)
    assert "funnelift_raw has the character set latin1" in output
    statement = output[output.index("alter database") : output.index("`, then")]
    session.execute(statement)
    session.close()
    assert served.load().code == 0
