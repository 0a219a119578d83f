"""A file is taken out again: nothing of it is left, its number is never given again, and a kill changes nothing."""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest import loads, unload
from loading import ASSIGNMENTS_HEADER, EVENTS_HEADER, REES46_HEADER, AnyShop, Outcome, make_any_shop
from paths import ROOT
from warehouse.mysql import LOAD_LOCK

ENGINES = ["duckdb", pytest.param("mysql", marks=pytest.mark.server)]
ALLOW_ALL = ["--max-reject-rate", "1"]


@pytest.fixture(params=ENGINES)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    return make_any_shop(request, tmp_path, monkeypatch, capsys)


def run(shop: AnyShop, *words: str) -> Outcome:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    loads.add_parser(commands)
    unload.add_parser(commands)
    args = parser.parse_args(words)
    code = args.run(args)
    return Outcome(code, shop.shop.capture())


def day(shop: AnyShop, number: int) -> Path:
    """A file of three events and a bad line."""
    lines = "".join(f"{1437926001434 + 10 * number + n},{n},view,{number},\n" for n in range(3))
    return shop.write(f"day {number}.csv", EVENTS_HEADER + lines + f"x,{number},view,1,\n")


def load(shop: AnyShop, *files: Path, options: list[str] | None = None) -> None:
    outcome = shop.load(*files, options=[*ALLOW_ALL, *(options or [])])
    assert outcome.code == 0, outcome.output


def load_id(shop: AnyShop, file: Path) -> str:
    [found] = [
        load_id for load_id, name in shop.rows("select load_id, file from funnelift_raw.raw_loads") if name == str(file)
    ]
    return str(found)


def without_log(shop: AnyShop) -> dict[str, list[tuple[object, ...]]]:
    return {table: rows for table, rows in shop.contents().items() if table != "raw_unloads"}


def test_a_withdrawn_file_leaves_nothing_and_can_come_again_under_a_new_number(shop: AnyShop) -> None:
    load(shop, day(shop, 1))
    before = without_log(shop)
    second = day(shop, 2)
    load(shop, second)
    outcome = run(shop, "unload", load_id(shop, second))
    assert outcome.code == 0, outcome.output
    assert "3 rows of raw_events and 1 rejects" in outcome.output
    assert "Run `dbt build`" in outcome.output
    assert without_log(shop) == before
    log = "select file, load_number, raw_table from funnelift_raw.raw_unloads"
    assert shop.rows(log) == [(str(second), 2, "raw_events")]
    load(shop, second)
    assert shop.rows("select load_number from funnelift_raw.raw_loads order by 1") == [(1,), (3,)]
    assert shop.rows("select count(*) from funnelift_raw.raw_events where load_number = 3") == [(3,)]


@pytest.mark.parametrize("how", ["id", "number", "file", "file name"])
def test_a_load_is_named_by_its_id_number_or_file(shop: AnyShop, how: str) -> None:
    first, second = day(shop, 1), day(shop, 2)
    load(shop, first)
    load(shop, second)
    name = {"id": load_id(shop, second), "number": "2", "file": str(second), "file name": second.name}[how]
    assert run(shop, "unload", name).code == 0
    assert shop.rows("select file from funnelift_raw.raw_loads") == [(str(first),)]


def test_files_of_every_kind_can_be_withdrawn_several_at_once(shop: AnyShop) -> None:
    load(shop, day(shop, 1))
    before = without_log(shop)
    files = [
        day(shop, 2),
        shop.write("props.csv", "timestamp,itemid,property,value\n1437879600000,1,790,n1\n"),
        shop.write("tree.csv", "categoryid,parentid\n1,\n"),
        shop.write("experiment.csv", ASSIGNMENTS_HEADER + "1,1437926001434,1\n"),
    ]
    load(shop, *files)
    outcome = run(shop, "unload", *(file.name for file in files))
    assert outcome.code == 0, outcome.output
    assert without_log(shop) == before
    assert shop.rows("select count(*) from funnelift_raw.raw_unloads") == [(4,)]


def test_what_is_no_load_is_refused_and_nothing_is_changed(shop: AnyShop) -> None:
    first = day(shop, 1)
    load(shop, first, shop.write("a/same.csv", EVENTS_HEADER + "1437926001434,8,view,1,\n"))
    load(shop, shop.write("b/same.csv", EVENTS_HEADER + "1437926001434,9,view,1,\n"))
    assert run(shop, "unload", "1").code == 0
    before = shop.contents()
    for name, said in (
        ("nowhere.csv", "no load has that id, number or file"),
        ("same.csv", "several loads are called so"),
        (first.name, "no longer loaded"),
        ("' or 1 = 1 --", "no load has that id"),
    ):
        outcome = run(shop, "unload", "3", name)
        assert outcome.code == 1
        assert "nothing was changed" in outcome.output
        assert said in outcome.output
        assert shop.contents() == before


def test_where_nothing_is_loaded_nothing_is_made(shop: AnyShop) -> None:
    for words in (("unload", "1"), ("loads",)):
        outcome = run(shop, *words)
        assert outcome.code == 1
        assert "nothing is loaded" in outcome.output
    assert not shop.shop.warehouse.exists()
    if shop.server is not None:
        assert shop.tables() == set()


def test_the_list_of_loads_names_what_unload_takes(shop: AnyShop) -> None:
    files = [day(shop, 1), shop.write("tree [b].csv", "categoryid,parentid\n1,\n")]
    load(shop, *files)
    output = run(shop, "loads").output
    for number, file in enumerate(files, 1):
        [line] = [line for line in output.splitlines() if load_id(shop, file) in line]
        assert line.split()[0] == str(number)
        assert file.name in output


def test_a_category_stays_while_another_file_has_events_in_it(shop: AnyShop) -> None:
    def write(name: str, *categories: str) -> Path:
        rows = (f"2019-10-01 00:00:0{n} UTC,view,{n},9,{one},,1,u,s\n" for n, one in enumerate(categories))
        return shop.write(name, REES46_HEADER + "".join(rows))

    mapping = ["--mapping", str(ROOT / "examples" / "rees46.yml")]
    files = [write("a.csv", "x.y.z", "only.a"), write("b.csv", "x.y.q"), write("c.csv", "x.y.z")]
    for file in files:
        load(shop, file, options=mapping)
    assert run(shop, "unload", "a.csv").code == 0
    tree = "select categoryid, parentid, load_number from funnelift_raw.raw_category_tree order by categoryid"
    assert shop.rows(tree) == [("x", None, 2), ("x.y", "x", 2), ("x.y.q", "x.y", 2), ("x.y.z", "x.y", 3)]
    for file in (files[1], files[2]):
        assert run(shop, "unload", file.name).code == 0
    assert shop.rows(tree) == []


def test_real_data_may_come_once_the_synthetic_are_withdrawn(shop: AnyShop) -> None:
    shop.write("made/synthetic.json", "{}")
    load(shop, shop.write("made/events.csv", EVENTS_HEADER + "1437926001434,9,view,1,\n").parent)
    real = day(shop, 1)
    assert shop.load(real, options=ALLOW_ALL).code == 1
    assert run(shop, "unload", "events.csv").code == 0
    load(shop, real)
    assert shop.rows("select is_synthetic, load_number from funnelift_raw.raw_loads") == [(0, 2)]


KILLED = (
    "import os, signal, sys\n"
    "from ingest import unload\n"
    "withdraw = unload._withdraw\n"
    "def dying(raw, load):\n"
    "    withdraw(raw, load)\n"
    "    os.kill(os.getpid(), signal.SIGKILL)\n"
    "unload._withdraw = dying\n"
    "unload.unload(sys.argv[1:])\n"
)


def test_a_killed_unload_changes_nothing_and_the_next_finishes(shop: AnyShop) -> None:
    load(shop, day(shop, 1), day(shop, 2))
    before = shop.contents()
    killed = subprocess.run([sys.executable, "-c", KILLED, "day 1.csv"], cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if shop.server is not None:
        session = shop.server.session()
        with session.lock(LOAD_LOCK, 60, "funnelift_raw"):
            pass
        session.close()
    assert shop.contents() == before
    assert run(shop, "unload", "day 1.csv").code == 0
    assert shop.rows("select load_number from funnelift_raw.raw_loads") == [(2,)]


def test_loads_of_an_older_warehouse_can_be_withdrawn(shop: AnyShop) -> None:
    load(shop, day(shop, 1))
    time.sleep(0.01)
    load(shop, day(shop, 2))
    shop.execute(
        "drop table funnelift_raw.raw_unloads",
        *(
            f"alter table funnelift_raw.{table} drop column load_number"
            for table in ("raw_events", "raw_loads", "raw_rejects", "raw_category_tree")
        ),
    )
    assert run(shop, "unload", "day 1.csv").code == 0
    assert shop.rows("select load_number, count(*) from funnelift_raw.raw_events group by 1") == [(2, 3)]


def test_retention_keeps_a_load_from_being_withdrawn(shop: AnyShop) -> None:
    first, second = day(shop, 1), day(shop, 2)
    load(shop, first, second)
    # All of the first day was dropped; the second begins where retention ended.
    mark = 1437926001434 + 20
    shop.execute(
        "delete from funnelift_raw.raw_events where load_number = 1",
        "insert into funnelift_raw.raw_retention (load_id, load_number, before_ms, dropped_count, retained_at) "
        f"values ('{load_id(shop, first)}', 1, {mark}, 3, timestamp '2026-01-01 00:00:00')",
    )
    outcome = run(shop, "unload", "day 1.csv")
    assert outcome.code == 1
    assert "ops retain" in outcome.output
    assert run(shop, "unload", "day 2.csv").code == 0
    # A late file with an event from before the mark is settled too, once it is built.
    load(shop, shop.write("late.csv", EVENTS_HEADER + f"{mark - 1},7,view,1,\n"))
    assert "ops retain" in run(shop, "unload", "late.csv").output
