"""What the page Live shows: whom the live service could show something, what it did, and the effect so far."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ml.config import Config
from ml.experiment.assignments import ASSIGNMENTS
from ml.experiment.difference import Difference, Units, sequence_reach
from warehouse.base import SCHEMA, Warehouse

Row = dict[str, Any]
# The live service's own strata: what the policy said of the visitor.
STRATA = ("policy shows", "policy holds")
DAY_MS = 86_400_000
# The effect is worked out anew at so many looks, equally far apart in days.
LOOKS = 60
GROUPS_SQL = """
select assigned_day, stratum, treatment, propensity, count(*) as visitors,
    sum(coalesce(is_mature, 0)) as known, sum(case when is_mature = 1 then has_transaction else 0 end) as bought
from (
    select assignments.stratum, assignments.treatment, assignments.propensity, features.is_mature,
        features.has_transaction, floor(assignments.assigned_ms / {day_ms}) as assigned_day,
        row_number() over (
            partition by assignments.visitor_id order by features.decided_ms, features.session_id
        ) as place
    from {schema}.{assignments} as assignments
    left join {schema}.session_features as features
        on assignments.visitor_id = features.visitor_id and features.decision_point = ?
            and features.decided_ms >= assignments.assigned_ms
    where assignments.has_conflict = 0 and assignments.stratum in (?, ?) and assignments.propensity is not null
) as first_rows
where place = 1
group by assigned_day, stratum, treatment, propensity
order by assigned_day, stratum, treatment, propensity
"""


def read_live(warehouse: Warehouse, config: Config) -> Row | None:
    """Read what came back of the live service's decisions: one visitor counts once, as in the training.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    config : Config
        Decision point, confidence, and how the confidence sequence is tuned.

    Returns
    -------
    dict or None
        Plain values; None where no assignment is the live service's.
    """
    if not {"stratum", "propensity"} <= set(warehouse.columns(ASSIGNMENTS)):
        return None
    sql = GROUPS_SQL.format(schema=SCHEMA, assignments=ASSIGNMENTS, day_ms=DAY_MS)
    groups = warehouse.query(sql, [config.experiment.decision_point, *STRATA])
    if not groups:
        return None
    table = np.array(
        [
            [float(row[name]) for name in ("assigned_day", "treatment", "propensity", "visitors", "known", "bought")]
            + [STRATA.index(row["stratum"])]
            for row in groups
        ]
    )
    days = table[:, 0].astype(np.int64)
    ends = np.unique(np.linspace(days.min(), days.max(), LOOKS).astype(np.int64)).tolist()
    looks = [_look(table[days <= end], end, config) for end in ends]
    return {
        "point": config.experiment.decision_point,
        "tuned_for": config.experiment.sequence_units,
        "looks": [look for look in looks if look is not None],
        "days": [
            {"date": _date(day), "shown": _sum(table, (days == day) & (table[:, 1] == 1)),
             "held": _sum(table, (days == day) & (table[:, 1] == 0))}
            for day in np.unique(days).tolist()
        ],
        "arms": [_arm(table, stratum, arm) for stratum in range(len(STRATA)) for arm in (1, 0)],
    }  # fmt: skip


def _look(table: "npt.NDArray[np.float64]", day: int, config: Config) -> Row | None:
    """The effect on all whose outcome is known of those assigned until a day; None before it can be told."""
    _, treatment, propensity, _, known, bought, stratum = table.T
    repeats = np.concatenate([bought, known - bought]).astype(np.int64)
    arm, chance, strata = (np.repeat(np.tile(column, 2), repeats) for column in (treatment, propensity, stratum))
    weight = 1 / np.where(arm == 1, chance, 1 - chance)
    total = np.repeat(np.repeat([1.0, 0.0], len(table)), repeats) * weight
    codes = np.unique(strata, return_inverse=True)[1]
    every = Units(arm.astype(np.int8), codes, np.ones(len(arm)), weight)
    if len(arm) == 0 or (kept := every.comparable).sum() < 2:
        return None
    units = every.take(kept)
    if min(units.counts.sum(axis=0)) < 2:
        return None
    found = units.difference(total[kept])
    if not np.isfinite(found.error):
        return None
    return {"date": _date(day), "n": len(units), **_bounds(found, len(units), config)}


def _bounds(found: Difference, units: int, config: Config) -> Row:
    confidence = config.evaluation.confidence
    lower, upper = found.interval(confidence)
    reach = sequence_reach(found.error, units, config.experiment.sequence_units, confidence)
    reach = max(reach, upper - found.value)
    return {
        "effect": found.value, "lower": found.value - reach, "upper": found.value + reach, "fixed_lower": lower,
        "fixed_upper": upper, "shown_rate": found.treated, "held_rate": found.control,
    }  # fmt: skip


def _arm(table: "npt.NDArray[np.float64]", stratum: int, arm: int) -> Row:
    own = (table[:, 1] == arm) & (table[:, 6] == stratum)
    chances = table[own, 2]
    return {
        "stratum": STRATA[stratum],
        "arm": arm,
        "chance": [float(chances.min()), float(chances.max())] if own.any() else None,
        **{name: _sum(table, own, 3 + place) for place, name in enumerate(("visitors", "known", "bought"))},
    }


def _sum(table: "npt.NDArray[np.float64]", rows: "npt.NDArray[np.bool_]", column: int = 3) -> int:
    return int(table[rows, column].sum())


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))
