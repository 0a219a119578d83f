"""The published models, and what they say of rows: ml.score's own code."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.arrays import Floats
from ml.config import Config
from ml.data.features import PREDICTIONS, SCORES, Mart, read_mart
from ml.data.rows import Dataset, build_dataset
from ml.files import model_folder
from ml.parts.mart_offers import costs_of
from ml.policy.offer_scores import OfferScorer, Said
from ml.publish.artifacts import SavedModel, load_model
from ml.run import Stamp
from ml.scoring.conversion import conversion_rows
from ml.scoring.published import checked_uplift_run, published_model, published_uplift
from ml.scoring.uplift import PublishedUplift, uplift_rows
from warehouse.base import Warehouse
from warehouse.contract import Contracts, read_contracts
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ml.conversion.champion import Champion

KEY = ("session_id", "decision_point")
# What each offer costs, beside a row of uplift_scores.
COSTS = "costs"
Rows = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True)
class _HeardScorer(OfferScorer):
    """A scorer that keeps what it said last, so that its models need not be asked again for the offers' costs."""

    last: list[Said] = field(default_factory=list)

    def say(self, inputs: "pd.DataFrame", ties: Floats) -> Said:
        self.last[:] = [super().say(inputs, ties)]
        return self.last[0]


@dataclass(frozen=True)
class Models:
    """The models that are published now, loaded; each is None where there is none, and `missing` says why."""

    config: Config
    contracts: Contracts
    mart: Mart
    saved: SavedModel | None
    champion: "Champion | None"
    uplift: PublishedUplift | None
    missing: tuple[str, ...]
    _latest: "list[tuple[pa.Table, Dataset]]" = field(default_factory=list)

    @property
    def name(self) -> tuple[str | None, str | None]:
        """The versions of both."""
        return (
            self.saved.model_version if self.saved else None,
            f"{self.uplift.run_id} {self.uplift.model_version}" if self.uplift else None,
        )

    @property
    def is_synthetic(self) -> bool:
        """Whether the model learnt from made-up visitors."""
        return self.saved is not None and self.saved.is_synthetic

    @property
    def decision_point(self) -> str:
        """Where something may be shown: where uplift was learnt, else where the next experiment is."""
        return self.uplift.decision_point if self.uplift else self.config.experiment.decision_point

    def predictions(self, rows: "pa.Table") -> Rows:
        """Score rows of session_features by the champion.

        Parameters
        ----------
        rows : pyarrow.Table
            The rows, at any decision points.

        Returns
        -------
        dict
            Rows of conversion_predictions by session and decision point; none without a model.
        """
        if not rows.num_rows or self.champion is None or self.saved is None:
            return {}
        stamp = Stamp(
            self.saved.run_id, self.saved.model_version, datetime.now(UTC), is_synthetic=self.saved.is_synthetic
        )
        contract = self.contracts[PREDICTIONS]
        empty = contract.schema.empty_table()
        return _by_key(conversion_rows(self._dataset(rows), self.champion, empty, stamp, contract, threads=1))

    def scores(self, rows: "pa.Table") -> Rows:
        """Score rows of session_features by the uplift model.

        Parameters
        ----------
        rows : pyarrow.Table
            The rows, at any decision points.

        Returns
        -------
        dict
            Rows of uplift_scores, of those at the decision point of uplift, and what each offer costs there where
            models of offers say it; none without a model.
        """
        uplift = self.uplift
        if uplift is None or self.decision_point not in rows["decision_point"].unique().to_pylist():
            return {}
        stamp = Stamp(uplift.run_id, uplift.model_version, datetime.now(UTC), uplift.is_synthetic, uplift.is_simulated)
        contract = self.contracts[SCORES]
        empty = contract.schema.empty_table()
        data = self._dataset(rows)
        found = _by_key(uplift_rows(data, uplift, empty, stamp, contract, mart=self.mart, config=self.config))
        if self._scorer is not None:
            for row, own in zip(found.values(), self._scorer.last.pop().paid.tolist(), strict=True):
                row[COSTS] = own
        return found

    def _dataset(self, rows: "pa.Table") -> Dataset:
        """Both models score the same rows, one after the other."""
        if not self._latest or self._latest[0][0] is not rows:
            columns = rows.select(list(self.mart.columns)).combine_chunks()
            self._latest[:] = [(rows, build_dataset(columns.to_batches(), columns.num_rows, self.mart))]
        return self._latest[0][1]

    @property
    def offers(self) -> tuple[str | None, ...]:
        """The offers' names; None where a single offer has none."""
        return tuple((self.uplift or self.config).experiment.treated) or (None,)

    def costs(self, score: Mapping[str, Any] | None) -> dict[str | None, float]:
        """What each offer costs: its price, and what is paid when it is redeemed times the chance of that.

        Parameters
        ----------
        score : mapping or None
            What `scores` says of the row; without it, all who get an offer are taken to redeem it.

        Returns
        -------
        dict
            Cost by offer.
        """
        if score is not None and COSTS in score:
            paid = score[COSTS]
        elif self._scorer is None and len(self.offers) == 1:
            policy, chance = (self.uplift or self.config).policy, (score or {}).get("p_treatment")
            paid = [policy.cost * (1.0 if policy.cost_per == "contact" or chance is None else chance)]
        else:
            costs = self._scorer.costs if self._scorer else costs_of([name or "" for name in self.offers], self.config)
            paid = costs.paid(np.ones((1, len(self.offers))), np.zeros((1, len(self.offers))))[0].tolist()
        return dict(zip(self.offers, paid, strict=True))

    @property
    def _scorer(self) -> "_HeardScorer | None":
        models = self.uplift.models if self.uplift else None
        return models if isinstance(models, _HeardScorer) else None


def load_models(config: Config, warehouse: Warehouse) -> Models:
    """Load what is published, its files checked by their hashes.

    Parameters
    ----------
    config : Config
        Settings.
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    Models
        Without the models that are missing or cannot score.
    """
    contracts = read_contracts(config.manifest)
    mart, missing = read_mart(contracts), []
    saved, champion, uplift = None, None, None
    try:
        saved = published_model(warehouse)
        folder = model_folder(config.results, saved.run_id)
        saved.check(folder, mart)
        champion = load_model(folder, mart, threads=1)
    except FunneliftError as error:
        saved, champion = None, None
        missing.append(f"no model: {error}")
    try:
        run = checked_uplift_run(warehouse, config.results, mart)
        uplift = None if run is None else published_uplift(run, config, mart)
        if uplift is not None and isinstance(uplift.models, OfferScorer):
            uplift = replace(uplift, models=_HeardScorer(**vars(uplift.models)))
    except FunneliftError as error:
        missing.append(f"no uplift model: {error}")
    if uplift is None and not any(text.startswith("no uplift model") for text in missing):
        missing.append("no uplift model: none is published")
    return Models(config, contracts, mart, saved, champion, uplift, tuple(missing))


def _by_key(rows: "pa.Table") -> Rows:
    return {(row[KEY[0]], row[KEY[1]]): row for row in rows.to_pylist()}
