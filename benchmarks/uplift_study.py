"""Do the intervals hold, and does nothing earn where there is nothing? The whole uplift road in simulated worlds.

    python -m benchmarks.uplift_study --duckdb warehouse.duckdb --manifest target/manifest.json

A world is a random share of the warehouse's visitors with arms and effects of its own, drawn as `ml.train` draws them.
It goes the whole road: splits, candidates, choice, valuation. Truth is what the same fixed rule would earn
on all visitors of the warehouse, for whom the expected effect of every session is known. Half of the report is a world
with the effects of ml/config.yml, the other half the same with no effect anywhere. Give it a warehouse of a million
visitors, so that worlds share few of them.

Beside what `ml.train` does (the share chosen on the calibration rows, valued on all others) stands what it could do.
It could value on the test rows alone. Or choose the share on all rows that were learnt from, by what models of other
folds say of them, and value the rule on all rows, with a share for each fold that the other folds chose.
"""

import argparse
import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ml.config import Config, load_config
from ml.data.features import MART, Mart, read_mart
from ml.data.rows import Dataset, build_dataset, take
from ml.data.split import MODEL_SPLITS
from ml.experiment.experiment import SPLITS, Experiment
from ml.experiment.mart import from_mart
from ml.experiment.simulated import simulate
from ml.policy.choice import best_share
from ml.policy.estimates import Scored, ShareSums
from ml.policy.scored import VALUED, scored
from ml.policy.values import PolicyValue, value_policies
from ml.uplift.deciles import decile_table
from ml.uplift.evaluate import Evaluation, evaluate
from ml.uplift.learners import Fits, fit_learners
from ml.uplift.names import CHOSEN, RESPONSE
from ml.uplift.ranks import percentile_ranks, smallest_share
from ml.uplift.scores import Scores, score_rows, score_table
from warehouse.base import Warehouse
from warehouse.contract import read_contracts
from warehouse.open import open_warehouse

Floats = npt.NDArray[np.float64]
Shares = dict[str, npt.NDArray[np.int64]]
STRATEGIES = {"uplift": CHOSEN, "response": RESPONSE}


class Silent:
    """Shows nothing."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()


@dataclass(frozen=True)
class Population:
    """All sessions at the decision point, what each does untreated, and what treating it is expected to change."""

    data: Dataset
    rows: npt.NDArray[np.intp]
    effect: Floats
    control: Floats


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Coverage, null worlds and inflation of the uplift road.")
    parser.add_argument("--duckdb", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first world, which is its seed")
    parser.add_argument("--share", type=float, default=0.1, help="of the visitors, in each world")
    parser.add_argument("--each", type=Path, help="a file that gets a line of JSON for each world")
    options = parser.parse_args()
    config = load_config(None, {"duckdb_path": options.duckdb, "manifest": options.manifest}, {})
    mart = read_mart(read_contracts(config.manifest))
    started = time.monotonic()
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        count, batches = warehouse.read(MART, mart.columns)
        data = build_dataset(batches, count, mart)
        point = config.experiment.decision_point
        data = take(data, np.flatnonzero(np.asarray(data.decision_point) == point))
        report: dict[str, object] = {
            name: study(
                world,
                data,
                mart,
                warehouse,
                worlds=range(options.first, options.first + options.worlds),
                share=options.share,
                each=options.each,
            )
            for name, world in (("effects of ml/config.yml", config), ("no effect", without_effects(config)))
        }
    report["seconds"] = round(time.monotonic() - started)
    print(json.dumps(report, indent=2))


def without_effects(config: Config) -> Config:
    """Return the settings with no segment that reacts."""
    simulation = config.experiment.simulation.model_copy(update={"segments": []})
    return config.model_copy(update={"experiment": config.experiment.model_copy(update={"simulation": simulation})})


def study(
    config: Config,
    data: Dataset,
    mart: Mart,
    warehouse: Warehouse,
    *,
    worlds: range,
    share: float,
    each: Path | None = None,
) -> dict[str, object]:
    """Walk the road in many worlds and compare what it says with what is true."""
    _, truth = simulate(data, mart, config.experiment)
    mature = np.flatnonzero(data.is_mature == 1)
    # What treating changes depends on what a session does untreated: so by its own outcome, not by a segment's mean.
    reactions = {each.name: (each.adds, each.removes) for each in config.experiment.simulation.segments}
    adds, removes = np.array([reactions.get(name, (0.0, 0.0)) for name in truth.segments])[truth.segment].T
    effect = np.where(data.label == 1, -removes, adds)
    population = Population(data, mature, effect, data.label.astype(np.float64))
    config = config.model_copy(update={"uplift": config.uplift.model_copy(update={"placebo_runs": 1})})
    found = []
    for number in worlds:
        found.append(one_world(number, config, population, mart, warehouse, share=share))
        if each is not None:
            with each.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"segments": len(reactions), "world": number} | found[-1]) + "\n")
    summary: dict[str, object] = {"worlds": len(worlds), "rows of the population": len(mature)}
    # Where a strategy chose to treat nobody there is no estimate to set against the truth.
    for name in dict.fromkeys(name for world in found for name in world):
        values = np.array([world[name] for world in found if name in world])
        error = float(values.std() / len(values) ** 0.5)
        summary[name] = {"mean": float(values.mean()), "standard error": error, "worlds": len(values)}
    return summary


def one_world(
    number: int, config: Config, population: Population, mart: Mart, warehouse: Warehouse, *, share: float
) -> dict[str, float]:
    """Draw visitors, arms and effects; learn, choose, value; set the answer against the truth."""
    visitors = int(population.data.visitor.max()) + 1
    drawn = np.random.default_rng(number).random(visitors) < share
    data = take(population.data, np.flatnonzero(drawn[population.data.visitor]))
    settings = config.experiment
    salted = settings.simulation.model_copy(update={"salt": f"world {number}"})
    config = config.model_copy(
        update={
            "seed": number,
            "experiment": settings.model_copy(update={"simulation": salted, "allow_mismatch": True}),
        }
    )
    experiment = from_mart(data, mart, warehouse, config.experiment).experiment
    fits = fit_learners(experiment, mart, config, Silent())
    scores = score_rows(experiment, fits, config.seed)
    bootstrap = config.bootstrap(config.uplift.bootstrap_resamples)
    evaluation = evaluate(experiment, scores, fits, config.uplift.top_shares, bootstrap)
    rows = score_table(data.identity, experiment, scores)
    calibration, valued = (scored(rows, names, config) for names in (("calibration",), VALUED))
    bootstrap = config.bootstrap(config.policy.bootstrap_resamples)
    policy = value_policies(calibration, valued, config.policy, float(len(valued.arms)), bootstrap)
    shares = population_shares(fits, scores, experiment.rows("calibration"), population)
    answer = money_answers(policy, shares, population, config, len(valued.arms))
    answer |= effect_answers(evaluation, shares, population.effect[population.rows])
    answer |= {f"chosen: {entry.learner}": float(entry.is_chosen) for entry in fits.comparison}
    everyone = scored(rows, MODEL_SPLITS, config)
    answer |= top_decile_of_all(everyone, scores, experiment, shares, population, config)
    return answer | all_rows_answers(everyone, experiment, shares, population, config)


def all_rows_answers(
    everyone: Scored, experiment: Experiment, shares: Shares, population: Population, config: Config
) -> dict[str, float]:
    """Value rules on other rows than those that `ml.train` takes."""
    split = experiment.split[experiment.rows(*MODEL_SPLITS)]
    is_test = split == SPLITS.index("test")
    fold = np.where(is_test, -1, everyone.arms.visitor % config.uplift.folds)
    # Test rows are of no fold: their share is chosen on all others, and is the published one.
    planned = {held_out: ShareSums(_take(everyone, ~is_test & (fold != held_out))).observed()[0]
               for held_out in np.unique(fold)}  # fmt: skip
    is_calibration = split == SPLITS.index("calibration")
    by_calibration = ShareSums(_take(everyone, is_calibration)).observed()[0]
    answer: dict[str, float] = {}
    significant: dict[str, bool] = {}
    everywhere = np.ones(len(is_test), dtype=bool)
    profit = population_profit(population, config)
    for strategy in STRATEGIES:
        chosen = {at: best_share(found[strategy], config.policy, config.policy.cost) for at, found in planned.items()}
        limit = np.array([chosen[at] for at in fold.tolist()])
        own = best_share(by_calibration[strategy], config.policy, config.policy.cost)
        rank = smallest_share(everyone.percentiles[strategy])
        learnt = "share by all learnt rows"
        true = {share: float(profit[shares[strategy] <= share].sum()) / len(profit) for share in (chosen[-1], own)}
        answer[f"{strategy}, {learnt}: true profit a session"] = true[chosen[-1]]
        for by, where, which, share, truth in (
            (learnt, "test", is_test, chosen[-1], true[chosen[-1]]),
            (learnt, "all rows", everywhere, limit, true[chosen[-1]]),
            (learnt, "all rows, one share", everywhere, chosen[-1], true[chosen[-1]]),
            ("share by calibration rows", "test", is_test, own, true[own]),
        ):
            targeted = rank <= share
            if targeted[which].any():
                value, low, high = _profit_of(everyone, targeted, which, config)
                name = f"{strategy}, {by}, valued on {where}"
                answer[f"{name}: estimated minus true profit a session"] = value - truth
                answer[f"{name}: interval covers"] = float(low <= truth <= high)
                answer[f"{name}: width a session"] = high - low
                significant[where] = significant.get(where, False) or low > 0
    for where, is_so in significant.items():
        answer[f"any rule significantly profitable, valued on {where}"] = float(is_so)
    return answer


def _profit_of(
    everyone: Scored, targeted: npt.NDArray[np.bool_], which: npt.NDArray[np.bool_], config: Config
) -> tuple[float, float, float]:
    """Value treating some rows by some of all rows: profit a session, with its interval."""
    bootstrap, settings = config.bootstrap(config.policy.bootstrap_resamples), config.policy
    rank = np.where(targeted, 0.999, 0.0)
    sums = ShareSums(_take(replace(everyone, percentiles={"uplift": rank, "response": rank}), which))
    found, resampled = sums.observed()[0]["uplift"], sums.resampled(bootstrap)[0]["uplift"]
    value = float(found.profit(settings, settings.cost)[0, 1])
    return value, *bootstrap.interval(resampled.profit(settings, settings.cost)[:, 1])


def top_decile_of_all(
    everyone: Scored, scores: Scores, experiment: Experiment, shares: Shares, population: Population, config: Config
) -> dict[str, float]:
    """Set the top decile of all rows against what is true of the population's."""
    rows = experiment.rows(*MODEL_SPLITS)
    confidence = config.evaluation.confidence
    table = decile_table(scores.decile[rows], scores.prediction.uplift[rows], everyone.arms, confidence, learner=CHOSEN)
    top = next(entry for entry in table if entry.decile == 1)
    true_top = float(population.effect[population.rows][shares["uplift"] <= 10].mean())
    return {
        "top decile of all rows: observed minus true uplift": top.observed_uplift - true_top,
        "top decile of all rows: interval covers": float(top.ci_lower <= true_top <= top.ci_upper),
        "top decile of all rows: width": top.ci_upper - top.ci_lower,
    }


def _take(rows: Scored, which: npt.NDArray[np.bool_]) -> Scored:
    at = np.flatnonzero(which)
    percentiles = {name: ranks[at] for name, ranks in rows.percentiles.items()}
    return Scored(rows.arms.take(at), rows.p_control[at], rows.p_treatment[at], percentiles, rows.value[at])


def population_profit(population: Population, config: Config) -> Floats:
    """Return what treating each session of the population is expected to earn."""
    conversions = population.effect[population.rows]
    return config.policy.revenue_per_conversion * conversions - config.policy.cost * (
        population.control[population.rows] + conversions
    )


def money_answers(
    policy: PolicyValue,
    shares: Shares,
    population: Population,
    config: Config,
    valued_rows: int,
) -> dict[str, float]:
    """Set the profit of each strategy against what its rule would earn on the population."""
    profit = population_profit(population, config)
    answer: dict[str, float] = {}
    significant = False
    for strategy in ("uplift", "response"):
        percent = policy.chosen[strategy]
        true_profit = float(profit[shares[strategy] <= percent].sum()) * valued_rows / len(profit)
        answer[f"{strategy}: true profit a session"] = true_profit / valued_rows
        answer[f"{strategy}: chosen share"] = percent
        projection = next(
            (p for p in policy.projections if p.strategy == strategy and p.share_percent == percent), None
        )
        if projection is None:
            continue
        answer[f"{strategy}: estimated minus true profit a session"] = (projection.profit - true_profit) / valued_rows
        answer[f"{strategy}: profit interval covers"] = float(
            projection.profit_ci_lower <= true_profit <= projection.profit_ci_upper
        )
        ipw = (projection.profit_ipw_ci_lower, projection.profit_ipw_ci_upper)
        if ipw[0] is not None and ipw[1] is not None:
            answer[f"{strategy}: ipw interval covers"] = float(ipw[0] <= true_profit <= ipw[1])
        significant |= projection.profit_ci_lower > 0
    everybody = next(p for p in policy.projections if p.strategy == "random" and p.share_percent == 100)
    true_all = float(profit.sum()) * valued_rows / len(profit)
    answer["treat all: profit interval covers"] = float(
        everybody.profit_ci_lower <= true_all <= everybody.profit_ci_upper
    )
    own, response = (answer[f"{strategy}: true profit a session"] for strategy in ("uplift", "response"))
    answer["uplift less response: true profit a session"] = own - response
    answer["any strategy significantly profitable"] = float(significant or everybody.profit_ci_lower > 0)
    return answer


def effect_answers(evaluation: Evaluation, shares: Shares, effect: Floats) -> dict[str, float]:
    """Set the average effect, the top decile and the placebo against what is true of the population."""
    average = next(entry for entry in evaluation.metrics if entry.metric == "average_effect")
    answer = {"average effect: interval covers": float(average.ci_lower <= effect.mean() <= average.ci_upper)}
    top = next((entry for entry in evaluation.deciles if entry.decile == 1), None)
    if top is not None:
        true_top = float(effect[shares["uplift"] <= 10].mean())
        answer["top decile: predicted minus true uplift"] = top.predicted_uplift - true_top
        answer["top decile: observed minus true uplift"] = top.observed_uplift - true_top
        answer["top decile: true uplift"] = true_top
        answer["top decile: interval covers"] = float(top.ci_lower <= true_top <= top.ci_upper)
        answer["top decile: width"] = top.ci_upper - top.ci_lower
    placebo = evaluation.placebo
    if placebo is not None:
        answer["placebo: Qini interval holds 0"] = float(placebo.ci_lower <= 0 <= placebo.ci_upper)
    return answer


def population_shares(fits: Fits, scores: Scores, calibration: npt.NDArray[np.intp], population: Population) -> Shares:
    """Return the smallest share in percent at which each session of the population would be targeted."""
    inputs = population.data.inputs.iloc[population.rows]
    prediction, response = fits.model.predict(inputs)
    found = {"uplift": prediction.score, "response": response}
    ties = np.random.default_rng(0).random(len(inputs))
    return {
        name: smallest_share(percentile_ranks(scores.by_learner[STRATEGIES[name]][calibration], score, ties))
        for name, score in found.items()
    }


if __name__ == "__main__":
    main()
