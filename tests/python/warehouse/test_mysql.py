"""The modelling commands on a real MySQL or MariaDB server: DuckDB's figures, and nothing ever half-written."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ml_mart
import ml_mart_mysql
import warehouse.mysql as mysql_engine
from contracts import PUBLISHED, contract
from ml import monitor, rollback, score, train
from ml.cli import Progress
from ml.config import Config, load_config
from ml.scoring.published import published_model
from paths import ROOT
from servers import DatabaseServer, environment_of
from training import DRIFT, GAINS, TABLES
from warehouse.base import Among, Publication
from warehouse.errors import FunneliftError, ServerError
from warehouse.mysql_client.arrow_reader import set_aside
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session
from warehouse.open import open_warehouse

QUICK = {
    "split": {"min_positives": 10},
    "models": {"catboost": {"max_trees": 60}, "xgboost": {"max_trees": 40}},
    "evaluation": {"bootstrap_resamples": 30},
    "explanation": {"plot_rows": 200},
    "lock_wait_seconds": 0,
}
# What must differ between two runs.
OWN = {
    "run_id",
    "model_run_id",
    "champion_run_id",
    "scored_at",
    "started_at",
    "finished_at",
    "published_at",
    "target",
    "config_json",
}
PROBABILITIES = {"probability", "abandon_probability", "mean_predicted"}
DEADLINE_SECONDS = 60
ALPHA = contract("alpha", ("id",), id="varchar(64)", run_id="varchar(64)", text="text?")
BETA = contract("beta", ("run_id",), run_id="varchar(64)")


@dataclass(frozen=True)
class Place:
    """The same marts in a DuckDB file and on a server, and what was trained on each."""

    folder: Path
    server: DatabaseServer

    def config(self, target: str = "mysql", **more: Any) -> Config:
        places = {
            "target": target,
            "duckdb_path": self.folder / "warehouse.duckdb",
            "manifest": self.folder / "manifest.json",
            "results": self.folder / f"results_{target}",
        }
        return load_config(self.folder / "quick.json", places | more, environment={})

    @property
    def arguments(self) -> list[str]:
        """The command line that names these places."""
        options = {"config": "quick.json", "manifest": "manifest.json", "results": "results_mysql"}
        return [
            "--target",
            "mysql",
            *(part for key, file in options.items() for part in (f"--{key}", str(self.folder / file))),
        ]


def nasty(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Ids that differ only in case, texts beyond the basic plane, and what CSV and SQL take for themselves."""

    def renamed(column: pd.Series) -> pd.Series:
        texts = column.astype(str)
        texts = texts.str.replace(r"^v(\d*)0-", r"V\g<1>1-", regex=True).str.replace(
            r"^v(\d*)0$", r"V\g<1>1", regex=True
        )
        return texts.str.replace(r"^v(\d*)3\b", r'😀 "é", \\\g<1>3', regex=True)

    changed = {}
    for table, frame in tables.items():
        frame = frame.copy()
        for column in ("session_id", "visitor_id"):
            if column in frame:
                frame[column] = renamed(frame[column])
        if "item_category" in frame:
            frame["item_category"] = frame["item_category"].replace(
                {"c1": "C2", "c2": "c2", "c3": '👜 bags\n\'n "totes", 5\\6'}
            )
            frame["item_price_ratio"] = np.nan
        changed[table] = frame
    return changed


@pytest.fixture(scope="module")
def place(mysql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Marts in both warehouses, a training on each."""
    place = Place(tmp_path_factory.mktemp("trained"), mysql_server)
    ml_mart.write(place.folder, nasty(ml_mart.marts(5000, seed=31, buy_rate=0.04)))
    (place.folder / "quick.json").write_text(json.dumps(QUICK))
    mysql_server.drop_databases()
    session = mysql_server.session(local_infile=True)
    ml_mart_mysql.copy(session, place.folder / "warehouse.duckdb")
    session.close()
    with pytest.MonkeyPatch.context() as patch:
        name_server(patch, mysql_server)
        for target in ("duckdb", "mysql"):
            train.train(place.config(target), Progress())
            monitor.monitor(place.config(target), Progress())
    yield place
    mysql_server.drop_databases()


@pytest.fixture(autouse=True)
def server_named(mysql_server: DatabaseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    name_server(monkeypatch, mysql_server)


@pytest.fixture
def session(place: Place) -> Iterator[Session]:
    """An administrator who looks on."""
    with onlooker(place.server) as session:
        yield session


@pytest.fixture
def pair(place: Place) -> Iterator[Callable[[str], list[Publication]]]:
    """Two small tables that are published together, first by a run called first."""

    def publications(run: str, count: int = 3000) -> list[Publication]:
        ids = pa.array([f"{run} {number}" for number in range(count)])
        rows = pa.table({"id": ids, "run_id": [run] * count, "text": [f"{run}, 😀" * 20] * count})
        return [Publication(ALPHA, rows), Publication(BETA, pa.table({"run_id": [run]}))]

    with open_warehouse(place.config()) as warehouse:
        warehouse.publish(publications("first"))
    yield publications
    left = [f"funnelift.{table}{end}" for table in ("alpha", "beta") for end in ("", "__new", "__old")]
    with onlooker(place.server) as again:  # a server may have been stopped meanwhile
        again.execute(f"drop table if exists {', '.join(left)}")


@contextmanager
def onlooker(server: DatabaseServer) -> Iterator[Session]:
    """A session that sees with every statement what is committed, and holds no table between two."""
    with closing(server.session()) as session:
        session.execute("set autocommit = 1")
        yield session


def name_server(patch: pytest.MonkeyPatch, server: DatabaseServer) -> None:
    for key, value in environment_of(server.settings).items():
        patch.setenv(key, value)


def eventually(check: Callable[[], object]) -> None:
    """Wait until something holds that another process or the server is about to do."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not check():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def waits_for(session: Session, statement: str, state: str = "") -> bool:
    """Whether a connection is at work on a statement that starts so."""
    found = session.rows("select info, state from information_schema.processlist where command <> 'Sleep'")
    return any((info or "").lower().startswith(statement) and state in (now or "").lower() for info, now in found)


def tables_of(session: Session, *names: str) -> set[str]:
    found = session.rows("select table_name from information_schema.tables where table_schema = 'funnelift'")
    return {table for (table,) in found if table.startswith(names)}


def content(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    """Every published table, whole."""
    return {
        table: session.rows(f"select * from funnelift.{table} order by {', '.join(map(name, published.grain))}")
        for table, published in PUBLISHED.items()
    }


def runs_in(session: Session) -> tuple[int, set[str], list[str]]:
    """Rows and runs of alpha, and the run of beta."""
    rows = session.rows("select run_id, count(*) from funnelift.alpha group by run_id")
    return (
        sum(count for _, count in rows),
        {run for run, _ in rows},
        [run for (run,) in session.rows("select run_id from funnelift.beta")],
    )


def whole(run: str) -> tuple[int, set[str], list[str]]:
    return 3000, {run}, [run]


# --- the same as on DuckDB


def cells(target: str, place: Place, table: str, where: str = "") -> tuple[list[str], list[dict[str, Any]]]:
    sql = f"select * from funnelift.{table} {where}"
    if target == "duckdb":
        with duckdb.connect(place.folder / "warehouse.duckdb", read_only=True) as connection:
            found = connection.execute(sql)
            names, rows = [column[0] for column in found.description], found.fetchall()
    else:
        session = place.server.session()
        names, rows = session.named_rows(sql)
        session.close()
    dicts = [dict(zip(names, row, strict=True)) for row in rows]
    return names, sorted(dicts, key=lambda row: tuple(str(row[part]) for part in PUBLISHED[table].grain))


def check_same(place: Place, table: str, where: str = "") -> int:
    (names, ours), (expected_names, expected) = (cells(target, place, table, where) for target in ("mysql", "duckdb"))
    assert names == expected_names
    assert len(ours) == len(expected)
    for row, other in zip(ours, expected, strict=True):
        for column in set(names) - OWN:
            value, wanted = row[column], other[column]
            if isinstance(wanted, float):
                tolerance = {"abs": 1e-6} if column in PROBABILITIES else {"rel": 1e-9, "abs": 0}
                assert value == pytest.approx(wanted, **tolerance), (table, column)
            else:
                assert value == wanted, (table, column)
                assert type(value) is type(wanted), (table, column)
    return len(ours)


@pytest.mark.parametrize("table", TABLES)
def test_a_training_gives_what_it_gives_on_duckdb(place: Place, table: str) -> None:
    assert (check_same(place, table) > 0) == (table not in GAINS)


def test_texts_and_ids_arrive_as_they_are(place: Place, session: Session) -> None:
    (count,) = session.rows("select count(*), sum(session_id like '😀 \"é\", %') from funnelift.conversion_predictions")
    assert count[0] == session.rows("select count(*) from funnelift.session_features")[0][0]
    assert count[1] > 100
    ((folded, exact),) = session.rows(
        "select count(distinct lower(visitor_id)), count(distinct visitor_id) from funnelift.conversion_predictions"
    )
    assert folded < exact


def test_texts_are_published_as_they_are(
    place: Place, session: Session, pair: Callable[[str], list[Publication]]
) -> None:
    texts = [
        "👜 bags",
        "two\nlines\r\n",
        'a "quoted", word',
        "back\\slash \\n",
        "trailing ",
        " ",
        "%s",
        "NULL",
        "\\N",
        "é",
        "e\u0301",
    ]
    rows = pa.table({"id": texts, "text": pa.array([*texts[:-1], None]), "run_id": texts})
    with open_warehouse(place.config()) as warehouse:
        warehouse.publish([Publication(ALPHA, rows)])
    assert dict(session.rows("select id, text from funnelift.alpha")) == dict(
        zip(texts, [*texts[:-1], None], strict=True)
    )


def test_tables_have_keys_types_collation_and_say_what_a_row_is(place: Place, session: Session) -> None:
    described = dict(
        session.rows("select table_name, table_comment from information_schema.tables where table_schema = 'funnelift'")
    )
    keys = session.rows(
        "select table_name, column_name from information_schema.statistics "
        "where table_schema = 'funnelift' and index_name = 'PRIMARY' order by table_name, seq_in_index"
    )
    for table, published in PUBLISHED.items():
        assert described[table] == published.description
        assert tuple(column for keyed, column in keys if keyed == table) == published.grain
    columns = {
        (table, column): (kind, collation)
        for table, column, kind, collation in session.rows(
            "select table_name, column_name, column_type, collation_name from information_schema.columns "
            "where table_schema = 'funnelift'"
        )
        if table in PUBLISHED
    }
    assert {collation for _, collation in columns.values()} == {None, session.server.collation}
    assert columns["conversion_predictions", "decided_at"][0] == "datetime(6)"
    assert columns["conversion_predictions", "reason_1"][0] == "varchar(512)"
    assert columns["ml_runs", "config_json"][0] == "mediumtext"
    assert columns["ml_runs", "is_synthetic"][0] in ("int", "int(11)")
    assert not tables_of(session, "x") & {f"{table}{end}" for table in PUBLISHED for end in ("__new", "__old")}


def rebuilt(place: Place, session: Session, *statements: str, changed: str) -> None:
    """Change the marts of both warehouses as a build does."""
    with duckdb.connect(place.folder / "warehouse.duckdb") as connection:
        for run in (connection.execute, session.execute):
            for statement in statements:
                run(statement)
            for table in ("build_plan", "last_build"):
                run(f"update funnelift.{table} set build_number = build_number + 1")
            run(
                "update funnelift.visitor_changes set build_number = (select build_number from funnelift.last_build) "
                f"where {changed}"
            )


def test_score_changes_the_rows_that_changed_and_only_those(place: Place, session: Session) -> None:
    """A late event renames sessions, another changes features: both engines end with the same rows."""
    before = content(session)
    some = "substr(visitor_id, -1) in ('4', '7')"
    renamed = f"session_id = concat(session_id, '9') where {some} and substr(session_id, -1) = '1'"
    rebuilt(
        place,
        session,
        *(f"update funnelift.{name} set {renamed}" for name in ("session_features", "sessions", "session_funnels")),
        "drop table funnelift.int_decision_points",
        "create table funnelift.int_decision_points as "
        "select session_id, decision_point from funnelift.session_features",
        f"update funnelift.session_features set item_views_7d = 40, item_price = item_price * 3 + 1 where {some}",
        changed=some,
    )
    told = [score.score(place.config(target), Progress()) for target in ("duckdb", "mysql")]
    assert told[0] == told[1]
    ((added, changed, removed),) = session.rows(
        "select rows_added, rows_changed, rows_removed from funnelift.score_runs "
        "where scored_table = 'conversion_predictions' and action = 'score'"
    )
    assert added == removed > 50
    assert changed > 500
    for table in ("conversion_predictions", "uplift_scores", "score_runs"):
        check_same(place, table)
    after = content(session)
    for table in ("conversion_predictions", "uplift_scores"):
        assert len(after[table]) == len(before[table])
        rows = [set(found[table]) for found in (before, after)]
        assert 50 < len(rows[0] - rows[1]) < len(rows[0]) / 2
    (ghosts,) = session.rows(
        "select count(*) from funnelift.conversion_predictions as predictions where not exists (select 1 from "
        "funnelift.session_features as features where features.session_id = predictions.session_id "
        "and features.decision_point = predictions.decision_point)"
    )
    assert ghosts == (0,)
    assert "Nothing to score" in score.score(place.config(), Progress())[0]
    assert content(session) == after


def test_rows_of_a_visitor_are_found_by_an_index(session: Session) -> None:
    found = session.rows(
        "select table_name from information_schema.statistics "
        "where table_schema = 'funnelift' and index_name = 'visitor_id' and column_name = 'visitor_id'"
    )
    assert {"conversion_predictions", "uplift_scores"} <= {table for (table,) in found}


def test_a_monitoring_gives_what_it_gives_on_duckdb(place: Place, session: Session) -> None:
    later = (
        "update funnelift.conversion_predictions set dataset_split = 'new' "
        "where dataset_split = 'test' and substr(visitor_id, -1) in ('1', '5', '7', '9')"
    )
    session.execute(later)
    with duckdb.connect(place.folder / "warehouse.duckdb") as connection:
        connection.execute(later)
    for target in ("duckdb", "mysql"):
        assert monitor.monitor(place.config(target), Progress()).code in (0, monitor.EXIT_TOO_FEW)
    for table in DRIFT:
        assert check_same(place, table) > 0
    ((count,),) = session.rows(
        "select count(*) from funnelift.conversion_predictions where dataset_split in ('new', 'open')"
    )
    # Rows that scoring found late, in the time that was learnt from, are counted and left out.
    ((compared, left_out),) = session.rows(
        "select n_scored_rows, n_left_out_rows from funnelift.drift_runs order by started_at desc limit 1"
    )
    assert compared + left_out == count > 300


def test_a_second_training_keeps_the_runs(place: Place, session: Session) -> None:
    status = PUBLISHED["ml_runs"].column_names.index("status")
    runs = session.rows("select * from funnelift.ml_runs")
    train.train(place.config(), Progress(), force=True)
    after = session.rows("select * from funnelift.ml_runs order by run_number")
    for row, was in zip(after, runs, strict=False):
        assert row[:status] + row[status + 1 :] == was[:status] + was[status + 1 :]
    assert [row[status] for row in after] == ["retired", "published"]
    with open_warehouse(place.config()) as warehouse:
        newest = published_model(warehouse).run_id
    assert session.rows("select distinct run_id from funnelift.conversion_predictions") == [(newest,)]


def test_back_to_the_first_run(place: Place, session: Session) -> None:
    first, second = (run for (run,) in session.rows("select run_id from funnelift.ml_runs order by run_number"))
    rollback.rollback(place.config(), Progress(), first)
    assert session.rows("select status from funnelift.ml_runs order by run_number") == [("published",), ("retired",)]
    for table in ("conversion_predictions", "model_metrics", "shap_summary", "calibration_curve"):
        assert session.rows(f"select distinct run_id from funnelift.{table}") == [(first,)]
    assert session.rows("select distinct run_id from funnelift.uplift_scores") == [(second,)]
    assert "Nothing to score" in score.score(place.config(), Progress())[0]


# --- reading


@pytest.fixture
def mart(place: Place, session: Session) -> Iterator[Callable[[str, str], None]]:
    """Make a table with columns and rows, as SQL."""
    session.execute("drop table if exists funnelift.read_here")

    def make(columns: str, rows: str) -> None:
        session.execute(
            f"create table funnelift.read_here ({columns}) character set utf8mb4 collate {session.server.collation}"
        )
        session.execute(f"insert into funnelift.read_here {rows}")

    yield make
    session.execute("drop table if exists funnelift.read_here")


def test_every_type_arrives_exact(place: Place, mart: Callable[[str, str], None]) -> None:
    mart(
        "id varchar(160), flag int, events bigint, rate double, money decimal(18, 4), decided_at datetime(3), "
        "day date, empty_number double, empty_text varchar(20)",
        "values ('😀', 1, 9007199254740993, 0.1, 12.3456, '2015-05-03 23:59:59.999', '2015-05-03', null, null), "
        "('b ', -2147483648, -1, 1e300, -99999999999999.9999, '1970-01-01 00:00:00.001', '9999-12-31', null, null), "
        "('', 0, 0, 2.2250738585072014e-308, 0.1, '2038-01-19 03:14:08.000', '2015-05-03', null, null), "
        "(null, null, null, null, null, null, null, null, null)",
    )
    columns = ["id", "flag", "events", "rate", "money", "decided_at", "day", "empty_number", "empty_text"]
    with open_warehouse(place.config()) as warehouse:
        count, batches = warehouse.read("read_here", columns)
        rows = pa.Table.from_batches(batches)
    assert count == len(rows) == 4
    expected = {
        "id": (pa.string(), ["😀", "b ", "", None]),
        "flag": (pa.int32(), [1, -2147483648, 0, None]),
        "events": (pa.int64(), [9007199254740993, -1, 0, None]),
        "rate": (pa.float64(), [0.1, 1e300, 2.2250738585072014e-308, None]),
        "money": (pa.float64(), [12.3456, -99999999999999.9999, 0.1, None]),
        "decided_at": (
            pa.timestamp("us"),
            [
                datetime(2015, 5, 3, 23, 59, 59, 999000),
                datetime(1970, 1, 1, 0, 0, 0, 1000),
                datetime(2038, 1, 19, 3, 14, 8),
                None,
            ],
        ),
        "day": (
            pa.date32(),
            [datetime(2015, 5, 3).date(), datetime(9999, 12, 31).date(), datetime(2015, 5, 3).date(), None],
        ),
        "empty_number": (pa.float64(), [None] * 4),
        "empty_text": (pa.string(), [None] * 4),
    }
    assert {field.name: field.type for field in rows.schema} == {column: kind for column, (kind, _) in expected.items()}
    assert rows.to_pydict() == {column: values for column, (_, values) in expected.items()}


def test_rows_among_others_are_those_whose_key_is_equal_to_the_byte(
    place: Place, session: Session, mart: Callable[[str, str], None]
) -> None:
    mart("id varchar(160) not null, n bigint", "values ('first 1', 3), ('First 1', 3), ('first 1 ', 3), ('other', 2)")
    session.execute("create table funnelift.read_other like funnelift.read_here")
    session.execute(
        "insert into funnelift.read_other values ('first 1', 3), ('fírst 1', 3), ('First 1 ', 3), ('other', 2)"
    )
    try:
        with open_warehouse(place.config()) as warehouse:
            count, batches = warehouse.read("read_here", ["id"], Among("read_other", "id", "n", 2))
            ids = [text for batch in batches for text in batch.column("id").to_pylist()]
    finally:
        session.execute("drop table funnelift.read_other")
    assert (count, ids) == (1, ["first 1"])


def test_rows_leave_by_their_whole_key(
    place: Place, session: Session, pair: Callable[[str], list[Publication]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_engine, "REMOVED_AT_ONCE", 2)
    gone = ["first 0", "first 1", "first 2", "First 3", "first 4 ", "first 5"]
    rows = pa.table({"id": ["first 0", "first new"], "run_id": ["changed", "new"], "text": ["😀", None]})
    with open_warehouse(place.config()) as warehouse:
        warehouse.publish([Publication(ALPHA, rows, removes=pa.table({"id": gone}))])
        found = session.rows("select id, run_id, text from funnelift.alpha where run_id <> 'first' order by id")
        assert found == [("first 0", "changed", "😀"), ("first new", "new", None)]
        assert session.rows("select count(*) from funnelift.alpha") == [(3000 - 4 + 2,)]
        again = Publication(
            ALPHA, pa.table({"id": ["first 9"], "run_id": ["x"], "text": ["y"]}), removes=pa.table({"id": gone})
        )
        with pytest.raises(FunneliftError, match="nothing was published, a key is broken"):
            warehouse.publish([again])
        assert session.rows("select count(*) from funnelift.alpha where run_id = 'changed'") == [(1,)]
        # Beside a table that is replaced, the rows change in the copy that takes the place of the old one.
        last = Publication(
            ALPHA,
            pa.table({"id": ["first 0"], "run_id": ["last"], "text": ["z"]}),
            removes=pa.table({"id": ["first 0"]}),
        )
        warehouse.publish([last, Publication(BETA, pa.table({"run_id": ["last"]}))])
    assert session.rows("select run_id from funnelift.alpha where id = 'first 0'") == [("last",)]
    assert session.rows("select run_id from funnelift.beta") == [("last",)]
    assert session.rows("select count(*) from funnelift.alpha") == [(3000 - 4 + 2,)]


def test_no_rows(place: Place, mart: Callable[[str, str], None]) -> None:
    mart("id varchar(160), rate double", "select 'a', 1 from dual where false")
    with open_warehouse(place.config()) as warehouse:
        count, batches = warehouse.read("read_here", ["id", "rate"])
        assert count == sum(len(batch) for batch in batches) == 0


WIDE = """
select s1.n * 200 + s2.n, repeat('x', 4000)
from (select row_number() over () as n from information_schema.columns limit 200) as s1
cross join (select row_number() over () as n from information_schema.columns limit 200) as s2
"""


def test_the_server_waits_for_a_reader_that_is_slow(
    place: Place, session: Session, mart: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_engine, "BATCH_ROWS", 500)
    mart("id bigint, text varchar(4000)", WIDE)
    with open_warehouse(place.config()) as warehouse:
        count, batches = warehouse.read("read_here", ["id", "text"])
        assert count == 40_000
        first = next(batches)
        assert len(first) == 500
        # 160 MB take longer than this to be sent only if somebody holds them back.
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            assert waits_for(session, "select source.`id`")
        assert len(first) + sum(len(batch) for batch in batches) == count


def test_a_connection_lost_while_reading(
    place: Place,
    session: Session,
    mart: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mysql_engine, "BATCH_ROWS", 500)
    mart("id bigint, text varchar(4000)", WIDE)
    with open_warehouse(place.config()) as warehouse:
        _, batches = warehouse.read("read_here", ["id", "text"])
        next(batches)
        for (reader,) in session.rows("select id from information_schema.processlist where info like 'select source%'"):
            session.execute(f"kill {reader}")
        with pytest.raises(
            FunneliftError, match=r"lost while funnelift\.read_here was read .* run the same command again"
        ):
            list(batches)
    assert capfd.readouterr().err == ""


def test_what_others_print_while_reading_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with set_aside():
        os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_a_read_that_is_given_up_ends_on_the_server(
    place: Place, session: Session, mart: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_engine, "BATCH_ROWS", 500)
    mart("id bigint, text varchar(4000)", WIDE)
    with open_warehouse(place.config()) as warehouse:
        _, batches = warehouse.read("read_here", ["id", "text"])
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        eventually(lambda: not waits_for(session, "select source.`id`"))


def test_a_query_keeps_no_table_from_being_replaced(
    place: Place, session: Session, mart: Callable[[str, str], None]
) -> None:
    mart("id bigint", "values (1)")
    session.execute("set lock_wait_timeout = 1")
    there, away = "funnelift.read_here", "funnelift.alpha"
    with open_warehouse(place.config()) as warehouse:
        for look in (
            lambda: warehouse.query("select id from funnelift.read_here"),
            lambda: warehouse.columns("read_here"),
            lambda: list(warehouse.read("read_here", ["id"])[1]),
        ):
            assert look()
            session.execute(f"rename table {there} to {away}")
            session.execute(f"rename table {away} to {there}")


# --- publishing


def test_a_reader_sees_whole_runs_only(place: Place, pair: Callable[[str], list[Publication]]) -> None:
    sql = "select count(*), count(distinct run_id), min(run_id) from funnelift.alpha"
    joined = (
        "select count(*), count(distinct a.run_id) from funnelift.alpha as a "
        "join funnelift.beta as b on a.run_id = b.run_id"
    )
    seen: list[str] = []
    problems: list[object] = []
    stop = threading.Event()

    def look() -> None:
        with onlooker(place.server) as reader:
            try:
                while not stop.is_set():
                    ((count, runs, run),) = reader.rows(sql)
                    both = reader.rows(joined)
                    if (count, runs) != (3000, 1) or both != [(3000, 1)]:
                        problems.append((count, runs, both))
                    seen.append(run)
            except ServerError as error:
                problems.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        with open_warehouse(place.config()) as warehouse:
            for number in range(20):
                warehouse.publish(pair(f"run {number}"))
                looked = len(seen)
                eventually(lambda looked=looked: len(seen) > looked or problems)
    finally:
        stop.set()
        thread.join()
    assert problems == []
    assert len(set(seen)) > 5


def added(publications: list[Publication], count: int = 1) -> list[Publication]:
    """The same rows, to be added to what is there."""
    return [replace(publication, append=True) for publication in publications[:count]]


def test_rows_are_added_all_at_once(place: Place, session: Session, pair: Callable[[str], list[Publication]]) -> None:
    done = threading.Event()

    def add() -> None:
        with open_warehouse(place.config()) as warehouse:
            warehouse.publish(added(pair("second")))
        done.set()

    adding = threading.Thread(target=add)
    with closing(place.server.session()) as blocker:
        blocker.execute("insert into funnelift.alpha values ('second 2000', 'x', 'x')")
        adding.start()
        # In key order it has come as far as the row that the other has not committed.
        eventually(lambda: waits_for(session, "load data"))
        assert runs_in(session) == whole("first")
    adding.join()
    assert done.is_set()
    assert runs_in(session) == (6000, {"first", "second"}, ["first"])


@pytest.mark.parametrize("replaced", [0, 1])
def test_a_repeated_key_stops_the_whole_publication(
    place: Place, session: Session, pair: Callable[[str], list[Publication]], replaced: int
) -> None:
    alpha, beta = pair("second")
    again = added(pair("first"))
    twice = replace(beta, rows=pa.concat_tables([beta.rows, beta.rows]), append=not replaced)
    for publications in (
        [beta, *again] if replaced else [*added([alpha]), *again],
        [replace(alpha, append=not replaced), twice],
    ):
        with (
            open_warehouse(place.config()) as warehouse,
            pytest.raises(FunneliftError, match=r"nothing was published, a key is broken: .*Duplicate entry"),
        ):
            warehouse.publish(publications)
        assert runs_in(session) == whole("first")
        assert tables_of(session, "alpha", "beta") == {"alpha", "beta"}


def test_a_table_of_another_version_is_not_added_to(
    place: Place, session: Session, pair: Callable[[str], list[Publication]]
) -> None:
    session.execute("alter table funnelift.alpha add column more int")
    with open_warehouse(place.config()) as warehouse, pytest.raises(FunneliftError, match="written by another version"):
        warehouse.publish(added(pair("second")))


@pytest.mark.parametrize("older", ["varchar(255)", "text", "tinytext"])
def test_a_table_with_older_types_takes_the_contracts_and_keeps_its_rows(
    place: Place, session: Session, pair: Callable[[str], list[Publication]], older: str
) -> None:
    session.execute(f"alter table funnelift.alpha modify text {older}")
    (alpha, _) = pair("long", 1)
    rows = alpha.rows.set_column(2, "text", pa.array(["😀" * 20_000]))
    with open_warehouse(place.config()) as warehouse:
        warehouse.publish([replace(alpha, rows=rows, append=True)])
    assert session.rows(
        "select column_type from information_schema.columns where table_name = 'alpha' and column_name = 'text'"
    ) == [("mediumtext",)]
    assert session.rows("select char_length(text) from funnelift.alpha where run_id = 'long'") == [(20_000,)]
    assert session.rows("select count(*) from funnelift.alpha") == [(3001,)]


# --- killed, lost, at once

PUBLISHER = """
import sys
from pathlib import Path
import warehouse.mysql as engine
import pyarrow as pa
from contracts import contract
from ml.config import load_config
from warehouse.base import Among, Publication
from warehouse.open import open_warehouse
from warehouse.mysql_client.session import Session
config, moment = sys.argv[1:]

def stop(*_):
    print("there", flush=True)
    sys.stdin.read()

if moment == "loading":
    in_order = engine._in_key_order
    def half(rows, key):
        batch = next(in_order(rows, key))
        yield batch.slice(0, 1500)
        stop()
        yield batch.slice(1500)
    engine._in_key_order = half
else:
    execute = Session.execute
    def stopping(self, sql, parameters=()):
        if sql.startswith(moment):
            stop()
        return execute(self, sql, parameters)
    Session.execute = stopping

rows = pa.table({"id": [f"killed {n}" for n in range(3000)], "run_id": ["killed"] * 3000, "text": ["x"] * 3000})
alpha = Publication(contract("alpha", ("id",), id="varchar(64)", run_id="varchar(64)", text="text?"), rows)
beta = Publication(contract("beta", ("run_id",), run_id="varchar(64)"), pa.table({"run_id": ["killed"]}))
with open_warehouse(load_config(Path(config), {"target": "mysql"}, {})) as warehouse:
    warehouse.publish([alpha, beta])
"""


@contextmanager
def publisher(place: Place, moment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that publishes a run called killed and stops at a moment: loading, or before a statement."""
    command = [sys.executable, "-c", PUBLISHER, str(place.folder / "quick.json"), moment]
    environment = os.environ | place.server.environment | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def reach(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"


MOMENTS = {
    "drop table if exists `funnelift`.`alpha__new`": ("first", set()),
    "create table `funnelift`.`beta__new`": ("first", {"alpha__new"}),
    "loading": ("first", {"alpha__new"}),
    "rename": ("first", {"alpha__new", "beta__new"}),
    "drop table if exists `funnelift`.`alpha__old`": ("killed", {"alpha__old", "beta__old"}),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment(
    place: Place, session: Session, pair: Callable[[str], list[Publication]], moment: str
) -> None:
    run, left = MOMENTS[moment]
    with publisher(place, moment) as process:
        reach(process)
        process.kill()
        process.wait()
        assert runs_in(session) == whole(run)
        assert tables_of(session, "alpha", "beta") == {"alpha", "beta", *left}
        with open_warehouse(place.config(lock_wait_seconds=DEADLINE_SECONDS)) as warehouse:
            warehouse.publish(pair("next"))
    assert runs_in(session) == whole("next")
    assert tables_of(session, "alpha", "beta") == {"alpha", "beta"}


def test_killed_while_the_swap_waits_for_a_reader(
    place: Place, session: Session, pair: Callable[[str], list[Publication]]
) -> None:
    with closing(place.server.session()) as reader:
        reader.rows("select count(*) from funnelift.beta")  # its transaction stays open
        with publisher(place, "nowhere") as process:
            eventually(lambda: waits_for(session, "rename", "metadata lock"))
            process.kill()
            process.wait()
        # The server may finish the statement without its client, and until it has nobody else may begin.
        with suppress(FunneliftError), open_warehouse(place.config()):
            assert not waits_for(session, "rename")
    with open_warehouse(place.config(lock_wait_seconds=DEADLINE_SECONDS)) as warehouse:
        assert runs_in(session) in (whole("first"), whole("killed"))
        warehouse.publish(pair("next"))
    assert runs_in(session) == whole("next")
    assert tables_of(session, "alpha", "beta") == {"alpha", "beta"}


def test_killed_while_adding_rows(place: Place, session: Session, pair: Callable[[str], list[Publication]]) -> None:
    code = PUBLISHER.replace('text="text?"), rows)', 'text="text?"), rows, append=True)').replace(
        "[alpha, beta]", "[alpha]"
    )
    assert code != PUBLISHER
    command = [sys.executable, "-c", code, str(place.folder / "quick.json"), "loading"]
    environment = os.environ | place.server.environment | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        reach(process)
        assert runs_in(session) == whole("first")
        process.kill()
    assert runs_in(session) == whole("first")
    with open_warehouse(place.config(lock_wait_seconds=DEADLINE_SECONDS)) as warehouse:
        warehouse.publish(added(pair("killed")))
    assert runs_in(session) == (6000, {"first", "killed"}, ["first"])


def run_module(place: Place, module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *place.arguments, *arguments],
        cwd=ROOT,
        env=os.environ | place.server.environment | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_at_once_the_second_refuses(
    place: Place, session: Session, pair: Callable[[str], list[Publication]]
) -> None:
    before = content(session)
    with publisher(place, "rename") as process:
        reach(process)
        finished = run_module(place, "ml.train")
    assert finished.returncode == 1
    assert "another run holds the lock funnelift.ml" in finished.stderr
    assert "did not finish within 0 s" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert content(session) == before


def test_two_at_once_the_second_waits(place: Place, session: Session, pair: Callable[[str], list[Publication]]) -> None:
    patient = place.folder / "patient.json"
    patient.write_text(json.dumps(QUICK | {"lock_wait_seconds": DEADLINE_SECONDS}))
    with publisher(place, "rename") as process:
        reach(process)
        command = [sys.executable, "-m", "ml.score", *place.arguments, "--config", str(patient)]
        with subprocess.Popen(
            command, cwd=ROOT, env=os.environ | place.server.environment, stdout=subprocess.PIPE, text=True
        ) as second:
            eventually(lambda: waits_for(session, "select get_lock"))
            process.communicate("")
            assert process.returncode == 0
            output, _ = second.communicate()
    assert second.returncode == 0
    assert "Nothing to score" in output
    assert runs_in(session) == whole("killed")


def lock_holder(session: Session) -> int | None:
    """Connection that holds the lock, as a user sees it who may read its name."""
    ((holder,),) = session.rows("select is_used_lock(%s)", [session.lock_name("funnelift.ml", "funnelift")])
    return None if holder is None else int(holder)


def cut_off(session: Session) -> None:
    """End the connection that holds the lock, as a server that is restarted does."""
    holder = lock_holder(session)
    session.execute(f"kill {holder}")
    eventually(lambda: lock_holder(session) is None)


def test_a_connection_lost_while_idle_is_made_anew(
    place: Place, session: Session, pair: Callable[[str], list[Publication]]
) -> None:
    with open_warehouse(place.config()) as warehouse:
        cut_off(session)
        warehouse.publish(pair("second"))
        assert lock_holder(session) is not None
    assert runs_in(session) == whole("second")
    with open_warehouse(place.config()) as warehouse:
        cut_off(session)
        with open_warehouse(place.config()), pytest.raises(FunneliftError, match="another run holds the lock"):
            warehouse.publish(pair("third"))
    assert runs_in(session) == whole("second")


def test_rows_are_not_added_once_the_lock_was_lost(
    place: Place, session: Session, pair: Callable[[str], list[Publication]]
) -> None:
    with open_warehouse(place.config()) as warehouse:
        cut_off(session)
        with pytest.raises(FunneliftError, match=r"the connection was lost, and with it the lock funnelift\.ml"):
            warehouse.publish(added(pair("second")))
    assert runs_in(session) == whole("first")


def halfway(then: Callable[[], None]) -> Callable[[pa.Table, Sequence[str]], Iterator[pa.RecordBatch]]:
    """Rows in key order, with something that happens in the middle of them, once."""
    in_order = mysql_engine._in_key_order
    pending = [then]

    def rows(table: pa.Table, key: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in in_order(table, key):
            yield batch.slice(0, len(batch) // 2)
            if pending:
                pending.pop()()
            yield batch.slice(len(batch) // 2)

    return rows


def test_a_server_restarted_while_a_training_publishes(
    place: Place, session: Session, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if not place.server.is_private:
        pytest.skip("stops the server, which is not the tests' own")
    before = content(session)

    def restart() -> None:
        place.server.stop()
        place.server.start()

    monkeypatch.setattr(mysql_engine, "_in_key_order", halfway(restart))
    assert train.main(place.arguments) == 1
    shown = capfd.readouterr()
    assert "the connection was lost" in shown.err
    assert "run the same command again" in shown.err
    assert "Traceback" not in shown.err + shown.out
    with onlooker(place.server) as again:
        assert content(again) == before
        assert train.main(place.arguments) == 0
        assert len(content(again)["ml_runs"]) == len(before["ml_runs"]) + 1
        assert not {table for table in tables_of(again, *PUBLISHED) if table.endswith(("__new", "__old"))}


def test_a_server_killed_while_rows_are_added(
    place: Place, session: Session, pair: Callable[[str], list[Publication]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not place.server.is_private:
        pytest.skip("kills the server, which is not the tests' own")

    def restart() -> None:
        place.server.stop(signal.SIGKILL)
        place.server.start()

    monkeypatch.setattr(mysql_engine, "_in_key_order", halfway(restart))
    with open_warehouse(place.config()) as warehouse, pytest.raises(FunneliftError, match="the connection was lost"):
        warehouse.publish(added(pair("second")))
    with onlooker(place.server) as again:
        assert runs_in(again) == whole("first")


# --- faults that a user can mend

SECRET = "S3cr/t:@ %41é"


@pytest.fixture
def user(place: Place, session: Session) -> Iterator[str]:
    """A user with a password that a URL would misread."""
    for host in ("localhost", "%"):
        session.execute(f"create user funnelift_ml_test@'{host}' identified by %s", [SECRET])
        session.execute(f"grant all on funnelift.* to funnelift_ml_test@'{host}'")
    yield "funnelift_ml_test"
    for host in ("localhost", "%"):
        session.execute(f"drop user funnelift_ml_test@'{host}'")


def test_a_password_with_any_characters_works(place: Place, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNNELIFT_MYSQL_USER", user)
    monkeypatch.setenv("FUNNELIFT_MYSQL_PASSWORD", SECRET)
    assert "Nothing to score" in score.score(place.config(), Progress())[0]
    with open_warehouse(place.config()) as warehouse:
        count, batches = warehouse.read("session_features", ["session_id"])
        assert sum(len(batch) for batch in batches) == count > 0


def test_a_wrong_password(place: Place, user: str) -> None:
    wrong = {"FUNNELIFT_MYSQL_USER": user, "FUNNELIFT_MYSQL_PASSWORD": SECRET + "x"}
    finished = run_module(place, "ml.train", **wrong)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "refuses this user or password" in finished.stderr
    assert "FUNNELIFT_MYSQL_PASSWORD" in finished.stderr
    assert "S3cr" not in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("command", [train, score])
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"FUNNELIFT_MYSQL_PORT": "1"}, "no MySQL or MariaDB server answers"),
        ({"FUNNELIFT_MYSQL_PORT": "x"}, "FUNNELIFT_MYSQL_PORT: 'x' is no port number"),
        ({"FUNNELIFT_MYSQL_SSL_MODE": "verify_ca"}, "needs FUNNELIFT_MYSQL_SSL_CA"),
    ],
)
def test_a_server_that_cannot_be_reached(
    place: Place,
    command: Any,
    settings: dict[str, str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    assert command.main(place.arguments) == 1
    shown = capfd.readouterr()
    assert complaint in shown.err
    assert "Traceback" not in shown.err


def test_marts_that_are_not_there(
    place: Place, session: Session, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    session.execute("rename table funnelift.session_features to funnelift.session_features_away")
    try:
        assert train.main(place.arguments) == 1
    finally:
        session.execute("rename table funnelift.session_features_away to funnelift.session_features")
    assert "run `dbt build` first" in capfd.readouterr().err
