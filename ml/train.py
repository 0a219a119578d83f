"""`python -m ml.train`: from the marts to published predictions and recommendations, if every gate passes."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from threadpoolctl import threadpool_limits

from ml.cli import Finished, Progress, add_money_options, parse_arguments, run
from ml.config import Config
from ml.data.build import Build, check_same_build, whole_build
from ml.data.checked import read_checked
from ml.data.features import Mart, read_mart
from ml.parts.conversion import train_conversion
from ml.parts.mart_offers import train_offers
from ml.parts.outcome import Outcome
from ml.parts.policy import publish_uplift, train_policy
from ml.parts.uplift import check_settings, read_uplift, train_uplift
from ml.publish.files import place_models, staged_files
from ml.publish.registry import SCORE_RUNS, ScoreRun, is_registered, next_number, score_runs
from ml.publish.releases import prune
from ml.report.page import refresh_report
from ml.run import Run, run_name
from warehouse.base import Publication, Warehouse
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

DESCRIPTION = (
    "Predict whether a session still converts, estimate whom an intervention would change, value whom to target, and "
    "publish all of it. Needs the marts and the manifest that `dbt build` writes."
)
PARTS = ("conversion", "uplift", "policy")
EXIT_REFUSED = 3
EXIT_CODES = (
    "Exit codes: 0 every gate passed and everything is written; 1 refused, and nothing was written; 2 wrong usage; "
    f"{EXIT_REFUSED} trained, but the champion is worse than the published one, which stays."
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
        Exit code: 0 if every gate passed and the run is published, 3 if the published champion stays.
    """
    options = parse_arguments("ml.train", DESCRIPTION, arguments, _add_options, exit_codes=EXIT_CODES)
    return run(options, partial(train, only=options.only, force=options.force))


def train(config: Config, progress: Progress, only: str | None = None, *, force: bool = False) -> Finished:
    """Read the marts, run the parts asked for and publish what they made in one go.

    Parameters
    ----------
    config : Config
        Settings.
    progress : Progress
        Shows the steps.
    only : str, optional
        One of `PARTS`; all of them without it. The policy part alone values the scores of the last uplift run anew.
    force : bool
        Whether a champion that is worse than the published one takes its place all the same.

    Returns
    -------
    Finished
        What was found and where it is, and the exit code.

    Raises
    ------
    FunneliftError
        When a gate fails or something is missing; nothing is published then.
    """
    started = datetime.now(UTC)
    run_id = run_name(started)
    contracts = read_contracts(config.manifest)
    mart = read_mart(contracts)
    # The threads of each part share the work; linear algebra with threads of its own only gets in their way.
    with threadpool_limits(1, user_api="blas"), open_warehouse(config) as warehouse:
        build = whole_build(warehouse)
        with staged_files(config.results, run_id, partial(is_registered, warehouse)) as folder:
            this = Run(config, contracts, run_id, started, folder, progress)
            outcomes = list(_outcomes(this, warehouse, mart, only, force))
            check_same_build(warehouse, build)
            with progress.step("publishing tables"):
                place_models(config.results, run_id)
                warehouse.publish(_publications(this, warehouse, outcomes, build))
        prune(warehouse, config.results, config.models_kept)
        lines = [line for outcome in outcomes for line in outcome.findings] + refresh_report(
            warehouse, config, progress
        )
    refusals = [_refused(run_id, outcome.refusal) for outcome in outcomes if outcome.refusal]
    return Finished([*refusals, *lines], EXIT_REFUSED if refusals else 0)


def _outcomes(this: Run, warehouse: Warehouse, mart: Mart, only: str | None, force: bool) -> Iterator[Outcome]:
    """Run the parts asked for, one after the other."""
    learns_gains = this.config.learns_gains
    if only == "policy" and learns_gains:
        raise FunneliftError(
            "what an offer earns is learnt with its costs (experiment.outcome: revenue, or one of policy.contact_cost, "
            "policy.cost_share, policy.fixed_cost), so other prices need another learning: `python -m ml.train --only "
            "uplift`, which values the policies too"
        )
    if only == "policy":
        yield train_policy(this, warehouse, read_uplift(this, warehouse))
        return
    checked = read_checked(this, warehouse, mart, only)
    if only != "conversion":
        check_settings(checked, this.config)
    if only != "uplift":
        yield train_conversion(this, checked, warehouse, force=force)
    if only != "conversion" and learns_gains:
        yield train_offers(this, checked, warehouse)
    elif only != "conversion":
        uplift = train_uplift(this, checked, warehouse)
        yield publish_uplift(this, warehouse, uplift) if only == "uplift" else train_policy(this, warehouse, uplift)


def _publications(this: Run, warehouse: Warehouse, outcomes: Sequence[Outcome], build: Build) -> list[Publication]:
    tables = [table for outcome in outcomes for table in outcome.publications]
    rows = {table.name: table.row_count for table in tables}
    number = next_number(warehouse, this.contracts[SCORE_RUNS])
    scored = [
        (ScoreRun(number, name, "train", build.number, rows[name], 0, 0), stamp)
        for outcome in outcomes
        for name, stamp in outcome.scored.items()
    ]
    return [*tables, score_runs(this.contracts[SCORE_RUNS], scored)] if scored else tables


def _refused(run_id: str, reason: str) -> str:
    return (
        f"REFUSED: the champion of run {run_id} does not take the published one's place. {reason} What is published "
        f"stays: `python -m ml.score` brings that up to date, `python -m ml.rollback {run_id}` publishes this one."
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        choices=PARTS,
        help="one part: conversion (will it convert), uplift (whom does an intervention change), policy (the money, "
        "anew from the last uplift scores, e.g. with other costs); all of them without it",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish the champion even if it is worse than the published one on the common test rows",
    )
    add_money_options(parser)


if __name__ == "__main__":
    sys.exit(main())
