"""What a load shows people: its progress, and what became of each file."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ingest.inputs import Input

# What to say beside a reason that a mapping can take away.
_CURES = {"refund": "say refunds: net in the mapping, and they lower the revenue of their orders"}


def printable(text: str) -> str:
    """Replace what a terminal would take for a command, or not show, by question marks.

    Parameters
    ----------
    text : str
        Text out of somebody else's file.

    Returns
    -------
    str
        As long as the text, tabs kept.

    Examples
    --------
    >>> printable("a\\x1b[2J,b")
    'a?[2J,b'
    """
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in text)


def progress_bar(console: Console) -> Progress:
    """Make the bars that show how far a load is; they vanish at its end."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def print_summary(inputs: list[Input], *, is_loaded: bool = True) -> None:
    """Print a table of the files, then what there is to say about each."""
    kept = " (kept in funnelift_raw.raw_rejects)" if is_loaded else ""
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
        if each.float_ids:
            output.print(
                f"{escape(each.name)}: ids in {', '.join(sorted(each.float_ids))} end in .0, as if written as floats; "
                "4000.0 and 4000 are two ids",
                soft_wrap=True,
            )
        if each.reasons:
            output.print(f"rejected in {escape(each.name)}{kept}:", soft_wrap=True)
            output.print(escape(reject_reasons(each)), soft_wrap=True)


def reject_reasons(each: Input) -> str:
    """Return why lines of a file were rejected: the counts, and examples below each."""
    lines = []
    for reason, count in each.reasons.most_common():
        cure = f" ({_CURES[reason]})" if reason in _CURES else ""
        lines += [f"  {reason}: {count:,}{cure}", *(f"    {example}" for example in each.examples[reason])]
    return "\n".join(lines)
