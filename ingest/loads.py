"""`python -m ingest loads`: what has been loaded."""

import argparse

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingest.raw_tables import RAW_TABLES, LoadRow, read_loads
from warehouse.errors import FunneliftError
from warehouse.open import choose_engine


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands of `python -m ingest`.
    """
    parser = commands.add_parser(
        "loads",
        help="list the files that are loaded",
        description="List the files that are loaded, each with the id by which `python -m ingest unload` takes it out.",
        epilog="Exit codes: 0 listed; 1 there is no warehouse, or it cannot be read; 2 wrong usage.",
    )
    parser.add_argument("--target", help="warehouse (default: FUNNELIFT_TARGET, else duckdb)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one line per load.

    Parameters
    ----------
    args : argparse.Namespace
        The options of add_parser.

    Returns
    -------
    int
        Exit code: 0 listed, 1 refused, 2 wrong usage.
    """
    try:
        settings, engine = choose_engine(args.target)
        with engine.begin_load(settings, RAW_TABLES, is_first=False) as raw:
            loads = read_loads(raw)
    except FunneliftError as error:
        Console(stderr=True, highlight=False, emoji=False).print(escape(str(error)), soft_wrap=True)
        return error.exit_code
    print_loads(loads)
    return 0


def print_loads(loads: list[LoadRow]) -> None:
    """Print loads as a table, the first one first."""
    output = Console(highlight=False, emoji=False)
    if not output.is_terminal:
        # One line per load, for whoever searches in it.
        output.width = 120 + max((len(load.file) for load in loads), default=0)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in ("number", "load", "loaded at (UTC)", "table", "accepted", "rejected"):
        table.add_column(
            header, justify="right" if header in ("number", "accepted", "rejected") else "left", no_wrap=True
        )
    table.add_column("file", overflow="fold")
    for load in loads:
        table.add_row(
            str(load.load_number),
            load.load_id,
            f"{load.loaded_at:%Y-%m-%d %H:%M}",
            load.raw_table,
            f"{load.accepted_count:,}",
            f"{load.rejected_count:,}",
            escape(load.file) + (" (synthetic)" if load.is_synthetic else ""),
        )
    output.print(table)
