"""`python -m benchmarks.mysql_read`: reading the feature mart from MySQL or MariaDB beside connectorx and pandas.

The rows are made up, the columns those of the mart. Each way runs as a process of its own, for its peak memory; it says
how long the reading alone took. pandas.read_sql, far slower and hungrier, gets fewer rows.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

import connectorx
import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy
import yaml

from benchmarks.measure import ROOT, measure
from benchmarks.mysql_scratch import DATABASE, scratch_database
from ml.data.features import MART
from warehouse.mysql import MySQLWarehouse
from warehouse.mysql_client.arrow_reader import connectorx_url
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings

ROWS, PANDAS_ROWS = 1_900_000, 100_000
LOAD_ROWS = 200_000
TEXTS = {"session_id", "visitor_id", "item_id", "decision_point", "item_root_category", "item_category"}
TYPES = {"decided_at": "datetime(3)", "decided_date": "date", "carted_value_so_far": "decimal(18, 4)"}
COUNTS = ("decided_ms", "_so_far", "_sessions", "_events", "_views", "_carts", "_transactions", "_by_visitor")


def mart_columns() -> list[str]:
    """Return the names of the mart's columns, from its properties file."""
    (model,) = yaml.safe_load((ROOT / "models" / "marts" / f"{MART}.yml").read_text())["models"]
    return [column["name"] for column in model["columns"]]


def type_of(column: str) -> str:
    """Return about the type that dbt gives a column of the mart."""
    if column in TEXTS:
        return "varchar(160)"
    if column in TYPES:
        return TYPES[column]
    if column.endswith(COUNTS):
        return "bigint"
    return "int" if column.startswith(("is_", "has_")) else "double"


def write_mart(session: Session, rows: int) -> None:
    """Write made-up rows into a table shaped as the mart."""
    columns = mart_columns()
    session.execute(
        f"create table {name(DATABASE, MART)} ({', '.join(f'{name(one)} {type_of(one)}' for one in columns)})"
    )
    rng = np.random.default_rng(1)
    for start in range(0, rows, LOAD_ROWS):
        count = min(LOAD_ROWS, rows - start)

        def values(column: str, count: int = count) -> pa.Array:
            ms = 1_430_611_200_000 + rng.integers(0, 137 * 86_400_000, count)
            if column == "session_id":
                return pa.array(np.char.add(np.char.add(rng.integers(0, rows, count).astype(str), "-"), ms.astype(str)))
            if column in TEXTS:
                return pa.array(rng.integers(0, 2000, count).astype(str))
            if column == "decided_at":
                return pa.array(ms).cast(pa.timestamp("ms"))
            if column == "decided_date":
                return pa.array(ms // 86_400_000, pa.int32()).cast(pa.date32())
            if type_of(column) == "double":
                return pa.array(rng.lognormal(2, 2, count), mask=rng.random(count) < 0.2)
            if type_of(column) == "decimal(18, 4)":
                return pa.array(rng.integers(0, 10**6, count)).cast(pa.decimal128(19, 0))
            return pa.array(ms if column == "decided_ms" else rng.integers(0, 2, count))

        session.load(name(DATABASE, MART), pa.table({column: values(column) for column in columns}))
        session.commit()


def by_warehouse(_: int) -> int:
    """Read as `ml.train` does, a batch at a time."""
    warehouse = MySQLWarehouse(Settings.from_environment(), 0, DATABASE)
    count, batches = warehouse.read(MART, mart_columns())
    assert sum(len(batch) for batch in batches) == count
    warehouse.close()
    return count


def by_connectorx(_: int) -> int:
    """Read by one plain call."""
    session = open_session(Settings.from_environment())
    query = f"select {', '.join(map(name, mart_columns()))} from {name(DATABASE, MART)}"
    return len(connectorx.read_sql(connectorx_url(session), query, return_type="arrow"))


def by_pandas(rows: int) -> int:
    """Read some of the rows by pandas."""
    settings = Settings.from_environment()
    url = sqlalchemy.URL.create(
        "mysql+mysqlconnector", settings.user, settings.password, settings.host, settings.port, DATABASE
    )
    query = f"select {', '.join(map(name, mart_columns()))} from {name(MART)} limit {rows}"
    return len(pd.read_sql(sqlalchemy.text(query), sqlalchemy.create_engine(url)))


WAYS: dict[str, Callable[[int], int]] = {
    "ml's warehouse": by_warehouse,
    "bare connectorx": by_connectorx,
    "pandas.read_sql": by_pandas,
}


def main() -> None:
    """Parse the command line, read in every way in turn, and print the fastest of each, peak memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the mart (default: %(default)s)")
    parser.add_argument("--pandas-rows", type=int, default=PANDAS_ROWS, help="rows for pandas (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is run (default: %(default)s)")
    parser.add_argument("--way", choices=WAYS, help="read in one way, from a database that is there already")
    args = parser.parse_args()
    if args.way:
        started = time.perf_counter()
        count = WAYS[args.way](args.pandas_rows)
        print(json.dumps({"rows": count, "seconds": time.perf_counter() - started}))
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    rows, peaks = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0.0)
    with scratch_database() as session:
        write_mart(session, args.rows)
        for _ in range(args.repeats):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.mysql_read", "--way", way]
                done = measure(way, [*command, "--pandas-rows", str(args.pandas_rows)], {})
                said = json.loads(done.output.splitlines()[-1])
                seconds[way].append(said["seconds"])
                rows[way], peaks[way] = said["rows"], max(peaks[way], done.peak_gb)
        print(session.server.text)
    for way, each in seconds.items():
        took = ", ".join(f"{one:.2f}" for one in each)
        print(f"{way}, {rows[way]:,} rows: {min(each):.2f} s (all: {took}), peak {peaks[way]:.2f} GB")
    a_row = {way: min(each) / rows[way] for way, each in seconds.items()}
    ours, bare, pandas = a_row.values()
    print(
        f"ml's warehouse / bare connectorx: {ours / bare:.2f}; pandas / ml's warehouse, by the row: {pandas / ours:.1f}"
    )


if __name__ == "__main__":
    main()
