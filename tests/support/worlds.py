"""Small shops full of what goes wrong: ties, duplicates, session edges, awkward ids, prices that are none."""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import strategies as st

from compiled import World
from ingest.synth.files import synthesise
from reference import Category, Event, Property

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
MIDNIGHT_MS = 1_433_116_800_000  # 2015-06-01 00:00:00 UTC, a Monday

# Ids that a case-folding, padding, trimming, normalising or splitting engine would take for one another.
VISITORS = ["A1", "a1", "a1 ", " a1", "a-1", "a", "a-1-1", "1", "01", "🛒 12", "é", "e\u0301", "o'brien", "50%_"]
ITEMS = ["10", "9", "I-1", "i-1", "i-1 ", "🧦", "x y", "10-9"]
# A root that is no row of the tree, roots that are, one that the tree knows only as a parent, one outside it.
CATEGORIES = [
    Category("root", None),
    Category("mid", "root"),
    Category("leaf", "mid"),
    Category("Leaf", "Root"),
    Category("Root", None),
    Category("lone", "unlisted"),
]
CATEGORY_VALUES = ["root", "mid", "leaf", "Leaf", "lone", "unlisted", "nowhere"]
PRICE_TEXTS = [
    *("n12.000", "n9.500", "n100.000", "n0.000", "7", "n12.34567", "n0.1", "n0.2", "n0.3", "n19999.990"),
    *("n", "", "abc", "n-5.000", "nn5.000", "n12,5", "n99999999999999999999", "nan", "5n"),
    *("n1_000", "n1e3", "n+5", "n 12 "),
]
OTHER_VALUES: dict[str, list[str | None]] = {
    "available": ["0", "1", "2", "", "true", None],
    "790": [*PRICE_TEXTS, None],
    "categoryid": [*CATEGORY_VALUES, None],
}
OWN_PRICES = [Decimal("0.0000"), Decimal("0.1000"), Decimal("12.3400"), Decimal("99999.9999")]
ORDERS = [None, "o1", "o2", "O1"]

# Milliseconds since the visitor's previous event. Sessions end after strictly more than 1,800,000.
GAPS_MS = [
    *(0, 0, 1, 999, 1_000, 20_000, 75_000, 300_000),
    *(1_799_000, 1_799_999, 1_800_000, 1_800_001, 1_801_000),
    *(2 * HOUR_MS, 12 * HOUR_MS, DAY_MS - 1, DAY_MS, DAY_MS + 1, 3 * DAY_MS, 7 * DAY_MS, 8 * DAY_MS),
    *(28 * DAY_MS, 29 * DAY_MS),
]
STARTS_MS = [0, 1, DAY_MS - 1, DAY_MS - 1_000, DAY_MS - 1_800_000, 9 * HOUR_MS, 5 * DAY_MS, 6 * DAY_MS - 1]


def random_order(random: Random) -> str | None:
    """Often an order of its own, as most are; else none, or one that comes again in other sessions."""
    return f"o{random.randrange(10**9)}" if random.random() < 0.6 else random.choice(ORDERS)


def random_event(random: Random, ms: int, visitor: str, steps: Sequence[str], items: Sequence[str]) -> Event:
    weights = [6, *([2] * (len(steps) - 2)), 1]
    step = random.choices(steps, weights)[0]
    return Event(
        timestamp=ms,
        visitorid=visitor,
        event=step,
        itemid=random.choice(items),
        transactionid=random_order(random) if step == steps[-1] else None,
        price=random.choice(OWN_PRICES) if random.random() < 0.15 else None,
        categoryid=random.choice(CATEGORY_VALUES) if random.random() < 0.1 else None,
    )


def removed_or_counted(random: Random, event: Event) -> Event:
    """Often a view is a removal instead, and an event about the cart says how many."""
    if event.event == "view" and random.random() < 0.7:
        event = event._replace(event=random.choice(["addtocart", "removefromcart"]))
    if event.event != "view" and random.random() < 0.5:
        event = event._replace(quantity=Decimal(random.choice(["1.0000", "2.0000", "3.0000", "0.5000"])))
    return event


def with_more_lines(random: Random, events: Sequence[Event]) -> Iterable[Event]:
    """Purchases, half of them under ids of their own; some have a second line: at once, sent again, or at a price."""
    ids = count(1)
    for event in events:
        if event.event != "transaction":
            yield event
            continue
        is_named = random.random() < 0.5
        yield event._replace(event_id=f"line {next(ids)}" if is_named else None)
        while random.random() < 0.4:
            change: dict[str, Any] = random.choice(
                [{}, {"price": random.choice(OWN_PRICES)}, {"quantity": Decimal("2.0000")}, {"categoryid": "root"}]
            )
            at = event.timestamp + random.choice([0, 0, 0, 1, -1, DAY_MS])
            named = f"line {next(ids)}" if is_named and random.random() < 0.9 else None
            yield event._replace(timestamp=at, event_id=named, **change)


def random_refunds(random: Random, events: Sequence[Event]) -> Iterable[Event]:
    """Purchases that are taken back, whole or in part, once or more, soon or late; some by a wrong name."""
    for event in [event for event in events if event.event == "transaction"]:
        for _ in range(random.choice([0, 1, 1, 2])):
            back = event._replace(
                timestamp=event.timestamp + random.choice([*GAPS_MS, -1]),
                event=random.choice(["refund", "refund", "transaction"]),
                event_id=None,
                price=random.choice([None, None, Decimal("1.5000"), Decimal("99999.9999")]),
                quantity=random.choice([None, None, Decimal("1.0000"), Decimal("2.0000")]),
            )
            names: list[dict[str, str | None]] = [{}, {}, {"transactionid": None}, {"transactionid": "lost"}]
            if event.transactionid:
                names += [{"itemid": ""}, {"visitorid": ""}, {"visitorid": "desk"}, {"itemid": "other"}]
            back = back._replace(**random.choice(names))
            if back.event == "transaction":
                below = random.choice(["price", "quantity"])
                back = back._replace(**{below: -(getattr(back, below) or Decimal(1))})
            yield back


def random_property(random: Random, ms: int, items: Sequence[str]) -> Property:
    name = random.choice(["790", "790", "categoryid", "categoryid", "available", "888"])
    value = random.choice(OTHER_VALUES.get(name, ["n5.000 888", "word"]))
    return Property(ms, random.choice(items), name, value)


def random_world(
    seed: int,
    visitors: int = 8,
    events_each: int = 12,
    steps: Sequence[str] = ("view", "addtocart", "transaction"),
    with_second_thoughts: bool = False,
) -> World:
    """A nasty world of about `visitors * events_each` events, the same for the same seed.

    With second thoughts people empty their carts and give back what they bought.
    """
    random = Random(seed)
    names = random.sample(VISITORS, min(visitors, len(VISITORS)))
    names += [f"v{number}" for number in range(visitors - len(names))]
    events: list[Event] = []
    for visitor in names:
        ms = MIDNIGHT_MS + random.choice(STARTS_MS) + DAY_MS * random.randrange(0, 20)
        favourites = random.sample(ITEMS, 3)
        for _ in range(random.randint(1, 2 * events_each)):
            events.append(random_event(random, ms, visitor, steps, favourites))
            # Long gaps are rarer than pauses within a session.
            ms += random.choice(GAPS_MS[:8] if random.random() < 0.6 else GAPS_MS)
    properties: list[Property] = []
    for item in ITEMS:
        for name in ("790", "categoryid", "available"):
            if random.random() < 0.7:
                values = OTHER_VALUES[name][: 10 if name == "790" else None]
                properties.append(Property(MIDNIGHT_MS - DAY_MS, item, name, random.choice(values)))
    for event in random.choices(events, k=len(events) // 2):
        near = event.timestamp + random.choice([-1, 0, 0, 1, -DAY_MS, HOUR_MS])
        properties.append(random_property(random, near, [event.itemid]))
        if random.random() < 0.4:
            name = properties[-1].property
            properties.append(properties[-1]._replace(value=random.choice(OTHER_VALUES.get(name, ["word"]))))
    events += random.choices(events, k=len(events) // 10)
    properties += random.choices(properties, k=len(properties) // 10)
    categories = [*CATEGORIES, CATEGORIES[1]]
    if with_second_thoughts:
        events = [removed_or_counted(random, event) for event in events]
        events = list(with_more_lines(random, events))
        events += random_refunds(random, events)
    for rows in (events, properties, categories):
        random.shuffle(rows)
    return World(events, properties, categories)


@st.composite
def worlds(draw: st.DrawFn, max_events: int = 40) -> World:
    """Small nasty worlds that shrink: fewer events, earlier, plainer."""
    visitors, items = VISITORS[:4], ITEMS[:3]
    last: dict[str, int] = {}
    events: list[Event] = []
    for visitor, gap, step, item, order, price, category in draw(
        st.lists(
            st.tuples(
                st.sampled_from(visitors),
                st.sampled_from(GAPS_MS),
                st.sampled_from(["view", "view", "view", "addtocart", "transaction"]),
                st.sampled_from(items),
                st.sampled_from(ORDERS),
                st.sampled_from([None, None, None, *OWN_PRICES]),
                st.sampled_from([None, None, None, *CATEGORY_VALUES]),
            ),
            min_size=1,
            max_size=max_events,
        )
    ):
        last[visitor] = last.get(visitor, MIDNIGHT_MS) + gap
        events.append(
            Event(last[visitor], visitor, step, item, order if step == "transaction" else None, price, category)
        )
    moments = sorted({event.timestamp for event in events} | {MIDNIGHT_MS - DAY_MS})
    properties = draw(
        st.lists(
            st.sampled_from(["790", "categoryid", "available"]).flatmap(
                lambda name: st.builds(
                    Property,
                    st.sampled_from(moments),
                    st.sampled_from(items),
                    st.just(name),
                    st.sampled_from(OTHER_VALUES[name]),
                )
            ),
            max_size=12,
        )
    )
    return World(events, properties, list(CATEGORIES))


def read_retailrocket(folder: Path, properties: str = "item_properties*.csv") -> World:
    """The RetailRocket files as they come, read without the project's own loader."""

    def rows(pattern: str) -> Iterable[list[str | None]]:
        for path in sorted(folder.glob(pattern)):
            with path.open(newline="") as lines:
                yield from ([cell or None for cell in line] for line in list(csv.reader(lines))[1:])

    return World(
        [Event(int(cells[0] or 0), *cells[1:]) for cells in rows("events.csv")],  # type: ignore[arg-type]
        [Property(int(cells[0] or 0), *cells[1:]) for cells in rows(properties)],  # type: ignore[arg-type]
        [Category(*cells) for cells in rows("category_tree.csv")],  # type: ignore[arg-type]
    )


@cache
def synthetic_world(visitors: int, seed: int = 11) -> World:
    """What the project's own generator makes of this many visitors."""
    with TemporaryDirectory() as folder:
        synthesise(Path(folder), visitors, seed, show_progress=False)
        return read_retailrocket(Path(folder))


def shop_events(random: Random, visitors: int = 700, days: int = 60) -> list[Event]:
    """Enough sessions and buyers for a training, and few enough for many builds; in the order of time."""
    events = []
    for visitor in range(visitors):
        day = random.randrange(days)
        while day < days:
            ms = MIDNIGHT_MS + day * DAY_MS + random.randrange(DAY_MS)
            items = random.sample("abcdefgh", random.randint(1, 3))
            steps = ["view"] * random.randint(1, 3) + ["addtocart"] * (random.random() < 0.4)
            steps += ["transaction"] * (
                random.random() < 0.1 + 0.2 * (steps[-1] == "addtocart") + 0.1 * (items[0] < "d")
            )
            for step in steps:
                order = f"o{random.randrange(2000)}" if step == "transaction" else None
                events.append(Event(ms, f"v{visitor}", step, random.choice(items), order))
                ms += random.randrange(5 * MINUTE_MS)
            day += random.randint(1, 40)
    return sorted(events)
