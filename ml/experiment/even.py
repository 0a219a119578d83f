"""One chance of treatment for all, where a policy has given visitors chances of their own."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ml.data.rows import Dataset
from ml.experiment.experiment import Assigned
from ml.experiment.simulated import hash_shares

if TYPE_CHECKING:
    import pyarrow as pa

LEFT_OUT = "rows left out of rankings and money, so that all others had one chance of treatment"


def evened(assigned: Assigned, here: Dataset, salt: str) -> Assigned:
    """Leave rows out by lot, so that each of the others was as likely to be treated as not.

    A row with the chance e of treatment stays with the chance min(1, (1 - e) / e) if it was treated, and with
    min(1, e / (1 - e)) if it was not. Among those that stay, treatment says nothing of the chance, and so nothing of
    what the policy knew. Of a policy that leaves a share to chance, this share is what stays.

    Parameters
    ----------
    assigned : Assigned
        Arms with chances of their own.
    here : Dataset
        The same rows.
    salt : str
        Names the lot: with another one other rows stay.

    Returns
    -------
    Assigned
        Arms without chances and strata; -1 where a row was left out.
    """
    chance = assigned.propensity
    if chance is None:
        return assigned
    visitors: pa.ChunkedArray = here.identity.column("visitor_id").cast("string")
    odds = chance / (1 - chance)
    stays = hash_shares(f"{salt}:even:", visitors) < np.where(assigned.treatment == 1, 1 / odds, odds)
    is_out = (assigned.treatment >= 0) & ~stays
    return replace(
        assigned,
        treatment=np.where(is_out, -1, assigned.treatment).astype(np.int8),
        outcome=np.where(is_out, -1, assigned.outcome).astype(np.int8),
        left_out={**assigned.left_out, LEFT_OUT: int(is_out.sum())},
        stratum=None,
        propensity=None,
    )
