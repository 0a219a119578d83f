"""`python -m ml.train`: from the marts to published predictions and recommendations, if every gate passes."""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from threadpoolctl import threadpool_limits

from ml.cli import Progress, add_money_options, parse_arguments, run
from ml.config import Config
from ml.data.checked import read_checked
from ml.data.features import Mart, read_mart
from ml.parts.conversion import train_conversion
from ml.parts.outcome import Outcome
from ml.parts.policy import publish_uplift, train_policy
from ml.parts.uplift import read_uplift, train_uplift
from ml.publish.files import staged_files
from ml.report.page import refresh_report
from ml.run import Run, run_name
from warehouse.base import Warehouse
from warehouse.contract import read_contracts
from warehouse.open import open_warehouse

DESCRIPTION = (
    "Predict whether a session still converts, estimate whom an intervention would change, value whom to target, and "
    "publish all of it. Needs the marts and the manifest that `dbt build` writes."
)
PARTS = ("conversion", "uplift", "policy")


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
    options = parse_arguments("ml.train", DESCRIPTION, arguments, _add_options)
    return run(options, partial(train, only=options.only))


def train(config: Config, progress: Progress, only: str | None = None) -> list[str]:
    """Read the marts, run the parts asked for and publish what they made in one go.

    Parameters
    ----------
    config : Config
        Settings.
    progress : Progress
        Shows the steps.
    only : str, optional
        One of `PARTS`; all of them without it. The policy part alone values the scores of the last uplift run anew.

    Returns
    -------
    list of str
        What was found and where it is.

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
        with staged_files(config.results, run_id) as folder:
            this = Run(config, contracts, run_id, started, folder, progress)
            outcomes = list(_outcomes(this, warehouse, mart, only))
            with progress.step("publishing tables"):
                warehouse.publish([table for outcome in outcomes for table in outcome.publications])
        return [line for outcome in outcomes for line in outcome.findings] + refresh_report(warehouse, config, progress)


def _outcomes(this: Run, warehouse: Warehouse, mart: Mart, only: str | None) -> Iterator[Outcome]:
    """Run the parts asked for, one after the other."""
    if only == "policy":
        yield train_policy(this, warehouse, read_uplift(this, warehouse))
        return
    checked = read_checked(this, warehouse, mart)
    if only != "uplift":
        yield train_conversion(this, checked)
    if only != "conversion":
        uplift = train_uplift(this, checked, warehouse)
        yield publish_uplift(this, uplift) if only == "uplift" else train_policy(this, warehouse, uplift)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        choices=PARTS,
        help="one part: conversion (will it convert), uplift (whom does an intervention change), policy (the money, "
        "anew from the last uplift scores, e.g. with other costs); all of them without it",
    )
    add_money_options(parser)


if __name__ == "__main__":
    sys.exit(main())
