"""On Spark a worker or a driver dies at work: rows stay right, readers see old tables, and the next run mends."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from bi.tables import contracts, power_bi_names
from contracts import PUBLISHED
from lived_shop import CONTRACTS, LINE, NUMBERED, Shop, life
from parity import Relation, Warehouse, differences, on_duckdb, on_server, on_spark
from parity_shops import PREDICTION_TOLERANCE
from servers import DatabaseServer
from spark_cluster import WORKERS, Cluster

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]
SECONDS = 600
# Of these a row stands for a run; all others have the same rows after the same commands.
RUNS = {"ml_runs", "uplift_runs", "score_runs"}
# When the loads were made is all that may differ.
TIMED = {"bi_status"}


@dataclass
class Lives:
    """The same life on DuckDB, where nobody disturbs it, and on Spark, from where a server gets what people read."""

    calm: Shop
    spark: Shop
    cluster: Cluster
    server: DatabaseServer
    commands: Iterator[tuple[str, ...]]
    workers_seen: int = WORKERS

    @property
    def tables(self) -> Path:
        return self.spark.folder.parent / "warehouse" / "funnelift.db"

    def both(self) -> None:
        """Both live on by a command."""
        command = next(self.commands)
        self.calm.run(*command)
        self.spark.run(*command)

    def begin(self, when: Callable[[], bool], *command: str) -> subprocess.Popen[str]:
        """Start a command on Spark, and wait until it is in the middle of its work."""
        process, deadline = self.spark.start(*command), time.monotonic() + SECONDS
        while not when():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process

    def lose_a_worker(self) -> None:
        """Kill the worker that came last; its executor goes with it."""
        worker = self.cluster.daemons[-1]
        worker.kill()
        worker.wait()

    def mend_the_cluster(self) -> None:
        self.cluster.start_worker()
        self.workers_seen += 1
        self.cluster.await_workers(self.workers_seen)

    def has_built(self, since: float, number: int) -> bool:
        """Whether so many tables are newer than a moment."""
        return sum(path.stat().st_mtime > since for path in self.tables.glob("*")) >= number

    def differs(self) -> list[str]:
        """What stands differently in the marts and predictions of both."""
        found = []
        for contract in (*CONTRACTS, *PUBLISHED.values()):
            if contract.name in RUNS or contract.name.startswith(("bi_", "drift_")):
                continue
            names = [name for name in contract.column_names if name not in NUMBERED]
            expected = self.calm.warehouse.query(f"select {', '.join(names)} from funnelift.{contract.name}")
            rows = chosen(self.spark.warehouse, contract.name, names, self.tables)
            told = differences(expected, rows, contract.grain or None, PREDICTION_TOLERANCE)
            found += [f"{contract.name}: {difference}" for difference in told[:3]]
        return found

    def served_differs(self) -> list[str]:
        """What people read on the server that is not what DuckDB shows."""
        here, there, found = self.calm.warehouse, on_server(self.server), []
        for table in set(power_bi_names()) - TIMED:
            names = [name for name in contracts()[table].column_names if name not in NUMBERED]
            sql = f"select {', '.join(names)} from funnelift.{table}"
            told = differences(
                here.query(sql), there.query(sql), contracts()[table].grain or None, PREDICTION_TOLERANCE
            )
            found += [f"{table}: {difference}" for difference in told[:3]]
        return found

    def served(self) -> dict[str, list[tuple[object, ...]]]:
        """All that people read on the server."""
        there = on_server(self.server)
        return {
            table: sorted(there.query(f"select * from funnelift.{table}").rows, key=repr) for table in power_bi_names()
        }


def chosen(warehouse: Warehouse, table: str, names: list[str], folder: Path) -> Relation:
    """Some columns of a table; one without rows may have no file."""
    if not any((folder / table).glob("*.parquet")):
        return Relation(names, [])
    rows = warehouse.read(table)
    places = [rows.columns.index(name) for name in names]
    return Relation(names, [tuple(row[place] for place in places) for row in rows.rows])


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a driver with all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def end(process: subprocess.Popen[str]) -> None:
    said = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 0, said[-5000:]


@pytest.fixture(scope="module")
def lives(spark_cluster: Cluster, mysql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Lives:
    folder = tmp_path_factory.mktemp("faults")
    mysql_server.drop_databases()
    # Spark reads where it builds; the server's address is for `ops serve`.
    environment = {**mysql_server.environment, **spark_cluster.environment}
    spark = Shop(on_spark(folder, environment), folder / "spark")
    calm = Shop(on_duckdb(folder / "calm.duckdb"), folder / "calm")
    return Lives(calm, spark, spark_cluster, mysql_server, life(calm.folder, 7))


def test_a_worker_dies_in_mid_build(lives: Lives) -> None:
    lives.both()
    build = next(lives.commands)
    lives.calm.run(*build)
    process = lives.begin(lambda: lives.has_built(0, 30), *build)
    lives.lose_a_worker()
    assert process.poll() is None, "the build had ended before"
    end(process)
    lives.mend_the_cluster()
    assert lives.differs() == []


def test_a_driver_dies_while_it_publishes_and_a_worker_in_mid_scoring(lives: Lives) -> None:
    # A training, and the load of a day.
    lives.both()
    lives.both()
    lives.calm.run(*next(lives.commands))
    lives.spark.run("dbt", "run")
    next(lives.commands)
    scoring = next(lives.commands)
    lives.calm.run(*scoring)
    is_publishing = (lives.tables / "conversion_predictions__new").exists
    kill(lives.begin(is_publishing, *scoring))
    crossing = lives.tables.parent / "crossing"
    began = time.time()
    process = lives.begin(
        lambda: any(path.stat().st_mtime > began for path in crossing.glob("*/*/_temporary")), *scoring
    )
    lives.lose_a_worker()
    assert process.poll() is None, "the scoring had ended before"
    end(process)
    lives.mend_the_cluster()
    assert lives.differs() == []


def test_a_driver_dies_while_it_serves(lives: Lives) -> None:
    lives.spark.run("ops", "serve")
    assert lives.served_differs() == []
    seen = lives.served()

    def is_writing() -> bool:
        count = "select count(*) from information_schema.tables where table_schema = 'funnelift'"
        return int(on_server(lives.server).query(count).rows[0][0]) > len(seen)

    kill(lives.begin(is_writing, "ops", "serve"))
    assert lives.served() == seen
    lives.spark.run("ops", "serve")
    assert lives.served() == seen


def test_a_driver_dies_in_mid_build(lives: Lives) -> None:
    seen = lives.served()
    # What calm lives on without is withdrawn later; the next day comes.
    next(lives.commands)
    lives.both()
    lives.calm.run(*next(lives.commands))
    began = time.time()
    kill(lives.begin(lambda: lives.has_built(began, 20), "dbt", "run"))
    refused = lives.spark.start("ops", "serve")
    said = refused.communicate()[0]
    assert refused.returncode == 1, said
    assert "interrupted" in said
    assert lives.served() == seen
    lives.spark.run("dbt", "run")
    assert lives.differs() == []
    lives.spark.run("ops", "serve")
    assert lives.served() != seen
    assert lives.served_differs() == []


def test_a_worker_dies_in_mid_load(lives: Lives, tmp_path: Path) -> None:
    lines = [f"{1_437_926_001_434 + number},{number % 999},view,{number % 77}," for number in range(400_000)]
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("\n".join([",".join(LINE), *lines, f"0,{name},view,1,"]))
    command = ("ingest", "load", "--raw", *(str(tmp_path / f"{name}.csv") for name in ("one", "two")))
    spark = Shop(on_spark(tmp_path, lives.spark.warehouse.environment), tmp_path / "spark")
    process, deadline = spark.start(*command), time.monotonic() + SECONDS
    while not any((tmp_path / "warehouse" / "raw").glob("*.new/*.parquet")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lives.lose_a_worker()
    assert process.poll() is None, "the load had ended before"
    end(process)
    lives.mend_the_cluster()
    (place,) = (tmp_path / "warehouse" / "raw").iterdir()
    rows = duckdb.from_parquet(str(place / "raw_events" / "*.parquet"))
    assert rows.aggregate("load_number, count(*), min(timestamp), max(visitorid)").order("load_number").fetchall() == [
        (number, 400_000, 1_437_926_001_434, "998") for number in (1, 2)
    ]
    assert duckdb.from_parquet(str(place / "raw_rejects" / "*.parquet")).aggregate("count(*)").fetchall() == [(2,)]


def test_old_lines_are_dropped_and_the_marts_stay(lives: Lives) -> None:
    days = "select cast(make_timestamp(median(timestamp)::bigint * 1000) as date)::text from funnelift_raw.raw_events"
    ((day,),) = lives.calm.warehouse.query(days).rows
    for shop in (lives.calm, lives.spark):
        shop.run("dbt", "run")
    said = [shop.run("ops", "retain", "--before", day) for shop in (lives.calm, lives.spark)]
    assert said[0].startswith("dropped ")
    assert not said[0].startswith("dropped 0 ")
    assert said[1] == said[0]
    assert lives.differs() == []
    lives.spark.run("dbt", "run")
    assert lives.differs() == []
