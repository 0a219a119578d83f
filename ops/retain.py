"""`python -m ops retain`: drop raw lines from before a day, once the marts are made of them.

Each event stays once, in raw_kept_events, from which any later build makes the same marts: a full one, or one after a
build that was killed. Kept in the marts alone, an event would be lost with the first table that is made anew.
"""

import argparse
import datetime as dt

import pyarrow as pa

from ingest.raw_tables import RAW_TABLES, now, read_loads
from warehouse.base import RAW_SCHEMA, SCHEMA, RawTables
from warehouse.errors import FunneliftError
from warehouse.open import choose_engine

EVENTS, KEPT, RETENTION = "raw_events", "raw_kept_events", "raw_retention"
NEEDED = ("build_plan", "last_build", "built_loads")
# Lines that are equal in every column are one event, of the load that brought it first; every line with an id stays.
DISTINCT = f"""
select timestamp, visitorid, event, itemid, transactionid, price, categoryid, event_id, line_number, quantity,
    min(load_number)
from {RAW_SCHEMA}.{EVENTS}
where timestamp < ?
group by
    timestamp, visitorid, event, itemid, transactionid, price, categoryid, event_id, line_number, quantity,
    case when event_id is null then 0 else load_number end
order by min(load_number), visitorid, timestamp
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ops`.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands.
    """
    parser = commands.add_parser(
        "retain",
        help="drop raw lines from before a day",
        description="Drop the rows of raw_events from before a day, and the rejected lines of files that were loaded "
        "before it, in one transaction. Each event stays once, in raw_kept_events, so that marts and predictions stay "
        "as they are. Item properties, the category tree and treatment assignments are kept. The last `dbt build` must "
        "be whole and know every load.",
        epilog="Exit codes: 0 dropped, or nothing to drop; 1 refused, and nothing was changed; 2 wrong usage.",
    )
    parser.add_argument(
        "--before", type=_day, required=True, metavar="DATE", help="the first day that stays, YYYY-MM-DD in UTC"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be dropped")
    parser.add_argument("--target", help="warehouse (default: FUNNELIFT_TARGET, else duckdb)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Drop and print.

    Parameters
    ----------
    args : argparse.Namespace
        The options of add_parser.

    Returns
    -------
    int
        Exit code: 0 done, 1 refused, 2 wrong usage.
    """
    try:
        events, kept, rejects = retain(args.before, dry_run=args.dry_run, target=args.target)
    except FunneliftError as error:
        print(f"nothing was dropped: {error}")
        return error.exit_code
    verb = "would drop" if args.dry_run else "dropped"
    print(
        f"{verb} {events:,} raw lines from before {args.before:%Y-%m-%d} UTC, of which {kept:,} stay as events, and "
        f"{rejects:,} rejected lines"
    )
    return 0


def retain(before: dt.date, *, dry_run: bool = False, target: str | None = None) -> tuple[int, int, int]:
    """Drop raw lines from before a day, in one transaction.

    Parameters
    ----------
    before : date
        The first day that stays, in UTC.
    dry_run : bool
        Whether to count only.
    target : str or None
        Warehouse; None takes FUNNELIFT_TARGET, else DuckDB.

    Returns
    -------
    int
        Raw lines dropped.
    int
        Events that stay of them.
    int
        Rejected lines dropped.

    Raises
    ------
    FunneliftError
        The marts are not made of all that is loaded; the warehouse is as it was.
    """
    settings, engine = choose_engine(target)
    midnight = dt.datetime.combine(before, dt.time())
    before_ms = int(midnight.replace(tzinfo=dt.UTC).timestamp()) * 1000
    if midnight > now():
        raise FunneliftError(f"--before {before} is still to come: nothing that happens later would be kept raw")
    with engine.begin_load(settings, RAW_TABLES, is_first=False) as raw:
        check_built(raw)
        counts = raw.query(
            f"select load_id, load_number, count(*) from {RAW_SCHEMA}.{EVENTS} where timestamp < ? "
            "group by load_id, load_number order by load_number",
            [before_ms],
        )
        early = f"load_number in (select load_number from {RAW_SCHEMA}.raw_loads where loaded_at < ?)"
        [(rejects,)] = raw.query(f"select count(*) from {RAW_SCHEMA}.raw_rejects where {early}", [midnight])
        if dry_run:
            [(kept,)] = raw.query(f"select count(*) from ({DISTINCT}) as kept", [before_ms])
        else:
            kept = raw.fill(KEPT, DISTINCT, [before_ms])
            raw.delete(EVENTS, "timestamp < ?", [before_ms])
            raw.delete("raw_rejects", early, [midnight])
            raw.append(RETENTION, _entries(counts, before_ms))
    return sum(int(count) for _, _, count in counts), int(kept), int(rejects)


def check_built(raw: RawTables) -> None:
    """Refuse unless the marts belong to one whole build of all that is loaded.

    Parameters
    ----------
    raw : RawTables
        The raw tables.

    Raises
    ------
    FunneliftError
        A build is missing, was interrupted, goes on, or does not know a load or knows one that is gone.
    """
    marks = ", ".join("?" * len(NEEDED))
    present = raw.query(
        f"select table_name from information_schema.tables where table_schema = ? and table_name in ({marks})",
        [SCHEMA, *NEEDED],
    )
    if len(present) < len(NEEDED):
        raise FunneliftError("there is no whole build of this version yet: run `dbt build` first")
    if raw.query(f"select build_id from {SCHEMA}.build_plan") != raw.query(f"select build_id from {SCHEMA}.last_build"):
        raise FunneliftError("the last build is not whole, or goes on right now: run `dbt build` to its end first")
    built = {int(number) for (number,) in raw.query(f"select load_number from {SCHEMA}.built_loads")}
    loads = {load.load_number: load.file for load in read_loads(raw)}
    if missing := [file for number, file in loads.items() if number not in built]:
        raise FunneliftError(f"not built yet: {', '.join(missing[:5])}; run `dbt build` first")
    if built - loads.keys():
        raise FunneliftError("a load was withdrawn since the last build: run `dbt build` first")


def _entries(counts: list[tuple[str, int, int]], before_ms: int) -> pa.Table:
    moment = now()
    return pa.table(
        {
            "load_id": pa.array([load_id for load_id, _, _ in counts], pa.string()),
            "load_number": pa.array([int(number) for _, number, _ in counts], pa.int64()),
            "before_ms": pa.array([before_ms] * len(counts), pa.int64()),
            "dropped_count": pa.array([int(count) for _, _, count in counts], pa.int64()),
            "retained_at": pa.array([moment] * len(counts), pa.timestamp("ms")),
        }
    )


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-01-31") from None
