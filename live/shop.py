"""The shop in memory: what every visitor did, from the warehouse and since, and the features that follow."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from live.chain import ATTRIBUTES, CATEGORIES, DEMAND, ITEMS, OF_DAYS, PRICES, RAW_EVENTS, SHOWN, Chain, Rows
from live.facts import Facts, visitor_hashes
from live.quick import QuickChain
from live.slices import tuples

if TYPE_CHECKING:
    import pyarrow as pa

DAY_MS = 86_400_000
# Demand and usual prices look back over 28 closed days of the shop; a day of its time zone may begin a day off.
LOOK_BACK_MS = 30 * DAY_MS
# A decision is of the session that runs: of what a visitor did longer ago only the history counts.
RECENT_MS = 2 * DAY_MS
MOST_CACHED, MOST_REMEMBERED = 500_000, 100_000
RAW_COLUMNS = ("timestamp", "visitorid", "event", "itemid", "transactionid", "price", "categoryid", "quantity",
               "event_id", "line_number", "load_number")  # fmt: skip
KEY = ("session_id", "decision_point")

Row = tuple[Any, ...]


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
    price: Decimal | float | None
    event_ms: int
    day_number: int


class Shop:
    """Visitors' events and what is known of items, with the chain that turns them into features.

    Parameters
    ----------
    facts : Facts
        What the warehouse knows.
    chain : Chain or QuickChain
        The models.
    """

    def __init__(self, facts: Facts, chain: Chain | QuickChain) -> None:
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
        self._demand: dict[int, dict[int, Row]] = {}
        self._prices: dict[str, dict[int, Row]] = {}
        self._categories: dict[str, Row] = {}
        # Columns of these three, as the models name them.
        self._columns: dict[str, tuple[str, ...]] = {}
        # Of visitors at hand: their rows in the history, and the keys that they have there; of items: their facts.
        self._past: dict[str, tuple[list[Row], set[int]]] = {}
        self._facts_of: dict[int, list[Row]] = {}
        self._know_categories((), facts.tree)

    def knows_item(self, item: str) -> bool:
        """Whether the warehouse knows an item."""
        return item in self.facts.items

    def is_over(self, visitor: str, ms: int) -> bool:
        """Whether a visitor has since sent events of another session than the one that ran at a moment."""
        ends = ms + 1000 * int(self.facts.plan.settings.get("session_timeout_seconds", 1800))
        past, _ = self._past_of(visitor)
        return any(row[0] > ends for row in past) or any(event[0] > ends for event in self._events.get(visitor, ()))

    def held(self, events: Sequence[RawEvent]) -> frozenset[int]:
        """Tell which events the warehouse has already.

        Parameters
        ----------
        events : sequence of RawEvent
            Events of the log.

        Returns
        -------
        frozenset of int
            The places of those that stand in the history: with their id, or else with all their values.
        """
        by_visitor: dict[str, list[RawEvent]] = {}
        for event in events:
            by_visitor.setdefault(event.visitorid, []).append(event)
        found = set[int]()
        for visitor, own in by_visitor.items():
            past, _ = self._past_of(visitor)
            known = {_identity(row) for row in past}
            found |= {event.place for event in own if _identity(event) in known}
        return frozenset(found)

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
        given, renewed = self._given(set(visitors))
        return self._chain.run(given, lambda rows: self._of_days(rows, renewed, since_ms))

    def settle_engine(self, most: int = 50) -> bool:
        """Compare both engines on some visitors of the history, and go on with DuckDB alone where they differ.

        Parameters
        ----------
        most : int
            Of how many visitors.

        Returns
        -------
        bool
            Whether SQLite is used.
        """
        chain = self._chain
        if not isinstance(chain, QuickChain):
            return False
        given, renewed = self._given(self.facts.some_visitors(most))
        found = []
        for each in (chain.exact, chain):
            self._chain = each
            self._demand.clear()
            self._prices.clear()
            rows = each.run(given, lambda rows: self._of_days(rows, renewed, 0))
            found.append(rows.sort_by([(name, "ascending") for name in KEY]))
        if not found[0].equals(found[1]):
            self._chain = chain.exact
            self._demand.clear()
            self._prices.clear()
        return self._chain is chain

    def _given(self, visitors: set[str]) -> tuple[dict[str, Rows], set[int]]:
        """What the models start from; and the keys of the visitors whom the history knows."""
        raw, renewed = self._raw_rows(visitors)
        items = [(self._items[item], item) for item in {row[RAW_COLUMNS.index("itemid")] for row in raw}]
        facts = [row for key, _ in items for row in self._facts_of_item(key)]
        return {
            RAW_EVENTS: Rows(RAW_COLUMNS, raw),
            ITEMS: Rows(("item_key", "item_id"), items),
            ATTRIBUTES: Rows(self.facts.attributes.columns, facts),
        }, renewed

    def _facts_of_item(self, key: int) -> list[Row]:
        found = self._facts_of.get(key)
        if found is None:
            if len(self._facts_of) > MOST_REMEMBERED:
                self._facts_of.clear()
            found = self._facts_of[key] = self.facts.attributes.rows(key)
        return found

    def _raw_rows(self, visitors: set[str]) -> tuple[list[Row], set[int]]:
        """Events of the visitors, and of all with whom they share an order; and their keys in the history."""
        raw, renewed = list[Row](), set[int]()
        waiting, seen, order = visitors, set[str](), RAW_COLUMNS.index("transactionid")
        while waiting:
            seen |= waiting
            self._recall([visitor for visitor in waiting if visitor not in self._past])
            found = list[Row]()
            for visitor in waiting:
                past, keys = self._past[visitor]
                renewed |= keys
                found += past
                found += [(*event, 1) for event in self._events.get(visitor, ())]
            raw += found
            named = {row[order] for row in found if row[order] is not None}
            waiting = {visitor for name in named for visitor in self._orders.get(name, ())} - seen
        return raw, renewed

    def _past_of(self, visitor: str) -> tuple[list[Row], set[int]]:
        self._recall([visitor] if visitor not in self._past else [])
        return self._past[visitor]

    def _recall(self, visitors: list[str]) -> None:
        """Get the visitors' rows of the history."""
        import pyarrow as pa

        if len(self._past) > MOST_REMEMBERED:
            self._past = {visitor: self._past[visitor] for visitor in list(self._past)[MOST_REMEMBERED // 2 :]}
        if visitors:
            hashes = visitor_hashes(pa.array(visitors, pa.string()))
            for visitor, number in zip(visitors, hashes, strict=True):
                rows = self.facts.history.rows(number)
                # The last column is the visitor's key.
                self._past[visitor] = [row[:-1] for row in rows], {row[-1] for row in rows}

    def _of_days(self, rows: Sequence[Row], renewed: set[int], since_ms: int) -> dict[str, Rows]:
        """Take in what the models say of the visitors' events, and look up what they need of the shop."""
        recent = since_ms - RECENT_MS
        self._renew(rows, renewed, since_ms)
        item, category, day, ms = (
            OF_DAYS.index(name) for name in ("item_key", "category_id", "day_number", "event_ms")
        )
        wanted = [(row[item], row[category], row[day]) for row in rows if row[ms] >= recent]
        items = {(item, day) for item, _, day in wanted}
        categories = {(category, day) for _, category, day in wanted if category is not None}
        self._fill_in(items, categories, rows)
        # The previous session's last category may be of any time.
        named = {row[category] for row in rows if row[category] is not None}
        self._know_categories(named - self._categories.keys())
        return {
            DEMAND: self._rows(DEMAND, [self._demand[item][day] for item, day in items]),
            PRICES: self._rows(PRICES, [self._prices[category][day] for category, day in categories]),
            CATEGORIES: self._rows(CATEGORIES, [self._categories[name] for name in named]),
        }

    def _rows(self, name: str, values: list[Row]) -> Rows:
        return Rows(self._columns.get(name, ()), values)

    def _renew(self, rows: Sequence[Row], renewed: set[int], since_ms: int) -> None:
        """Replace the visitors' rows among the shop's, and forget what a late event makes out of date."""
        self._renewed.update(renewed)
        new: dict[str, list[_Shown]] = {}
        for visitor, *values in rows:
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

    def _fill_in(self, items: set[tuple[int, int]], categories: set[tuple[str, int]], rows: Sequence[Row]) -> None:
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
        day, ms = OF_DAYS.index("day_number"), OF_DAYS.index("event_ms")
        times = [row[ms] for row in rows if row[day] in days]
        low, high = min(times) - LOOK_BACK_MS, max(times) + 1
        if missing_items:
            self._fill_demand(missing_items, low, high)
        if missing_categories:
            self._fill_prices(missing_categories, low, high)

    def _fill_demand(self, missing: set[tuple[int, int]], low: int, high: int) -> None:
        keys = {item for item, _ in missing}
        parts = [self.facts.event_items.of(item, low, high) for item in keys]
        visitors = {visitor for item in keys for visitor in self._of_item.get(item, ())}
        for item, day, row in self._worked_out(DEMAND, parts, self._since(visitors, "item_key", keys, low)):
            if (item, day) in missing:
                self._demand.setdefault(item, {})[day] = row

    def _fill_prices(self, missing: set[tuple[str, int]], low: int, high: int) -> None:
        keys = {category for category, _ in missing}
        codes = [self.facts.categories[category] for category in keys if category in self.facts.categories]
        parts = [self.facts.event_categories.of(code, low, high) for code in codes]
        visitors = {visitor for category in keys for visitor in self._of_category.get(category, ())}
        for category, day, row in self._worked_out(PRICES, parts, self._since(visitors, "category_id", keys, low)):
            if (category, day) in missing:
                self._prices.setdefault(category, {})[day] = row

    def _since(self, visitors: Iterable[str], name: str, keys: Collection[object], low: int) -> list[_Shown]:
        """What stands in _shown of some items or categories, from a moment on."""
        place = _Shown._fields.index(name)
        return [
            row for visitor in visitors for row in self._shown[visitor] if row.event_ms >= low and row[place] in keys
        ]

    def _worked_out(self, model: str, parts: "list[pa.Table]", shown: list[_Shown]) -> Iterator[tuple[Any, int, Row]]:
        """Run a model of the shop on slices of the history, without visitors who stand in `shown`, and on `shown`.

        Yields the key, the day and the whole of each row.
        """
        slices = [self._without_renewed(part) for part in parts if len(part)]
        columns, rows = self._chain.of_shop(model, slices, [row[: len(SHOWN)] for row in shown])
        self._columns[model] = columns
        key = columns.index("item_key" if model == DEMAND else "category_id")
        day = columns.index("day_number")
        return ((row[key], row[day], row) for row in rows)

    def _without_renewed(self, rows: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        if not self._renewed:
            return rows
        keys = rows["visitor_key"].to_pylist()
        keep = np.array([key not in self._renewed for key in keys], dtype=bool)
        return rows if keep.all() else rows.filter(pa.array(keep))

    def _know_categories(self, named: Iterable[str], tree: "pa.Table | None" = None) -> None:
        """Place categories in the tree; what stands in none of its rows is a root of its own."""
        import pyarrow as pa

        names = sorted(named)
        if names or tree is not None:
            tree = self.facts.tree.slice(0, 0) if tree is None else tree
            found = self._chain.categories(tree, pa.table({"category_id": pa.array(names, pa.string())}))
            self._columns[CATEGORIES] = tuple(found.column_names)
            place = found.column_names.index("category_id")
            self._categories |= {row[place]: row for row in tuples(found)}


def _identity(row: Sequence[Any]) -> Row:
    """What tells a row of raw_events from every other: its event id, else all that the event says."""
    event_id = row[RAW_COLUMNS.index("event_id")]
    return tuple(row[: RAW_COLUMNS.index("event_id")]) if event_id is None else (event_id,)


def _forget_after(days: "dict[int, Any] | None", day: int) -> None:
    for known in [known for known in days or () if known > day]:
        del (days or {})[known]
