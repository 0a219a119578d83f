"""Features of running sessions are those of the mart, cell by cell, however the events arrive."""

import os
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compiled import World
from live.compile import Compiled
from live_shop import NOT_FEATURES, full_build, raw_events, shop_of, unlike
from reference import Event, is_refund
from worlds import random_world, worlds

# The shop's clock needs all events of all visitors; no decision looks at it.
OF_CLOCK = {"is_mature"}
# Many more with FUNNELIFT_EXAMPLES=200, say.
EXAMPLES = int(os.environ.get("FUNNELIFT_EXAMPLES", "8"))


def part_of(world: World, events: list[Event]) -> World:
    return World(events, world.properties, world.categories)


def check_end(models: Compiled, world: World, known: list[Event], batches: list[list[Event]]) -> None:
    """After all batches every row of every visitor who sent something is that of a full build."""
    shop, place, arrived = shop_of(models, part_of(world, known)), 1, set[str]()
    for batch in batches:
        rows = raw_events(batch, place)
        place += len(rows)
        shop.add(rows)
        visitors = {event.visitorid for event in batch}
        arrived |= visitors
        shop.features(visitors, min(event.timestamp for event in batch))
    full = full_build(models, world)
    found = shop.features(arrived, 0).to_pylist() if arrived else []
    assert unlike(found, full, OF_CLOCK) == []
    keys = {(row["session_id"], row["decision_point"]) for row in found}
    assert {key for key, row in full.items() if row["visitor_id"] in arrived} <= keys


def check_decisions(models: Compiled, world: World, known: list[Event], live: list[Event]) -> int:
    """At every decision point the features are those that the mart will have; returns how many there were."""
    shop, full, count = shop_of(models, part_of(world, known)), full_build(models, world), 0
    for place, event in enumerate(live, 1):
        shop.add(raw_events([event], place))
        rows = shop.features([event.visitorid], event.timestamp).to_pylist()
        now = [row for row in rows if row["visitor_id"] == event.visitorid and row["decided_ms"] == event.timestamp]
        assert unlike([row for row in now if is_decided(row, live[:place], live)], full, NOT_FEATURES) == []
        count += len(now)
    return count


def is_decided(row: dict[str, object], so_far: list[Event], live: list[Event]) -> bool:
    """Whether no event of the visitor at that same millisecond is still to come."""
    same = [each for each in live if (each.visitorid, each.timestamp) == (row["visitor_id"], row["decided_ms"])]
    return all(each in so_far for each in same)


@given(st.data())
# A shrunk example costs minutes.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
def test_late_repeated_and_out_of_order_events_end_in_the_rows_of_a_full_build(
    live_models: Compiled, data: st.DataObject
) -> None:
    world = data.draw(worlds())
    is_known = data.draw(st.lists(st.booleans(), min_size=len(world.events), max_size=len(world.events)))
    known = [event for event, here in zip(world.events, is_known, strict=True) if here]
    coming = [event for event, here in zip(world.events, is_known, strict=True) if not here]
    coming += data.draw(st.lists(st.sampled_from(world.events), max_size=5))
    coming = data.draw(st.permutations(coming))
    size = data.draw(st.integers(1, 6))
    batches = [list(coming[start : start + size]) for start in range(0, len(coming), size)]
    check_end(live_models, world, known, batches)


def test_a_nasty_shop_ends_in_the_rows_of_a_full_build(live_models: Compiled) -> None:
    random = Random(5)
    world = random_world(5, with_second_thoughts=True)
    # A refund is no event of a running session: the service takes none.
    world = replace(world, events=[event for event in world.events if not is_refund(event)])
    events = random.sample(world.events, len(world.events))
    known, coming = events[: len(events) // 2], events[len(events) // 2 :]
    check_end(live_models, world, known, [coming[start : start + 7] for start in range(0, len(coming), 7)])


def test_events_in_order_have_the_marts_features_at_every_decision_point(live_models: Compiled) -> None:
    world = random_world(8)
    ordered = sorted(world.events, key=lambda event: event.timestamp)
    half = len(ordered) // 2
    assert check_decisions(live_models, world, ordered[:half], ordered[half:]) > 0


@pytest.mark.parametrize("wrong", ["a day less", "no history"])
def test_a_wrong_shop_is_noticed(live_models: Compiled, wrong: str) -> None:
    world = random_world(8)
    ordered = sorted(world.events, key=lambda event: event.timestamp)
    half = len(ordered) // 2
    known = ordered[:half] if wrong == "a day less" else []
    if wrong == "a day less":
        known = [event for event in known if event.timestamp < ordered[half].timestamp - 86_400_000]
    with pytest.raises(AssertionError):
        check_decisions(live_models, world, known, ordered[half:])


def test_the_shop_tells_which_events_the_warehouse_has(live_models: Compiled) -> None:
    world = random_world(3)
    events = raw_events(world.events)
    half = len(events) // 2
    shop = shop_of(live_models, replace(world, events=world.events[:half]))
    new = {event.place for event in events[half:] if event[:8] not in {old[:8] for old in events[:half]}}
    assert shop.held(events) == {event.place for event in events} - new
    changed = [event._replace(price=Decimal("77.7700")) for event in events[:half]]
    assert shop.held(changed) == frozenset()
    last = max(events[:half], key=lambda event: event.timestamp)
    assert shop.is_over(last.visitorid, last.timestamp - 7_200_000)
    assert not shop.is_over(last.visitorid, last.timestamp)
