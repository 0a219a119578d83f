"""The experiment on sessions of the mart: the real one, else the simulation."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes
from ml.config import ExperimentSettings
from ml.data.features import Mart
from ml.data.gates import REBUILD, GateError
from ml.data.rows import Dataset, take
from ml.data.split import split_by_time
from ml.experiment.experiment import ARMS, SPLITS, Experiment, check_arms
from ml.experiment.randomisation import Randomisation, check_randomisation, is_first
from ml.experiment.simulated import simulate
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

ASSIGNMENTS = "stg_treatment_assignments"
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


@dataclass(frozen=True)
class MartExperiment:
    """An experiment on sessions of the mart.

    `rows` are the positions of its rows in the data set, those at the decision point; `source` says where the arms come
    from; `left_out` counts the rows, and the visitors, that have no part in it, by reason.
    """

    rows: npt.NDArray[np.intp]
    experiment: Experiment
    randomisation: Randomisation
    source: str
    left_out: dict[str, int]


def from_mart(data: Dataset, mart: Mart, warehouse: Warehouse, settings: ExperimentSettings) -> MartExperiment:
    """Make the experiment on sessions at one decision point: the real one, else the simulation.

    In a real experiment a row carries its visitor's arm when it was decided at or after the assignment. Only the first
    such row of a visitor takes part: what the treatment did may show in the features of later ones. Rows that take no
    part are scored only.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.
    mart : Mart
        Roles of the columns.
    warehouse : Warehouse
        Where the assignments are.
    settings : ExperimentSettings
        Decision point, designed share, slices, gates and the simulation.

    Returns
    -------
    MartExperiment
        The experiment, checked.

    Raises
    ------
    GateError
        When Python and the warehouse count different rows an arm, the assignments are broken, or arms were not dealt
        at random.
    FunneliftError
        When the decision point or a segment's feature is unknown, or an arm or a slice has too little in it.
    """
    points = data.decision_point
    if settings.decision_point not in points.categories:
        raise FunneliftError(
            f"experiment.decision_point {settings.decision_point!r} is unknown: the mart has "
            f"{', '.join(points.categories)}"
        )
    rows = np.flatnonzero(points == settings.decision_point)
    here = take(data, rows)
    assignments = _read_assignments(warehouse)
    if assignments is None:
        treatment, truth = simulate(here, mart, settings)
        outcome = np.where(treatment == 1, truth.treated, truth.control)
        source, left_out = f"simulation (salt {settings.simulation.salt})", {}
    else:
        assigned = _assigned_arms(here, assignments)
        _check_arm_counts(warehouse, settings.decision_point, assigned, here.label)
        treatment, truth = _first_rows_only(assigned, here.visitor), None
        outcome = np.where((treatment >= 0) & (here.is_mature == 1), here.label, -1).astype(np.int8)
        conflicts = int(assignments.column("has_conflict").to_numpy().sum())
        left_out = {
            "visitors given both arms": conflicts,
            "rows without an arm, or decided before it was assigned": int((assigned < 0).sum()),
            "later rows of the same visitor": int(((assigned >= 0) & (treatment < 0)).sum()),
        }
        source = f"experiment of {int((treatment >= 0).sum()):,} visitors ({ASSIGNMENTS})"
        if not (treatment >= 0).any():
            raise FunneliftError(
                f"no session at {settings.decision_point} was decided after its visitor was assigned: check visitor "
                f"ids and times of {ASSIGNMENTS} ({len(assignments):,} visitors; {conflicts} with both arms)"
            )
    own = np.flatnonzero(treatment >= 0)
    split = np.where(here.is_mature == 1, SPLITS.index("outside"), SPLITS.index("open")).astype(np.int8)
    timed = take(replace(here, label=outcome, inputs=here.inputs.iloc[:, :0]), own)
    try:
        split[own] = split_by_time(timed, settings.split).codes
    except FunneliftError as error:
        raise FunneliftError(
            f"slices of the experiment at {settings.decision_point} (experiment.split): {error}"
        ) from None
    experiment = Experiment(
        inputs=here.inputs,
        categorical=tuple(mart.categorical),
        treatment=treatment,
        outcome=outcome,
        visitor=_renumbered(here.visitor),
        split=split,
        treated_share=settings.treated_share,
        truth=truth,
    )
    check_arms(experiment, settings)
    return MartExperiment(rows, experiment, check_randomisation(experiment, settings), source, left_out)


def _read_assignments(warehouse: Warehouse) -> "pa.Table | None":
    import pyarrow as pa
    import pyarrow.compute as pc

    types = {"visitor_id": pa.string(), "assigned_ms": pa.int64(), "treatment": pa.int8(), "has_conflict": pa.int8()}
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
    for name in types:
        if table.column(name).null_count:
            raise GateError("nulls", f"nulls in {ASSIGNMENTS}.{name}", 0, table.column(name).null_count, remedy)
    for name in ("treatment", "has_conflict"):
        values = sorted(pc.unique(table.column(name)).to_pylist())
        if not set(values) <= {0, 1}:
            raise GateError("values", f"values of {ASSIGNMENTS}.{name}", "0 and 1", values[:SHOWN], remedy)
    repeated = count - len(pc.unique(table.column("visitor_id")))
    if repeated:
        raise GateError("key", f"visitors that come again in {ASSIGNMENTS}", 0, repeated, remedy)
    return pa.table({name: table.column(name).cast(kind) for name, kind in types.items()})


def _assigned_arms(data: Dataset, assignments: "pa.Table") -> Codes:
    """Arm of each row's visitor where the row was decided at or after the assignment, else -1."""
    import pyarrow.compute as pc

    ids = data.identity.column("visitor_id")
    place = pc.index_in(ids, value_set=assignments.column("visitor_id").cast(ids.type).combine_chunks())
    at = pc.fill_null(place, -1).to_numpy()
    arm = np.where(assignments.column("has_conflict").to_numpy() == 1, -1, assignments.column("treatment").to_numpy())
    is_after = (at >= 0) & (data.decided_ms >= assignments.column("assigned_ms").to_numpy()[at])
    return np.where(is_after, arm[at], -1).astype(np.int8)


def _check_arm_counts(warehouse: Warehouse, point: str, assigned: Codes, label: Codes) -> None:
    counted = {int(row["treatment"]): row for row in warehouse.query(ARMS_SQL) if row["decision_point"] == point}
    for arm, words in ARMS:
        in_sql = counted.get(arm, {"row_count": 0, "positive_count": 0})
        for what, column, found in (
            ("rows", "row_count", int((assigned == arm).sum())),
            ("converting rows", "positive_count", int((label[assigned == arm] == 1).sum())),
        ):
            if int(in_sql[column]) != found:
                what = f"{words} {what} at {point}, SQL against Python"
                raise GateError("experiment counts", what, int(in_sql[column]), found, REBUILD)


def _first_rows_only(assigned: Codes, visitor: npt.NDArray[np.int32]) -> Codes:
    rows = np.flatnonzero(assigned >= 0)
    first = rows[is_first(visitor[rows])]
    treatment = np.full(len(assigned), -1, dtype=np.int8)
    treatment[first] = assigned[first]
    return treatment


def _renumbered(visitor: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return np.unique(visitor, return_inverse=True)[1].astype(np.int32)
