"""Whom would an intervention change, and what is it worth? The parts of a run that follow the experiment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.data.checked import Checked
from ml.data.features import IDENTITY
from ml.experiment.experiment import check_size
from ml.experiment.mart import MartExperiment, from_mart
from ml.files import sha256_of
from ml.parts.outcome import Outcome
from ml.policy.planner import Plan, SimulatedTest
from ml.policy.scored import with_quadrants
from ml.policy.valued import Valued, value
from ml.policy.values import Gain, Projection, Sensitivity
from ml.publish.artifacts import model_version
from ml.publish.files import write_csv
from ml.publish.runs import UpliftRun
from ml.publish.tables import entries_of, publication, stamped
from ml.reports.facts import FunnelFacts, UpliftFacts
from ml.reports.uplift_files import write_reports
from ml.run import Run, Stamp, git_commit, package_versions, settings_json
from ml.uplift.deciles import UpliftDecile
from ml.uplift.judge import Judged, judge
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import PLACEBO, T_LEARNER
from warehouse.base import Publication, Warehouse
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

DAY_MS = 86_400_000
FUNNEL_SQL = """
select step, next_step, entered, dropped_off, dropoff_rate, revenue_lost
from funnelift.funnel_dropoff
where breakdown = 'all'
order by dropoff_rate desc, step_number asc
"""
PERIOD_SQL = "select session_count, first_event_at, last_event_at from funnelift.dataset_summary"
RUNS_SQL = "select * from funnelift.uplift_runs order by finished_at desc, run_id desc"
METRICS_SQL = "select * from funnelift.uplift_metrics"
DECILES_SQL = "select * from funnelift.uplift_deciles"


@dataclass(frozen=True)
class Known:
    """What the uplift part hands to the policy part, in memory or by way of the warehouse."""

    rows: "pa.Table"
    record: UpliftRun
    metrics: list[UpliftMetric]
    deciles: list[UpliftDecile]
    judged: Judged | None
    model_version: str


def train_uplift(run: Run, checked: Checked, warehouse: Warehouse) -> Known:
    """Find or simulate the experiment, learn whom it changes, and judge that on the test slice.

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
    Known
        Scores of every row at the decision point, and how good they are.

    Raises
    ------
    FunneliftError
        When arms are broken or there is too little to learn from.
    """
    config = run.config
    _check_value_column(checked, config.policy.value_column)
    with run.progress.step("the experiment: arms, slices, sample ratio, balance"):
        found = from_mart(checked.data, checked.mart, warehouse, config.experiment)
        check_size(found.experiment, config.uplift.folds)
    judged = judge(found.experiment, checked.mart, config, run.progress)
    folder = run.folder / "models"
    judged.learned.t_learner.save(folder)
    hashes = {path.name: sha256_of(path) for path in sorted(folder.glob("uplift*"))}
    version = model_version(T_LEARNER, hashes)
    record = _record(run, checked, found, judged)
    identity = checked.data.identity.take(found.rows)
    rows = _score_rows(identity, judged, _own_values(checked, found, config.policy.value_column))
    return Known(
        rows=with_quadrants(rows, record.usual_rate, config),
        record=record,
        metrics=judged.metrics,
        deciles=judged.deciles,
        judged=judged,
        model_version=version,
    )


def read_known(run: Run, warehouse: Warehouse) -> Known:
    """Read back what the last uplift run published, for a policy run with other costs.

    Parameters
    ----------
    run : Run
        The run.
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    Known
        As `train_uplift` returned it then, with quadrants for today's costs.

    Raises
    ------
    FunneliftError
        When there is none, or it was made with another value column or other data.
    """
    import pyarrow as pa

    needed = ("uplift_runs", "uplift_scores", "uplift_metrics", "uplift_deciles")
    missing = [name for name in needed if not warehouse.columns(name)]
    if missing:
        raise FunneliftError(
            f"no table funnelift.{missing[0]} in the warehouse: run `python -m ml.train` or `--only uplift` first"
        )
    with run.progress.step("reading the scores of the last uplift run"):
        columns = warehouse.columns("uplift_scores")
        row_count, batches = warehouse.read("uplift_scores", columns)
        if not row_count:
            raise FunneliftError("funnelift.uplift_scores is empty: run `python -m ml.train` or `--only uplift` first")
        rows = pa.Table.from_batches(list(batches))
        versions = set(rows.column("model_version").unique().to_pylist())
        recorded = warehouse.query(RUNS_SQL)
        last = next((entry for entry in recorded if {entry["model_version"]} == versions), None)
        if last is None:
            raise FunneliftError(
                f"uplift_scores holds model versions {sorted(versions)}, which uplift_runs does not know: "
                "run `python -m ml.train --only uplift`"
            )
        record = entries_of(UpliftRun, [last])[0]
        then = json.loads(record.config_json)["policy"]["value_column"]
        if then != run.config.policy.value_column:
            raise FunneliftError(
                f"policy.value_column is {run.config.policy.value_column!r} and was {then!r} when rows were scored: "
                "run `python -m ml.train --only uplift` first"
            )
        order = pa.compute.sort_indices(rows, [("decided_at", "ascending"), ("session_id", "ascending")])
        rows = (
            run.contracts["uplift_scores"].cast(rows).take(order).drop_columns(["run_id", "model_version", "scored_at"])
        )
        return Known(
            rows=with_quadrants(rows, record.usual_rate, run.config),
            record=record,
            metrics=entries_of(UpliftMetric, warehouse.query(METRICS_SQL)),
            deciles=entries_of(UpliftDecile, warehouse.query(DECILES_SQL)),
            judged=None,
            model_version=last["model_version"],
        )


def publish_uplift(run: Run, warehouse: Warehouse, known: Known, with_policy: bool) -> Outcome:
    """Value the policies, write the reports and lay out every table of uplift and money.

    Parameters
    ----------
    run : Run
        The run; its folder takes the files.
    warehouse : Warehouse
        Where the funnel's figures are read.
    known : Known
        Scores and how good they are.
    with_policy : bool
        Whether to value policies. If not the tables of money are emptied, because they would speak of other scores.

    Returns
    -------
    Outcome
        Tables to publish and what was found.
    """
    config, record = run.config, known.record
    valued = None
    if with_policy:
        with run.progress.step("policy value, return on investment, the next experiment"):
            valued = value(known.rows, config, record.sessions_per_day * config.policy.horizon_days,
                           record.sessions_per_day)  # fmt: skip
    finished = datetime.now(UTC)
    stamp = Stamp(run.run_id, known.model_version, finished, is_simulated=record.is_simulated)
    record = replace(
        record,
        part="uplift" if known.judged is not None else "policy",
        started_at=run.started.replace(tzinfo=None),
        finished_at=finished.replace(tzinfo=None),
        config_json=settings_json(config),
        chosen_share_percent=valued.policy.chosen["uplift"] if valued else None,
        break_even_share_percent=valued.policy.break_even_share if valued else None,
        break_even_cost=valued.policy.break_even_cost if valued else None,
    )
    contracts = run.contracts
    scores = stamped(known.rows, stamp, contracts["uplift_scores"])
    with run.progress.step("writing uplift files"):
        write_csv(run.folder / "predictions" / "uplift_scores.csv", scores)
        findings = []
        if valued is not None:
            facts = _facts(run, warehouse, known, record, valued, finished)
            write_reports(run.folder, facts, json.loads(record.warnings_json))
            findings = _findings(facts)
        else:
            findings = [
                f"Uplift scores and metrics are in funnelift.uplift_scores ({record.source}). The tables of money are "
                "empty until `python -m ml.train --only policy`."
            ]
    tables: dict[str, tuple[type[Any], Sequence[Any]]] = {
        "uplift_metrics": (UpliftMetric, known.metrics),
        "uplift_deciles": (UpliftDecile, known.deciles),
        "roi_projection": (Projection, valued.policy.projections if valued else []),
        "roi_sensitivity": (Sensitivity, valued.policy.sensitivity if valued else []),
        "roi_gains": (Gain, valued.policy.gains if valued else []),
        "experiment_plan": (Plan, valued.plans if valued else []),
        "ab_test_simulation": (SimulatedTest, valued.tests if valued else []),
    }
    return Outcome(
        publications=[
            Publication(contracts["uplift_scores"], scores),
            *(publication(contracts[name], kind, entries, stamp) for name, (kind, entries) in tables.items()),
            publication(contracts["uplift_runs"], UpliftRun, [record], stamp, append=True),
        ],
        findings=findings,
    )


def _check_value_column(checked: Checked, name: str | None) -> None:
    if name is not None and name not in checked.mart.numeric:
        raise FunneliftError(
            f"policy.value_column {name!r} is no numeric feature of the mart; such are: "
            f"{', '.join(checked.mart.numeric)}"
        )


def _own_values(checked: Checked, found: MartExperiment, name: str | None) -> "pa.Array":
    import pyarrow as pa

    if name is None:
        return pa.nulls(len(found.rows), pa.float64())
    values = checked.data.inputs[name].to_numpy()[found.rows].astype(np.float64)
    return pa.array(values, mask=~(values > 0))


def _score_rows(identity: "pa.Table", judged: Judged, own_values: "pa.Array") -> "pa.Table":
    import pyarrow as pa

    columns = {name: (identity.column(name), False) for name in IDENTITY}
    columns["decided_at"] = (identity.column("decided_at").cast(pa.timestamp("us")), False)
    columns |= judged.columns | {"own_value": (own_values, True)}
    schema = pa.schema([pa.field(name, values.type, nullable) for name, (values, nullable) in columns.items()])
    return pa.Table.from_arrays([values for values, _ in columns.values()], schema=schema)


def _record(run: Run, checked: Checked, found: MartExperiment, judged: Judged) -> UpliftRun:
    experiment, randomisation = found.experiment, found.randomisation
    times = checked.data.decided_ms[found.rows]
    test = times[experiment.rows("test")]
    first, last = int(test.min()), int(test.max())
    in_test = (times >= first) & (times <= last)
    worst = randomisation.balances[0] if randomisation.balances else None
    left_out = [f"{count:,} {reason} left out" for reason, count in found.left_out.items() if count]
    slices = {name: len(experiment.rows(name)) for name in ("train", "calibration", "test")}
    now = run.started.replace(tzinfo=None)
    return UpliftRun(
        part="uplift",
        target=run.config.target,
        started_at=now,
        finished_at=now,
        seed=run.config.seed,
        source=found.source,
        decision_point=run.config.experiment.decision_point,
        is_simulated=experiment.is_simulated,
        is_synthetic=checked.summary.is_synthetic,
        data_sha256=checked.data_sha256,
        row_count=len(experiment),
        visitors_treatment=randomisation.visitors_treatment,
        visitors_control=randomisation.visitors_control,
        sample_ratio_p=randomisation.ratio_p,
        balance_covariate=worst.covariate if worst else None,
        balance_smd=worst.smd if worst else None,
        balance_p=randomisation.worst_p if worst else None,
        **{f"{name}_row_count": count for name, count in slices.items()},
        test_first_at=_utc(first),
        test_last_at=_utc(last),
        # A slice of less than a day says nothing of a day's traffic but its own.
        sessions_per_day=float(in_test.sum()) / max(1.0, (last - first) / DAY_MS),
        usual_rate=judged.learned.t_learner.usual_rate,
        effect_trust=judged.learned.t_learner.scale.trust,
        pehe=judged.pehe,
        pehe_constant=judged.pehe_constant,
        chosen_share_percent=None,
        break_even_share_percent=None,
        break_even_cost=None,
        warnings_json=json.dumps([*randomisation.warnings, *left_out]),
        config_json="",
        package_versions_json=json.dumps(package_versions()),
        git_commit=git_commit(),
    )


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)


def _facts(
    run: Run, warehouse: Warehouse, known: Known, record: UpliftRun, valued: Valued, finished: datetime
) -> UpliftFacts:
    balance = None
    if record.balance_covariate is not None and record.balance_smd is not None and record.balance_p is not None:
        balance = (record.balance_covariate, record.balance_smd, record.balance_p)
    return UpliftFacts(
        config=run.config,
        run_id=run.run_id,
        model_version=known.model_version,
        finished_at=finished,
        source=record.source,
        eligible=f"sessions that reach the decision point {record.decision_point}",
        is_simulated=record.is_simulated,
        is_synthetic=record.is_synthetic,
        first_at=f"{record.test_first_at:%Y-%m-%d %H:%M:%S}",
        last_at=f"{record.test_last_at:%Y-%m-%d %H:%M:%S}",
        metrics=[entry for entry in known.metrics if entry.learner != PLACEBO],
        deciles=known.deciles,
        policy=valued.policy,
        plans=valued.plans,
        tests=valued.tests,
        tested_share=valued.tested_share,
        quadrant_counts=valued.quadrant_counts,
        placebo_qini=next((entry for entry in known.metrics if entry.learner == PLACEBO), None),
        pehe=record.pehe,
        pehe_constant=record.pehe_constant,
        mismatch_p=record.sample_ratio_p,
        balance_worst=balance,
        funnel=_funnel(warehouse),
        curves=known.judged.curves if known.judged else {},
    )


def _funnel(warehouse: Warehouse) -> FunnelFacts | None:
    if not warehouse.columns("funnel_dropoff"):
        return None
    steps, period = warehouse.query(FUNNEL_SQL), warehouse.query(PERIOD_SQL)[0]
    if not steps:
        return None
    worst = steps[0]
    return FunnelFacts(
        step=str(worst["step"]),
        next_step=str(worst["next_step"]),
        entered=int(worst["entered"]),
        dropped_off=int(worst["dropped_off"]),
        dropoff_rate=float(worst["dropoff_rate"]),
        revenue_lost=float(sum(float(step["revenue_lost"] or 0) for step in steps)),
        sessions=int(period["session_count"]),
        first_at=f"{period['first_event_at']:%Y-%m-%d}",
        last_at=f"{period['last_event_at']:%Y-%m-%d}",
    )


def _findings(facts: UpliftFacts) -> list[str]:
    made_up = "SIMULATED effects: " if facts.is_simulated else ""
    average = facts.metric("all", "average_effect")
    qini = facts.metric(T_LEARNER, "qini")
    chosen = facts.chosen
    lines = []
    if average and qini:
        lines.append(
            f"{made_up}{facts.source}; {average.n_rows:,} test rows, average effect {average.value:+.2%} "
            f"[{average.ci_lower:+.2%}, {average.ci_upper:+.2%}], Qini of the T-learner {qini.value:.3f} "
            f"[{qini.ci_lower:.3f}, {qini.ci_upper:.3f}]."
        )
    if chosen is None:
        lines.append(f"{made_up}no share of sessions earns more than it costs: treat nobody.")
    else:
        lines.append(
            f"{made_up}best share {chosen.share_percent} %: profit {chosen.profit:,.0f} "
            f"[{chosen.profit_ci_lower:,.0f}, {chosen.profit_ci_upper:,.0f}] in "
            f"{facts.config.policy.horizon_days:g} days, cost {chosen.cost:,.0f}."
        )
    lines.append(
        f"What to do, in plain words: {facts.config.results}/recommendations.md. Tables: uplift_scores, "
        "uplift_metrics, uplift_deciles, roi_projection, roi_sensitivity, roi_gains, experiment_plan, "
        "ab_test_simulation, uplift_runs."
    )
    return lines
