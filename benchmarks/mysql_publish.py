"""`python -m benchmarks.mysql_publish`: publishing predictions to MySQL or MariaDB beside LOAD DATA and pandas.to_sql.

LOAD DATA gets a ready file, nulls as it expects them, and a table of the same shape and key that nobody reads yet; in
the order in which a training has the rows, and in the key's order. pandas.to_sql, far slower, gets fewer rows.
"""

import argparse
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy

from benchmarks.mysql_scratch import DATABASE, scratch_database, take_turns
from ml.conversion.predictions import Predictions
from ml.data.rows import Dataset
from ml.data.split import SPLITS
from ml.publish.predictions import prediction_rows
from ml.run import Stamp
from warehouse.base import Publication
from warehouse.contract import read_project
from warehouse.mysql import MySQLWarehouse
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, PANDAS_ROWS = 1_900_000, 50_000
TABLE = "conversion_predictions"
CONTRACT = read_project()[TABLE]
START_MS, SPAN_MS = 1_430_611_200_000, 137 * 86_400_000
POINTS = ("landing", "engaged", "cart")


def predictions(rows: int) -> pa.Table:
    """Make rows as `ml.train` publishes them: in order of time, seven in ten without reasons."""
    rng = np.random.default_rng(1)
    decided_ms = START_MS + np.sort(rng.integers(0, SPAN_MS, rows))
    visitor = rng.integers(0, rows, rows)
    point = rng.choice(len(POINTS), rows, p=(0.72, 0.25, 0.03)).astype(np.int32)
    identity = pa.table(
        {
            "session_id": np.char.add(np.char.add(visitor.astype(str), "-"), decided_ms.astype(str)),
            "decision_point": pa.DictionaryArray.from_arrays(pa.array(point), pa.array(POINTS)),
            "visitor_id": visitor.astype(str),
            "decided_at": pa.array(decided_ms).cast(pa.timestamp("ms")),
        }
    )
    data = Dataset(
        identity,
        pd.DataFrame({"decision_point": pd.Categorical.from_codes(point, pd.Index(POINTS))}),
        label=(rng.random(rows) < 0.01).astype(np.int8),
        decided_ms=decided_ms,
        is_mature=(rng.random(rows) < 0.999).astype(np.int8),
        is_new_visitor=np.ones(rows, np.int8),
        visitor=visitor.astype(np.int32),
    )
    texts = pa.array(
        f"Towards {way}: smoothed purchase rate of the item in focus over the last {days} closed days "
        f"(item_purchase_rate_{days}d = {value / 1e4:.4f})"
        for way in ("leaving", "buying")
        for days in (7, 28)
        for value in range(2000)
    )
    explained = np.arange(int(rows * 0.7), rows)
    probability = rng.beta(1, 80, rows)
    found = Predictions(
        data=data,
        split=pd.Categorical(np.where(np.arange(rows) < rows * 0.7, "train", "test"), pd.Index(SPLITS, dtype=object)),
        probability=probability,
        risk_band=np.digitize(probability, [0.005, 0.02]).astype(np.int8),
        explained=explained,
        reasons=[
            pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, len(texts), len(explained), np.int32)), texts)
            for _ in range(3)
        ],
    )
    return prediction_rows(
        found,
        Stamp("20261125T120000000Z", "catboost-0123456789ab", datetime.now(UTC)),
        CONTRACT,
    )


def write_file(rows: pa.Table, path: Path, order: str) -> Path:
    """Write the rows as LOAD DATA reads them by default."""
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        connection.execute(
            f"copy (from rows {order}) to '{path}' (header false, delimiter '\\t', nullstr '\\N', quote '')"
        )
    return path


def load_bare(session: Session, file: Path) -> None:
    """Load a file into a new table shaped as the published one."""
    session.execute(f"drop table if exists {name(DATABASE, 'bare')}")
    session.execute(f"create table {name(DATABASE, 'bare')} like {name(DATABASE, TABLE)}")
    session.execute(f"load data local infile %s into table {name(DATABASE, 'bare')} character set utf8mb4", [str(file)])
    session.commit()


def to_sql(session: Session, frame: pd.DataFrame) -> None:
    """Write a frame into a new table shaped as the published one by pandas."""
    session.execute(f"drop table if exists {name(DATABASE, 'pandas')}")
    session.execute(f"create table {name(DATABASE, 'pandas')} like {name(DATABASE, TABLE)}")
    settings = session.settings
    url = sqlalchemy.URL.create(
        "mysql+mysqlconnector", settings.user, settings.password, settings.host, settings.port, DATABASE
    )
    engine = sqlalchemy.create_engine(url)
    frame.to_sql("pandas", engine, if_exists="append", index=False, method="multi", chunksize=1000)
    engine.dispose()


def main() -> None:
    """Parse the command line, publish in every way in turn, and print the fastest of each and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="rows published (default: %(default)s)")
    parser.add_argument("--pandas-rows", type=int, default=PANDAS_ROWS, help="rows for to_sql (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is run (default: %(default)s)")
    args = parser.parse_args()
    rows = predictions(args.rows)
    frame = rows.slice(0, args.pandas_rows).to_pandas()
    with scratch_database() as session, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        warehouse = MySQLWarehouse(session.settings, 0, DATABASE)
        warehouse.publish([Publication(CONTRACT, rows)])
        key = ", ".join(CONTRACT.grain)
        as_trained = write_file(rows, Path(folder) / "as_trained.tsv", "")
        in_key_order = write_file(rows, Path(folder) / "in_key_order.tsv", f"order by {key}")
        ways: dict[str, Callable[[], object]] = {
            "publish": lambda: warehouse.publish([Publication(CONTRACT, rows)]),
            "bare LOAD DATA, in the key's order": lambda: load_bare(session, in_key_order),
            "bare LOAD DATA, as trained": lambda: load_bare(session, as_trained),
            f"pandas.to_sql, {len(frame):,} rows": lambda: to_sql(session, frame),
        }
        print(f"{session.server.text}, {len(rows):,} rows", flush=True)
        ours, ordered, unordered, pandas = take_turns(ways, args.repeats).values()
        for table in (TABLE, "bare"):
            assert session.rows(f"select count(*) from {name(DATABASE, table)}") == [(len(rows),)]
        warehouse.close()
    a_row = pandas / len(frame) / (ours / len(rows))
    print(f"publish / bare LOAD DATA in the key's order: {ours / ordered:.2f}; as trained: {ours / unordered:.2f}")
    print(f"pandas.to_sql / publish, by the row: {a_row:.1f}")


if __name__ == "__main__":
    main()
