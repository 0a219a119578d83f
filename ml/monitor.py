"""`python -m ml.monitor`: has the shop drifted from what the champion learnt, and are its probabilities still right?"""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from threadpoolctl import threadpool_limits

from ml.arrays import Rows
from ml.cli import Finished, Progress, parse_arguments, run
from ml.config import Config
from ml.data.build import check_same_build, whole_build
from ml.data.features import MART, PREDICTIONS, Mart, check_columns, read_mart
from ml.drift.entries import (
    ALARM,
    TOO_FEW,
    WINDOW,
    DriftBin,
    DriftCalibration,
    DriftRun,
    FeatureDrift,
    PerformanceDrift,
)
from ml.drift.performance import calibration, compare, measure
from ml.drift.periods import day_of, periods_of
from ml.drift.population import population_drift
from ml.drift.scored import Compared, Scored, read_compared
from ml.drift.verdict import Verdict, findings, verdict_of
from ml.publish.artifacts import SavedModel
from ml.publish.tables import publication
from ml.report.page import refresh_report
from ml.run import Stamp, run_name
from ml.scoring.published import published_model
from warehouse.base import Publication
from warehouse.contract import Contracts, read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

DESCRIPTION = (
    "Compare what was scored since the last training with the champion's own test split: features and probabilities "
    "(population stability index), and, on sessions that are over, ranking and calibration. Run it after "
    "`python -m ml.score`. Writes the tables drift_* and the report's page Model health."
)
LATEST_SQL = "select high_water_mark_ms from funnelift.dataset_summary"
EXIT_DRIFT, EXIT_TOO_FEW = 3, 4
EXIT_CODES = (
    f"Exit codes: 0 evaluated, no alarm; {EXIT_DRIFT} drift: at least one alarm; {EXIT_TOO_FEW} no alarm, and not "
    "enough rows or conversions to evaluate all of it; 1 refused, and nothing was written; 2 wrong usage."
)


@dataclass(frozen=True)
class Drift:
    """What one monitoring found."""

    features: list[FeatureDrift]
    bins: list[DriftBin]
    metrics: list[PerformanceDrift]
    curves: list[DriftCalibration]
    verdict: Verdict


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code, see `EXIT_CODES`.
    """
    return run(parse_arguments("ml.monitor", DESCRIPTION, arguments, exit_codes=EXIT_CODES), monitor)


def monitor(config: Config, progress: Progress) -> Finished:
    """Compare, conclude, publish, and write the report anew.

    Parameters
    ----------
    config : Config
        Settings.
    progress : Progress
        Shows the steps.

    Returns
    -------
    Finished
        What was found, and the exit code.

    Raises
    ------
    FunneliftError
        When no model was trained, the build is not whole or the tables do not fit together; nothing is written then.
    """
    started = datetime.now(UTC)
    contracts = read_contracts(config.manifest)
    mart = read_mart(contracts)
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        build = whole_build(warehouse)
        check_columns(mart, warehouse.columns(MART))
        champion = published_model(warehouse)
        with progress.step("reading the test rows and those scored since"):
            latest_ms = int(warehouse.query(LATEST_SQL)[0]["high_water_mark_ms"])
            compared = read_compared(warehouse, mart, contracts[PREDICTIONS].grain, config.monitoring, latest_ms)
        if not len(compared.reference):
            raise FunneliftError(
                f"{PREDICTIONS} holds no rows of the test split that {MART} still has: run `python -m ml.train`"
            )
        periods = periods_of(compared.current, config.monitoring)
        drift = find_drift(compared, periods, mart, config, progress)
        with progress.step("publishing tables"):
            stamp = Stamp(run_name(started), champion.model_version, datetime.now(UTC), champion.is_synthetic)
            check_same_build(warehouse, build)
            record = _record(compared, periods[WINDOW], drift, config, (champion, started))
            warehouse.publish(_publications(contracts, drift, record, stamp))
        return Finished(_lines(drift, record) + refresh_report(warehouse, config, progress), _code(drift.verdict))


def find_drift(compared: Compared, periods: dict[str, Rows], mart: Mart, config: Config, progress: Progress) -> Drift:
    """Compare both samples in every period.

    Population and performance share evenly how often a monitoring without a change may raise an alarm: 1 less the
    confidence of `evaluation.confidence`, in all.

    Parameters
    ----------
    compared : Compared
        Both samples.
    periods : dict of str to ndarray of int
        Period to positions of its rows in the current sample.
    mart : Mart
        Features.
    config : Config
        Settings.
    progress : Progress
        Shows the steps.

    Returns
    -------
    Drift
        Rows of the tables, and the verdict.
    """
    settings, false_alarms = config.monitoring, (1 - config.evaluation.confidence) / 2
    bootstrap = config.bootstrap(config.evaluation.bootstrap_resamples)
    reference, current, bins = compared.reference, compared.current, config.calibration.bins
    everything = np.arange(len(reference))
    with progress.step(f"population: {len(mart.features)} features, {len(current):,} rows"):
        found = list(population_drift(compared, periods, mart, settings, false_alarms))
    with progress.step("performance on outcomes that have become known"):
        before = measure(reference, everything, bins, bootstrap)
        metrics = [
            entry
            for period, rows in periods.items()
            for entry in compare(period, before, measure(current, rows, bins, bootstrap), settings, false_alarms)
        ]
    features = [entry for entry in found if isinstance(entry, FeatureDrift)]
    return Drift(
        features,
        [entry for entry in found if isinstance(entry, DriftBin)],
        metrics,
        [*calibration("test", reference, everything, bins), *calibration(WINDOW, current, periods[WINDOW], bins)],
        verdict_of(features, metrics),
    )


def _record(
    compared: Compared, window: Rows, drift: Drift, config: Config, run: tuple[SavedModel, datetime]
) -> DriftRun:
    champion, started = run
    known = compared.current.label[window]
    return DriftRun(
        champion_run_id=champion.run_id,
        started_at=started,
        is_synthetic=champion.is_synthetic,
        verdict=drift.verdict.status,
        population_status=drift.verdict.population,
        performance_status=drift.verdict.performance,
        alarm_count=len(drift.verdict.alarms),
        alarms_json=json.dumps(drift.verdict.alarms),
        window_first_date=_first(compared.current, window),
        window_last_date=_last(compared.current, window),
        reference_first_date=_first(compared.reference, np.arange(len(compared.reference))),
        reference_last_date=_last(compared.reference, np.arange(len(compared.reference))),
        n_reference_rows=len(compared.reference),
        n_scored_rows=len(compared.current),
        n_rows=len(window),
        n_matured_rows=int((known >= 0).sum()),
        n_positives=int((known == 1).sum()),
        n_left_out_rows=compared.left_out,
        psi_watch=config.monitoring.psi_watch,
        psi_alarm=config.monitoring.psi_alarm,
        confidence=config.evaluation.confidence,
        settings_json=config.monitoring.model_dump_json(),
    )


def _first(scored: Scored, rows: Rows) -> date | None:
    return day_of(int(scored.day[rows].min())) if len(rows) else None


def _last(scored: Scored, rows: Rows) -> date | None:
    return day_of(int(scored.day[rows].max())) if len(rows) else None


def _publications(contracts: Contracts, drift: Drift, record: DriftRun, stamp: Stamp) -> list[Publication]:
    return [
        publication(contracts["drift_features"], FeatureDrift, drift.features, stamp),
        publication(contracts["drift_bins"], DriftBin, drift.bins, stamp),
        publication(contracts["drift_performance"], PerformanceDrift, drift.metrics, stamp),
        publication(contracts["drift_calibration"], DriftCalibration, drift.curves, stamp),
        publication(contracts["drift_runs"], DriftRun, [record], stamp, append=True),
    ]


def _lines(drift: Drift, record: DriftRun) -> list[str]:
    made_up = "SYNTHETIC data: " if record.is_synthetic else ""
    since = f"{record.n_scored_rows:,} rows were scored since the training of run {record.champion_run_id}"
    late = f"; {record.n_left_out_rows:,} more are left out: decided before its test split, or by a wrong clock"
    last = {
        ALARM: f"Verdict: DRIFT, alarms: {record.alarm_count}. Look at what changed, then `python -m ml.train`.",
        TOO_FEW: "Verdict: NOT ENOUGH TO EVALUATE yet. What could be evaluated raised no alarm.",
    }.get(drift.verdict.status, "Verdict: no alarm.")
    looked_at = f" Looked at: {record.window_first_date} to {record.window_last_date}." if record.n_rows else ""
    return [
        f"{made_up}{since}{late if record.n_left_out_rows else ''}.{looked_at}",
        *findings(drift.verdict, drift.features, drift.metrics),
        last,
    ]


def _code(verdict: Verdict) -> int:
    return {ALARM: EXIT_DRIFT, TOO_FEW: EXIT_TOO_FEW}.get(verdict.status, 0)


if __name__ == "__main__":
    sys.exit(main())
