"""What looks wrong about the order ids of a file, before it is loaded."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# So many orders are looked at; those that come later are not.
_LOOKED_AT = 200_000
_FEWEST_LINES = 20
_FEWEST_ORDERS = 20
_ENDS = (min, max, min, max)
_PLACEHOLDER_SHARE = 0.1


class Orders:
    """Counts over the orders of checked blocks, of the first of them in memory that is bounded."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()
        self._visitors: dict[str, str] = {}
        self._folded: dict[str, str] = {}
        self._shared: dict[str, None] = {}
        # The first and the last item of an order, its lowest and its highest price.
        self._spans: dict[str, tuple[str, str, Decimal, Decimal]] = {}
        self._in_other_case: tuple[str, str] | None = None

    def add(self, accepted: pa.Table) -> None:
        """Count a block of events.

        Parameters
        ----------
        accepted : pyarrow.Table
            Rows of raw_events.
        """
        is_line = pc.and_(pc.equal(accepted["event"], "transaction"), pc.is_valid(accepted["transactionid"]))
        lines = accepted.select(["transactionid", "visitorid", "itemid", "price"]).filter(is_line)
        spans = [(name, what) for name in ("itemid", "price") for what in ("min", "max")]
        for row in lines.group_by(["transactionid", "visitorid"]).aggregate([([], "count_all"), *spans]).to_pylist():
            order, visitor = row["transactionid"], row["visitorid"]
            if order not in self._visitors and len(self._visitors) >= _LOOKED_AT:
                continue
            self._lines[order] += row["count_all"]
            if self._visitors.setdefault(order, visitor) != visitor:
                self._shared.setdefault(order)
            if row["price_min"] is not None:
                self._add_span(order, row["itemid_min"], row["itemid_max"], row["price_min"], row["price_max"])
            other = self._folded.setdefault(order.casefold(), order)
            if other != order and self._in_other_case is None:
                self._in_other_case = other, order

    def _add_span(self, order: str, *span: Any) -> None:
        known = self._spans.get(order, span)
        first, last, low, high = (
            choice(pair) for choice, pair in zip(_ENDS, zip(known, span, strict=True), strict=True)
        )
        self._spans[order] = first, last, low, high

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
        wide = {order: span for order, span in self._spans.items() if span[0] != span[1]}
        prices = {low for _, _, low, _ in wide.values()}
        if len(wide) >= _FEWEST_ORDERS and len(prices) > 1 and all(low == high for _, _, low, high in wide.values()):
            found.append(
                f"all lines of an order have one price, in each of {len(wide):,} orders of several items, such as "
                f"{next(iter(wide))}: is it that of the whole order? It counts once a line"
            )
        if self._in_other_case:
            found.append(f"orders {' and '.join(self._in_other_case)} differ in case alone: they are two orders")
        return found
