"""A file's lines, checked block by block and counted: what `load` writes and `check` only looks at."""

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow.compute as pc
from rich.markup import escape
from rich.progress import Progress

from ingest.inputs import Input
from ingest.reader import blocks
from ingest.summary import printable, reject_reasons
from ingest.validate import Checked, Validator, join
from warehouse.errors import FunneliftError

MAX_REJECT_RATE = 0.01
EXAMPLES_A_REASON = 3
# What is written at once, at most about; DuckDB packs rows that come in small parts twice.
JOINED_ROWS = 250_000
JOINED_BYTES = 128 << 20

_FOR_WORKERS = (
    "On a cluster workers read the files: put them where every machine sees them under this name, or load with "
    "FUNNELIFT_SPARK_MASTER=local[*], which reads them here"
)

T = TypeVar("T")


def add_reject_rate(parser: argparse.ArgumentParser) -> None:
    """Add --max-reject-rate to a command."""
    parser.add_argument(
        "--max-reject-rate",
        type=_rate,
        default=MAX_REJECT_RATE,
        metavar="SHARE",
        help="largest share of a file's lines that may be rejected, 0 to 1 (default: %(default)s)",
    )


def checked_blocks(
    inputs: list[Input], progress: Progress, *, verb: str = "loading", has_details: bool = False
) -> Iterator[tuple[Input, Checked | None]]:
    """Read and check files; the next block is being checked while the last one is used.

    Parameters
    ----------
    inputs : list of Input
        The files, whose line counts and seconds grow.
    progress : rich.progress.Progress
        Where progress goes.
    verb : str
        What is done to the files.
    has_details : bool
        Whether the checked events have their details.

    Yields
    ------
    Input
        A file.
    Checked or None
        What became of its next blocks; None after the last one.
    """
    started = time.monotonic()
    for each, checked in _one_ahead(_joined(_blocks(inputs, progress, verb, has_details))):
        yield each, checked
        ended = time.monotonic()
        each.seconds += ended - started
        started = ended


def note_rejects(each: Input, checked: Checked) -> None:
    """Count the rejects of a block by reason, and keep some as examples.

    Parameters
    ----------
    each : Input
        The file.
    checked : Checked
        A block of it.
    """
    if not checked.rejects.num_rows:
        return
    for counted in pc.value_counts(checked.rejects["reason"]).to_pylist():
        reason = counted["values"]
        each.reasons[reason] += counted["counts"]
        examples = each.examples.setdefault(reason, [])
        if missing := EXAMPLES_A_REASON - len(examples):
            rows = checked.rejects.filter(pc.equal(checked.rejects["reason"], reason)).slice(0, missing).to_pylist()
            examples += [f"{each.name}:{row['line']}: {printable(row['raw_text'][:120])}" for row in rows]


def refuse_hopeless(each: Input, max_reject_rate: float) -> None:
    """Refuse a file, half read, of which too many lines are rejected whatever the others are."""
    if each.rejected_count > max_reject_rate * each.most_lines:
        check_reject_rates([each], max_reject_rate)


def check_same(each: Input, folder: Path) -> None:
    """Refuse, on a worker, a file that is not the one that the command looked at.

    Parameters
    ----------
    each : Input
        The file, maybe named from the command's folder.
    folder : Path
        The command's folder, which becomes this process's.

    Raises
    ------
    FunneliftError
        The worker cannot read the file, or sees another.
    """
    try:
        os.chdir(folder)
        is_same = not each.source.has_changed()
    except OSError as error:
        raise FunneliftError(f"{each.name}: a worker cannot read it: {error.strerror}. {_FOR_WORKERS}") from error
    if not is_same:
        raise FunneliftError(f"{each.name}: a worker sees another file of this name, or it has changed. {_FOR_WORKERS}")


def check_file(each: Input) -> None:
    """Refuse a file that changed while it was read, and any whose counts do not add up."""
    if each.source.has_changed():
        raise FunneliftError(f"{each.name}: the file changed while it was being read; load it when it is complete")
    if each.accepted_count + each.rejected_count + each.ignored_count != each.line_count:
        raise FunneliftError(
            f"{each.name}: the lines do not add up: {each.accepted_count:,} accepted, {each.rejected_count:,} rejected "
            f"and {each.ignored_count:,} ignored are not the {each.line_count:,} lines read; please report this"
        )


def check_reject_rates(inputs: list[Input], max_reject_rate: float) -> None:
    """Refuse files of which too many lines are rejected.

    Parameters
    ----------
    inputs : list of Input
        The files.
    max_reject_rate : float
        Largest share of a file's lines that may be rejected, 0 to 1.

    Raises
    ------
    FunneliftError
        Names each such file, with reasons and examples.
    """
    over = [each for each in inputs if each.rejected_count > max_reject_rate * each.line_count]
    if over:
        cure = "Correct the file or the mapping, or allow more with --max-reject-rate"
        parts = [
            f"{each.name}: {each.rejected_count:,} of {each.line_count:,} lines rejected "
            f"({each.rejected_count / each.line_count:.2%}, allowed {max_reject_rate:.2%})\n{reject_reasons(each)}"
            for each in over
        ]
        raise FunneliftError("\n".join([*parts, cure]))


def _blocks(
    inputs: list[Input], progress: Progress, verb: str, has_details: bool
) -> Iterator[tuple[Input, Checked | None]]:
    for each in inputs:
        layout = each.layout
        task = progress.add_task(f"{verb} {escape(each.source.path.name)}", total=each.source.size)
        with Validator(each.source, layout, time.time_ns() // 1_000_000, has_details=has_details) as validator:
            for block in blocks(each.source, layout.dialect, len(layout.header), layout.positions):
                checked = validator.check(block)
                each.line_count += block.table.num_rows + checked.extra_count
                each.position = block.position
                yield each, checked
                progress.update(task, completed=block.position)
        yield each, None
        progress.remove_task(task)


def _joined(items: Iterator[tuple[Input, Checked | None]]) -> Iterator[tuple[Input, Checked | None]]:
    """Joins blocks of one file, so that few large tables are written; the first ones soon, for writing to begin."""
    parts: list[Checked] = []
    written = 0
    for each, checked in items:
        if checked is not None:
            parts.append(checked)
        rows = sum(part.accepted.num_rows + part.rejects.num_rows for part in parts)
        size = sum(part.accepted.nbytes + part.rejects.nbytes for part in parts)
        if parts and (checked is None or rows >= min(written, JOINED_ROWS) or size >= JOINED_BYTES):
            yield each, join(parts)
            written += rows
            parts = []
        if checked is None:
            yield each, None


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Takes the next item in a thread of its own while the last one is being used."""
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(next, items, None)
        while (current := upcoming.result()) is not None:
            upcoming = pool.submit(next, items, None)
            yield current


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return rate
