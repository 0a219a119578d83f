"""Rows of `uplift_scores` as a policy sees them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Floats
from ml.config import Config
from ml.data.rows import to_codes
from ml.experiment.arms import Arms
from ml.policy.estimates import Scored
from ml.policy.quadrants import QUADRANTS, quadrants
from ml.uplift.ranks import smallest_share

if TYPE_CHECKING:
    import pyarrow as pa


# Splits whose rows value a policy. Training rows do too: models of other folds scored them, which did not see them.
# The calibration rows chose the share, and would flatter it.
VALUED = ("train", "test")


def scored(rows: "pa.Table", splits: Sequence[str], config: Config) -> Scored:
    """Take some splits of `uplift_scores` as a policy sees them.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    splits : sequence of str
        Names of the splits.
    config : Config
        Settings; revenue_per_conversion counts where a row has no value of its own.

    Returns
    -------
    Scored
        Their rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    # A late event can make a session run again, and what came of it is not known then.
    is_known = pc.and_(rows.column("treatment").is_valid(), rows.column("outcome").is_valid())
    in_splits = pc.is_in(rows.column("dataset_split").cast("string"), pa.array(splits))
    part = rows.filter(pc.and_(in_splits, is_known))

    def numbers(name: str) -> Floats:
        return np.asarray(part.column(name).to_numpy(), dtype=np.float64)

    treatment, outcome = (numbers(name).astype(np.int8) for name in ("treatment", "outcome"))
    return Scored(
        arms=Arms(treatment, outcome, to_codes(part.column("visitor_id"))),
        p_control=numbers("p_control"),
        p_treatment=numbers("p_treatment"),
        percentiles={name: numbers(f"{name}_percentile") for name in ("uplift", "response")},
        value=own_value(part, config),
    )


def scored_by_use(rows: "pa.Table", config: Config) -> tuple[Scored, Scored, Scored]:
    """Take the rows that choose a share, those that value it, and those that the next experiment is planned by.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    config : Config
        Settings.

    Returns
    -------
    (Scored, Scored, Scored)
        Rows of the calibration split, of the training and test splits, and of the test split alone.
    """
    calibration, valued, test = (scored(rows, splits, config) for splits in (("calibration",), VALUED, ("test",)))
    return calibration, valued, test


def own_value(rows: "pa.Table", config: Config) -> Floats:
    """Return what a conversion of each row of `uplift_scores` is worth.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    config : Config
        Settings.

    Returns
    -------
    ndarray of shape (n_rows,)
        The row's own value, else revenue_per_conversion.
    """
    import pyarrow.compute as pc

    return np.asarray(
        pc.fill_null(rows.column("own_value"), config.policy.revenue_per_conversion).to_numpy(), dtype=np.float64
    )


def with_quadrants(rows: "pa.Table", baseline_rate: float, config: Config) -> "pa.Table":
    """Set the quadrants of `uplift_scores` for today's costs.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    baseline_rate : float
        Conversion rate of the control arm in training.
    config : Config
        Settings.

    Returns
    -------
    pyarrow.Table
        The same rows with column quadrant.
    """
    import pyarrow as pa

    p_control, p_treatment = (np.asarray(rows.column(name).to_numpy()) for name in ("p_control", "p_treatment"))
    codes = quadrants(p_control, p_treatment, own_value(rows, config), baseline_rate, config.policy)
    named = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(QUADRANTS, pa.string()))
    return rows.set_column(rows.column_names.index("quadrant"), "quadrant", named)


def with_rule(rows: "pa.Table", share_percent: int | None) -> "pa.Table":
    """Add whom the chosen share treats.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`.
    share_percent : int, optional
        The share chosen for the uplift strategy, in percent; 0 treats nobody. None where none was chosen.

    Returns
    -------
    pyarrow.Table
        The same rows with column treat: 1, 0, or null where no share was chosen.
    """
    import pyarrow as pa

    treat = pa.nulls(len(rows), pa.int32())
    if share_percent is not None:
        percentile = np.asarray(rows.column("uplift_percentile").to_numpy())
        treat = pa.array((smallest_share(percentile) <= share_percent).astype(np.int32))
    if "treat" in rows.column_names:
        return rows.set_column(rows.column_names.index("treat"), "treat", treat)
    return rows.append_column("treat", treat)


def quadrant_counts(rows: "pa.Table") -> dict[str, int]:
    """Count the test rows of each quadrant.

    Parameters
    ----------
    rows : pyarrow.Table
        Rows of `uplift_scores`, with quadrants.

    Returns
    -------
    dict of str to int
        Every quadrant, also those without a row.
    """
    import pyarrow.compute as pc

    in_test = pc.equal(rows.column("dataset_split").cast("string"), "test")
    counted = pc.value_counts(rows.column("quadrant").cast("string").filter(in_test)).to_pylist()
    found = {entry["values"]: int(entry["counts"]) for entry in counted}
    return {name: found.get(name, 0) for name in QUADRANTS}
