"""The experiment on sessions of the mart: the real one, else the simulation."""

from dataclasses import dataclass, replace

import numpy as np

from ml.arrays import Codes, Floats, Rows
from ml.config import Config, ExperimentSettings
from ml.data.counts import check_point
from ml.data.features import Mart
from ml.data.rows import Dataset, renumbered, take
from ml.data.split import split_by_time
from ml.experiment.assignments import read_assignments, real_arms
from ml.experiment.designed import AverageEffect, Design, designed_effect
from ml.experiment.even import evened
from ml.experiment.experiment import SPLITS, Assigned, Experiment, check_arms
from ml.experiment.file import ArmRows
from ml.experiment.randomisation import Randomisation, check_randomisation, shares_differ
from ml.experiment.revenue import check_revenue, check_spending, read_revenue, revenue_of, session_revenue
from ml.experiment.simulated import simulated_arms
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError


@dataclass(frozen=True)
class MartExperiment:
    """An experiment on sessions of the mart.

    `rows` are the positions of its rows in the data set, those at the decision point; `source` says where the arms come
    from; `left_out` counts the rows, and the visitors, that have no part in it, by reason. `designed` is the experiment
    as it was drawn, where visitors had chances of their own: in `experiment` all have one.
    """

    rows: Rows
    experiment: Experiment
    randomisation: Randomisation
    source: str
    left_out: dict[str, int]
    designed: Experiment | None = None


def from_mart(data: Dataset, mart: Mart, warehouse: Warehouse, settings: ExperimentSettings) -> MartExperiment:
    """Make the experiment on sessions at one decision point: the real one, else the simulation.

    Rows that take no part are scored only.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.
    mart : Mart
        Roles of the columns.
    warehouse : Warehouse
        Where the assignments are.
    settings : ExperimentSettings
        Decision point, designed share, splits, gates and the simulation.

    Returns
    -------
    MartExperiment
        The experiment, checked.

    Raises
    ------
    GateError
        When Python and the warehouse count different rows per arm, the assignments are broken, or arms were not
        assigned at random.
    FunneliftError
        When the decision point or a segment's feature is unknown, or an arm or a split has too little in it.
    """
    rows, here, assigned = _assigned(data, mart, warehouse, settings)
    experiment = _experiment(here, assigned, mart, settings)
    designed = None
    if shares_differ(experiment, settings.highest_mismatch_p):
        if assigned.propensity is None:
            raise FunneliftError(
                "the chance of treatment differs between strata of the assignments, and rankings and money on the mart "
                "are for one chance: say each visitor's chance in the assignments (`propensity`, docs/loading.md), or "
                "analyse the experiment from a file (`python -m ml.uplift --experiment FILE --visitor-column "
                "visitor_id --stratum-column STRATUM`)"
            )
        designed, assigned = experiment, evened(assigned, here, settings.simulation.salt)
        experiment = _experiment(here, assigned, mart, settings.model_copy(update={"treated_share": 0.5}))
    check_arms(experiment, settings)
    randomisation = check_randomisation(designed or experiment, settings)
    return MartExperiment(rows, experiment, randomisation, assigned.source, assigned.left_out, designed)


def _experiment(here: Dataset, assigned: Assigned, mart: Mart, settings: ExperimentSettings) -> Experiment:
    return Experiment(
        inputs=here.inputs,
        categorical=tuple(mart.categorical),
        treatment=assigned.treatment,
        outcome=assigned.outcome,
        visitor=renumbered(here.visitor),
        split=_split(here, assigned, settings),
        treated_share=settings.treated_share,
        truth=assigned.truth,
        stratum=assigned.stratum,
        propensity=assigned.propensity,
    )


@dataclass(frozen=True)
class MartArms:
    """All sessions at the decision point, and those of them that have an arm and an outcome.

    `rows` are positions in the data set, `own` positions among these. `split` is a position in `SPLITS`, and `revenue`
    what came in after the decision, NaN where nothing is known of it; None where conversions count.
    """

    rows: Rows
    here: Dataset
    assigned: Assigned
    split: Codes
    own: Rows
    arms: ArmRows
    revenue: Floats | None


def arms_on_mart(data: Dataset, mart: Mart, warehouse: Warehouse, config: Config) -> MartArms:
    """Take the experiment on sessions in the shape in which offers and money are learnt from a file.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.
    mart : Mart
        Roles of the columns.
    warehouse : Warehouse
        Where assignments and revenue are.
    config : Config
        Settings.

    Returns
    -------
    MartArms
        The sessions, split by time.

    Raises
    ------
    GateError
        When Python and the warehouse count different rows or revenue, or the assignments are broken.
    FunneliftError
        When the decision point is unknown, nobody was assigned, or no revenue is known.
    """
    settings = config.experiment
    rows, here, assigned = _assigned(data, mart, warehouse, settings)
    split = _split(here, assigned, settings)
    own = np.flatnonzero((assigned.treatment >= 0) & (assigned.outcome >= 0))
    revenue = None
    if settings.outcome == "revenue":
        observed = session_revenue(here, read_revenue(warehouse))
        check_revenue(warehouse, here, observed, settings.decision_point)
        revenue = revenue_of(assigned, here, observed, config.policy)
        check_spending(revenue[own])
    ids = here.identity.column("visitor_id").cast("string")
    arms = ArmRows(
        identity=here.identity,
        mart=mart,
        features=(),
        inputs=here.inputs,
        arm=assigned.treatment,
        outcome=assigned.outcome.astype(np.float64),
        value=revenue,
        units=ids,
        visitor=renumbered(here.visitor),
        stratum=assigned.stratum,
        propensity=assigned.propensity,
        rows_read=len(here),
        other_arms={},
        dropped={},
        notes=[],
        split=split,
    ).at(own)
    return MartArms(rows, here, assigned, split, own, arms, revenue)


def _assigned(
    data: Dataset, mart: Mart, warehouse: Warehouse, settings: ExperimentSettings
) -> tuple[Rows, Dataset, Assigned]:
    """Positions of the rows at the decision point, these rows, and their arms."""
    rows = rows_at(data, settings.decision_point)
    here = take(data, rows)
    assignments = read_assignments(warehouse)
    if assignments is not None:
        return rows, here, real_arms(here, assignments, warehouse, settings)
    if settings.treated:
        raise FunneliftError(
            f"experiment.treated names {', '.join(settings.treated)}, and nobody was assigned anything: load who got "
            "which offer (docs/loading.md), or leave experiment.treated out for a simulation"
        )
    return rows, here, simulated_arms(here, mart, settings)


def average_on_mart(experiment: Experiment, config: Config) -> AverageEffect | None:
    """Estimate the average effect of a real experiment as it was designed, on all rows with an arm and an outcome.

    Parameters
    ----------
    experiment : Experiment
        The experiment.
    config : Config
        Settings.

    Returns
    -------
    AverageEffect or None
        None of a simulation, whose effects are made up.
    """
    if experiment.is_simulated:
        return None
    rows = np.flatnonzero((experiment.treatment >= 0) & (experiment.outcome >= 0))
    stratum, propensity = experiment.stratum, experiment.propensity
    design = Design(
        treatment=experiment.treatment[rows],
        outcome=experiment.outcome[rows].astype(np.float64),
        unit=experiment.visitor[rows],
        stratum=None if stratum is None else stratum[rows],
        propensity=None if propensity is None else propensity[rows],
        name="visitors",
    )
    return designed_effect(
        design, experiment.inputs.iloc[rows], confidence=config.evaluation.confidence,
        tuned_for=config.experiment.sequence_units, seed=config.seed,
    )  # fmt: skip


def rows_at(data: Dataset, point: str) -> Rows:
    """Return the positions of the rows at a decision point.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.
    point : str
        The decision point.

    Returns
    -------
    ndarray of int
        Positions, ascending.

    Raises
    ------
    FunneliftError
        When the mart has no such decision point.
    """
    points = data.decision_point
    check_point(point, points.categories)
    return np.flatnonzero(points == point)


def _split(here: Dataset, assigned: Assigned, settings: ExperimentSettings) -> Codes:
    """Split the rows that have an arm by time; the others are outside, or open."""
    own = np.flatnonzero(assigned.treatment >= 0)
    split = np.where(here.is_mature == 1, SPLITS.index("outside"), SPLITS.index("open")).astype(np.int8)
    timed = take(replace(here, label=assigned.outcome, inputs=here.inputs.iloc[:, :0]), own)
    shares = settings.split
    if assigned.truth is None:
        # Each visitor has one row: nobody is on both sides of a boundary, and a weekend has no days to spare.
        shares = shares.model_copy(update={"embargo_seconds": 0})
    try:
        split[own] = split_by_time(timed, shares).codes
    except FunneliftError as error:
        raise FunneliftError(
            f"splits of the experiment at {settings.decision_point} (experiment.split): {error}"
        ) from None
    return split
