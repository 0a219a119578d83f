"""Settings for a quick training, and a folder in which one has happened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from contracts import PUBLISHED
from ml.config import Config, load_config

CONVERSION = ("conversion_predictions", "shap_summary", "model_metrics", "calibration_curve", "ml_runs")
DRIFT = tuple(table for table in PUBLISHED if table.startswith("drift_"))
UPLIFT = tuple(table for table in PUBLISHED if table not in (*CONVERSION, *DRIFT))
# What a training writes.
TABLES = (*CONVERSION, *UPLIFT)
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
