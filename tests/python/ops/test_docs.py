"""`python -m ops docs`: pages that open alone, with the metrics of the last training and the last gate."""

import json
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

import ml_mart
from ml.config import Config, load_config
from ml.data.features import MART, read_mart
from ml.data.gates import GateError
from ml.data.rows import build_dataset
from ml.data.values import GATE_RESULT, check_values
from ops import docs
from warehouse.contract import read_contracts
from warehouse.open import open_warehouse

pytestmark = pytest.mark.end_to_end

TRAINED = """
create schema if not exists funnelift;
create or replace table funnelift.ml_runs as
    select 'before' as run_id, 'duckdb' as target, timestamp '2015-09-17 08:00' as finished_at, 'xgboost' as champion,
        10 as session_count, 1 as converting_session_count, 0 as is_synthetic, 'retired' as status
    union all select 'last', 'duckdb', timestamp '2015-09-18 09:30', 'catboost', 12345, 67, 1, 'published';
create or replace table funnelift.model_metrics as
    select 'last' as run_id, 'catboost' as model, 'overall' as slice, 'auc_roc' as metric, 0.8375 as value,
        0.8125 as ci_lower, 0.8625 as ci_upper, 4000 as n_rows
    union all select 'last', 'catboost', 'visitor=new', 'auc_roc', 0.5, 0.4, 0.6, 9;
create or replace table funnelift.uplift_metrics as
    select 't_learner' as learner, '' as versus, 'qini' as metric, 0.25 as value, null as ci_lower, null as ci_upper,
        1500 as n_rows, 1 as is_simulated
    union all select 't_learner', 'response', 'qini', 0.125, 0.1, 0.2, 1500, 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    places = {"duckdb_path": tmp_path / "warehouse.duckdb", "manifest": tmp_path / "target" / "manifest.json"}
    return load_config(None, {**places, "results": tmp_path / "results"}, environment={})


def test_the_last_training_is_told_with_its_intervals(config: Config) -> None:
    with duckdb.connect(config.duckdb_path) as connection:
        connection.execute(TRAINED)
    with open_warehouse(config) as warehouse:
        told = docs.last_training(warehouse)
    assert "Run `last` on duckdb, finished 2015-09-18 09:30 UTC: 12,345 sessions, 67 of them converting" in told
    assert "champion catboost. The data are synthetic." in told
    assert told.splitlines()[-2:] == [
        "| catboost | auc_roc | 0.8375 | 0.8125 to 0.8625 | 4,000 |",
        "| t_learner (simulated effects) | qini | 0.2500 |  | 1,500 |",
    ]


def test_the_gate_leaves_a_result_whether_it_passes_or_not(tmp_path: Path) -> None:
    ml_mart.write(tmp_path, ml_mart.marts(500, seed=11, buy_rate=0.05))
    places = {"duckdb_path": tmp_path / "warehouse.duckdb", "manifest": tmp_path / "manifest.json"}
    config = load_config(None, places, environment={})
    mart = read_mart(read_contracts(config.manifest))
    pages = []
    for change in ("select 1", "update funnelift.session_features set item_price = 'inf'::double, decision_hour = 24"):
        with duckdb.connect(config.duckdb_path) as connection:
            connection.execute(change)
        with open_warehouse(config) as warehouse:
            rows, batches = warehouse.read(MART, mart.columns)
            data = build_dataset(batches, rows, mart)
        with suppress(GateError):
            check_values(data, mart, config)
        pages.append(docs.gate_page(json.loads((tmp_path / GATE_RESULT).read_text())))
    assert ["Failed" in page.split("Statistics")[0].split("Status:")[1] for page in pages] == [False, True]
    assert all("decision_hour" in page and "Expectation Validation Result" in page for page in pages)


def test_before_a_training_the_page_says_so(config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUNNELIFT_TARGET", "duckdb")
    monkeypatch.setenv("FUNNELIFT_DUCKDB_PATH", str(config.duckdb_path))
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    (page,) = docs.build(config)
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "results" / "docs" / "index.html"
    assert "None yet: run `python -m ml.train`." in html
    assert all(name in html for name in ("A tag builds with its parents", "model.funnelift.sessions", "exposure."))
    assert "INLINE DATA" not in html
