"""No feature moves by a bit when everything after its decision is taken away or replaced."""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from compiled import FEATURE_KEY, Project, Rows, World, compile_project, read
from reference import Event, Property, Reference, order_key
from worlds import GAPS_MS, ITEMS, OTHER_VALUES, VISITORS, random_event, random_property, random_world, synthetic_world
from worlds import worlds as shrinking_worlds

# What may know the future: the label and the two flags that are read off the whole history.
NOT_FEATURES = {"has_transaction", "is_mature", "is_bot"}
LATER_MS = [gap for gap in GAPS_MS if gap > 0]
STEPS = ["view", "addtocart", "transaction"]


class Cut(NamedTuple):
    """The decision event of one row: what is at or before it is the past."""

    visitor: str
    event: Event

    @property
    def ms(self) -> int:
        return self.event.timestamp

    def knows(self, event: Event) -> bool:
        """Other visitors' events count as past up to the same millisecond; the visitor's own up to the event."""
        if event.timestamp != self.ms or event.visitorid != self.visitor:
            return event.timestamp <= self.ms
        return order_key(event, STEPS) <= order_key(self.event, STEPS)


def cuts(reference: Reference) -> list[Cut]:
    return [Cut(session.visitor, session.facts[position].raw) for _, session, position in reference.decisions()]


def features(project: Project, world: World) -> Rows:
    """Everything in session_features that must not know the future, as text that shows every bit."""
    rows = read(project.build(world, until="session_features"), "session_features", FEATURE_KEY)
    return {
        key: {column: repr(value) for column, value in row.items() if column not in NOT_FEATURES}
        for key, row in rows.items()
    }


def moved(project: Project, world: World, changed: World, cut: Cut) -> list[str]:
    """Rows decided at or before the cut, and what differs in them when the future is another."""
    decided = {
        (session.session_id, point): session.facts[position].raw
        for point, session, position in world.reference().decisions()
    }
    past = {key for key, event in decided.items() if cut.knows(event)}
    before, after = features(project, world), features(project, changed)
    found = [f"{key} is gone" for key in past if key not in after]
    found += [
        f"{key}.{column}: {before[key][column]} became {after[key][column]}"
        for key in past & after.keys()
        for column in before[key]
        if before[key][column] != after[key][column]
    ]
    # No row may appear either; at the cut's own millisecond the visitor's later rows are future.
    for key in after.keys() - past:
        when = int(after[key]["decided_ms"])
        if when < cut.ms or (when == cut.ms and after[key]["visitor_id"] != repr(cut.visitor)):
            found.append(f"{key} is new")
    return sorted(found)


def later_events(cut: Cut) -> st.SearchStrategy[Event]:
    return st.builds(
        lambda gap, visitor, step, item, order, price: Event(
            cut.ms + gap, visitor, step, item, order if step == "transaction" else None, price
        ),
        st.sampled_from(LATER_MS),
        st.sampled_from([cut.visitor, *VISITORS[:3], "newcomer"]),
        st.sampled_from(STEPS),
        st.sampled_from(ITEMS[:3]),
        st.sampled_from([None, "o1", "o2"]),
        st.sampled_from([None, Decimal("3.0000")]),
    )


def later_properties(cut: Cut) -> st.SearchStrategy[Property]:
    return st.sampled_from(sorted(OTHER_VALUES)).flatmap(
        lambda name: st.builds(
            lambda gap, item, value: Property(cut.ms + gap, item, name, value),
            st.sampled_from(LATER_MS),
            st.sampled_from(ITEMS[:3]),
            st.sampled_from(OTHER_VALUES[name]),
        )
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(world=shrinking_worlds(), data=st.data())
@pytest.mark.statistics
def test_no_feature_moves_with_the_future(world: World, data: st.DataObject) -> None:
    choices = cuts(world.reference())
    assume(choices)
    cut = data.draw(st.sampled_from(choices), label="cut")
    future = [event for event in world.events if not cut.knows(event)]
    kept = data.draw(st.lists(st.sampled_from(future), unique=True) if future else st.just([]), label="kept")
    added = data.draw(st.lists(later_events(cut), max_size=8), label="added events")
    later = data.draw(st.lists(later_properties(cut), max_size=4), label="added properties")
    changed = World(
        [event for event in world.events if cut.knows(event)] + kept + added,
        [row for row in world.properties if row.timestamp <= cut.ms] + later,
        world.categories,
    )
    assert not moved(compile_project(), world, changed, cut)


def other_future(world: World, cut: Cut, random: Random) -> World:
    """The same past; of the future a random half, and as much again that is new."""
    events = [event for event in world.events if cut.knows(event) or random.random() < 0.5]
    for _ in range(20):
        visitor = random.choice([cut.visitor, random.choice(world.events).visitorid, "newcomer"])
        events.append(random_event(random, cut.ms + random.choice(LATER_MS), visitor, STEPS, ITEMS))
    properties = [row for row in world.properties if row.timestamp <= cut.ms or random.random() < 0.5]
    properties += [random_property(random, cut.ms + random.choice(LATER_MS), ITEMS) for _ in range(20)]
    return World(events, properties, world.categories)


def first_leak(project: Project, tries: int) -> list[str]:
    for seed in range(tries):
        random = Random(seed)
        world = random_world(500 + seed, visitors=6)
        cut = random.choice(cuts(world.reference()))
        if found := moved(project, world, other_future(world, cut, random), cut):
            return found
    return []


@pytest.mark.statistics
def test_no_feature_moves_in_bigger_worlds() -> None:
    assert not first_leak(compile_project(), tries=15)


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(
            "(select count(*) from funnelift_raw.raw_events where visitorid = visitor_id)", id="visitor total"
        ),
        pytest.param(
            """(select count(*) from funnelift_raw.raw_events where visitorid = visitor_id
            and timestamp between decided_ms and decided_ms + 1800000)""",
            id="rest of the session",
        ),
        pytest.param(
            """(select count(*) from funnelift_raw.raw_events where itemid = item_id
            and timestamp // 86400000 = decided_ms // 86400000)""",
            id="the item's whole day",
        ),
        pytest.param(
            "(select max_by(value, timestamp) from funnelift_raw.raw_item_properties where itemid = item_id)",
            id="the item's latest property",
        ),
        pytest.param("(select max(timestamp) from funnelift_raw.raw_events)", id="high-water mark"),
        pytest.param("has_transaction", id="the label"),
    ],
)
def test_a_leaky_feature_is_caught(leak: str) -> None:
    leaky = compile_project().with_sql("session_features", f"select *, {leak} as leaky_feature from ({{sql}})")
    found = first_leak(leaky, tries=15)
    assert found
    assert all(".leaky_feature:" in difference for difference in found)


def emptied(events: list[Event], random: Random) -> list[Event]:
    return []


def scrambled(events: list[Event], random: Random) -> list[Event]:
    """The same moments, with visitors, items and steps dealt anew."""
    columns: list[list[Any]] = [[getattr(event, name) for event in events] for name in ("visitorid", "event", "itemid")]
    for column in columns:
        random.shuffle(column)
    return [
        event._replace(visitorid=visitor, event=step, itemid=item, transactionid="o" if step == "transaction" else None)
        for event, visitor, step, item in zip(events, *columns, strict=True)
    ]


@pytest.mark.parametrize("change", [emptied, scrambled])
def test_no_feature_moves_at_scale(change: Callable[[list[Event], Random], list[Event]]) -> None:
    world, project = synthetic_world(3000), compile_project()
    moments = sorted(event.timestamp for event in world.events)
    cut_ms = moments[int(len(moments) * 0.6)]
    changed = World(
        [event for event in world.events if event.timestamp <= cut_ms]
        + change([event for event in world.events if event.timestamp > cut_ms], Random(3)),
        [row for row in world.properties if row.timestamp <= cut_ms],
        world.categories,
    )
    before, after = (
        {key: row for key, row in features(project, shop).items() if int(row["decided_ms"]) <= cut_ms}
        for shop in (world, changed)
    )
    assert len(before) > 2000
    assert before == after
