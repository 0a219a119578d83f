"""Uplift scores of some rows, by the models that are published."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows
from ml.config import Config, ExperimentSettings, PolicySettings
from ml.data.features import IDENTITY, Mart
from ml.data.rows import Dataset, take
from ml.data.split import MODEL_SPLITS
from ml.experiment.experiment import Assigned, Truth
from ml.experiment.revenue import revenue_of, session_revenue
from ml.experiment.simulated import hash_shares, simulate
from ml.parts.uplift import own_values
from ml.policy.offer_scores import OfferScorer, without_offers
from ml.policy.scored import with_quadrants, with_rule
from ml.publish.tables import stamped
from ml.publish.uplift_model import SavedUplift
from ml.run import Stamp
from ml.scoring.changes import places_of
from ml.uplift.names import CHOSEN, RESPONSE
from ml.uplift.ranks import deciles
from warehouse.contract import Contract

if TYPE_CHECKING:
    import pyarrow as pa

OPEN, OUTSIDE = "open", "outside"
SPLIT = (*MODEL_SPLITS, "embargo", "implausible")


@dataclass(frozen=True)
class PublishedUplift:
    """What `uplift_runs` says of the published run, and its models."""

    run_id: str
    model_version: str
    decision_point: str
    is_synthetic: bool
    is_simulated: bool
    baseline_rate: float
    seed: int
    chosen_share_percent: int | None
    experiment: ExperimentSettings
    policy: PolicySettings
    models: SavedUplift | OfferScorer

    @property
    def needs_revenue(self) -> bool:
        """Whether the rows say what sessions brought."""
        return isinstance(self.models, OfferScorer) and self.experiment.outcome == "revenue"

    @classmethod
    def of(cls, run: dict[str, Any], models: SavedUplift | OfferScorer) -> "PublishedUplift":
        """Take a row of `uplift_runs`.

        Parameters
        ----------
        run : dict
            Column name to value.
        models : SavedUplift or OfferScorer
            Its models.

        Returns
        -------
        PublishedUplift
            Ready to score.
        """
        settings, share = json.loads(run["config_json"]), run["chosen_share_percent"]
        return cls(
            run_id=run["run_id"],
            model_version=run["model_version"],
            decision_point=run["decision_point"],
            is_synthetic=bool(run["is_synthetic"]),
            is_simulated=bool(run["is_simulated"]),
            baseline_rate=float(run["baseline_rate"]),
            seed=int(run["seed"]),
            chosen_share_percent=None if share is None else int(share),
            experiment=ExperimentSettings.model_validate(settings["experiment"]),
            policy=PolicySettings.model_validate(settings["policy"]),
            models=models,
        )


@dataclass(frozen=True)
class _Known:
    """The scores that rows had: their positions, and the position of each in the table; nothing is known of others."""

    rows: Rows
    places: Rows
    old: "pa.Table"

    def numbers(self, name: str, size: int) -> Floats:
        """A column of the scores before, NaN where it is null or the row is new: shape (size,)."""
        values = np.full(size, np.nan)
        values[self.rows] = self.old.column(name).to_numpy(zero_copy_only=False)[self.places].astype(np.float64)
        return values

    def texts(self, name: str, size: int) -> npt.NDArray[np.object_]:
        """A column of texts before, None where the row is new: shape (size,)."""
        values = np.full(size, None, dtype=object)
        values[self.rows] = np.array(self.old.column(name).to_pylist(), dtype=object)[self.places]
        return values


def uplift_rows(
    data: Dataset, published: PublishedUplift, old: "pa.Table", stamp: Stamp, contract: Contract, *, mart: Mart,
    config: Config, paid: "pa.Table | None" = None,
) -> "pa.Table":  # fmt: skip
    """Score the rows at the experiment's decision point.

    A row of the experiment keeps its split and arm. A row with the score that it had keeps its rank, because ties were
    put in order by lot.

    Parameters
    ----------
    data : Dataset
        Rows at any decision points.
    published : PublishedUplift
        The published run and its models.
    old : pyarrow.Table
        The scores that these visitors had.
    stamp : Stamp
        The published run, and the time.
    contract : Contract
        Contract of uplift_scores.
    mart : Mart
        Kinds of the features.
    config : Config
        Settings.
    paid : pyarrow.Table, optional
        What sessions paid, where the published run's outcome is revenue.

    Returns
    -------
    pyarrow.Table
        One score per row at that decision point.
    """
    import pyarrow as pa

    points = data.decision_point
    if published.decision_point not in points.categories:
        return contract.schema.empty_table()
    here = take(data, np.flatnonzero(points == published.decision_point))
    if not len(here):
        return contract.schema.empty_table()
    place = places_of(here.identity, old, contract.grain)
    known = _Known(np.flatnonzero(place >= 0), place[place >= 0], old)
    split = _splits(here, known)
    truth = simulate(here, mart, published.experiment)[1] if published.is_simulated else None
    treatment = np.where(np.isin(split, [OUTSIDE]), np.nan, known.numbers("treatment", len(here)))
    outcome = _outcomes(here, treatment, truth)
    rows = pa.table(
        {
            **{name: here.identity.column(name) for name in IDENTITY},
            "treatment": _whole(treatment),
            "outcome": _whole(outcome),
            "own_value": _own_values(here, published),
            "segment": _segments(truth, len(here)),
            "true_effect": _true_effects(truth, published, len(here)),
            "dataset_split": pa.array(split, pa.string()),
        }
    )
    if isinstance(published.models, OfferScorer):
        none = pa.nulls(len(here), pa.float64())
        said = published.models.columns(here.inputs, _ties(here, published)) | {
            "arm": pa.array(known.texts("arm", len(here)), pa.string(), mask=~np.isfinite(treatment)),
            "revenue": none if paid is None else _revenue(here, published, paid, treatment, outcome, truth=truth),
        }
        return stamped(_beside(rows, said), stamp, contract)
    rows = _beside(rows, _scores(here, published, published.models, known))
    rows = without_offers(rows.append_column("quadrant", pa.nulls(len(here), pa.string())))
    rows = with_quadrants(rows, published.baseline_rate, config.model_copy(update={"policy": published.policy}))
    return stamped(with_rule(rows, published.chosen_share_percent), stamp, contract)


def _beside(rows: "pa.Table", columns: dict[str, Any]) -> "pa.Table":
    import pyarrow as pa

    for name, values in columns.items():
        rows = rows.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return rows


def _revenue(
    here: Dataset, published: PublishedUplift, paid: "pa.Table", treatment: Floats, outcome: Floats,
    *, truth: Truth | None,
) -> "pa.Array":  # fmt: skip
    """What closed sessions with an arm paid, under a simulation what it makes of that."""
    import pyarrow as pa

    arm, known = (np.where(np.isfinite(codes), codes, -1).astype(np.int8) for codes in (treatment, outcome))
    assigned = Assigned(arm, known, truth, source="", left_out={})
    return pa.array(revenue_of(assigned, here, session_revenue(here, paid), published.policy), from_pandas=True)


def _ties(here: Dataset, published: PublishedUplift) -> Floats:
    return hash_shares(f"{published.seed}:rank:", here.identity.column("session_id"))


def _splits(here: Dataset, known: _Known) -> npt.NDArray[np.object_]:
    """A row that the training split keeps its split; any other one takes no part, or is still open."""
    before = known.texts("dataset_split", len(here))
    is_kept = np.isin(before.astype(str), SPLIT)
    return np.where(is_kept, before, np.where(here.is_mature == 1, OUTSIDE, OPEN)).astype(object)


def _outcomes(here: Dataset, treatment: Floats, truth: Truth | None) -> Floats:
    """What closed sessions with an arm did, under a simulation what it makes of that."""
    label = here.label if truth is None else np.where(treatment == 1, truth.treated, truth.control)
    return np.where(np.isfinite(treatment) & (here.is_mature == 1), label, np.nan)


def _scores(here: Dataset, published: PublishedUplift, models: SavedUplift, known: _Known) -> dict[str, Any]:
    names, size = here.identity.column("session_id"), len(here)
    prediction, response = models.predict(here.inputs, names)
    ties = _ties(here, published)

    def percentile(learner: str, now: Floats, names: tuple[str, str]) -> Floats:
        before, rank = (known.numbers(name, size) for name in names)
        return np.where(before == now, rank, models.percentiles(learner, now, ties))

    uplift_percentile = percentile(CHOSEN, prediction.score, ("score", "uplift_percentile"))
    return {
        "p_control": prediction.p_control,
        "p_treatment": prediction.p_treatment,
        "uplift": prediction.uplift,
        "score": prediction.score,
        "uplift_percentile": uplift_percentile,
        "decile": deciles(uplift_percentile).astype(np.int32),
        "response_probability": response,
        "response_percentile": percentile(RESPONSE, response, ("response_probability", "response_percentile")),
    }


def _whole(values: Floats) -> "pa.Array":
    """Whole numbers, null where there is none."""
    import pyarrow as pa

    is_null = ~np.isfinite(values)
    return pa.array(np.where(is_null, 0, values).astype(np.int32), mask=is_null)


def _own_values(here: Dataset, published: PublishedUplift) -> "pa.Array":
    import pyarrow as pa

    values = own_values(here.inputs, published.policy.value_column)
    return pa.nulls(len(here), pa.float64()) if values is None else values


def _segments(truth: Truth | None, size: int) -> "pa.Array":
    import pyarrow as pa

    if truth is None:
        return pa.nulls(size, pa.string())
    return pa.array([truth.segments[code] for code in truth.segment], pa.string())


def _true_effects(truth: Truth | None, published: PublishedUplift, size: int) -> "pa.Array":
    import pyarrow as pa

    if truth is None:
        return pa.nulls(size, pa.float64())
    effects = [published.models.effects.get(name) for name in truth.segments]
    return pa.array([effects[code] for code in truth.segment], pa.float64())
