"""What looks wrong about the order ids of a file, before it is loaded."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

# So many orders are looked at; those that come later are not.
_LOOKED_AT = 200_000
_FEWEST_LINES = 20
_PLACEHOLDER_SHARE = 0.1


class Orders:
    """Counts over the orders of checked blocks, of the first of them in memory that is bounded."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()
        self._visitors: dict[str, str] = {}
        self._folded: dict[str, str] = {}
        self._shared: dict[str, None] = {}
        self._in_other_case: tuple[str, str] | None = None

    def add(self, accepted: pa.Table) -> None:
        """Count a block of events.

        Parameters
        ----------
        accepted : pyarrow.Table
            Rows of raw_events.
        """
        is_line = pc.and_(pc.equal(accepted["event"], "transaction"), pc.is_valid(accepted["transactionid"]))
        lines = accepted.select(["transactionid", "visitorid"]).filter(is_line)
        for row in lines.group_by(["transactionid", "visitorid"]).aggregate([([], "count_all")]).to_pylist():
            order, visitor = row["transactionid"], row["visitorid"]
            if order not in self._visitors and len(self._visitors) >= _LOOKED_AT:
                continue
            self._lines[order] += row["count_all"]
            if self._visitors.setdefault(order, visitor) != visitor:
                self._shared.setdefault(order)
            other = self._folded.setdefault(order.casefold(), order)
            if other != order and self._in_other_case is None:
                self._in_other_case = other, order

    def warnings(self) -> list[str]:
        """Say what looks wrong.

        Returns
        -------
        list of str
            A sentence each.
        """
        found = []
        total = self._lines.total()
        for order in list(self._shared):
            if total >= _FEWEST_LINES and self._lines[order] > _PLACEHOLDER_SHARE * total:
                share = self._lines[order] / total
                found.append(
                    f"order {order} has {share:.0%} of all transactions, of several visitors; a placeholder? Then say "
                    "columns.transaction: null"
                )
        if self._shared:
            example = next(iter(self._shared))
            found.append(
                f"{len(self._shared):,} orders are of several visitors, such as {example}: each counts once, for the "
                "visitor who had it first"
            )
        if self._in_other_case:
            found.append(f"orders {' and '.join(self._in_other_case)} differ in case alone: they are two orders")
        return found
