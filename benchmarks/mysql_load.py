"""`python -m benchmarks.mysql_load`: loading into MySQL or MariaDB beside a bare LOAD DATA of the same rows.

The bare way gets files in their final shape and same-shaped tables: nothing to hash, check, count or convert.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.measure import measure
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings

FULL_VISITORS = 1_400_000
RAW, BARE = "funnelift_raw", "funnelift_bench"
# Raw table: the columns of its bare file, and the synthetic files they come from.
FILES = {
    "raw_events": (
        "timestamp, visitorid, event, itemid, transactionid, null as price, null as categoryid, null as event_id, "
        "null as line_number, null as quantity, $load_id as load_id, 1 as load_number",
        "events.csv",
    ),
    "raw_item_properties": (
        "timestamp, itemid, property, value, $load_id as load_id, 2 as load_number",
        "item_properties_part*.csv",
    ),
    "raw_category_tree": ("categoryid, parentid, $load_id as load_id, 3 as load_number", "category_tree.csv"),
}


def main() -> None:
    """Parse the command line, load both ways in turn, and print the fastest of each and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=FULL_VISITORS)
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is run (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    args = parser.parse_args()
    session = open_session(Settings.from_environment(), local_infile=True)
    taken = session.rows(
        "select schema_name from information_schema.schemata where schema_name in (%s, %s)", [RAW, BARE]
    )
    if taken:
        raise SystemExit(f"{session.settings.place} has a database {taken[0][0]}: name a server that holds nothing")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as folder:
        raw = Path(folder) / "raw"
        python = [sys.executable, "-m", "ingest"]
        measure("ingest synth", [*python, "synth", "--out", str(raw), "--visitors", str(args.visitors)], {})
        bare_files = write_bare_files(raw, Path(folder))
        seconds: dict[str, list[float]] = {"bare LOAD DATA": [], "ingest load": []}
        try:
            for _ in range(args.repeats):
                session.execute(f"drop database if exists {RAW}")
                done = measure("ingest load", [*python, "load", "--target", "mysql", "--raw", str(raw)], {})
                seconds["ingest load"].append(done.seconds)
                seconds["bare LOAD DATA"].append(load_bare(session, bare_files))
            assert_same_counts(session)
        finally:
            session.execute(f"drop database if exists {RAW}")
            session.execute(f"drop database if exists {BARE}")
            session.close()
    for way, each in seconds.items():
        print(f"{way}: {min(each):.2f} s (all: {', '.join(f'{one:.2f}' for one in each)})")
    ours, bare = min(seconds["ingest load"]), min(seconds["bare LOAD DATA"])
    print(f"{session.server.text}: ingest load took {ours / bare:.2f} times as long as bare LOAD DATA")


def write_bare_files(raw: Path, folder: Path) -> dict[str, Path]:
    """Write the synthetic rows as LOAD DATA reads them by default, one file per raw table."""
    written = {}
    for table, (columns, pattern) in FILES.items():
        written[table] = folder / f"{table}.tsv"
        duckdb.execute(
            f"copy (select {columns} from read_csv($files, all_varchar = true)) to '{written[table]}' "
            r"(header false, delimiter '\t', nullstr '\N', quote '')",
            {"files": str(raw / pattern), "load_id": "0123456789abcdef"},
        )
    return written


def load_bare(session: Session, files: dict[str, Path]) -> float:
    """Load the files into new tables shaped as the raw ones, in one transaction; returns the seconds it took."""
    session.execute(f"drop database if exists {BARE}")
    session.execute(f"create database {BARE}")
    for table in files:
        session.execute(f"create table {name(BARE, table)} like {name(RAW, table)}")
    started = time.perf_counter()
    for table, file in files.items():
        session.execute(f"load data local infile %s into table {name(BARE, table)} character set utf8mb4", [str(file)])
    session.commit()
    return time.perf_counter() - started


def assert_same_counts(session: Session) -> None:
    """A way that loses rows is not faster."""
    for table in FILES:
        counts = [session.rows(f"select count(*) from {name(database, table)}")[0][0] for database in (RAW, BARE)]
        assert counts[0] == counts[1] > 0, (table, counts)


if __name__ == "__main__":
    main()
