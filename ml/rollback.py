"""`python -m ml.rollback RUN`: publish the champion of an earlier run again."""

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from ml.conversion.predictions import explained_predictions
from ml.data.build import Build, check_same_build, whole_build
from ml.data.elsewhere import check_values_elsewhere, split_rule
from ml.data.features import MART, PREDICTIONS, Mart, check_columns, read_mart
from ml.data.read import read_rows
from ml.data.rows import Dataset
from ml.data.split import NEW, Bounds, split_at
from ml.data.values import check_values
from ml.files import model_folder
from ml.publish.artifacts import SavedModel, load_model
from ml.publish.files import staged_files
from ml.publish.predictions import prediction_rows, write_predictions
from ml.publish.registry import (
    PUBLISHED,
    RUNS,
    SCORE_RUNS,
    ScoreRun,
    is_registered,
    next_number,
    runs_by_age,
    score_runs,
    succession,
)
from ml.publish.releases import put_in_place, read_tables
from ml.publish.tables import entries_of
from ml.publish.workers import SplitScorer, model_files
from ml.report.page import refresh_report
from ml.run import Run, Stamp, run_name
from ml.scoring.published import check_kind, plausible_from_ms
from warehouse.base import Publication, Warehouse
from warehouse.contract import Contracts, read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse
from warehouse.workers import Handed, WarehouseWithWorkers

DESCRIPTION = (
    "Publish the champion of an earlier run again: check its files and features, score every row with it and put its "
    "metrics, figures and model card in place, all in one go. Without RUN, list the runs that one can go back to. "
    "Uplift scores stay as they are."
)
# What speaks of the champion beside its predictions.
TABLES = ("shap_summary", "model_metrics", "calibration_curve")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code: 0 when the run is published.
    """
    options = parse_arguments("ml.rollback", DESCRIPTION, arguments, _add_options)
    command = list_runs if options.run is None else partial(rollback, run_id=options.run)
    return run(options, command)


def list_runs(config: Config, _: Progress) -> list[str]:
    """List the runs whose models are kept.

    Parameters
    ----------
    config : Config
        Settings.

    Returns
    -------
    list of str
        One line per run, the newest first.

    Raises
    ------
    FunneliftError
        When the warehouse cannot be opened.
    """
    with open_warehouse(config) as warehouse:
        runs = runs_by_age(warehouse, RUNS)
    kept = [found for found in runs if model_folder(config.results, found["run_id"]).is_dir()]
    if not kept:
        return [f"No run to go back to: {config.results} holds no models of a registered run."]
    return [
        f"{found['run_id']}  {found['status']:<9}  {found['model_version']:<22}  {found['status_reason']}"
        for found in kept
    ]


def rollback(config: Config, progress: Progress, run_id: str) -> list[str]:
    """Score every row with the champion of an earlier run and publish that.

    Parameters
    ----------
    config : Config
        Settings.
    progress : Progress
        Shows the steps.
    run_id : str
        The run.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    FunneliftError
        When the run is unknown, its files or features are not those of its training, or a gate fails; nothing is
        written then.
    """
    contracts = read_contracts(config.manifest)
    mart = read_mart(contracts)
    folder = model_folder(config.results, run_id)
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        build = whole_build(warehouse)
        check_columns(mart, warehouse.columns(MART))
        entry = _registered(warehouse, run_id)
        if entry["status"] == PUBLISHED:
            return [f"Nothing to do: run {run_id} is published."]
        (saved,) = entries_of(SavedModel, [entry])
        check_kind(warehouse, is_synthetic=saved.is_synthetic)
        saved.check(folder, mart)
        tables = read_tables(folder, [contracts[name] for name in TABLES], run_id)
        now = datetime.now(UTC)
        stamp = Stamp(run_id, saved.model_version, now, is_synthetic=saved.is_synthetic)
        with staged_files(config.results, run_name(now), partial(is_registered, warehouse)) as staging:
            this = Run(config, contracts, run_id, now, staging, progress)
            rows = _predictions(this, warehouse, mart, saved, stamp)
            number = rows.row_count
            with progress.step("writing files"):
                put_in_place(folder, staging)
                write_predictions(staging, rows, config.predictions_csv_max_rows)
            check_same_build(warehouse, build)
            with progress.step("publishing"):
                registry = _registry(warehouse, contracts, entry, now)
                warehouse.publish([rows, *tables, registry, _scored(warehouse, contracts, build, number, stamp)])
        told = f"Run {run_id} is published again: {number:,} rows scored by {saved.model_version}."
        return [told, "Uplift scores stay as they are.", *refresh_report(warehouse, config, progress)]


def _registered(warehouse: Warehouse, run_id: str) -> dict[str, Any]:
    runs = [found for found in runs_by_age(warehouse, RUNS) if found["run_id"] == run_id]
    if not runs:
        raise FunneliftError(f"ml_runs knows no run {run_id}: `python -m ml.rollback` lists those that it knows")
    return dict(runs[0])


def _predictions(this: Run, warehouse: Warehouse, mart: Mart, saved: SavedModel, stamp: Stamp) -> Publication:
    config, progress, contract = this.config, this.progress, this.contracts[PREDICTIONS]
    if isinstance(warehouse, WarehouseWithWorkers):
        return _made_elsewhere(this, warehouse, mart, saved, stamp)
    with progress.step("reading the feature mart"):
        data = read_rows(warehouse, mart, config, this.folder)
        data = replace(data, plausible_from_ms=plausible_from_ms(warehouse))
    with progress.step("gate: nulls and ranges"):
        check_values(data, mart, config)
    with progress.step(f"scoring and explaining {len(data):,} rows"):
        champion = load_model(model_folder(config.results, saved.run_id), mart, config.threads)
        predictions = explained_predictions(champion, data, _splits(data, saved), config.threads)
    return Publication(contract, prediction_rows(predictions, stamp, contract))


def _made_elsewhere(
    this: Run, warehouse: WarehouseWithWorkers, mart: Mart, saved: SavedModel, stamp: Stamp
) -> Publication:  # fmt: skip
    """Let the engine's workers score every row."""
    config, progress, contract = this.config, this.progress, this.contracts[PREDICTIONS]
    with progress.step("gate: nulls and ranges, by SQL"):
        check_values_elsewhere(warehouse, mart, config, this.folder)
    with progress.step("scoring and explaining every row, on the workers"):
        bounds = Bounds(**json.loads(saved.splits_json))
        rule = split_rule(warehouse, bounds, plausible_from_ms(warehouse))
        files = model_files(model_folder(config.results, saved.run_id), list(saved.hashes))
        scorer = SplitScorer(mart, contract, stamp, rule, files, last_ms=bounds.ends_ms)
        return warehouse.make(contract, Handed(MART, mart.columns, scorer))


def _splits(data: Dataset, saved: SavedModel) -> Any:
    """The splits of the run's own training; rows decided after its last one are new."""
    import pandas as pd

    bounds = Bounds(**json.loads(saved.splits_json))
    names = np.asarray(split_at(data, bounds).names).astype(object)
    names[(data.is_mature == 1) & (data.decided_ms > bounds.ends_ms)] = NEW
    return pd.Categorical(names)


def _registry(warehouse: Warehouse, contracts: Contracts, entry: dict[str, Any], now: datetime) -> Publication:
    import pyarrow as pa

    changed = {
        **entry, "status": PUBLISHED, "status_reason": "Brought back by ml.rollback.",
        "published_at": now.replace(tzinfo=None),
    }  # fmt: skip
    contract = contracts[RUNS]
    return succession(warehouse, contract, pa.Table.from_pylist([changed], schema=contract.schema))


def _scored(warehouse: Warehouse, contracts: Contracts, build: Build, rows: int, stamp: Stamp) -> Publication:
    contract = contracts[SCORE_RUNS]
    entry = ScoreRun(next_number(warehouse, contract), PREDICTIONS, "rollback", build.number, rows, 0, 0)
    return score_runs(contract, [(entry, stamp)])


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="run_id of the run; without it the runs are listed")


if __name__ == "__main__":
    sys.exit(main())
