"""Whom to target, and what is it worth? The part of a run that values scores, and publishes all of uplift."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ml.data.features import SCORES
from ml.parts.outcome import Outcome
from ml.parts.uplift import Uplift
from ml.policy.ab_test import SimulatedTest
from ml.policy.gains import Gain
from ml.policy.groups import UpliftGroup
from ml.policy.next_experiment import NextExperiment, plan_next
from ml.policy.offer_tables import PolicyOffer, PolicyRow
from ml.policy.planner import Plan
from ml.policy.projection import Projection
from ml.policy.scored import quadrant_counts, scored_by_use, with_rule
from ml.policy.sensitivity import Sensitivity
from ml.policy.values import PolicyValue, value_policies
from ml.publish.files import write_csv
from ml.publish.registry import UPLIFT_RUNS, succession
from ml.publish.runs import UpliftRun
from ml.publish.tables import publication, stamped
from ml.reports.facts import UpliftFacts
from ml.reports.findings import findings_of
from ml.reports.funnel import read_funnel
from ml.reports.uplift_files import write_reports
from ml.run import Run, Stamp, settings_json
from ml.uplift.choice import UpliftCandidate
from ml.uplift.deciles import UpliftDecile
from ml.uplift.metrics import UpliftMetric
from ml.uplift.profile import UpliftFeature
from warehouse.base import Publication, Warehouse

Table = tuple[type[Any], Sequence[Any]]


def train_policy(run: Run, warehouse: Warehouse, uplift: Uplift) -> Outcome:
    """Value the policies, plan the next experiment, and write reports and every table of uplift and money.

    Parameters
    ----------
    run : Run
        The run; its folder takes the files.
    warehouse : Warehouse
        Where the funnel's figures are read.
    uplift : Uplift
        Scores and how good they are.

    Returns
    -------
    Outcome
        Tables to publish and what was found.
    """
    config, per_day = run.config, uplift.record.sessions_per_day
    with run.progress.step("policy value, return on investment, the next experiment"):
        calibration, valued, test = scored_by_use(uplift.rows, config)
        bootstrap = config.bootstrap(config.policy.bootstrap_resamples)
        value = value_policies(calibration, valued, config.policy, per_day * config.policy.horizon_days, bootstrap)
        plan = plan_next(test, value.chosen["uplift"], per_day, config)
    record = replace(
        _finished(run, uplift),
        chosen_share_percent=value.chosen["uplift"],
        break_even_share_percent=value.break_even_share,
        break_even_cost=value.break_even_cost,
    )
    stamp = _stamp(run, uplift, record)
    publications = _publications(run, warehouse, uplift, record, stamp, money=_money(value, plan))
    facts = UpliftFacts.of(
        config, stamp, uplift.evaluation, value, plan,
        source=record.source,
        eligible=f"sessions that reach the decision point {record.decision_point}",
        first_at=f"{record.test_first_at:%Y-%m-%d %H:%M:%S}",
        last_at=f"{record.test_last_at:%Y-%m-%d %H:%M:%S}",
        quadrant_counts=quadrant_counts(uplift.rows),
        mismatch_p=record.sample_ratio_p,
        balance_worst=record.worst_balance,
        funnel=read_funnel(warehouse),
        whom=uplift.whom,
    )  # fmt: skip
    with run.progress.step("writing the reports"):
        write_reports(run.folder, facts, json.loads(record.warnings_json))
    return Outcome(publications, findings_of(facts), _scored(record, stamp))


def publish_uplift(run: Run, warehouse: Warehouse, uplift: Uplift) -> Outcome:
    """Publish scores without valuing them; the tables of money are emptied, because they speak of other scores.

    Parameters
    ----------
    run : Run
        The run; its folder takes the files.
    warehouse : Warehouse
        Where the registry is.
    uplift : Uplift
        Scores and how good they are.

    Returns
    -------
    Outcome
        Tables to publish and what was found.
    """
    outcome = publish_scores(run, warehouse, uplift, empty_money())
    found = (
        f"Uplift scores and metrics are in funnelift.uplift_scores ({uplift.record.source}). The tables of money are "
        "empty until `python -m ml.train --only policy`."
    )
    return replace(outcome, findings=[found])


def publish_scores(run: Run, warehouse: Warehouse, uplift: Uplift, money: dict[str, Table]) -> Outcome:
    """Publish scores with some tables of money.

    Parameters
    ----------
    run : Run
        The run; its folder takes the files.
    warehouse : Warehouse
        Where the registry is.
    uplift : Uplift
        Scores and how good they are.
    money : dict
        Every table of money: its name to the kind of its entries, and these.

    Returns
    -------
    Outcome
        Tables to publish; what was found is for the caller to say.
    """
    record = _finished(run, uplift)
    stamp = _stamp(run, uplift, record)
    publications = _publications(run, warehouse, uplift, record, stamp, money=money)
    return Outcome(publications, [], _scored(record, stamp))


def empty_money() -> dict[str, Table]:
    """Return every table of money, without entries."""
    return _money(None, None)


def _scored(record: UpliftRun, stamp: Stamp) -> dict[str, Stamp]:
    """A policy run takes the scores as they are."""
    return {SCORES: stamp} if record.part == "uplift" else {}


def _money(value: PolicyValue | None, plan: NextExperiment | None) -> dict[str, Table]:
    return {
        "roi_projection": (Projection, value.projections if value else []),
        "roi_sensitivity": (Sensitivity, value.sensitivity if value else []),
        "roi_gains": (Gain, value.gains if value else []),
        "experiment_plan": (Plan, plan.plans if plan else []),
        "ab_test_simulation": (SimulatedTest, plan.tests if plan else []),
        "policy_values": (PolicyRow, []),
        "policy_offers": (PolicyOffer, []),
    }


def _finished(run: Run, uplift: Uplift) -> UpliftRun:
    return replace(
        uplift.record,
        started_at=run.started.replace(tzinfo=None),
        finished_at=datetime.now(UTC).replace(tzinfo=None),
        config_json=settings_json(run.config),
    )


def _stamp(run: Run, uplift: Uplift, record: UpliftRun) -> Stamp:
    return Stamp(
        run_id=run.run_id,
        model_version=uplift.model_version,
        scored_at=record.finished_at.replace(tzinfo=UTC),
        is_synthetic=record.is_synthetic,
        is_simulated=record.is_simulated,
    )


def _publications(
    run: Run, warehouse: Warehouse, uplift: Uplift, record: UpliftRun, stamp: Stamp, *, money: dict[str, Table]
) -> list[Publication]:
    """Lay out the tables, and write the scores as a file too."""
    with run.progress.step("writing the scores"):
        rows = uplift.rows if uplift.has_rule else with_rule(uplift.rows, record.chosen_share_percent)
        scores = stamped(rows, stamp, run.contracts[SCORES])
        write_csv(run.folder / "predictions" / "uplift_scores.csv", scores)
    registry = run.contracts[UPLIFT_RUNS]
    tables: dict[str, Table] = {
        "uplift_metrics": (UpliftMetric, uplift.evaluation.all_metrics),
        "uplift_deciles": (UpliftDecile, uplift.evaluation.deciles),
        "uplift_candidates": (UpliftCandidate, uplift.evaluation.comparison),
        "uplift_groups": (UpliftGroup, uplift.whom.groups),
        "uplift_profile": (UpliftFeature, uplift.whom.profile),
        **money,
    }
    return [
        Publication(run.contracts[SCORES], scores),
        *(publication(run.contracts[name], kind, entries, stamp) for name, (kind, entries) in tables.items()),
        succession(warehouse, registry, publication(registry, UpliftRun, [record], stamp).rows),
    ]
