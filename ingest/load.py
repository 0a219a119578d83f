"""`python -m ingest load`: raw files into the warehouse, whole or not at all."""

import argparse
import datetime as dt
import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ingest.contract import EVENTS, Layout, recognise
from ingest.limits import FILE_CHARACTERS
from ingest.mapping import Mapping, read_mapping
from ingest.reader import Source, blocks, content_hash, inspect
from ingest.target import choose_target, open_warehouse
from ingest.validate import Checked, Validator, category_paths
from ingest.warehouse import LoadRow, Warehouse
from warehouse.errors import FunneliftError, UsageError

MAX_REJECT_RATE = 0.01
SYNTHETIC_MARKER = "synthetic.json"
DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
EXAMPLES_A_REASON = 3

T = TypeVar("T")


@dataclass
class Input:
    """One file of the command, what is known of it, and what became of it."""

    source: Source
    layout: Layout
    is_synthetic: bool
    content_sha256: str = ""
    line_count: int = 0
    accepted_count: int = 0
    rejected_count: int = 0
    ignored_count: int = 0
    seconds: float = 0.0
    note: str = ""
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    categories: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The file as the user named it."""
        return str(self.source.path)

    @property
    def load_id(self) -> str:
        """The same file read in the same way always has the same id."""
        return hashlib.sha256(f"{self.content_sha256} {self.layout.fingerprint}".encode()).hexdigest()[:16]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """
    Add the command to the command line.

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
    parser.add_argument(
        "--max-reject-rate",
        type=_rate,
        default=MAX_REJECT_RATE,
        metavar="SHARE",
        help="largest share of a file's lines that may be rejected, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--replace-synthetic",
        action="store_true",
        help="if the warehouse holds synthetic data, replace them by these files",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """
    Run the command.

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
        inputs = load(args.raw, args.mapping, args.target, args.max_reject_rate, args.replace_synthetic, messages)
    except FunneliftError as error:
        messages.print(f"[bold red]load refused, nothing was written[/]\n{escape(str(error))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        messages.print("[bold red]interrupted, nothing was written[/]")
        return 130
    _print_summary(inputs)
    return 0


def load(
    raw: list[Path],
    mapping_path: Path | None,
    target: str | None,
    max_reject_rate: float,
    replace_synthetic: bool,
    messages: Console,
) -> list[Input]:
    """
    Load files into the warehouse, in one transaction.

    Parameters
    ----------
    raw : list of Path
        Folders or files.
    mapping_path : Path or None
        Mapping file for events and assignments; None if they follow the raw contract.
    target : str or None
        Warehouse; None takes FUNNELIFT_TARGET, else DuckDB.
    max_reject_rate : float
        Largest share of a file's lines that may be rejected, 0 to 1.
    replace_synthetic : bool
        Whether synthetic data in the warehouse make way for these files.
    messages : rich.console.Console
        Where progress goes.

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
    warehouse = open_warehouse(choose_target(target))
    mapping = read_mapping(mapping_path) if mapping_path else None
    inputs = _inspect_all(raw, mapping)
    with _progress(messages) as progress:
        _hash_all(inputs, progress)
        with warehouse:
            _load_files(_choose_new(inputs, warehouse, replace_synthetic), warehouse, progress)
            _check_reject_rates(inputs, max_reject_rate)
    return inputs


def _inspect_all(raw: list[Path], mapping: Mapping | None) -> list[Input]:
    """Every file is looked at before anything is loaded, so that all that is wrong with them shows at once."""
    inputs, problems = [], []
    delimiters = dict.fromkeys((mapping.delimiter, mapping.assignments.delimiter, ",") if mapping else (",",))
    for path in _find_files(raw):
        if len(str(path)) > FILE_CHARACTERS:
            problems.append(f"{path}: a path of more than {FILE_CHARACTERS:,} characters; give a shorter one")
            continue
        try:
            source = inspect(path)
            headers = {delimiter: source.header(delimiter) for delimiter in delimiters}
            layout = recognise(headers, mapping, optional_may_lack=source.format == "jsonl")
        except FunneliftError as error:
            text = str(error)
            problems.append(text if text.startswith(str(path)) else f"{path}: {text}")
            continue
        inputs.append(Input(source, layout, (path.parent / SYNTHETIC_MARKER).exists()))
    if problems:
        raise FunneliftError("\n".join(problems))
    for folder in (path for path in raw if path.is_dir()):
        if not any(each.layout.kind is EVENTS and each.source.path.parent == folder for each in inputs):
            found = ", ".join(f"{each.source.path.name} ({each.layout.kind.name})" for each in inputs)
            raise FunneliftError(
                f"{folder}: no events file in this folder; found only {found}. To load these alone, name the files "
                "themselves after --raw"
            )
    return inputs


def _find_files(raw: list[Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in raw:
        if not path.exists():
            raise UsageError(f"--raw: {path} does not exist")
        if not path.is_dir():
            files[path] = None
            continue
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        found = [
            entry
            for entry in entries
            if entry.is_file() and entry.name != SYNTHETIC_MARKER and _data_suffix(entry) in DATA_SUFFIXES
        ]
        if not found:
            names = ", ".join(entry.name + ("/" if entry.is_dir() else "") for entry in entries[:20]) or "nothing"
            raise FunneliftError(
                f"{path}: no events file in this folder; looked for {', '.join(DATA_SUFFIXES)} (or .gz of these), "
                f"found {names}. Unpack archives first, or name the files themselves after --raw"
            )
        files.update(dict.fromkeys(found))
    return list(files)


def _data_suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _hash_all(inputs: list[Input], progress: Progress) -> None:
    for each in inputs:
        task = progress.add_task(f"checking {escape(each.source.path.name)}", total=each.source.size)
        started = time.monotonic()
        each.content_sha256 = content_hash(each.source, partial(_advance, progress, task))
        each.seconds = time.monotonic() - started
        progress.remove_task(task)


def _advance(progress: Progress, task: TaskID, position: int) -> None:
    progress.update(task, completed=position)


def _choose_new(inputs: list[Input], warehouse: Warehouse, replace_synthetic: bool) -> list[Input]:
    """The files to load, once it is clear that they may be: not loaded yet, and real and synthetic data kept apart."""
    loads = warehouse.loads()
    unique = _without_twins(inputs)
    new = _not_loaded(unique, loads, replace_synthetic, warehouse.setting)
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
            f"load them into another one ({warehouse.setting})"
        )
    if any(row.is_synthetic for row in loads):
        if not replace_synthetic:
            raise FunneliftError(
                "the warehouse holds synthetic data, which are never mixed with others: add --replace-synthetic to "
                f"replace them by these files, or load into another warehouse ({warehouse.setting})"
            )
        warehouse.clear()
        for each in unique:
            each.note = "replaces synthetic data"
        return unique
    return new


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
                f"it anew, load into another warehouse ({setting}) or delete the rows of that load_id "
                "from every table of funnelift_raw first"
            )
    return new


def _load_files(inputs: list[Input], warehouse: Warehouse, progress: Progress) -> None:
    started = time.monotonic()
    for each, checked in _one_ahead(_checked_blocks(inputs, progress)):
        if checked is None:
            _finish_file(each, warehouse)
        else:
            _write_block(each, checked, warehouse)
        now = time.monotonic()
        each.seconds += now - started
        started = now


def _write_block(each: Input, checked: Checked, warehouse: Warehouse) -> None:
    each.accepted_count += warehouse.append(each.layout.kind.table, checked.accepted, load_id=each.load_id)
    each.rejected_count += warehouse.append("raw_rejects", checked.rejects, load_id=each.load_id, file=each.name)
    each.ignored_count += checked.ignored_count
    _note_rejects(each, checked)
    if each.layout.kind is EVENTS and each.layout.mapping.category_path_separator:
        each.categories.update(pc.unique(checked.accepted["categoryid"]).drop_null().to_pylist())


def _finish_file(each: Input, warehouse: Warehouse) -> None:
    separator = each.layout.mapping.category_path_separator
    if separator and each.categories:
        paths = category_paths(each.categories, separator)
        known = pc.is_in(paths["categoryid"], pa.array(warehouse.categories(), pa.string()))
        warehouse.append("raw_category_tree", paths.filter(pc.invert(known)), load_id=each.load_id)
    if each.source.has_changed():
        raise FunneliftError(f"{each.name}: the file changed while it was being read; load it when it is complete")
    if each.accepted_count + each.rejected_count + each.ignored_count != each.line_count:
        raise FunneliftError(
            f"{each.name}: the lines do not add up: {each.accepted_count:,} accepted, {each.rejected_count:,} rejected "
            f"and {each.ignored_count:,} ignored are not the {each.line_count:,} lines read; please report this"
        )
    warehouse.record(_load_row(each))


def _checked_blocks(inputs: list[Input], progress: Progress) -> Iterator[tuple[Input, Checked | None]]:
    """Every block of every file with its file, and None after the last one of each."""
    for each in inputs:
        layout = each.layout
        needed = {position for places in layout.positions.values() for position in places}
        task = progress.add_task(f"loading {escape(each.source.path.name)}", total=each.source.size)
        with Validator(each.source, layout, time.time_ns() // 1_000_000) as validator:
            for block in blocks(each.source, layout.delimiter, len(layout.header), needed):
                each.line_count += block.table.num_rows
                yield each, validator.check(block)
                progress.update(task, completed=block.position)
        yield each, None
        progress.remove_task(task)


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Takes the next item in a thread of its own while the last one is being used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (current := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield current


def _note_rejects(each: Input, checked: Checked) -> None:
    if not checked.rejects.num_rows:
        return
    for row in checked.rejects.to_pylist():
        each.reasons[row["reason"]] += 1
        examples = each.examples.setdefault(row["reason"], [])
        if len(examples) < EXAMPLES_A_REASON:
            examples.append(f"{each.name}:{row['line']}: {row['raw_text'][:120]}")


def _load_row(each: Input) -> LoadRow:
    now = dt.datetime.now(dt.UTC)
    return LoadRow(
        load_id=each.load_id,
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
        loaded_at=now.replace(tzinfo=None, microsecond=now.microsecond // 1000 * 1000),
    )


def _check_reject_rates(inputs: list[Input], max_reject_rate: float) -> None:
    over = [each for each in inputs if each.rejected_count > max_reject_rate * each.line_count]
    if over:
        cure = "Correct the file or the mapping, or allow more with --max-reject-rate"
        parts = [
            f"{each.name}: {each.rejected_count:,} of {each.line_count:,} lines rejected "
            f"({each.rejected_count / each.line_count:.2%}, allowed {max_reject_rate:.2%})\n{_reasons(each)}"
            for each in over
        ]
        raise FunneliftError("\n".join([*parts, cure]))


def _reasons(each: Input) -> str:
    lines = []
    for reason, count in each.reasons.most_common():
        lines += [f"  {reason}: {count:,}", *(f"    {example}" for example in each.examples[reason])]
    return "\n".join(lines)


def _print_summary(inputs: list[Input]) -> None:
    output = Console(highlight=False, emoji=False)
    if not output.is_terminal:
        output.width = 120
    table = Table("file", "kind", box=SIMPLE_HEAD, pad_edge=False)
    for header in ("lines", "accepted", "rejected", "ignored", "seconds"):
        table.add_column(header, justify="right", no_wrap=True)
    for each in inputs:
        counts = (each.line_count, each.accepted_count, each.rejected_count, each.ignored_count)
        numbers = (*(f"{count:,}" for count in counts), f"{each.seconds:.1f}")
        table.add_row(escape(each.source.path.name), each.layout.kind.name, *numbers)
    output.print(table)
    for each in inputs:
        if note := each.note or ("" if each.line_count else "a header and no lines"):
            output.print(f"{escape(each.name)}: {escape(note)}", soft_wrap=True)
        if each.reasons:
            output.print(f"rejected in {escape(each.name)} (kept in funnelift_raw.raw_rejects):", soft_wrap=True)
            output.print(escape(_reasons(each)), soft_wrap=True)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return rate
