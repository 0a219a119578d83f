"""Which rows of a table of predictions are new, changed or gone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Rows
from ml.publish.tables import plain
from warehouse.base import Publication
from warehouse.contract import Contract
from warehouse.workers import ADDED, CHANGED, SAME, STATE

if TYPE_CHECKING:
    import pyarrow as pa

STAMP = ("run_id", "model_version", "scored_at")


@dataclass(frozen=True)
class Changes:
    """What has to happen to a table: `rows` come in, after the rows with the keys `removes` have left.

    `added`, `changed` and `removed` count the rows that are new, that are other than they were, and that are no more.
    """

    contract: Contract
    rows: "pa.Table"
    removes: "pa.Table"
    added: int
    changed: int
    removed: int

    @property
    def publication(self) -> Publication | None:
        """The change, ready to publish; None where there is nothing to do."""
        if not (self.added or self.changed or self.removed):
            return None
        return Publication(self.contract, self.rows, removes=self.removes)


def changes_of(contract: Contract, old: "pa.Table", new: "pa.Table") -> Changes:
    """Compare the rows of some visitors as they stand in a table with those that shall stand there.

    A row whose values are all the same stays as it is, with the time at which it was scored.

    Parameters
    ----------
    contract : Contract
        The table's contract.
    old, new : pyarrow.Table
        Rows, cast to the contract.

    Returns
    -------
    Changes
        The smallest change that makes the one the other.
    """
    import pyarrow as pa

    place, is_known, is_changed = _compared(contract, old, new)
    is_gone = np.ones(len(old), dtype=bool)
    is_gone[place[is_known]] = False
    leaves = is_gone.copy()
    leaves[place[is_changed]] = True
    return Changes(
        contract,
        rows=new.filter(pa.array(~is_known | is_changed)),
        removes=plain(old.select(list(contract.grain)).filter(pa.array(leaves))),
        added=int((~is_known).sum()),
        changed=int(is_changed.sum()),
        removed=int(is_gone.sum()),
    )


def remade(contract: Contract, old: "pa.Table", new: "pa.Table") -> "pa.Table":
    """Give the rows that shall stand in a table, where a row whose values are all the same stays as it is.

    Parameters
    ----------
    contract : Contract
        The table's contract.
    old, new : pyarrow.Table
        Rows, cast to the contract.

    Returns
    -------
    pyarrow.Table
        One row for each new one, in some order, and `STATE`: what it is beside the old one.
    """
    import pyarrow as pa

    place, is_known, is_changed = _compared(contract, old, new)
    is_same = is_known & ~is_changed
    states = np.where(is_known, CHANGED, ADDED)[~is_same]
    other = plain(new.filter(pa.array(~is_same))).append_column(STATE, pa.array(states, pa.string()))
    same = plain(old.take(pa.array(place[is_same])))
    return pa.concat_tables([other, same.append_column(STATE, pa.repeat(SAME, len(same)))])


def places_of(rows: "pa.Table", among: "pa.Table", key: tuple[str, ...]) -> Rows:
    """Find rows by their key among others.

    Parameters
    ----------
    rows, among : pyarrow.Table
        Rows with the columns of the key, which no two rows of `among` share.
    key : tuple of str
        Columns.

    Returns
    -------
    ndarray of shape (n_rows,)
        Position of each row among the others, -1 where it is not there.
    """
    import pyarrow.compute as pc

    if not len(among):
        return np.full(len(rows), -1, dtype=np.intp)
    found = pc.index_in(_keys(rows, key), value_set=_keys(among, key).combine_chunks())
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.intp)


def _keys(rows: "pa.Table", key: tuple[str, ...]) -> "pa.ChunkedArray":
    """One text per row, which names it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = plain(rows.select(list(key))).columns
    return pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), "\x1f")


def _compared(
    contract: Contract, old: "pa.Table", new: "pa.Table"
) -> tuple[Rows, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say of each new row where its old one is, whether it has one, and whether its values are others."""
    import pyarrow as pa

    place = places_of(new, old, contract.grain)
    is_known = place >= 0
    is_changed = is_known.copy()
    is_changed[is_known] = _differ(contract, old.take(pa.array(place[is_known])), new.filter(pa.array(is_known)))
    return place, is_known, is_changed


def _differ(contract: Contract, old: "pa.Table", new: "pa.Table") -> npt.NDArray[np.bool_]:
    """Say of each pair of rows whether any value but those of the stamp differs."""
    import pyarrow.compute as pc

    found = np.zeros(len(new), dtype=bool)
    for name in contract.column_names:
        if name in STAMP:
            continue
        before, now = (plain(rows.select([name])).column(name) for rows in (old, new))
        is_same = pc.fill_null(pc.equal(before, now), False)
        both_null = pc.and_(before.is_null(), now.is_null())
        found |= ~pc.or_(is_same, both_null).to_numpy()
    return found
