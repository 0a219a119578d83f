"""Runs dbt's commands one after the other in one Spark session, then copies what only Spark can read.

Runs in the virtual environment of `make setup-spark`: python spark_dbt.py COMMANDS FOLDER. COMMANDS are a JSON list of
lists of dbt's arguments. Each view and compiled analysis becomes Parquet files in FOLDER, its times without a zone.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import TimestampType


def copy(session: SparkSession, sql: str, target: Path) -> None:
    found = session.sql(sql)
    times = [field.name for field in found.schema if isinstance(field.dataType, TimestampType)]
    plain = found.withColumns({name: col(name).cast("timestamp_ntz") for name in times})
    plain.coalesce(1).write.mode("overwrite").parquet(str(target))


def main(commands: list[list[str]], folder: Path) -> int:
    for command in commands:
        outcome = dbtRunner().invoke(command)
        if not outcome.success:
            print(outcome.exception or f"dbt {command[0]} failed")
            return 1
    # Copies of an earlier moment would hide what has come since.
    shutil.rmtree(folder, ignore_errors=True)
    session = SparkSession.builder.getOrCreate()
    views = [row["viewName"] for row in session.sql("show views in funnelift").collect() if not row["isTemporary"]]
    for view in views:
        copy(session, f"select * from funnelift.{view}", folder / view)
    # A table without rows may have no file, and then no columns for whoever reads files.
    for row in session.sql("show tables in funnelift").collect():
        files = Path(os.environ["FUNNELIFT_SPARK_WAREHOUSE"], "funnelift.db", row["tableName"])
        if not row["isTemporary"] and row["tableName"] not in views and not any(files.glob("*.parquet")):
            copy(session, f"select * from funnelift.{row['tableName']}", folder / row["tableName"])
    for path in sorted(Path(os.environ["DBT_TARGET_PATH"], "compiled", "funnelift", "analyses").glob("*.sql")):
        copy(session, path.read_text(encoding="utf-8"), folder / path.stem)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), Path(sys.argv[2])))
