"""Loads are numbered in the order they were made, warehouses of an older version too; events keep the shop's ids."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loading import EVENTS_HEADER, AnyShop, make_any_shop
from paths import ROOT
from warehouse.base import RawTables
from warehouse.duckdb import DuckDBRawTables
from warehouse.mysql import MySQLRawTables

ENGINES = ["duckdb", pytest.param("mysql", marks=pytest.mark.server)]
NEW_TABLES = ("raw_kept_events", "raw_unloads", "raw_retention")
MAPPING = (
    "columns: {timestamp: at, visitor: who, event: what, item: thing, event_id: id}\n"
    "events: {view: view, cart: addtocart}\n"
)
NUMBERS = "select file, load_number from funnelift_raw.raw_loads order by load_number"


@pytest.fixture(params=ENGINES)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    return make_any_shop(request, tmp_path, monkeypatch, capsys)


def lines(count: int, start: int = 0) -> str:
    return "".join(f"{1437926001434 + n},{n},view,{n % 7},\n" for n in range(start, start + count))


def load_days(shop: AnyShop, *days: int) -> list[Path]:
    """Load three lines a day, one bad line beside them, each day by a command of its own."""
    files = []
    for day in days:
        content = EVENTS_HEADER + lines(3, start=10 * day) + "x,1,view,1,\n"
        files.append(shop.write(f"day {day}.csv", content))
        outcome = shop.load(files[-1], options=["--max-reject-rate", "1"])
        assert outcome.code == 0, outcome.output
    return files


def make_old(shop: AnyShop) -> None:
    """Take away what the version before did not have."""
    tables = sorted(shop.tables() - set(NEW_TABLES))
    shop.execute(
        *(f"drop table funnelift_raw.{table}" for table in NEW_TABLES),
        *(f"alter table funnelift_raw.{table} drop column load_number" for table in tables),
        "alter table funnelift_raw.raw_events drop column event_id",
        "alter table funnelift_raw.raw_events drop column line_number",
    )


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_loads_are_numbered_in_order_and_every_row_has_the_number_of_its_load(shop: AnyShop) -> None:
    files = load_days(shop, 3, 1)
    shop.write("folder/events.csv", EVENTS_HEADER + lines(1, start=50))
    shop.write("folder/tree.csv", "categoryid,parentid\n1,\n")
    assert shop.load(shop.shop.raw / "folder").code == 0
    assert [number for _, number in shop.rows(NUMBERS)] == [1, 2, 3, 4]
    assert [name for name, _ in shop.rows(NUMBERS)[:2]] == [str(file) for file in files]
    for table in ("raw_events", "raw_rejects", "raw_category_tree"):
        wrong = (
            f"select count(*), sum(case when loads.load_number = one.load_number then 1 else 0 end) "
            f"from funnelift_raw.{table} as one join funnelift_raw.raw_loads as loads on loads.load_id = one.load_id"
        )
        [(count, right)] = shop.rows(wrong)
        assert count == right > 0


def test_a_refused_load_takes_no_number(shop: AnyShop) -> None:
    load_days(shop, 1)
    assert shop.load(shop.write("bad.csv", EVENTS_HEADER + "x,1,view,1,\n")).code == 1
    load_days(shop, 2)
    assert [number for _, number in shop.rows(NUMBERS)] == [1, 2]


def test_replaced_synthetic_loads_keep_their_numbers_to_themselves(shop: AnyShop) -> None:
    for name, start in (("made", 0), ("other", 10), ("third", 20)):
        shop.write(f"{name}/synthetic.json", "{}")
        shop.write(f"{name}/events.csv", EVENTS_HEADER + lines(2, start=start))
    assert shop.load(shop.shop.raw / "made").code == 0
    for turn, name in enumerate(("other", "third"), 2):
        assert shop.load(shop.shop.raw / name, options=["--replace-synthetic"]).code == 0
        assert [number for _, number in shop.rows(NUMBERS)] == [turn]
    log = shop.rows("select load_number, raw_table from funnelift_raw.raw_unloads order by 1")
    assert log == [(1, "raw_events"), (2, "raw_events")]


# --- a warehouse of the version before --------------------------------------------------------------------------------


def without_moments(contents: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    return {table: [row[:-1] if table == "raw_loads" else row for row in rows] for table, rows in contents.items()}


def test_an_older_warehouse_gets_the_columns_with_the_next_load(shop: AnyShop) -> None:
    files = load_days(shop, 1, 2, 3, 5, 6)
    # The file that was loaded last is of the earliest moment now, and so the first.
    shop.execute("update funnelift_raw.raw_loads set loaded_at = timestamp '2020-01-01 00:00:00' where load_number = 3")
    make_old(shop)
    load_days(shop, 4)
    assert [(Path(file).name, number) for file, number in shop.rows(NUMBERS)] == [
        ("day 3.csv", 1),
        ("day 1.csv", 2),
        ("day 2.csv", 3),
        ("day 5.csv", 4),
        ("day 6.csv", 5),
        ("day 4.csv", 6),
    ]
    events = "select load_number, min(visitorid), count(*), count(event_id) from funnelift_raw.raw_events group by 1"
    assert sorted(shop.rows(events)) == [
        (number, visitor, 3, 0) for number, visitor in enumerate(["30", "10", "20", "50", "60", "40"], 1)
    ]
    assert shop.rows("select count(*), count(distinct load_number) from funnelift_raw.raw_rejects") == [(6, 6)]
    before = shop.contents()
    assert "already loaded" in shop.load(*files).output
    assert shop.contents() == before


def test_an_older_warehouse_gets_the_shape_of_a_new_one(shop: AnyShop) -> None:
    load_days(shop, 1)
    shape = "select table_name, column_name, data_type, is_nullable from information_schema.columns " + (
        "where table_schema = 'funnelift_raw' order by table_name, ordinal_position"
    )
    before = shop.rows(shape)
    make_old(shop)
    assert shop.rows(shape) != before
    load_days(shop, 2)
    assert shop.rows(shape) == before


def test_a_column_that_somebody_added_is_never_dropped(shop: AnyShop) -> None:
    load_days(shop, 1)
    make_old(shop)
    shop.execute("alter table funnelift_raw.raw_events add column note varchar(10)")
    outcome = shop.load(shop.write("more.csv", EVENTS_HEADER + lines(2)))
    assert outcome.code == 1
    assert "raw_events" in outcome.output
    assert "note, which no version knows" in outcome.output
    assert shop.rows("select count(note), count(*) from funnelift_raw.raw_events") == [(0, 3)]


KILLED = (
    "import os, signal, sys\n"
    "from ingest import load\n"
    "import warehouse.{engine} as engine\n"
    "left, copied = int(sys.argv[1]), engine.copied\n"
    "def dying(*arguments):\n"
    "    global left\n"
    "    left -= 1\n"
    "    if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    return copied(*arguments)\n"
    "engine.copied = dying\n"
    "from rich.console import Console\n"
    "from pathlib import Path\n"
    "load.load([Path(sys.argv[2])], Console(stderr=True))\n"
)


@pytest.mark.parametrize("tables_done", [0, 3])
def test_a_load_that_is_killed_while_it_adds_columns_leaves_the_old_tables(shop: AnyShop, tables_done: int) -> None:
    load_days(shop, 1, 2)
    numbered = shop.contents()
    make_old(shop)
    more = shop.write("more.csv", EVENTS_HEADER + lines(2))
    rows = "select timestamp, visitorid, load_id from funnelift_raw.raw_events order by 1"
    before = shop.rows(rows)
    script = KILLED.format(engine=shop.target)
    command = [sys.executable, "-c", script, str(tables_done), str(more)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert shop.rows(rows) == before
    assert shop.load(more).code == 0
    assert [number for _, number in shop.rows(NUMBERS)] == [1, 2, 3]
    assert not any(table.endswith(("__new", "__old")) for table in shop.tables())
    after = shop.contents()
    assert set(numbered["raw_events"]) < set(after["raw_events"])
    assert numbered["raw_rejects"] == after["raw_rejects"]


# --- the shop's own ids -----------------------------------------------------------------------------------------------

IDS = (
    "select visitorid, event_id, line_number, load_number from funnelift_raw.raw_events order by load_number, timestamp"
)


def test_event_ids_are_kept_with_the_line_so_that_the_last_one_can_count(shop: AnyShop) -> None:
    mapping = ["--mapping", str(shop.write("m.yml", MAPPING)), "--max-reject-rate", "1"]
    header = "id,at,who,what,thing\n"
    first = [
        "e1,1437926001001,a,view,1",
        "e1,1437926001002,b,view,1",
        ",1437926001003,c,view,1",
        " ,1437926001004,d,view,1",
        "bad,x,a,view,1",
        f"{'i' * 128},1437926001005,e,view,1",
        f"{'i' * 129},1437926001006,f,view,1",
    ]
    assert shop.load(shop.write("a.csv", header + "\n".join(first) + "\n"), options=mapping).code == 0
    assert shop.load(shop.write("b.csv", header + "e1,1437926001007,a,cart,1\n"), options=mapping).code == 0
    assert shop.rows(IDS) == [
        ("a", "e1", 2, 1),
        ("b", "e1", 3, 1),
        ("c", None, None, 1),
        ("d", None, None, 1),
        ("e", "i" * 128, 7, 1),
        ("a", "e1", 2, 2),
    ]
    assert shop.rows("select line, reason from funnelift_raw.raw_rejects order by 1") == [
        (6, "bad_timestamp"),
        (8, "id_too_long"),
    ]


def test_event_ids_come_from_json_too_and_files_without_a_mapping_have_none(shop: AnyShop) -> None:
    mapping = shop.write("m.yml", MAPPING)
    row = '{"at": 1437926001001, "who": "a", "what": "view", "thing": 1, "id": 17}\n'
    assert shop.load(shop.write("a.jsonl", row), options=["--mapping", str(mapping)]).code == 0
    load_days(shop, 1)
    assert shop.rows("select distinct event_id, line_number, load_number from funnelift_raw.raw_events order by 3") == [
        ("17", 1, 1),
        (None, None, 2),
    ]


def test_naming_the_event_id_is_another_mapping_of_the_same_file(shop: AnyShop) -> None:
    plain = MAPPING.replace(", event_id: id", "") + "ignore_columns: [id]\n"
    file = shop.write("a.csv", "id,at,who,what,thing\ne1,1437926001001,a,view,1\n")
    assert shop.load(file, options=["--mapping", str(shop.write("m.yml", plain))]).code == 0
    outcome = shop.load(file, options=["--mapping", str(shop.write("m2.yml", MAPPING))])
    assert outcome.code == 1
    assert "with a different mapping" in outcome.output
    assert "python -m ingest unload" in outcome.output


def test_a_load_asks_nothing_of_the_events_that_are_there(shop: AnyShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a day would cost the history."""
    load_days(shop, 1)
    asked: list[str] = []
    for engine in (DuckDBRawTables, MySQLRawTables):
        for method in ("distinct", "query", "delete"):
            original = getattr(engine, method)

            def noting(self: RawTables, what: str, *rest: Any, original: Any = original) -> Any:
                asked.append(what)
                return original(self, what, *rest)

            monkeypatch.setattr(engine, method, noting)
    load_days(shop, 2)
    assert set(asked) == {"raw_loads", "raw_unloads"}
