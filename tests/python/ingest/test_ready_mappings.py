"""The ready mappings: what the made-up sample of each format becomes, on both engines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ingest.mapping_file import read_mappings
from ingest.mapping_schema import schema, text
from loading import AnyShop, make_any_shop
from paths import ROOT

EXAMPLES = ROOT / "examples"
# First time, then event, visitor, item, order, price and quantity of each event.
SAMPLES = {
    "adobe": (
        1704450000000,
        [
            ("view", "11_22", "P1", None, None, None),
            ("addtocart", "11_22", "P1", None, 19.0, 2.0),
            ("transaction", "11_22", "P1", "o1", 19.0, 2.0),
            ("transaction", "11_22", "P2", "o1", 5.0, 1.0),
            ("removefromcart", "11_22", "P3", None, None, 1.0),
        ],
    ),
    "amplitude": (
        1704450000123,
        [
            ("view", "9876543210", "P1", None, 19.0, None),
            ("addtocart", "9876543210", "P1", None, 19.0, None),
            ("removefromcart", "9876543210", "P3", None, 19.0, None),
            ("transaction", "9876543210", "P1", "o1", 19.0, 2.0),
        ],
    ),
    "coveo": (
        1550885213307,
        [
            ("view", "s1", "p1", None, None, None),
            ("addtocart", "s1", "p1", None, None, None),
            ("removefromcart", "s1", "p1", None, None, None),
            ("transaction", "s2", "p2", None, None, None),
        ],
    ),
    "diginetica": (
        1462752526309,
        [
            ("view", "1", "81766", None, None, None),
            ("view", "1", "31331", None, None, None),
            ("view", "2", "9802", None, None, None),
            ("transaction", "2", "9802", "5001", None, None),
        ],
    ),
    "ga4": (
        1704450000123,
        [
            ("view", "11.22", "SKU1", None, 12.5, 1.0),
            ("addtocart", "11.22", "SKU1", None, 12.5, 2.0),
            ("removefromcart", "11.22", "SKU3", None, 12.5, 2.0),
            ("transaction", "11.22", "SKU1", "T1", 12.5, 2.0),
            ("transaction", "11.22", "SKU2", "T1", 3.0, 1.0),
            ("transaction", "33.44", "SKU2", "T2", 3.0, 1.0),
            ("refund", "33.44", "", "T2", None, None),
        ],
    ),
    "matomo": (
        1704450000000,
        [
            ("view", "a1b2", "P1", None, 19.0, None),
            ("addtocart", "a1b2", "P1", None, 19.0, 2.0),
            ("transaction", "c3d4", "P1", "o1", 19.0, 2.0),
            ("transaction", "c3d4", "P2", "o1", 5.0, 1.0),
        ],
    ),
    "mixpanel": (
        1704450000000,
        [
            ("view", "d1", "P1", None, 19.0, None),
            ("addtocart", "d1", "P1", None, 19.0, None),
            ("removefromcart", "d1", "P3", None, 19.0, None),
            ("transaction", "d1", "P1", "o1", 19.0, 2.0),
        ],
    ),
    "otto": (
        1661200010000,
        [
            ("view", "42", "101", None, None, None),
            ("view", "43", "7", None, None, None),
            ("view", "44", "9", None, None, None),
            ("addtocart", "42", "101", None, None, None),
            ("transaction", "44", "9", None, None, None),
        ],
    ),
    "posthog": (
        1704450000123,
        [
            ("view", "d1", "P1", None, 19.0, None),
            ("addtocart", "d1", "P1", None, 19.0, None),
            ("removefromcart", "d1", "P3", None, 19.0, None),
            ("transaction", "d1", "P1", "o1", 19.0, 2.0),
            ("transaction", "d1", "P2", "o1", 5.0, None),
        ],
    ),
    "rees46": (
        1569888000000,
        [
            ("view", "541312140", "44600062", None, 35.79, None),
            ("addtocart", "519107250", "17200506", None, 543.1, None),
            ("removefromcart", "519107250", "17200506", None, 543.1, None),
            ("transaction", "519107250", "17200506", None, 543.1, None),
        ],
    ),
    "segment": (
        1704450000123,
        [
            ("view", "a1", "P1", None, 19.0, None),
            ("addtocart", "a1", "P1", None, 19.0, 2.0),
            ("removefromcart", "a1", "P3", None, 19.0, 2.0),
            ("transaction", "a1", "P1", "o1", 19.0, 2.0),
            ("transaction", "a1", "P2", "o1", 5.0, 1.0),
            ("refund", "a1", "P1", "o1", 19.0, 1.0),
        ],
    ),
    "shopify": (
        1704450000123,
        [
            ("view", "c1", "P1", None, 19.0, None),
            ("addtocart", "c1", "P1", None, 19.0, 2.0),
            ("removefromcart", "c1", "P3", None, 7.0, 1.0),
            ("transaction", "c1", "P1", "o1", 19.0, 2.0),
            ("transaction", "c1", "P2", "o1", 5.0, 1.0),
        ],
    ),
    "snowplow": (
        1704450000123,
        [
            ("view", "d1", "P1", None, 19.0, None),
            ("addtocart", "d1", "P1", None, 19.0, 2.0),
            ("removefromcart", "d1", "P3", None, 19.0, 2.0),
            ("transaction", "d1", "P1", "o1", 19.0, 2.0),
            ("transaction", "d1", "P2", "o1", 5.0, 1.0),
        ],
    ),
    "yoochoose": (
        1396867869277,
        [
            ("view", "1", "500001", None, None, None),
            ("view", "1", "500002", None, None, None),
            ("transaction", "1", "500002", None, 1046.0, 1.0),
            ("transaction", "3", "500001", None, None, None),
            ("view", "2", "500003", None, None, None),
        ],
    ),
}


@pytest.fixture(params=["duckdb", "mysql"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    return make_any_shop(request, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_loads_with_its_ready_mapping(shop: AnyShop, name: str) -> None:
    first_ms, expected = SAMPLES[name]
    outcome = shop.load(EXAMPLES / "samples" / name, options=["--mapping", str(EXAMPLES / f"{name}.yml")])
    assert outcome.code == 0, outcome.output
    found = shop.rows(
        "select event, visitorid, itemid, transactionid, price, quantity, timestamp from funnelift_raw.raw_events "
        "order by timestamp, itemid, event"
    )
    assert [(*row[:4], *(value and float(value) for value in row[4:6])) for row in found] == expected
    assert found[0][-1] == first_ms
    counts = "select sum(line_count - accepted_count - ignored_count), sum(rejected_count) from funnelift_raw.raw_loads"
    assert [tuple(map(int, row)) for row in shop.rows(counts)] == [(0, 0)]


def test_every_mapping_in_examples_has_a_sample() -> None:
    mappings = {path.stem for path in EXAMPLES.glob("*.yml")}
    assert mappings == set(SAMPLES) == {path.name for path in (EXAMPLES / "samples").iterdir()}
    for name in mappings:
        assert read_mappings(EXAMPLES / f"{name}.yml")


def test_the_schema_for_editors_is_that_of_the_code() -> None:
    assert (EXAMPLES / "mapping.schema.json").read_text() == text()
    keys = {key for path in EXAMPLES.glob("*.yml") for key in yaml.safe_load(path.read_text())}
    assert keys <= schema()["properties"].keys()


@pytest.mark.end_to_end
def test_units_and_refunds_count_in_revenue_and_cart(shop: AnyShop, tmp_path: Path) -> None:
    options = ["--mapping", str(EXAMPLES / "segment.yml")]
    assert shop.load(EXAMPLES / "samples" / "segment", options=options).code == 0
    environment = os.environ | {"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path / "logs")}
    command = [str(Path(sys.executable).parent / "dbt"), "--quiet", "build"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    money = "select sum(revenue), sum(carted_value), sum(abandoned_value) from funnelift.session_funnels"
    assert [tuple(map(float, row)) for row in shop.rows(money)] == [(24.0, 38.0, 0.0)]
