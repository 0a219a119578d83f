"""`python -m benchmarks.spark_train WAREHOUSE MANIFEST`: what training on many rows takes on Spark.

The marts of a built DuckDB file stand on Spark several times, each copy with visitors and sessions of its own. Memory
is that of `ml.train` and of Spark's driver process, which it starts. On the cluster that FUNNELIFT_SPARK_MASTER names,
workers are other processes and do not count; without one the driver does their work too.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import duckdb

from benchmarks.measure import ROOT
from benchmarks.spark_size import SPARK, follow

# What a training reads of each session, with the columns that name it, and the totals that its gates compare.
COPIED = {
    "session_features": ("session_id", "visitor_id"),
    "int_decision_points": ("session_id",),
    "sessions": ("session_id", "visitor_id"),
    "session_funnels": ("session_id", "visitor_id"),
}
EMPTIED = ("conversion_predictions", "uplift_scores", "ml_runs", "uplift_runs", "score_runs")
COUNTS = ("session_count", "converting_session_count")
TABLES = """
import sys
from pathlib import Path
from warehouse.spark import SparkWarehouse
with SparkWarehouse.open_folder(Path(sys.argv[1])) as warehouse:
    warehouse._session.sql("create database funnelift")
    for folder in Path(sys.argv[2]).iterdir():
        warehouse._session.catalog.createTable(f"funnelift.{folder.name}", path=str(folder), source="parquet")
"""


def main() -> None:
    """Parse the command line, lay out the copies, train, and print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", type=Path, help="DuckDB file that dbt has built")
    parser.add_argument("manifest", type=Path, help="dbt's manifest of that build")
    parser.add_argument("--copies", type=int, default=8, help="how often the visitors are there")
    parser.add_argument("--settings", type=json.loads, default={}, help="settings of ml.train, as JSON")
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        home, marts = folder / "warehouse", folder / "marts"
        home.mkdir()
        rows = lay_out(args.warehouse, marts, args.copies)
        (folder / "settings.json").write_text(json.dumps(args.settings))
        where = {
            "FUNNELIFT_TARGET": "spark",
            "FUNNELIFT_SPARK_WAREHOUSE": str(home),
            "FUNNELIFT_RESULTS": str(folder / "results"),
        }
        subprocess.run([SPARK, "-c", TABLES, home, marts], cwd=ROOT, env=os.environ | where, check=True)
        command = [str(SPARK), "-m", "ml.train", "--config", str(folder / "settings.json")]
        step = follow("train", [*command, "--manifest", str(args.manifest)], where)
        print("\n| feature rows | wall s | CPU s | peak GB of the driver |\n| ---: | ---: | ---: | ---: |")
        print(f"| {rows:,} | {step.seconds:.0f} | {step.cpu_seconds:.0f} | {step.peak_gb:.2f} |")


def lay_out(warehouse: Path, marts: Path, copies: int) -> int:
    """Write the tables of a warehouse as Parquet; returns how many feature rows there are."""
    with duckdb.connect(warehouse, read_only=True) as connection:
        connection.execute("set memory_limit = '2GB'")
        names = connection.execute("select table_name from duckdb_tables() where schema_name = 'funnelift'").fetchall()
        for (name,) in names:
            # Intermediate tables are large, and a training reads one of them.
            if name.startswith("int_") and name not in COPIED:
                continue
            (marts / name).mkdir(parents=True)
            for copy in range(copies if name in COPIED else 1):
                file = marts / name / f"{copy}.parquet"
                connection.execute(f"copy ({chosen(name, copy, copies)}) to '{file}' (format parquet)")
        (rows,) = connection.execute("select count(*) from funnelift.session_features").fetchone() or (0,)
    return int(rows) * copies


def chosen(name: str, copy: int, copies: int) -> str:
    """A copy of a table in SQL: with its own ids, the counts of all copies, or without rows of other runs."""
    changed = [f"{key} || '-{copy}' as {key}" for key in COPIED.get(name, ())]
    if name == "dataset_summary":
        changed = [f"{count} * {copies} as {count}" for count in COUNTS]
    columns = f"* replace ({', '.join(changed)})" if changed else "*"
    return f"select {columns} from funnelift.{name} where {name not in EMPTIED}"


if __name__ == "__main__":
    main()
