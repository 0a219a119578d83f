"""A simulated experiment: arms by a hash, effects by named segments."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats
from ml.config import ExperimentSettings
from ml.data.features import Mart
from ml.data.rows import Dataset
from ml.experiment.experiment import Assigned, Truth
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NO_SEGMENT = "everybody else"


def simulated_arms(here: Dataset, mart: Mart, settings: ExperimentSettings) -> Assigned:
    """Give the rows at a decision point simulated arms, and the outcomes that follow from them.

    Parameters
    ----------
    here : Dataset
        Rows at the decision point.
    mart : Mart
        Kinds of the features.
    settings : ExperimentSettings
        Designed share, salt and segments.

    Returns
    -------
    Assigned
        One arm and outcome per row, with the truth.
    """
    treatment, truth = simulate(here, mart, settings)
    outcome = np.where(treatment == 1, truth.treated, truth.control)
    return Assigned(treatment, outcome, truth, f"simulation (salt {settings.simulation.salt})", {})


def simulate(data: Dataset, mart: Mart, settings: ExperimentSettings) -> tuple[Codes, Truth]:
    """Assign arms by a hash of the visitor, and let the named segments react.

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
    ndarray of shape (n_rows,)
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
    ndarray of shape (n_ids,)
        The first eight bytes of SHA-256 over prefix and id, as a whole number over 2^64.
    """
    import pyarrow as pa

    encoded = ids.cast(pa.string()).combine_chunks().dictionary_encode()
    digests = b"".join([sha256(f"{prefix}{text}".encode()).digest() for text in encoded.dictionary.to_pylist()])
    shares = np.frombuffer(digests, dtype=">u8")[::4] / 2.0**64
    return np.asarray(shares[encoded.indices.to_numpy()], dtype=np.float64)


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
