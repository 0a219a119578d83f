"""What offers earn with whom, learnt from rows with arms: the part that files and the mart share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ml.arrays import Codes, Floats, Rows
from ml.cli import Progress
from ml.config import Config, PolicySettings
from ml.experiment.experiment import SPLITS
from ml.experiment.file import ArmRows, Columns
from ml.experiment.offers import HIGHEST_AMOUNT, chances
from ml.policy.offers import (
    BEST,
    NOBODY,
    Policy,
    PolicyTotals,
    Valued,
    best_for_each,
    choose_policy,
    single_policies,
    value_offers,
)
from ml.uplift.offers import Costs, OfferModel, OfferRows, fit_offers

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OfferData:
    """Rows of the arms that something can be learnt of, their splits, and what belongs to them.

    `identity` names the rows, `outcome` is theirs, `ties` is the lot; `names` are those of the control and the offers.
    `stated_for` says for how many rows totals are stated; `notes` says what was left out.
    """

    rows: OfferRows
    identity: "pa.Table"
    outcome: Floats
    split: Codes
    ties: Floats
    costs: Costs
    names: list[str]
    notes: list[str]
    stated_for: float

    @classmethod
    def of(
        cls, rows: ArmRows, able: Sequence[int], columns: Columns, config: Config, *, ties: Floats, costs: Costs,
        stated_for: float | None = None,
    ) -> "OfferData":  # fmt: skip
        """Take the control's rows and those of some offers, coded anew from 1 on.

        Parameters
        ----------
        rows : ArmRows
            Rows of all arms.
        able : sequence of int
            Codes of the offers that something can be learnt of.
        columns : Columns
            What arms and outcome are called.
        config : Config
            Settings.
        ties : ndarray of shape (n_rows,)
            The lot of each row, 0 to 1.
        costs : Costs
            What all offers cost.
        stated_for : float, optional
            For how many rows totals are stated; as many as take part without it.

        Returns
        -------
        OfferData
            The rows.
        """
        taken = np.flatnonzero(np.isin(rows.arm, (0, *able)))
        own, ties = rows.at(taken), ties[taken]
        own = replace(own, arm=np.searchsorted([0, *able], own.arm).astype(np.int8))
        chance = chances(own, len(able) + 1)
        notes, kept = [], chance.min(axis=1) > 0
        if not kept.all():
            notes.append(f"{(~kept).sum():,} rows are in strata that lack an arm, and had no part in what was learnt")
            own, chance, ties = own.at(np.flatnonzero(kept)), chance[kept], ties[kept]
        good = (own.outcome == 0 if columns.lower_is_better else own.outcome > 0).astype(np.int8)
        spent: Floats = good * np.float64(config.policy.revenue_per_conversion) if own.value is None else own.value
        return cls(
            rows=OfferRows(own.inputs, own.arm, good.astype(np.float64), spent, own.visitor, chance),
            identity=own.identity,
            outcome=own.outcome,
            split=own.splits(good, config),
            ties=ties,
            costs=costs.of(able),
            names=[columns.arms[code] for code in (0, *able)],
            notes=notes,
            stated_for=float(len(own) if stated_for is None else stated_for),
        )

    def split_rows(self, name: str) -> Rows:
        """Return the positions of the rows of a split."""
        return np.flatnonzero(self.split == SPLITS.index(name))


def combined_costs(own: Mapping[str, Floats], settings: PolicySettings) -> Costs:
    """Return what offers cost, the plain cost counted where it is paid.

    Parameters
    ----------
    own : mapping of str to ndarray of shape (n_offers,)
        cost, contact_cost, cost_share and fixed_cost of each offer.
    settings : PolicySettings
        What `cost` is paid for, and the margin.

    Returns
    -------
    Costs
        One number per offer.
    """
    is_redeemed = settings.cost_per == "redemption"
    per_contact, per_redemption = (0.0, own["cost"]) if is_redeemed else (own["cost"], 0 * own["cost"])
    contact, redemption, basket, fixed = (
        tuple(map(float, part))
        for part in (own["contact_cost"] + per_contact, per_redemption, own["cost_share"], own["fixed_cost"])
    )
    return Costs(contact, redemption, basket, fixed, settings.margin)


@dataclass(frozen=True)
class LearntOffers:
    """What was learnt of offers, the policy chosen, and what it and others earn."""

    model: OfferModel
    policy: Policy
    totals: list[PolicyTotals]


def learn_offers(data: OfferData, config: Config, progress: Progress) -> LearntOffers:
    """Learn what each offer earns with whom on one split, choose a policy on a second, value it on the third.

    Parameters
    ----------
    data : OfferData
        The rows.
    config : Config
        Settings.
    progress : Progress
        Shows the steps.

    Returns
    -------
    LearntOffers
        Model, policy and totals.
    """
    with progress.step("learning what each offer earns with whom, cross-fitted by visitor"):
        model = fit_offers(data.rows.take(_sampled(data.split_rows("train"), config)), data.costs, config)
    with progress.step("choosing a policy on the calibration split, valuing it on the test split"):
        policy, totals = _policies(data, model, config)
    return LearntOffers(model, policy, totals)


def _sampled(rows: Rows, config: Config) -> Rows:
    most = config.uplift.challenger_rows
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(config.seed).choice(rows, most, replace=False))


def _policies(data: OfferData, model: OfferModel, config: Config) -> tuple[Policy, list[PolicyTotals]]:
    calibration, test = (_valued(data, model, data.split_rows(name)) for name in ("calibration", "test"))
    costs, offers = data.costs, tuple(range(1, len(data.names)))
    budget = config.policy.budget
    chosen = choose_policy(calibration, offers, costs, budget)
    singles = single_policies(calibration, offers, costs, budget)
    several = len(offers) > 1
    policies = [
        (NOBODY, Policy(NOBODY)),
        *((f"{data.names[each.offers[0]]} for all" if several else "everybody", each) for each in singles),
        (BEST if several else "whom it earns with", best_for_each(calibration, offers, costs, budget)),
    ]
    if chosen not in [policy for _, policy in policies]:
        policies.append((f"the best of {', '.join(data.names[code] for code in chosen.offers)} for each", chosen))
    bootstrap = config.bootstrap(config.policy.bootstrap_resamples)
    totals = value_offers(test, policies, chosen, costs, names=data.names[1:], bootstrap=bootstrap, budget=budget)
    return chosen, totals


def _valued(data: OfferData, model: OfferModel, rows: Rows) -> Valued:
    own = data.rows.take(rows)
    expected = model.responses.predict(own.inputs)
    paid = data.rows.spent[data.rows.spent > 0]
    cut = float(np.quantile(paid, HIGHEST_AMOUNT)) if len(paid) else 0.0
    gains, costs = model.predict(own.inputs, data.costs)
    return Valued(
        gains=gains,
        costs=costs,
        scores=expected.doubly_robust(own),
        capped=expected.doubly_robust(replace(own, spent=np.minimum(own.spent, cut))),
        ties=data.ties[rows],
        visitor=own.visitor,
        rows=data.stated_for,
    )
