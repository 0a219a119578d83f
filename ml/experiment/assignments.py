"""Arms that were really assigned: the table of assignments, and which rows it gives an arm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Rows
from ml.config import ExperimentSettings
from ml.data.gates import REBUILD, GateError
from ml.data.rows import Dataset, to_codes
from ml.experiment.experiment import ARM_NAMES, Assigned
from ml.experiment.randomisation import is_first
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

ASSIGNMENTS = "stg_treatment_assignments"
DESIGN = ("stratum", "propensity")
SHOWN = 10  # values that a message lists
# Before the rule that each visitor counts once, so that the join and the comparison of times are checked as such.
ARMS_SQL = """
select
    features.decision_point,
    assignments.treatment,
    count(*) as row_count,
    sum(features.has_transaction) as positive_count
from funnelift.session_features as features
inner join funnelift.stg_treatment_assignments as assignments on features.visitor_id = assignments.visitor_id
where assignments.has_conflict = 0 and features.decided_ms >= assignments.assigned_ms
group by features.decision_point, assignments.treatment
"""


def read_assignments(warehouse: Warehouse) -> "pa.Table | None":
    """Read the assignments.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    pyarrow.Table or None
        One row per visitor: visitor_id, assigned_ms, treatment, has_conflict, stratum and propensity; None where nobody
        was assigned.

    Raises
    ------
    GateError
        When a value is missing or impossible, or a visitor comes twice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    types = {"visitor_id": pa.string(), "assigned_ms": pa.int64(), "treatment": pa.int8(), "has_conflict": pa.int8(),
             "stratum": pa.string(), "propensity": pa.float64(), "offer": pa.string()}  # fmt: skip
    present = warehouse.columns(ASSIGNMENTS)
    if not present:
        return None
    missing = sorted(types.keys() - set(present))
    if missing:
        raise FunneliftError(f"funnelift.{ASSIGNMENTS} lacks the columns {', '.join(missing)}: run `dbt build`")
    count, batches = warehouse.read(ASSIGNMENTS, list(types))
    if not count:
        return None
    table = pa.Table.from_batches(batches)
    remedy = "Load the assignments again with `python -m ingest load`, then run `dbt build`"
    for name in types.keys() - {"offer"}:
        # A design is told of all visitors or of none.
        if 0 < table.column(name).null_count < (count if name in DESIGN else np.inf):
            raise GateError("nulls", f"nulls in {ASSIGNMENTS}.{name}", 0, table.column(name).null_count, remedy)
    for name in ("treatment", "has_conflict"):
        values = sorted(pc.unique(table.column(name)).to_pylist())
        if not set(values) <= {0, 1}:
            raise GateError("values", f"values of {ASSIGNMENTS}.{name}", "0 and 1", values[:SHOWN], remedy)
    chance = table.column("propensity").drop_null().to_numpy()
    if not ((chance > 0) & (chance < 1)).all():
        raise GateError("values", f"values of {ASSIGNMENTS}.propensity", "between 0 and 1", chance[:SHOWN], remedy)
    repeated = count - len(pc.unique(table.column("visitor_id")))
    if repeated:
        raise GateError("key", f"visitors that come again in {ASSIGNMENTS}", 0, repeated, remedy)
    return pa.table({name: table.column(name).cast(kind) for name, kind in types.items()})


def real_arms(
    here: Dataset, assignments: "pa.Table", warehouse: Warehouse, settings: ExperimentSettings
) -> Assigned:  # fmt: skip
    """Give the rows at a decision point the arms that their visitors were assigned.

    A row carries its visitor's arm when it was decided at or after the assignment. Only the first such row of a visitor
    takes part: what the treatment did may show in the features of later ones.

    Parameters
    ----------
    here : Dataset
        Rows at the decision point.
    assignments : pyarrow.Table
        What `read_assignments` returned.
    warehouse : Warehouse
        Where the rows of each arm are counted again.
    settings : ExperimentSettings
        The decision point, and which offers count; their codes follow this order, from 1 on.

    Returns
    -------
    Assigned
        One arm and outcome per row.

    Raises
    ------
    GateError
        When Python and the warehouse count different rows per arm.
    FunneliftError
        When no row has an arm.
    """
    point = settings.decision_point
    assigned = _assigned_arms(here, assignments)
    _check_arm_counts(warehouse, point, assigned, here.label)
    assigned, others = _offer_arms(assigned, here, assignments, settings.treated)
    treatment = _first_rows_only(assigned, here.visitor)
    conflicts = int(assignments.column("has_conflict").to_numpy().sum())
    if not (treatment >= 0).any():
        raise FunneliftError(
            f"no session at {point} was decided after its visitor was assigned: check visitor ids and times of "
            f"{ASSIGNMENTS} ({len(assignments):,} visitors; {conflicts} with both arms)"
        )
    return Assigned(
        treatment=treatment,
        outcome=np.where((treatment >= 0) & (here.is_mature == 1), here.label, -1).astype(np.int8),
        truth=None,
        **_design(here, assignments, treatment),
        source=f"experiment of {int((treatment >= 0).sum()):,} visitors ({ASSIGNMENTS})",
        left_out={
            "visitors given both arms": conflicts,
            **({"rows of other offers": others} if settings.treated else {}),
            "rows without an arm, or decided before it was assigned": int((assigned < 0).sum()) - others,
            "later rows of the same visitor": int(((assigned >= 0) & (treatment < 0)).sum()),
        },
    )


def _design(here: Dataset, assignments: "pa.Table", treatment: Codes) -> dict[str, Any]:
    """Stratum and chance of treatment of the rows that take part, where they were told; any value elsewhere."""
    at, own = _places(here, assignments), treatment >= 0
    found: dict[str, Any] = {}
    if not assignments.column("stratum").null_count:
        codes = to_codes(assignments.column("stratum"))[at]
        found["stratum"] = np.where(own, codes, 0).astype(np.int32)
        found["stratum"][own] = np.unique(codes[own], return_inverse=True)[1]
    if not assignments.column("propensity").null_count:
        found["propensity"] = np.where(own, assignments.column("propensity").to_numpy()[at], 0.5)
    return found


def _places(data: Dataset, assignments: "pa.Table") -> Rows:
    """Position of each row's visitor among the assignments, -1 where there is none."""
    import pyarrow.compute as pc

    ids = data.identity.column("visitor_id")
    place = pc.index_in(ids, value_set=assignments.column("visitor_id").cast(ids.type).combine_chunks())
    return np.asarray(pc.fill_null(place, -1).to_numpy(), np.intp)


def _assigned_arms(data: Dataset, assignments: "pa.Table") -> Codes:
    """Arm of each row's visitor where the row was decided at or after the assignment, else -1."""
    at = _places(data, assignments)
    arm = np.where(assignments.column("has_conflict").to_numpy() == 1, -1, assignments.column("treatment").to_numpy())
    is_after = (at >= 0) & (data.decided_ms >= assignments.column("assigned_ms").to_numpy()[at])
    return np.where(is_after, arm[at], -1).astype(np.int8)


def _offer_arms(
    assigned: Codes, here: Dataset, assignments: "pa.Table", treated: Sequence[str]
) -> tuple[Codes, int]:  # fmt: skip
    """Tell offers apart, in the order of the settings; also count the rows of other offers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = sorted(pc.unique(assignments.column("offer").drop_null()).to_pylist())
    if not treated:
        if len(names) > 1:
            raise FunneliftError(
                f"{ASSIGNMENTS} holds several offers ({', '.join(names[:SHOWN])}): name those to compare with the "
                f"control in experiment.treated, such as [{', '.join(names[:2])}]"
            )
        return assigned, 0
    if unknown := [name for name in treated if name not in names]:
        raise FunneliftError(
            f"experiment.treated: nobody was assigned {unknown[0]!r}; the offers of {ASSIGNMENTS} are "
            f"{', '.join(names[:SHOWN]) or 'not named: say `offer` of each arm in the mapping (docs/loading.md)'}"
        )
    place = pc.index_in(assignments.column("offer"), value_set=pa.array(list(treated), pa.string()))
    codes = np.asarray(pc.fill_null(place, -2).to_numpy(), np.int8) + 1
    own = np.where(assigned == 1, codes[_places(here, assignments)], assigned).astype(np.int8)
    return own, int(((assigned == 1) & (own < 0)).sum())


def _check_arm_counts(warehouse: Warehouse, point: str, assigned: Codes, label: Codes) -> None:
    counted = {int(row["treatment"]): row for row in warehouse.query(ARMS_SQL) if row["decision_point"] == point}
    for arm, name in ARM_NAMES.items():
        in_sql = counted.get(arm, {"row_count": 0, "positive_count": 0})
        for what, column, found in (
            ("rows", "row_count", int((assigned == arm).sum())),
            ("converting rows", "positive_count", int((label[assigned == arm] == 1).sum())),
        ):
            if int(in_sql[column]) != found:
                what = f"{name} {what} at {point}, SQL against Python"
                raise GateError("experiment counts", what, int(in_sql[column]), found, REBUILD)


def _first_rows_only(assigned: Codes, visitor: npt.NDArray[np.int32]) -> Codes:
    rows = np.flatnonzero(assigned >= 0)
    first = rows[is_first(visitor[rows])]
    treatment = np.full(len(assigned), -1, dtype=np.int8)
    treatment[first] = assigned[first]
    return treatment
