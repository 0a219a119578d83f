"""How close synthetic data come to the published figures: `python -m ingest.synth.marginals DIR [DIR ...]`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import duckdb

from ingest.synth.calibration import (
    BUYERS_BY_HOUR,
    EVENTS_BY_HOUR,
    EVENTS_BY_WEEKDAY,
    EXACT_DUPLICATE_SHARE,
    ITEMS_SEEN,
    ITEMS_WITH_PROPERTIES,
    SESSIONS_BY_DAY,
    VISITORS,
    VISITORS_BY_HOUR,
)

_FACTS = "data set counts"
_SAMPLE = "public sample"
_CATEGORY = "category_analysis.csv"
_DISTRIBUTION = "distribution_results.csv"
_PROBABILITY = "probability_results.csv"
_CONVERSION = "conversion_metrics.csv"
_SERIES = "time_series_data.csv"
_SEGMENTS = "behavior_segments.csv"
_ABANDONMENT = "cart_abandonment.csv"
_BUSY_HOURS = (21, 22, 23, 0, 1, 2, 3, 4)
_QUIET_HOURS = tuple(range(13, 21))


@dataclass(frozen=True)
class Marginal:
    """One published figure and how far a synthetic data set may be from it.

    Parameters
    ----------
    key : str
        Column of the measuring query.
    name : str
        What is measured, with its unit.
    published : float
        The published figure.
    tolerance : float
        Largest accepted distance: a share of the figure, or in the figure's own unit if `absolute`.
    source : str
        Where it is published.
    absolute : bool
        Whether `tolerance` is in the figure's own unit.
    """

    key: str
    name: str
    published: float
    tolerance: float
    source: str
    absolute: bool = False

    def accepts(self, measured: float) -> bool:
        """Return whether a measured figure is within the tolerance."""
        return abs(measured - self.published) <= self.tolerance * (1.0 if self.absolute else abs(self.published))


def _rate(parts: tuple[int, ...], wholes: tuple[int, ...], at: tuple[int, ...]) -> float:
    return sum(parts[i] for i in at) / sum(wholes[i] for i in at)


MARGINALS = (
    Marginal("sessions_per_visitor", "sessions per visitor, mean", 1.2516, 0.03, _FACTS),
    Marginal("returning_percent", "visitors with more than one session, %", 12.904, 0.05, _PROBABILITY),
    Marginal("events_per_session", "events per session, mean", 1.5642, 0.05, _DISTRIBUTION),
    Marginal("single_event_percent", "sessions of one event, %", 78.0, 0.02, _FACTS),
    Marginal("session_events_p99", "events per session, p99", 7, 1, _SAMPLE, absolute=True),
    Marginal("visitor_events_p99", "events per visitor, p99", 11, 2, _SAMPLE, absolute=True),
    Marginal("views_per_visitor", "views per visitor, mean", 1.8928, 0.05, _DISTRIBUTION),
    Marginal(
        "four_views_percent", "visitors with four or more views, %", 113_451 / VISITORS * 100, 0.15, _DISTRIBUTION
    ),
    Marginal("within_p25", "gap within a session, p25, s", 29, 0.1, _SAMPLE),
    Marginal("within_p50", "gap within a session, p50, s", 74, 0.1, _SAMPLE),
    Marginal("within_p75", "gap within a session, p75, s", 166, 0.1, _SAMPLE),
    Marginal("within_p95", "gap within a session, p95, s", 810, 0.1, _SAMPLE),
    Marginal("between_p25", "gap between sessions, p25, h", 8.9, 0.2, _SAMPLE),
    Marginal("between_p50", "gap between sessions, p50, h", 48.5, 0.2, _SAMPLE),
    Marginal("between_p75", "gap between sessions, p75, h", 234, 0.2, _SAMPLE),
    Marginal("hour_distance", "events by hour (UTC+6): share in another hour, %", 0, 2.0, _SERIES, absolute=True),
    Marginal("weekday_distance", "events by weekday: share on another weekday, %", 0, 2.0, _SERIES, absolute=True),
    Marginal("day_distance", "sessions by day: share on another day, %", 0, 3.0, _SERIES, absolute=True),
    Marginal(
        "category_slope", "views by category, log-log slope of the first 300", -0.77, 0.05, _CATEGORY, absolute=True
    ),
    Marginal("root_share_percent", "views in the busiest root category, %", 28.9, 0.2, _CATEGORY),
    Marginal(
        "unlisted_percent", "views of items without properties, %", (1 - 2_409_950 / 2_664_312) * 100, 0.25, _CATEGORY
    ),
    Marginal("sold_out_percent", "views of items out of stock, %", 1_435_125 / 2_409_950 * 100, 0.15, _CATEGORY),
    Marginal("items_seen_per_visitor", "items seen over visitors", ITEMS_SEEN / VISITORS, 0.1, _FACTS),
    Marginal(
        "items_listed_per_visitor",
        "items with properties over visitors",
        ITEMS_WITH_PROPERTIES / VISITORS,
        0.03,
        _FACTS,
    ),
    Marginal("cart_visitor_percent", "visitors with a cart, %", 2.680, 0.12, _PROBABILITY),
    Marginal("buyer_percent", "visitors who buy, %", 0.8326, 0.12, _PROBABILITY),
    Marginal("single_buyer_percent", "one-session visitors who buy, %", 0.4339, 0.15, _CONVERSION),
    Marginal("multi_buyer_percent", "visitors with more sessions who buy, %", 3.5236, 0.12, _CONVERSION),
    Marginal("buyer_ratio", "more sessions over one session, buyers, times", 3.5236 / 0.4339, 0.2, _CONVERSION),
    Marginal(
        "single_cart_percent", "one-session visitors with a cart, %", 22_266 / 1_225_947 * 100, 0.15, _ABANDONMENT
    ),
    Marginal(
        "multi_cart_percent", "visitors with more sessions with a cart, %", 15_456 / 181_633 * 100, 0.12, _ABANDONMENT
    ),
    Marginal("cart_buyer_percent", "visitors with a cart who buy, %", 28.04, 0.15, _ABANDONMENT),
    Marginal("heavy_buyer_percent", "visitors with four or more views who buy, %", 5.390, 0.2, "ab_test_results.csv"),
    Marginal("cart_session_percent", "sessions with a cart, %", 38_726 / 1_761_660 * 100, 0.12, _FACTS),
    Marginal("buying_session_percent", "sessions with a transaction, %", 11_143 / 1_761_660 * 100, 0.2, _FACTS),
    Marginal("carts_per_100_events", "carts in 100 events", 69_332 / 27_561.01, 0.15, _FACTS),
    Marginal("sales_per_100_events", "transaction rows in 100 events", 22_457 / 27_561.01, 0.15, _FACTS),
    Marginal("rows_per_order", "transaction rows per order", 22_457 / 17_672, 0.1, _FACTS),
    Marginal("orders_per_buyer", "orders per buyer", 17_672 / 11_719, 0.15, _FACTS),
    Marginal(
        "repeat_buyer_percent", "buyers with more than one transaction row, %", 2_576 / 11_719 * 100, 0.25, _SEGMENTS
    ),
    Marginal("repeat_percent", "steps that repeat the previous item, %", 27.6, 3.0, _SAMPLE, absolute=True),
    Marginal("seen_percent", "steps to an item seen before in the session, %", 39.1, 5.0, _SAMPLE, absolute=True),
    Marginal("reopened_percent", "returns that open with an item seen before, %", 44.3, 6.0, _SAMPLE, absolute=True),
    Marginal(
        "blind_cart_percent", "carts with no earlier view of the item, %", 17 / 62 * 100, 8.0, _SAMPLE, absolute=True
    ),
    Marginal(
        "cartless_sale_percent",
        "transaction rows with no earlier cart of the item, %",
        2 / 14 * 100,
        8.0,
        _SAMPLE,
        absolute=True,
    ),
    Marginal(
        "double_fire_percent", "events fired twice within 100 ms, %", 8 / 2_771 * 100, 0.1, _SAMPLE, absolute=True
    ),
    Marginal(
        "duplicate_permille", "exact duplicates in 1,000 rows", EXACT_DUPLICATE_SHARE * 1000, 0.1, _FACTS, absolute=True
    ),
    Marginal(
        "hour_ratio",
        "buyers among visitors, hours 21-4 over 13-20 (UTC+6), times",
        _rate(BUYERS_BY_HOUR, VISITORS_BY_HOUR, _BUSY_HOURS) / _rate(BUYERS_BY_HOUR, VISITORS_BY_HOUR, _QUIET_HOURS),
        0.3,
        _CONVERSION,
    ),
    Marginal("weekend_ratio", "buyers among visitors, weekend over weekday, times", 0.6295 / 0.8771, 0.2, _CONVERSION),
)

_MEASURES = """
with sums as (
    select
        sum(event_count) as events, count(*) as sessions, 100.0 * avg((event_count = 1)::int) as single_event_percent,
        quantile_disc(event_count, 0.99) as session_events_p99,
        100.0 * avg((carts > 0)::int) as cart_session_percent, 100.0 * avg((sales > 0)::int) as buying_session_percent
    from session
), people as (
    select
        count(*) as visitors, avg(sessions) as sessions_per_visitor,
        100.0 * avg((sessions > 1)::int) as returning_percent,
        quantile_disc(events, 0.99) as visitor_events_p99, avg(views) as views_per_visitor,
        100.0 * avg((views >= 4)::int) as four_views_percent, 100.0 * avg(has_cart) as cart_visitor_percent,
        100.0 * avg(buys) as buyer_percent, 100.0 * avg(buys) filter (sessions = 1) as single_buyer_percent,
        100.0 * avg(buys) filter (sessions > 1) as multi_buyer_percent, sum(buys) as buyers,
        100.0 * avg((sales > 1)::int) filter (buys = 1) as repeat_buyer_percent,
        100.0 * avg(has_cart) filter (sessions = 1) as single_cart_percent,
        100.0 * avg(has_cart) filter (sessions > 1) as multi_cart_percent,
        100.0 * avg(buys) filter (has_cart = 1) as cart_buyer_percent,
        100.0 * avg(buys) filter (views >= 4) as heavy_buyer_percent
    from visitor
), steps as (
    select
        quantile_cont(gap_ms / 1e3, [0.25, 0.5, 0.75, 0.95]) filter (not opens) as within,
        quantile_cont(gap_ms / 36e5, [0.25, 0.5, 0.75]) filter (opens and gap_ms is not null) as between_sessions,
        100.0 * avg((itemid = previous_item)::int) filter (not opens) as repeat_percent,
        100.0 * avg(seen_in_session::int) filter (not opens) as seen_percent,
        100.0 * avg(seen::int) filter (opens and gap_ms is not null) as reopened_percent,
        100.0 * avg((not viewed)::int) filter (event = 'addtocart') as blind_cart_percent,
        100.0 * avg((not carted)::int) filter (event = 'transaction') as cartless_sale_percent,
        100.0 * avg(twice::int) as double_fire_percent,
        100.0 * count(*) filter (event = 'addtocart') / count(*) as carts_per_100_events,
        100.0 * count(*) filter (event = 'transaction') / count(*) as sales_per_100_events,
        count(*) filter (event = 'transaction') as sales, count(distinct transactionid) as orders,
        count(distinct itemid) as items
    from walk
), category_views as (
    select p.categoryid, count(*) as views, row_number() over (order by count(*) desc, p.categoryid) as place
    from walk join item_category as p using (itemid) where event = 'view' group by 1
), category_shape as (
    select regr_slope(ln(views), ln(place)) as category_slope from category_views where place <= 300
), root_shape as (
    select 100.0 * max(views) / sum(views) as root_share_percent
    from (select root, sum(views) as views from category_views join root using (categoryid) group by 1)
), listed as (
    select count(distinct itemid) as listed from property
), stock as (
    select 100.0 * avg((s.value = '0')::int) as sold_out_percent
    from (select itemid, timestamp from walk where event = 'view') as w
    asof join (select itemid, timestamp, value from property where property = 'available') as s
        on w.itemid = s.itemid and w.timestamp >= s.timestamp
), unlisted as (
    select 100.0 * avg((itemid not in (select itemid from item_category))::int) as unlisted_percent
    from walk where event = 'view'
), moments as (
    select
        extract(hour from local_at) as hour, extract(isodow from local_at) - 1 as weekday,
        local_at::date - date '2015-05-03' as day, visitorid, event, opens
    from walk
), hours as (
    select 50.0 * sum(abs(n / total - share)) as hour_distance
    from (select hour, count(*) as n, sum(count(*)) over () as total from moments group by 1)
    join (select unnest(range(24)) as hour, unnest($hours) as share) using (hour)
), weekdays as (
    select 50.0 * sum(abs(n / total - share)) as weekday_distance
    from (select weekday, count(*) as n, sum(count(*)) over () as total from moments group by 1)
    join (select unnest(range(7)) as weekday, unnest($weekdays) as share) using (weekday)
), days as (
    select 50.0 * sum(abs(coalesce(n / total, 0) - share)) as day_distance
    from (select unnest(range(len($days))) as day, unnest($days) as share)
    left join (select day, count(*) as n, sum(count(*)) over () as total from moments where opens group by 1)
        using (day)
), visits_by_hour as (
    select visitorid, hour, max((event = 'transaction')::int) as buys from moments group by 1, 2
), hour_effect as (
    select avg(buys) filter (hour >= 21 or hour <= 4) / avg(buys) filter (hour between 13 and 20) as hour_ratio
    from visits_by_hour
), weekend_effect as (
    select avg(buys) filter (weekend) / avg(buys) filter (not weekend) as weekend_ratio
    from (
        select visitorid, weekday >= 5 as weekend, max((event = 'transaction')::int) as buys from moments group by 1, 2
    )
)
select
    * exclude (within, between_sessions),
    within[1] as within_p25, within[2] as within_p50, within[3] as within_p75, within[4] as within_p95,
    between_sessions[1] as between_p25, between_sessions[2] as between_p50, between_sessions[3] as between_p75,
    events / sessions as events_per_session, multi_buyer_percent / single_buyer_percent as buyer_ratio,
    steps.sales / orders as rows_per_order, orders / buyers as orders_per_buyer,
    items / visitors as items_seen_per_visitor, listed / visitors as items_listed_per_visitor,
    1000.0 * (select count(*) - count(distinct raw) from raw) / (select count(*) from raw) as duplicate_permille
from sums, people, steps, category_shape, root_shape, listed, stock, unlisted, hours, weekdays, days, hour_effect,
    weekend_effect
"""

_PREPARE = """
create table raw as from read_csv($events, header = true, types = {'transactionid': 'bigint'});
create table property as
    from read_csv($properties, header = true, types = {'property': 'varchar', 'value': 'varchar'});
create table category as from read_csv($tree, header = true, types = {'parentid': 'bigint'});
create table item_category as
    select itemid, arg_max(value::bigint, timestamp) as categoryid
    from property where property = 'categoryid' group by 1;
create table root as
    with recursive up(categoryid, root) as (
        select categoryid, categoryid from category where parentid is null
        union all
        select c.categoryid, up.root from category as c join up on c.parentid = up.categoryid
    )
    from up;
create table step as
    select
        distinct on (timestamp, visitorid, event, itemid, transactionid) *,
        case event when 'view' then 1 when 'addtocart' then 2 else 3 end as place
    from raw;
create table walk as
    with gaps as (
        select
            *, timestamp - lag(timestamp) over visit as gap_ms, lag(itemid) over visit as previous_item,
            min(timestamp) over item < timestamp or row_number() over item > 1 as seen,
            min(timestamp) filter (event = 'view') over item is not null as viewed,
            min(timestamp) filter (event = 'addtocart') over item is not null as carted,
            coalesce(timestamp - lag(timestamp) over same <= 100, false) as twice
        from step
        window
            visit as (partition by visitorid order by timestamp, place, itemid, transactionid),
            item as (partition by visitorid, itemid order by timestamp, place, transactionid
                rows between unbounded preceding and current row),
            same as (partition by visitorid, itemid, event order by timestamp)
    ), numbered as (
        select
            *, coalesce(gap_ms > 1800000, true) as opens,
            sum(coalesce(gap_ms > 1800000, true)::int) over (
                partition by visitorid order by timestamp, place, itemid, transactionid rows unbounded preceding
            ) as session_number
        from gaps
    )
    select
        *, row_number() over (partition by visitorid, session_number, itemid order by timestamp, place) > 1
            as seen_in_session,
        make_timestamp(timestamp * 1000) + interval 6 hour as local_at
    from numbered;
create table session as
    select
        visitorid, session_number, count(*) as event_count, count(*) filter (event = 'view') as views,
        count(*) filter (event = 'addtocart') as carts, count(*) filter (event = 'transaction') as sales
    from walk group by 1, 2;
create table visitor as
    select
        visitorid, count(*) as sessions, sum(event_count) as events, sum(views) as views, sum(sales) as sales,
        max((carts > 0)::int) as has_cart, max((sales > 0)::int) as buys
    from session group by 1;
"""


def measure(folder: Path) -> dict[str, float]:
    """Measure a folder of RetailRocket files, knowing nothing of how they were made.

    Parameters
    ----------
    folder : Path
        Holds events.csv, the two property files and category_tree.csv.

    Returns
    -------
    dict
        Figure by marginal key; nan where the data have none.
    """
    settings = {
        "events": str(folder / "events.csv"),
        "properties": [str(folder / f"item_properties_part{part}.csv") for part in (1, 2)],
        "tree": str(folder / "category_tree.csv"),
    }
    with duckdb.connect() as connection:
        for statement in _PREPARE.split(";\n"):
            if statement.strip():
                used = {name: value for name, value in settings.items() if f"${name}" in statement}
                connection.execute(statement, used)
        shares = {"hours": EVENTS_BY_HOUR, "weekdays": EVENTS_BY_WEEKDAY, "days": SESSIONS_BY_DAY}
        result = connection.execute(
            _MEASURES, {name: [count / sum(counts) for count in counts] for name, counts in shares.items()}
        )
        row = result.fetchone()
        names = [column[0] for column in result.description or ()]
    found = dict(zip(names, row or (), strict=True))
    return {m.key: nan if found[m.key] is None else float(found[m.key]) for m in MARGINALS}


def markdown_table(folders: Sequence[Path]) -> str:
    """Return published and measured figures as a Markdown table.

    Parameters
    ----------
    folders : sequence of Path
        Outputs of `python -m ingest synth`, one column per folder.

    Returns
    -------
    str
        The table, one line per marginal; a figure outside its tolerance is in bold.
    """
    sizes = [json.loads((folder / "synthetic.json").read_text(encoding="utf-8"))["visitors"] for folder in folders]
    measured = [measure(folder) for folder in folders]
    head = ["figure", "published", *(f"{size:,} visitors" for size in sizes), "tolerance", "source"]
    lines = [head, ["---", *["---:"] * (len(folders) + 2), "---"]]
    for m in MARGINALS:
        found = [f"{each[m.key]:.4g}" if m.accepts(each[m.key]) else f"**{each[m.key]:.4g}**" for each in measured]
        tolerance = f"±{m.tolerance:g}" if m.absolute else f"±{m.tolerance:.0%}"
        lines.append([m.name, f"{m.published:.4g}", *found, tolerance, m.source])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    if not given or not all((folder / "synthetic.json").is_file() for folder in given):
        sys.exit(
            "Usage: python -m ingest.synth.marginals DIR [DIR ...]   (folders that `python -m ingest synth` wrote)"
        )
    print(markdown_table(given))
