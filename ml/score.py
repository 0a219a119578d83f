"""`python -m ml.score`: between trainings, score only the rows that have no prediction yet."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ml.cli import Progress, parse_arguments, run
from ml.config import Config, FunneliftError
from ml.explain import reasons_of
from ml.features import MART, Mart, build_dataset, check_columns, read_mart
from ml.publish import (
    CALIBRATOR_FILE,
    FEATURES_FILE,
    KEYS,
    Stamp,
    features_signature,
    load_model,
    prediction_rows,
    publication,
    sha256_of,
)
from ml.validate import check_values
from ml.warehouse import Warehouse, open_warehouse

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
    mart = read_mart(config.manifest)
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        check_columns(mart, warehouse.columns(MART))
        last = last_run(warehouse)
        folder = config.results / "models"
        check_files(folder, last)
        check_features(folder, mart)
        with progress.step("reading the rows without a prediction"):
            row_count, batches = warehouse.read(MART, mart.columns, not_in=(PREDICTIONS, KEYS[PREDICTIONS]))
            if not row_count:
                return [f"Nothing to score: every row of {MART} has a prediction by {last['model_version']}."]
            data = build_dataset(batches, row_count, mart)
        with progress.step("gate: nulls and ranges"):
            check_values(data, mart, config)
        with progress.step(f"scoring and explaining {row_count:,} rows"):
            champion, thresholds = load_model(folder, mart, config.threads)
            probability = champion.probability(data.inputs)
            rows = np.arange(len(data))
            reasons = reasons_of(champion.model, data, mart, rows, config.threads)
        with progress.step("publishing"):
            stamp = Stamp(last["run_id"], last["model_version"], datetime.now(UTC))
            predictions = prediction_rows(
                data, probability, thresholds, data.is_mature, ("open", "new"), rows, reasons, stamp
            )
            warehouse.publish([publication(PREDICTIONS, predictions, append=True)])
    made_up = "SYNTHETIC data: " if last["is_synthetic"] else ""
    open_rows = int((data.is_mature == 0).sum())
    return [
        f"{made_up}{row_count:,} rows scored by {last['model_version']}, {open_rows:,} of them in sessions still open.",
        f"Mean probability of a conversion {probability.mean():.4%}.",
        "They are in funnelift.conversion_predictions, dataset_split 'new' or 'open'.",
    ]


def last_run(warehouse: Warehouse) -> dict[str, Any]:
    """Return the newest row of `ml_runs`, made sure that it is the run that the predictions come from.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    dict
        Run, model version, file name and hashes.

    Raises
    ------
    FunneliftError
        When nothing was trained on these data.
    """
    runs = warehouse.query(LAST_RUN_SQL) if warehouse.columns("ml_runs") and warehouse.columns(PREDICTIONS) else []
    if not runs:
        raise FunneliftError("no trained model in this warehouse: run `python -m ml.train` first")
    last = runs[0]
    versions = [row["model_version"] for row in warehouse.query(VERSIONS_SQL)]
    if versions != [last["model_version"]]:
        raise FunneliftError(
            f"conversion_predictions holds model versions {versions}, ml_runs says {last['model_version']}: "
            "run `python -m ml.train` to write both anew"
        )
    synthetic_now = bool(warehouse.query(SUMMARY_SQL)[0]["is_synthetic"])
    if synthetic_now != bool(last["is_synthetic"]):
        kinds = {True: "synthetic", False: "real"}
        raise FunneliftError(
            f"the model was trained on {kinds[bool(last['is_synthetic'])]} data, the warehouse now holds "
            f"{kinds[synthetic_now]} data: run `python -m ml.train`"
        )
    return last


def check_files(folder: Path, last: dict[str, Any]) -> None:
    """Refuse model files that are not, byte for byte, those that the training recorded.

    Parameters
    ----------
    folder : Path
        Where the model files are.
    last : dict
        The run's row of `ml_runs`.

    Raises
    ------
    FunneliftError
        When a file is missing or its hash differs.
    """
    recorded = {
        str(last["champion_file"]): last["model_sha256"],
        CALIBRATOR_FILE: last["calibrator_sha256"],
        FEATURES_FILE: last["features_sha256"],
    }
    for name, expected in recorded.items():
        path = folder / name
        if not path.is_file():
            raise FunneliftError(f"no {path}: point --results to the folder of run {last['run_id']}, or train again")
        found = sha256_of(path)
        if found != expected:
            raise FunneliftError(
                f"gate model hash failed: {path}: expected sha256 {expected} (run {last['run_id']}), found {found}. "
                "Restore the file, or run `python -m ml.train`"
            )


def check_features(folder: Path, mart: Mart) -> None:
    """Refuse a model whose features are not the mart's.

    Parameters
    ----------
    folder : Path
        Where the model files are.
    mart : Mart
        What the manifest says now.

    Raises
    ------
    FunneliftError
        When a name, kind, type or the order differs.
    """
    saved = json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"))["features"]
    current = features_signature(mart)
    if saved == current:
        return
    trained, now = ({feature["name"]: feature for feature in features} for features in (saved, current))
    differences = [
        *(f"{name} is gone" for name in trained.keys() - now.keys()),
        *(f"{name} is new" for name in now.keys() - trained.keys()),
        *(f"{name} changed" for name in trained.keys() & now.keys() if trained[name] != now[name]),
    ]
    raise FunneliftError(
        f"gate features failed: the model was trained on {len(saved)} features, the mart has {len(current)}: "
        f"{', '.join(sorted(differences)) or 'their order changed'}. Run `python -m ml.train`"
    )


if __name__ == "__main__":
    sys.exit(main())
