"""The same raw files give the same rows on Spark, compared cell by cell with DuckDB, on a cluster of two workers.

`make test` takes the sample, `make test-spark` the other shops too.
"""

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
from spark_cluster import Cluster

SHOPS = ("sample", *(pytest.param(shop, marks=pytest.mark.long) for shop in ("nasty", "demo")))


@pytest.fixture(scope="module", params=SHOPS)
def pair(
    request: pytest.FixtureRequest,
    spark_cluster: Cluster,
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
    found = shop.build(on_spark(folder / "spark", spark_cluster.environment), folder / "spark")
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
