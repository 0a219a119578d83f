"""`python -m ingest load`: raw files into the warehouse, whole or not at all."""

import argparse
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ingest.contract import EVENTS
from ingest.inputs import SYNTHETIC_MARKER, Input, hash_all, inspect_all
from ingest.judge import (
    MAX_REJECT_RATE,
    add_reject_rate,
    check_file,
    check_reject_rates,
    check_same,
    checked_blocks,
    note_rejects,
    refuse_hopeless,
)
from ingest.mapping_file import read_mappings
from ingest.raw_tables import (
    RAW_TABLES,
    LoadRow,
    UnloadRow,
    next_load_number,
    now,
    read_loads,
    read_unloads,
    record_load,
    record_unloads,
)
from ingest.summary import print_summary, progress_bar
from ingest.validate import Checked, category_paths
from warehouse.base import RawRows, RawTables
from warehouse.errors import FunneliftError
from warehouse.open import choose_engine

ID_COLUMNS = ("visitorid", "itemid", "transactionid")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands of `python -m ingest`.
    """
    parser = commands.add_parser(
        "load",
        help="load raw files into the warehouse",
        description="Load raw files (CSV or JSON lines, plain or gzip, or Parquet) into the warehouse. Files are "
        "recognised by their columns. Everything is written in one transaction: a load that fails leaves nothing.",
        epilog="Exit codes: 0 loaded, or nothing new; 1 the load was refused and nothing was written; 2 wrong usage.",
    )
    parser.add_argument("--raw", nargs="+", type=Path, required=True, metavar="PATH", help="a folder, or files")
    parser.add_argument(
        "--mapping", type=Path, metavar="FILE", help="how another shop's events and experiment map to the raw contract"
    )
    parser.add_argument("--target", help="warehouse to load into (default: FUNNELIFT_TARGET, else duckdb)")
    add_reject_rate(parser)
    parser.add_argument(
        "--replace-synthetic",
        action="store_true",
        help="if the warehouse holds synthetic data, replace them by these files",
    )
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
        inputs = load(
            args.raw,
            messages,
            mapping_path=args.mapping,
            target=args.target,
            max_reject_rate=args.max_reject_rate,
            replace_synthetic=args.replace_synthetic,
        )
    except FunneliftError as error:
        messages.print(f"[bold red]load refused, nothing was written[/]\n{escape(str(error))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        messages.print("[bold red]interrupted, nothing was written[/]")
        return 130
    print_summary(inputs)
    return 0


def load(
    paths: list[Path],
    messages: Console,
    *,
    mapping_path: Path | None = None,
    target: str | None = None,
    max_reject_rate: float = MAX_REJECT_RATE,
    replace_synthetic: bool = False,
) -> list[Input]:
    """Load files into the warehouse, in one transaction.

    Parameters
    ----------
    paths : list of Path
        Folders or files.
    messages : rich.console.Console
        Where progress goes.
    mapping_path : Path or None
        Mapping file for events and assignments; None if they follow the raw contract.
    target : str or None
        Warehouse; None takes FUNNELIFT_TARGET, else DuckDB.
    max_reject_rate : float
        Largest share of a file's lines that may be rejected, 0 to 1.
    replace_synthetic : bool
        Whether synthetic data in the warehouse make way for these files.

    Returns
    -------
    list of Input
        What became of each file.

    Raises
    ------
    FunneliftError
        The load was refused; the warehouse is as it was.
    UsageError
        An option, setting or the mapping file is wrong.
    """
    settings, engine = choose_engine(target)
    transaction = engine.begin_load(settings, RAW_TABLES)
    mappings = read_mappings(mapping_path) if mapping_path else None
    passed_over: list[str] = []
    inputs = inspect_all(paths, mappings, passed_over)
    if passed_over:
        messages.print(f"passed over: {escape('; '.join(passed_over))}", soft_wrap=True)
    with progress_bar(messages) as progress:
        hash_all(inputs, progress)
        with transaction as raw:
            new = _choose_new(inputs, raw, replace_synthetic, engine.settings_names)
            for number, each in enumerate(new, next_load_number(raw)):
                each.load_number = number
            _load_files(new, raw, progress, max_reject_rate)
            check_reject_rates(inputs, max_reject_rate)
    return inputs


def _choose_new(inputs: list[Input], raw: RawTables, replace_synthetic: bool, setting: str) -> list[Input]:
    """The files to load, once it is clear that they may be: not loaded yet, and real and synthetic data kept apart."""
    loads = read_loads(raw)
    unique = _without_twins(inputs)
    new = _not_loaded(unique, loads, replace_synthetic, setting)
    if not new:
        return []
    if len({each.is_synthetic for each in inputs}) > 1:
        made = ", ".join(each.name for each in inputs if each.is_synthetic)
        raise FunneliftError(
            f"real and synthetic files in one load; synthetic, by the {SYNTHETIC_MARKER} beside them: {made}"
        )
    if loads and not any(row.is_synthetic for row in loads) and new[0].is_synthetic:
        raise FunneliftError(
            f"these files are synthetic ({SYNTHETIC_MARKER} stands beside them) and the warehouse holds real data; "
            f"load them into another one ({setting})"
        )
    if any(row.is_synthetic for row in loads):
        if not replace_synthetic:
            raise FunneliftError(
                "the warehouse holds synthetic data, which are never mixed with others: add --replace-synthetic to "
                f"replace them by these files, or load into another warehouse ({setting})"
            )
        _clear(raw, loads)
        for each in unique:
            each.note = "replaces synthetic data"
        return unique
    return new


def _clear(raw: RawTables, loads: list[LoadRow]) -> None:
    """Empty the raw tables but for the numbers that have been given."""
    unloads, moment = read_unloads(raw), now()
    unloads += [UnloadRow(load.load_id, load.load_number, load.file, load.raw_table, moment) for load in loads]
    raw.clear()
    record_unloads(raw, unloads)


def _without_twins(inputs: list[Input]) -> list[Input]:
    first: dict[str, Input] = {}
    for each in inputs:
        if (twin := first.setdefault(each.content_sha256, each)) is not each:
            each.note = f"same content as {twin.name}: skipped"
    return list(first.values())


def _not_loaded(inputs: list[Input], loads: list[LoadRow], replace_synthetic: bool, setting: str) -> list[Input]:
    loaded = {row.content_sha256: row for row in loads}
    new = []
    for each in inputs:
        row = loaded.get(each.content_sha256)
        if row is None or (replace_synthetic and row.is_synthetic and row.mapping_sha256 != each.layout.fingerprint):
            new.append(each)
        elif row.mapping_sha256 == each.layout.fingerprint:
            each.note = f"already loaded as {row.file} on {row.loaded_at:%Y-%m-%d %H:%M} UTC: nothing to do"
        else:
            raise FunneliftError(
                f"{each.name}: already loaded, as {row.file} (load {row.load_id}), with a different mapping; to read "
                f"it anew, load into another warehouse ({setting}) or withdraw it first: "
                f"python -m ingest unload {row.load_id}"
            )
    return new


def _load_files(inputs: list[Input], raw: RawTables, progress: Progress, max_reject_rate: float) -> None:
    if raw.has_workers and len(inputs) > 1:
        progress.add_task(f"{len(inputs)} files are loaded by Spark's workers", total=None)
        for each, done in zip(inputs, raw.each(partial(_load_apart, max_reject_rate, Path.cwd()), inputs), strict=True):
            vars(each).update(vars(done))
            _finish_file(each, raw)
        return
    for each, checked in checked_blocks(inputs, progress):
        if checked is None:
            _finish_file(each, raw)
        else:
            _write_block(each, checked, raw)
            refuse_hopeless(each, max_reject_rate)


def _load_apart(max_reject_rate: float, folder: Path, each: Input, raw: RawRows) -> Input:
    """Load the lines of one file, on a worker; what comes after its last line is left to the command."""
    check_same(each, folder)
    with progress_bar(Console(quiet=True)) as progress:
        for _, checked in checked_blocks([each], progress):
            if checked is not None:
                _write_block(each, checked, raw)
                refuse_hopeless(each, max_reject_rate)
    return each


def _write_block(each: Input, checked: Checked, raw: RawRows) -> None:
    each.accepted_count += raw.append(each.layout.kind.table, checked.accepted, **each.load)
    each.rejected_count += raw.append("raw_rejects", checked.rejects, **each.load, file=each.name)
    each.ignored_count += checked.ignored_count
    note_rejects(each, checked)
    if each.layout.kind is EVENTS:
        each.float_ids |= {name for name in ID_COLUMNS if pc.any(pc.ends_with(checked.accepted[name], ".0")).as_py()}
    if each.layout.kind is EVENTS and each.layout.mapping.category_path_separator:
        each.categories.update(pc.unique(checked.accepted["categoryid"]).drop_null().to_pylist())


def _finish_file(each: Input, raw: RawTables) -> None:
    separator = each.layout.mapping.category_path_separator
    if separator and each.categories:
        paths = category_paths(each.categories, separator)
        known = [category for (category,) in raw.distinct("raw_category_tree", ["categoryid"])]
        is_known = pc.is_in(paths["categoryid"], pa.array(known, pa.string()))
        raw.append("raw_category_tree", paths.filter(pc.invert(is_known)), **each.load)
    check_file(each)
    record_load(raw, _load_row(each))


def _load_row(each: Input) -> LoadRow:
    return LoadRow(
        **each.load,
        file=each.name,
        content_sha256=each.content_sha256,
        mapping_sha256=each.layout.fingerprint,
        raw_table=each.layout.kind.table,
        bytes=each.source.size,
        line_count=each.line_count,
        accepted_count=each.accepted_count,
        rejected_count=each.rejected_count,
        ignored_count=each.ignored_count,
        is_synthetic=each.is_synthetic,
        loaded_at=now(),
    )
