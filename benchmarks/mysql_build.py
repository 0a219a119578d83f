"""`python -m benchmarks.mysql_build`: `dbt build --target mysql` with all tests, beside two plain ways.

The plain ways: sessions alone by LAG and a running SUM over text ids, in one statement on the same server, which is how
one would first write it; and the same `dbt build` on DuckDB.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import measure
from warehouse.mysql_client.session import open_session
from warehouse.mysql_client.settings import Settings

FULL_VISITORS = 1_400_000
DATABASES = ("funnelift", "funnelift_raw")
PLAIN_SESSIONS = """
create table funnelift_raw.plain_sessions as
with events as (
    select distinct visitorid, timestamp, event, itemid, transactionid from funnelift_raw.raw_events
),
gaps as (
    select *, timestamp - lag(timestamp) over (partition by visitorid order by timestamp, event, itemid) as gap_ms
    from events
),
numbered as (
    select *, sum(case when gap_ms <= 1800000 then 0 else 1 end) over (
        partition by visitorid order by timestamp, event, itemid rows unbounded preceding
    ) as session_number
    from gaps
)
select visitorid, session_number, min(timestamp) as started_ms, max(timestamp) as ended_ms, count(*) as event_count,
    sum(event = 'addtocart') as carts, sum(event = 'transaction') as transactions
from numbered
group by visitorid, session_number
"""


def main() -> None:
    """Parse the command line, build all three ways, print what each took and check that they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=FULL_VISITORS)
    parser.add_argument(
        "--repeats", type=int, default=1, help="how often dbt builds on the server (default: %(default)s)"
    )
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    args = parser.parse_args()
    session = open_session(Settings.from_environment(), local_infile=True)
    present = {str(one) for (one,) in session.rows("select schema_name from information_schema.schemata")}
    if taken := present & set(DATABASES):
        raise SystemExit(
            f"{session.settings.place} has the databases {sorted(taken)}: name a server that holds nothing"
        )
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as folder:
        place = Path(folder)
        raw = str(place / "raw")
        environment = {
            "FUNNELIFT_DUCKDB_PATH": str(place / "bench.duckdb"),
            "DBT_TARGET_PATH": str(place / "target"),
            "DBT_LOG_PATH": str(place / "logs"),
        }
        ingest = [sys.executable, "-m", "ingest"]
        build = [str(Path(sys.executable).with_name("dbt")), "--quiet", "build", "--target"]
        measure("ingest synth", [*ingest, "synth", "--out", raw, "--visitors", str(args.visitors)], {})
        measure("ingest load, DuckDB", [*ingest, "load", "--target", "duckdb", "--raw", raw], environment)
        steps = [measure("ingest load", [*ingest, "load", "--target", "mysql", "--raw", raw], environment)]
        try:
            for _ in range(args.repeats):
                steps.append(measure("dbt build, all models and tests", [*build, "mysql"], environment))
            plain = [sys.executable, "-m", "benchmarks.mysql_build", "--plain-sessions"]
            steps.append(measure("plain SQL, sessions alone", plain, environment))
            ((ours,),) = session.rows("select session_count from funnelift.dataset_summary")
            ((theirs,),) = session.rows("select count(*) from funnelift_raw.plain_sessions")
            if ours != theirs:
                raise SystemExit(f"dbt finds {ours:,} sessions, plain SQL {theirs:,}")
            steps.append(measure("dbt build on DuckDB", [*build, "duckdb"], environment))
        finally:
            for database in DATABASES:
                session.execute(f"drop database if exists {database}")
            session.close()
    print(f"{session.server.text}: {ours:,} sessions")
    for step in steps:
        print(f"{step.name}: {step.seconds:.1f} s")


if __name__ == "__main__":
    if sys.argv[1:] == ["--plain-sessions"]:
        open_session(Settings.from_environment()).execute(PLAIN_SESSIONS)
    else:
        main()
