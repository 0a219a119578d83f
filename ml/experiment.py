"""One two-armed experiment: a real one where arms were assigned, else a simulation whose effects are known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.config import ExperimentSettings, FunneliftError
from ml.features import Dataset, Mart
from ml.randomisation import Randomisation, check_randomisation, is_first
from ml.split import NAMES, SLICES, split_by_time
from ml.validate import REBUILD, GateError
from ml.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
SPLITS = (*NAMES, "outside")
ARMS = ((1, "treated"), (0, "control"))
ASSIGNMENTS = "stg_treatment_assignments"
NO_SEGMENT = "everybody else"
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
class Truth:
    """What only a simulation knows: both outcomes of every row, its segment, and the expected effect there.

    `control` and `treated` are the row's outcome without and with treatment (0 or 1; -1 unknown); `segment` is a
    position in `segments`; `effect` is the expected treated-minus-control outcome of the row's segment.
    """

    control: Codes
    treated: Codes
    segment: Codes
    segments: tuple[str, ...]
    effect: Floats


@dataclass(frozen=True)
class Experiment:
    """Rows of one experiment at one decision point, one row a session, in the order of the data set.

    `inputs` holds the features (float32 and categories), `categorical` names the categories among them. `treatment` is
    1, 0 or -1 for a row that has no arm and is only scored; `outcome` is what was observed under that arm, -1 where it
    is not known. `visitor` numbers the visitors, the units that were randomised. `split` is a position in `SPLITS`:
    rows of train, calibration and test have an arm and an outcome. `treated_share` is the designed share of treated
    visitors.
    """

    inputs: "pd.DataFrame"
    categorical: tuple[str, ...]
    treatment: Codes
    outcome: Codes
    visitor: npt.NDArray[np.int32]
    split: Codes
    treated_share: float
    truth: Truth | None = None

    def __len__(self) -> int:
        return len(self.treatment)

    @property
    def is_simulated(self) -> bool:
        """Whether arms and effects are made up."""
        return self.truth is not None

    def rows(self, name: str) -> npt.NDArray[np.intp]:
        """Return the positions of a slice's rows."""
        return np.flatnonzero(self.split == SPLITS.index(name))


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


def simulate(data: Dataset, mart: Mart, settings: ExperimentSettings) -> tuple[Codes, Truth]:
    """Deal arms by a hash of the visitor, and let the named segments react.

    Without treatment a session does what it did (Y0). With it, Y1 = 1 with probability `adds` where Y0 = 0, and Y1 = 0
    with probability `removes` where Y0 = 1. So a segment's expected effect is (1 - p0) adds - p0 removes, p0 being the
    mean of Y0 among its closed sessions.

    Parameters
    ----------
    data : Dataset
        Rows at the experiment's decision point.
    mart : Mart
        Kinds of the features.
    settings : ExperimentSettings
        Designed share, salt and segments.

    Returns
    -------
    array of int
        Arm of every row, 1 or 0; all rows of a visitor have the same.
    Truth
        Both outcomes and the effects.

    Raises
    ------
    FunneliftError
        When a segment's feature is unknown or not numeric.
    """
    import pyarrow as pa

    salt, segments = settings.simulation.salt, settings.simulation.segments
    treatment = hash_shares(f"{salt}:visitor:", data.identity.column("visitor_id")) < settings.treated_share
    segment = np.full(len(data), len(segments), dtype=np.int8)
    for position in reversed(range(len(segments))):
        segment[_matches(segments[position].when, segments[position].name, data.inputs, mart)] = position
    adds = np.array([*(entry.adds for entry in segments), 0.0])
    removes = np.array([*(entry.removes for entry in segments), 0.0])
    reacts = np.flatnonzero((adds + removes)[segment] > 0)
    sessions = data.identity.column("session_id").take(pa.array(reacts))
    draw = np.ones(len(data))
    draw[reacts] = hash_shares(f"{salt}:session:", sessions)

    mature = data.is_mature == 1
    control = np.where(mature, data.label, -1).astype(np.int8)
    reacted = np.where(data.label == 1, draw >= removes[segment], draw < adds[segment])
    treated = np.where(mature, reacted, -1).astype(np.int8)
    closed = np.bincount(segment[mature], minlength=len(adds))
    bought = np.bincount(segment[mature], weights=data.label[mature], minlength=len(adds))
    rate = bought / np.maximum(closed, 1)
    effect = (1 - rate) * adds - rate * removes
    names = (*(entry.name for entry in segments), NO_SEGMENT)
    return treatment.astype(np.int8), Truth(control, treated, segment, names, effect[segment])


def hash_shares(prefix: str, ids: "pa.ChunkedArray") -> Floats:
    """Turn ids into numbers spread evenly over 0 to 1: the same on every machine, engine and row order.

    Parameters
    ----------
    prefix : str
        Put before each id; another prefix gives numbers that have nothing to do with these.
    ids : pyarrow.ChunkedArray
        Texts.

    Returns
    -------
    array of float
        The first eight bytes of SHA-256 over prefix and id, as a whole number over 2^64.
    """
    import pyarrow as pa

    encoded = ids.cast(pa.string()).combine_chunks().dictionary_encode()
    digests = b"".join([sha256(f"{prefix}{text}".encode()).digest() for text in encoded.dictionary.to_pylist()])
    shares = np.frombuffer(digests, dtype=">u8")[::4] / 2.0**64
    return np.asarray(shares[encoded.indices.to_numpy()], dtype=np.float64)


def take(data: Dataset, rows: npt.NDArray[np.intp]) -> Dataset:
    """Return some rows of a data set.

    Parameters
    ----------
    data : Dataset
        Rows in order.
    rows : array of int
        Positions, ascending.

    Returns
    -------
    Dataset
        These rows, visitors numbered as before.
    """
    import pyarrow as pa

    return Dataset(
        identity=data.identity.take(pa.array(rows)),
        inputs=data.inputs.iloc[rows].reset_index(drop=True),
        label=data.label[rows],
        decided_ms=data.decided_ms[rows],
        is_mature=data.is_mature[rows],
        is_new_visitor=data.is_new_visitor[rows],
        visitor=data.visitor[rows],
    )


def check_arms(experiment: Experiment, settings: ExperimentSettings) -> None:
    """Refuse an experiment that lacks an arm, or a slice with too few conversions in one.

    Parameters
    ----------
    experiment : Experiment
        The experiment, split.
    settings : ExperimentSettings
        Fewest conversions.

    Raises
    ------
    FunneliftError
        With all counts.
    """
    counts = {
        (name, arm): experiment.outcome[rows[experiment.treatment[rows] == arm]]
        for name in SLICES
        for rows in [experiment.rows(name)]
        for arm in (1, 0)
    }
    told = "; ".join(
        f"{name}: "
        + ", ".join(f"{words} {int(counts[name, arm].sum())} of {len(counts[name, arm])} rows" for arm, words in ARMS)
        for name in SLICES
    )
    for arm, words in ARMS:
        outcomes = np.concatenate([counts[name, arm] for name in SLICES])
        if not len(outcomes):
            raise FunneliftError(
                f"the experiment has one arm only: no {words} row in any slice ({told}). An effect needs both: check "
                "the assignments, or which values of the treatment column stand for the arms"
            )
        if not outcomes.any():
            raise FunneliftError(
                f"no {words} row converts ({told}): without conversions in both arms there is nothing to compare. "
                "Take an outcome that happens more often, or wait for more data"
            )
    if min(int(outcome.sum()) for outcome in counts.values()) < settings.min_conversions_per_arm:
        raise FunneliftError(
            f"gate enough data failed: each slice needs {settings.min_conversions_per_arm} conversions in each arm "
            f"(experiment.min_conversions_per_arm), found {told}. Use more visitors or a longer time, an outcome that "
            "happens more often, or other shares in experiment.split"
        )


def check_size(experiment: Experiment, folds: int) -> None:
    """Refuse an experiment with fewer visitors than cross-fitting has folds.

    Parameters
    ----------
    experiment : Experiment
        The experiment, split.
    folds : int
        Number of folds.

    Raises
    ------
    FunneliftError
        With the number of visitors.
    """
    train = experiment.rows("train")
    for arm, words in ARMS:
        visitors = len(np.unique(experiment.visitor[train[experiment.treatment[train] == arm]]))
        if visitors < folds:
            raise FunneliftError(
                f"the training slice has {visitors} {words} visitors, fewer than the {folds} folds of cross-fitting "
                "(uplift.folds): use more data"
            )


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


def _matches(
    when: Mapping[str, tuple[float | None, float | None]], segment: str, inputs: "pd.DataFrame", mart: Mart
) -> npt.NDArray[np.bool_]:
    matching = np.ones(len(inputs), dtype=bool)
    for name, (low, high) in when.items():
        if name not in mart.numeric:
            problem = "is a category" if name in mart.categorical else "does not exist"
            raise FunneliftError(
                f"experiment.simulation: segment {segment!r} has bounds for the feature {name}, which {problem}. "
                f"Numeric features: {', '.join(mart.numeric)}"
            )
        values = inputs[name].to_numpy()
        matching &= values >= (-np.inf if low is None else low)
        matching &= values <= (np.inf if high is None else high)
    return matching
