"""`python -m ml.uplift`: the uplift and policy parts of `ml.train` on any experiment in a file."""

import argparse
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from ml.cli import Progress, add_money_options, parse_arguments, run
from ml.config import Config
from ml.experiment.file import FileExperiment, from_file
from ml.files import sha256_of
from ml.policy.scored import with_quadrants
from ml.policy.valued import value
from ml.publish.artifacts import model_version
from ml.publish.files import staged_files, write_csv
from ml.publish.tables import stamped
from ml.reports.facts import UpliftFacts
from ml.reports.uplift_files import write_reports
from ml.reports.wording import TITLES
from ml.run import Stamp, run_name
from ml.uplift.judge import Judged, judge
from ml.uplift.metrics import UpliftMetric
from ml.uplift.names import PLACEBO, T_LEARNER
from warehouse.errors import FunneliftError

if TYPE_CHECKING:
    import pyarrow as pa

DESCRIPTION = (
    "Estimate whom the treatment of a randomised experiment changes, and value whom to target, from a CSV or Parquet "
    "file with one row a unit. Columns that are not named below are features: leave out with --ignore whatever was "
    "measured after the treatment."
)


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
    options = parse_arguments("ml.uplift", DESCRIPTION, arguments, _add_options)
    if options.out is not None:
        options.results = options.out
    return run(options, partial(uplift, options=options))


def uplift(config: Config, progress: Progress, options: argparse.Namespace) -> list[str]:
    """Read the experiment, check it, learn, judge, value and write the reports.

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
    started = datetime.now(UTC)
    run_id = run_name(started)
    if config.policy.value_column is not None:
        raise FunneliftError(
            "policy.value_column works on the mart only: for a file, state --revenue, the mean of a conversion"
        )
    with threadpool_limits(1, user_api="blas"), staged_files(config.results, run_id) as folder:
        with progress.step("reading the experiment; gates: sample ratio, balance, leakage"):
            found = from_file(
                options.experiment_file,
                options.treatment_column,
                options.treated,
                options.control,
                options.outcome_column,
                options.ignore or [],
                options.visitor_column,
                config,
                options.treated_share,
            )
        judged = judge(found.experiment, found.mart, config, progress)
        judged.learned.t_learner.save(folder / "models")
        hashes = {path.name: sha256_of(path) for path in sorted((folder / "models").iterdir())}
        stamp = Stamp(run_id, model_version(T_LEARNER, hashes), datetime.now(UTC))
        rows = with_quadrants(_rows(found, judged), judged.learned.t_learner.usual_rate, config)
        with progress.step("policy value, return on investment, the next experiment"):
            valued = value(
                rows, config, float(len(rows)), options.rows_per_day or len(rows) / config.policy.horizon_days
            )
        randomisation = found.randomisation
        worst = randomisation.balances[0] if randomisation.balances else None
        facts = UpliftFacts(
            config=config,
            run_id=run_id,
            model_version=stamp.model_version,
            finished_at=stamp.scored_at,
            source=found.source,
            eligible=f"all {len(rows):,} rows of the experiment",
            is_simulated=False,
            is_synthetic=False,
            first_at=None,
            last_at=None,
            metrics=[entry for entry in judged.metrics if entry.learner != PLACEBO],
            deciles=judged.deciles,
            policy=valued.policy,
            plans=valued.plans,
            tests=valued.tests,
            tested_share=valued.tested_share,
            quadrant_counts=valued.quadrant_counts,
            placebo_qini=next((entry for entry in judged.metrics if entry.learner == PLACEBO), None),
            pehe=None,
            pehe_constant=None,
            mismatch_p=randomisation.ratio_p,
            balance_worst=(worst.covariate, worst.smd, randomisation.worst_p) if worst else None,
            funnel=None,
            curves=judged.curves,
            units="rows",
        )
        with progress.step("writing files"):
            write_csv(folder / "predictions" / "uplift_scores.csv", stamped(rows, stamp))
            write_reports(folder, facts, randomisation.warnings)
    return _findings(facts, found)


def statement(entry: UpliftMetric) -> str:
    """Say in one sentence whether a paired difference between two learners is real.

    Parameters
    ----------
    entry : UpliftMetric
        A difference: its `versus` names the learner it is the difference to.

    Returns
    -------
    str
        One sentence with the interval.
    """
    interval = f"{entry.value:+.4f} [{entry.ci_lower:+.4f}, {entry.ci_upper:+.4f}]"
    learner, versus = TITLES[entry.learner], TITLES[entry.versus]
    if entry.ci_lower > 0:
        return f"{learner} ranks better than {versus}: {interval}, a real difference."
    if entry.ci_upper < 0:
        return f"{learner} ranks worse than {versus}: {interval}, a real difference."
    return f"{learner} against {versus}: {interval}, no difference shown."


def _rows(found: FileExperiment, judged: Judged) -> "pa.Table":
    import pyarrow as pa

    columns = {name: (found.identity.column(name), False) for name in found.identity.column_names} | judged.columns
    schema = pa.schema([pa.field(name, values.type, nullable) for name, (values, nullable) in columns.items()])
    return pa.Table.from_arrays([values for values, _ in columns.values()], schema=schema)


def _findings(facts: UpliftFacts, found: FileExperiment) -> list[str]:
    left_out = "".join(f" {count:,} rows with {value!r} were left out." for value, count in found.other_arms.items())
    lines = [f"{found.source}: {len(found.experiment):,} of {found.rows_read:,} rows.{left_out}"]
    lines += [f"Column {name} is no feature: {reason}." for name, reason in found.dropped.items()]
    for metric, where in (("average_effect_all_slices", "all"), ("average_effect", "test")):
        average = facts.metric("all", metric)
        if average is not None:
            lines.append(
                f"Average effect on {average.n_rows:,} rows ({where}): {average.value:+.4f} "
                f"[{average.ci_lower:+.4f}, {average.ci_upper:+.4f}], treated minus control."
            )
    for name in TITLES:
        qini = facts.metric(name, "qini")
        if qini is not None:
            lines.append(f"Qini of {TITLES[name]}: {qini.value:.4f} [{qini.ci_lower:.4f}, {qini.ci_upper:.4f}].")
    lines += [statement(entry) for entry in facts.metrics if entry.versus in TITLES and entry.metric == "qini"]
    chosen = facts.chosen
    if chosen is None:
        lines.append("No share of rows earns more than it costs: treat nobody.")
    else:
        lines.append(
            f"Best share {chosen.share_percent} %: profit {chosen.profit:,.0f} [{chosen.profit_ci_lower:,.0f}, "
            f"{chosen.profit_ci_upper:,.0f}] for {chosen.eligible_sessions:,.0f} rows."
        )
    return [*lines, f"Files: {facts.config.results}/ (recommendations.md, figures/, metrics/, predictions/, models/)."]


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


def _count(text: str) -> float:
    count = float(text)
    if not 0 < count < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return count


def _add_options(parser: argparse.ArgumentParser) -> None:
    experiment = parser.add_argument_group("the experiment")
    experiment.add_argument(
        "--experiment", dest="experiment_file", type=Path, required=True, metavar="FILE", help="CSV, CSV.gz or Parquet"
    )
    experiment.add_argument("--treatment-column", required=True, metavar="C", help="column that holds the arm")
    experiment.add_argument("--treated", metavar="VALUE", help="its value for the treated (default: 1)")
    experiment.add_argument("--control", metavar="VALUE", help="its value for the others (default: 0)")
    experiment.add_argument("--outcome-column", required=True, metavar="Y", help="column of 0 and 1")
    experiment.add_argument(
        "--ignore", action="append", metavar="COL", help="column that is no feature; may be given often"
    )
    experiment.add_argument("--visitor-column", metavar="COL", help="the unit that was randomised (default: each row)")
    experiment.add_argument(
        "--treated-share",
        type=_share,
        metavar="SHARE",
        help="designed share of treated units, to test the sample ratio",
    )
    experiment.add_argument(
        "--rows-per-day", type=_count, metavar="N", help="for the planner (default: the file's rows over the horizon)"
    )
    experiment.add_argument("--out", type=Path, metavar="DIR", help="folder for the files (default: --results)")
    add_money_options(parser)


if __name__ == "__main__":
    sys.exit(main())
