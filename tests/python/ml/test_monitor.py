"""`ml.monitor` as a scheduler runs it: tables, exit codes, refusals, and what a reader sees meanwhile."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ml_mart
from contracts import PUBLISHED
from ml import monitor, train
from ml.cli import Progress
from paths import ROOT
from training import DRIFT, QUICK, Place
from warehouse.duckdb import DuckDBWarehouse
from warehouse.errors import FunneliftError

SETTINGS = QUICK | {"monitoring": {"window_days": 60, "min_positives": 20}}
# Half of the test split's visitors, as if they had come later: nothing has changed.
LATER = "dataset_split = 'test' and hash(visitor_id) % 2 = 0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained"))
    ml_mart.write(place.folder, ml_mart.marts(20_000, seed=31, buy_rate=0.02))
    (place.folder / "quick.json").write_text(json.dumps(SETTINGS))
    train.train(place.config(), Progress(), only="conversion")
    return place


@pytest.fixture
def later(trained: Place, tmp_path: Path) -> Place:
    """A copy in which half of the test rows were scored after the training."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    place = Place(tmp_path / "copy")
    place.execute(f"update funnelift.conversion_predictions set dataset_split = 'new' where {LATER}")
    return place


def change(place: Place, assignment: str) -> None:
    """Change the features of the rows that came later."""
    place.execute(
        f"update funnelift.session_features as features set {assignment} from funnelift.conversion_predictions as p "
        "where features.session_id = p.session_id and features.decision_point = p.decision_point "
        "and p.dataset_split = 'new'"
    )


def command(place: Place) -> int:
    places = ("--config", "quick.json"), ("--manifest", "manifest.json"), ("--results", "results")
    arguments = [part for option, file in places for part in (option, str(place.folder / file))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNNELIFT_DUCKDB_PATH", str(place.folder / "warehouse.duckdb"))
        return monitor.main(arguments)


def run_of(place: Place) -> dict[str, Any]:
    return place.rows("select * from funnelift.drift_runs order by started_at desc")[0]


def test_where_nothing_changes_the_exit_code_is_0(later: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(later) == 0
    said = capsys.readouterr().out
    assert said.startswith("SYNTHETIC data")
    assert "Verdict: no alarm." in said
    run = run_of(later)
    assert run["verdict"] in ("stable", "watch")
    assert run["alarm_count"] == 0
    (counted,) = later.rows(
        "select count(*) filter (where dataset_split = 'test') as reference, "
        "count(*) filter (where dataset_split in ('new', 'open')) as since, "
        "count(*) filter (where dataset_split = 'new') as known, "
        "sum(has_transaction) filter (where dataset_split = 'new') as positives "
        "from funnelift.conversion_predictions"
    )
    assert run["n_reference_rows"] == counted["reference"]
    assert run["n_scored_rows"] == run["n_rows"] == counted["since"]
    assert run["n_matured_rows"] == counted["known"]
    assert run["n_positives"] == counted["positives"] >= 20


def test_the_tables_keep_their_contract_and_the_stamp(later: Place) -> None:
    monitor.monitor(later.config(), Progress())
    for table in DRIFT:
        rows = later.rows(f"select * from funnelift.{table}")
        assert list(rows[0]) == PUBLISHED[table].column_names
        stamps = {(row["run_id"], row["model_version"]) for row in rows}
        assert len(stamps) == 1
    keyed = later.rows("select table_name from duckdb_constraints() where constraint_type = 'PRIMARY KEY'")
    assert {row["table_name"] for row in keyed} >= set(DRIFT)
    monitor.monitor(later.config(), Progress())
    counts = {
        table: later.rows(f"select count(distinct run_id) as n from funnelift.{table}")[0]["n"] for table in DRIFT
    }
    assert counts == dict.fromkeys(DRIFT, 1) | {"drift_runs": 2}


def test_the_index_of_a_feature_is_what_sql_counts(later: Place) -> None:
    change(later, "item_root_category = case when item_root_category = 'r1' then 'r9' else item_root_category end")
    monitor.monitor(later.config(), Progress())
    (found,) = later.rows(
        "select psi from funnelift.drift_features where period = 'window' and feature = 'item_root_category'"
    )
    (by_hand,) = later.rows(
        """
        with counted as (
            select coalesce(f.item_root_category, 'missing') as value,
                count(*) filter (where p.dataset_split = 'test') as before,
                count(*) filter (where p.dataset_split <> 'test') as now
            from funnelift.session_features as f
            inner join funnelift.conversion_predictions as p using (session_id, decision_point)
            where p.dataset_split in ('test', 'new', 'open')
            group by all
        ),

        binned as (
            select case when value = 'missing' or row_number() over (
                order by value = 'missing', before + now desc, value) <= 20 then value else 'other' end as bin,
                before, now
            from counted
        ),

        bins as (select bin, sum(before) as before, sum(now) as now from binned group by bin),

        shares as (
            select (before + 0.5) / (sum(before) over () + 0.5 * count(*) over ()) as e,
                (now + 0.5) / (sum(now) over () + 0.5 * count(*) over ()) as a
            from bins
        )

        select sum((a - e) * ln(a / e)) as psi from shares
        """
    )
    assert found["psi"] == pytest.approx(by_hand["psi"], rel=1e-9)


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("item_price = item_price * 6", "item_price: PSI"),
        ("item_root_category = case when hash(features.session_id) % 3 = 0 then 'launched' else item_root_category end",
         "item_root_category: PSI .*new since the training: launched"),
        ("has_transaction = case when hash(features.session_id) % 2 = 0 then 0 else features.has_transaction end",
         "observed over predicted conversions 0"),
    ],
)  # fmt: skip
def test_a_change_is_exit_code_3_and_is_named(
    later: Place, assignment: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(later, assignment)
    assert command(later) == monitor.EXIT_DRIFT == 3
    said = capsys.readouterr().out
    assert re.search(f"alarm: {named}", said)
    assert "Verdict: DRIFT" in said
    run = run_of(later)
    assert run["verdict"] == "alarm"
    assert re.search(named, run["alarms_json"])


def test_without_new_rows_nothing_is_stable(trained: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained.folder, tmp_path / "copy")
    place = Place(tmp_path / "copy")
    place.execute("delete from funnelift.conversion_predictions where dataset_split = 'open'")
    assert command(place) == monitor.EXIT_TOO_FEW == 4
    said = capsys.readouterr().out
    assert "NOT ENOUGH TO EVALUATE" in said
    assert "no alarm." not in said.replace("raised no alarm.", "")
    run = run_of(place)
    assert (run["verdict"], run["n_rows"], run["window_last_date"]) == ("too few", 0, None)


def test_open_sessions_count_for_the_population_alone(later: Place) -> None:
    change(later, "is_mature = 0")
    finished = monitor.monitor(later.config(), Progress())
    assert finished.code == monitor.EXIT_TOO_FEW
    run = run_of(later)
    assert (run["population_status"], run["performance_status"]) == ("stable", "too few")
    assert run["n_matured_rows"] == 0 < run["n_rows"]


def test_late_rows_of_days_that_trained_are_left_out(later: Place) -> None:
    late = "where dataset_split = 'train' and hash(visitor_id) % 7 = 0"
    (counted,) = later.rows(f"select count(*) as n from funnelift.conversion_predictions {late}")
    before = monitor.monitor(later.config(), Progress())
    later.execute(f"update funnelift.conversion_predictions set dataset_split = 'new' {late}")
    after = monitor.monitor(later.config(), Progress())
    assert run_of(later)["n_left_out_rows"] == counted["n"] > 100
    assert f"{counted['n']:,} more are left out: decided before its test split" in after.lines[0]
    assert [line for line in after.lines[1:] if "report" not in line] == [
        line for line in before.lines[1:] if "report" not in line
    ]


def test_a_wrong_clock_is_left_out(later: Place) -> None:
    monitor.monitor(later.config(), Progress())
    before = run_of(later)
    stray = "(select min(session_id) from funnelift.conversion_predictions where dataset_split = 'new')"
    later.execute(
        "update funnelift.session_features set decided_ms = decided_ms + 800000000000, is_mature = 0, "
        f"decided_date = decided_date + 9000 where session_id = {stray}"
    )
    monitor.monitor(later.config(), Progress())
    run = run_of(later)
    assert before["n_left_out_rows"] == 0 < run["n_left_out_rows"]
    assert run["n_rows"] + run["n_left_out_rows"] == before["n_rows"]
    assert run["window_last_date"] == before["window_last_date"]
    assert (
        later.rows("select max(period) as last from funnelift.drift_features where period <> 'window'")[0]["last"]
        < "2016"
    )


def test_the_order_of_rows_changes_no_number(later: Place) -> None:
    columns = "period, metric, value, ci_lower, ci_upper, change_lower, change_upper"
    sql = f"select {columns} from funnelift.drift_performance order by all"
    monitor.monitor(later.config(), Progress())
    before = later.rows(sql)
    for table in ("session_features", "conversion_predictions"):
        later.execute(f"create or replace table funnelift.{table} as from funnelift.{table} order by hash(session_id)")
    monitor.monitor(later.config(), Progress())
    for row, other in zip(later.rows(sql), before, strict=True):
        assert list(row.values())[:2] == list(other.values())[:2]
        assert list(row.values())[2:] == pytest.approx(list(other.values())[2:], rel=1e-9)


def test_it_refuses_what_does_not_fit_together(later: Place, capsys: pytest.CaptureFixture[str]) -> None:
    monitor.monitor(later.config(), Progress())
    before = later.rows("select * from funnelift.drift_features order by all")
    later.execute("update funnelift.conversion_predictions set run_id = 'other'")
    assert command(later) == 1
    assert "python -m ml.train" in capsys.readouterr().err
    later.execute(
        "update funnelift.conversion_predictions set run_id = (select run_id from funnelift.ml_runs); "
        "delete from funnelift.conversion_predictions where dataset_split in ('new', 'test')"
    )
    with pytest.raises(FunneliftError, match=r"no rows of the test split .* run `python -m ml\.train`"):
        monitor.monitor(later.config(), Progress())
    later.execute("drop table funnelift.ml_runs")
    with pytest.raises(FunneliftError, match="no trained model"):
        monitor.monitor(later.config(), Progress())
    assert later.rows("select * from funnelift.drift_features order by all") == before
    assert len(later.rows("select * from funnelift.drift_runs")) == 1


def test_a_build_that_has_not_ended_is_refused(later: Place, capsys: pytest.CaptureFixture[str]) -> None:
    later.execute("update funnelift.build_plan set build_id = 'begun'")
    assert command(later) == 1
    assert "gate one whole build failed" in capsys.readouterr().err
    assert not later.rows("select 1 from information_schema.tables where table_name = 'drift_runs'")


def test_a_monitoring_that_dies_leaves_the_last_one(later: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor.monitor(later.config(), Progress())
    before = {table: later.rows(f"select * from funnelift.{table} order by all") for table in DRIFT}
    write = DuckDBWarehouse._write

    def dies(self: DuckDBWarehouse, publication: Any) -> None:
        if publication.name == "drift_runs":
            raise KeyboardInterrupt
        write(self, publication)

    monkeypatch.setattr(DuckDBWarehouse, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        monitor.monitor(later.config(), Progress())
    assert {table: later.rows(f"select * from funnelift.{table} order by all") for table in DRIFT} == before


def test_help_says_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as finished:
        monitor.main(["--help"])
    assert finished.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 evaluated, no alarm; 3 drift: at least one alarm; 4 no alarm, and not enough" in text
    with pytest.raises(SystemExit) as finished:
        monitor.main(["--no-such-option"])
    assert finished.value.code == 2


@pytest.mark.end_to_end
def test_a_shop_whose_days_come_one_after_the_other(tmp_path: Path) -> None:
    """Loaded, built and trained up to a day; then the days after it loaded, built, scored and monitored."""
    raw, first, later = (tmp_path / name for name in ("raw", "first", "later"))
    environment = {
        "FUNNELIFT_TARGET": "duckdb",
        "FUNNELIFT_DUCKDB_PATH": str(tmp_path / "warehouse.duckdb"),
        "FUNNELIFT_RESULTS": str(tmp_path / "results"),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }
    (tmp_path / "quick.json").write_text(json.dumps(QUICK | {"monitoring": {"min_positives": 20}}))

    def run(*arguments: str) -> tuple[int, str]:
        finished = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT, env={**os.environ, **environment}, check=False, capture_output=True, text=True,
        )  # fmt: skip
        return finished.returncode, finished.stdout + finished.stderr

    def succeed(*arguments: str) -> None:
        code, said = run(*arguments)
        assert code == 0, said

    succeed("ingest", "synth", "--out", str(raw), "--visitors", "20000")
    events = pd.read_csv(raw / "events.csv", dtype=str, keep_default_na=False)
    times = events["timestamp"].astype("int64")
    is_later = times >= times.min() + 0.8 * (times.max() - times.min())
    # Without the marker of a synthetic shop, to which nothing can be added.
    shutil.copytree(raw, first, ignore=shutil.ignore_patterns("synthetic.json"))
    later.mkdir()
    for folder, rows in ((first, events[~is_later]), (later, events[is_later])):
        rows.to_csv(folder / "events.csv", index=False)
    config = ("--config", str(tmp_path / "quick.json"))
    succeed("ingest", "load", "--raw", str(first))
    succeed("dbt.cli.main", "--quiet", "run")
    succeed("ml.train", "--only", "conversion", *config)
    code, said = run("ml.monitor", *config)
    assert code == monitor.EXIT_TOO_FEW, said
    succeed("ingest", "load", "--raw", str(later))
    succeed("dbt.cli.main", "--quiet", "run")
    succeed("ml.score", *config)
    code, said = run("ml.monitor", *config)
    assert code == 0, said
    assert f"The pages for people: {tmp_path / 'results' / 'report.html'}" in said
    place = Place(tmp_path)
    run_of_it = run_of(place)
    assert run_of_it["n_scored_rows"] > 3_000
    assert run_of_it["window_first_date"] > run_of_it["reference_last_date"] - timedelta(days=2)
    succeed("dbt.cli.main", "--quiet", "test", "--select", *DRIFT)
