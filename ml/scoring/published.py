"""The models that are published: found by the registry and the predictions, and checked before they score."""

import json
from pathlib import Path
from typing import Any

from ml.config import Config
from ml.data.features import PREDICTIONS, SCORES, Mart
from ml.files import model_folder
from ml.publish.artifacts import SavedModel, check_features, check_files
from ml.publish.offer_model import SCORER_FILE, load_scorer
from ml.publish.registry import RUNS, UPLIFT_RUNS, names_run, published_run
from ml.publish.tables import entries_of
from ml.publish.uplift_model import UPLIFT_FEATURES_FILE, load_uplift
from ml.scoring.uplift import PublishedUplift
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError

PLAUSIBLE_SQL = "select first_plausible_ms from funnelift.dataset_summary"
SUMMARY_SQL = "select is_synthetic from funnelift.dataset_summary"


def published_model(warehouse: Warehouse) -> SavedModel:
    """Return what the published run saved, once it is sure that the predictions come from it.

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
    run = published_run(warehouse, RUNS)
    if run is None:
        raise FunneliftError("no trained model in this warehouse: run `python -m ml.train` first")
    (saved,) = entries_of(SavedModel, [run])
    if not names_run(warehouse, PREDICTIONS, saved.run_id):
        raise FunneliftError(
            f"{PREDICTIONS} is empty or not of run {saved.run_id}, which ml_runs calls published: "
            "run `python -m ml.train` to write both anew"
        )
    check_kind(warehouse, is_synthetic=saved.is_synthetic)
    return saved


def check_kind(warehouse: Warehouse, *, is_synthetic: bool) -> None:
    """Refuse a model of made-up visitors on a warehouse of real ones, and the reverse.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    is_synthetic : bool
        Whether the model learnt from synthetic data.

    Raises
    ------
    FunneliftError
        When the warehouse now holds the other kind.
    """
    synthetic_now = bool(warehouse.query(SUMMARY_SQL)[0]["is_synthetic"])
    if synthetic_now != is_synthetic:
        kinds = {True: "synthetic", False: "real"}
        raise FunneliftError(
            f"the model was trained on {kinds[is_synthetic]} data, the warehouse now holds {kinds[synthetic_now]} "
            "data: run `python -m ml.train`"
        )


def plausible_from_ms(warehouse: Warehouse) -> int:
    """Return the first plausible time, epoch milliseconds: rows before it are of a wrong clock.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    int
        As the last build found it.
    """
    return int(warehouse.query(PLAUSIBLE_SQL)[0]["first_plausible_ms"])


def checked_uplift_run(warehouse: Warehouse, results: Path, mart: Mart) -> dict[str, Any] | None:
    """Return the published uplift run, once the files and features of its models are checked.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    results : Path
        Folder of all results.
    mart : Mart
        Features.

    Returns
    -------
    dict or None
        Its row of `uplift_runs`; None where uplift was never trained.

    Raises
    ------
    FunneliftError
        When the models are not those that the run recorded, or the mart's features are others.
    """
    run = published_run(warehouse, UPLIFT_RUNS)
    if run is not None:
        if not names_run(warehouse, SCORES, run["run_id"]):
            raise FunneliftError(
                f"{SCORES} is empty or not of run {run['run_id']}, which uplift_runs calls published: "
                "run `python -m ml.train --only uplift`"
            )
        check_kind(warehouse, is_synthetic=bool(run["is_synthetic"]))
        folder = model_folder(results, run["model_run_id"])
        check_files(folder, json.loads(run["files_json"]), run["model_run_id"])
        check_features(folder / UPLIFT_FEATURES_FILE, mart)
    return run


def published_uplift(run: dict[str, Any], config: Config, mart: Mart) -> PublishedUplift:
    """Load the published uplift models.

    Parameters
    ----------
    run : dict
        What `checked_uplift_run` returned.
    config : Config
        Settings.
    mart : Mart
        Features.

    Returns
    -------
    PublishedUplift
        Ready to score.
    """
    return uplift_in(model_folder(config.results, run["model_run_id"]), run, mart, config.threads)


def uplift_in(folder: Path, run: dict[str, Any], mart: Mart, threads: int) -> PublishedUplift:
    """Load uplift models from a folder.

    Parameters
    ----------
    folder : Path
        Where the files are.
    run : dict
        The row of `uplift_runs` that names them.
    mart : Mart
        Features.
    threads : int
        Threads to use.

    Returns
    -------
    PublishedUplift
        Ready to score.
    """
    if SCORER_FILE in json.loads(run["files_json"]):
        return PublishedUplift.of(run, load_scorer(folder, threads))
    return PublishedUplift.of(run, load_uplift(folder, mart, threads))
