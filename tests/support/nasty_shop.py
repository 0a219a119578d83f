"""A shop of raw files full of what one engine takes otherwise than another, with enough usual visitors to train on."""

import csv
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from compiled import Assignment, World
from reference import Category, Event, Property
from worlds import (
    CATEGORIES,
    CATEGORY_VALUES,
    DAY_MS,
    GAPS_MS,
    HOUR_MS,
    MIDNIGHT_MS,
    MINUTE_MS,
    OWN_PRICES,
    PRICE_TEXTS,
    STARTS_MS,
    random_event,
    random_refunds,
    removed_or_counted,
    synthetic_world,
)

# Local midnight is at 18:15 UTC: neither whole hours nor days agree with UTC's.
UTC_OFFSET_MINUTES = 345
LOCAL_MIDNIGHT_MS = MIDNIGHT_MS + DAY_MS - UTC_OFFSET_MINUTES * MINUTE_MS
ORDINARY_VISITORS = 6_000
ROBOT, ROBOT_EVENTS = "robot 🤖", 10_000
LONGEST = 128

# Ids that collations, normal forms, padding, escaping or UTF-16 would take for one another or put in another order.
IDS = [
    *("ab", "AB", "Ab", "aB", "ab\u200b", "ａｂ", "ß", "ss", "ẞ", "é", "e\u0301", "É", "i", "ı", "İ", "i\u0307"),
    *("x y", "x  y", "x\u00a0y", "x", "x\ty", "x\u200b", "\u200bx", "x\ny", "x\\ny", "\x01"),
    *("🛒", "🛒\ufe0f", "👩‍👩‍👧", "\U0001f1e9\U0001f1ea", "\U0010fffd", "\uffee", "\ufb01", "fi", "日本", "日本\u3099"),
    *("o'brien", "o''brien", 'say "so"', "back\\slash", "\\N", "\\", "50%", "50%_", "5__", "a,b", "{{ x }}", "%s", "?"),
    *("a", "a-1", "a-1-1", "1", "01", "1.0", "1e0", "+1", "NULL", "null", "'; drop table sessions; --", "--", "/*"),
    *("🧦" * LONGEST, "🧦" * (LONGEST - 1) + "z", "ab" * (LONGEST // 2), "aB" * (LONGEST // 2)),
]
ORDERS = [None, "o1", "O1", "o1\u200b", "ö1", "o\u03081", "1", "🧾", "🧾" * LONGEST]
# Whole and broken numbers, what only looks like one, and what no column of money holds.
PRICES = [
    *PRICE_TEXTS,
    *("n12.000", "007", "1e3", "12.", ".5", "-5", "-0", "-0.00001", "n-0.0", "+5", "0.00005", "0.00004999", "0.000049"),
    *("99999999999999.9999", "99999999999999.99995", "99999999999999.99994", "100000000000000", "n1.5n", "N7", "n n7"),
    *("1" * 40, "0" * 40 + "7", "0." + "3" * 100, "n" + "0" * 124 + "1.5", "n" + "0" * 125 + "1.5", "9" * 129),
    *(
        "12\n",
        "\n12",
        "12\\n",
        "1 2",
        " 12",
        "12 ",
        "１２",
        "٣",
        "12\u00a0",
        "1,5",
        "0x1F",
        "inf",
        "NaN",
        "null",
        "\\N",
    ),
    *("'", "%", "_", "n", "nn", "", "🧦", "5\x01", "00000000000000000000123456.78905", "12345678901.23455", "1..5"),
]
AVAILABILITIES = ["1", "0", "1 ", " 1", "01", "true", "2", "", "\uff11", "-0", None]
TREE = [
    *CATEGORIES,
    *(Category(f"level {level}", f"level {level - 1}") for level in range(1, 11)),
    *(Category(child, parent) for child, parent in [("é", "root"), ("e\u0301", "Root"), ("🧦", "é"), ("🧦🧦", "🧦")]),
    # A category named again keeps the greater parent, to the byte.
    *(Category("twin", parent) for parent in ["root", "Root", None, "\uffee", "\U0001f9e6", "é", "root"]),
    Category("🧺" * LONGEST, "root"),
    Category("o'b \\ 50%_", "level 3"),
]
TREE_VALUES = [
    *CATEGORY_VALUES,
    *(category.categoryid for category in TREE),
    "🧺" * (LONGEST + 1),
    "ROOT",
    "root ",
    " root",
]
# Names that are none of the three properties, though some comparison would take them for one.
STRANGE_PROPERTIES = ["CategoryId", "AVAILABLE", "790\u00a0", "0790", "availablé", "888"]
# Lines that are rejected, and why they are is the same everywhere.
BAD_LINES = [
    'never,v,view,i,,,,,\n',
    f"{MIDNIGHT_MS},{'v' * (LONGEST + 1)},view,i,,,,,\n",
    f"{MIDNIGHT_MS},v,View,i,,,,,\n",
    f"{MIDNIGHT_MS},v,view,,,,,,\n",
    f"{MIDNIGHT_MS},v,transaction,i,,,,,\n",
    f"{MIDNIGHT_MS},v,view,i,,-1,,,\n",
    "\n",
]  # fmt: skip
BAD_ASSIGNMENTS = [
    "v,never,1,,\n",
    f"{'v' * (LONGEST + 1)},{MIDNIGHT_MS},1,,\n",
    f",{MIDNIGHT_MS},0,,\n",
    f"v,{MIDNIGHT_MS},2,,\n",
    f"v,{MIDNIGHT_MS},,,\n",
    f"v,{MIDNIGHT_MS},1,,1\n",
    "\n",
]
MAPPING: dict[str, Any] = {
    "columns": {
        "timestamp": "timestamp",
        "visitor": "visitorid",
        "event": "event",
        "item": "itemid",
        "transaction": "transactionid",
        "price": "price",
        "category": "categoryid",
        "quantity": "quantity",
        "event_id": "event_id",
    },
    "events": {kind: kind for kind in ("view", "addtocart", "removefromcart", "transaction", "refund")},
    "refunds": "net",
}


def ties(random: Random) -> Iterable[Event]:
    """Events of one millisecond that differ in one thing only."""
    for second, visitor in enumerate(["ties", "Ties"]):
        ms = MIDNIGHT_MS + 9 * HOUR_MS + second
        for step, item in product(["view", "addtocart", "transaction"], random.sample(IDS, 6)):
            for order in ORDERS if step == "transaction" else [None]:
                yield Event(ms, visitor, step, item, order)
        for price, category in product([None, *OWN_PRICES[:3]], [None, "root", "Root", "🧦", "\uffee"]):
            yield Event(ms, visitor, "view", "i", None, price, category)


def gaps() -> Iterable[Event]:
    """Pauses on, before and after the timeout, by milliseconds and by seconds, and pauses over a midnight."""
    for start in [MIDNIGHT_MS + DAY_MS, LOCAL_MIDNIGHT_MS]:
        for lead in [1, 900_000, 1_799_999, 1_800_000, 1_800_001]:
            for gap in [1_799_000, 1_799_999, 1_800_000, 1_800_001, 1_801_000]:
                visitor = f"gap {start} {lead} {gap}"
                yield Event(start - lead, visitor, "view", "midnight")
                yield Event(start - lead + gap, visitor, "addtocart", "midnight")
    for days in [0, 1, 7, 8, 28, 29]:
        for ms in [-1, 0, 1]:
            yield Event(LOCAL_MIDNIGHT_MS + days * DAY_MS + ms, "night owl", "view", "midnight")
            yield Event(MIDNIGHT_MS + days * DAY_MS + ms, "night owl", "transaction", "midnight", f"o{days}")


def robot() -> Iterable[Event]:
    """One visitor of 10,000 events who polls an item: long sessions, ties in them, and breaks between."""
    ms = MIDNIGHT_MS + 3 * DAY_MS
    for number in range(ROBOT_EVENTS):
        ms += 2 * HOUR_MS if number % 4_000 == 3_999 else 0 if number % 97 == 0 else 7_001
        item = "polled" if number % 10 else f"met {number % 70}"
        step = "addtocart" if number % 500 == 499 else "view"
        # Else an event in the same millisecond as the one before would be its duplicate.
        yield Event(ms, ROBOT, step, item, None, None, "lone" if number % 97 == 0 else None)


def wanderers(random: Random) -> Iterable[Event]:
    """Each awkward id as a visitor and as an item."""
    for visitor, item in zip(IDS, random.sample(IDS, len(IDS)), strict=True):
        ms = MIDNIGHT_MS + random.choice(STARTS_MS) + DAY_MS * random.randrange(0, 20)
        items = [item, *random.sample(IDS, 3)]
        yield Event(ms, visitor, "view", item)
        for _ in range(random.randint(2, 20)):
            event = random_event(random, ms, visitor, ["view", "addtocart", "transaction"], items)
            order = event.transactionid
            if event.event == "transaction" and random.random() < 0.5:
                order = random.choice(ORDERS)
            category = random.choice(TREE_VALUES) if random.random() < 0.1 else None
            yield event._replace(transactionid=order, categoryid=category and category[:LONGEST])
            ms += random.choice(GAPS_MS[:8] if random.random() < 0.6 else GAPS_MS)


def second_thoughts(random: Random) -> Iterable[Event]:
    """Carts that fill and empty again, by units and halves of them, with ties and over the end of a session."""
    for number in range(300):
        ms = MIDNIGHT_MS + DAY_MS * random.randrange(20)
        items = random.sample(["polled", *IDS[:6]], 2)
        for place in range(random.randint(2, 12)):
            event = random_event(random, ms, f"fickle {number}", ["view", "addtocart", "transaction"], items)
            order = event.transactionid or (f"fickle {number}" if event.event == "transaction" else None)
            event = removed_or_counted(random, event._replace(categoryid=None, transactionid=order))
            # A line of an order, with its id, and another of its kind beside it.
            yield event._replace(event_id=f"fickle {number} {place}" if number % 2 else None)
            if event.event == "transaction" and number % 4:
                yield event._replace(
                    event_id=f"fickle {number} {place} more" if number % 2 else None, price=OWN_PRICES[0]
                )
            ms += random.choice(GAPS_MS[:8] if random.random() < 0.8 else GAPS_MS)


def priced(random: Random) -> tuple[list[Event], list[Property]]:
    """An item for each price text, met at, before and after the moment the price is told."""
    events, properties = list[Event](), list[Property]()
    for number, text in enumerate(PRICES):
        told, item = MIDNIGHT_MS + number * HOUR_MS, f"priced {number}"
        properties += [
            Property(told, item, "790", text),
            Property(told + 1, item, "790", random.choice(PRICES)),
            Property(told, item, "categoryid", random.choice(TREE_VALUES)),
        ]
        events += [Event(told + ms, f"looker {number % 7}", "view", item) for ms in [-1, 0, 1]]
        # Sums of the greatest prices have no room in a column of money.
        if sum(letter.isdigit() for letter in text.partition(".")[0]) < 12:
            events.append(Event(told, f"buyer {number}", "addtocart", item))
            if number % 2:
                events.append(Event(told, f"buyer {number}", "transaction", item, f"o{number}"))
    return events, properties


def attributes(random: Random, events: Sequence[Event]) -> Iterable[Property]:
    """What is told of items, half of it at the very moment of an event, often twice with one timestamp."""
    prices = [text for text in PRICES if sum(letter.isdigit() for letter in text.partition(".")[0]) < 10]
    values: dict[str, Sequence[str | None]] = {
        "790": [*prices, None],
        "categoryid": [*TREE_VALUES, "", None],
        "available": AVAILABILITIES,
    }
    for event in events:
        for name in random.sample([*values, *STRANGE_PROPERTIES], 3):
            ms = event.timestamp + random.choice([-DAY_MS, -1, 0, 0, 0, 1, HOUR_MS])
            for _ in range(random.choice([1, 1, 2])):
                yield Property(ms, event.itemid, name, random.choice(values.get(name, ["1", "root"])))


def assignments(random: Random, events: Sequence[Event]) -> list[Assignment]:
    """An experiment on all visitors: assigned before, at or after the first event, awkward ids more than once.

    Some of those have both arms, some of these in the same millisecond.
    """
    first: dict[str, int] = {}
    for event in [event for event in events if event.visitorid]:
        first[event.visitorid] = min(event.timestamp, first.get(event.visitorid, event.timestamp))
    rows = [
        Assignment(visitor, ms + random.choice([-DAY_MS, -1, -1, 0, 0, 1, MINUTE_MS]), random.randrange(2))
        for visitor, ms in sorted(first.items())
    ]
    rows += (Assignment(f"absent {number}", MIDNIGHT_MS, number % 2) for number in range(9))
    for row in [row for row in rows if row.visitorid in IDS]:
        ms = row.assigned_at + random.choice([-DAY_MS, -1, 0, 0, 0, 1])
        rows += [Assignment(row.visitorid, ms, random.randrange(2))] * random.randrange(3)
    return [row._replace(stratum=("Süd", "süd")[place % 2], propensity=0.5) for place, row in enumerate(rows)]


def nasty_world(seed: int = 7) -> World:
    """The nasty visitors among the usual ones of the project's own generator; the same for the same seed."""
    random = Random(seed)
    events = [*ties(random), *gaps(), *wanderers(random), *second_thoughts(Random(seed))]
    properties = list(attributes(random, random.sample(events, len(events) // 3)))
    for rows, more in zip((events, properties), priced(random), strict=True):
        rows += more
    events += random_refunds(Random(seed), events)
    events += robot()
    # Exact duplicates, and near ones that differ in one field.
    events += random.sample(events, 300)
    for event in random.sample(events, 300):
        change = random.choice([{"timestamp": event.timestamp + 1}, {"itemid": event.itemid + "\u200b"}])
        events.append(event._replace(**change, event_id=None) if len(event.itemid) < LONGEST else event)
    properties += random.sample(properties, 100)
    usual = synthetic_world(ORDINARY_VISITORS)
    met = {event.itemid for event in usual.events}
    events += usual.events
    properties += (told for told in usual.properties if told.itemid in met)
    categories = [*TREE, *usual.categories]
    for rows in (events, properties, categories):
        random.shuffle(rows)
    assigned = assignments(random, events)
    random.shuffle(assigned)
    return World(events, properties, categories, assigned)


def write_shop(folder: Path, world: World) -> list[list[str]]:
    """Write a world as files, and return what follows `ingest load` for each load that it takes."""
    bare = [event for event in world.events if event.event == "transaction" and event.transactionid is None]
    left_out = set(map(id, bare))
    events = [event for event in world.events if id(event) not in left_out]
    with_orders, without = folder / "with_orders", folder / "without_orders"
    for place, rows in [(with_orders, events), (without, bare)]:
        place.mkdir(parents=True)
        write_csv(place / "events 🛒.csv", Event._fields, rows)
    write_csv(with_orders / "experiment 🧪.csv", Assignment._fields[:-1], [row[:-1] for row in world.assignments])
    for name, bad in [("events 🛒.csv", BAD_LINES), ("experiment 🧪.csv", BAD_ASSIGNMENTS)]:
        with (with_orders / name).open("a", encoding="utf-8") as file:
            file.writelines(bad)
    write_csv(with_orders / "properties.csv", Property._fields, world.properties)
    write_csv(with_orders / "tree.csv", Category._fields, world.categories)
    no_orders = MAPPING | {"columns": MAPPING["columns"] | {"transaction": None}, "ignore_columns": ["transactionid"]}
    loads = []
    for place, mapping in [(with_orders, MAPPING), (without, no_orders)]:
        path = place / "mapping.yml"
        path.write_text(json.dumps(mapping))
        loads.append(["--raw", str(place), "--mapping", str(path)])
    return loads


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[int | str | Decimal | None]]) -> None:
    """Write a file with a header; None is a blank cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
