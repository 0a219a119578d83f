"""Whom would an intervention change? The part of a run that finds the experiment, fits, scores and evaluates."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.config import Config
from ml.data.checked import Checked
from ml.data.features import IDENTITY, SCORES
from ml.data.split import MODEL_SPLITS
from ml.experiment.experiment import Experiment, check_size
from ml.experiment.mart import MartExperiment, average_on_mart, from_mart, rows_at
from ml.policy.groups import UpliftGroup
from ml.policy.offer_scores import without_offers
from ml.policy.scored import with_quadrants
from ml.policy.whom import Whom, whom_to_treat
from ml.publish.registry import PUBLISHED, UPLIFT_RUNS, names_run, next_number, published_run
from ml.publish.runs import UpliftRun
from ml.publish.tables import entries_of
from ml.publish.uplift_model import save_uplift, uplift_version
from ml.reports.average import as_designed
from ml.run import Run, git_commit, package_versions
from ml.uplift.choice import UpliftCandidate
from ml.uplift.deciles import UpliftDecile
from ml.uplift.evaluate import Evaluation, evaluate
from ml.uplift.learners import fit_learners
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import PLACEBO
from ml.uplift.profile import UpliftFeature
from ml.uplift.scores import score_rows, score_table
from ml.uplift.truth import TrueError
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DAY_MS = 86_400_000
STAMP = ("is_simulated", "run_id", "model_version", "scored_at")
METRICS_SQL = "select * from funnelift.uplift_metrics"
DECILES_SQL = "select * from funnelift.uplift_deciles"
CANDIDATES_SQL = "select * from funnelift.uplift_candidates"
GROUPS_SQL = "select * from funnelift.uplift_groups order by group_number"
PROFILE_SQL = "select * from funnelift.uplift_profile order by difference_rank"


@dataclass(frozen=True)
class Uplift:
    """What the uplift part hands to the policy part, in memory or by way of the warehouse.

    `has_rule` says whether the rows have been told already who is treated.
    """

    rows: "pa.Table"
    record: UpliftRun
    evaluation: Evaluation
    whom: Whom
    model_version: str
    has_rule: bool = False


def train_uplift(run: Run, checked: Checked, warehouse: Warehouse) -> Uplift:
    """Find or simulate the experiment, learn whom it changes, and evaluate that on the test split.

    Parameters
    ----------
    run : Run
        The run; its folder takes the models.
    checked : Checked
        Rows that passed the gates.
    warehouse : Warehouse
        Where assignments are read.

    Returns
    -------
    Uplift
        Scores of every row at the decision point, and how good they are.

    Raises
    ------
    FunneliftError
        When arms are broken or there is too little to learn from.
    """
    config = run.config
    with run.progress.step("the experiment: arms, splits, sample ratio, balance"):
        found = from_mart(checked.data, checked.mart, warehouse, config.experiment)
        experiment = found.experiment
        check_size(experiment, config.uplift.folds)
    fits = fit_learners(experiment, checked.mart, config, run.progress)
    with run.progress.step("scoring every row of the experiment"):
        scores = score_rows(experiment, fits, config.seed)
    with run.progress.step("evaluating all learners on the test split"):
        bootstrap = config.bootstrap(config.uplift.bootstrap_resamples)
        evaluation = evaluate(experiment, scores, fits, config.uplift.top_shares, bootstrap)
        evaluation = as_designed(evaluation, average_on_mart(found.designed or experiment, config))
    identity = checked.data.identity.take(found.rows).select(list(IDENTITY))
    hashes = save_uplift(run.models, fits, checked.mart, experiment, scores, names=identity.column("session_id"))
    record = replace(
        record_of(
            run,
            checked,
            found,
            baseline_rate=fits.t_learner.baseline_rate,
            shrinkage=fits.scale.shrinkage,
            truth=evaluation.truth,
        ),
        run_number=next_number(warehouse, run.contracts[UPLIFT_RUNS]),
        files_json=json.dumps(hashes),
    )
    own_value = own_values(experiment.inputs, config.policy.value_column)
    with run.progress.step("whom, in words: groups, and the top tenth"):
        value = None if own_value is None else own_value.to_numpy(zero_copy_only=False)
        whom = whom_to_treat(experiment, fits, scores, checked.mart, config, value=value)
    rows = without_offers(score_table(identity, experiment, scores, own_value))
    rows = with_quadrants(rows, record.baseline_rate, config)
    return Uplift(rows, record, evaluation, whom, uplift_version(fits.chosen, hashes))


def read_uplift(run: Run, warehouse: Warehouse) -> Uplift:
    """Read back what the last uplift run published, for a policy run with other costs.

    Parameters
    ----------
    run : Run
        The run.
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    Uplift
        As `train_uplift` returned it then, with quadrants for today's costs.

    Raises
    ------
    FunneliftError
        When there is none, or it was made with another value column or other data.
    """
    needed = ("uplift_runs", "uplift_scores", "uplift_metrics", "uplift_deciles", "uplift_candidates", "uplift_groups",
              "uplift_profile")  # fmt: skip
    missing = [name for name in needed if not warehouse.columns(name)]
    if missing:
        raise FunneliftError(
            f"no table funnelift.{missing[0]} in the warehouse: run `python -m ml.train` or `--only uplift` first"
        )
    with run.progress.step("reading the scores of the last uplift run"):
        rows, version = _read_scores(run, warehouse)
        record = _read_record(warehouse, run.config.policy.value_column)
        metrics = entries_of(UpliftMetric, warehouse.query(METRICS_SQL))
        evaluation = Evaluation(
            metrics=[entry for entry in metrics if entry.learner != PLACEBO],
            deciles=entries_of(UpliftDecile, warehouse.query(DECILES_SQL)),
            placebo=next((entry for entry in metrics if entry.learner == PLACEBO), None),
            truth=None
            if record.pehe is None or record.pehe_constant is None
            else TrueError(record.pehe, record.pehe_constant),
            curves={},
            comparison=entries_of(UpliftCandidate, warehouse.query(CANDIDATES_SQL)),
        )
        rows = with_quadrants(rows, record.baseline_rate, run.config)
        number = next_number(warehouse, run.contracts[UPLIFT_RUNS])
        whom = Whom(
            entries_of(UpliftGroup, warehouse.query(GROUPS_SQL)),
            None,
            entries_of(UpliftFeature, warehouse.query(PROFILE_SQL)),
        ).at_costs(run.config.policy)
        return Uplift(rows, replace(record, part="policy", run_number=number), evaluation, whom, version)


def _read_scores(run: Run, warehouse: Warehouse) -> "tuple[pa.Table, str]":
    """Return the rows of `uplift_scores` without their stamp, and the model version that all of them have."""
    import pyarrow as pa

    row_count, batches = warehouse.read(SCORES, warehouse.columns(SCORES))
    if not row_count:
        raise FunneliftError("funnelift.uplift_scores is empty: run `python -m ml.train` or `--only uplift` first")
    rows = run.contracts[SCORES].cast(pa.Table.from_batches(list(batches)))
    versions = rows.column("model_version").unique().to_pylist()
    if len(versions) > 1:
        raise FunneliftError(
            f"uplift_scores holds model versions {sorted(versions)}: run `python -m ml.train --only uplift`"
        )
    if rows.column("gain").null_count < len(rows):
        raise FunneliftError(
            "uplift_scores are of a run that learnt gains in money, which other prices change: run `python -m ml.train "
            "--only uplift` first"
        )
    order = pa.compute.sort_indices(rows, [("decided_at", "ascending"), ("session_id", "ascending")])
    return rows.take(order).drop_columns(list(STAMP)), versions[0]


def _read_record(warehouse: Warehouse, value_column: str | None) -> UpliftRun:
    last = published_run(warehouse, UPLIFT_RUNS)
    if last is None or not names_run(warehouse, SCORES, last["run_id"]):
        raise FunneliftError(
            "uplift_scores is not of the run that uplift_runs calls published: run `python -m ml.train --only uplift`"
        )
    record = entries_of(UpliftRun, [last])[0]
    then = json.loads(record.config_json)["policy"]["value_column"]
    if then != value_column:
        raise FunneliftError(
            f"policy.value_column is {value_column!r} and was {then!r} when rows were scored: "
            "run `python -m ml.train --only uplift` first"
        )
    return record


def check_settings(checked: Checked, config: Config) -> None:
    """Refuse settings of uplift and money that name what the mart does not have, before anything is fitted.

    Parameters
    ----------
    checked : Checked
        All rows.
    config : Config
        Settings.

    Raises
    ------
    FunneliftError
        When the decision point of the experiment or the value column is unknown.
    """
    rows_at(checked.data, config.experiment.decision_point)
    name = config.policy.value_column
    if name is not None and name not in checked.mart.numeric:
        raise FunneliftError(
            f"policy.value_column {name!r} is no numeric feature of the mart; such are: "
            f"{', '.join(checked.mart.numeric)}"
        )


def own_values(inputs: "pd.DataFrame", name: str | None) -> "pa.Array | None":
    """Return what a conversion of each row is worth.

    Parameters
    ----------
    inputs : DataFrame
        Features.
    name : str, optional
        Feature that says so; without it all conversions are worth the same.

    Returns
    -------
    pyarrow.Array or None
        One value per row, null where the feature is not above 0.
    """
    import pyarrow as pa

    if name is None:
        return None
    values = inputs[name].to_numpy().astype(np.float64)
    return pa.array(values, mask=~(values > 0))


def record_of(
    run: Run, checked: Checked, found: MartExperiment, *, baseline_rate: float, shrinkage: float,
    truth: TrueError | None,
) -> UpliftRun:  # fmt: skip
    """Put a run's row for `uplift_runs` together, without number and files.

    Parameters
    ----------
    run : Run
        Settings and start.
    checked : Checked
        All rows.
    found : MartExperiment
        The experiment.
    baseline_rate : float
        Conversion rate of the training split's control arm.
    shrinkage : float
        What is left of the differences between rows that were found.
    truth : TrueError, optional
        How far off the effects are, where a simulation knows.

    Returns
    -------
    UpliftRun
        The row.
    """
    experiment, randomisation = found.experiment, found.randomisation
    worst = randomisation.balances[0] if randomisation.balances else None
    implausible = {"rows of an implausible time": len(experiment.rows("implausible"))}
    left_out = [f"{count:,} {reason} left out" for reason, count in (found.left_out | implausible).items() if count]
    now = run.started.replace(tzinfo=None)
    counts: dict[str, Any] = {f"{name}_row_count": len(experiment.rows(name)) for name in MODEL_SPLITS}
    return UpliftRun(
        run_number=0,
        status=PUBLISHED,
        model_run_id=run.run_id,
        files_json="",
        part="uplift",
        target=run.config.target,
        started_at=now,
        finished_at=now,
        seed=run.config.seed,
        source=found.source,
        decision_point=run.config.experiment.decision_point,
        is_simulated=experiment.is_simulated,
        is_synthetic=checked.summary.is_synthetic,
        data_sha256=checked.data.fingerprint(found.rows),
        row_count=len(experiment),
        visitors_treatment=randomisation.visitors_treatment,
        visitors_control=randomisation.visitors_control,
        sample_ratio_p=randomisation.ratio_p,
        balance_covariate=worst.covariate if worst else None,
        balance_smd=worst.smd if worst else None,
        balance_p=randomisation.worst_p if worst else None,
        **counts,
        **_traffic(checked.data.decided_ms[found.rows], experiment),
        baseline_rate=baseline_rate,
        effect_shrinkage=shrinkage,
        pehe=truth.pehe if truth else None,
        pehe_constant=truth.pehe_constant if truth else None,
        chosen_share_percent=None,
        break_even_share_percent=None,
        break_even_cost=None,
        warnings_json=json.dumps([*randomisation.warnings, *left_out]),
        config_json="",
        package_versions_json=json.dumps(package_versions()),
        git_commit=git_commit(),
    )


def _traffic(decided_ms: npt.NDArray[np.int64], experiment: Experiment) -> dict[str, Any]:
    """When the test split begins and ends, and the sessions per day in that time."""
    test = decided_ms[experiment.rows("test")]
    first, last = int(test.min()), int(test.max())
    in_test = (decided_ms >= first) & (decided_ms <= last)
    return {
        "test_first_at": datetime.fromtimestamp(first / 1000, UTC).replace(tzinfo=None),
        "test_last_at": datetime.fromtimestamp(last / 1000, UTC).replace(tzinfo=None),
        # A split of less than a day says nothing of a day's traffic but its own.
        "sessions_per_day": float(in_test.sum()) / max(1.0, (last - first) / DAY_MS),
    }
