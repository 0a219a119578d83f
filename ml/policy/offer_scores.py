"""What a run says of each session: the offer that suits it, what that earns, and whether it is made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats
from ml.policy.offers import Policy
from ml.policy.quadrants import QUADRANTS
from ml.uplift.offers import Costs, OfferModel
from ml.uplift.ranks import deciles, percentile_ranks

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What rows of `uplift_scores` hold besides where offers or money are learnt; null where conversions are.
COLUMNS = {"arm": "string", "revenue": "double", "offer": "string", "gain": "double", "offer_cost": "double"}


@dataclass(frozen=True)
class Said:
    """What is said of sessions, one value per row: code of the offer that is spoken of, and whether it is made.

    `gain` and `cost` are the offer's; `p_control` and `p_treatment` chances of buying without and with it. `paid`, of
    shape (n_rows, n_offers), is what each offer would cost.
    """

    offer: Codes
    is_made: npt.NDArray[np.bool_]
    gain: Floats
    cost: Floats
    p_control: Floats
    p_treatment: Floats
    paid: Floats


@dataclass(frozen=True)
class OfferScorer:
    """All that scores sessions by what offers earn with them.

    `names` are those of the control and the offers. `ranks` holds gain and chance of buying untreated of the rows of
    the calibration split, each in order, against which others are ranked: shape (2, n_rows). `baseline_rate` is the
    conversion rate of the training split's control arm. `effects` maps each segment of a simulation to its true effect
    on conversions.
    """

    model: OfferModel
    policy: Policy
    costs: Costs
    names: tuple[str, ...]
    ranks: Floats
    baseline_rate: float
    effects: Mapping[str, float]

    def say(self, inputs: "pd.DataFrame", ties: Floats) -> Said:
        """Say of each row which offer suits it: the one that the policy makes, else the one with the highest gain.

        Parameters
        ----------
        inputs : DataFrame
            Features.
        ties : ndarray of shape (n_rows,)
            The lot of each row, 0 to 1.

        Returns
        -------
        Said
            One value per row.
        """
        found, gains = self.model.responses.predict(inputs), self.model.expected_gains(inputs)
        paid = self.costs.paid(found.buys[:, 1:], found.spends[:, 1:])
        given = self.policy.assign(gains, paid, ties)
        place = np.where(given > 0, given - 1, gains.argmax(axis=1))
        every = np.arange(len(gains))
        return Said(
            offer=(place + 1).astype(np.int8),
            is_made=given > 0,
            gain=gains[every, place],
            cost=paid[every, place],
            p_control=found.buys[:, 0],
            p_treatment=found.buys[every, place + 1],
            paid=paid,
        )

    def ranked_among(self, inputs: "pd.DataFrame", ties: Floats) -> "OfferScorer":
        """Return the scorer that ranks against some rows, those of the calibration split."""
        said = self.say(inputs, ties)
        return replace(self, ranks=np.sort(np.stack([said.gain, said.p_control]), axis=1))

    def columns(self, inputs: "pd.DataFrame", ties: Floats) -> dict[str, Any]:
        """Return the columns of `uplift_scores` that follow from the features.

        Parameters
        ----------
        inputs : DataFrame
            Features.
        ties : ndarray of shape (n_rows,)
            The lot of each row, 0 to 1.

        Returns
        -------
        dict of str to array
            One value per row.
        """
        import pyarrow as pa

        said = self.say(inputs, ties)
        percentile, response = (
            percentile_ranks(ranks, score, ties)
            for ranks, score in zip(self.ranks, (said.gain, said.p_control), strict=True)
        )
        is_lower, is_usual = said.p_treatment < said.p_control, said.p_control >= self.baseline_rate
        quadrant = np.select([said.gain > 0, is_lower, is_usual], [0, 3, 1], default=2)
        return {
            "p_control": said.p_control,
            "p_treatment": said.p_treatment,
            "uplift": said.p_treatment - said.p_control,
            "score": said.gain,
            "uplift_percentile": percentile,
            "decile": deciles(percentile).astype(np.int32),
            "response_probability": said.p_control,
            "response_percentile": response,
            "quadrant": named(quadrant, QUADRANTS),
            "treat": pa.array(said.is_made.astype(np.int32)),
            "offer": named(said.offer, self.names),
            "gain": said.gain,
            "offer_cost": said.cost,
        }


def named(codes: npt.NDArray[np.integer], names: Sequence[str]) -> "pa.Array":
    """Return the names of codes; null where a code is below 0."""
    import pyarrow as pa

    return pa.array(np.array([*names, None], dtype=object)[codes], pa.string())


def without_offers(rows: "pa.Table") -> "pa.Table":
    """Add the columns that only offers and money fill, as nulls.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.

    Returns
    -------
    pyarrow.Table
        The same rows with these columns.
    """
    import pyarrow as pa

    for name, kind in COLUMNS.items():
        rows = rows.append_column(name, pa.nulls(len(rows), kind))
    return rows
