"""What the page Model health shows: the last monitoring."""

import json
from typing import Any

from ml.drift.entries import ALARM, WATCH, WINDOW
from ml.drift.scored import SCORE
from ml.drift.verdict import METRIC_TITLES
from warehouse.base import SCHEMA, Warehouse

Row = dict[str, Any]
# Enough to see what moved; the table drift_features has all.
FEATURES, TREND_OF = 12, 4


def read_health(warehouse: Warehouse) -> Row | None:
    """Read what the last monitoring found.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    dict or None
        Plain values; None where nothing was monitored.
    """
    if not warehouse.columns("drift_runs"):
        return None
    runs = warehouse.query(f"select * from {SCHEMA}.drift_runs order by started_at desc, run_id desc limit 1")
    if not runs:
        return None
    (run,) = runs
    features = warehouse.query(
        f"select * from {SCHEMA}.drift_features where period = ? order by psi is null, psi desc, feature", [WINDOW]
    )
    followed = [SCORE, *(row["feature"] for row in features if row["feature"] != SCORE)][:TREND_OF]
    moved = [row["feature"] for row in features if row["status"] in (ALARM, WATCH)][:TREND_OF]
    return {
        "run": {name: value for name, value in run.items() if not name.endswith("_json")},
        "alarms": json.loads(run["alarms_json"]),
        "settings": json.loads(run["settings_json"]),
        "metric_titles": METRIC_TITLES,
        "features": features,
        "n_shown": min(FEATURES, len(features)),
        "trend_of": followed,
        "trend": _of_features(
            warehouse, "period, feature, psi, psi_limit, n_rows from {schema}.drift_features", "period", followed
        ),
        "bins_of": moved,
        "bins": _of_features(
            warehouse, "feature, label, reference_share, share from {schema}.drift_bins", "bin", moved
        ),
        "metrics": warehouse.query(f"select * from {SCHEMA}.drift_performance order by period, metric"),
        "calibration": warehouse.query(f"select * from {SCHEMA}.drift_calibration order by sample, bin"),
    }


def _of_features(warehouse: Warehouse, selected: str, order: str, features: list[str]) -> list[Row]:
    if not features:
        return []
    marks = ", ".join("?" for _ in features)
    sql = f"select {selected.format(schema=SCHEMA)} where feature in ({marks}) order by feature, {order}"
    return warehouse.query(sql, features)
