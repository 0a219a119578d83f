"""The same raw files give the same rows on Spark, compared cell by cell with DuckDB, on a cluster of two workers.

`make test-spark` runs this; SPARK_SHOPS names the shops: sample, nasty, demo.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity import on_duckdb, on_spark
from parity_shops import (
    BI_KEYS,
    KEYS,
    PREDICTION_TOLERANCE,
    PUBLISHED,
    Pair,
    RawFiles,
    assert_same,
    demo,
    nasty,
    sample,
)
from paths import ROOT
from spark_cluster import start_cluster

SHOPS = os.environ.get("SPARK_SHOPS", "sample").split(",")


@pytest.fixture(scope="module")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with start_cluster(tmp_path_factory.mktemp("cluster")) as environment:
        yield environment


@pytest.fixture(scope="module", params=SHOPS)
def pair(
    request: pytest.FixtureRequest,
    spark_cluster: dict[str, str],
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    shop: RawFiles = {
        "sample": lambda: sample(shared_data),
        "nasty": lambda: nasty(folder, is_trained_on=True),
        "demo": lambda: demo(folder),
    }[request.param]()
    (folder / "duckdb").mkdir()
    (folder / "spark").mkdir()
    expected = shop.build(on_duckdb(folder / "duckdb" / "warehouse.duckdb"), folder / "duckdb")
    found = shop.build(on_spark(folder / "spark", spark_cluster), folder / "spark")
    return Pair("Spark", expected, found)


def test_every_model_has_the_same_rows(pair: Pair) -> None:
    assert_same(pair, "relations", KEYS)


def test_people_read_the_same(pair: Pair) -> None:
    assert_same(pair, "bi", BI_KEYS)


def test_the_published_tables_are_the_same(pair: Pair) -> None:
    if pair.expected.published:
        assert_same(pair, "published", PUBLISHED, PREDICTION_TOLERANCE)


def test_every_analysis_gives_the_same_answer(pair: Pair) -> None:
    assert_same(pair, "analyses", dict.fromkeys(path.stem for path in (ROOT / "analyses").glob("*.sql")))
