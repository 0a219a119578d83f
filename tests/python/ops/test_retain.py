"""Retention: raw lines from before a day go once they are built, each event stays, and a kill changes nothing."""

import argparse
import datetime as dt
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.unload import unload
from loading import EVENTS_HEADER, AnyShop, Outcome, make_any_shop
from ops import retain
from paths import ROOT
from warehouse.errors import FunneliftError
from warehouse.mysql import LOAD_LOCK

ENGINES = ["duckdb", pytest.param("mysql", marks=pytest.mark.server)]
DAY_MS, FIRST_MS = 86_400_000, 1_433_116_800_000  # 2015-06-01
MAPPING = (
    "columns: {timestamp: at, visitor: who, event: what, item: thing, price: cost, event_id: id}\n"
    "events: {view: view, cart: addtocart}\n"
)
COUNTS = (
    "select (select count(*) from funnelift_raw.raw_events), (select count(*) from funnelift_raw.raw_kept_events), "
    "(select count(*) from funnelift_raw.raw_rejects)"
)


@pytest.fixture(params=ENGINES)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    return make_any_shop(request, tmp_path, monkeypatch, capsys)


def run(shop: AnyShop, *options: str) -> Outcome:
    parser = argparse.ArgumentParser()
    retain.add_parser(parser.add_subparsers())
    args = parser.parse_args(["retain", *options])
    code = args.run(args)
    return Outcome(code, shop.shop.capture())


def load_days(shop: AnyShop, *days: int) -> None:
    """A file for each day: two visitors' events, one of them written twice, and a bad line."""
    for day in days:
        start = FIRST_MS + day * DAY_MS
        lines = f"{start},a,view,{day},\n" * 2 + f"{start + 1},b,view,{day},\n" + f"x,{day},view,1,\n"
        outcome = shop.load(shop.write(f"day {day}.csv", EVENTS_HEADER + lines), options=["--max-reject-rate", "1"])
        assert outcome.code == 0, outcome.output


def build(shop: AnyShop, is_whole: bool = True) -> None:
    """What a build leaves of itself."""
    shop.execute(
        "create schema if not exists funnelift",
        *(f"drop table if exists funnelift.{table}" for table in ("build_plan", "last_build", "built_loads")),
        "create table funnelift.build_plan as select 'b2' as build_id",
        f"create table funnelift.last_build as select '{'b2' if is_whole else 'b1'}' as build_id",
        "create table funnelift.built_loads as select load_number, raw_table from funnelift_raw.raw_loads",
    )


def test_old_lines_go_and_each_event_stays_once(shop: AnyShop) -> None:
    load_days(shop, 0, 1, 2)
    build(shop)
    assert shop.rows(COUNTS) == [(9, 0, 3)]
    outcome = run(shop, "--before", "2015-06-03", "--dry-run")
    said = "6 raw lines from before 2015-06-03 UTC, of which 4 stay as events, and 0 rejected lines"
    assert outcome == Outcome(0, f"would drop {said}\n")
    assert shop.rows(COUNTS) == [(9, 0, 3)]
    assert run(shop, "--before", "2015-06-03") == Outcome(0, f"dropped {said}\n")
    assert shop.rows("select timestamp, visitorid, itemid from funnelift_raw.raw_events order by 1") == [
        (FIRST_MS + 2 * DAY_MS, "a", "2"),
        (FIRST_MS + 2 * DAY_MS, "a", "2"),
        (FIRST_MS + 2 * DAY_MS + 1, "b", "2"),
    ]
    kept = "select timestamp, visitorid, itemid, load_number from funnelift_raw.raw_kept_events order by 1"
    assert shop.rows(kept) == [
        (FIRST_MS, "a", "0", 1),
        (FIRST_MS + 1, "b", "0", 1),
        (FIRST_MS + DAY_MS, "a", "1", 2),
        (FIRST_MS + DAY_MS + 1, "b", "1", 2),
    ]
    log = "select load_number, before_ms, dropped_count from funnelift_raw.raw_retention order by 1"
    assert shop.rows(log) == [(1, FIRST_MS + 2 * DAY_MS, 3), (2, FIRST_MS + 2 * DAY_MS, 3)]
    # What was loaded is still known, so that it does not come again.
    assert "already loaded" in shop.load(shop.shop.raw / "day 0.csv").output
    again = run(shop, "--before", "2015-06-03")
    assert again.output.startswith("dropped 0 raw lines")
    assert len(shop.rows(log)) == 2


def test_rejected_lines_go_by_the_day_they_were_loaded(shop: AnyShop) -> None:
    load_days(shop, 0, 1)
    shop.execute("update funnelift_raw.raw_loads set loaded_at = timestamp '2015-06-02 00:00:00' where load_number = 1")
    build(shop)
    assert "and 1 rejected lines" in run(shop, "--before", "2015-06-03").output
    assert shop.rows("select load_number from funnelift_raw.raw_rejects") == [(2,)]


def test_every_line_with_an_id_stays_so_that_the_last_one_still_counts(shop: AnyShop) -> None:
    mapping = ["--mapping", str(shop.write("m.yml", MAPPING))]
    line = f"{FIRST_MS},a,view,1,2.5"
    first = f"id,at,who,what,thing,cost\ne1,{line}\ne1,{line}\ne2,{line}\n,{line}\n,{line}\n"
    assert shop.load(shop.write("a.csv", first), options=mapping).code == 0
    assert shop.load(shop.write("b.csv", f"id,at,who,what,thing,cost\ne1,{line}\n,{line}\n"), options=mapping).code == 0
    build(shop)
    assert run(shop, "--before", "2015-06-02").code == 0
    kept = "select event_id, line_number, load_number, cast(price as double) from funnelift_raw.raw_kept_events"
    assert set(shop.rows(kept)) == {
        ("e1", 2, 1, 2.5),
        ("e1", 3, 1, 2.5),
        ("e2", 4, 1, 2.5),
        ("e1", 2, 2, 2.5),
        (None, None, 1, 2.5),
    }
    assert shop.rows(COUNTS)[0][:2] == (0, 5)


def test_marts_that_are_not_made_of_all_that_is_loaded_are_refused(shop: AnyShop) -> None:
    load_days(shop, 0, 1)
    options = ("--before", "2015-06-02")

    def refused() -> str:
        before = shop.contents()
        outcome = run(shop, *options)
        assert outcome.code == 1
        assert outcome.output.startswith("nothing was dropped")
        assert shop.contents() == before
        return outcome.output

    assert "no whole build of this version yet" in refused()
    build(shop, is_whole=False)
    assert "the last build is not whole" in refused()
    build(shop)
    load_days(shop, 2)
    assert "day 2.csv; run `dbt build`" in refused()
    build(shop)
    unload(["day 2.csv"])
    assert "withdrawn since the last build" in refused()
    build(shop)
    assert run(shop, *options).code == 0
    with pytest.raises(FunneliftError, match="ops retain"):
        unload(["day 0.csv"])


def test_a_day_to_come_or_no_day_is_refused(shop: AnyShop) -> None:
    load_days(shop, 0)
    build(shop)
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    assert "still to come" in run(shop, "--before", str(tomorrow)).output
    with pytest.raises(SystemExit, match="2"):
        run(shop, "--before", "1.6.2015")


KILLED = (
    "import datetime, os, signal\n"
    "from ops import retain\n"
    "def dying(*arguments): os.kill(os.getpid(), signal.SIGKILL)\n"
    "retain._entries = dying\n"
    "retain.retain(datetime.date(2015, 6, 2))\n"
)


def test_a_killed_retention_changes_nothing_and_the_next_finishes(shop: AnyShop) -> None:
    load_days(shop, 0, 1)
    build(shop)
    before = shop.contents()
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if shop.server is not None:
        session = shop.server.session()
        with session.lock(LOAD_LOCK, 60, "funnelift_raw"):
            pass
        session.close()
    assert shop.contents() == before
    assert run(shop, "--before", "2015-06-02").code == 0
    assert shop.rows(COUNTS) == [(3, 2, 2)]
