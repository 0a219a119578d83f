"""The synthetic data against the published figures, and the measuring against the real sample."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from ingest.synth import calibration as facts
from ingest.synth import files, marginals
from ingest.synth.marginals import MARGINALS, Marginal

VISITORS, SEED = 80_000, 42


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    files.synthesise(folder, VISITORS, SEED, show_progress=False)
    return folder


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, float]:
    return marginals.measure(folder)


@pytest.mark.parametrize("marginal", MARGINALS, ids=lambda marginal: marginal.key)
def test_marginal_is_near_the_published_one(marginal: Marginal, measured: dict[str, float]) -> None:
    found = measured[marginal.key]
    assert marginal.accepts(found), f"{marginal.name}: published {marginal.published:.4g}, measured {found:.4g}"


def test_table_has_a_line_a_marginal(folder: Path) -> None:
    lines = marginals.markdown_table([folder, folder]).splitlines()
    assert len(lines) == 2 + len(MARGINALS)
    assert {line.count("|") for line in lines} == {7}
    assert "80,000 visitors" in lines[0]
    assert not [line for line in lines if "**" in line]


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The measuring applied to the real sample, outside the project."""
    folder = tmp_path_factory.mktemp("real")
    sample = shared_data / "retailrocket_sample"
    for name in ("events.csv", "category_tree.csv"):
        (folder / name).symlink_to(sample / name)
    (folder / "item_properties_part1.csv").symlink_to(sample / "item_properties_excerpt.csv")
    (folder / "item_properties_part2.csv").write_text("timestamp,itemid,property,value\n")
    return marginals.measure(folder)


# Figures of the sample as published, to their last digit; one cart whose view has the same millisecond counts as seen.
@pytest.mark.parametrize(
    ("key", "published"),
    [
        ("session_events_p99", 7),
        ("visitor_events_p99", 11),
        ("within_p25", 29),
        ("within_p50", 74),
        ("within_p75", 166),
        ("within_p95", 810),
        ("between_p25", 8.9),
        ("between_p50", 48.5),
        ("between_p75", 234),
        ("repeat_percent", 27.6),
        ("blind_cart_percent", 16 / 62 * 100),
        ("cartless_sale_percent", 2 / 14 * 100),
    ],
)
def test_measuring_the_real_sample_gives_its_published_figures(
    key: str, published: float, real: dict[str, float]
) -> None:
    assert real[key] == pytest.approx(published, rel=0.025)


HOURS = [str(hour) for hour in range(24)]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


@pytest.mark.parametrize(
    ("constant", "file", "kind", "keys", "column"),
    [
        ("EVENTS_BY_HOUR", "time_series_data.csv", "hourly", HOURS, "total_events"),
        ("EVENTS_BY_WEEKDAY", "time_series_data.csv", "day_of_week", DAYS, "total_events"),
        ("SESSIONS_BY_DAY", "time_series_data.csv", "daily", None, "unique_sessions"),
        ("VISITORS_BY_HOUR", "funnel_summary.csv", "hour", HOURS, "total_visitors"),
        ("CART_ADDERS_BY_HOUR", "funnel_summary.csv", "hour", HOURS, "cart_adders"),
        ("BUYERS_BY_HOUR", "funnel_summary.csv", "hour", HOURS, "buyers"),
        ("VISITORS_BY_WEEKDAY", "conversion_metrics.csv", "day_of_week", DAYS, "total_visitors"),
        ("BUYERS_BY_WEEKDAY", "conversion_metrics.csv", "day_of_week", DAYS, "buyers"),
    ],
)
def test_constant_is_the_published_one(
    constant: str, file: str, kind: str, keys: list[str] | None, column: str, shared_data: Path
) -> None:
    """Every table has its kind of row in the first column and the row's key in the second."""
    table = pd.read_csv(shared_data / "retailrocket_published" / file)
    rows = table[table.iloc[:, 0] == kind].set_index(table.columns[1])[column]
    published = rows if keys is None else rows.loc[keys]
    assert list(getattr(facts, constant)) == published.astype(int).to_list()


def test_category_curve_is_the_published_one(shared_data: Path) -> None:
    categories = pd.read_csv(shared_data / "retailrocket_published" / "category_analysis.csv")
    views = categories["total_views"].sort_values(ascending=False).to_list()
    assert {rank: views[rank - 1] for rank, _ in facts.CATEGORY_VIEWS_BY_RANK} == dict(facts.CATEGORY_VIEWS_BY_RANK)
    assert len(views) == facts.SEEN_CATEGORIES


def test_published_buying_sessions_contradict_published_buyers(shared_data: Path) -> None:
    """Why the tolerance on sessions with a transaction is wide: each buyer has at least one of them."""
    conversion = pd.read_csv(shared_data / "retailrocket_published" / "conversion_metrics.csv")
    buyers = conversion.loc[conversion["metric_type"] == "session_type", "buyers"].sum()
    assert buyers == 11_719 > 11_143


@pytest.fixture(scope="module")
def shop(folder: Path) -> duckdb.DuckDBPyConnection:
    """Views with what was known of their item at the time, and whether a cart of it followed within half an hour."""
    connection = duckdb.connect()
    connection.execute(
        "create table event as select distinct * from read_csv($1, types = {'transactionid': 'bigint'})",
        [str(folder / "events.csv")],
    )
    connection.execute(
        "create table property as from read_csv($1, types = {'property': 'varchar', 'value': 'varchar'})",
        [[str(folder / name) for name in files.PROPERTIES]],
    )
    connection.execute("""
        create table seen as
        with price as (
            select itemid, timestamp, ltrim(value, 'n')::double as price from property where property = '790'
        ), stock as (
            select itemid, timestamp, value = '1' as in_stock from property where property = 'available'
        ), category as (
            select itemid, arg_min(value, timestamp) as category from property where property = 'categoryid' group by 1
        ), usual as (
            select category, median(price) as usual from price join category using (itemid) group by 1
        ), cart as (
            select visitorid, itemid, timestamp from event where event = 'addtocart'
        ), view as (
            select e.*, p.price, s.in_stock from (from event where event = 'view') as e
            asof join price as p on e.itemid = p.itemid and e.timestamp >= p.timestamp
            asof join stock as s on e.itemid = s.itemid and e.timestamp >= s.timestamp
        )
        select
            v.visitorid, v.itemid, v.timestamp, v.in_stock, v.price / u.usual as ratio,
            coalesce(c.timestamp - v.timestamp <= 1800000, false)::int as carted
        from view as v join category using (itemid) join usual as u using (category)
        asof left join cart as c
            on v.visitorid = c.visitorid and v.itemid = c.itemid and v.timestamp <= c.timestamp
    """)
    return connection


def rates(shop: duckdb.DuckDBPyConnection, split: str) -> tuple[float, float]:
    query = f"select avg(carted) filter ({split}), avg(carted) filter (not ({split})) from seen"
    low, high = shop.execute(query).fetchall()[0]
    return float(low), float(high)


def test_items_in_stock_are_carted_more(shop: duckdb.DuckDBPyConnection) -> None:
    out, available = rates(shop, "not in_stock")
    assert available > 1.15 * out


def test_cheap_items_are_carted_more(shop: duckdb.DuckDBPyConnection) -> None:
    dear, cheap = rates(shop, "ratio > 1")
    assert cheap > 1.15 * dear


def test_an_item_s_appeal_lasts(shop: duckdb.DuckDBPyConnection) -> None:
    """Items carted often in the first half are carted more in the second half, by other visitors."""
    row = shop.execute("""
        with half as (select median(timestamp) as cut from event), past as (
            select itemid, avg(carted) as rate, count(*) as views from seen, half where timestamp < cut group by 1
        )
        select avg(carted) filter (rate > 0), avg(carted) filter (rate = 0)
        from seen join past using (itemid), half
        where timestamp >= cut and views >= 20
            and visitorid not in (select visitorid from seen, half where timestamp < cut)
    """).fetchall()[0]
    assert float(row[0]) > 1.1 * float(row[1])


def test_intent_lasts(shop: duckdb.DuckDBPyConnection) -> None:
    """A visitor with a cart is likelier to have one more than a day later than other returning visitors."""
    row = shop.execute("""
        with first_day as (
            select visitorid, min(timestamp) as start from event group by 1
        ), phases as (
            select
                visitorid,
                max((event = 'addtocart' and timestamp <= start + 86400000)::int) as early,
                max((event = 'addtocart' and timestamp > start + 86400000)::int) as later,
                max(timestamp) > max(start) + 86400000 as returns
            from event join first_day using (visitorid) group by 1
        )
        select avg(later) filter (early = 1), avg(later) filter (early = 0) from phases where returns
    """).fetchall()[0]
    assert float(row[0]) > 1.5 * float(row[1])


def test_robots_are_there(folder: Path) -> None:
    events = pd.read_csv(folder / "events.csv").sort_values(["visitorid", "timestamp"])
    assert events.groupby(["visitorid", "itemid"]).size().max() >= 100
    gap = events.groupby("visitorid")["timestamp"].diff()
    pace = gap[gap <= 1_800_000].groupby(events["visitorid"]).agg(["size", "median"])
    assert ((pace["size"] >= 50) & (pace["median"] < 1_000)).any()
