"""Which offer to whom, and whom to treat for money: the run of an experiment from a file that has offers or amounts."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from ml.arrays import Codes, Floats
from ml.cli import Progress
from ml.config import Config
from ml.experiment.experiment import SPLITS
from ml.experiment.file import ArmRows, Columns, read_rows
from ml.experiment.file_columns import written
from ml.experiment.file_rows import tie_breakers
from ml.experiment.offers import offer_experiments
from ml.files import MODELS_FOLDER
from ml.parts.learnt_offers import OfferData, combined_costs, learn_offers
from ml.publish.artifacts import model_version
from ml.publish.file_model import FileModel, seal, seal_nothing
from ml.publish.files import staged_files, write_csv
from ml.publish.offer_model import save_offers
from ml.publish.tables import stamped
from ml.reports.offers import OfferFacts, lines_of, write_offers
from ml.run import Stamp, run_name
from ml.uplift.offers import Costs
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

LEARNER = "offers"


def value_of_offers(config: Config, progress: Progress, options: argparse.Namespace, columns: Columns) -> list[str]:
    """Read the experiment, check each offer, learn what it earns with whom, choose a policy and value it.

    Parameters
    ----------
    config : Config
        Settings; the reports go to `results`.
    progress : Progress
        Shows the steps.
    options : Namespace
        File, costs and shares, as the command line has them.
    columns : Columns
        Which columns are what.

    Returns
    -------
    list of str
        What was found, what to do, and where it is.

    Raises
    ------
    FunneliftError
        When the file or the experiment cannot be used; nothing is written then.
    """
    run_id, path = run_name(datetime.now(UTC)), options.experiment_file
    costs = costs_of(options, columns, config)
    with threadpool_limits(1, user_api="blas"), staged_files(config.results, run_id) as folder:
        with progress.step("reading the experiment; gates: sample ratio, balance, leakage"):
            rows = read_rows(path, columns, config)
            shares = _per_offer(options.treated_share, columns, "--treated-share", None)
            offers = offer_experiments(rows, path.name, columns, config, shares=_shares(shares))
        stamp = Stamp(run_id, "", datetime.now(UTC))
        left_out = {offer.name: offer.found.unrankable for offer in offers if offer.found.unrankable}
        facts = OfferFacts(
            config, columns, stamp, f"experiment of {len(np.unique(rows.visitor)):,} visitors ({path.name})",
            len(rows), offers, costs, left_out, [],
        )  # fmt: skip
        able = [offer.code for offer in offers if offer.name not in left_out]
        if able:
            facts = replace(facts, **_learn(rows, able, facts, models=folder / MODELS_FOLDER, progress=progress))
        else:
            told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            seal_nothing(folder / MODELS_FOLDER, run_id, told)
        with progress.step("writing files"):
            write_offers(folder, facts)
    return lines_of(facts)


def costs_of(options: argparse.Namespace, columns: Columns, config: Config) -> Costs:
    """Return what offers cost, as the command line and the settings have it.

    Parameters
    ----------
    options : Namespace
        Amounts, for all offers or as OFFER=AMOUNT.
    columns : Columns
        Names of the offers.
    config : Config
        Settings: cost, what it is paid for, margin.

    Returns
    -------
    Costs
        One number per offer.

    Raises
    ------
    FunneliftError
        When an offer is unknown, or an amount is no number of 0 or more.
    """
    own = {
        name: np.array(_per_offer(getattr(options, name), columns, f"--{name.replace('_', '-')}", usual))
        for name, usual in (
            ("cost", config.policy.cost),
            ("contact_cost", config.policy.contact_cost),
            ("cost_share", config.policy.cost_share),
            ("fixed_cost", config.policy.fixed_cost),
        )
    }
    if own["cost_share"].max() > 1:
        raise FunneliftError("--cost-share is a share of what is spent, 0 to 1")
    return combined_costs(own, config.policy)


def _per_offer(texts: Sequence[str] | None, columns: Columns, option: str, usual: float | None) -> list[float]:
    """Read AMOUNT for all offers, or OFFER=AMOUNT for one, given once or often; empty where nothing was said."""
    names = {written(name): code - 1 for code, name in columns.arms.items() if code}
    found = [np.nan if usual is None else usual] * len(names)
    for text in sorted(texts or (), key=lambda text: "=" in text):
        name, _, amount = text.rpartition("=")
        try:
            number = float(amount)
        except ValueError:
            number = np.nan
        if not (np.isfinite(number) and number >= 0):
            raise FunneliftError(f"{option} {text}: {amount!r} is not a number of 0 or more")
        if name and written(name) not in names:
            raise FunneliftError(f"{option} {text}: no offer is called {name!r}; there are {', '.join(names)}")
        for place in [names[written(name)]] if name else range(len(names)):
            found[place] = number
    if usual is None and texts and np.isnan(found).any():
        raise FunneliftError(f"{option}: say it of every offer ({', '.join(names)}), or of none")
    return [] if usual is None and not texts else found


def _shares(shares: Sequence[float]) -> Mapping[int, float]:
    if shares and not (min(shares) > 0 and sum(shares) < 1):
        raise FunneliftError("--treated-share: shares of the offers are above 0, and together below 1")
    return dict(enumerate(shares, start=1))


def _learn(
    rows: ArmRows, able: Sequence[int], facts: OfferFacts, *, models: Path, progress: Progress
) -> dict[str, Any]:
    """Learn, choose, value and save; return what the facts did not know before."""
    config = facts.config
    ties = tie_breakers(rows.inputs, config.seed)
    data = OfferData.of(rows, able, facts.columns, config, ties=ties, costs=facts.costs)
    learnt = learn_offers(data, config, progress)
    model, policy = learnt.model, learnt.policy
    hashes = save_offers(models, model, policy, data.costs)
    stamp = replace(facts.stamp, model_version=model_version(LEARNER, hashes))
    gains, costs = model.predict(data.rows.inputs, data.costs)
    given = policy.assign(gains, costs, data.ties)
    table = score_columns(data.identity, gains, costs, given, data.names)
    names = np.array(data.names, dtype=object)
    seen = {
        "arm": names[data.rows.arm], "outcome": data.outcome.astype(np.float64), "value": data.rows.spent,
        "dataset_split": np.array(SPLITS, dtype=object)[data.split],
    }  # fmt: skip
    for name, values in seen.items():
        table = table.append_column(name, [values])
    write_csv(models.parent / "predictions" / "uplift_scores.csv", stamped(table, stamp))
    seal(models, FileModel(
        run_id=stamp.run_id, model_version=stamp.model_version, seed=config.seed, outcome=facts.columns.outcome,
        visitor=facts.columns.visitor, words=tuple(facts.columns.values), features=rows.features, hashes=hashes,
        offers=tuple(data.names),
    ))  # fmt: skip
    return {"stamp": stamp, "policy": policy, "totals": learnt.totals, "notes": data.notes}


def score_columns(identity: "pa.Table", gains: Floats, costs: Floats, given: Codes, names: Sequence[str]) -> "pa.Table":
    """Lay out what is said of rows, and the offer that each gets.

    Parameters
    ----------
    identity : pyarrow.Table
        The columns that name each row.
    gains, costs : ndarray of shape (n_rows, n_offers)
        What each offer earns, its cost taken off, and that cost.
    given : ndarray of shape (n_rows,)
        Code of the offer that each row gets, 0 for none.
    names : sequence of str
        What the control and the offers are called.

    Returns
    -------
    pyarrow.Table
        One row per row; `offer` is the control's name for whom none is made.
    """
    import pyarrow as pa

    columns = {name: identity.column(name) for name in identity.column_names}
    columns |= {"offer": np.array(names, dtype=object)[given], "treat": (given > 0).astype(np.int32)}
    columns["gain"] = np.where(given > 0, gains[np.arange(len(gains)), np.maximum(given, 1) - 1], 0.0)
    for place, name in enumerate(names[1:]):
        columns |= {f"gain_{name}": gains[:, place], f"cost_{name}": costs[:, place]}
    return pa.table(columns)
