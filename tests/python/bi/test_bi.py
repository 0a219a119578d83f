"""What people read: the star before and after a training, and every measure on both engines and by hand."""

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import policies
from bi.measures import (
    PAGES,
    PARAMETERS,
    MeasureError,
    evaluate,
    evaluate_together,
    measure_sql,
    page_measures,
    together,
)
from bi.tables import known_columns, power_bi_names
from compiled import ROOT
from contracts import PUBLISHED
from ml.config import load_config
from servers import DatabaseServer, environment_of
from synthetic_shop import SyntheticShop
from training import TABLES
from warehouse.base import Publication, Warehouse
from warehouse.open import open_warehouse

MEASURES = page_measures()
NAMED = {measure.name: measure for measure in MEASURES}
# Columns that measures are broken down by on the pages.
BREAKDOWNS = {
    "bi_sessions": ["visitor_type", "category_id", "risk_band", "quadrant", "started_date"],
    "bi_session_decisions": ["decision_point", "risk_band", "dataset_split"],
    "bi_funnel_daily": ["step", "funnel_date"],
    "bi_roi": ["strategy", "share_percent"],
    "bi_roi_gains": ["versus"],
    "bi_policies": ["policy"],
    "bi_roi_sensitivity": ["cost", "revenue_per_conversion"],
    "bi_uplift_deciles": ["decile"],
    "bi_uplift_metrics": ["learner", "versus", "metric"],
    "bi_experiment_plan": ["share_percent"],
    "bi_ab_tests": ["is_significant"],
    "bi_shap": ["decision_point", "feature"],
    "bi_model_metrics": ["slice", "metric"],
    "bi_calibration": ["slice", "bin"],
}


@dataclass(frozen=True)
class Shop:
    """A built warehouse and what reaches it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={
                **os.environ,
                **self.environment,
                "DBT_TARGET_PATH": str(self.folder / "target"),
                "DBT_LOG_PATH": str(self.folder / "logs"),
                "FUNNELIFT_RESULTS": str(self.folder / "results"),
            },
            check=False,
            capture_output=True,
            text=True,
        )

    def succeed(self, *command: str) -> None:
        finished = self.run(*command)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    @contextmanager
    def open(self) -> Iterator[Warehouse]:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in self.environment.items():
                patch.setenv(key, value)
            with open_warehouse(load_config(None, {})) as warehouse:
                yield warehouse

    def query(self, sql: str) -> list[dict[str, Any]]:
        with self.open() as warehouse:
            return warehouse.query(sql)


def on_duckdb(folder: Path) -> Shop:
    return Shop(folder, {"FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(folder / "warehouse.duckdb")})


@pytest.fixture(scope="module")
def untrained(synthetic_shop: SyntheticShop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = on_duckdb(tmp_path_factory.mktemp("untrained"))
    shutil.copytree(synthetic_shop.target, shop.folder / "target")
    shutil.copy(synthetic_shop.untrained, shop.folder / "warehouse.duckdb")
    return shop


@pytest.fixture(scope="module")
def trained(synthetic_shop: SyntheticShop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The same warehouse after a training, under another name of the file; and policies that were learnt for money."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(synthetic_shop.target, folder / "target")
    shutil.copy(synthetic_shop.trained, folder / "copy.duckdb")
    shop = Shop(folder, {"FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(folder / "copy.duckdb")})
    with shop.open() as warehouse:
        warehouse.publish(policies.publications())
    return shop


@pytest.fixture(scope="module")
def served(
    mysql_server: DatabaseServer, synthetic_shop: SyntheticShop, trained: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Shop, dict[str, Any]]]:
    """The same shop on a server, its predictions those of the training; and every measure before they came."""
    mysql_server.drop_databases()
    shop = Shop(tmp_path_factory.mktemp("served"), environment_of(mysql_server.settings))
    shop.succeed("ingest", "load", "--raw", str(synthetic_shop.raw))
    shop.succeed("dbt.cli.main", "--quiet", "build")
    before = totals(shop)
    publications = published(trained)
    with shop.open() as warehouse:
        warehouse.publish(publications)
    yield shop, before
    mysql_server.drop_databases()


def published(shop: Shop) -> list[Publication]:
    """What a training wrote, to be written elsewhere."""
    import pyarrow as pa

    with shop.open() as warehouse:
        return [
            Publication(
                PUBLISHED[table],
                pa.Table.from_batches(list(warehouse.read(table, PUBLISHED[table].column_names)[1])),
                append=table in ("ml_runs", "uplift_runs"),
            )
            for table in TABLES
        ]


def totals(shop: Shop) -> dict[str, Any]:
    with shop.open() as warehouse:
        return {measure.name: evaluate(warehouse, measure)[0]["value"] for measure in MEASURES}


def shape(shop: Shop, table: str) -> list[tuple[Any, ...]]:
    rows = shop.query(
        "select column_name as name, data_type as kind, is_nullable as nullable from information_schema.columns "
        f"where table_schema = 'funnelift' and table_name = '{table}' order by ordinal_position"
    )
    return [(row["name"], row["kind"], row["nullable"]) for row in rows]


def is_close(left: Any, right: Any) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return None not in (left, right) and math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return bool(left == right)


def test_the_empty_tables_are_those_that_a_training_writes(untrained: Shop, trained: Shop) -> None:
    for table, contract in PUBLISHED.items():
        empty = shape(untrained, table)
        assert [name for name, _, _ in empty] == contract.column_names
        assert empty == shape(trained, table), table
        assert untrained.query(f"select count(*) as n from funnelift.{table}") == [{"n": 0}]
    for table in ("ml_runs", "uplift_runs"):
        assert trained.query(f"select count(*) as n from funnelift.{table}") == [{"n": 1}], "added to, not refused"


def test_a_build_leaves_predictions_alone(trained: Shop) -> None:
    before = trained.query("select * from funnelift.conversion_predictions order by session_id, decision_point")
    folders = ("path:models/predictions", "path:models/bi")
    trained.succeed("dbt.cli.main", "--quiet", "build", "--full-refresh", "--select", *folders)
    assert trained.query("select * from funnelift.conversion_predictions order by session_id, decision_point") == before


@pytest.mark.parametrize(
    ("command", "message"),
    [(("ml.score",), "no trained model"), (("ml.train", "--only", "policy"), "uplift_scores is empty")],
)
def test_empty_tables_are_no_training(untrained: Shop, command: tuple[str, ...], message: str) -> None:
    finished = untrained.run(*command)
    assert finished.returncode == 1
    assert message in " ".join((finished.stdout + finished.stderr).split())


def test_before_a_training_measures_are_null_or_0(untrained: Shop, served: tuple[Shop, dict[str, Any]]) -> None:
    found = totals(untrained)
    assert all(is_close(value, served[1][name]) for name, value in found.items())
    known = {measure.name for measure in MEASURES if measure.page == PAGES[0]} | {"Data synthetic", "What is missing"}
    assert {name for name, value in found.items() if value} == known
    assert found["What is missing"] == "No predictions: run python -m ml.train. No uplift: run python -m ml.train."


def test_every_measure_is_the_same_on_both_engines(trained: Shop, served: tuple[Shop, dict[str, Any]]) -> None:
    expected, found = totals(trained), totals(served[0])
    assert not {name: (value, found[name]) for name, value in expected.items() if not is_close(value, found[name])}
    shown = {name for name, value in expected.items() if value is not None}
    assert shown >= {"Sessions", "AUC", "Average uplift", "What-if profit upper", "What is missing", "Observed uplift"}
    for table, columns in BREAKDOWNS.items():
        measures = [measure for measure in MEASURES if measure.table == table and not measure.top]
        for by in [columns, *([column] for column in columns)]:
            sides = []
            for shop in (trained, served[0]):
                with shop.open() as warehouse:
                    rows = evaluate_together(warehouse, measures, by)
                sides.append({tuple(row[column] for column in by): row for row in rows})
            assert sides[0].keys() == sides[1].keys(), (table, by)
            different = {
                (key, name)
                for key, row in sides[0].items()
                for name, value in row.items()
                if not is_close(value, sides[1][key][name])
            }
            assert not different, (table, by)
            if by == columns and table != "bi_sessions":
                assert all(any(row[measure.name] is not None for row in sides[0].values()) for measure in measures), by


def test_measures_by_hand(trained: Shop) -> None:
    import pandas as pd

    def table(name: str) -> pd.DataFrame:
        return pd.DataFrame(trained.query(f"select * from funnelift.{name}"))

    found = totals(trained)
    funnels, sessions, features = table("session_funnels"), table("sessions"), table("session_features")
    predictions, scores, roi = table("conversion_predictions"), table("uplift_scores"), table("roi_projection")
    both = sessions.merge(funnels.drop(columns=["visitor_id", "started_date", "started_at"]), on="session_id")
    bought, carted = both["has_transaction"] == 1, both["has_addtocart"] == 1
    latest = (
        features.sort_values("decision_point", key=lambda names: names.map({"landing": 1, "engaged": 2, "cart": 3}))
        .sort_values("events_so_far", kind="stable")
        .groupby("session_id")
        .tail(1)
        .merge(predictions[["session_id", "decision_point", "abandon_probability", "dataset_split", "risk_band"]])
    )
    honest = latest[latest["dataset_split"].isin(["test", "new", "open"])]
    judged = predictions[predictions["dataset_split"] == "test"]
    chosen = roi[(roi["strategy"] == "uplift") & (roi["is_chosen"] == 1)]
    unseen = scores[scores["dataset_split"].isin(["test", "open", "outside"])]
    arms = scores[scores["dataset_split"] == "test"].groupby("treatment")["outcome"].mean()
    expected = {
        "Sessions": len(sessions),
        "Visitors": sessions["visitor_id"].nunique(),
        "Conversion rate": bought.mean(),
        "Cart abandonment rate": 1 - bought[carted].mean(),
        "New visitor conversion rate": bought[both["session_number"] == 1].mean(),
        "Revenue": float(funnels["revenue"].sum()),
        "Revenue lost": float(both.loc[~bought, "abandoned_value"].sum()),
        "Median view to cart seconds": funnels["view_to_cart_seconds"].astype(float).median(),
        "Mean cart to transaction seconds": funnels["cart_to_transaction_seconds"].astype(float).mean(),
        "Scored sessions": len(honest),
        "High-risk sessions": int((honest["risk_band"] == "high").sum()),
        "Abandoned value at risk": float((honest["carted_value_so_far"] * honest["abandon_probability"]).sum()),
        "Observed conversion": judged["has_transaction"].mean(),
        "Predicted conversion": judged["probability"].mean(),
        "Observed uplift": arms[1] - arms[0],
        "Persuadables": int((unseen["quadrant"] == "persuadable").sum()),
    }
    if len(chosen):
        expected["Profit"] = chosen["profit"].item()
        expected["What-if profit"] = chosen["profit"].item()
        expected["What-if ROI"] = chosen["roi"].item()
    assert not {name: (value, found[name]) for name, value in expected.items() if not is_close(value, found[name])}


def test_what_if_follows_its_parameters(trained: Shop) -> None:
    with trained.open() as warehouse:
        (row,) = warehouse.query("select * from funnelift.bi_roi where strategy = 'uplift' and share_percent = 40")

        def value(name: str, **parameters: float | None) -> Any:
            return evaluate(warehouse, NAMED[name], parameters=parameters)[0]["value"]

        asked = {"share": 40, "cost": 8, "revenue": 90}
        profit = row["margin"] * 90 * row["incremental_conversions"] - 8 * row["redemptions"]
        error = math.sqrt(
            (row["margin"] * 90 * row["incremental_conversions_se"]) ** 2
            + (8 * row["redemptions_se"]) ** 2
            - 2 * row["margin"] * 90 * 8 * row["conversions_covariance"]
        )
        assert is_close(value("What-if profit", **asked), profit)
        assert is_close(value("What-if profit upper", **asked), profit + 1.959963984540054 * error)
        assert is_close(value("What-if ROI", **asked), profit / (8 * row["redemptions"]))
        # At the run's own prices it is what ml published.
        assert is_close(value("What-if profit", share=40), row["profit"])
        assert is_close(value("What-if ROI", share=40), row["roi"])
        with pytest.raises(MeasureError, match="unknown parameters"):
            value("What-if profit", price=1)


def test_names_are_checked_and_values_are_bound(trained: Shop) -> None:
    sessions, evil = NAMED["Sessions"], "x' or '1' = '1"
    for by, where in (
        (["revenue; drop table sessions"], {}),
        (["no_such_column"], {}),
        ([], {"1 = 1 or visitor_type": ["new"]}),
    ):
        with pytest.raises(MeasureError, match="has no column"):
            measure_sql(sessions, by, where)
    for empty in ([], "new"):
        with pytest.raises(MeasureError, match="at least one value"):
            measure_sql(sessions, (), {"visitor_type": empty})
    sql, values = measure_sql(sessions, ["visitor_type"], {"visitor_type": ["new", evil]})
    assert evil not in sql
    assert values == ["new", evil]
    with trained.open() as warehouse:
        assert evaluate(warehouse, sessions, where={"visitor_type": [evil]}) == [{"value": 0}]
        (new,) = evaluate(warehouse, sessions, ["visitor_type"], {"visitor_type": ["new", evil]})
        assert new["visitor_type"] == "new"
        (biggest,) = evaluate(warehouse, NAMED["Biggest drop-off step"], where={"visitor_type": ["new"]})
        assert biggest == {"value": "view"}


def test_medians_and_biggest_steps_are_asked_alone() -> None:
    groups = together(MEASURES)
    assert sorted(measure.name for group in groups for measure in group) == sorted(NAMED)
    assert all(len(group) == 1 for group in groups if group[0].top or group[0].sql.startswith("median("))
    assert len(groups) < len(MEASURES) / 2


def test_each_measure_has_a_place_and_a_dax_twin_of_what_there_is() -> None:
    assert len(NAMED) == len(MEASURES), "two measures of one name"
    assert len({measure.name.lower() for measure in MEASURES}) == len(MEASURES), "Power BI does not tell case apart"
    assert known_columns().keys() - {"bi_session_facts"} == power_bi_names().keys()
    tables = {power_bi: set(known_columns()[table]) for table, power_bi in power_bi_names().items()}
    tables |= {parameter.table: {parameter.column} for parameter in PARAMETERS.values()}
    for measure in MEASURES:
        assert measure.page in PAGES
        assert measure.description.endswith(".")
        assert measure.format or measure.unit == "text"
        for table, column in re.findall(r"'([^']+)'\[([^]]+)\]", measure.dax):
            assert column in tables[table], (measure.name, table, column)
        for name in re.findall(r"(?<!')\[([^]]+)\]", measure.dax):
            assert name in NAMED, (measure.name, name)
        assert measure.dax.count("(") == measure.dax.count(")")
    assert {measure.page for measure in MEASURES} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_an_exposure_names_what_its_page_reads(page: str) -> None:
    path = ROOT / "models" / "bi" / "_bi__exposures.yml"
    exposures = {entry["label"]: entry for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["exposures"]}
    assert set(exposures) == set(PAGES)
    tables = {measure.table for measure in MEASURES if measure.page == page}
    assert {f"ref('{table}')" for table in tables} <= set(exposures[page]["depends_on"])
    assert exposures[page]["owner"]
    assert exposures[page]["maturity"]
