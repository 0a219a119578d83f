"""What the offline report shows: the measures of `bi`, broken down so far that its filters can add them up again."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from bi.measures import Measure, evaluate, evaluate_together, page_measures
from ml.config import Config
from ml.report.health import read_health
from ml.report.live import read_live
from ml.reports.wording import QUADRANTS, RULES
from ml.uplift.names import TITLES
from warehouse.base import SCHEMA, Warehouse
from warehouse.errors import FunneliftError

Row = dict[str, Any]
# So many values of a filter, and points of a trend, can be looked at; it also bounds the size of the page.
CATEGORIES = 24
PERIODS = 200
OPEN_SESSIONS = 25
# Upper bounds of the buckets of time to convert, in seconds; the last bucket has none.
TIME_BOUNDS = (60, 120, 300, 600, 1800, 3600)
# The times that every funnel has: column, its median's measure.
TIMES = (
    ("view_to_cart_seconds", "Median view to cart seconds"),
    ("cart_to_transaction_seconds", "Median cart to transaction seconds"),
)
# Rates and means cannot be added up; times what they are a share or mean of, they can.
WEIGHTS = {
    "Observed conversion": "Evaluated decisions",
    "Predicted conversion": "Evaluated decisions",
    "Predicted uplift": "Sessions with uplift",
    "Treated conversion": "Experiment sessions",
    "Control conversion": "Experiment sessions",
}
# What says how frequent a category is, on each page.
SIZES = ("Sessions", "Scored decisions", "Sessions with uplift")


def read_report(warehouse: Warehouse, config: Config, created: datetime | None = None) -> Row:
    """Read all that the page embeds.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    config : Config
        Settings.
    created : datetime, optional
        When the report is made; now without it.

    Returns
    -------
    dict
        Plain values, ready for JSON. A part of the pipeline that has not run is None or an empty list.

    Raises
    ------
    FunneliftError
        When there are no marts, or none for reports.
    """
    if not warehouse.columns("bi_status"):
        raise FunneliftError(f"no table bi_status in {SCHEMA}: run `dbt build` first (after `python -m ingest load`)")
    (status,) = warehouse.query(f"select * from {SCHEMA}.bi_status")
    report = {
        "created": created or datetime.now(UTC),
        "confidence": config.evaluation.confidence,
        "status": status,
        "warnings": json.loads(status.pop("warnings_json") or "[]"),
        "funnel": _funnel(warehouse),
        "risk": _risk(warehouse) if status["has_predictions"] else None,
        "uplift": _uplift(warehouse) if status["has_uplift"] else None,
        "roi": _roi(warehouse) if status["has_roi"] else None,
        "policies": _policies(warehouse) if status["has_uplift"] else None,
        "health": read_health(warehouse) if status["has_predictions"] else None,
        "live": read_live(warehouse, config),
        "titles": {"learners": TITLES, "rules": RULES, "quadrants": QUADRANTS},
        "definitions": {
            name: {"text": measure.description, "table": measure.table, "sql": measure.sql, "where": measure.where}
            for name, measure in _named().items()
        },
    }
    plain: Row = json.loads(json.dumps(report, default=_plain))
    return plain


def _funnel(warehouse: Warehouse) -> Row:
    names = ["Sessions", "Converting sessions", "Revenue", "Revenue lost"]
    rows = _ask(warehouse, names, ["started_date", "visitor_type", "category_id"])
    days = [row["started_date"] for row in rows]
    step_names = ["Sessions at step", "Step conversions", "Step skips", "Step drop-offs"]
    steps = _ask(warehouse, step_names, ["funnel_date", "visitor_type", "category_id", "step", "step_number"])
    shape = _Shape(rows, days)
    buckets = " ".join(f"when seconds < {bound} then {place}" for place, bound in enumerate(TIME_BOUNDS))
    times = []
    for column, median in TIMES:
        found = warehouse.query(f"""
            select started_date, visitor_type, category_id, bucket, count(*) as n
            from (
                select started_date, visitor_type, category_id, case {buckets} else {len(TIME_BOUNDS)} end as bucket
                from (
                    select started_date, visitor_type, category_id, {column} as seconds
                    from {SCHEMA}.bi_session_facts
                    where {column} is not null
                ) as times
            ) as bucketed
            group by started_date, visitor_type, category_id, bucket
        """)
        medians = {"all": evaluate(warehouse, _named()[median])[0]["value"]}
        medians |= {
            row["visitor_type"]: row["value"] for row in evaluate(warehouse, _named()[median], ["visitor_type"])
        }
        times.append({"measure": median, "medians": medians, "cells": shape.cube(found, ["bucket"], ["n"])})
    return {
        "grain": shape.grain,
        "cells": shape.cube(rows, [], names),
        "steps": [step for _, step in sorted({(row["step_number"], row["step"]) for row in steps})],
        "step_cells": shape.cube(steps, ["step"], step_names),
        "time_bounds": TIME_BOUNDS,
        "times": times,
    }


def _risk(warehouse: Warehouse) -> Row:
    names = ["Scored decisions", "Evaluated decisions", "Observed conversion", "Predicted conversion",
             "Value at risk at the decision point"]  # fmt: skip
    by = ["decision_point", "is_latest", "risk_band", "decided_date", "visitor_type", "category_id"]
    rows = _ask(warehouse, names, by)
    points = warehouse.query(f"select decision_point from {SCHEMA}.bi_decision_points order by decision_point_number")
    # A number that the file's reader can act on: what waits in the cart, times the chance that it is left there.
    open_sessions = warehouse.query(f"""
        select session_id, decision_point, decided_at, probability, risk_band, carted_value,
            carted_value * abandon_probability as at_risk, uplift, quadrant, reason_1
        from {SCHEMA}.bi_sessions
        where is_open = 1 and has_transaction = 0 and is_out_of_sample = 1
        order by at_risk desc, abandon_probability desc, session_id
        limit {OPEN_SESSIONS}
    """)
    return {
        "points": [point["decision_point"] for point in points],
        "cells": _Shape(rows, [row["decided_date"] for row in rows]).cube(
            rows, ["decision_point", "is_latest", "risk_band"], names
        ),
        "metrics": _ask(warehouse, ["Model metric", "Model metric lower", "Model metric upper"], ["slice", "metric"]),
        "rows": warehouse.query(f"select distinct slice, n_rows from {SCHEMA}.bi_model_metrics where is_champion = 1"),
        "calibration": warehouse.query(
            f"select slice, mean_predicted, observed_rate, ci_lower, ci_upper, n_rows, n_positives "
            f"from {SCHEMA}.bi_calibration where is_champion = 1 order by slice, mean_predicted"
        ),
        "reasons": warehouse.query(
            f"select decision_point, feature, label, description, mean_abs_shap, direction, n_rows "
            f"from {SCHEMA}.bi_shap where feature_rank <= 10 order by decision_point, feature_rank"
        ),
        "open_sessions": open_sessions,
        "open_count": evaluate(warehouse, _named()["Open sessions"])[0]["value"],
    }


def _uplift(warehouse: Warehouse) -> Row:
    names = ["Sessions with uplift", "Predicted uplift", "Experiment sessions", "Treated conversion",
             "Control conversion"]  # fmt: skip
    by = ["treatment", "quadrant", "segment", "decile", "visitor_type", "category_id"]
    rows = _ask(warehouse, names, by)
    return {
        "cells": _Shape(rows).cube(rows, ["treatment", "quadrant", "segment", "decile"], names),
        "deciles": warehouse.query(
            f"select * from {SCHEMA}.bi_uplift_deciles where learner = 'chosen' order by decile"
        ),
        "metrics": warehouse.query(f"select * from {SCHEMA}.bi_uplift_metrics"),
        "candidates": warehouse.query(f"select * from {SCHEMA}.uplift_candidates order by simplicity"),
        "groups": warehouse.query(f"select * from {SCHEMA}.uplift_groups order by group_number"),
        "profile": warehouse.query(f"select * from {SCHEMA}.uplift_profile order by difference_rank"),
        "test_span": warehouse.query(f"""
            select min(decided_at) as first_at, max(decided_at) as last_at
            from {SCHEMA}.uplift_scores where dataset_split = 'test'
        """)[0],
    }


def _roi(warehouse: Warehouse) -> Row:
    return {
        "projections": warehouse.query(f"select * from {SCHEMA}.bi_roi order by strategy, share_percent"),
        "gains": warehouse.query(f"select * from {SCHEMA}.bi_roi_gains"),
        "sensitivity": warehouse.query(
            f"select * from {SCHEMA}.bi_roi_sensitivity order by cost, revenue_per_conversion"
        ),
        "plans": warehouse.query(f"select * from {SCHEMA}.bi_experiment_plan order by share_percent"),
        "tests": _ask(warehouse, ["Simulated experiments", "Simulated experiments that find it"])[0],
    }


def _policies(warehouse: Warehouse) -> Row | None:
    """What policies earn, where money or several offers were learnt."""
    rows = warehouse.query(f"select * from {SCHEMA}.policy_values order by policy_number")
    given = warehouse.query(
        f"select policy, offer, treated_sessions from {SCHEMA}.policy_offers order by policy, offer"
    )
    return {"rows": rows, "given": given} if rows else None


@cache
def _named() -> dict[str, Measure]:
    return {measure.name: measure for measure in page_measures()}


def _ask(warehouse: Warehouse, names: Sequence[str], by: Sequence[str] = ()) -> list[Row]:
    return evaluate_together(warehouse, [_named()[name] for name in names], by)


class _Shape:
    """Which categories and periods the cubes of a page tell apart."""

    def __init__(self, rows: Iterable[Row], days: Sequence[date] = ()) -> None:
        counts: dict[str, float] = {}
        for row in rows:
            size = next(row[name] or 0 for name in SIZES if name in row)
            counts[row["category_id"]] = counts.get(row["category_id"], 0) + size
        self.categories = set(sorted(counts, key=lambda name: (-counts[name], name))[:CATEGORIES])
        self.grain, self._period = _periods(days)
        self._has_days = bool(days)

    def cube(self, rows: Iterable[Row], dimensions: Sequence[str], measures: Sequence[str]) -> Row:
        """Add rows up by period, visitor type, category and more, and write each text once.

        A row of the cube is the places of its dimensions' values in `values`, then its measures. The category null is
        all that are not among the most frequent.
        """
        names = [*(["period"] if self._has_days else []), "visitor_type", "category_id", *dimensions]
        places: dict[str, dict[Any, int]] = {name: {} for name in names}
        totals: dict[tuple[int, ...], list[float]] = {}
        for row in rows:
            category = row["category_id"]
            values = [row["visitor_type"], category if category in self.categories else None,
                      *(row[name] for name in dimensions)]  # fmt: skip
            if self._has_days:
                values.insert(0, self._period(next(row[name] for name in row if name.endswith("_date"))))
            key = tuple(
                places[name].setdefault(value, len(places[name])) for name, value in zip(names, values, strict=True)
            )
            total = totals.setdefault(key, [0.0] * len(measures))
            for place, name in enumerate(measures):
                weight = row[WEIGHTS[name]] or 0 if name in WEIGHTS else 1
                total[place] += float(row[name] or 0) * float(weight)
        return {
            "dimensions": names,
            "values": {name: list(found) for name, found in places.items()},
            "measures": list(measures),
            "rows": [[*key, *map(_short, total)] for key, total in sorted(totals.items())],
        }


def _periods(days: Sequence[date]) -> tuple[str, Callable[[date], date]]:
    """Return the finest of day, week and month of which the span has few enough, and what maps a day to its first."""
    span = (max(days) - min(days)).days + 1 if days else 0
    if span <= PERIODS:
        return "day", lambda day: day
    if span <= 7 * PERIODS:
        return "week", lambda day: day - timedelta(days=day.weekday())
    return "month", lambda day: day.replace(day=1)


def _short(value: float) -> float | int:
    """Drop what rounding left of a whole number, and digits that nobody sees."""
    return round(value) if abs(value - round(value)) < 1e-7 else round(value, 6)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no plain form of {type(value).__name__}")
