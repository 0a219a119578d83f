"""`python -m ingest check`: what files would become, before anything is loaded."""

import argparse
import datetime as dt
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ingest.contract import CATEGORY_TREE, EVENTS
from ingest.field_path import column_of
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
    for each in inputs:
        if name := _unmapped_currency(each):
            survey.unmapped_currencies.add(name)
            each.layout = replace(each.layout, cells=each.layout.cells | {"currency": name})
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
    return inputs, survey, survey.warnings()


def _unmapped_currency(each: Input) -> str | None:
    """The column or path that seems to be the currency of mapped prices, where the mapping names none."""
    layout, columns = each.layout, each.layout.mapping.columns
    if layout.kind is not EVENTS or columns.currency or not columns.price:
        return None
    header = None if layout.dialect.has_header else list(layout.header)
    try:
        texts = {
            column.name: set(column.texts) for column in take_sample(each.source, (layout.dialect, header)).columns
        }
    except FunneliftError:
        return None  # the check itself says what is wrong
    found = [name for name in texts if says("currency", name)]
    # A list of keys and values may say it, as that of Google Analytics does.
    for name in texts:
        if name.endswith("[].key") and "currency" in texts[name]:
            listed, value = name.removesuffix("[].key"), name.removesuffix("key") + "value"
            text = ".string_value" if f"{value}.string_value" in texts else ""
            found.append(f"{listed}[key=currency].value{text}")
    return next((name for name in found if column_of(name, layout.header) in layout.header), None)


def _moment(ms: int | None) -> str:
    return f"{dt.datetime.fromtimestamp((ms or 0) / 1000, dt.UTC):%Y-%m-%d %H:%M:%S}"
