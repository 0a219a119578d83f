"""What a file makes a reader ask: whether rows were drawn one by one, what a column holds, whether columns agree."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.data.rows import to_codes
from ml.experiment.file_rows import HIGHEST_SHARE_IN_BOTH
from ml.experiment.randomisation import is_first

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST_GROUPS = 3  # of several units, in each arm, before a column may be what was drawn
# Units that were drawn one by one fill groups of one arm with a chance below this, or leave this many groups mixed.
BY_CHANCE, MIXED_BY_CHANCE = 1e-6, 25
WEIGHTS = re.compile(
    r"((sample|sampling|survey|case|row|design|frequency|freq|inverse|ip|ipw)[_ .]?)?(weights?|wgts?|wts?)|ipt?w",
    re.IGNORECASE,
)
CENTS = 100  # how much more than the cost a sale brings before one asks whether both are in one currency unit


class Named(Protocol):
    """What was told of a file's columns."""

    @property
    def special(self) -> list[str]:
        """Columns that are no feature because they say something else."""

    @property
    def outcome(self) -> str:
        """Column of the outcome."""

    @property
    def value(self) -> str | None:
        """Column of money."""

    @property
    def visitor(self) -> str | None:
        """Column of the unit that was drawn."""


def drawn_together(rows: "pa.Table", arm: Codes, ids: "pa.ChunkedArray | None", columns: Named) -> list[str]:
    """Say which column looks like what was drawn, where another or none was named.

    If users are dealt and their sessions counted, all sessions of a user are in one arm. Sessions that were dealt one
    by one would not be. Copies of a row count once.

    Parameters
    ----------
    rows : pyarrow.Table
        All columns of the rows that take part.
    arm : ndarray of shape (n_rows,)
        Code of the arm.
    ids : pyarrow.ChunkedArray of shape (n_rows,), optional
        The unit of each row, where one was named.
    columns : Named
        Which columns are what.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    once = _not_copied(rows) if ids is None else is_first(to_codes(ids))
    units = np.flatnonzero(once)
    found = [
        (name, groups)
        for name, codes in _nameable(rows, units, columns)
        if (groups := _groups_of_one_arm(codes, arm[units])) is not None
    ]
    if not found:
        return []
    # What was drawn says the arm of all that it holds: of several such columns the one with the fewest values.
    name, groups = min(found, key=lambda entry: entry[1])
    rows_of = "rows" if columns.visitor is None else f"values of {columns.visitor}"
    return [
        f"{groups:,} values of {name} have several {rows_of} each, all in one arm, which is no chance: it looks as if "
        f"{name} was drawn. Name it (--visitor-column {name}) if so: the intervals here are too narrow then."
    ]


def _not_copied(rows: "pa.Table") -> npt.NDArray[np.bool_]:
    import pandas as pd
    import pyarrow as pa

    plain = rows.select([field.name for field in rows.schema if not pa.types.is_nested(field.type)]).to_pandas()
    hashes = pd.Series(pd.util.hash_pandas_object(plain, index=False).to_numpy())
    return np.asarray(~hashes.duplicated().to_numpy())


def _nameable(rows: "pa.Table", units: Rows, columns: Named) -> Iterator[tuple[str, Rows]]:
    """Codes of each column that can name what was drawn: whole numbers, texts and days; -1 where there is nothing."""
    import pandas as pd
    import pyarrow as pa

    for field in rows.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        can_name = (
            pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
            or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_floating(kind)
        )  # fmt: skip
        if can_name and field.name not in columns.special:
            values = rows.column(field.name).to_pandas().iloc[units]
            if not pa.types.is_floating(kind) or (values.dropna() % 1 == 0).all():
                yield field.name, np.asarray(pd.factorize(values)[0], dtype=np.intp)


def _groups_of_one_arm(codes: Rows, arm: Codes) -> int | None:
    """How many groups of several units have one arm; None where that is no wonder, or is not so."""
    codes, arm = codes[codes >= 0], arm[codes >= 0]
    if not len(codes):
        return None
    sizes = np.bincount(codes)
    first = np.empty(len(sizes), dtype=arm.dtype)
    first[codes[::-1]] = arm[::-1]
    several = sizes > 1
    mixed = (np.bincount(codes, arm != first[codes]) > 0) & several
    there = np.unique(arm)
    if min(int((several & ~mixed & (first == own)).sum()) for own in there) < FEWEST_GROUPS:
        return None
    share = np.array([(arm == own).mean() for own in there])
    alone = (share[:, None] ** sizes[several]).sum(axis=0)
    is_wonder = np.log(np.maximum(alone, 1e-300)).sum() < np.log(BY_CHANCE) and not mixed.any()
    is_wonder |= mixed.sum() <= HIGHEST_SHARE_IN_BOTH * several.sum() and (1 - alone).sum() > MIXED_BY_CHANCE
    return int(several.sum()) if is_wonder and len(there) > 1 else None


def doubts(
    columns: Named, names: list[str], arm: Codes, *, outcome: Floats, value: Floats | None, cost: float
) -> list[str]:
    """Say what else of a file makes one ask.

    Parameters
    ----------
    columns : Named
        Which columns are what.
    names : list of str
        Features.
    arm : ndarray of shape (n_rows,)
        Code of the arm, 0 for the control.
    outcome : ndarray of shape (n_rows,)
        The outcomes.
    value : ndarray of shape (n_rows,), optional
        The money that each row brought.
    cost : float
        Of a treatment.

    Returns
    -------
    list of str
        Sentences.
    """
    told = [
        f"Column {name} is a feature, and each row counts once: weights of rows have no part in any figure."
        for name in names
        if WEIGHTS.fullmatch(name)
    ]
    if np.array_equal(outcome == 1, arm > 0) and np.isin(outcome, (0, 1)).all():
        told.append(
            f"{columns.outcome} is 1 for each of the treated and 0 for all others: it says who was treated, or what "
            "only the treated can do, and is no outcome."
        )
    if value is None:
        return told
    unpaid, free = int(((outcome == 0) & (value > 0)).sum()), int(((outcome == 1) & (value == 0)).sum())
    if unpaid or free:
        told.append(
            f"{columns.value} and {columns.outcome} disagree: {unpaid:,} rows have money without {columns.outcome}, "
            f"{free:,} have {columns.outcome} without money. Money is counted as it stands."
        )
    paid = value[value > 0]
    if cost and (paid % 1 == 0).all() and (middle := float(np.median(paid))) >= CENTS * cost:
        told.append(
            f"{columns.value} holds whole numbers, {middle:,.0f} in the middle of those above 0, beside a cost of "
            f"{cost:g}: if they are cents, give the costs in cents too."
        )
    return told
