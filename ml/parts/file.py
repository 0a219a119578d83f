"""`python -m ml.uplift`: the uplift and policy parts of `ml.train` on any experiment in a file."""

import argparse
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from ml.cli import Progress, add_money_options, parse_arguments, run
from ml.config import Config
from ml.experiment.file import Columns, from_file
from ml.experiment.file_rows import tie_breakers
from ml.files import MODELS_FOLDER
from ml.parts.offers import value_of_offers
from ml.parts.people import score_people
from ml.policy.next_experiment import plan_next
from ml.policy.scored import quadrant_counts, scored_by_use, with_quadrants, with_rule
from ml.policy.values import value_policies
from ml.policy.whom import whom_to_treat
from ml.publish.file_model import Rule, model_of, seal, seal_nothing
from ml.publish.files import staged_files, write_csv
from ml.publish.tables import stamped
from ml.publish.uplift_model import save_uplift, uplift_version
from ml.reports.average import as_designed, lines_without_ranking, warnings_of, write_average
from ml.reports.facts import UpliftFacts
from ml.reports.findings import findings_of_file, lines_of_reading
from ml.reports.uplift_files import write_reports
from ml.run import Stamp, run_name
from ml.uplift.evaluate import evaluate
from ml.uplift.learners import fit_learners
from ml.uplift.scores import score_rows, score_table
from warehouse.errors import FunneliftError

DESCRIPTION = (
    "Estimate whom the treatment of a randomised experiment changes, and value whom to target, from a CSV or Parquet "
    "file with one row per unit. Columns that are not named below are features: leave out with --ignore whatever was "
    "measured after the treatment. With --score, say of other people whom to treat, by the model and the rule of such "
    "a run."
)
# Costs besides --cost, each for all offers or for one.
OFFER_COSTS = {
    "contact_cost": "besides --cost, paid for each row treated (default: 0)",
    "cost_share": "besides --cost, a share of what the treated spend, 0 to 1 (default: 0)",
    "fixed_cost": "besides --cost, paid once if the offer is made at all (default: 0)",
}
# What a run with --score takes; all else was decided by the run that made the model.
WITH_SCORE = ("score", "model", "out", "target", "results", "seed", "config", "manifest")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code: 0 only if every gate passed.
    """
    options = parse_arguments("ml.uplift", DESCRIPTION, arguments, _add_options, check=_check_options)
    if options.out is not None:
        options.results = options.out
    return run(options, partial(_command, options=options))


def _command(config: Config, progress: Progress, options: argparse.Namespace) -> list[str]:
    if options.score is not None:
        return score_people(config, progress, options)
    columns = _columns(options)
    is_paid_besides = config.policy.has_further_costs or any(getattr(options, name) for name in OFFER_COSTS)
    if columns.offers or columns.value is not None or is_paid_besides:
        return value_of_offers(config, progress, options, columns)
    return uplift(config, progress, options)


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    given = {name for name, value in vars(options).items() if value not in (None, False)}
    if options.score is None:
        outcome = options.outcome_column or options.value_column
        needed = {"--treatment-column": options.treatment_column, "--outcome-column": outcome}
        missing = [option for option, value in needed.items() if value is None]
        if missing:
            parser.error(f"the following arguments are required with --experiment: {', '.join(missing)}")
        if options.model is not None:
            parser.error("--model goes with --score")
        if options.value_column is not None and getattr(options, "policy.revenue_per_conversion") is not None:
            parser.error("--revenue is what a conversion brings: with --value-column the file says it")
        # An amount for all is a setting; one for an offer is not.
        plain = [text for text in options.cost or () if "=" not in text]
        setattr(options, "policy.cost", plain[-1] if plain else None)
        return
    if options.model is None or options.out is None:
        parser.error("the following arguments are required with --score: --model, --out")
    if options.out.absolute() in (options.model.absolute(), options.model.absolute().parent):
        parser.error(f"--out {options.out} holds the scores of the experiment: give another folder")
    others = sorted(given - set(WITH_SCORE))
    if others:
        parser.error(
            f"--score takes --model and --out alone, for the rest was decided when the model was made; given: "
            f"{', '.join(name.rpartition('.')[2].replace('_', '-') for name in others)}"
        )


def uplift(config: Config, progress: Progress, options: argparse.Namespace) -> list[str]:
    """Read the experiment, check it, fit, score, evaluate, value and write the reports.

    Parameters
    ----------
    config : Config
        Settings; the reports go to `results`.
    progress : Progress
        Shows the steps.
    options : Namespace
        File and columns, as the command line has them.

    Returns
    -------
    list of str
        What was found, which differences are real, and where it is.

    Raises
    ------
    FunneliftError
        When the file or the experiment cannot be used; nothing is written then.
    """
    run_id = run_name(datetime.now(UTC))
    if config.policy.value_column is not None:
        raise FunneliftError(
            "policy.value_column works on the mart only: for a file, state --revenue, the mean of a conversion"
        )
    with threadpool_limits(1, user_api="blas"), staged_files(config.results, run_id) as folder:
        with progress.step("reading the experiment; gates: sample ratio, balance, leakage"):
            columns = _columns(options)
            share = _share(options.treated_share)
            found = from_file(options.experiment_file, columns, config, treated_share=share)
            experiment, randomisation = found.experiment, found.randomisation
        if found.unrankable is not None:
            stamp = Stamp(run_id, "", datetime.now(UTC), is_simulated=False)
            seal_nothing(folder / MODELS_FOLDER, run_id, found.unrankable)
            write_average(folder, found, stamp, columns, config.evaluation.confidence)
            return [*lines_of_reading(found), *lines_without_ranking(found, columns, config.results)]
        fits = fit_learners(experiment, found.mart, config, progress)
        with progress.step("scoring every row of the experiment"):
            scores = score_rows(experiment, fits, config.seed, tie_breakers(experiment.inputs, config.seed))
        with progress.step("evaluating all learners on the test split"):
            bootstrap = config.bootstrap(config.uplift.bootstrap_resamples)
            evaluation = evaluate(experiment, scores, fits, config.uplift.top_shares, bootstrap)
            evaluation = as_designed(evaluation, found.average)
            whom = whom_to_treat(experiment, fits, scores, found.mart, config)
        hashes = save_uplift(folder / MODELS_FOLDER, fits, found.mart, experiment, scores)
        stamp = Stamp(run_id, uplift_version(fits.chosen, hashes), datetime.now(UTC), is_simulated=False)
        baseline_rate = fits.t_learner.baseline_rate
        rows = with_quadrants(score_table(found.identity, experiment, scores), baseline_rate, config)
        with progress.step("policy value, return on investment, the next experiment"):
            calibration, valued, test = scored_by_use(rows, config)
            bootstrap = config.bootstrap(config.policy.bootstrap_resamples)
            value = value_policies(calibration, valued, config.policy, float(len(rows)), bootstrap)
            rows = with_rule(rows, value.chosen["uplift"])
            rows_per_day = options.rows_per_day or len(rows) / config.policy.horizon_days
            plan = plan_next(test, value.chosen["uplift"], rows_per_day, config)
        facts = UpliftFacts.of(
            config, stamp, evaluation, value, plan,
            source=found.source,
            eligible=f"all {len(rows):,} rows of the experiment",
            first_at=None,
            last_at=None,
            quadrant_counts=quadrant_counts(rows),
            mismatch_p=randomisation.ratio_p,
            balance_worst=randomisation.worst_balance,
            funnel=None,
            units="rows",
            average=found.average,
            whom=whom,
            notes=tuple(found.notes),
        )  # fmt: skip
        with progress.step("writing files"):
            model = model_of(
                found, columns, hashes=hashes, run_id=run_id, model_version=stamp.model_version, seed=config.seed,
                baseline_rate=baseline_rate, rule=Rule(value.chosen["uplift"], config.policy),
            )  # fmt: skip
            seal(folder / MODELS_FOLDER, model)
            write_csv(folder / "predictions" / "uplift_scores.csv", stamped(rows, stamp))
            write_reports(folder, facts, warnings_of(found))
    return findings_of_file(facts, found, columns)


def _columns(options: argparse.Namespace) -> Columns:
    treated = tuple(options.treated or ())
    return Columns(
        treatment=options.treatment_column,
        outcome=options.outcome_column or options.value_column,
        treated=treated[0] if len(treated) == 1 else None,
        control=options.control,
        visitor=options.visitor_column,
        stratum=options.stratum_column,
        propensity=options.propensity_column,
        lower_is_better=options.lower_is_better,
        ignore=tuple(options.ignore or ()),
        offers=treated if len(treated) > 1 else (),
        value=options.value_column,
    )


def _share(texts: list[str] | None) -> float | None:
    """Return the designed share of the treated, of the only treatment."""
    if not texts:
        return None
    try:
        share = float(texts[-1].rpartition("=")[2])
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise FunneliftError(f"--treated-share {texts[-1]} is not between 0 and 1")
    return share


def _count(text: str) -> float:
    count = float(text)
    if not 0 < count < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return count


def _add_options(parser: argparse.ArgumentParser) -> None:
    file = parser.add_mutually_exclusive_group(required=True)
    file.add_argument(
        "--experiment", dest="experiment_file", type=Path, metavar="FILE", help="learn from it: CSV, CSV.gz or Parquet"
    )
    file.add_argument("--score", type=Path, metavar="FILE", help="people to score, with the columns of the features")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder models/ of the run that learnt, for --score")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the files (default: --results)")
    experiment = parser.add_argument_group("the experiment")
    experiment.add_argument("--treatment-column", metavar="C", help="column that holds the arm")
    experiment.add_argument(
        "--treated",
        action="append",
        metavar="VALUE",
        help="its value for the treated (default: 1); often: several offers",
    )
    experiment.add_argument("--control", metavar="VALUE", help="its value for the others (default: 0)")
    experiment.add_argument("--outcome-column", metavar="Y", help="column of 0 and 1, or of amounts")
    experiment.add_argument(
        "--value-column",
        metavar="C",
        help="column of money: rank and value by it (then Y says who bought; default: C > 0)",
    )
    experiment.add_argument(
        "--ignore", action="append", metavar="COL", help="column that is no feature; may be given often"
    )
    experiment.add_argument("--visitor-column", metavar="COL", help="the unit that was randomised (default: each row)")
    experiment.add_argument(
        "--stratum-column", metavar="COL", help="the stratum within which units were randomised (default: none)"
    )
    experiment.add_argument(
        "--propensity-column", metavar="COL", help="each row's chance of treatment (default: one chance in a stratum)"
    )
    experiment.add_argument(
        "--lower-is-better", action="store_true", help="an outcome of 1 is bad, as with churn and returns"
    )
    experiment.add_argument(
        "--treated-share",
        action="append",
        metavar="[OFFER=]SHARE",
        help="designed share of treated units, to test the sample ratio; of several offers: one each",
    )
    experiment.add_argument(
        "--allow-mismatch",
        dest="experiment.allow_mismatch",
        action="store_const",
        const="true",
        help="go on where sizes or features of the arms differ by more than chance, and say so",
    )
    experiment.add_argument(
        "--rows-per-day", type=_count, metavar="N", help="for the planner (default: the file's rows over the horizon)"
    )
    money = add_money_options(parser, cost=False)
    money.add_argument(
        "--cost", action="append", metavar="[OFFER=]AMOUNT", help="cost of treating, 0 or more (default: 5)"
    )
    for name, text in OFFER_COSTS.items():
        money.add_argument(f"--{name.replace('_', '-')}", action="append", metavar="[OFFER=]AMOUNT", help=text)


if __name__ == "__main__":
    sys.exit(main())
