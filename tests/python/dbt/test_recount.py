"""Every row of the marts, recounted from raw rows in plain Python, equals what the SQL says."""

from collections.abc import Iterable
from datetime import datetime
from math import isclose
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from compiled import FEATURE_KEY, Project, Rows, World, compile_project, read
from reference import Event, Reference, Row
from worlds import HOUR_MS, MIDNIGHT_MS, random_world, read_retailrocket, synthetic_world, worlds

# Everything that a shop may set, set to something else; bots are common under these thresholds.
OTHER_SHOP: dict[str, Any] = {
    "session_timeout_seconds": 900,
    "conversion_window_seconds": 600,
    "shop_utc_offset_minutes": -210,
    "funnel_steps": ["view", "wishlist", "addtocart", "checkout", "transaction"],
    "decision_points": [
        {"name": "second", "event_number": 2},
        {"name": "checkout", "first_event": "checkout"},
        {"name": "first_view", "first_event": "view"},
    ],
    "smoothing_weight": 5,
    "prior_cart_rate": 0.1,
    "bot_visitor_events": 20,
    "bot_poll_views": 6,
    "bot_pace_events": 4,
    "bot_pace_mean_gap_seconds": 15,
}

BREAKDOWNS = {
    "funnel_daily": ("all", "visitor_type", "category"),
    "funnel_dropoff": ("all", "visitor_type", "category", "weekday", "hour"),
}

# The reference keeps fractions exact to the end; SQL divides doubles, so the last bit may differ.
ROUNDED_ONCE_MORE = {
    "item_price_ratio",
    "item_cart_rate_7d",
    "item_cart_rate_28d",
    "item_purchase_rate_7d",
    "item_purchase_rate_28d",
    "prior_conversion_rate",
}


def same(column: str, expected: Any, got: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, float) and column in ROUNDED_ONCE_MORE:
        return isclose(expected, got, rel_tol=1e-12)
    return type(expected) is type(got) and expected == got


def differences(expected: Iterable[Row], got: Rows, key: tuple[str, ...]) -> list[str]:
    """What differs, in words: rows missing or too many, columns missing or too many, values."""
    rows = {tuple(row[part] for part in key): row for row in expected}
    found = [f"missing row {name}" for name in rows.keys() - got.keys()]
    found += [f"unexpected row {name}" for name in got.keys() - rows.keys()]
    for name in rows.keys() & got.keys():
        found += [f"{name}: column {column} on one side" for column in rows[name].keys() ^ got[name].keys()]
        found += [
            f"{name}.{column}: expected {rows[name][column]!r}, got {got[name][column]!r}"
            for column in rows[name].keys() & got[name].keys()
            if not same(column, rows[name][column], got[name][column])
        ]
    return sorted(found)


def assert_marts_equal(world: World, project: Project) -> Reference:
    connection = project.build(world)
    reference = world.reference(**project.overrides)
    sessions = read(connection, "sessions", ["session_id"])
    for row in sessions.values():
        assert (row.pop("bot_reason") is not None) == bool(row["is_bot"])
    assert not differences(reference.session_rows(), sessions, ("session_id",))
    funnels = read(connection, "session_funnels", ["session_id"])
    assert not differences(reference.funnel_rows(), funnels, ("session_id",))
    assert not differences(reference.feature_rows(), read(connection, "session_features", FEATURE_KEY), FEATURE_KEY)
    for table, breakdowns in BREAKDOWNS.items():
        daily = table == "funnel_daily"
        key = (*(["funnel_date"] * daily), "breakdown", "breakdown_value", "step")
        assert not differences(reference.dropoff_rows(breakdowns, daily), read(connection, table, key), key)
    summary = next(iter(read(connection, "dataset_summary", []).values()))
    recounted = reference.summary()
    assert {name: summary[name] for name in recounted} == recounted
    return reference


@pytest.mark.parametrize("seed", range(12))
def test_nasty_worlds(seed: int) -> None:
    assert_marts_equal(random_world(seed), compile_project())


@pytest.mark.parametrize("seed", range(8))
def test_nasty_worlds_where_people_think_twice(seed: int) -> None:
    steps = OTHER_SHOP["funnel_steps"] if seed % 2 else ["view", "addtocart", "transaction"]
    world = random_world(300 + seed, steps=steps, with_second_thoughts=True)
    assert_marts_equal(world, compile_project(**(OTHER_SHOP if seed % 2 else {})))


@pytest.mark.parametrize("seed", range(6))
def test_nasty_worlds_of_another_shop(seed: int) -> None:
    world = random_world(100 + seed, steps=OTHER_SHOP["funnel_steps"])
    reference = assert_marts_equal(world, compile_project(**OTHER_SHOP))
    assert reference.bots


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", "2015-10-25T01:00"),
        ("Europe/Berlin", "2016-03-27T01:00"),
        ("Australia/Lord_Howe", "2015-10-03T15:30"),
        ("America/St_Johns", "2010-11-07T02:31"),
    ],
)
def test_nasty_worlds_while_the_shop_changes_its_clocks(zone: str, change: str) -> None:
    world = random_world(len(change + zone))
    by = int(datetime.fromisoformat(f"{change}Z").timestamp() * 1000) - MIDNIGHT_MS - HOUR_MS
    events = [event._replace(timestamp=event.timestamp + by) for event in world.events]
    properties = [entry._replace(timestamp=entry.timestamp + by) for entry in world.properties]
    assert_marts_equal(World(events, properties, world.categories), compile_project(shop_time_zone=zone))


def test_other_visitors_do_not_change_when_bots_are_left_out() -> None:
    world = random_world(200, visitors=14, steps=OTHER_SHOP["funnel_steps"])
    reference = assert_marts_equal(world, compile_project(**OTHER_SHOP, exclude_bots=True))
    # Bots' views are part of an item's demand all the same: whether a visitor is one shows only later.
    everyone = world.reference(**OTHER_SHOP).feature_rows()
    assert reference.bots
    assert reference.feature_rows() == [row for row in everyone if row["visitor_id"] not in reference.bots]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds())
@pytest.mark.statistics
def test_worlds_that_shrink(world: World) -> None:
    assert_marts_equal(world, compile_project())


def test_who_buys_at_once_is_no_drop_off() -> None:
    """Only who entered no later step left; past which steps and in which order the others came does not matter."""
    paths = {
        "at once": ["view", "transaction"],
        "past the cart": ["view", "checkout"],
        "back to look": ["transaction", "addtocart", "view"],
        "looks": ["view", "view"],
        "from a link": ["addtocart"],
    }
    world = World(
        [
            Event(MIDNIGHT_MS + 1000 * place, visitor, step, "10", visitor if step == "transaction" else None)
            for visitor, path in paths.items()
            for place, step in enumerate(path)
        ],
        [],
        [],
    )
    project = compile_project(funnel_steps=["view", "addtocart", "checkout", "transaction"])
    assert_marts_equal(world, project)
    counts = project.build(world).execute("""
        select step, entered, converted, skipped, dropped_off
        from funnelift.funnel_dropoff
        where breakdown = 'all'
        order by step_number
    """)
    assert counts.fetchall() == [("view", 4, 1, 2, 1), ("addtocart", 2, 0, 1, 1), ("checkout", 1, 0, 0, 1)]


def test_retailrocket_sample(shared_data: Path) -> None:
    reference = assert_marts_equal(read_retailrocket(shared_data / "retailrocket_sample"), compile_project())
    assert len(reference.facts) == 2771 - 1, "the sample has one exact duplicate"
    assert len(reference.by_visitor) == 1500


def test_random_sessions_of_a_synthetic_shop() -> None:
    world = synthetic_world(3000)
    features = read(compile_project().build(world, until="session_features"), "session_features", FEATURE_KEY)
    reference = world.reference()
    chosen = set(Random(7).sample([session.session_id for session in reference.sessions], 500))
    # Most sessions are one view; every one that goes further is recounted too.
    chosen |= {session.session_id for session in reference.sessions if session.of("addtocart") or session.number > 3}
    got = {key: row for key, row in features.items() if row["session_id"] in chosen}
    assert {row["decision_point"] for row in got.values()} == {"landing", "engaged", "cart"}
    assert not differences(reference.feature_rows(chosen), got, FEATURE_KEY)
