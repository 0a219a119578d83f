"""`python -m ingest unload`: take a file out of the warehouse again, whole or not at all."""

import argparse
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from ingest.contract import CATEGORY_TREE, EVENTS
from ingest.raw_tables import (
    RAW_TABLES,
    LoadRow,
    UnloadRow,
    now,
    read_loads,
    read_unloads,
    record_unloads,
)
from warehouse.base import RAW_SCHEMA, RawTables
from warehouse.errors import FunneliftError
from warehouse.open import choose_engine

OF_LOAD = "load_number = ?"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands of `python -m ingest`.
    """
    parser = commands.add_parser(
        "unload",
        help="take a loaded file out again",
        description="Take loaded files out of the warehouse again: their rows, their rejects and their entry in "
        "raw_loads. All of it is one transaction. The next `dbt build` makes the marts as if they had never been "
        "loaded.",
        epilog="Exit codes: 0 withdrawn; 1 refused, and nothing was changed; 2 wrong usage.",
    )
    parser.add_argument(
        "loads", nargs="+", metavar="LOAD", help="id, number or file of a load, as `python -m ingest loads` lists it"
    )
    parser.add_argument("--target", help="warehouse (default: FUNNELIFT_TARGET, else duckdb)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Parameters
    ----------
    args : argparse.Namespace
        The options of add_parser.

    Returns
    -------
    int
        Exit code: 0 done, 1 refused, 2 wrong usage.
    """
    messages = Console(stderr=True, highlight=False, emoji=False)
    try:
        withdrawn = unload(args.loads, target=args.target)
    except FunneliftError as error:
        messages.print(f"[bold red]unload refused, nothing was changed[/]\n{escape(str(error))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        messages.print("[bold red]interrupted, nothing was changed[/]")
        return 130
    output = Console(highlight=False, emoji=False)
    for load, count in withdrawn:
        output.print(
            escape(
                f"withdrawn: {load.file} (load {load.load_id}, number {load.load_number}): {count:,} rows of "
                f"{load.raw_table} and {load.rejected_count:,} rejects"
            ),
            soft_wrap=True,
        )
    output.print("Run `dbt build`: it makes the marts as if this had never been loaded. Then run `python -m ml.score`.")
    return 0


def unload(names: list[str], *, target: str | None = None) -> list[tuple[LoadRow, int]]:
    """Take loads out of the warehouse, in one transaction.

    Parameters
    ----------
    names : list of str
        An id, number or file for each load.
    target : str or None
        Warehouse; None takes FUNNELIFT_TARGET, else DuckDB.

    Returns
    -------
    list of (LoadRow, int)
        What was withdrawn, and how many rows of its raw table that were.

    Raises
    ------
    FunneliftError
        A load is unknown or must stay; the warehouse is as it was.
    """
    settings, engine = choose_engine(target)
    with engine.begin_load(settings, RAW_TABLES, is_first=False) as raw:
        loads, unloads = read_loads(raw), read_unloads(raw)
        found = {load.load_number: load for load in (_find(name, loads, unloads) for name in names)}
        for load in found.values():
            _check_before_retention(raw, load)
        withdrawn = [(load, _withdraw(raw, load)) for load in found.values()]
    return withdrawn


def _find(name: str, loads: list[LoadRow], unloads: list[UnloadRow]) -> LoadRow:
    """The load of that id, number, file, or file name without its folder: the first of these that fits any."""
    for fitting in (
        [load for load in loads if name == load.load_id],
        [load for load in loads if name == load.file],
        [load for load in loads if name == str(load.load_number)],
        [load for load in loads if name == Path(load.file).name],
    ):
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            listed = ", ".join(f"{load.load_id} ({load.file})" for load in fitting)
            raise FunneliftError(f"{name}: several loads are called so; name one by its id: {listed}")
    gone = [row for row in unloads if name in (row.load_id, row.file, str(row.load_number), Path(row.file).name)]
    if gone:
        raise FunneliftError(
            f"{name}: no longer loaded; load {gone[-1].load_id} ({gone[-1].file}) was taken out on "
            f"{gone[-1].unloaded_at:%Y-%m-%d %H:%M} UTC"
        )
    raise FunneliftError(f"{name}: no load has that id, number or file; `python -m ingest loads` lists them")


def _check_before_retention(raw: RawTables, load: LoadRow) -> None:
    """Which file an event came from is known no more once retention has dropped its lines."""
    [(before_ms, dropped)] = raw.query(
        f"select max(before_ms), sum(case when {OF_LOAD} then dropped_count else 0 end) "
        f"from {RAW_SCHEMA}.raw_retention",
        [load.load_number],
    )
    if before_ms is None or load.raw_table != EVENTS.table:
        return
    [(early,)] = raw.query(
        f"select count(*) from {RAW_SCHEMA}.raw_events where {OF_LOAD} and timestamp < ?",
        [load.load_number, before_ms],
    )
    if early or dropped:
        raise FunneliftError(
            f"{load.file} (load {load.load_id}) has events from before the day up to which `python -m ops retain` has "
            "dropped raw lines, so that nothing says any more which of them other files had too. Restore a backup "
            "from before that, or send corrections with event ids"
        )


def _withdraw(raw: RawTables, load: LoadRow) -> int:
    of_load = [load.load_number]
    record_unloads(raw, [UnloadRow(load.load_id, load.load_number, load.file, load.raw_table, now())])
    count = raw.delete(load.raw_table, OF_LOAD, of_load)
    raw.delete("raw_rejects", OF_LOAD, of_load)
    raw.delete("raw_loads", OF_LOAD, of_load)
    if load.raw_table == EVENTS.table:
        _withdraw_categories(raw, load)
    return count


def _withdraw_categories(raw: RawTables, load: LoadRow) -> None:
    """Take out the categories that only this file's events had; the others are the next file's."""
    tree = raw.distinct(CATEGORY_TREE.table, [*CATEGORY_TREE.columns, "load_number"])
    own = {category: parent for category, parent, number in tree if number == load.load_number}
    if not own:
        return
    parents = {category: parent for category, parent, _ in tree}
    heirs: dict[str, int] = {}
    users = raw.query(
        f"select categoryid, min(load_number) from (select categoryid, load_number from {RAW_SCHEMA}.raw_events "
        f"union all select categoryid, load_number from {RAW_SCHEMA}.raw_kept_events) as events "
        "where categoryid is not null group by categoryid order by min(load_number)"
    )
    seen: set[str] = set()
    for category, number in users:
        current: str | None = category
        while current is not None and current not in seen:
            seen.add(current)
            if current in own:
                heirs.setdefault(current, number)
            current = parents.get(current)
    raw.delete(CATEGORY_TREE.table, OF_LOAD, [load.load_number])
    ids = {row.load_number: row.load_id for row in read_loads(raw)}
    rows: dict[int, list[str]] = defaultdict(list)
    for category, number in heirs.items():
        rows[number].append(category)
    schema = pa.schema([("categoryid", pa.string()), ("parentid", pa.string())])
    for number, categories in sorted(rows.items()):
        columns = {"categoryid": categories, "parentid": [own[category] for category in categories]}
        raw.append(CATEGORY_TREE.table, pa.table(columns, schema), load_id=ids[number], load_number=number)
