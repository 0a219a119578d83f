"""`ml.train` on a real warehouse: outputs, determinism, atomicity."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import ml.data.rows as data_rows
import ml_mart
import warehouse.duckdb as duckdb_engine
from contracts import PUBLISHED, contract
from ml import score, train
from ml.cli import Progress
from ml.config import DEFAULTS
from ml.files import sha256_of
from paths import ROOT
from training import CONVERSION, QUICK, TABLES, UPLIFT, Place, copy_of, train_shop
from warehouse.base import Publication
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return train_shop(tmp_path_factory.mktemp("trained"), 5000, 31, 0.04, QUICK)


@pytest.fixture
def copy(trained: Place, tmp_path: Path) -> Place:
    return copy_of(trained, tmp_path / "copy")


def test_one_prediction_for_every_row_of_the_mart(trained: Place) -> None:
    rows = trained.rows(
        """
        select features.session_id is not null and predictions.session_id is not null as in_both, count(*) as n
        from funnelift.session_features as features
        full join funnelift.conversion_predictions as predictions using (session_id, decision_point)
        group by 1
        """
    )
    assert [row["in_both"] for row in rows] == [True]
    for row in trained.rows("select * from funnelift.conversion_predictions"):
        assert row["abandon_probability"] == 1 - row["probability"]
        assert 0 < row["probability"] < 1
        explained = row["dataset_split"] != "train"
        for number in (1, 2, 3):
            assert (row[f"reason_{number}"] is not None) == explained
        assert (row["has_transaction"] is None) == (row["dataset_split"] == "open") == (row["is_mature"] == 0)
        if explained:
            assert row["reason_1"].startswith(("Towards leaving: ", "Towards buying: "))


def test_every_table_has_its_key_and_the_same_stamp(trained: Place) -> None:
    stamps = {
        group: {
            (row["run_id"], row["model_version"], row["scored_at"])
            for table in group
            for row in trained.rows(f"select distinct run_id, model_version, scored_at from funnelift.{table}")
        }
        for group in (CONVERSION, UPLIFT)
    }
    assert [len(found) for found in stamps.values()] == [1, 1]
    assert len({run_id for found in stamps.values() for run_id, _, _ in found}) == 1
    keyed = trained.rows("select table_name from duckdb_constraints() where constraint_type = 'PRIMARY KEY'")
    assert {row["table_name"] for row in keyed} == set(TABLES)


def test_metrics_of_every_model_on_every_slice_in_table_and_file(trained: Place) -> None:
    rows = trained.rows("select model, slice, metric, value, ci_lower, ci_upper, n_rows from funnelift.model_metrics")
    assert len({row["model"] for row in rows}) == 3
    assert len({row["slice"] for row in rows}) == 7
    assert len(rows) == 3 * 7 * 5
    content = json.loads((trained.folder / "results/metrics/model_metrics.json").read_text())
    assert content["is_synthetic"]
    in_file = {(row["model"], row["slice"], row["metric"]): row["value"] for row in content["metrics"]}
    assert in_file == {(row["model"], row["slice"], row["metric"]): row["value"] for row in rows}
    champion = trained.rows("select champion from funnelift.ml_runs")[0]["champion"]
    losses = {name: min(methods.values()) for name, methods in content["calibration_log_loss"].items()}
    assert champion == min(losses, key=lambda name: losses[name])
    auc = in_file[champion, "overall", "auc_roc"]
    by_hand = trained.rows(
        """
        with ranked as (
            select has_transaction, rank() over (order by probability)
                + (count(*) over (partition by probability) - 1) / 2.0 as place
            from funnelift.conversion_predictions where dataset_split = 'test'
        )
        select (sum(place) filter (where has_transaction = 1) - sum(has_transaction) * (sum(has_transaction) + 1) / 2.0)
            / (sum(has_transaction) * (count(*) - sum(has_transaction))) as auc
        from ranked
        """
    )[0]["auc"]
    assert auc == pytest.approx(by_hand, abs=1e-12)


def test_files_agree_with_the_tables(trained: Place) -> None:
    results = trained.folder / "results"
    with (results / "predictions/conversion_predictions.csv").open(newline="") as file:
        in_file = {(row["session_id"], row["decision_point"]): row for row in csv.DictReader(file)}
    in_table = trained.rows("select * from funnelift.conversion_predictions")
    assert len(in_file) == len(in_table)
    for row in in_table:
        written = in_file[row["session_id"], row["decision_point"]]
        assert float(written["probability"]) == row["probability"]
        assert written["reason_1"] == (row["reason_1"] or "")
        assert written["dataset_split"] == row["dataset_split"]
    run = trained.rows("select * from funnelift.ml_runs")[0]
    hashes = {path.name: sha256_of(path) for path in trained.models().iterdir() if path.is_file()}
    assert hashes[run["champion_file"]] == run["model_sha256"]
    assert hashes["catboost_model.cbm"] == run["catboost_sha256"]
    assert hashes["calibrator.json"] == run["calibrator_sha256"]
    assert hashes["features.json"] == run["features_sha256"]
    counted = trained.rows("select count(*) as n from funnelift.session_features")[0]["n"]
    assert run["feature_row_count"] == counted
    assert json.loads(run["config_json"])["seed"] == run["seed"] == 42
    assert {path.name for path in (results / "figures").iterdir()} == {
        "roc.png", "precision_recall.png", "calibration.png", "shap_summary.png", "qini.png", "uplift_deciles.png",
        "uplift_calibration.png", "roi_curve.png", "experiment_planner.png",
    }  # fmt: skip
    assert [path.name for path in results.iterdir() if path.name.startswith(".")] == []


def test_the_model_card_says_what_matters(trained: Place) -> None:
    card = (trained.folder / "results/model_card.md").read_text()
    run = trained.rows("select run_id, model_version, data_sha256 from funnelift.ml_runs")[0]
    for part in (
        run["run_id"], run["model_version"], run["data_sha256"][:16], "Synthetic data", "Not for", "## Limits",
        "| test |", "visitor=unseen_in_training", "decision_point=cart", "Wilson", "Strongest single feature",
    ):  # fmt: skip
        assert part in card
    value = trained.rows(
        "select value from funnelift.model_metrics "
        "where model = 'catboost' and slice = 'overall' and metric = 'auc_roc'"
    )[0]["value"]
    assert f"{value:.3f} [" in card


@pytest.mark.end_to_end
def test_same_seed_and_data_give_the_same_numbers(
    trained: Place, copy: Place, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    # Rows stored in another order are the same data, and so are features in a file, looked at a few rows at a time.
    copy.execute(
        "create or replace table funnelift.session_features as "
        "from funnelift.session_features order by hash(session_id)"
    )
    monkeypatch.setattr(data_rows, "PART_ROWS", 333)
    (counted,) = copy.rows("select count(*) as n from funnelift.session_features")
    file = copy.folder / "results/predictions/conversion_predictions.csv"
    assert file.exists()
    train.train(copy.config(rows_in_memory=0, predictions_csv_max_rows=counted["n"] - 1), Progress())
    assert not file.exists()
    assert not [path for path in (copy.folder / "results").iterdir() if path.name.startswith(".")]
    columns = "session_id, decision_point, probability, risk_band, reason_1, reason_2, reason_3, dataset_split"
    for sql in (
        f"select {columns} from funnelift.conversion_predictions order by session_id, decision_point",
        "select model, slice, metric, value, ci_lower, ci_upper from funnelift.model_metrics order by all",
        "select decision_point, feature, rank, mean_abs_shap, direction from funnelift.shap_summary order by all",
        "select model, slice, bin, mean_predicted, observed_rate from funnelift.calibration_curve order by all",
        "select session_id, p_control, p_treatment, uplift, decile from funnelift.uplift_scores order by all",
    ):
        assert copy.rows(sql) == trained.rows(sql)
    runs = copy.rows("select run_id, model_version, data_sha256 from funnelift.ml_runs order by started_at")
    assert len(runs) == 2
    assert runs[0]["run_id"] != runs[1]["run_id"]
    assert runs[0]["model_version"] == runs[1]["model_version"]
    assert runs[0]["data_sha256"] == runs[1]["data_sha256"]
    for name in ("roc.png", "shap_summary.png"):
        assert (copy.folder / f"results/figures/{name}").read_bytes() == (
            trained.folder / f"results/figures/{name}"
        ).read_bytes()


def test_a_failed_gate_publishes_nothing(copy: Place) -> None:
    files = {path: path.read_bytes() for path in (copy.folder / "results").rglob("*") if path.is_file()}
    runs = copy.rows("select * from funnelift.ml_runs")
    copy.execute("delete from funnelift.session_features where rowid = 0")
    with pytest.raises(FunneliftError, match="gate row count failed"):
        train.train(copy.config(), Progress())
    assert copy.rows("select * from funnelift.ml_runs") == runs
    assert {path: path.read_bytes() for path in (copy.folder / "results").rglob("*") if path.is_file()} == files


@pytest.mark.end_to_end
def test_a_leak_stops_the_command(copy: Place) -> None:
    copy.execute("update funnelift.session_features set item_price_ratio = has_transaction")
    arguments = ["--config", str(copy.folder / "quick.json"), "--manifest", str(copy.folder / "manifest.json")]
    finished = subprocess.run(
        [sys.executable, "-m", "ml.train", *arguments],
        cwd=ROOT,
        env={
            "FUNNELIFT_DUCKDB_PATH": str(copy.folder / "warehouse.duckdb"),
            "FUNNELIFT_RESULTS": str(copy.folder / "results"),
            "PATH": "",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert "gate leakage failed: AUC of item_price_ratio alone" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("indexed_rows", [0, 10])
def test_a_publication_that_dies_half_way_leaves_the_old_tables(
    copy: Place, indexed_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both ways in which a key is enforced: by an index, and for large tables by a check in the transaction.
    monkeypatch.setattr(duckdb_engine, "INDEXED_ROWS", indexed_rows)
    before = {table: copy.rows(f"select * from funnelift.{table} order by all") for table in TABLES}
    predictions = contract("conversion_predictions", ("session_id",), session_id="varchar(160)")
    runs = contract("ml_runs", ("run_id",), run_id="varchar(64)")
    rows = pa.table({"session_id": ["a"]})
    with open_warehouse(copy.config()) as warehouse, pytest.raises(FunneliftError, match="nothing was published"):
        warehouse.publish([Publication(predictions, rows), Publication(runs, pa.table({"run_id": ["a", "a"]}))])
    assert {table: copy.rows(f"select * from funnelift.{table} order by all") for table in TABLES} == before
    with open_warehouse(copy.config()) as warehouse, pytest.raises(FunneliftError, match="written by another version"):
        warehouse.publish([Publication(predictions, rows), Publication(runs, pa.table({"run_id": ["a"]}), append=True)])
    assert {table: copy.rows(f"select * from funnelift.{table} order by all") for table in TABLES} == before


HOLD = """
import sys
import duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_program(copy: Place) -> Iterator[subprocess.Popen[str]]:
    """A process that has the warehouse open until its stdin ends."""
    command = [sys.executable, "-c", HOLD, str(copy.folder / "warehouse.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        yield other


def test_a_warehouse_in_use_is_named(copy: Place) -> None:
    with (
        another_program(copy),
        pytest.raises(FunneliftError, match=r"in use by another program, .* 0 s \(lock_wait_seconds\): wait"),
        open_warehouse(copy.config(lock_wait_seconds=0)),
    ):
        pass


@pytest.mark.end_to_end
def test_a_second_training_waits_for_the_first(copy: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with another_program(copy) as other:
        # The first ends while the second waits.
        monkeypatch.setattr(duckdb_engine.time, "sleep", lambda _: other.communicate())
        train.train(copy.config(lock_wait_seconds=60), Progress())
    assert len(copy.rows("select * from funnelift.ml_runs")) == 2


def test_tables_say_what_a_row_is(trained: Place) -> None:
    comments = trained.rows("select table_name, comment from duckdb_tables() where comment is not null")
    assert {row["table_name"]: row["comment"] for row in comments} == {
        name: PUBLISHED[name].description for name in TABLES
    }
    columns = trained.rows("select comment from duckdb_columns() where table_name = 'ml_runs' and column_name = 'seed'")
    assert columns == [{"comment": "Seed."}]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"target": "oracle"}, "FUNNELIFT_TARGET: 'oracle' is no target; use duckdb, mysql or spark"),
        ({"duckdb_path": Path("nowhere/warehouse.duckdb")}, "no warehouse at nowhere/warehouse.duckdb"),
        ({"duckdb_path": Path("funnelift.duckdb")}, "must not be called funnelift.duckdb"),
        ({"duckdb_path": Path("a'b.duckdb")}, "must have no quote in its name, as a'b.duckdb has"),
        ({"duckdb_path": DEFAULTS}, "cannot open .*config.yml as a DuckDB file"),
    ],
)
def test_a_warehouse_that_cannot_be_used(trained: Place, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FunneliftError, match=complaint), open_warehouse(trained.config(**settings)):
        pass


def test_marts_that_were_never_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    duckdb.connect(tmp_path / "warehouse.duckdb").close()
    (tmp_path / "manifest.json").write_text(json.dumps(ml_mart.manifest()))
    (tmp_path / "quick.json").write_text(json.dumps({"duckdb_path": str(tmp_path / "warehouse.duckdb")}))
    options = ["--config", str(tmp_path / "quick.json"), "--manifest", str(tmp_path / "manifest.json")]
    for main in (train.main, score.main):
        assert main([*options, "--results", str(tmp_path / "results")]) == 1
        assert "dbt build" in capsys.readouterr().err


def test_too_little_memory_and_a_broken_block_are_told_as_what_they_are(copy: Place) -> None:
    with pytest.raises(FunneliftError, match="the warehouse failed: Out of Memory"):
        train.train(copy.config(duckdb_memory_limit="5MB"), Progress())
    blocks = "select min(block_id) as block from pragma_storage_info('funnelift.session_features') where block_id >= 0"
    (found,) = copy.rows(blocks)
    with (copy.folder / "warehouse.duckdb").open("r+b") as file:
        # Behind the three headers of the file lie the blocks.
        file.seek(3 * 4096 + found["block"] * 262_144 + 5000)
        file.write(b"\xff" * 4000)
    with pytest.raises(FunneliftError, match=r"the warehouse failed: .*Corrupt database file"):
        train.train(copy.config(), Progress())


def test_an_unknown_decision_point_is_refused_before_anything_is_fitted(
    copy: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FunneliftError, match="'nowhere' is unknown"):
        train.train(copy.config(**{"experiment.decision_point": "nowhere"}), Progress())
    steps = capsys.readouterr().err
    assert "reading the feature mart" in steps
    assert "fitting" not in steps


def test_few_conversions_are_refused_by_name(copy: Place) -> None:
    config = copy.config()
    config = config.model_copy(update={"split": config.split.model_copy(update={"min_positives": 5000})})
    with pytest.raises(FunneliftError, match=r"each split needs 5000 converting rows .* found train \d+, calibration"):
        train.train(config, Progress())


@pytest.mark.parametrize("main", [train.main, score.main])
def test_help_names_every_option(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as finished:
        main(["--help"])
    assert finished.value.code == 0
    text = capsys.readouterr().out
    for option in ("--target", "--results", "--seed", "--config", "--manifest", "Exit codes"):
        assert option in text
    with pytest.raises(SystemExit) as finished:
        main(["--no-such-option"])
    assert finished.value.code == 2
