"""`python -m ingest check`: what files would become, before anything is loaded."""

import argparse
import datetime as dt
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ingest.contract import CATEGORY_TREE, EVENTS
from ingest.guess.sample import take_sample
from ingest.guess.words import says
from ingest.inputs import Input, inspect_all
from ingest.judge import (
    MAX_REJECT_RATE,
    add_reject_rate,
    check_file,
    check_reject_rates,
    checked_blocks,
    note_rejects,
    refuse_hopeless,
)
from ingest.mapping_file import read_mappings
from ingest.summary import print_summary, printable, progress_bar
from ingest.survey import Survey
from warehouse.errors import FunneliftError


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ingest`."""
    parser = commands.add_parser(
        "check",
        help="say what files would become, and what about them looks wrong; loads nothing",
        description="Read files as a load does, write nothing, and say what they would become and what looks wrong. "
        "What the warehouse holds plays no part.",
        epilog="Exit codes: 0 a load would take the files, with warnings or not; 1 it would refuse; 2 wrong usage.",
    )
    parser.add_argument("--raw", nargs="+", type=Path, required=True, metavar="PATH", help="a folder, or files")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="the mapping file of the load")
    add_reject_rate(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    messages = Console(stderr=True, highlight=False, emoji=False)
    try:
        inputs, survey, warnings = check(args.raw, messages, args.mapping, args.max_reject_rate)
    except FunneliftError as error:
        messages.print(f"[bold red]a load would be refused[/]\n{escape(str(error))}", soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        messages.print("[bold red]interrupted[/]")
        return 130
    print_summary(inputs, is_loaded=False)
    output = Console(highlight=False, emoji=False)
    if survey.events:
        kinds = ", ".join(f"{count:,} {name}" for name, count in survey.events.most_common())
        output.print(f"events: {escape(kinds)}", soft_wrap=True)
        output.print(f"from {_moment(survey.first_ms)} to {_moment(survey.last_ms)} UTC")
    for warning in warnings:
        output.print(f"[yellow]warning[/]: {escape(printable(warning))}", soft_wrap=True)
    return 0


def check(
    paths: list[Path], messages: Console, mapping_path: Path | None = None, max_reject_rate: float = MAX_REJECT_RATE
) -> tuple[list[Input], Survey, list[str]]:
    """Read files as a load does.

    Parameters
    ----------
    paths : list of Path
        Folders or files.
    messages : rich.console.Console
        Where progress goes.
    mapping_path : Path or None
        Mapping file; None if the files follow the raw contract.
    max_reject_rate : float
        Largest share of a file's lines that may be rejected, 0 to 1.

    Returns
    -------
    list of Input
        What would become of each file.
    Survey
        What all events together would be.
    list of str
        What looks wrong.

    Raises
    ------
    FunneliftError
        A load would refuse the files.
    UsageError
        An option or the mapping file is wrong.
    """
    mappings = read_mappings(mapping_path) if mapping_path else None
    passed_over: list[str] = []
    inputs = inspect_all(paths, mappings, passed_over)
    if passed_over:
        messages.print(f"passed over: {escape('; '.join(passed_over))}", soft_wrap=True)
    survey = Survey()
    with progress_bar(messages) as progress:
        for each, checked in checked_blocks(inputs, progress, verb="checking", has_details=True):
            if checked is None:
                check_file(each)
                continue
            each.accepted_count += checked.accepted.num_rows
            each.rejected_count += checked.rejects.num_rows
            each.ignored_count += checked.ignored_count
            note_rejects(each, checked)
            refuse_hopeless(each, max_reject_rate)
            if each.layout.kind is EVENTS:
                survey.add_events(checked.accepted, checked.details, set(each.layout.mapping.ignore_events))
            elif each.layout.kind is CATEGORY_TREE:
                survey.add_categories(checked.accepted)
        check_reject_rates(inputs, max_reject_rate)
    return inputs, survey, survey.warnings() + [text for each in inputs for text in _unmapped_currencies(each)]


def _unmapped_currencies(each: Input) -> list[str]:
    """A warning where the first lines name several currencies and the mapping none."""
    columns = each.layout.mapping.columns
    if each.layout.kind is not EVENTS or columns.currency or not columns.price or not each.accepted_count:
        return []
    dialect = each.layout.dialect
    sample = take_sample(each.source, (dialect, None if dialect.has_header else list(each.layout.header)))
    return [
        f"{each.name}: prices of {len(named):,} currencies, by the column {column.name}; map it (columns.currency)"
        for column in sample.columns
        if says("currency", column.name) and len(named := set(column.texts)) > 1
    ]


def _moment(ms: int | None) -> str:
    return f"{dt.datetime.fromtimestamp((ms or 0) / 1000, dt.UTC):%Y-%m-%d %H:%M:%S}"
