"""Edges worked out by hand: session gaps, midnight, ties, decision points, windows, and settings that are refused."""

import datetime as dt
import os
import shutil
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from compiled import (
    FEATURE_KEY,
    Assignment,
    Rows,
    World,
    compile_project,
    create_raw_tables,
    insert_raw,
    parsed_project,
    read,
    run_dbt,
    settings,
)
from paths import ROOT
from reference import Event, Property
from worlds import DAY_MS, HOUR_MS, MIDNIGHT_MS, VISITORS, random_world

SECOND_MS, MINUTE_MS = 1_000, 60_000
CHECKOUT_STEPS = ["view", "addtocart", "checkout", "transaction"]


def at(ms: int, step: str = "view", item: str = "i", visitor: str = "v", order: str | None = None) -> Event:
    """An event some milliseconds after Monday 2015-06-01 00:00 UTC."""
    return Event(MIDNIGHT_MS + ms, visitor, step, item, order)


def marts(events: list[Event], properties: list[Property] | None = None, **overrides: Any) -> dict[str, Rows]:
    connection = compile_project(**overrides).build(World(events, properties or [], []))
    return {
        "sessions": read(connection, "sessions", ["session_id"]),
        "funnels": read(connection, "session_funnels", ["session_id"]),
        "features": read(connection, "session_features", FEATURE_KEY),
    }


def only(rows: Rows) -> dict[str, Any]:
    assert len(rows) == 1
    return next(iter(rows.values()))


def points(rows: Rows) -> set[str]:
    return {row["decision_point"] for row in rows.values()}


def feature(events: list[Event], name: str, properties: list[Property] | None = None, **overrides: Any) -> Any:
    """A feature of the visitor `v` at its last landing."""
    rows = marts(events, properties, **overrides)["features"].values()
    landings = [row for row in rows if row["visitor_id"] == "v" and row["decision_point"] == "landing"]
    return max(landings, key=lambda row: row["decided_ms"])[name]


# Sessions


@pytest.mark.parametrize(
    ("timeout", "gap_ms", "sessions"),
    [
        (1800, 1_799_000, 1),
        (1800, 1_800_000, 1),
        (1800, 1_800_001, 2),
        (1800, 1_801_000, 2),
        (60, 60_000, 1),
        (60, 60_001, 2),
    ],
)
def test_a_session_ends_after_strictly_more_than_the_timeout(timeout: int, gap_ms: int, sessions: int) -> None:
    start = 9 * HOUR_MS
    rows = marts([at(start), at(start + gap_ms)], session_timeout_seconds=timeout)["sessions"]
    starts = [MIDNIGHT_MS + start, MIDNIGHT_MS + start + gap_ms]
    assert set(rows) == {(f"v-{ms}",) for ms in starts[:sessions]}
    assert sum(row["event_count"] for row in rows.values()) == 2


def test_midnight_changes_nothing() -> None:
    events = [at(ms, item=str(ms)) for ms in range(DAY_MS - HOUR_MS, 2 * DAY_MS + HOUR_MS, 30 * MINUTE_MS)]
    row = only(marts(events)["sessions"])
    assert row["event_count"] == len(events)
    assert row["started_date"] == dt.date(2015, 6, 1)
    assert row["ended_at"] == dt.datetime(2015, 6, 3, 0, 30)


@pytest.mark.parametrize(
    ("offset", "hour", "weekday", "weekend", "date"),
    [
        (0, 23, 7, 1, dt.date(2015, 6, 7)),
        (60, 0, 1, 0, dt.date(2015, 6, 8)),
        (-1440 // 2, 11, 7, 1, dt.date(2015, 6, 7)),
    ],
)
def test_local_time_is_utc_plus_the_offset(offset: int, hour: int, weekday: int, weekend: int, date: dt.date) -> None:
    shop = marts([at(7 * DAY_MS - 1)], shop_utc_offset_minutes=offset)
    row = only(shop["features"])
    assert (row["decision_hour"], row["decision_weekday"], row["is_weekend"]) == (hour, weekday, weekend)
    assert row["decided_date"] == only(shop["sessions"])["started_date"] == date
    assert row["decided_at"] == dt.datetime(2015, 6, 7, 23, 59, 59, 999_000)


def test_the_offset_moves_no_session() -> None:
    world = random_world(41)
    utc, local = (
        read(compile_project(**overrides).build(world), "sessions", ["session_id"])
        for overrides in ({}, {"shop_utc_offset_minutes": 60})
    )
    for row in [*utc.values(), *local.values()]:
        del row["started_date"]
    assert utc == local


def test_ids_that_look_alike_stay_apart() -> None:
    names = ["A1", "a1", "a1 ", " a1", "é", "e\u0301"]
    rows = marts([at(0, visitor=name) for name in names])["sessions"]
    assert {row["visitor_id"] for row in rows.values()} == set(names)


# Order


def test_ties_do_not_depend_on_the_order_of_the_files() -> None:
    project, world, found = compile_project(), random_world(43), []
    for seed in range(4):
        lists = [list(rows) for rows in (world.events, world.properties, world.categories)]
        for rows in lists:
            Random(seed).shuffle(rows)
        connection = project.build(World(lists[0], lists[1], lists[2]))
        tables = {model.name: connection.execute(f"select * from {model.relation}") for model in project.models}
        found.append({name: sorted(map(repr, table.fetchall())) for name, table in tables.items()})
    assert all(other == found[0] for other in found)


def test_in_one_millisecond_a_view_comes_before_a_cart_before_a_transaction() -> None:
    shop = marts([at(0, "transaction", order="o"), at(0, "addtocart"), at(0, "view")])
    funnel = only(shop["funnels"])
    assert (funnel["has_ordered_view"], funnel["has_ordered_addtocart"], funnel["has_ordered_transaction"]) == (1, 1, 1)
    assert (funnel["view_to_cart_seconds"], funnel["cart_to_transaction_seconds"]) == (0.0, 0.0)
    rows = {row["decision_point"]: row for row in shop["features"].values()}
    assert {name: (row["events_so_far"], row["has_transaction"]) for name, row in rows.items()} == {
        "landing": (1, 1),
        "cart": (2, 1),
    }


def test_exact_duplicates_count_once_and_double_clicks_twice() -> None:
    assert only(marts([at(0), at(0), at(40)])["sessions"])["view_count"] == 2


# Decision points


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["view"], {"landing"}),
        (["view", "view"], {"landing"}),
        (["view", "view", "view"], {"landing", "engaged"}),
        (["addtocart"], {"landing", "cart"}),
        (["view", "addtocart", "view", "transaction"], {"landing", "engaged", "cart"}),
        (["transaction"], set()),
        (["transaction", "view", "addtocart"], set()),
        (["view", "transaction", "addtocart", "view"], {"landing"}),
        (["view", "addtocart", "transaction", "view"], {"landing", "cart"}),
        (["view", "view", "transaction"], {"landing"}),
    ],
)
def test_a_session_has_a_row_where_it_has_not_yet_transacted(steps: list[str], expected: set[str]) -> None:
    rows = marts([at(place * SECOND_MS, step) for place, step in enumerate(steps)])["features"]
    assert points(rows) == expected
    assert all(row["has_transaction"] == int("transaction" in steps) for row in rows.values())


def test_a_transaction_in_the_next_session_is_no_conversion_of_this_one() -> None:
    rows = marts([at(0), at(1_800_001, "transaction", order="o")])["features"]
    assert only(rows)["has_transaction"] == 0


def test_other_decision_points() -> None:
    chosen = [{"name": "second", "event_number": 2}, {"name": "viewed", "first_event": "view"}]
    rows = marts([at(0, "addtocart"), at(1), at(2)], decision_points=chosen)["features"]
    assert {row["decision_point"]: row["decided_ms"] - MIDNIGHT_MS for row in rows.values()} == {
        "second": 1,
        "viewed": 1,
    }


@pytest.mark.parametrize(("gap_ms", "closed"), [(1_799_999, 0), (1_800_000, 0), (1_800_001, 1)])
def test_a_session_is_closed_when_the_data_go_on_past_its_timeout(gap_ms: int, closed: int) -> None:
    shop = marts([at(0), at(gap_ms, visitor="w")])
    assert shop["sessions"][f"v-{MIDNIGHT_MS}",]["is_closed"] == closed
    assert shop["features"][f"v-{MIDNIGHT_MS}", "landing"]["is_mature"] == closed


# Funnel


@pytest.mark.parametrize(
    ("events", "ordered"),
    [
        ([at(0), at(600_000, "addtocart")], 1),
        ([at(0), at(600_001, "addtocart")], 0),
        ([at(0), at(500_000), at(900_000, "addtocart")], 1),
        ([at(0, "addtocart"), at(1)], 0),
    ],
)
def test_a_step_is_ordered_when_it_follows_within_the_window(events: list[Event], ordered: int) -> None:
    row = only(marts(events, conversion_window_seconds=600)["funnels"])
    assert (row["has_addtocart"], row["has_ordered_addtocart"]) == (1, ordered)


def test_a_funnel_of_four_steps() -> None:
    through = [at(place * SECOND_MS, step) for place, step in enumerate(CHECKOUT_STEPS)]
    skipping = [event._replace(visitorid="w") for event in through if event.event != "checkout"]
    stopping = [event._replace(visitorid="x") for event in through[:3]]
    rows = marts(through + skipping + stopping, funnel_steps=CHECKOUT_STEPS)["funnels"]
    columns = ("has_checkout", "has_ordered_checkout", "has_ordered_transaction", "furthest_step_number")
    assert {row["visitor_id"]: tuple(row[column] for column in columns) for row in rows.values()} == {
        "v": (1, 1, 1, 4),
        "w": (0, 0, 0, 4),
        "x": (1, 1, 0, 3),
    }
    assert {row["visitor_id"]: row["furthest_step"] for row in rows.values()}["x"] == "checkout"
    assert rows[f"v-{MIDNIGHT_MS}",]["first_checkout_at"] == dt.datetime(2015, 6, 1, 0, 0, 2)


@pytest.mark.parametrize(
    ("later", "transactions", "revenue"),
    [
        # In one session: a line that was sent twice is paid once, and each other item too.
        ([at(1, "transaction", order="o"), at(2, "transaction", "j", order="o")], [3], [14.5]),
        # A day later; also of another item, and as the only event of its session.
        ([at(DAY_MS), at(DAY_MS + 1, "transaction", order="o")], [1, 0], [10, 0]),
        ([at(DAY_MS, "transaction", "j", order="o")], [1, 0], [10, 0]),
        # Of another visitor: later, earlier, and at the same moment, where the id that comes first had it first.
        ([at(1, "transaction", visitor="a", order="o")], [0, 1], [0, 10]),
        ([at(-1, "transaction", visitor="w", order="o")], [0, 1], [0, 10]),
        ([at(0, "transaction", visitor="w", order="o")], [1, 0], [10, 0]),
        ([at(0, "transaction", visitor="a", order="o")], [1, 0], [10, 0]),
        # Other orders, and transactions that name none.
        ([at(DAY_MS, "transaction", order="O")], [1, 1], [10, 10]),
        ([at(DAY_MS, "transaction")], [1, 1], [10, 10]),
        ([at(DAY_MS, "transaction", order=""), at(2 * DAY_MS, "transaction", order="")], [1, 1, 1], [10, 10, 10]),
    ],
)
def test_an_order_counts_in_the_session_that_had_it_first(
    later: list[Event], transactions: list[int], revenue: list[float]
) -> None:
    prices = [Property(0, "i", "790", "n10.000"), Property(0, "j", "790", "n4.500")]
    shop = marts([at(0, "transaction", order="o"), *later], prices)
    names = sorted(shop["sessions"])
    assert [shop["sessions"][name]["transaction_count"] for name in names] == transactions
    assert [shop["funnels"][name]["has_transaction"] for name in names] == [min(count, 1) for count in transactions]
    assert [float(shop["funnels"][name]["revenue"]) for name in names] == revenue


def test_a_repeated_order_is_an_event_and_no_step() -> None:
    bought = [at(0), at(1, "addtocart"), at(2, "transaction", order="o")]
    again = [at(DAY_MS), at(DAY_MS + 1, "addtocart"), at(DAY_MS + 2, "transaction", order="o")]
    alone = [at(2 * DAY_MS, "transaction", order="o")]
    next_visit = [at(3 * DAY_MS)]
    shop = marts([*bought, *again, *alone, *next_visit], [Property(0, "i", "790", "n10.000")])
    told = ("furthest_step", "furthest_step_number", "has_ordered_transaction", "cart_to_transaction_seconds")
    first, second, third, _ = (
        tuple(shop["funnels"][name][column] for column in told) for name in sorted(shop["funnels"])
    )
    assert first == ("transaction", 3, 1, 0.001)
    assert second == ("addtocart", 2, 0, None)
    assert third == ("view", 1, 0, None)
    assert [row["event_count"] for _, row in sorted(shop["sessions"].items())] == [3, 3, 1, 1]
    assert [float(row["abandoned_value"]) for _, row in sorted(shop["funnels"].items())] == [0, 10, 0, 0]
    last = max(shop["features"].values(), key=lambda row: row["decided_ms"])
    assert (last["prior_sessions"], last["prior_events"], last["prior_transactions"]) == (3, 7, 1)
    assert float(last["days_since_last_purchase"]) == pytest.approx(3 - 2 / DAY_MS)
    # 2 views and 1 purchase: the repeats are no purchases of the item.
    assert float(last["item_purchase_rate_7d"]) == pytest.approx((1 + 20 * 0.0084) / (2 + 20))


def test_values_lost_and_earned() -> None:
    prices = [Property(0, "i", "790", "n10.000"), Property(0, "j", "790", "n4.500")]
    prices.append(Property(MIDNIGHT_MS + 3, "i", "790", "n99.000"))
    events = [at(1, "addtocart"), at(2, "addtocart", "j"), at(4, "addtocart")]
    events += [at(5, "transaction", order="o"), at(6, "transaction", order="o"), at(7, "transaction", order="p")]
    row = only(marts(events, prices)["funnels"])
    assert (float(row["carted_value"]), float(row["abandoned_value"]), float(row["revenue"])) == (14.5, 4.5, 198.0)


# Facts of the item


@pytest.mark.parametrize(("later_ms", "price"), [(0, 20.0), (1, 10.0)])
def test_a_price_holds_from_its_own_millisecond(later_ms: int, price: float) -> None:
    properties = [Property(0, "i", "790", "n10.000"), Property(MIDNIGHT_MS + later_ms, "i", "790", "n20.000")]
    assert feature([at(0)], "item_price", properties) == price


@pytest.mark.parametrize("days", [7, 28])
def test_item_demand_counts_closed_days_only(days: int) -> None:
    last = 40 * DAY_MS + 12 * HOUR_MS
    moments = {
        "before the window": (40 - days) * DAY_MS - 1,
        "window opens": (40 - days) * DAY_MS,
        "window closes": 40 * DAY_MS - 1,
        "the day itself": 40 * DAY_MS,
    }
    for name, ms in moments.items():
        counted = feature([at(ms, visitor="w"), at(last)], f"item_views_{days}d")
        assert counted == int(name.startswith("window")), name


def test_the_offset_moves_the_closed_day() -> None:
    events = [at(DAY_MS - HOUR_MS, visitor="w"), at(DAY_MS + HOUR_MS)]
    assert feature(events, "item_views_7d") == 1
    assert feature(events, "item_views_7d", shop_utc_offset_minutes=60) == 0


# Carts that are emptied again

PRICED = [Property(MIDNIGHT_MS - 1, "i", "790", "n10.000"), Property(MIDNIGHT_MS - 1, "k", "790", "n3.000")]


def clicks(*path: str) -> list[Event]:
    """Events a second apart: `+i` puts item i into the cart, `-i` takes it out, `!i` buys it; `+i 3` is about three."""
    kinds = {"+": "addtocart", "-": "removefromcart", "!": "transaction", "?": "view"}
    found = []
    for place, click in enumerate(path):
        item, _, units = click[1:].partition(" ")
        order = "o1" if click[0] == "!" else None
        event = at(1000 * place, kinds[click[0]], item=item, order=order)
        found.append(event._replace(quantity=Decimal(units) if units else None))
    return found


@pytest.mark.parametrize(
    ("path", "carted", "abandoned"),
    [
        (["+i", "-i"], 0, 0),
        (["+i", "+k", "-i"], 3, 3),
        (["+i", "-i", "+i"], 10, 10),
        (["+i", "+i", "-i"], 0, 0),
        (["-i", "+i"], 10, 10),
        (["+i 3", "-i 1"], 20, 20),
        (["+i 3", "-i 1", "-i 1", "-i 1"], 0, 0),
        (["+i 3", "-i 5", "+i 1"], 10, 10),
        (["+i 3", "-i"], 0, 0),
        (["+i", "+k", "!i", "-i", "-k"], 10, 0),
        (["+i", "-i", "!i"], 0, 0),
        (["+i 2", "+k", "-i 1", "!k"], 13, 10),
        (["-k"], 0, 0),
    ],
)
def test_what_was_taken_out_of_the_cart_is_not_lost(path: list[str], carted: float, abandoned: float) -> None:
    row = only(marts(clicks(*path), PRICED)["funnels"])
    assert (float(row["carted_value"]), float(row["abandoned_value"])) == (carted, abandoned)
    assert row["has_addtocart"] == int(any(click[0] == "+" for click in path))


def test_a_cart_is_worth_what_it_holds_at_the_decision() -> None:
    """Taken out later, or put in again later, changes nothing; the next session knows that the cart was empty."""
    shop = marts([*clicks("+i", "+k", "-i", "+i", "-k", "-i"), at(DAY_MS)], PRICED)
    worth = {
        row["decision_point"]: row["carted_value_so_far"] for row in shop["features"].values() if row["has_addtocart"]
    }
    assert worth == {"landing": 10.0, "cart": 10.0, "engaged": 3.0}
    left = {row["previous_session_left_cart"] for row in shop["features"].values() if row["prior_sessions"]}
    assert left == {0}
    assert {row["event_count"] for row in shop["sessions"].values()} == {6, 1}


# What is paid back


def paid(*lines: tuple[str, str | None, int, int | None]) -> list[Event]:
    """Purchases of items by `v`, a day apart: item, order, price of one, how many."""
    return [
        at(place * DAY_MS, "transaction", item, order=order)._replace(
            price=Decimal(price), quantity=None if units is None else Decimal(units)
        )
        for place, (item, order, price, units) in enumerate(lines)
    ]


def back(
    item: str = "", order: str | None = None, price: int | None = None, units: int | None = None, **more: Any
) -> Event:
    """A refund of `v` thirty days on."""
    event = at(30 * DAY_MS, "refund", item, order=order)
    money = {"price": price and Decimal(price), "quantity": units and Decimal(units)}
    return event._replace(**money, **more)


ONE_ORDER = [("i", "o1", 10, 2), ("k", "o2", 7, None)]
NO_ORDERS = [("i", None, 10, 2), ("i", None, 8, None), ("k", None, 7, None)]


@pytest.mark.parametrize(
    ("lines", "refunds", "revenue"),
    [
        (ONE_ORDER, [back("i", "o1")], [0, 7]),
        (ONE_ORDER, [back("i", "o1", units=1)], [10, 7]),
        (ONE_ORDER, [back("i", "o1", 3)], [17, 7]),
        (ONE_ORDER, [back("i", "o1", -3, -2)], [14, 7]),
        (ONE_ORDER, [back(order="o1")], [0, 7]),
        (ONE_ORDER, [back("another", "o1")], [20, 7]),
        (ONE_ORDER, [back("another", "o1", 4)], [16, 7]),
        (ONE_ORDER, [back(order="o1", price=99)], [0, 7]),
        (ONE_ORDER, [back("i", "o1", 3), back("i", "o1", 3)], [17, 7]),
        (ONE_ORDER, [back("i", "o1", 3), back("i", "o1", 4), back("i", "o1", 15)], [0, 7]),
        (ONE_ORDER, [back("i", "o2", 3, visitorid="desk")], [20, 4]),
        (ONE_ORDER, [back(order="o2", visitorid="")], [20, 0]),
        (ONE_ORDER, [back("k", "C2")], [20, 0]),
        (ONE_ORDER, [back("k", "C2", visitorid="desk")], [20, 7]),
        (ONE_ORDER, [back("k", "o2", -3, event="transaction")], [20, 4]),
        (ONE_ORDER, [back("k", "o2", 3, -2, event="transaction")], [20, 1]),
        (NO_ORDERS, [back("i")], [20, 0, 7]),
        (NO_ORDERS, [back("i", timestamp=MIDNIGHT_MS)], [0, 8, 7]),
        (NO_ORDERS, [back("i", timestamp=MIDNIGHT_MS - 1)], [20, 8, 7]),
        (NO_ORDERS, [back("i", price=30)], [20, 0, 7]),
    ],
)
def test_a_refund_lowers_the_revenue_of_its_purchase(
    lines: list[tuple[str, str | None, int, int | None]], refunds: list[Event], revenue: list[int]
) -> None:
    """It is no event: sessions, steps and features are those of the shop without refunds."""
    gross, net = marts(paid(*lines)), marts([*paid(*lines), *refunds])
    found = [row for _, row in sorted(net["funnels"].items())]
    assert [row["revenue"] for row in found] == revenue
    assert [row["revenue"] + row["refunded_value"] for row in found] == [
        row["revenue"] for _, row in sorted(gross["funnels"].items())
    ]
    for mart, rows in gross.items():
        for key, row in rows.items():
            assert net[mart][key] | {"revenue": 0, "refunded_value": 0} == row | {"revenue": 0, "refunded_value": 0}
        assert rows.keys() == net[mart].keys()


# Bots


def polling(views: int) -> list[Event]:
    return [at(place * HOUR_MS) for place in range(views)]


def fast(events: int, span_ms: int) -> list[Event]:
    """Events of different items, evenly spread over a span."""
    return [at(place * span_ms // (events - 1), item=str(place)) for place in range(events)]


def basket(ms: int) -> list[Event]:
    """Twelve lines of one order, which the shop writes one after the other."""
    return [at(ms + place, "transaction", item=str(place), order="o1") for place in range(12)]


@pytest.mark.parametrize(
    ("events", "is_bot"),
    [
        (polling(99), 0),
        (polling(100), 1),
        (fast(10, 9_000), 0),
        (fast(10, 8_999), 1),
        (fast(9, 0), 0),
        (fast(8, 3_000) + basket(3_100), 0),
        (fast(9, 3_000) + basket(3_100), 1),
        ([at(0), *(at(5_000, "addtocart", item=str(place)) for place in range(12))], 0),
        ([at(place * MINUTE_MS, item=str(place)) for place in range(1_999)], 0),
        ([at(place * MINUTE_MS, item=str(place)) for place in range(2_000)], 1),
    ],
)
def test_bots_are_flagged_at_the_threshold(events: list[Event], is_bot: int) -> None:
    shop = marts(events)
    assert {row["is_bot"] for row in [*shop["sessions"].values(), *shop["features"].values()]} == {is_bot}


def test_bots_stay_until_they_are_left_out() -> None:
    people = [at(place * DAY_MS, visitor=name) for name in ("v", "w") for place in range(3)]
    bot = [event._replace(visitorid="bot") for event in fast(10, 100)]
    with_bots, without = marts(people + bot), marts(people + bot, exclude_bots=True)
    for mart in ("sessions", "funnels", "features"):
        assert {row["visitor_id"] for row in with_bots[mart].values()} == {"v", "w", "bot"}
        assert {row["visitor_id"] for row in without[mart].values()} == {"v", "w"}


# Assignments of an experiment


def assigned(*assignments: Assignment) -> dict[str, tuple[int, int, int, int]]:
    """A visitor's arm, the milliseconds since Monday of its assignment, whether in conflict, and from how many rows."""
    world = World([at(0)], [], [], list(assignments))
    connection = compile_project().build(world, until="stg_treatment_assignments")
    rows = read(connection, "stg_treatment_assignments", ["visitor_id"])
    first = dt.datetime(2015, 6, 1)
    for row in rows.values():
        assert row["assigned_at"] == first + dt.timedelta(milliseconds=row["assigned_ms"] - MIDNIGHT_MS)
    numbers = ("treatment", "assigned_ms", "has_conflict", "assignment_count")
    found = {row["visitor_id"]: [row[name] for name in numbers] for row in rows.values()}
    return {visitor: (arm, ms - MIDNIGHT_MS, *others) for visitor, (arm, ms, *others) in found.items()}  # type: ignore[misc]


def give(treatment: int, ms: int = 0, visitor: str = "v") -> Assignment:
    return Assignment(visitor, MIDNIGHT_MS + ms, treatment)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ([give(1)], (1, 0, 0, 1)),
        ([give(0, 7), give(0, 7)], (0, 7, 0, 2)),
        ([give(1, 5), give(1, 2), give(1, 9)], (1, 2, 0, 3)),
        ([give(0, 5), give(1, 2)], (1, 2, 1, 2)),
        ([give(1, 5), give(0, 2), give(1, 1)], (1, 1, 1, 3)),
        ([give(1, 2), give(0, 2)], (0, 2, 1, 2)),
        ([give(0, 2), give(1, 2), give(1, 2)], (0, 2, 1, 3)),
    ],
)
def test_a_visitor_keeps_the_first_arm_and_two_arms_are_a_conflict(
    assignments: list[Assignment], expected: tuple[int, int, int, int]
) -> None:
    for rows in (assignments, assignments[::-1]):
        assert assigned(*rows) == {"v": expected}


def test_a_visitor_keeps_the_stratum_and_chance_of_the_first_assignment() -> None:
    first, later = Assignment("v", MIDNIGHT_MS, 1, "b", 0.3), Assignment("v", MIDNIGHT_MS + 1, 1, "a", 0.9)
    untold, same_time = Assignment("w", MIDNIGHT_MS, 0), Assignment("w", MIDNIGHT_MS, 0, "a", 0.2)
    rows = [later, first, same_time, untold]
    for given in (rows, rows[::-1]):
        connection = compile_project().build(World([at(0)], [], [], given), until="stg_treatment_assignments")
        found = read(connection, "stg_treatment_assignments", ["visitor_id"])
        assert {row["visitor_id"]: (row["stratum"], row["propensity"]) for row in found.values()} == {
            "v": ("b", 0.3), "w": (None, None),
        }  # fmt: skip


def test_a_visitor_keeps_the_first_offer_and_two_offers_are_a_conflict() -> None:
    def offer(name: str | None, ms: int, visitor: str) -> Assignment:
        return Assignment(visitor, MIDNIGHT_MS + ms, int(name is not None), offer=name)

    rows = [
        offer("coupon", 1, "same"), offer("coupon", 0, "same"), offer("call", 1, "two"), offer("coupon", 0, "two"),
        offer("call", 0, "at once"), offer("coupon", 0, "at once"), offer(None, 0, "none"), offer("a", 0, "case"),
        offer("A", 1, "case"),
    ]  # fmt: skip
    for given in (rows, rows[::-1]):
        connection = compile_project().build(World([at(0)], [], [], given), until="stg_treatment_assignments")
        found = read(connection, "stg_treatment_assignments", ["visitor_id"])
        assert {row["visitor_id"]: (row["treatment"], row["offer"], row["has_conflict"]) for row in found.values()} == {
            "same": (1, "coupon", 0), "two": (1, "coupon", 1), "at once": (1, "call", 1), "none": (0, None, 0),
            "case": (1, "a", 1),
        }  # fmt: skip


def test_visitors_in_an_experiment_are_told_apart_to_the_byte_and_need_no_events() -> None:
    rows = [give(number % 2, number, visitor) for number, visitor in enumerate(VISITORS)]
    assert assigned(*rows) == {visitor: (number % 2, number, 0, 1) for number, visitor in enumerate(VISITORS)}


def test_assignments_are_as_a_plain_loop_counts_them() -> None:
    random = Random(8)
    rows = [give(random.randrange(2), random.randrange(4), f"v{random.randrange(40)}") for _ in range(150)]
    expected = {}
    for visitor in {row.visitorid for row in rows}:
        own = sorted((row.assigned_at - MIDNIGHT_MS, row.treatment) for row in rows if row.visitorid == visitor)
        expected[visitor] = (own[0][1], own[0][0], int(len({arm for _, arm in own}) == 2), len(own))
    assert {conflict for _, _, conflict, _ in expected.values()} == {0, 1}
    assert assigned(*rows) == expected


def test_without_an_experiment_nobody_is_assigned() -> None:
    assert assigned() == {}


def test_a_warehouse_without_the_table_has_nobody_assigned(tmp_path: Path) -> None:
    """As one that was loaded before the table was known, or whose events were there already."""
    database = tmp_path / "world.duckdb"
    select = ("--select", "stg_loads", "stg_treatment_assignments", "--indirect-selection", "buildable")
    outcome = run_dbt("build", *select, database=database, manifest=parsed_project().deepcopy())
    assert outcome.success, outcome.errors
    assert "assert_every_assignment_reached_staging" in {result.node.name for result in outcome.result}
    with duckdb.connect(str(database)) as connection:
        assert read(connection, "stg_treatment_assignments", ["visitor_id"]) == {}


# Settings


BAD_SETTINGS: list[tuple[str, Any]] = [
    ("session_timeout_seconds", 0),
    ("session_timeout_seconds", "1800"),
    ("session_timeout_seconds", True),
    ("session_timeout_seconds", 1.5),
    ("session_timeout_seconds", None),
    ("conversion_window_seconds", -1),
    ("shop_utc_offset_minutes", 1441),
    ("shop_utc_offset_minutes", "Europe/Berlin"),
    ("funnel_steps", "view"),
    ("funnel_steps", [["view"], "addtocart", "transaction"]),
    ("funnel_steps", ["view", "transaction"]),
    ("funnel_steps", ["addtocart", "view", "transaction"]),
    ("funnel_steps", ["view", "addtocart", "transaction", "checkout"]),
    ("funnel_steps", ["view", "addtocart", "checkout", "checkout", "transaction"]),
    ("funnel_steps", ["view", "addtocart", "check out; drop", "transaction"]),
    *(("funnel_steps", ["view", taken, "addtocart", "transaction"]) for taken in ("event", "cart", "ordered_view")),
    ("decision_points", []),
    ("decision_points", ["landing"]),
    ("decision_points", [{"event_number": 1}]),
    ("decision_points", [{"name": "it's", "event_number": 1}]),
    ("decision_points", [{"name": "landing\n", "event_number": 1}]),
    ("decision_points", [{"name": "none"}]),
    ("decision_points", [{"name": "both", "event_number": 1, "first_event": "view"}]),
    ("decision_points", [{"name": "zeroth", "event_number": 0}]),
    ("decision_points", [{"name": "unknown", "first_event": "checkout"}]),
    ("decision_points", [{"name": "too_late", "first_event": "transaction"}]),
    ("decision_points", [{"name": "twice", "event_number": 1}, {"name": "twice", "event_number": 2}]),
    ("smoothing_weight", -1),
    ("prior_cart_rate", 1.5),
    ("prior_purchase_rate", "low"),
    ("prior_conversion_rate", -0.1),
    ("exclude_bots", "yes"),
    ("bot_visitor_events", 0),
    ("bot_poll_views", "many"),
    ("bot_pace_events", 1),
    ("bot_pace_mean_gap_seconds", -1),
    ("bot_pace_mean_gap_seconds", float("inf")),
    ("prior_cart_rate", float("nan")),
    ("clock_straggler_share", float("nan")),
    ("full_build_share", float("nan")),
    ("build_wait_seconds", 4),
    ("cut_category_branches", "yes"),
    ("category_max_depth", 0),
    ("price_property", "79'0"),
    ("price_property", "790\n"),
    ("raw_schema", "a.b"),
    ("raw_events_table", ""),
    ("raw_treatment_assignments_table", "raw.assignments"),
    ("eda_dataset", 7),
    ("sesion_timeout_seconds", 900),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "world.duckdb"


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_a_bad_setting_is_refused_by_name(name: str, value: Any, database: Path) -> None:
    outcome = run_dbt("run-operation", "config_check", database=database, manifest=parsed_project(), **{name: value})
    assert not outcome.success
    assert name in outcome.errors


def test_good_settings_are_accepted(database: Path) -> None:
    other = {"funnel_steps": CHECKOUT_STEPS, "decision_points": [{"name": "checkout", "first_event": "checkout"}]}
    # With every var by name: a var that is new in dbt_project.yml needs a check of its own.
    for overrides in ({}, other, {"session_timeout_seconds": 60, "exclude_bots": True}, settings()):
        outcome = run_dbt("run-operation", "config_check", database=database, manifest=parsed_project(), **overrides)
        assert outcome.success, outcome.errors


def test_a_model_that_lost_its_yml_is_named_before_any_event_is_read(tmp_path: Path) -> None:
    database, manifest = tmp_path / "world.duckdb", parsed_project().deepcopy()
    manifest.nodes["model.funnelift.sessions"].patch_path = None
    manifest.build_flat_graph()
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
    outcome = run_dbt("run", "--select", "int_events", "sessions", database=database, manifest=manifest)
    assert "dbt lost the yml of sessions in a partial parse. Run it once with --no-partial-parse" in outcome.errors
    assert {str(result.status) for result in outcome.result} == {"error", "skipped"}


def test_all_bad_settings_are_named_before_any_work(tmp_path: Path) -> None:
    """In a warehouse that would build; dbt goes on after a failed hook unless the models stop too."""
    database = tmp_path / "world.duckdb"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
        insert_raw(connection, World([at(0)], [], []))
    bad = {"session_timeout_seconds": 0, "bot_pace_events": 0, "exclude_bots": "yes"}
    outcome = run_dbt("build", database=database, **bad)
    assert not outcome.success
    assert all(name in outcome.errors for name in bad)
    with duckdb.connect(str(database)) as connection:
        built = connection.execute("select table_name from information_schema.tables where table_schema = 'funnelift'")
        assert not built.fetchall()


def test_a_shop_without_events_builds(tmp_path: Path) -> None:
    """As after a file that holds nothing but its header, or when all files were taken out again."""
    database = tmp_path / "world.duckdb"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
    outcome = run_dbt("build", database=database, manifest=parsed_project().deepcopy())
    assert outcome.success, outcome.errors
    with duckdb.connect(str(database)) as connection:
        (summary,) = read(connection, "dataset_summary", []).values()
    assert (summary["event_count"], summary["revenue"], summary["conversion_rate"]) == (0, 0, None)


def test_a_file_with_a_quote_in_its_name_is_refused(tmp_path: Path) -> None:
    outcome = run_dbt("run", database=tmp_path / "a'b.duckdb", manifest=parsed_project().deepcopy())
    assert "The DuckDB file must have no quote in its name" in outcome.errors


def dbt_command(scratch: Path, *arguments: str) -> list[str]:
    """A dbt command for a process of its own, which leaves nothing in the project folder."""
    dbt = [str(Path(sys.executable).with_name("dbt")), "--quiet", *arguments, "--project-dir", str(ROOT)]
    return [*dbt, "--target-path", str(scratch / "target"), "--log-path", str(scratch / "logs")]


def test_the_warehouse_lies_beside_the_profile_wherever_dbt_is_called_from(tmp_path: Path) -> None:
    profile, elsewhere = tmp_path / "profile", tmp_path / "elsewhere"
    for folder in (profile, elsewhere):
        folder.mkdir()
    shutil.copy(ROOT / "profiles.yml", profile)
    command = dbt_command(tmp_path, "run", "--select", "stg_loads", "--profiles-dir", str(profile))
    places = {name: value for name, value in os.environ.items() if not name.startswith("FUNNELIFT_")}
    subprocess.run(command, cwd=elsewhere, env=places, check=True)
    assert (profile / "warehouse.duckdb").exists()
    assert not (elsewhere / "warehouse.duckdb").exists()


def test_a_build_holds_the_file_from_its_start_to_its_end(tmp_path: Path) -> None:
    """Else a reader or a training that opens it between two models breaks the build, or reads half of it."""
    database = tmp_path / "world.duckdb"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
    inode, seen = f":{database.stat().st_ino} ", [False]
    command = dbt_command(tmp_path, "run", "--profiles-dir", str(ROOT))
    places = {**os.environ, "FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(database)}
    with subprocess.Popen(command, cwd=ROOT, env=places) as process:
        while process.poll() is None:
            is_held = inode in Path("/proc/locks").read_text()
            if is_held != seen[-1]:
                seen.append(is_held)
            time.sleep(0.001)
    assert process.returncode == 0
    assert seen in ([False, True], [False, True, False]), "the file was let go between two models"
