"""Every analysis, run on whole shops, says what a plain pandas recount of the raw events says."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property
from itertools import pairwise
from math import ceil, floor, isclose, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from compiled import CATALOG, ROOT, World, compile_project, create_raw_tables, parsed_project, run_dbt, settings
from reference import Category, Event, Property, price_from_text
from worlds import random_world, read_retailrocket, synthetic_world

ANALYSES = sorted(path.stem for path in (ROOT / "analyses").glob("*.sql"))
OTHER_SHOP: dict[str, Any] = {
    "funnel_steps": ["view", "addtocart", "checkout", "transaction"],
    "session_timeout_seconds": 900,
    "shop_utc_offset_minutes": -210,
    "exclude_bots": True,
    "bot_visitor_events": 40,
    "bot_poll_views": 8,
    "bot_pace_events": 4,
    "bot_pace_mean_gap_seconds": 15,
}
Rows = list[dict[str, Any]]


class Recount:
    """Sessions and carts of a world, cut and counted in pandas."""

    def __init__(self, world: World, **overrides: Any) -> None:
        self.world = world
        self.settings = settings(**overrides)
        self.steps: list[str] = self.settings["funnel_steps"]

    def told(self, events: pd.DataFrame, name: str) -> pd.Series:
        """What the property was last told to be, at each event."""
        rows = pd.DataFrame(self.world.properties, columns=Property._fields).dropna(subset="value")
        rows = rows[rows.property == name].groupby(["itemid", "timestamp"], as_index=False).value.max()
        rows = rows.astype({"timestamp": "int64", "itemid": "str"}).sort_values("timestamp")
        ordered = events[["timestamp", "itemid"]].reset_index().sort_values("timestamp")
        return pd.merge_asof(ordered, rows, on="timestamp", by="itemid").set_index("index").value.reindex(events.index)

    @cached_property
    def events(self) -> pd.DataFrame:
        events = pd.DataFrame(self.world.events, columns=Event._fields).drop_duplicates(ignore_index=True)
        own_price, own_category = events.price.astype(object), events.categoryid.astype(object)
        price_text = self.told(events, self.settings["price_property"])
        events["cost"] = [
            price_from_text(None if pd.isna(text) else text) if pd.isna(own) else own
            for own, text in zip(own_price, price_text, strict=True)
        ]
        events["category"] = own_category.where(
            own_category.notna(), self.told(events, self.settings["category_property"])
        )
        events["step_rank"] = events.event.map(self.steps.index)
        events["order_text"] = events.transactionid.fillna("")
        events["price_order"] = [Decimal(-1) if pd.isna(own) else own for own in own_price]
        events["category_order"] = own_category.fillna("")
        events = events.sort_values(
            ["visitorid", "timestamp", "step_rank", "itemid", "order_text", "price_order", "category_order"]
        )
        gap = events.groupby("visitorid").timestamp.diff()
        events["opens"] = gap.isna() | (gap > self.settings["session_timeout_seconds"] * 1000)
        events["session"] = events.opens.cumsum()
        events["number"] = events.groupby("visitorid").opens.cumsum()
        events["position"] = events.groupby("session").cumcount()
        # An order is its first session's; in another one its events are no step.
        orders = events[(events.event == "transaction") & (events.order_text != "")]
        firsts = orders.sort_values(["timestamp", "visitorid"]).drop_duplicates("order_text")
        owner = dict(zip(firsts.order_text, firsts.session, strict=True))
        events["sent"] = events.event
        events.loc[orders.index[orders.session != orders.order_text.map(owner)], "event"] = "repeated order"
        return events

    @cached_property
    def bots(self) -> set[str]:
        events, limits = self.events, self.settings
        totals = events.groupby("visitorid").size()
        polls = events[events.event == "view"].groupby(["visitorid", "itemid"]).size()
        lines = events[(events.sent == "transaction") & (events.order_text != "")]
        acts = events.timestamp.copy()
        acts[lines.index] = lines.groupby(["session", "order_text"]).timestamp.transform("min")
        runs = (
            events.assign(act=acts)
            .groupby("session")
            .agg(
                visitor=("visitorid", "first"),
                length=("act", "nunique"),
                ms=("timestamp", lambda ms: ms.max() - ms.min()),
            )
        )
        runs = runs[runs.length >= limits["bot_pace_events"]]
        fast = runs[runs.ms < limits["bot_pace_mean_gap_seconds"] * 1000 * (runs.length - 1)]
        return (
            set(totals[totals >= limits["bot_visitor_events"]].index)
            | set(polls[polls >= limits["bot_poll_views"]].reset_index().visitorid)
            | set(fast.visitor)
        )

    @cached_property
    def carts(self) -> pd.DataFrame:
        """One row per session and item put in its cart."""
        bought = self.events[self.events.event == "transaction"]
        pairs = set(zip(bought.session, bought.itemid, strict=True))
        last = bought.groupby(["visitorid", "itemid"]).number.max().to_dict()
        carts = self.events[self.events.event == "addtocart"].drop_duplicates(["session", "itemid"]).copy()
        carts = carts[carts.session.isin(self.sessions.index)]
        carts["left"] = [pair not in pairs for pair in zip(carts.session, carts.itemid, strict=True)]
        later = [last.get(key, 0) for key in zip(carts.visitorid, carts.itemid, strict=True)]
        carts["recovered"] = carts.left & (later > carts.number)
        carts["priced"] = carts.cost.notna()
        carts["worth"] = [Decimal(0) if pd.isna(cost) else cost for cost in carts.cost]
        return carts

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """One row per session, with its segments and the number of events of each step."""
        parents = {category.categoryid: category.parentid for category in self.world.categories}

        def root(category: Any) -> str:
            if pd.isna(category):
                return "unknown"
            while parents.get(category) is not None:
                category = parents[category]
            return str(category)

        events = self.events
        sessions = events[events.opens].set_index("session")[["visitorid", "number", "timestamp", "category"]]
        local = pd.to_datetime(sessions.timestamp + self.settings["shop_utc_offset_minutes"] * 60_000, unit="ms")
        sessions["all"] = "all"
        sessions["visitor_type"] = sessions.number.map(lambda number: "new" if number == 1 else "returning")
        sessions["category"] = sessions.category.map(root)
        sessions["weekday"] = (local.dt.weekday + 1).astype(str)
        sessions["hour"] = local.dt.strftime("%H")
        sessions["day"] = local.dt.strftime("%Y-%m-%d")
        sessions["length"] = events.groupby("session").size()
        counts = events.groupby(["session", "event"]).size().unstack(fill_value=0)
        sessions[self.steps] = counts.reindex(columns=self.steps, fill_value=0)
        return sessions[~sessions.visitorid.isin(self.bots)] if self.settings["exclude_bots"] else sessions

    def seconds(self, start: str, end: str) -> pd.Series:
        """Seconds from the first event of one step to the first of another, where they came in that order."""
        firsts = self.events.drop_duplicates(["session", "event"]).pivot(
            index="session", columns="event", values=["position", "timestamp"]
        )
        in_order = firsts["position"][start] < firsts["position"][end]
        return ((firsts["timestamp"][end] - firsts["timestamp"][start]) / 1000)[in_order]

    def segments(self, *names: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
        for name in names:
            for value, rows in self.sessions.groupby(name):
                yield name, str(value), rows


@dataclass(frozen=True)
class Shop:
    """A world recounted, and the analyses' answers about it."""

    recount: Recount
    answers: dict[str, Rows]

    def keyed(self, analysis: str, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
        rows = {tuple(row[part] for part in key): row for row in self.answers[analysis]}
        assert len(rows) == len(self.answers[analysis]), f"{analysis}: key {key} is not unique"
        return rows


@cache
def compile_analyses(overrides_json: str) -> dict[str, str]:
    """Each analysis as SQL, under changed vars."""
    with TemporaryDirectory() as scratch:
        database = Path(scratch) / f"{CATALOG}.duckdb"
        with duckdb.connect(str(database)) as connection:
            create_raw_tables(connection)
        outcome = run_dbt(
            *("compile", "--select", "resource_type:analysis"),
            database=database,
            manifest=parsed_project().deepcopy(),
            **json.loads(overrides_json),
        )
    assert outcome.success, outcome.errors
    return {result.node.name: result.node.compiled_code for result in outcome.result}


def answer(world: World, **overrides: Any) -> Shop:
    queries = compile_analyses(json.dumps(overrides))
    assert sorted(queries) == ANALYSES
    connection = compile_project(**overrides).build(world)
    answers = {}
    for name, query in queries.items():
        cursor = connection.execute(query)
        columns = [column[0] for column in cursor.description]
        answers[name] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return Shop(Recount(world, **overrides), answers)


@pytest.fixture(scope="module", params=["sample", "synthetic", "other shop"])
def shop(request: pytest.FixtureRequest) -> Shop:
    if request.param == "sample":
        folder: Path = request.getfixturevalue("shared_data") / "retailrocket_sample"
        return answer(read_retailrocket(folder))
    if request.param == "synthetic":
        return answer(synthetic_world(3000))
    world = random_world(5, visitors=80, steps=OTHER_SHOP["funnel_steps"])
    return answer(world, **OTHER_SHOP)


def same(expected: Any, got: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, float):
        return isclose(expected, got, rel_tol=1e-9, abs_tol=1e-12)
    return bool(expected == got)


def assert_rows(expected: dict[tuple[Any, ...], dict[str, Any]], got: dict[tuple[Any, ...], dict[str, Any]]) -> None:
    """The same rows, and in each of them the same values in the columns expected."""
    assert expected.keys() == got.keys()
    differences = [
        f"{key}.{column}: expected {value!r}, got {got[key][column]!r}"
        for key, row in expected.items()
        for column, value in row.items()
        if not same(value, got[key][column])
    ]
    assert not differences, differences[:10]


def share(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def wilson(successes: int, trials: int) -> tuple[float, float]:
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def enough(trials: int, shop_rate: float | None) -> int:
    return int(shop_rate is not None and trials * shop_rate >= 10 and trials * (1 - shop_rate) >= 10)


def against(
    has_enough: int, low: float | None, high: float | None, whole: float | None, words: tuple[str, str]
) -> str | None:
    if not has_enough or low is None or high is None or whole is None:
        return None
    return words[0] if low > whole else words[1] if high < whole else None


def total(values: pd.Series) -> Decimal:
    return sum(values, Decimal(0))


def test_every_analysis_returns_rows(shop: Shop) -> None:
    assert {name for name, rows in shop.answers.items() if rows} == set(ANALYSES)


def test_baseline_counts(shop: Shop) -> None:
    recount = shop.recount
    events, sessions, raw = recount.events, recount.sessions, len(recount.world.events)
    visitors = sessions.groupby("visitorid").agg(sessions=("number", "size"), sales=("transaction", "sum"))
    many, buyer = visitors.sessions > 1, visitors.sales > 0
    cart, sale = sessions.addtocart > 0, sessions.transaction > 0
    expected: dict[str, tuple[int, int | None]] = {
        "lines_read": (raw, None),
        "lines_rejected": (0, raw),
        "lines_ignored": (0, raw),
        "raw_rows": (raw, None),
        "exact_duplicates": (raw - len(events), raw),
        "events": (len(events), raw),
        **{f"{step}_events": (int((events.sent == step).sum()), len(events)) for step in recount.steps},
        "visitors": (len(visitors), None),
        "returning_visitors": (int(many.sum()), len(visitors)),
        "sessions": (len(sessions), None),
        "sessions_per_visitor": (len(sessions), len(visitors)),
        "events_per_session": (int(sessions.length.sum()), len(sessions)),
        "one_event_sessions": (int((sessions.length == 1).sum()), len(sessions)),
        "cart_sessions": (int(cart.sum()), len(sessions)),
        "converting_sessions": (int(sale.sum()), len(sessions)),
        "converting_of_carts": (int((cart & sale).sum()), int(cart.sum())),
        "converting_cartless": (int((sale & ~cart).sum()), int(sale.sum())),
        "buyers": (int(buyer.sum()), len(visitors)),
        "one_session_buyers": (int((buyer & ~many).sum()), int((~many).sum())),
        "multi_session_buyers": (int((buyer & many).sum()), int(many.sum())),
        "bot_visitors": (len(recount.bots), events.visitorid.nunique()),
        "bot_events": (int(events.visitorid.isin(recount.bots).sum()), len(events)),
    }
    assert_rows(
        {
            (metric,): {"metric_number": number, "amount": amount, "out_of": out_of, "ratio": share(amount, out_of)}
            for number, (metric, (amount, out_of)) in enumerate(expected.items(), start=1)
        },
        shop.keyed("baseline_counts", "metric"),
    )


def test_highest_dropoff_step(shop: Shop) -> None:
    recount, pairs = shop.recount, list(pairwise(shop.recount.steps))
    left = recount.carts[recount.carts.left].groupby("session").worth.agg(total)
    shop_rates = {
        step: float((recount.sessions.loc[recount.sessions[step] > 0, recount.steps[number:]] == 0).all(axis=1).mean())
        for number, (step, _) in enumerate(pairs, start=1)
    }
    expected: dict[tuple[Any, ...], dict[str, Any]] = {}
    for breakdown, value, rows in recount.segments("all", "visitor_type", "category", "weekday", "hour"):
        found: dict[str, dict[str, Any]] = {}
        for number, (step, after) in enumerate(pairs, start=1):
            entered = rows[rows[step] > 0]
            if entered.empty:
                continue
            ended = entered[(entered[recount.steps[number:]] == 0).all(axis=1)].index
            dropped = len(ended)
            low, high = wilson(dropped, len(entered))
            has_enough = enough(len(entered), shop_rates[step])
            found[step] = {
                "next_step": after,
                "step_number": number,
                "entered": len(entered),
                "dropped_off": dropped,
                "dropoff_rate": dropped / len(entered),
                "dropoff_low": low,
                "dropoff_high": high,
                "shop_dropoff_rate": shop_rates[step],
                "highest_step": None,
                "has_enough": has_enough,
                "against_shop": against(has_enough, low, high, shop_rates[step], ("higher", "lower")),
                "revenue_lost": total(left.reindex(ended).dropna()),
            }
        if not found:
            continue  # sessions of the segment have no event of any step but the last
        highest = max(found, key=lambda step: (found[step]["dropoff_rate"], -found[step]["step_number"]))
        others = [row["dropoff_high"] for step, row in found.items() if step != highest]
        clear = bool(others) and found[highest]["dropoff_low"] > max(others)
        found[highest]["highest_step"] = "clear" if clear else "not clear"
        expected |= {(breakdown, value, step): row for step, row in found.items()}
    assert_rows(expected, shop.keyed("highest_dropoff_step", "breakdown", "breakdown_value", "step"))


def test_when_and_where(shop: Shop) -> None:
    recount = shop.recount

    def measures(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
        cart, sale = rows.addtocart > 0, rows.transaction > 0
        return {
            "cart": (len(rows), int(cart.sum())),
            "conversion": (len(rows), int(sale.sum())),
            "abandonment": (int(cart.sum()), int((cart & ~sale).sum())),
        }

    whole = measures(recount.sessions)
    expected: dict[tuple[Any, ...], dict[str, Any]] = {}
    for breakdown, value, rows in recount.segments("all", "weekday", "hour", "category"):
        for measure, (trials, successes) in measures(rows).items():
            if not trials:
                continue
            shop_rate = share(whole[measure][1], whole[measure][0])
            low, high = wilson(successes, trials)
            has_enough = enough(trials, shop_rate)
            expected[breakdown, value, measure] = {
                "trials": trials,
                "share_of_trials": share(trials, whole[measure][0]),
                "successes": successes,
                "rate": share(successes, trials),
                "rate_low": low,
                "rate_high": high,
                "shop_rate": shop_rate,
                "has_enough": has_enough,
                "against_shop": against(has_enough, low, high, shop_rate, ("higher", "lower")),
            }
    got = shop.keyed("when_and_where", "breakdown", "breakdown_value", "measure")
    assert_rows(expected, got)
    for wanted in {(breakdown, measure) for breakdown, _, measure in expected}:
        group = {key: row for key, row in expected.items() if (key[0], key[2]) == wanted}
        ranked = {got[key]["place"]: row["rate"] for key, row in group.items() if row["has_enough"]}
        # Equal rates may stand in either order here; the places are taken in any case.
        assert [ranked[place] for place in range(1, len(ranked) + 1)] == sorted(ranked.values(), reverse=True)
        assert all(got[key]["place"] is None for key, row in group.items() if not row["has_enough"])


def test_revenue_lost_to_abandonment(shop: Shop) -> None:
    recount = shop.recount
    whole = total(recount.carts[recount.carts.left].worth)
    expected: dict[tuple[Any, ...], dict[str, Any]] = {}
    for breakdown, value, rows in recount.segments("all", "visitor_type", "category", "weekday", "hour", "day"):
        carts = recount.carts[recount.carts.session.isin(rows.index)]
        left = carts[carts.left]
        beside = left.session.isin(rows[rows.transaction > 0].index)
        expected[breakdown, value] = {
            "sessions": len(rows),
            "cart_sessions": int((rows.addtocart > 0).sum()),
            "leaving_sessions": left.session.nunique(),
            "carted_value": total(carts.worth),
            "abandoned_value": total(left.worth),
            "left_without_purchase": total(left[~beside].worth),
            "left_beside_purchase": total(left[beside].worth),
            "recovered_value": total(left[left.recovered].worth),
            "abandoned_share": share(total(left.worth), total(carts.worth)),
            "share_of_shop": share(total(left.worth), whole),
            "carted_items": len(carts),
            "abandoned_items": len(left),
            "recovered_items": int(left.recovered.sum()),
            "carted_items_without_price": int((~carts.priced).sum()),
            "abandoned_items_without_price": int((~left.priced).sum()),
            "priced_share": share(left.priced.sum(), len(left)),
        }
    got = shop.keyed("revenue_lost_to_abandonment", "breakdown", "breakdown_value")
    assert_rows(expected, got)
    # The funnel's losses are those of the sessions that bought nothing.
    lost = [row["revenue_lost"] for row in shop.answers["highest_dropoff_step"] if row["breakdown"] == "all"]
    assert sum(lost) == got["all", "all"]["left_without_purchase"]


def test_top_abandoned_items(shop: Shop) -> None:
    recount, got = shop.recount, shop.answers["top_abandoned_items"]
    whole = total(recount.carts[recount.carts.left].worth)
    items: list[dict[str, Any]] = []
    for item, carts in recount.carts.groupby("itemid"):
        left = carts[carts.left]
        if not left.empty:
            items.append(
                {
                    "item_id": item,
                    "abandoned_value": total(left.worth),
                    "carts": len(carts),
                    "abandoned_carts": len(left),
                    "abandonment_rate": len(left) / len(carts),
                    "abandoning_visitors": left.visitorid.nunique(),
                    "recovered_carts": int(left.recovered.sum()),
                    "carts_without_price": int((~left.priced).sum()),
                }
            )
    items.sort(key=lambda row: (-row["abandoned_value"], -row["abandoned_carts"], str(row["item_id"]).encode()))
    running = Decimal(0)
    for place, row in enumerate(items[:50], start=1):
        running += row["abandoned_value"]
        row["place"] = place
        row["share_of_shop"], row["running_share"] = share(row["abandoned_value"], whole), share(running, whole)
    assert_rows({(row["place"],): row for row in items[:50]}, {(row["place"],): row for row in got})


def median_ranks(places: int) -> tuple[int, int]:
    """Ranks of the interval for a median, as the analysis states them."""
    half = 0.979981992270027 * sqrt(places)
    return floor(places / 2 - half), ceil(places / 2 + half) + 1


def test_time_to_convert(shop: Shop) -> None:
    recount = shop.recount
    pairs = dict.fromkeys([*pairwise(recount.steps), ("view", "addtocart"), ("addtocart", "transaction")])
    expected: dict[tuple[Any, ...], dict[str, Any]] = {}
    for start, end in pairs:
        seconds, shop_median = recount.seconds(start, end), None
        for breakdown, value, rows in recount.segments("all", "visitor_type", "category", "weekday", "hour"):
            both = rows[(rows[start] > 0) & (rows[end] > 0)].index
            times = sorted(seconds.reindex(both).dropna())
            if both.empty:
                continue
            low_rank, high_rank = median_ranks(len(times))
            fits = low_rank >= 1 and high_rank <= len(times)
            low, high = (times[low_rank - 1], times[high_rank - 1]) if fits else (None, None)
            quantiles = pd.Series(times, dtype=float)
            middle = float(quantiles.median()) if times else None
            shop_median = middle if breakdown == "all" else shop_median
            has_enough = int(len(times) >= 30)
            expected[start, end, breakdown, value] = {
                "sessions_with_both": len(both),
                "sessions_in_order": len(times),
                "in_order_share": len(times) / len(both),
                "median_seconds": middle,
                "median_low": low,
                "median_high": high,
                "p25_seconds": times[ceil(len(times) / 4) - 1] if times else None,
                "p75_seconds": times[ceil(3 * len(times) / 4) - 1] if times else None,
                "has_enough": has_enough,
                "against_shop": against(has_enough, low, high, shop_median, ("slower", "faster")),
            }
    assert_rows(expected, shop.keyed("time_to_convert", "from_step", "to_step", "breakdown", "breakdown_value"))


def test_the_interval_of_a_median_holds_what_it_promises() -> None:
    for places in range(30, 3000, 7):
        low, high = median_ranks(places)
        coverage = binom.cdf(high - 1, places, 0.5) - binom.cdf(low - 1, places, 0.5)
        assert 0.95 <= coverage < 0.99, places


def test_every_branch_was_seen() -> None:
    """A shop with two kinds of visitor: segments that differ from the whole shop are called so, in either direction."""
    minute, day, start = 60_000, 86_400_000, 1_433_116_800_000
    events = []
    for number in range(400):
        opened = start + (number % 2) * 12 * 60 * minute + (number // 100) * day
        events.append(Event(opened, f"v{number}", "view", "dear" if number % 2 else "cheap"))
        if number % 2 == 0 or number % 20 == 1:
            pause = minute * (2 if number % 2 else 9) + number
            events.append(Event(opened + pause, f"v{number}", "addtocart", "cheap" if number % 2 else "dear"))
            if number % 4 == 0:
                events.append(Event(opened + 2 * pause, f"v{number}", "transaction", "dear", f"o{number}"))
    for number in range(10):
        events.append(Event(start + 20 * day + 12 * 60 * minute, f"v{number}", "transaction", "dear", f"late{number}"))
    properties = [Property(start - day, "dear", "790", "n40.000"), Property(start - day, "cheap", "790", "n1.500")]
    shop = answer(World(events, properties, [Category("top", None)]))
    for analysis, words in {
        "highest_dropoff_step": {"higher", "lower"},
        "when_and_where": {"higher", "lower"},
        "time_to_convert": {"slower", "faster"},
    }.items():
        assert words <= {row["against_shop"] for row in shop.answers[analysis]}, analysis
    assert {"clear", "not clear"} <= {row["highest_step"] for row in shop.answers["highest_dropoff_step"]}
    whole = shop.keyed("revenue_lost_to_abandonment", "breakdown", "breakdown_value")["all", "all"]
    assert whole["recovered_value"] == Decimal(40) * 2, "visitors 2 and 6 came back for what they had left"
    for check in (
        test_highest_dropoff_step,
        test_when_and_where,
        test_revenue_lost_to_abandonment,
        test_time_to_convert,
    ):
        check(shop)


def test_headers_and_documentation() -> None:
    guide = (ROOT / "docs" / "analyses.md").read_text()
    for name in ANALYSES:
        text = (ROOT / "analyses" / f"{name}.sql").read_text()
        header = text[: text.index("{%-")]
        assert re.match(r"-- Question: .+\?\n(-- .+\n)*-- Grain: one row .+\n", header), name
        assert f"-- Run: dbt show --select {name} " in header
        assert f"`{name}`" in guide
