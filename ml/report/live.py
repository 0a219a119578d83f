"""What the page Live shows: whom the live service could show something, what it did, and the effect so far."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.config import Config
from ml.experiment.assignments import ASSIGNMENTS
from ml.experiment.difference import Difference, Units, sequence_reach
from warehouse.base import SCHEMA, Warehouse

Row = dict[str, Any]
# What the live service's strata begin with: what the policy said of the visitor.
STRATA = ("policy shows", "policy holds")
DAY_MS = 86_400_000
# The effect is worked out anew at so many looks, equally far apart in days.
LOOKS = 60
HELD, SHOWN = "Held", "Shown"
GROUPS_SQL = """
select assigned_day, stratum, treatment, offer, propensity, count(*) as visitors,
    sum(coalesce(is_mature, 0)) as known, sum(case when is_mature = 1 then has_transaction else 0 end) as bought
from (
    select assignments.stratum, assignments.treatment, assignments.offer, assignments.propensity, features.is_mature,
        features.has_transaction, floor(assignments.assigned_ms / {day_ms}) as assigned_day,
        row_number() over (
            partition by assignments.visitor_id order by features.decided_ms, features.session_id
        ) as place
    from {schema}.{assignments} as assignments
    left join {schema}.session_features as features
        on assignments.visitor_id = features.visitor_id and features.decision_point = ?
            and features.decided_ms >= assignments.assigned_ms
    where assignments.has_conflict = 0 and (assignments.stratum like ? or assignments.stratum like ?)
) as first_rows
where place = 1
group by assigned_day, stratum, treatment, offer, propensity
order by assigned_day, stratum, treatment, offer, propensity
"""


@dataclass(frozen=True)
class Groups:
    """Visitors who were alike in all of these, one value per group; arm 0 was held, the others were shown something."""

    day: npt.NDArray[np.int64]
    stratum: npt.NDArray[np.intp]
    arm: npt.NDArray[np.intp]
    propensity: npt.NDArray[np.float64]
    visitors: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    bought: npt.NDArray[np.int64]

    def at(self, some: "npt.NDArray[np.bool_]") -> "Groups":
        """Return some of them."""
        return Groups(*(column[some] for column in vars(self).values()))


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
    if not {"stratum", "propensity", "offer"} <= set(warehouse.columns(ASSIGNMENTS)):
        return None
    sql = GROUPS_SQL.format(schema=SCHEMA, assignments=ASSIGNMENTS, day_ms=DAY_MS)
    rows = warehouse.query(sql, [config.experiment.decision_point, *(f"{name}%" for name in STRATA)])
    if not rows:
        return None
    strata = sorted({row["stratum"] for row in rows}, key=lambda name: (not name.startswith(STRATA[0]), name))
    offers = sorted({row["offer"] or SHOWN for row in rows if row["treatment"]}) or [SHOWN]
    arms = [HELD, *offers]
    groups = Groups(
        day=np.array([int(row["assigned_day"]) for row in rows]),
        stratum=np.array([strata.index(row["stratum"]) for row in rows]),
        arm=np.array([arms.index(row["offer"] or SHOWN) if row["treatment"] else 0 for row in rows]),
        # Without a chance of their own, visitors of a stratum had one, and count alike.
        propensity=np.array([np.nan if row["propensity"] is None else float(row["propensity"]) for row in rows]),
        **{name: np.array([int(row[name]) for row in rows]) for name in ("visitors", "known", "bought")},
    )
    ends = np.unique(np.linspace(groups.day.min(), groups.day.max(), LOOKS).astype(np.int64)).tolist()
    return {
        "point": config.experiment.decision_point,
        "tuned_for": config.experiment.sequence_units,
        "offers": offers,
        "looks": [
            {"offer": offer, **look}
            for code, offer in enumerate(offers, 1)
            for end in ends
            if (look := _look(groups.at((groups.day <= end) & np.isin(groups.arm, (0, code))), end, config)) is not None
        ],
        "days": [
            {"date": _date(day), **{arm: _visitors(groups, (groups.day == day) & (groups.arm == code))
                                    for code, arm in enumerate(arms)}}
            for day in np.unique(groups.day).tolist()
        ],
        "arms": [
            {"stratum": _told(name), "arm": arm, **_arm(groups, (groups.stratum == place) & (groups.arm == code))}
            for place, name in enumerate(strata)
            for code, arm in [*enumerate(offers, 1), (0, HELD)]
        ],
    }  # fmt: skip


def _told(stratum: str) -> str:
    """A stratum in words."""
    if stratum == STRATA[1] or stratum.startswith(f"{STRATA[1]},"):
        return f"Policy would hold, or has none{stratum.removeprefix(STRATA[1])}"
    return f"Policy would show{stratum.removeprefix(STRATA[0])}"


def _look(groups: Groups, day: int, config: Config) -> Row | None:
    """The effect on all whose outcome is known of those assigned until a day; None before it can be told."""
    repeats = np.concatenate([groups.bought, groups.known - groups.bought])
    arm, chance, strata = (
        np.repeat(np.tile(column, 2), repeats) for column in (groups.arm > 0, groups.propensity, groups.stratum)
    )
    weight = np.where(np.isnan(chance), 1.0, 1 / np.where(arm, chance, 1 - chance))
    total = np.repeat(np.repeat([1.0, 0.0], len(groups.day)), repeats) * weight
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


def _arm(groups: Groups, own: "npt.NDArray[np.bool_]") -> Row:
    chances = groups.propensity[own & ~np.isnan(groups.propensity)]
    return {
        "chance": [float(chances.min()), float(chances.max())] if len(chances) else None,
        **{name: int(getattr(groups, name)[own].sum()) for name in ("visitors", "known", "bought")},
    }


def _visitors(groups: Groups, own: "npt.NDArray[np.bool_]") -> int:
    return int(groups.visitors[own].sum())


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))
