"""The shop in memory: what every visitor did, from the warehouse and since, and the features that follow."""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from live.chain import ATTRIBUTES, CATEGORIES, DEMAND, ITEMS, PRICES, RAW_EVENTS, Chain
from live.facts import Facts, visitor_hashes

if TYPE_CHECKING:
    import pyarrow as pa

DAY_MS = 86_400_000
# Demand and usual prices look back over 28 closed days of the shop; a day of its time zone may begin a day off.
LOOK_BACK_MS = 30 * DAY_MS
# A decision is of the session that runs: of what a visitor did longer ago only the history counts.
RECENT_MS = 2 * DAY_MS
MOST_CACHED = 500_000
SHOWN = ("item_key", "event_rank", "is_repeated_order", "category_id", "price", "event_ms")


class RawEvent(NamedTuple):
    """One event as raw_events holds it, and its place among all that came."""

    timestamp: int
    visitorid: str
    event: str
    itemid: str
    transactionid: str | None
    price: Decimal | None
    categoryid: str | None
    quantity: Decimal | None
    event_id: str | None
    place: int


class _Shown(NamedTuple):
    """One row of int_event_items, of an event that came since the warehouse was read, or of its visitor."""

    item_key: int
    event_rank: int
    is_repeated_order: int
    category_id: str | None
    price: Decimal | None
    event_ms: int
    day_number: int


class Shop:
    """Visitors' events and what is known of items, with the chain that turns them into features.

    Parameters
    ----------
    facts : Facts
        What the warehouse knows.
    chain : Chain
        The models.
    """

    def __init__(self, facts: Facts, chain: Chain) -> None:
        self.facts = facts
        self._chain = chain
        self._items = dict(facts.items)
        self._events: dict[str, list[RawEvent]] = {}
        self._orders = {order: set(visitors) for order, visitors in facts.orders.items()}
        self._shown: dict[str, list[_Shown]] = {}
        self._of_item: dict[int, set[str]] = {}
        self._of_category: dict[str, set[str]] = {}
        # Visitors whose rows in the history are out of date: their new ones stand in _shown.
        self._renewed = set[int]()
        self._demand: dict[int, dict[int, dict[str, Any]]] = {}
        self._prices: dict[str, dict[int, dict[str, Any]]] = {}
        self._categories: dict[str, dict[str, Any]] = {}
        self._schemas: dict[str, pa.Schema] = {}
        self._know_categories(())

    def knows_item(self, item: str) -> bool:
        """Whether the warehouse knows an item."""
        return item in self.facts.items

    def is_over(self, visitor: str, ms: int) -> bool:
        """Whether a visitor has since sent events of another session than the one that ran at a moment."""
        timeout = 1000 * int(self.facts.plan.settings.get("session_timeout_seconds", 1800))
        return any(event.timestamp > ms + timeout for event in self._events.get(visitor, ()))

    def add(self, events: Iterable[RawEvent]) -> None:
        """Take in events; features are worked out when they are asked for."""
        last = self.facts.kinds.index("transaction") + 1 if "transaction" in self.facts.kinds else 0
        for event in events:
            self._events.setdefault(event.visitorid, []).append(event)
            if event.itemid not in self._items:
                self._items[event.itemid] = len(self._items) + 1_000_000_000
            if event.transactionid and event.event == self.facts.kinds[last - 1]:
                self._orders.setdefault(event.transactionid, set()).add(event.visitorid)

    def features(self, visitors: Iterable[str], since_ms: int) -> "pa.Table":
        """Work out the rows of session_features of some visitors.

        Parameters
        ----------
        visitors : iterable of str
            The visitors at hand.
        since_ms : int
            Rows that were decided earlier than two days before this moment may be left out.

        Returns
        -------
        pyarrow.Table
            Their rows, and those of visitors with whom they share an order.
        """
        raw = self._raw_rows(set(visitors))
        ids = raw["itemid"].unique().to_pylist()
        keys = [self._items[item] for item in ids]
        import pyarrow as pa

        given = {
            RAW_EVENTS: raw.drop_columns(["visitor_key"]),
            ITEMS: pa.table({"item_key": pa.array(keys, pa.int64()), "item_id": pa.array(ids, pa.string())}),
            ATTRIBUTES: self.facts.attributes.of_all(keys),
        }
        renewed = raw["visitor_key"].drop_null().unique().to_pylist()
        return self._chain.run(given, lambda rows: self._of_days(rows, renewed, since_ms))

    def _raw_rows(self, visitors: set[str]) -> "pa.Table":
        """Events of the visitors, and of all with whom they share an order."""
        import pyarrow as pa

        parts: list[pa.Table] = []
        waiting, seen = set(visitors), set[str]()
        while waiting:
            seen |= waiting
            found = self._history(waiting)
            parts += [found, _raw_table([event for name in waiting for event in self._events.get(name, ())])]
            named = {order for part in parts[-2:] for order in part["transactionid"].drop_null().unique().to_pylist()}
            waiting = {visitor for order in named for visitor in self._orders.get(order, ())} - seen
        return pa.concat_tables(parts, promote_options="permissive")

    def _history(self, visitors: Iterable[str]) -> "pa.Table":
        import pyarrow as pa

        rows = self.facts.history.of_all(visitor_hashes(pa.array(list(visitors), pa.string())))
        return rows.set_column(rows.column_names.index("event"), "event", rows["event"].cast(pa.string()))

    def _of_days(self, rows: "pa.Table", renewed: Sequence[int], since_ms: int) -> "dict[str, pa.Table]":
        """Take in what the models say of the visitors' events, and look up what they need of the shop."""
        recent = since_ms - RECENT_MS
        self._renew(rows, renewed, since_ms)
        wanted = [
            (item, category, day)
            for item, category, day, ms in zip(
                *(rows[name].to_pylist() for name in ("item_key", "category_id", "day_number", "event_ms")), strict=True
            )
            if ms >= recent
        ]
        items = {(item, day) for item, _, day in wanted}
        categories = {(category, day) for _, category, day in wanted if category is not None}
        self._fill_in(items, categories, rows)
        # The previous session's last category may be of any time.
        named = set(rows["category_id"].drop_null().unique().to_pylist())
        if not named <= self._categories.keys():
            self._know_categories(named)
        return {
            DEMAND: self._table(DEMAND, [self._demand[item][day] for item, day in items]),
            PRICES: self._table(PRICES, [self._prices[category][day] for category, day in categories]),
            CATEGORIES: self._table(CATEGORIES, [self._categories[name] for name in named]),
        }

    def _table(self, name: str, rows: list[dict[str, Any]]) -> "pa.Table":
        import pyarrow as pa

        return pa.Table.from_pylist(rows, schema=self._schemas[name]) if rows else pa.table({})

    def _renew(self, rows: "pa.Table", renewed: Sequence[int], since_ms: int) -> None:
        """Replace the visitors' rows among the shop's, and forget what a late event makes out of date."""
        self._renewed.update(renewed)
        columns = [rows[name].to_pylist() for name in ("visitor_id", *SHOWN, "day_number")]
        new: dict[str, list[_Shown]] = {}
        for visitor, *values in zip(*columns, strict=True):
            new.setdefault(visitor, []).append(_Shown(*values))
        for visitor, shown in new.items():
            self._shown[visitor] = shown
            for row in shown:
                self._of_item.setdefault(row.item_key, set()).add(visitor)
                if row.category_id is not None:
                    self._of_category.setdefault(row.category_id, set()).add(visitor)
                if row.event_ms >= since_ms:
                    _forget_after(self._demand.get(row.item_key), row.day_number)
                    _forget_after(self._prices.get(row.category_id or ""), row.day_number)

    def _fill_in(self, items: set[tuple[int, int]], categories: set[tuple[str, int]], rows: "pa.Table") -> None:
        """Work out demand and prices of the days that nobody has asked for yet."""
        missing_items = {key for key in items if key[1] not in self._demand.get(key[0], ())}
        missing_categories = {key for key in categories if key[1] not in self._prices.get(key[0], ())}
        if not missing_items and not missing_categories:
            return
        for cache in (self._demand, self._prices):
            if sum(map(len, cache.values())) > MOST_CACHED:
                cache.clear()
                missing_items, missing_categories = items, categories
        days = {day for _, day in missing_items | missing_categories}
        columns = zip(rows["day_number"].to_pylist(), rows["event_ms"].to_pylist(), strict=True)
        times = [ms for day, ms in columns if day in days]
        low, high = min(times) - LOOK_BACK_MS, max(times) + 1
        if missing_items:
            self._fill_demand(missing_items, low, high)
        if missing_categories:
            self._fill_prices(missing_categories, low, high)

    def _fill_demand(self, missing: set[tuple[int, int]], low: int, high: int) -> None:
        keys = {item for item, _ in missing}
        parts = [self.facts.event_items.of(item, low, high) for item in keys]
        visitors = {visitor for item in keys for visitor in self._of_item.get(item, ())}
        for row in self._worked_out(DEMAND, parts, self._since(visitors, "item_key", keys, low)):
            if (row["item_key"], row["day_number"]) in missing:
                self._demand.setdefault(row["item_key"], {})[row["day_number"]] = row

    def _fill_prices(self, missing: set[tuple[str, int]], low: int, high: int) -> None:
        keys = {category for category, _ in missing}
        codes = [self.facts.categories[category] for category in keys if category in self.facts.categories]
        parts = [self.facts.event_categories.of(code, low, high) for code in codes]
        visitors = {visitor for category in keys for visitor in self._of_category.get(category, ())}
        for row in self._worked_out(PRICES, parts, self._since(visitors, "category_id", keys, low)):
            if (row["category_id"], row["day_number"]) in missing:
                self._prices.setdefault(row["category_id"], {})[row["day_number"]] = row

    def _since(self, visitors: Iterable[str], name: str, keys: Collection[object], low: int) -> list[_Shown]:
        """What stands in _shown of some items or categories, from a moment on."""
        place = _Shown._fields.index(name)
        return [
            row for visitor in visitors for row in self._shown[visitor] if row.event_ms >= low and row[place] in keys
        ]

    def _worked_out(self, model: str, parts: "list[pa.Table]", shown: list[_Shown]) -> list[dict[str, Any]]:
        """Run a model of the shop on slices of the history, without visitors who stand in `shown`, and on `shown`."""
        import pyarrow as pa

        tables = [self._without_renewed(part).select(list(SHOWN)) for part in parts if len(part)]
        columns = list(zip(*shown, strict=True)) or [()] * len(_Shown._fields)
        types = (pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.decimal128(18, 4), pa.int64(), pa.int64())
        own = pa.table(
            [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)], names=list(_Shown._fields)
        )
        found = self._chain.of_shop(model, pa.concat_tables([*tables, own.select(list(SHOWN))]))
        self._schemas[model] = found.schema
        return list(found.to_pylist())

    def _without_renewed(self, rows: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        if not self._renewed:
            return rows
        keys = rows["visitor_key"].to_pylist()
        keep = np.array([key not in self._renewed for key in keys], dtype=bool)
        return rows if keep.all() else rows.filter(pa.array(keep))

    def _know_categories(self, named: Iterable[str]) -> None:
        """Place categories in the tree; one that only events name is a root of its own."""
        import pyarrow as pa

        names = sorted({*self._categories, *named})
        found = self._chain.categories(self.facts.tree, pa.table({"category_id": pa.array(names, pa.string())}))
        self._schemas[CATEGORIES] = found.schema
        self._categories = {row["category_id"]: row for row in found.to_pylist()}


def _forget_after(days: "dict[int, Any] | None", day: int) -> None:
    for known in [known for known in days or () if known > day]:
        del (days or {})[known]


def _raw_table(events: Sequence[RawEvent]) -> "pa.Table":
    import pyarrow as pa

    text, number, money = pa.string(), pa.int64(), pa.decimal128(18, 4)
    types = (number, text, text, text, text, money, text, money, text, number)
    columns = list(zip(*events, strict=True)) or [()] * len(types)
    rows = pa.table(
        [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)], names=list(RawEvent._fields)
    )
    rows = rows.rename_columns(["line_number" if name == "place" else name for name in rows.column_names])
    rows = rows.append_column("load_number", pa.array(np.ones(len(events), dtype=np.int64)))
    return rows.append_column("visitor_key", pa.nulls(len(events), number))
