"""What the choice among the candidates is worth: simulated worlds whose effects are known, and real trials.

    python -m benchmarks.uplift_choice --duckdb warehouse.duckdb --manifest target/manifest.json
    python -m benchmarks.uplift_choice --trials DIR [--hillstrom FILE] [--splits 10]

In each world arms and effects are drawn anew for every visitor, as `ml.train` draws them. The figure is the share of
the oracle's gain on the test split: the area between the curve of the true effect gained and a random order's, over
that of ranking by the true effect. Beside it stands what each strategy truly earns at its own share. DIR holds
randomised trials. Each split draws training, calibration and test rows anew, and the figure is the Qini coefficient
on the test rows. Every figure is a mean with its standard error over worlds or splits; those of one trial share its
rows, so that error is of the splitting alone.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks.uplift_study import STRATEGIES, Silent
from ml.config import Config, load_config
from ml.data.features import MART, Mart, read_mart
from ml.data.rows import Dataset, build_dataset, take
from ml.experiment.experiment import Experiment, Truth
from ml.experiment.file import Columns, from_file
from ml.experiment.mart import from_mart
from ml.policy.choice import best_share
from ml.policy.estimates import ShareSums
from ml.policy.scored import scored
from ml.uplift.curves import qini_coefficient, rank_order
from ml.uplift.learners import fit_learners
from ml.uplift.names import CHOSEN, RANDOM, RESPONSE, T_LEARNER, TITLES
from ml.uplift.ranks import smallest_share
from ml.uplift.scores import Scores, score_rows, score_table
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

Floats = npt.NDArray[np.float64]
Found = dict[str, float]
LEARNERS = (CHOSEN, *(name for name in TITLES if name != RANDOM))
FEWEST_ROWS = 1000
MAILED = ("Womens E-Mail", "No E-Mail")


@dataclass(frozen=True)
class Trial:
    """A file and what its columns are."""

    name: str
    file: str
    columns: Columns


@dataclass(frozen=True)
class Segment:
    """A segment of a world's test rows: mean true and predicted effect, the measured one and its 95 % interval."""

    name: str
    rows: int
    true: float
    predicted: float
    measured: float
    reach: float


TRIALS = (
    Trial("donors: gave", "karlan_list_charity.csv.gz",
          Columns("treatment", "out_gavedum", ignore=("match_ratio", "out_amountgive", "out_changeamtgive"))),
    Trial("CVs: called back", "resume_callbacks.csv",
          Columns("race", "received_callback", "white", "black", ignore=("firstname", "job_ad_id"))),
    Trial("free care: any use", "rand_hie_year1.csv",
          Columns("coins", "any_use", "0", "95", visitor="zper",
                  ignore=("plan", "meddol", "outpdol", "inpdol", "mdvis", "totadm", "binexp"))),
    Trial("colon cancer: died", "colon_death.csv",
          Columns("rx", "status", "Lev+5FU", "Obs", lower_is_better=True, ignore=("time", "study", "etype", "id"))),
    Trial("HIV results: fetched", "thornton_hiv_complete.csv", Columns("any", "got", ignore=("villnum",))),
    Trial("clinic: linked", "help_rct.csv",
          Columns("treat", "linked", ignore=("id", "link", "linkstatus", "dayslink", "daysanysub", "anysub",
                                             "anysubstatus", "satreat", "e2b"))),
    Trial("training: no job", "nsw_jtrain2.csv",
          Columns("train", "unem78", lower_is_better=True, ignore=("re78", "lre78", "mosinex", "mostrn"))),
    Trial("respiratory: good", "respiratory_four_visits.csv",
          Columns("treat", "outcome", "A", "P", visitor="patient", ignore=("id",))),
)  # fmt: skip
MAIL = tuple(
    Trial(f"mail: {outcome}", "", Columns("segment", outcome, *MAILED, ignore=("spend", other)))
    for outcome, other in (("visit", "conversion"), ("conversion", "visit"))
)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Candidates and their choice in worlds and real trials.")
    parser.add_argument("--duckdb", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--worlds", type=int, default=5)
    parser.add_argument("--trials", type=Path)
    parser.add_argument("--hillstrom", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args()
    names = ["chosen", *(TITLES[name] for name in LEARNERS[1:]), "chosen - response", "chosen - T-learner", "chosen"]
    print(f"| world or trial | {' | '.join(names)} |\n| --- |{' ---: |' * (len(names) - 1)} --- |", flush=True)
    with threadpool_limits(1, user_api="blas"):
        if options.duckdb:
            config = load_config(None, {"duckdb_path": options.duckdb, "manifest": options.manifest}, {})
            segments: list[Segment] = []
            earned: list[Found] = []
            print_row(f"world ({options.worlds})", worlds(config, options.worlds, segments, earned))
            print_segments(segments)
            print_earned(earned)
        files = [(trial, options.trials / trial.file) for trial in TRIALS if options.trials]
        files += [(trial, options.hillstrom) for trial in MAIL if options.hillstrom]
        for trial, path in files:
            print_row(f"{trial.name} ({options.splits})", splits(path, trial.columns, options.splits))


def print_row(name: str, found: Iterable[tuple[str, Found]]) -> None:
    """Print a line of the table: means with standard errors, paired differences, and how often each was chosen."""
    chosen, values = [], []
    for choice, figures in found:
        chosen.append(choice)
        values.append([figures[learner] for learner in LEARNERS])
    if not values:
        print(f"| {name} | too small to rank |", flush=True)
        return
    table = np.array(values)
    own = table[:, :1]
    paired = [own[:, 0] - table[:, LEARNERS.index(learner)] for learner in (RESPONSE, T_LEARNER)]
    cells = [
        f"{column.mean():.3f} ± {column.std(ddof=1) / len(column) ** 0.5 if len(column) > 1 else np.nan:.3f}"
        for column in (*table.T, *paired)
    ]
    counted = ", ".join(f"{learner} {count}" for learner, count in Counter(chosen).most_common())
    print(f"| {name} | {' | '.join(cells)} | {counted} |", flush=True)


def print_segments(segments: list[Segment]) -> None:
    """Print a table of the segments that hold 1,000 test rows or more, in percentage points."""
    print("\n| segment | rows | true | predicted | measured | predicted within the 95 % interval |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in dict.fromkeys(segment.name for segment in segments if segment.rows >= FEWEST_ROWS):
        own = [segment for segment in segments if segment.name == name]
        rows, true, predicted, measured = (
            np.mean([getattr(segment, field) for segment in own]) for field in ("rows", "true", "predicted", "measured")
        )
        inside = sum(abs(segment.predicted - segment.measured) <= segment.reach for segment in own)
        figures = " | ".join(f"{100 * value:.2f}" for value in (true, predicted, measured))
        print(f"| {name} | {rows:,.0f} | {figures} | {inside} of {len(own)} worlds |", flush=True)


def print_earned(earned: list[Found]) -> None:
    """Print what each strategy's share, chosen on the calibration rows, truly earns a session of the test rows."""
    print("\n| strategy | true profit a session |\n| --- | ---: |")
    table = np.array([[found[name] for name in STRATEGIES] for found in earned])
    for name, values in zip((*STRATEGIES, "uplift - response"), (*table.T, table[:, 0] - table[:, 1]), strict=True):
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
        print(f"| {name} | {values.mean():.3f} ± {error:.3f} |", flush=True)


def true_profits(data: Dataset, experiment: Experiment, truth: Truth, scores: Scores, config: Config) -> Found:
    """Choose each strategy's share on the calibration rows, and count what it is expected to earn on the test rows."""
    policy, test = config.policy, experiment.rows("test")
    planned, _ = ShareSums(scored(score_table(data.identity, experiment, scores), ("calibration",), config)).observed()
    effect = truth.effect[test]
    profit = policy.revenue_per_conversion * effect - policy.cost * (data.label[test] + effect)
    chosen = {name: best_share(planned[name], policy, policy.cost) for name in STRATEGIES}
    ranks = {name: smallest_share(scores.percentiles[STRATEGIES[name]][test]) for name in STRATEGIES}
    return {name: float((profit * (ranks[name] <= chosen[name])).mean()) for name in STRATEGIES}


def learned(experiment: Experiment, mart: Mart, config: Config) -> tuple[str, Scores, dict[str, Floats]]:
    """Return what was chosen, what it says of all rows, and every score of the test rows."""
    fits = fit_learners(experiment, mart, config, Silent())
    test, scores = experiment.rows("test"), score_rows(experiment, fits, config.seed)
    # Where no stack has a weight it is no candidate, and ranks nobody.
    nothing = np.zeros(len(experiment))
    return fits.chosen, scores, {name: scores.by_learner.get(name, nothing)[test] for name in LEARNERS}


def segments_of(experiment: Experiment, truth: Truth, scores: Scores) -> Iterable[Segment]:
    """Set what is predicted of each segment against its true effect and what the test rows show."""
    test = experiment.rows("test")
    for code, name in enumerate(truth.segments):
        rows = test[truth.segment[test] == code]
        outcomes = [experiment.outcome[rows[experiment.treatment[rows] == arm]] for arm in (1, 0)]
        if min(map(len, outcomes)):
            error = float(np.sqrt(sum(outcome.var() / len(outcome) for outcome in outcomes)))
            measured = float(outcomes[0].mean() - outcomes[1].mean())
            true, predicted = float(truth.effect[rows].mean()), float(scores.prediction.uplift[rows].mean())
            yield Segment(name, len(rows), true, predicted, measured, 1.96 * error)


def worlds(config: Config, number: int, segments: list[Segment], earned: list[Found]) -> Iterable[tuple[str, Found]]:
    """Draw arms and effects of all visitors anew, and set each ranking against the oracle's."""
    mart = read_mart(read_contracts(config.manifest))
    with open_warehouse(config) as warehouse:
        count, batches = warehouse.read(MART, mart.columns)
        data = build_dataset(batches, count, mart)
        data = take(data, np.flatnonzero(np.asarray(data.decision_point) == config.experiment.decision_point))
        for world in range(number):
            settings = config.experiment
            salted = settings.simulation.model_copy(update={"salt": f"choice {world}"})
            settings = settings.model_copy(update={"simulation": salted})
            experiment = from_mart(data, mart, warehouse, settings).experiment
            if experiment.truth is None:
                raise FunneliftError("this warehouse holds a real experiment, whose effects are not known")
            effect = experiment.truth.effect[experiment.rows("test")]
            chosen, scores, by_learner = learned(experiment, mart, quick(config, world))
            segments += segments_of(experiment, experiment.truth, scores)
            earned.append(true_profits(data, experiment, experiment.truth, scores, config))
            oracle = area(effect, effect)
            yield chosen, {name: area(score, effect) / oracle for name, score in by_learner.items()}


def area(score: Floats, effect: Floats) -> float:
    """Return the area between the curve of the true effect gained by a ranking and that of a random order."""
    return float(np.cumsum(effect[rank_order(score, 0)] - effect.mean()).mean())


def splits(path: Path, columns: Columns, number: int) -> Iterable[tuple[str, Found]]:
    """Split a trial again and again; nothing where it cannot be ranked."""
    for seed in range(number):
        config = quick(load_config(None, {"experiment.allow_mismatch": True}, {}), seed)
        found = from_file(path, columns, config)
        if found.unrankable is not None:
            return
        chosen, _, by_learner = learned(found.experiment, found.mart, config)
        arms = found.experiment.arms("test")
        yield chosen, {name: qini_coefficient(score, arms) for name, score in by_learner.items()}


def quick(config: Config, seed: int) -> Config:
    """Return the settings with another seed and no placebo, which is not asked here."""
    return config.model_copy(update={"seed": seed, "uplift": config.uplift.model_copy(update={"placebo_runs": 0})})


if __name__ == "__main__":
    main()
