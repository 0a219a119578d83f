"""`python -m ml.score`: after a build, bring the predictions up to date by the models that are published."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from ml.data.build import Build, check_same_build, whole_build
from ml.data.elsewhere import check_values_elsewhere
from ml.data.features import MART, PREDICTIONS, SCORES, Mart, check_columns, read_mart
from ml.data.read import folder_for
from ml.data.rows import Dataset, build_dataset
from ml.data.values import check_values
from ml.experiment.revenue import read_revenue
from ml.files import model_folder
from ml.publish.artifacts import SavedModel, load_model
from ml.publish.registry import SCORE_RUNS, ScoreRun, next_number, score_runs, scored_up_to
from ml.publish.workers import model_files
from ml.run import Stamp
from ml.scoring.changes import Changes, changes_of
from ml.scoring.conversion import conversion_rows
from ml.scoring.published import checked_uplift_run, plausible_from_ms, published_model, published_uplift
from ml.scoring.uplift import PublishedUplift, uplift_rows
from ml.scoring.workers import BatchScorer
from warehouse.base import Among, Warehouse
from warehouse.contract import Contracts, read_contracts
from warehouse.open import open_warehouse
from warehouse.workers import Remade, Remaking, WarehouseWithWorkers

DESCRIPTION = (
    "After `dbt build`, score the rows of session_features that are new or that changed, with the models that are "
    "published, and remove the predictions of rows that are no more: conversion_predictions and uplift_scores. Refuses "
    "models whose files or features are not those of their training. Repeated, it changes nothing."
)
CHANGES = "visitor_changes"
FIRST_CHANGE_SQL = "select min(build_number) as build_number from funnelift.visitor_changes"
if TYPE_CHECKING:
    import pyarrow as pa

    Tables = dict[str, pa.Table]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code: 0 when the predictions are up to date.
    """
    return run(parse_arguments("ml.score", DESCRIPTION, arguments), score)


@dataclass(frozen=True)
class Scoring:
    """One scoring: settings, contracts, mart and build; the published models, and when they score."""

    config: Config
    contracts: Contracts
    mart: Mart
    build: Build
    champion: SavedModel
    uplift: PublishedUplift | None
    uplift_run: dict[str, Any] | None
    now: datetime

    @property
    def stamps(self) -> dict[str, Stamp]:
        """The stamp of each table's rows; uplift_scores has one where uplift was ever trained."""
        champion, uplift = self.champion, self.uplift
        found = {
            PREDICTIONS: Stamp(champion.run_id, champion.model_version, self.now, is_synthetic=champion.is_synthetic)
        }
        if uplift is not None:
            found[SCORES] = Stamp(
                uplift.run_id, uplift.model_version, self.now, uplift.is_synthetic, uplift.is_simulated
            )
        return found


def score(config: Config, progress: Progress) -> list[str]:
    """Score what the last build changed, and publish all of it in one go.

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
        When no model was trained, a saved one is not what the registry says, or the build is not whole; nothing is
        written then.
    """
    contracts = read_contracts(config.manifest)
    mart = read_mart(contracts)
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        build = whole_build(warehouse)
        check_columns(mart, warehouse.columns(MART))
        champion = published_model(warehouse)
        champion.check(model_folder(config.results, champion.run_id), mart)
        uplift_run = checked_uplift_run(warehouse, config.results, mart)
        up_to = scored_up_to(warehouse)
        tables = [PREDICTIONS, *([SCORES] if SCORES in up_to else [])]
        if all(up_to.get(table) == build.number for table in tables):
            return [f"Nothing to score: all predictions are up to build {build.number}."]
        uplift = None if uplift_run is None else published_uplift(uplift_run, config, mart)
        this = Scoring(config, contracts, mart, build, champion, uplift, uplift_run, datetime.now(UTC))
        changes: Sequence[Changes | Remade]
        if isinstance(warehouse, WarehouseWithWorkers) and not (uplift is not None and uplift.needs_revenue):
            changes = _remade(this, warehouse, progress)
        else:
            changes = _changes(this, warehouse, _since(warehouse, up_to, tables, build), progress)
        check_same_build(warehouse, build)
        with progress.step("publishing"):
            _publish(this, warehouse, changes)
    return _findings(this, changes)


def _since(warehouse: Warehouse, up_to: dict[str, int], tables: list[str], build: Build) -> int | None:
    """Return the build up to which all tables are; None where every row counts.

    That is so when a full build came since: of visitors that it no longer knows nothing else tells.
    """
    oldest = min(up_to.get(table, -1) for table in tables)
    if not 0 <= oldest < build.number:
        return None
    first = warehouse.query(FIRST_CHANGE_SQL)[0]["build_number"]
    return oldest if first is not None and first <= oldest else None


def _changes(this: Scoring, warehouse: Warehouse, since: int | None, progress: Progress) -> list[Changes]:
    among = None if since is None else Among(CHANGES, "visitor_id", "build_number", since)
    with progress.step("reading the rows of visitors that changed"):
        row_count, batches = warehouse.read(MART, this.mart.columns, among)
        folder = folder_for(row_count, this.config, this.config.results)
        data = build_dataset(batches, row_count, this.mart, folder=folder) if row_count else None
        plausible_from = plausible_from_ms(warehouse)
        old = {table: warehouse.table(this.contracts[table], among) for table in this.stamps}
        needs_revenue = this.uplift is not None and this.uplift.needs_revenue
        paid = read_revenue(warehouse, among) if needs_revenue else None
    new = {table: this.contracts[table].schema.empty_table() for table in this.stamps}
    if data is not None:
        with progress.step("gate: nulls and ranges"):
            check_values(data, this.mart, this.config)
        new = _scored(this, replace(data, plausible_from_ms=plausible_from), old, paid, progress)
    return [changes_of(this.contracts[table], old[table], rows) for table, rows in new.items()]


def _remade(this: Scoring, warehouse: WarehouseWithWorkers, progress: Progress) -> list[Remade]:
    """Let the engine's workers score every row; no row comes here."""
    config, mart, models = this.config, this.mart, this.config.results
    with progress.step("gate: nulls and ranges, by SQL"):
        check_values_elsewhere(warehouse, mart, config, models)
        plausible_from = plausible_from_ms(warehouse)
    champion, uplift, run = this.champion, this.uplift, this.uplift_run
    files = {PREDICTIONS: model_files(model_folder(models, champion.run_id), list(champion.hashes))}
    if run is not None:
        files[SCORES] = model_files(model_folder(models, run["model_run_id"]), list(json.loads(run["files_json"])))
    only = {SCORES: ("decision_point", uplift.decision_point)} if uplift is not None else {}
    made = []
    for table, stamp in this.stamps.items():
        contract = this.contracts[table]
        scorer = BatchScorer(
            mart, config, contract, stamp, plausible_from, files[table], run if table == SCORES else None
        )
        with progress.step(f"scoring on the workers: {table}"):
            made.append(warehouse.remake(Remaking(contract, MART, tuple(mart.columns), scorer, only.get(table))))
    return made


def _scored(
    this: Scoring, data: Dataset, old: "Tables", paid: "pa.Table | None", progress: Progress
) -> "Tables":  # fmt: skip
    threads = this.config.threads
    with progress.step(f"scoring and explaining {len(data):,} rows"):
        champion = load_model(model_folder(this.config.results, this.champion.run_id), this.mart, threads)
        rows = {
            PREDICTIONS: conversion_rows(
                data, champion, old[PREDICTIONS], this.stamps[PREDICTIONS], this.contracts[PREDICTIONS], threads=threads
            )
        }
        if this.uplift is not None:
            rows[SCORES] = uplift_rows(
                data, this.uplift, old[SCORES], this.stamps[SCORES], this.contracts[SCORES],
                mart=this.mart, config=this.config, paid=paid,
            )  # fmt: skip
    return rows


def _publish(this: Scoring, warehouse: Warehouse, changes: Sequence[Changes | Remade]) -> None:
    contract = this.contracts[SCORE_RUNS]
    number = next_number(warehouse, contract)
    entries = [
        (
            ScoreRun(
                number, change.contract.name, "score", this.build.number, change.added, change.changed, change.removed
            ),
            this.stamps[change.contract.name],
        )
        for change in changes
    ]
    tables = [change.publication for change in changes if change.publication is not None]
    warehouse.publish([*tables, score_runs(contract, entries)])


def _findings(this: Scoring, changes: Sequence[Changes | Remade]) -> list[str]:
    made_up = "SYNTHETIC data: " if this.champion.is_synthetic else ""
    lines = [
        f"{made_up}{change.contract.name}, by {this.stamps[change.contract.name].model_version}: {change.added:,} rows "
        f"added, {change.changed:,} changed, {change.removed:,} removed."
        for change in changes
    ]
    if this.uplift is None:
        lines.append("No uplift scores: no uplift model is published. Run `python -m ml.train`.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
