"""What loaded events would look like: counts, and what about them looks wrong."""

import datetime as dt
from collections import Counter
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingest.guess.words import NULL_WORDS, step_of
from ingest.mapping import CANONICAL_EVENTS
from ingest.orders import Orders

IDS = {"visitorid": "visitors", "itemid": "items", "transactionid": "orders", "categoryid": "categories"}
# One visitor with more than this share of many events is a crowd under one name.
GIANT_SHARE = 0.1
_FEWEST_EVENTS = 200
# So many visitors are counted at once; a count can then be too low by a share of 1 / _COUNTED of all events.
_COUNTED = 2000
_FEWEST_PRICES = 20
_CENTS_FROM = 500
# How prices end that were made to look small.
_ENDINGS = (99, 95, 90, 50, 49)
# What a spreadsheet makes of a long number.
_ROUNDED = r"^\d(\.\d+)?[eE]\+\d+$"
_SHOWN = 10
_DAY_MS = 86_400_000
_LONGEST_GAP_DAYS = 366


class Survey:
    """Counts over checked blocks, in memory that the number of rows does not matter to."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self._days: Counter[int] = Counter()
        self._visitors: Counter[str] = Counter()
        self._nulls: Counter[tuple[str, str]] = Counter()
        self._floats: dict[str, str] = {}
        self._rounded: dict[str, str] = {}
        self._orders = Orders()
        self._prices: Counter[str] = Counter()
        self._currencies: Counter[str] = Counter()
        self.unmapped_currencies: set[str] = set()
        self._left_out: Counter[str] = Counter()
        self._categories: set[str] = set()
        self._parents: set[str] = set()

    def add_events(self, accepted: pa.Table, details: pa.Table | None, is_named: set[str]) -> None:
        """Count a block of events.

        Parameters
        ----------
        accepted : pyarrow.Table
            Rows of raw_events.
        details : pyarrow.Table or None
            Of each record what it is, what its source calls it, its currency, and why it was left out.
        is_named : set of str
            Names of events that the mapping says to leave out.
        """
        self.events.update(_counted(accepted["event"]))
        if accepted.num_rows:
            low, high = pc.min_max(accepted["timestamp"]).as_py().values()
            self.first_ms = low if self.first_ms is None else min(self.first_ms, low)
            self.last_ms = high if self.last_ms is None else max(self.last_ms, high)
        self._days.update(_counted(pc.divide(accepted["timestamp"], _DAY_MS)))
        self._add_visitors(accepted["visitorid"])
        for name in IDS:
            column = accepted[name]
            words = column.filter(pc.is_in(column, value_set=pa.array(NULL_WORDS)))
            self._nulls.update({(name, word): count for word, count in _counted(words).items()})
            if name not in self._floats and pc.any(is_float := pc.ends_with(column, ".0")).as_py():
                self._floats[name] = column.filter(is_float)[0].as_py()
            if name not in self._rounded and pc.any(is_rounded := pc.match_substring_regex(column, _ROUNDED)).as_py():
                self._rounded[name] = column.filter(is_rounded)[0].as_py()
        self._orders.add(accepted)
        self._add_prices(accepted["price"])
        if details is not None:
            self._add_details(details, is_named)

    def add_categories(self, accepted: pa.Table) -> None:
        """Count a block of the category tree."""
        self._categories.update(accepted["categoryid"].to_pylist())
        self._parents.update(pc.drop_null(accepted["parentid"]).to_pylist())

    def warnings(self) -> list[str]:
        """Say what looks wrong.

        Returns
        -------
        list of str
            A sentence each.
        """
        found = [*self._steps(), *self._texts(), *self._giants(), *self._money()]
        if lost := sorted(self._parents - self._categories):
            found.append(f"{len(lost):,} parents in the category tree are no category of it, such as {lost[0]}")
        if gaps := self._gaps():
            shown = ", ".join(gaps[:_SHOWN])
            found.append(f"no event on {len(gaps):,} days between the first and the last: {shown}")
        return found

    def _add_visitors(self, column: pa.ChunkedArray) -> None:
        """Counts of visitors; when there are too many, all lose what the smallest have (Misra and Gries)."""
        # A refund may name its order alone.
        self._visitors.update({name: count for name, count in _counted(column).items() if name})
        if len(self._visitors) > _COUNTED:
            kept = self._visitors.most_common(_COUNTED + 1)
            floor = kept.pop()[1]
            self._visitors = Counter({name: count - floor for name, count in kept if count > floor})

    def _add_prices(self, column: pa.ChunkedArray) -> None:
        prices = pc.drop_null(column)
        whole = prices.filter(pc.equal(prices, pc.floor(prices)))
        self._prices["all"] += len(prices)
        self._prices["whole"] += len(whole)
        units = pc.cast(whole, pa.int64(), safe=False)
        cents = pc.subtract(units, pc.multiply(pc.divide(units, 100), 100))
        self._prices["large"] += pc.sum(pc.greater_equal(units, _CENTS_FROM)).as_py() or 0
        self._prices["ends"] += pc.sum(pc.is_in(cents, value_set=pa.array(_ENDINGS, pa.int64()))).as_py() or 0

    def _add_details(self, details: pa.Table, is_named: set[str]) -> None:
        reason = details["reason"]
        priced = details["currency"].filter(pc.or_kleene(pc.is_null(reason), pc.equal(reason, "other_currency")))
        named = {name.upper(): count for name, count in _counted(priced).items() if name and name not in NULL_WORDS}
        self._currencies.update(named)
        out = pc.fill_null(pc.is_in(reason, value_set=pa.array(["ignored", "unknown_event"])), False)
        for name, count in _counted(details["source_event"].filter(out)).items():
            if name and (name not in is_named or step_of(name)):
                self._left_out[name] += count
        if len(self._left_out) > _COUNTED:
            self._left_out = Counter(dict(self._left_out.most_common(_COUNTED // 2)))

    def _steps(self) -> list[str]:
        found = []
        missing = [step for step in CANONICAL_EVENTS if not self.events[step]]
        if missing and self.events:
            found.append(f"no event is {' or '.join(missing)}")
        steps = [name for name in self._left_out if step_of(name)]
        for names, what in ((steps, "read like steps and are"), (set(self._left_out) - set(steps), "are")):
            counts = [(name, count) for name, count in self._left_out.most_common() if name in names]
            if counts:
                shown = ", ".join(f"{name} ({count:,})" for name, count in counts[:_SHOWN])
                found.append(f"{len(counts):,} names of events {what} left out: {shown}")
        return found

    def _texts(self) -> list[str]:
        found = [
            f"{count:,} events have the text {word} for {IDS[name]}; say null_values in the mapping if it means nothing"
            for (name, word), count in self._nulls.most_common()
        ]
        found += [
            f"ids of {IDS[name]} end in .0, such as {example}: written as floats, 4000.0 and 4000 are two ids"
            for name, example in self._floats.items()
        ]
        found += [
            f"ids of {IDS[name]} look like {example}: a spreadsheet has rounded them, and different ones may be one now"
            for name, example in self._rounded.items()
        ]
        return found + self._orders.warnings()

    def _giants(self) -> list[str]:
        total = sum(self.events.values())
        return [
            f"visitor {name} has {count / total:.0%} of all events; a placeholder?"
            for name, count in self._visitors.most_common(_SHOWN)
            if count > GIANT_SHARE * total and total >= _FEWEST_EVENTS
        ]

    def _money(self) -> list[str]:
        found = []
        prices = self._prices
        if (
            prices["all"] >= _FEWEST_PRICES
            and prices["all"] == prices["whole"]
            and min(prices["large"], 2 * prices["ends"]) > prices["all"] / 2
        ):
            found.append(f"all {prices['all']:,} prices are whole numbers and most end as cents do; are they cents?")
        if len(self._currencies) > 1:
            shown = ", ".join(f"{name} ({count:,})" for name, count in self._currencies.most_common(_SHOWN))
            told = ", ".join(sorted(self.unmapped_currencies))
            cure = f"; map them (columns.currency), by the column {told}" if told else ""
            found.append(f"prices of {len(self._currencies):,} currencies: {shown}{cure}")
        return found

    def _gaps(self) -> list[str]:
        """Days without events; not those of wrong clocks, which are days apart from all others."""
        total, days = sum(self._days.values()), sorted(self._days)
        usual = [day for day in days if self._days[day] * 1000 * len(days) > total]
        missing: list[int] = []
        for before, after in pairwise(usual):
            if after - before <= _LONGEST_GAP_DAYS:
                missing += (day for day in range(before + 1, after) if day not in self._days)
        return [f"{dt.date(1970, 1, 1) + dt.timedelta(days=day):%Y-%m-%d}" for day in missing]


def _counted(column: Any) -> dict[Any, int]:
    counts = pc.value_counts(pc.drop_null(column)).to_pylist()
    return {each["values"]: each["counts"] for each in counts}
