"""A build says what looks wrong about the data that were loaded, and is done all the same."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.guess.words import NULL_WORDS
from loading import EVENTS_HEADER, AnyShop, make_any_shop
from paths import ROOT

DAY_MS, FIRST_MS = 86_400_000, 1_437_926_001_434
STEPS = ["view", "view", "addtocart", "transaction"]
MAPPING = """
columns:
  {timestamp: timestamp, visitor: visitorid, event: event, item: itemid, transaction: transactionid, price: price}
events: {view: view, addtocart: addtocart, transaction: transaction, refund: refund}
refunds: net
"""
HEADER = EVENTS_HEADER.replace("\n", ",price\n")


@pytest.fixture(params=["duckdb", "mysql"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    return make_any_shop(request, tmp_path, monkeypatch, capsys)


def healthy(number: int) -> str:
    step = STEPS[number % 4]
    order = f"o{number}" if step == "transaction" else ""
    return f"{FIRST_MS + number % 9 * DAY_MS + number},u{number % 50},{step},p{number % 7},{order},{number % 5}.5\n"


def complaints(shop: AnyShop, tmp_path: Path, lines: str) -> list[str]:
    """What a build says of these events."""
    mapping = tmp_path / "mapping.yml"
    mapping.write_text(MAPPING)
    outcome = shop.load(shop.write("events.csv", HEADER + lines), options=["--mapping", str(mapping)])
    assert outcome.code == 0, outcome.output
    places = {"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path / "logs")}
    command = ["dbt", "--no-use-colors", "build", "-s", "+assert_data_look_right", "--indirect-selection", "cautious"]
    command[0] = str(Path(sys.executable).parent / "dbt")
    done = subprocess.run(command, cwd=ROOT, env=os.environ | places, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:]
    said = [line.partition("  ")[2].strip() for line in done.stdout.splitlines()]
    starts = ("visitor", "items", "orders", "ids of", "all ", "no ", "1 categories", "1 refunds", "18 of 62 ")
    return sorted(line for line in said if line.startswith(starts))


@pytest.mark.end_to_end
def test_a_build_tells_what_looks_wrong(shop: AnyShop, tmp_path: Path) -> None:
    tree = shop.write("tree.csv", "categoryid,parentid\n1,\n2,1\n3,9\n")
    assert shop.load(tree).code == 0
    lines = [f"{FIRST_MS + n * 3_600_000},NA,view,p1,,{n}99\n" for n in range(5, 65)]
    lines += [f"{FIRST_MS + n},v{n}.0,view,(not set),,\n" for n in range(300)]
    lines += [f"{FIRST_MS + 9 * DAY_MS},u1,transaction,\\N,17.0,\n", f"{FIRST_MS},u1,view,N,,\n"]
    lines += [f"{FIRST_MS + 9 * DAY_MS},u1,refund,,{order},\n" for order in ("17.0", "o404")]
    lines += [f"{FIRST_MS + 9 * DAY_MS},u{n},transaction,p1,{'again' if n % 2 else 'Again'},\n" for n in range(20)]
    lines += [f"{FIRST_MS},u1,transaction,p1,1.23457E+12,\n"]
    lines += [f"{FIRST_MS},5E+11,view,p1,,\n"]
    lines += [f"{FIRST_MS},w{n},transaction,{item},w{n},{n + 5}99\n" for n in range(20) for item in ("p1", "p2")]
    assert complaints(shop, tmp_path, "".join(lines)) == [
        "1 categories hang under parents that are no category, such as 9",
        "1 refunds lower no revenue, for no purchase fits them, such as of order (o404) or visitor (u1)",
        "18 of 62 transactions repeat an order of another session",
        "all 100 prices are whole numbers and most end as cents do; are they cents?",
        "all lines of an order have one price, in each of 20 orders of several items, such as w0: is it that of the "
        "whole order?",
        "ids of orders end in .0, such as 17.0: 4000.0 and 4000 are two ids",
        "ids of orders look like 1.23457E+12: a spreadsheet has rounded them",
        "ids of visitors end in .0, such as v0.0: 4000.0 and 4000 are two ids",
        "ids of visitors look like 5E+11: a spreadsheet has rounded them",
        "items have the id (not set): say null_values in the mapping if it means nothing",
        "items have the id \\N: say null_values in the mapping if it means nothing",
        "no event is addtocart",
        "no session began on 5 days between the first and the last, such as 2015-07-30",
        "orders Again and again differ in case alone: they are two orders",
        "visitor NA has more than a tenth of all events; a placeholder?",
        "visitors have the id NA: say null_values in the mapping if it means nothing",
    ]


@pytest.mark.end_to_end
def test_a_build_has_no_complaints_about_healthy_data(shop: AnyShop, tmp_path: Path) -> None:
    assert complaints(shop, tmp_path, "".join(healthy(number) for number in range(400))) == []


def test_a_build_knows_the_null_words_of_a_check() -> None:
    sql = (ROOT / "tests" / "marts" / "assert_data_look_right.sql").read_text()
    words = re.search(r"set null_texts -%}(.*?){%- endset", sql, re.DOTALL)
    assert words is not None
    # A backslash cannot stand in a text on all engines, so the SQL looks for that one in another way.
    assert {*re.findall("'(.*?)'", words[1]), "\\N"} == set(NULL_WORDS)
