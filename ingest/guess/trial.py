"""What becomes of a file's first lines by a mapping; nothing is loaded."""

import time
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from ingest.contract import Layout
from ingest.guess.sample import first_block
from ingest.source import Source
from ingest.validate import Validator


@dataclass(frozen=True)
class Trial:
    """What became of the first lines.

    `blank` has, by what the source calls an event, how many of them were rejected for a reason, of how many.
    """

    source: Source
    line_count: int
    accepted: pa.Table
    rejected_count: int
    ignored_count: int
    reasons: Counter[str]
    reasons_by_name: Counter[tuple[str, str]]
    names: Counter[str]


def try_mapping(source: Source, layout: Layout) -> Trial:
    """Check the first lines of a file as a load would.

    Parameters
    ----------
    source : Source
        The file.
    layout : Layout
        How it is read.

    Returns
    -------
    Trial
        Counts, and the rows that a load would write.
    """
    block = first_block(source, layout.dialect, len(layout.header), layout.positions)
    with Validator(source, layout, time.time_ns() // 1_000_000, has_details=True) as validator:
        checked = validator.check(block)
    reasons = Counter(checked.rejects["reason"].to_pylist())
    by_name: Counter[tuple[str, str]] = Counter()
    names: Counter[str] = Counter()
    if checked.details is not None:
        for name, reason in zip(
            checked.details["source_event"].to_pylist(), checked.details["reason"].to_pylist(), strict=True
        ):
            names[name] += 1
            if reason:
                by_name[name, reason] += 1
    return Trial(
        source=source,
        line_count=block.table.num_rows + checked.extra_count,
        accepted=checked.accepted,
        rejected_count=checked.rejects.num_rows,
        ignored_count=checked.ignored_count,
        reasons=reasons,
        reasons_by_name=by_name,
        names=names,
    )
