"""`python -m benchmarks.daily_load`: what one more day costs to load, by how much is loaded already.

Each day goes into a warehouse that holds a history and into one that holds the other days only, by `python -m ingest
load`; and into a table of the same shape beside the history by one bare COPY or LOAD DATA. All are whole commands.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.measure import measure
from ingest.raw_tables import RAW_TABLES
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings
from warehouse.settings import ENVIRONMENT

FULL_VISITORS, DAY_EVENTS = 1_400_000, 20_000
RAW, BARE_TABLE = "funnelift_raw", "raw_events_bare"
COLUMNS = "timestamp, visitorid, event, itemid, transactionid"
PYTHON = [sys.executable, "-m"]


def main() -> None:
    """Parse the command line, load the days each way, and print the fastest of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, help="folder that holds events.csv (default: a synthetic shop's)")
    parser.add_argument("--visitors", type=int, default=FULL_VISITORS, help="of the synthetic shop")
    parser.add_argument("--copies", type=int, default=1, help="how often the history stands in the warehouse")
    parser.add_argument("--events", type=int, default=DAY_EVENTS, help="events of a day (default: %(default)s)")
    parser.add_argument("--days", type=int, default=5, help="how many days are loaded (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    parser.add_argument("--bare", nargs=2, metavar=("FILE", "LOAD_NUMBER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        load_bare(*args.bare)
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        check_empty()
        raw = args.raw or synthesise(folder / "raw", args.visitors)
        history, days = split(raw / "events.csv", folder, args)
        try:
            seconds = {
                "ingest load, beside the history": into_history(history, days, folder),
                "bare COPY or LOAD DATA, beside the history": bare_days(days, folder),
                "ingest load, beside the other days only": into_history(days[0], days, folder, fresh=True),
            }
        finally:
            forget()
    print(f"\none day of {args.events:,} events, the whole command, fastest of {args.days} (all)")
    for way, each in seconds.items():
        print(f"{way}: {min(each):.2f} s ({', '.join(f'{one:.2f}' for one in each)})")


def synthesise(raw: Path, visitors: int) -> Path:
    """Make a synthetic shop's files."""
    measure("ingest synth", [*PYTHON, "ingest", "synth", "--out", str(raw), "--visitors", str(visitors)], {})
    return raw


def split(events: Path, folder: Path, args: argparse.Namespace) -> tuple[Path, list[Path]]:
    """Cut the last days off the events; the history may stand there several times, by other visitors each time."""
    history, days = folder / "history.csv", [folder / f"day {day}.csv" for day in range(args.days)]
    with duckdb.connect() as connection:
        connection.execute(
            f"create table events as select {COLUMNS}, row_number() over (order by timestamp::bigint desc) - 1 as place"
            " from read_csv($file, all_varchar = true)",
            {"file": str(events)},
        )
        in_days = args.days * args.events
        for day, file in enumerate(days):
            rows = f"where place >= {day * args.events} and place < {(day + 1) * args.events}"
            connection.execute(f"copy (select {COLUMNS} from events {rows}) to {text(file)} (header)")
        copied = COLUMNS.replace("visitorid", "if(copy = 0, visitorid, visitorid || '-' || copy) as visitorid")
        connection.execute(
            f"copy (select {copied} from events, range({args.copies}) as copies(copy) where place >= {in_days}) "
            f"to {text(history)} (header)"
        )
        [count] = connection.execute(f"select (count(*) - {in_days}) * {args.copies} from events").fetchone() or (0,)
    print(f"history: {count:,} events")
    return history, days


def into_history(history: Path, days: list[Path], folder: Path, fresh: bool = False) -> list[float]:
    """Load the history, then the days; returns the seconds that each day took."""
    where = place(folder, "fresh" if fresh else "history")
    forget()
    measure("ingest load of what comes first", [*PYTHON, "ingest", "load", "--raw", str(history)], where)
    rest = [file for file in days if file != history]
    return [
        measure("ingest load of a day", [*PYTHON, "ingest", "load", "--raw", str(file)], where).seconds for file in rest
    ]


def bare_days(days: list[Path], folder: Path) -> list[float]:
    """Load the days by one plain statement each; returns the seconds that each took."""
    where = place(folder, "history")
    commands = [[*PYTHON, "benchmarks.daily_load", "--bare", str(file), str(day)] for day, file in enumerate(days, 1)]
    return [measure("a bare day", command, where).seconds for command in commands]


def load_bare(file: str, load_number: str) -> None:
    """Load one file into a table of the shape of raw_events; nothing is hashed, checked or counted."""
    types = ", ".join(f"{column.name} {column.data_type}" for column in RAW_TABLES["raw_events"])
    if os.environ[ENVIRONMENT["target"]] == "duckdb":
        with duckdb.connect(os.environ[ENVIRONMENT["duckdb_path"]]) as connection:
            connection.execute(f"create table if not exists {RAW}.{BARE_TABLE} ({types})")
            connection.execute(
                f"insert into {RAW}.{BARE_TABLE} by name select *, 'bare' as load_id, ? as load_number "
                "from read_csv(?, all_varchar = true)",
                [load_number, file],
            )
        return
    session = open_session(Settings.from_environment(), local_infile=True)
    table = name(RAW, BARE_TABLE)
    session.execute(f"create table if not exists {table} like {name(RAW, 'raw_events')}")
    session.execute(
        f"load data local infile %s into table {table} character set utf8mb4 fields terminated by ',' ignore 1 lines "
        "(timestamp, visitorid, event, itemid, transactionid) set load_id = 'bare', load_number = %s",
        [file, load_number],
    )
    session.commit()
    session.close()


def place(folder: Path, which: str) -> dict[str, str]:
    """The environment of a warehouse of the benchmark's own, on the engine that FUNNELIFT_TARGET names."""
    target = os.environ.get(ENVIRONMENT["target"]) or "duckdb"
    return {ENVIRONMENT["target"]: target, ENVIRONMENT["duckdb_path"]: str(folder / f"{which}.duckdb")}


def server() -> Session | None:
    """A session where the environment names a server."""
    return open_session(Settings.from_environment()) if os.environ.get(ENVIRONMENT["target"]) == "mysql" else None


def check_empty() -> None:
    """Refuse a server that holds raw tables: they are dropped at the end."""
    if session := server():
        if session.rows("select 1 from information_schema.schemata where schema_name = %s", [RAW]):
            raise SystemExit(f"{session.settings.place} has a database {RAW}: name a server that holds nothing")
        session.close()


def forget() -> None:
    """Drop the raw tables of a server; a DuckDB file of the benchmark is a new one each time."""
    if session := server():
        session.execute(f"drop database if exists {name(RAW)}")
        session.close()


def text(path: Path) -> str:
    """A path as SQL takes it."""
    return "'" + str(path).replace("'", "''") + "'"


if __name__ == "__main__":
    main()
