"""`python -m ml.score`: between trainings, score only the rows that have no prediction yet."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from ml.conversion.predictions import Predictions, predict
from ml.conversion.reasons import reasons_of
from ml.data.features import MART, check_columns, read_mart
from ml.data.rows import Dataset, build_dataset
from ml.data.values import check_values
from ml.publish.artifacts import SavedModel, check_features, check_files, load_model
from ml.publish.predictions import prediction_rows
from ml.publish.tables import entries_of
from ml.run import Stamp
from warehouse.base import Publication, Warehouse
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = (
    "Score the rows of session_features that conversion_predictions does not have yet, with the champion that the last "
    "`python -m ml.train` saved. Refuses a model whose files or features are not those of that training."
)
PREDICTIONS = "conversion_predictions"
LAST_RUN_SQL = """
select run_id, model_version, champion_file, model_sha256, calibrator_sha256, features_sha256, is_synthetic
from funnelift.ml_runs
order by finished_at desc, run_id desc
limit 1
"""
SUMMARY_SQL = "select is_synthetic from funnelift.dataset_summary"
VERSIONS_SQL = "select distinct model_version from funnelift.conversion_predictions"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code: 0 when all rows have a prediction.
    """
    return run(parse_arguments("ml.score", DESCRIPTION, arguments), score)


def score(config: Config, progress: Progress) -> list[str]:
    """Check the saved champion, score the new rows and add them to the predictions.

    Parameters
    ----------
    config : Config
        Settings.
    progress : Progress
        Shows the steps.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    FunneliftError
        When no model was trained, or the saved one is not what the warehouse recorded; nothing is written then.
    """
    contracts = read_contracts(config.manifest)
    mart, contract = read_mart(contracts), contracts[PREDICTIONS]
    folder = config.results / "models"
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        check_columns(mart, warehouse.columns(MART))
        saved = last_model(warehouse)
        check_files(folder, saved)
        check_features(folder, mart)
        with progress.step("reading the rows without a prediction"):
            row_count, batches = warehouse.read(MART, mart.columns, not_in=(PREDICTIONS, contract.grain))
            if not row_count:
                return [f"Nothing to score: every row of {MART} has a prediction by {saved.model_version}."]
            data = build_dataset(batches, row_count, mart)
        with progress.step("gate: nulls and ranges"):
            check_values(data, mart, config)
        with progress.step(f"scoring and explaining {row_count:,} rows"):
            champion = load_model(folder, mart, config.threads)
            reasons = reasons_of(champion.model, data.inputs, config.threads)
            predictions = predict(champion, data, _split(data), np.arange(row_count), reasons)
        with progress.step("publishing"):
            stamp = Stamp(saved.run_id, saved.model_version, datetime.now(UTC), is_synthetic=saved.is_synthetic)
            rows = prediction_rows(predictions, stamp, contract)
            warehouse.publish([Publication(contract, rows, append=True)])
    return _findings(predictions, stamp)


def last_model(warehouse: Warehouse) -> SavedModel:
    """Return what the newest run saved, once it is sure that the predictions come from it.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    SavedModel
        Run, model version, file name and hashes.

    Raises
    ------
    FunneliftError
        When nothing was trained on these data.
    """
    runs = warehouse.query(LAST_RUN_SQL) if warehouse.columns("ml_runs") and warehouse.columns(PREDICTIONS) else []
    if not runs:
        raise FunneliftError("no trained model in this warehouse: run `python -m ml.train` first")
    (saved,) = entries_of(SavedModel, runs)
    versions = [row["model_version"] for row in warehouse.query(VERSIONS_SQL)]
    if versions != [saved.model_version]:
        raise FunneliftError(
            f"conversion_predictions holds model versions {versions}, ml_runs says {saved.model_version}: "
            "run `python -m ml.train` to write both anew"
        )
    synthetic_now = bool(warehouse.query(SUMMARY_SQL)[0]["is_synthetic"])
    if synthetic_now != saved.is_synthetic:
        kinds = {True: "synthetic", False: "real"}
        raise FunneliftError(
            f"the model was trained on {kinds[saved.is_synthetic]} data, the warehouse now holds "
            f"{kinds[synthetic_now]} data: run `python -m ml.train`"
        )
    return saved


def _split(data: Dataset) -> "pd.Categorical":
    """New rows are of sessions that have closed since the training; rows of sessions still open are only scored."""
    import pandas as pd

    return pd.Categorical.from_codes(data.is_mature, pd.Index(("open", "new"), dtype=object))


def _findings(predictions: Predictions, stamp: Stamp) -> list[str]:
    made_up = "SYNTHETIC data: " if stamp.is_synthetic else ""
    open_rows = int((predictions.data.is_mature == 0).sum())
    return [
        f"{made_up}{len(predictions.data):,} rows scored by {stamp.model_version}, {open_rows:,} of them in sessions "
        "still open.",
        f"Mean probability of a conversion {predictions.probability.mean():.4%}.",
        "They are in funnelift.conversion_predictions, dataset_split 'new' or 'open'.",
    ]


if __name__ == "__main__":
    sys.exit(main())
