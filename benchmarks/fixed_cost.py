"""`python -m benchmarks.fixed_cost`: what a dbt command costs however little there is to build.

A small synthetic shop on DuckDB. Each command is a process of its own; they take turns, so that a machine that slows
down slows all of them.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.measure import Measured, measure

VISITORS, ROUNDS = 3_000, 5
DBT = str(Path(sys.executable).with_name("dbt"))
COMMANDS = {
    "dbt parse, all of it": ["parse", "--no-partial-parse"],
    "dbt build of a new warehouse, parsing included": ["build", "--no-partial-parse"],
    "dbt build, nothing new": ["build"],
    "dbt run, nothing new: the same without tests": ["run"],
    "dbt build --full-refresh": ["build", "--full-refresh"],
}


def main() -> None:
    """Parse the command line, run the commands in turn, and print the median of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=VISITORS, help="of the synthetic shop (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each command (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        found = rounds(Path(scratch), args.visitors, args.rounds)
    print(f"\n{args.visitors:,} visitors, median of {args.rounds} runs (all)\n")
    print("| command | wall s | CPU s |\n| --- | ---: | ---: |")
    for name, runs in found.items():
        print(f"| {name} | {told([run.seconds for run in runs])} | {told([run.cpu_seconds for run in runs])} |")


def rounds(folder: Path, visitors: int, count: int) -> dict[str, list[Measured]]:
    """Load a shop and run every command some times.

    Parameters
    ----------
    folder : Path
        An empty folder.
    visitors : int
        Visitors of the shop.
    count : int
        How often each command runs.

    Returns
    -------
    dict of str to list of Measured
        The runs of each command.
    """
    raw, loaded, warehouse = folder / "raw", folder / "loaded.duckdb", folder / "bench.duckdb"
    environment = {
        "FUNNELIFT_TARGET": "duckdb",
        "FUNNELIFT_DUCKDB_PATH": str(warehouse),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
    }
    ingest = [sys.executable, "-m", "ingest"]
    measure("ingest synth", [*ingest, "synth", "--out", str(raw), "--visitors", str(visitors)], environment)
    measure("ingest load", [*ingest, "load", "--raw", str(raw)], environment)
    shutil.copyfile(warehouse, loaded)
    found: dict[str, list[Measured]] = {name: [] for name in COMMANDS}
    for _ in range(count):
        shutil.copyfile(loaded, warehouse)
        for name, arguments in COMMANDS.items():
            found[name].append(measure(name, [DBT, "--quiet", *arguments], environment))
    return found


def told(seconds: list[float]) -> str:
    """The median of some seconds, and each of them."""
    return f"{median(seconds):.1f} ({', '.join(f'{one:.1f}' for one in seconds)})"


if __name__ == "__main__":
    main()
