"""What does an offer earn with whom? Uplift and policy in one, where revenue is the outcome or costs are many."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Codes, Floats
from ml.config import Config
from ml.data.checked import Checked
from ml.data.features import IDENTITY, SCORES
from ml.data.rows import to_codes
from ml.experiment.arms import Arms
from ml.experiment.experiment import SPLITS, Experiment, Truth
from ml.experiment.file import Columns
from ml.experiment.mart import MartArms, MartExperiment, arms_on_mart
from ml.experiment.offers import OfferExperiment, offer_experiments
from ml.experiment.randomisation import Randomisation
from ml.experiment.simulated import hash_shares
from ml.parts.learnt_offers import LearntOffers, OfferData, combined_costs, learn_offers
from ml.parts.outcome import Outcome
from ml.parts.policy import empty_money, publish_scores
from ml.parts.uplift import Uplift, own_values, record_of
from ml.policy.offer_scores import OfferScorer, named
from ml.policy.offer_tables import PolicyOffer, PolicyRow, policy_rows
from ml.policy.whom import Whom
from ml.publish.artifacts import model_version
from ml.publish.offer_model import save_scorer
from ml.publish.registry import UPLIFT_RUNS, next_number
from ml.reports.offers import OfferFacts, answer_of, lines_of, write_offers
from ml.run import Run, Stamp
from ml.uplift.deciles import UpliftDecile, decile_table
from ml.uplift.evaluate import Evaluation
from ml.uplift.names import CHOSEN
from ml.uplift.offers import Costs
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

LEARNER = "offers"


def train_offers(run: Run, checked: Checked, warehouse: Warehouse) -> Outcome:
    """Find or simulate the experiment, learn what offers earn with whom, choose a policy and value it.

    Parameters
    ----------
    run : Run
        The run; its folder takes models and files.
    checked : Checked
        Rows that passed the gates.
    warehouse : Warehouse
        Where assignments and revenue are read.

    Returns
    -------
    Outcome
        Tables to publish and what was found.

    Raises
    ------
    FunneliftError
        When arms are broken, nobody paid anything, or there is too little to learn from.
    """
    config = run.config
    if config.policy.value_column is not None and config.experiment.outcome == "conversion":
        raise FunneliftError(
            "policy.value_column says what a conversion is worth; where gains are learnt, experiment.outcome: revenue "
            "says what it brought: set that, or leave the column out"
        )
    with run.progress.step("the experiment: arms, splits, revenue, sample ratio, balance"):
        found = arms_on_mart(checked.data, checked.mart, warehouse, config)
        facts = _facts(run, checked, found)
    able = [offer.code for offer in facts.offers if offer.name not in facts.left_out]
    if not able:
        raise FunneliftError(answer_of(facts))
    experiment = _experiment(found, checked, facts.offers)
    record = record_of(run, checked, experiment, baseline_rate=_baseline_rate(found), shrinkage=1.0, truth=None)
    eligible = record.sessions_per_day * config.policy.horizon_days
    ties = hash_shares(f"{config.seed}:rank:", found.here.identity.column("session_id"))
    data = OfferData.of(
        found.arms, able, facts.columns, config, ties=ties[found.own], costs=facts.costs, stated_for=eligible
    )
    learnt = learn_offers(data, config, run.progress)
    scorer = _scorer(data, learnt, record.baseline_rate, found.assigned.truth)
    hashes = save_scorer(run.models, scorer, checked.mart)
    version = model_version(LEARNER, hashes)
    with run.progress.step("scoring every row of the experiment"):
        rows = _score_table(found, scorer, ties, facts)
    facts = replace(
        facts, stamp=replace(facts.stamp, model_version=version), policy=learnt.policy, totals=learnt.totals,
        notes=data.notes, eligible=eligible,
    )  # fmt: skip
    record = replace(
        record,
        run_number=next_number(warehouse, run.contracts[UPLIFT_RUNS]),
        files_json=json.dumps(hashes),
        effect_shrinkage=max(model.slope for model in learnt.model.gains),
    )
    deciles = _deciles(rows, config) if len(facts.offers) == 1 else []
    evaluation = Evaluation(facts.metrics, deciles, None, None, {}, [])
    values, given = policy_rows(learnt.totals, eligible)
    money = empty_money() | {"policy_values": (PolicyRow, values), "policy_offers": (PolicyOffer, given)}
    uplift = Uplift(rows, record, evaluation, Whom([], None, []), version, has_rule=True)
    outcome = publish_scores(run, warehouse, uplift, money)
    with run.progress.step("writing the reports"):
        write_offers(run.folder, facts)
    return replace(outcome, findings=lines_of(facts))


def _facts(run: Run, checked: Checked, found: MartArms) -> OfferFacts:
    """Check the experiment of each offer, and take its average effects by design."""
    config, settings = run.config, run.config.experiment
    several = tuple(settings.treated) if len(settings.treated) > 1 else ()
    if several and found.arms.propensity is not None:
        raise FunneliftError(
            "the assignments hold a chance of treatment for each visitor, which is about one treatment: with several "
            "offers, name the strata within which they were drawn"
        )
    columns = Columns(
        treatment="treatment",
        outcome=checked.mart.label,
        visitor="visitor_id",
        stratum=None if found.arms.stratum is None else "stratum",
        propensity=None if found.arms.propensity is None else "propensity",
        value=None if found.revenue is None else "revenue",
        treated=settings.treated[0] if len(settings.treated) == 1 else None,
        control=settings.control if settings.treated else None,
        offers=several,
    )
    names = [name for code, name in columns.arms.items() if code]
    _check_names(names, config)
    shares = {1: settings.treated_share}
    if several or settings.offer_shares:
        shares = {code: settings.offer_shares[name] for code, name in enumerate(names, 1) if settings.offer_shares}
    offers = offer_experiments(found.arms, SCORES, columns, config, shares=shares)
    is_simulated = found.assigned.truth is not None
    return OfferFacts(
        config,
        columns,
        Stamp(run.run_id, "", datetime.now(UTC), checked.summary.is_synthetic, is_simulated),
        found.assigned.source,
        len(found.arms),
        offers,
        costs_of(names, config),
        {offer.name: offer.found.unrankable for offer in offers if offer.found.unrankable},
        [],
    )


def _check_names(offers: Sequence[str], config: Config) -> None:
    """Refuse costs and shares of offers that are none, and shares that leave out an offer or the control."""
    shares = config.experiment.offer_shares
    for setting, known in (("policy.costs", config.policy.costs), ("experiment.offer_shares", shares)):
        if unknown := sorted(set(known) - set(offers)):
            raise FunneliftError(f"{setting}: no offer is called {unknown[0]!r}; there are {', '.join(offers)}")
    if shares and (len(shares) < len(offers) or sum(shares.values()) >= 1):
        raise FunneliftError(
            "experiment.offer_shares: say it of every offer in experiment.treated, together below 1: the control has "
            "the rest"
        )


def costs_of(offers: Sequence[str], config: Config) -> Costs:
    """Return what offers cost by the settings.

    Parameters
    ----------
    offers : sequence of str
        Their names.
    config : Config
        Settings.

    Returns
    -------
    Costs
        One number per offer.
    """
    policy = config.policy
    kinds = ("cost", "contact_cost", "cost_share", "fixed_cost")
    return combined_costs({kind: np.array(policy.costs_of(offers, kind)) for kind in kinds}, policy)


def _experiment(found: MartArms, checked: Checked, offers: Sequence[OfferExperiment]) -> MartExperiment:
    """All rows at the decision point as an experiment of whoever got an offer against the control."""
    assigned, here = found.assigned, found.here
    checks = [offer.found.randomisation for offer in offers]
    worst = min(checks, key=lambda check: check.worst_p)
    randomisation = Randomisation(
        visitors_treatment=sum(check.visitors_treatment for check in checks),
        visitors_control=checks[0].visitors_control,
        ratio_p=min((check.ratio_p for check in checks if check.ratio_p is not None), default=None),
        balances=worst.balances,
        worst_p=worst.worst_p,
        warnings=tuple(dict.fromkeys(text for check in checks for text in check.warnings)),
    )
    experiment = Experiment(
        inputs=here.inputs,
        categorical=tuple(checked.mart.categorical),
        treatment=np.minimum(assigned.treatment, 1),
        outcome=assigned.outcome,
        visitor=here.visitor,
        split=found.split,
        treated_share=0.5,
        truth=assigned.truth,
    )
    return MartExperiment(found.rows, experiment, randomisation, assigned.source, assigned.left_out)


def _baseline_rate(found: MartArms) -> float:
    arms = found.arms
    return float(arms.outcome[(arms.arm == 0) & (found.split[found.own] == SPLITS.index("train"))].mean())


def _scorer(data: OfferData, learnt: LearntOffers, baseline_rate: float, truth: Truth | None) -> OfferScorer:
    calibration = data.split_rows("calibration")
    scorer = OfferScorer(
        learnt.model,
        learnt.policy,
        data.costs,
        names=tuple(data.names),
        ranks=np.empty((2, 0)),
        baseline_rate=baseline_rate,
        effects={} if truth is None else truth.effects,
    )
    return scorer.ranked_among(data.rows.inputs.iloc[calibration], data.ties[calibration])


def _score_table(found: MartArms, scorer: OfferScorer, ties: Floats, facts: OfferFacts) -> "pa.Table":
    """The rows of `uplift_scores`: every session at the decision point."""
    import pyarrow as pa

    here, assigned, truth = found.here, found.assigned, found.assigned.truth
    numbers = pa.nulls(len(here), pa.float64())
    own_value = own_values(here.inputs, facts.config.policy.value_column)
    columns = {
        **{name: here.identity.column(name) for name in IDENTITY},
        "treatment": _known(np.minimum(assigned.treatment, 1)),
        "arm": named(assigned.treatment, list(facts.columns.arms.values())),
        "outcome": _known(assigned.outcome),
        "revenue": numbers if found.revenue is None else pa.array(found.revenue, from_pandas=True),
        **scorer.columns(here.inputs, ties),
        "own_value": numbers if own_value is None else own_value,
        "segment": pa.nulls(len(here), pa.string()) if truth is None else named(truth.segment, truth.segments),
        "true_effect": numbers if truth is None else truth.effect,
        "dataset_split": named(found.split, SPLITS),
    }
    return pa.table(columns)


def _known(codes: Codes) -> "pa.Array":
    """Return codes as whole numbers, null where one is below 0."""
    import pyarrow as pa

    return pa.array(codes.astype(np.int32), mask=codes < 0)


def _deciles(rows: "pa.Table", config: Config) -> list[UpliftDecile]:
    """Predicted and observed conversions by decile of the gain."""
    import pyarrow.compute as pc

    test = rows.filter(pc.equal(rows.column("dataset_split"), "test"))
    numbers = {name: test.column(name).to_numpy() for name in ("treatment", "outcome", "decile", "uplift")}
    truth = test.column("true_effect")
    return decile_table(
        numbers["decile"],
        numbers["uplift"],
        Arms(numbers["treatment"].astype(np.int8), numbers["outcome"].astype(np.int8), to_codes(test["visitor_id"])),
        config.evaluation.confidence,
        learner=CHOSEN,
        true_effect=None if truth.null_count else truth.to_numpy(),
    )
