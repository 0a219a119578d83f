"""`python -m live serve`: answer for running sessions over HTTP."""

import argparse
import logging
import os
from pathlib import Path

from live.settings import LiveSettings
from ml.cli import Progress, parse_arguments, run
from ml.config import Config

DESCRIPTION = (
    "Take a shop's events over HTTP, keep them on disk, and decide for the sessions that run: how likely each is "
    "to buy, and whether an offer is shown. Features come from the marts' own SQL, decisions from the published "
    "models. Reads the warehouse when it starts and when a build or a training has ended."
)
EXIT_CODES = "Exit codes: 0 stopped; 1 it could not start; 2 wrong usage."
TOKEN = "FUNNELIFT_LIVE_TOKEN"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code.
    """
    options = parse_arguments("live serve", DESCRIPTION, arguments, add_options, EXIT_CODES, check=_check)
    return run(options, lambda config, progress: serve(config, settings_of(options, config), progress))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the service."""
    default = LiveSettings(Path())
    parser.add_argument("--host", default=default.host, help="address to listen on (default: loopback alone)")
    parser.add_argument("--port", type=int, default=default.port, help=f"port (default: {default.port})")
    parser.add_argument("--dry-run", action="store_true", help="decide and log, and show nothing")
    parser.add_argument("--log", type=Path, metavar="DIR", help="folder of the log (default: live in --results)")
    chance = parser.add_argument_group("who is shown something")
    chance.add_argument("--salt", default=default.salt, help="names the experiment: another one gives others the offer")
    chance.add_argument(
        "--explore", type=float, default=default.explore_share, metavar="SHARE",
        help=f"share of visitors that chance decides for, above 0 (default: {default.explore_share:g})",
    )  # fmt: skip
    chance.add_argument(
        "--cap", type=int, default=default.cap_shows, metavar="N",
        help=f"most offers to a visitor in --cap-days (default: {default.cap_shows})",
    )  # fmt: skip
    chance.add_argument("--cap-days", type=float, default=default.cap_days, metavar="DAYS", help="default: 7")
    chance.add_argument("--daily-budget", type=float, metavar="MONEY", help="most that a day's offers may cost")
    running = parser.add_argument_group("running")
    running.add_argument(
        "--close-minutes", type=int, default=default.close_minutes, metavar="N",
        help=f"close a file of the log after so long, for `ingest load` (default: {default.close_minutes})",
    )  # fmt: skip
    running.add_argument(
        "--refresh-seconds", type=float, default=default.refresh_seconds, metavar="N",
        help=f"how often to look for a new build or model (default: {default.refresh_seconds:g})",
    )  # fmt: skip


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if not 0 < options.explore <= 1:
        parser.error("--explore must be above 0 and at most 1: without chance nothing is learnt")
    if not 0 <= options.port <= 65535:
        parser.error("--port must be between 0 and 65535")
    if options.cap < 0 or options.cap_days <= 0 or options.close_minutes < 1 or options.refresh_seconds <= 0:
        parser.error("--cap, --cap-days, --close-minutes and --refresh-seconds must be positive")


def settings_of(options: argparse.Namespace, config: Config) -> LiveSettings:
    """Take the service's settings from its options and the environment.

    Parameters
    ----------
    options : argparse.Namespace
        What the command line says.
    config : Config
        Settings that it shares with ml.

    Returns
    -------
    LiveSettings
        Complete settings.
    """
    return LiveSettings(
        log=options.log or config.results / "live",
        host=options.host,
        port=options.port,
        token=os.environ.get(TOKEN) or None,
        dry_run=options.dry_run,
        salt=options.salt,
        explore_share=options.explore,
        cap_shows=options.cap,
        cap_days=options.cap_days,
        daily_budget=options.daily_budget,
        close_minutes=options.close_minutes,
        refresh_seconds=options.refresh_seconds,
    )


def serve(config: Config, settings: LiveSettings, progress: Progress) -> list[str]:
    """Answer until the process is told to end.

    Parameters
    ----------
    config : Config
        Settings of the warehouse and of the models.
    settings : LiveSettings
        Settings of the service.
    progress : Progress
        Shows the steps.

    Returns
    -------
    list of str
        What to say at the end.
    """
    import uvicorn
    from threadpoolctl import threadpool_limits

    from live.http import make_app
    from live.service import Service

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    service = Service(config, settings)
    with threadpool_limits(1, user_api="blas"):
        with progress.step("compiling the marts' SQL, reading the warehouse and the models"):
            service.start()
        uvicorn.run(
            make_app(service), host=settings.host, port=settings.port, access_log=False, log_level="info",
            timeout_keep_alive=30,
        )  # fmt: skip
    return [f"Stopped. The log is in {settings.log}."]
