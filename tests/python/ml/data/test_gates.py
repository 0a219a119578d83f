"""The gate stops a run on marts that do not add up, hold impossible values or give the answer away."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import ml_mart
from ml.config import Config, Leakage, load_config
from ml.data.counts import Summary, check_rows, check_sessions, rows_at_points
from ml.data.features import MART, Feature, Mart, read_mart
from ml.data.gates import GateError
from ml.data.leakage import PurePart, category_auc, check_leakage, evaluate_features, numeric_auc, refuse_leaks
from ml.data.rows import Dataset, build_dataset
from ml.data.values import check_values, expectations_met
from warehouse.base import Warehouse
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

TABLES = ml_mart.marts(3000, seed=11, buy_rate=0.05)


def settings(folder: Path, **more: object) -> Config:
    return load_config(
        None, {"duckdb_path": folder / "warehouse.duckdb", "manifest": folder / "manifest.json", **more}, environment={}
    )


def load(config: Config) -> tuple[Dataset, Mart]:
    mart = read_mart(read_contracts(config.manifest))
    with open_warehouse(config) as warehouse:
        rows, batches = warehouse.read(MART, mart.columns)
        return build_dataset(batches, rows, mart), mart


def counted(warehouse: Warehouse, data: Dataset) -> Summary:
    summary = check_sessions(warehouse)
    check_rows(warehouse, rows_at_points(data))
    return summary


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str], tuple[Config, Dataset, Mart]]:
    """Write the marts, change them by SQL as someone might after dbt, and read them."""

    def change(sql: str) -> tuple[Config, Dataset, Mart]:
        ml_mart.write(tmp_path, TABLES)
        with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
            connection.execute(sql)
        config = settings(tmp_path)
        return config, *load(config)

    return change


def test_marts_that_add_up_pass(changed: Callable[[str], tuple[Config, Dataset, Mart]]) -> None:
    config, data, mart = changed("select 1")
    with open_warehouse(config) as warehouse:
        summary = counted(warehouse, data)
        assert expectations_met(warehouse, mart, config) == check_values(data, mart, config)
    assert summary.sessions == len(TABLES["sessions"])
    assert summary.conversion_rate == TABLES["session_funnels"]["has_transaction"].mean()
    assert summary.is_synthetic
    assert check_values(data, mart, config) > len(mart.numeric) * 2
    assert check_leakage(data, mart, config)[0].auc <= 0.95


@pytest.mark.parametrize(
    ("sql", "gate", "numbers"),
    [
        (
            "delete from funnelift.session_features where rowid = 0",
            "row count",
            lambda: [str(n) for n in TABLES["session_features"]["decision_point"].value_counts()],
        ),
        (
            "update funnelift.session_features set has_transaction = 1 - has_transaction where rowid = 5",
            "conversion rate",
            lambda: ["SQL", "Python"],
        ),
        (
            "update funnelift.dataset_summary set conversion_rate = 0.5",
            "conversion rate",
            lambda: [str(TABLES["session_funnels"]["has_transaction"].mean()), "0.5"],
        ),
        (
            "update funnelift.dataset_summary set converting_session_count = 3",
            "converting session count",
            lambda: ["3", str(TABLES["session_funnels"]["has_transaction"].sum())],
        ),
        ("delete from funnelift.sessions where rowid = 7", "session count", lambda: [str(len(TABLES["sessions"]) - 1)]),
        ("drop table funnelift.session_funnels", "tables", lambda: ["session_funnels"]),
        (
            "insert into funnelift.session_features from funnelift.session_features where rowid = 1",
            "key",
            lambda: ["expected 0, found 1"],
        ),
    ],
)
def test_counts_that_differ_stop_the_run(
    changed: Callable[[str], tuple[Config, Dataset, Mart]], sql: str, gate: str, numbers: Callable[[], list[str]]
) -> None:
    config, data, _ = changed(sql)
    with open_warehouse(config) as warehouse, pytest.raises(GateError) as failure:
        counted(warehouse, data)
    assert failure.value.gate == gate
    assert "expected" in str(failure.value)
    assert "dbt build" in str(failure.value)
    assert any(number in str(failure.value) for number in numbers())


@pytest.mark.parametrize(
    ("sql", "gate", "parts"),
    [
        ("update funnelift.session_features set decision_hour = 24 where rowid = 1", "values", ["decision_hour", "24"]),
        ("update funnelift.session_features set item_price = -1 where rowid = 1", "values", ["item_price", "-1"]),
        (
            "update funnelift.session_features set item_price = 'inf'::double where rowid = 1",
            "values",
            ["item_price", "inf"],
        ),
        (
            "update funnelift.session_features set item_price = (case rowid when 1 then 'inf' else 'nan' end)::double "
            "where rowid < 3",
            "values",
            ["item_price", "inf"],
        ),
        ("update funnelift.session_features set views_so_far = null where rowid < 3", "values", ["views_so_far", "3"]),
        ("update funnelift.session_features set has_transaction = null where rowid = 1", "values", ["has_transaction"]),
        ("update funnelift.session_features set is_mature = 2 where rowid = 1", "values", ["is_mature", "2"]),
        ("update funnelift.session_features set visitor_id = null where rowid = 1", "nulls", ["visitor_id", "1"]),
    ],
)
def test_impossible_values_stop_the_run(
    changed: Callable[[str], tuple[Config, Dataset, Mart]], sql: str, gate: str, parts: list[str]
) -> None:
    config, data, mart = changed(sql)
    with open_warehouse(config) as warehouse:
        assert expectations_met(warehouse, mart, config) is None
    with pytest.raises(GateError) as failure:
        check_values(data, mart, config)
    assert failure.value.gate == gate
    for part in parts:
        assert part in str(failure.value)


def test_all_broken_expectations_are_named(changed: Callable[[str], tuple[Config, Dataset, Mart]]) -> None:
    config, data, mart = changed("update funnelift.session_features set decision_hour = 24, item_price = -1")
    with pytest.raises(GateError, match=r"decision_hour.*item_price"):
        check_values(data, mart, config)


def test_a_column_of_nulls_passes_unless_it_is_never_null(
    changed: Callable[[str], tuple[Config, Dataset, Mart]],
) -> None:
    config, data, mart = changed("update funnelift.session_features set item_price = null")
    assert check_values(data, mart, config)


@pytest.mark.parametrize("leak", ["has_transaction", "-has_transaction", "case when has_transaction = 0 then 1.0 end"])
def test_the_label_in_a_feature_sets_off_the_alarm(
    changed: Callable[[str], tuple[Config, Dataset, Mart]], leak: str
) -> None:
    config, data, mart = changed(f"update funnelift.session_features set item_price_ratio = {leak}")
    with pytest.raises(GateError, match=r"AUC of item_price_ratio alone at .* at most 0.95, found 1.0000") as failure:
        check_leakage(data, mart, config)
    assert failure.value.gate == "leakage"


def test_the_label_in_a_category_sets_off_the_alarm(
    changed: Callable[[str], tuple[Config, Dataset, Mart]],
) -> None:
    config, data, mart = changed("update funnelift.session_features set item_category = 'c' || has_transaction")
    with pytest.raises(GateError, match="AUC of item_category alone"):
        check_leakage(data, mart, config)


def test_an_accepted_leak_needs_a_feature_that_exists(
    changed: Callable[[str], tuple[Config, Dataset, Mart]],
) -> None:
    config, data, mart = changed("update funnelift.session_features set item_price_ratio = has_transaction")
    accepted = config.leakage.model_copy(update={"accepted": {"item_price_ratio": "on purpose"}})
    assert check_leakage(data, mart, config.model_copy(update={"leakage": accepted}))[0].feature == "item_price_ratio"
    unknown = config.leakage.model_copy(update={"accepted": {"item_prise": "typing error"}})
    with pytest.raises(FunneliftError, match="item_prise"):
        check_leakage(data, mart, config.model_copy(update={"leakage": unknown}))


BUYERS = """
    select min(session_id) from funnelift.session_features
    where has_transaction = 1 and is_mature = 1 and decision_point = 'landing'
    group by visitor_id order by 1 limit 60
"""


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [
        ("item_price_ratio", "9e6", "item_price_ratio is 9e+06 or more"),
        ("item_price_ratio", "-5", "item_price_ratio is -5 or less"),
        ("item_price", "12345.75", "item_price is 12345.8"),
        ("item_views_28d", "null", "item_views_28d is null"),
        ("item_category", "'checkout'", "item_category is checkout"),
    ],
)
def test_a_part_that_holds_buyers_alone_sets_off_the_alarm(
    changed: Callable[[str], tuple[Config, Dataset, Mart]], column: str, value: str, part: str
) -> None:
    where = f"where decision_point = 'landing' and session_id in ({BUYERS})"
    config, data, mart = changed(f"update funnelift.session_features set {column} = {value} {where}")
    with pytest.raises(GateError) as failure:
        check_leakage(data, mart, config)
    assert failure.value.gate == "leakage"
    assert f"share converting where {part} at landing" in str(failure.value)
    assert "expected below 99.0%, found 100.0% (60 of 60 rows)" in str(failure.value)
    accepted = config.leakage.model_copy(update={"accepted": {column: "on purpose"}})
    (found,) = [
        entry
        for entry in check_leakage(data, mart, config.model_copy(update={"leakage": accepted}))
        if entry.pure is not None
    ]
    assert (found.feature, found.pure and found.pure.positives) == (column, 60)
    assert found.auc < 0.95
    tolerant = config.leakage.model_copy(update={"min_positives": 61})
    check_leakage(data, mart, config.model_copy(update={"leakage": tolerant}))


def purest(
    values: npt.NDArray[np.float32], label: npt.NDArray[np.int8], visitor: npt.NDArray[np.int32], settings: Leakage
) -> tuple[str, int, int] | None:
    """The widest pure top tail, bottom tail, value or null, by looking at each."""
    edges = np.unique(values[(label == 1) & ~np.isnan(values)])
    kinds = [
        [(f"{edge:g} or more", values >= edge) for edge in edges],
        [(f"{edge:g} or less", values <= edge) for edge in edges],
        [(f"{edge:g}", values == edge) for edge in edges],
        [("null", np.isnan(values))],
    ]
    for kind in kinds:
        pure = []
        for where, rows in kind:
            positives, total = int(label[rows].sum()), int(rows.sum())
            visitors = len(set(visitor[rows & (label == 1)]))
            if visitors >= settings.min_positives and positives >= settings.highest_purity * total:
                pure.append((positives, where, total))
        if pure:
            positives, where, total = max(pure, key=lambda entry: entry[0])
            return where, total, positives
    return None


def test_pure_parts_are_those_of_a_plain_search() -> None:
    rng = np.random.default_rng(4)
    settings = load_config(environment={}).leakage.model_copy(update={"min_positives": 8, "highest_purity": 0.9})
    found = []
    for _ in range(150):
        label = (rng.random(400) < 0.3).astype(np.int8)
        visitor = rng.integers(0, 300, 400).astype(np.int32)
        values = np.round(rng.normal(size=400) + rng.choice([0, 0.5, 1.5]) * label, 1).astype(np.float32)
        values[rng.random(400) < rng.choice([0.0, 0.3]) * label] = np.nan
        values[rng.random(400) < rng.choice([0.0, 0.1]) * label] = 0.55
        (entry,) = evaluate_features(
            pd.DataFrame({"x": values}),
            [Feature("x", "g", "numeric", "x")],
            label,
            visitor,
            rows=np.arange(400),
            group="g",
            settings=settings,
        )
        expected = purest(values, label, visitor, settings)
        assert entry.pure == (None if expected is None else PurePart(*expected))
        found.append("nothing" if expected is None else expected[0].lstrip("-.0123456789"))
    assert {"nothing", " or more", "", "null"} <= set(found)


def test_a_visitor_who_always_buys_is_no_leak() -> None:
    rng = np.random.default_rng(5)
    label = np.r_[np.ones(80), rng.random(4000) < 0.05].astype(np.int8)
    visitor = np.r_[np.zeros(80), np.arange(1, 4001)].astype(np.int32)
    prior = np.r_[np.arange(1, 81), rng.integers(0, 2, 4000)].astype(np.float32)
    inputs = pd.DataFrame({"prior": prior, "city": pd.Categorical(np.where(visitor == 0, "Ulm", "Bonn"))})
    features = [Feature("prior", "g", "numeric", ""), Feature("city", "g", "categorical", "")]
    settings = load_config(environment={}).leakage
    for entry in evaluate_features(
        inputs, features, label, visitor, rows=np.arange(4080), group="g", settings=settings
    ):
        assert entry.pure is None
    for entry in evaluate_features(
        inputs, features, label, np.arange(4080, dtype=np.int32), rows=np.arange(4080), group="g", settings=settings
    ):
        assert entry.pure is not None


def test_where_nearly_everybody_buys_a_pure_tail_is_no_leak_unless_it_is_long() -> None:
    rng = np.random.default_rng(6)
    settings = load_config(environment={}).leakage
    rows, features = np.arange(3000), [Feature("x", "g", "numeric", "x")]
    for _ in range(100):
        label = (rng.random(3000) < 0.95).astype(np.int8)
        inputs = pd.DataFrame({"x": rng.normal(size=3000).astype(np.float32)})
        refuse_leaks(
            evaluate_features(inputs, features, label, rows.astype(np.int32), rows=rows, group="g", settings=settings),
            settings,
        )
    inputs.loc[label == 0, "x"] -= 1
    inputs.loc[(label == 0) & (inputs["x"] > 0), "x"] = -1
    with pytest.raises(GateError, match=r"share converting where x is .* or more"):
        refuse_leaks(
            evaluate_features(inputs, features, label, rows.astype(np.int32), rows=rows, group="g", settings=settings),
            settings,
        )


def test_single_feature_auc_equals_sklearns() -> None:
    rng = np.random.default_rng(1)
    positive, negative = np.round(rng.normal(0.5, 1, 300), 1), np.round(rng.normal(0, 1, 2000), 1)
    positive[:40], negative[:700] = np.nan, np.nan
    label = np.r_[np.ones(300), np.zeros(2000)]
    both = np.r_[positive, negative]
    expected = max(roc_auc_score(label, np.nan_to_num(both, nan=fill)) for fill in (-99, 99))
    assert numeric_auc(positive.astype(np.float32), negative.astype(np.float32)) == pytest.approx(expected, abs=1e-6)
    assert numeric_auc(-positive.astype(np.float32), -negative.astype(np.float32)) == pytest.approx(expected, abs=1e-6)


def test_many_rare_categories_do_not_look_like_a_leak() -> None:
    # In-sample, 5,000 levels would tell the two apart almost perfectly.
    rng = np.random.default_rng(2)
    auc = category_auc(
        rng.integers(0, 5000, 60), rng.integers(0, 5000, 6000), rng.integers(0, 999, 60), rng.integers(0, 999, 6000)
    )
    assert auc < 0.6
