"""Settings for a quick training, and a folder in which one has happened."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import ml_mart
from contracts import PUBLISHED
from ml import train
from ml.cli import Progress
from ml.config import Config, load_config

CONVERSION = ("conversion_predictions", "shap_summary", "model_metrics", "calibration_curve", "ml_runs")
# What says of both when they were scored.
LOG = "score_runs"
DRIFT = tuple(table for table in PUBLISHED if table.startswith("drift_"))
UPLIFT = tuple(table for table in PUBLISHED if table not in (*CONVERSION, *DRIFT, LOG))
# What only a training of several offers, or of money as outcome, has rows for.
GAINS = ("policy_values", "policy_offers")
# What a training writes.
TABLES = (*CONVERSION, *UPLIFT, LOG)
QUICK: dict[str, Any] = {
    "split": {"min_positives": 10},
    "models": {"catboost": {"max_trees": 60}, "xgboost": {"max_trees": 40}},
    "evaluation": {"bootstrap_resamples": 30},
    "explanation": {"plot_rows": 200},
    "experiment": {"decision_point": "landing", "min_conversions_per_arm": 5, "split": {"min_positives": 10}},
    "uplift": {"max_trees": 30, "bootstrap_resamples": 30},
    "policy": {"bootstrap_resamples": 60},
    "planner": {"simulations": 40},
}

# What the shop has become since the training: a visitor less, features that moved, sessions that closed.
SINCE = (
    "delete from funnelift.session_features where visitor_id = "
    "(select min(visitor_id) from funnelift.session_features)",
    "update funnelift.session_features set item_price = item_price * 2 where hash(session_id) % 5 = 0",
    "update funnelift.session_features set is_mature = 1",
)


@dataclass(frozen=True)
class Place:
    """A folder with a warehouse, a manifest, settings and results."""

    folder: Path

    def config(self, **more: Any) -> Config:
        places = {
            "duckdb_path": self.folder / "warehouse.duckdb",
            "manifest": self.folder / "manifest.json",
            "results": self.folder / "results",
        }
        return load_config(self.folder / "quick.json", places | more, environment={})

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with duckdb.connect(self.folder / "warehouse.duckdb", read_only=True) as connection:
            found = connection.execute(sql)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def execute(self, sql: str) -> None:
        with duckdb.connect(self.folder / "warehouse.duckdb") as connection:
            connection.execute(sql)

    def build(self, *statements: str, changed: str = "true") -> None:
        """Change the marts as a build does: statements, then the next number for it and for the changed visitors.

        `changed` says in SQL which visitors of visitor_changes the build rebuilt.
        """
        with duckdb.connect(self.folder / "warehouse.duckdb") as connection:
            for statement in statements:
                connection.execute(statement)
            for table in ("build_plan", "last_build"):
                connection.execute(
                    f"update funnelift.{table} "
                    "set build_number = build_number + 1, build_id = 'b' || (build_number + 1)"
                )
            connection.execute(
                "insert into funnelift.visitor_changes select distinct visitor_id, 0 from funnelift.session_features "
                "where visitor_id not in (select visitor_id from funnelift.visitor_changes)"
            )
            connection.execute(
                "update funnelift.visitor_changes set build_number = (select build_number from funnelift.last_build) "
                f"where {changed}"
            )

    def models(self, table: str = "ml_runs") -> Path:
        """The folder of the models that are published."""
        name = {"ml_runs": "run_id", "uplift_runs": "model_run_id"}[table]
        run = self.rows(f"select {name} as run_id from funnelift.{table} where status = 'published'")[0]
        return self.folder / "results" / "models" / str(run["run_id"])


def quick_settings(folder: Path, settings: dict[str, Any] = QUICK) -> Path:
    """Write settings for a training into a folder; returns the file."""
    (folder / "quick.json").write_text(json.dumps(settings))
    return folder / "quick.json"


def train_shop(folder: Path, rows: int, seed: int, buy_rate: float, settings: dict[str, Any]) -> Place:
    """Make marts of a small shop in a folder, and train on them."""
    place = Place(folder)
    ml_mart.write(folder, ml_mart.marts(rows, seed=seed, buy_rate=buy_rate))
    quick_settings(folder, settings)
    train.train(place.config(), Progress())
    return place


def copy_of(place: Place, folder: Path) -> Place:
    """The same folder once more, for a test that writes."""
    shutil.copytree(place.folder, folder)
    return Place(folder)
