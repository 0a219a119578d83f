"""What sessions brought after the decision: money, as an outcome of an experiment on the mart."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.config import PolicySettings
from ml.data.gates import REBUILD, GateError
from ml.data.rows import Dataset
from ml.experiment.experiment import Assigned, Truth
from warehouse.base import Among, Warehouse
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FUNNELS = "session_funnels"
# A session that bought before the decision has no row there: all that it pays, it pays afterwards.
REVENUE_SQL = """
select sum(funnels.revenue) as revenue
from funnelift.session_features as features
inner join funnelift.session_funnels as funnels on features.session_id = funnels.session_id
where features.decision_point = ?
"""


def read_revenue(warehouse: Warehouse, among: Among | None = None) -> "pa.Table":
    """Read what sessions paid; an order counts once, in the session that had it first.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    among : Among, optional
        Which sessions; all of them without it.

    Returns
    -------
    pyarrow.Table
        session_id and revenue of the sessions that paid something.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = pa.schema({"session_id": pa.string(), "revenue": pa.float64()})
    _, batches = warehouse.read(FUNNELS, schema.names, among)
    found = [pa.Table.from_batches([batch]).select(schema.names).cast(schema) for batch in batches]
    table = pa.concat_tables([schema.empty_table(), *found])
    return table.filter(pc.greater(pc.fill_null(table.column("revenue"), 0), 0))


def session_revenue(here: Dataset, paid: "pa.Table") -> Floats:
    """Return what the session of each row paid after the decision.

    Parameters
    ----------
    here : Dataset
        Rows at one decision point.
    paid : pyarrow.Table
        What `read_revenue` returned.

    Returns
    -------
    ndarray of shape (n_rows,)
        Revenue, 0 where nothing was paid.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = here.identity.column("session_id").cast(pa.string())
    place = pc.index_in(ids, value_set=paid.column("session_id").combine_chunks())
    at = np.asarray(pc.fill_null(place, len(paid)).to_numpy(), np.intp)
    return np.append(paid.column("revenue").to_numpy(), 0.0)[at]


def check_revenue(warehouse: Warehouse, here: Dataset, observed: Floats, point: str) -> None:
    """Refuse revenue that the warehouse's own SQL adds up otherwise, or that no conversion explains.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    here : Dataset
        All rows at the decision point.
    observed : ndarray of shape (n_rows,)
        What `session_revenue` returned.
    point : str
        The decision point.

    Raises
    ------
    GateError
        With both numbers.
    """
    counted, found = float(warehouse.query(REVENUE_SQL, [point])[0]["revenue"] or 0), float(observed.sum())
    if not np.isclose(found, counted, rtol=1e-9, atol=0.01):
        raise GateError(
            "revenue", f"revenue after the decision at {point}, SQL against Python", counted, found, REBUILD
        )
    unexplained = int(((observed > 0) & (here.label != 1)).sum())
    if unexplained:
        what = f"rows at {point} with revenue after the decision and without a transaction"
        raise GateError("revenue", what, 0, unexplained, REBUILD)


def revenue_of(assigned: Assigned, here: Dataset, observed: Floats, policy: PolicySettings) -> Floats:
    """Return the revenue of each row under its arm: what it was, or what a simulation makes of it.

    Parameters
    ----------
    assigned : Assigned
        Arms and outcomes.
    here : Dataset
        Rows at the decision point.
    observed : ndarray of shape (n_rows,)
        What `session_revenue` returned.
    policy : PolicySettings
        What a conversion that a simulation adds is worth.

    Returns
    -------
    ndarray of shape (n_rows,)
        NaN where nothing is known.
    """
    if assigned.truth is not None:
        observed = simulated_revenue(assigned.truth, assigned.treatment == 1, here.inputs, observed, policy)
    known = (assigned.treatment >= 0) & (assigned.outcome >= 0)
    return np.where(known, observed, np.nan)


def simulated_revenue(
    truth: Truth, treated: npt.NDArray[np.bool_], inputs: "pd.DataFrame", observed: Floats, policy: PolicySettings
) -> Floats:
    """Return what sessions pay in a simulation: who leaves pays nothing, who is won pays what a conversion is worth.

    Parameters
    ----------
    truth : Truth
        Both outcomes.
    treated : ndarray of shape (n_rows,)
        Whether the row is treated.
    inputs : DataFrame
        Features.
    observed : ndarray of shape (n_rows,)
        What they paid untreated.
    policy : PolicySettings
        `value_column` says what a conversion of the session is worth, else `revenue_per_conversion`.

    Returns
    -------
    ndarray of shape (n_rows,)
        Revenue.
    """
    worth = np.full(len(inputs), policy.revenue_per_conversion)
    if policy.value_column is not None:
        own = inputs[policy.value_column].to_numpy().astype(np.float64)
        worth = np.where(own > 0, own, worth)
    won = treated & (truth.treated == 1)
    return np.where(treated & (truth.treated == 0), 0.0, np.where(won & (truth.control == 0), worth, observed))


def check_spending(revenue: Floats) -> None:
    """Refuse an experiment in which nobody paid anything.

    Parameters
    ----------
    revenue : ndarray of shape (n_rows,)
        Revenue of the rows that take part.

    Raises
    ------
    FunneliftError
        When all of it is 0.
    """
    if not revenue.any():
        raise FunneliftError(
            "no session of the experiment has any revenue, so there is no money to compare (experiment.outcome: "
            "revenue). Load prices or amounts (docs/loading.md), or set experiment.outcome: conversion and say what a "
            "conversion is worth (policy.revenue_per_conversion)"
        )
