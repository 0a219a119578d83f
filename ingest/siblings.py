"""Equal entries of one order's list: lines of that order, and not one line that was sent twice."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SIBLINGS = "siblings"
_SAID = ["timestamp", "visitorid", "event", "itemid", "transactionid", "price", "categoryid", "quantity"]


def tell_apart(rows: pa.Table) -> pa.Table:
    """Give an event id to what one list of an order has more than once.

    The first of some equal entries has none, the second one that of their text with `/2`, and so on. A line that comes
    again has the same ids, so it still counts once.

    Parameters
    ----------
    rows : pyarrow.Table
        Checked records of events; those that stand in one list of items have the same `line` and `siblings`.

    Returns
    -------
    pyarrow.Table
        The same without `siblings`.
    """
    if SIBLINGS not in rows.column_names:
        return rows
    # A refund of neither price nor quantity takes back all that its order has of the item: one does it.
    is_some = pc.or_(pc.is_valid(rows["price"]), pc.is_valid(rows["quantity"]))
    is_refund = pc.and_(pc.equal(rows["event"], "refund"), is_some)
    is_line = pc.fill_null(pc.or_(pc.equal(rows["event"], "transaction"), is_refund), False)
    is_line = pc.and_(is_line, pc.is_valid(rows[SIBLINGS]))
    for name, is_wanted in (("reason", pc.is_null), ("event_id", pc.is_null), ("transactionid", pc.is_valid)):
        is_line = pc.and_(is_line, is_wanted(rows[name]))
    rows, lines = rows.drop_columns([SIBLINGS]), rows.filter(is_line)
    # Few lists name an item twice: all that they say is compared only where one does.
    if lines.group_by(["line", SIBLINGS, "itemid"]).aggregate([]).num_rows == lines.num_rows:
        return rows
    seen: Counter[tuple[Any, ...]] = Counter()
    ids = []
    for entry in zip(*(lines[name].to_pylist() for name in ("line", SIBLINGS, *_SAID)), strict=True):
        seen[entry] += 1
        ids.append(_id(entry[2:], seen[entry]) if seen[entry] > 1 else None)
    if not any(ids):
        return rows
    places = np.flatnonzero(is_line.to_numpy())[[each is not None for each in ids]]
    is_told = np.zeros(rows.num_rows, bool)
    is_told[places] = True
    told = {"event_id": pa.array([each for each in ids if each]), "line_number": rows["line"].take(pa.array(places))}
    for name, values in told.items():
        column = rows[name].combine_chunks()
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        replaced = pc.replace_with_mask(column, pa.array(is_told), values.cast(column.type))
        rows = rows.set_column(rows.column_names.index(name), name, replaced)
    return rows


def _id(said: Sequence[Any], number: int) -> str:
    return f"{hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:32]}/{number}"
