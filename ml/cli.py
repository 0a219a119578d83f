"""What the commands of ml share: options, progress on stderr, and one way to fail."""

import argparse
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console

from ml.config import Config, load_config
from warehouse.errors import FunneliftError
from warehouse.interrupt import INTERRUPTED

EXIT_CODES = (
    "Exit codes: 0 every gate passed and everything is written; 1 refused, and nothing was written; 2 wrong usage."
)


@dataclass(frozen=True)
class Finished:
    """What a command found, line by line, and the exit code that says it to a scheduler."""

    lines: list[str]
    code: int = 0


class Progress:
    """Shows which step is running, and how long each took, on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step while the block runs.

        Parameters
        ----------
        name : str
            What is being done.
        """
        started = time.monotonic()
        with self._console.status(f"{name} ..."):
            yield
        self._console.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim]  {name}")


def parse_arguments(
    command: str,
    description: str,
    arguments: list[str] | None,
    add_options: Callable[[argparse.ArgumentParser], object] = lambda _: None,
    exit_codes: str = EXIT_CODES,
    *,
    check: Callable[[argparse.ArgumentParser, argparse.Namespace], object] = lambda _, __: None,
) -> argparse.Namespace:
    """Read the command line.

    Parameters
    ----------
    command : str
        Module that was run, e.g. `ml.train`.
    description : str
        What it does.
    arguments : list of str, optional
        Arguments; those of the process without it.
    add_options : callable, optional
        Adds the options that only this command has.
    exit_codes : str
        What the command's exit codes mean.
    check : callable, optional
        Refuses options that do not go together.

    Returns
    -------
    argparse.Namespace
        One value an option, None where not given; a dotted name is a setting inside a section.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=description,
        epilog="Every other setting, with its default, is in ml/config.yml. The command line wins over the "
        f"environment, the environment over files. {exit_codes}",
    )
    parser.add_argument("--target", help="warehouse to work on (default: FUNNELIFT_TARGET, else duckdb)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="folder for files (default: FUNNELIFT_RESULTS, else results)"
    )
    parser.add_argument("--seed", type=int, help="seed of every random draw (default: 42)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with settings that differ from ml/config.yml")
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="dbt's manifest.json (default: in DBT_TARGET_PATH, else target/manifest.json)",
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    check(parser, options)
    return options


def add_money_options(parser: argparse.ArgumentParser, *, cost: bool = True) -> argparse._ArgumentGroup:
    """Add the options that say what an intervention costs and a conversion brings.

    Parameters
    ----------
    parser : ArgumentParser
        Parser of a command that values policies.
    cost : bool
        Whether there is one cost, for all who are treated.

    Returns
    -------
    argument group
        The options, to which others may be added.
    """
    money = parser.add_argument_group("money (defaults: policy in ml/config.yml)")
    if cost:
        money.add_argument(
            "--cost", dest="policy.cost", metavar="AMOUNT", help="cost of treating, 0 or more (default: 5)"
        )
    money.add_argument(
        "--cost-per",
        dest="policy.cost_per",
        choices=("redemption", "contact"),
        help="paid for each conversion under treatment, or for each session treated (default: redemption)",
    )
    money.add_argument(
        "--revenue", dest="policy.revenue_per_conversion", metavar="AMOUNT", help="of one conversion (default: 50)"
    )
    money.add_argument(
        "--margin", dest="policy.margin", metavar="SHARE", help="share of revenue that is kept (default: 1.0)"
    )
    money.add_argument(
        "--budget", dest="policy.budget", metavar="AMOUNT", help="most that the horizon may cost (default: no limit)"
    )
    return money


def run(options: argparse.Namespace, command: Callable[[Config, Progress], list[str] | Finished]) -> int:
    """Run a command, print what it found, or say why it failed and what to do.

    Parameters
    ----------
    options : argparse.Namespace
        What `parse_arguments` returned.
    command : callable
        Does the work and returns lines to print, with another exit code than 0 where there is more to say.

    Returns
    -------
    int
        Exit code.
    """
    settings = {name: value for name, value in vars(options).items() if name.partition(".")[0] in Config.model_fields}
    try:
        done = command(load_config(options.config, settings), Progress())
    except FunneliftError as error:
        return _failed(str(error))
    except OSError as error:
        # A disk that is full or a folder that may not be written, wherever it strikes.
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"{where}{error.strerror or error}. What is published stays as it was")
    except KeyboardInterrupt:
        _failed("interrupted: what is published stays as it was")
        return INTERRUPTED
    finished = done if isinstance(done, Finished) else Finished(done)
    # All is published by now: a path that the terminal cannot show must not make a failure of it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in finished.lines:
        print(line)
    return finished.code


def _failed(message: str) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {message}", markup=False)
    return 1


class Steps(Protocol):
    """Shows what is being done."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Show a step while the block runs."""
