"""Corrections, a withdrawn file, retention and a restore leave in the marts what a warehouse built once holds."""

import csv
import datetime as dt
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lived_shop import Shop
from parity import on_duckdb, on_server
from paths import ROOT
from servers import DatabaseServer

pytestmark = pytest.mark.end_to_end
MAPPING = (
    "columns: {timestamp: timestamp, visitor: visitorid, event: event, item: itemid, transaction: transactionid, "
    "event_id: id}\nevents: {view: view, addtocart: addtocart, transaction: transaction}\n"
)
HEADER = ["id", "timestamp", "visitorid", "event", "itemid", "transactionid"]
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a synthetic shop whose events have ids, cut in three by time, and what comes to be wrong or late."""
    folder = tmp_path_factory.mktemp("history")
    synth = ["ingest", "synth", "--out", str(folder / "synth"), "--visitors", "400", "--seed", "5"]
    subprocess.run([sys.executable, "-m", *synth], cwd=ROOT, check=True, capture_output=True)
    with (folder / "synth" / "events.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))
    rows = [{"id": f"e{number}", **row} for number, row in enumerate(rows)]
    mark = int(rows[len(rows) // 3]["timestamp"]) // DAY_MS * DAY_MS
    first = [row for row in rows if int(row["timestamp"]) < mark]
    middle = [row for row in rows if mark <= int(row["timestamp"]) < mark + 20 * DAY_MS]
    last = [row for row in rows if int(row["timestamp"]) >= mark + 20 * DAY_MS]
    late, first = first[::25], [row for number, row in enumerate(first) if number % 25]
    corrected = [row | {"itemid": middle[0]["itemid"]} for row in first[::30]]
    corrected += [first[7] | {"visitorid": middle[1]["visitorid"]}]
    wrong = [row | {"itemid": last[0]["itemid"]} for row in middle[::20]]
    wrong += [row | {"id": f"w{number}", "visitorid": "nobody"} for number, row in enumerate(last[:20])]
    parts = {"first": [*first, *first[:20]], "middle": middle, "last": [*late, *last], "corrected": corrected}
    for name, part in {**parts, "wrong": wrong}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, HEADER)
            writer.writeheader()
            writer.writerows(part)
    for name in ("category_tree.csv", "item_properties_part1.csv", "item_properties_part2.csv"):
        shutil.copy(folder / "synth" / name, folder / name)
    (folder / "mapping.yml").write_text(MAPPING)
    (folder / "mark").write_text(str(dt.datetime.fromtimestamp(mark / 1000, dt.UTC).date()))
    return folder


@pytest.fixture(scope="module")
def built_once(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("once")
    shop = Shop(on_duckdb(folder / "warehouse.duckdb"), folder / "work")
    shop.load(history, "category_tree.csv", "item_properties_part1.csv", "item_properties_part2.csv")
    shop.load(history, "first.csv", "middle.csv", "last.csv", "corrected.csv")
    shop.run("dbt", "build")
    return shop


@pytest.mark.parametrize("target", ["duckdb", pytest.param("mysql", marks=pytest.mark.server)])
def test_what_was_corrected_withdrawn_retained_and_restored_equals_what_was_built_once(
    target: str, history: Path, built_once: Shop, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "warehouse.duckdb"
    server: DatabaseServer | None = request.getfixturevalue("empty_mysql") if target == "mysql" else None
    lived = Shop(on_server(server) if server else on_duckdb(path), tmp_path / "work")
    lived.load(history, "category_tree.csv", "item_properties_part1.csv", "item_properties_part2.csv")
    lived.load(history, "first.csv", "middle.csv")
    lived.run("dbt", "build")
    lived.load(history, "wrong.csv")
    lived.run("dbt", "build")
    lived.run("ingest", "unload", "wrong.csv")
    lived.run("dbt", "build")
    said = lived.run("ops", "retain", "--before", (history / "mark").read_text())
    assert not said.startswith("dropped 0")
    lived.load(history, "last.csv", "corrected.csv")
    lived.run("dbt", "build")
    assert lived.differs(built_once) == []

    saved = tmp_path / "saved"
    lived.run("ops", "backup", "--out", str(saved))
    server.drop_databases() if server else path.unlink()
    lived.run("ops", "restore", str(saved))
    assert lived.differs(built_once) == []
    changes = "select count(*), max(build_number) from funnelift.visitor_changes"
    before = lived.warehouse.query(changes).rows
    lived.run("dbt", "build")
    assert lived.warehouse.query(changes).rows == before
    assert lived.differs(built_once) == []
    # Nothing that full builds need has gone with the raw lines.
    lived.run("dbt", "build", "--full-refresh")
    assert lived.differs(built_once) == []
