"""`python -m benchmarks.daily_build`: what one more day costs to build, beside a full build of everything.

A synthetic shop without its last days is loaded and built; then each day is loaded and built. All are whole commands,
with start-up and parsing. `dbt run` leaves the tests out; a build with nothing new shows what every build costs;
parsing alone is told apart. Runs on the engine that FUNNELIFT_TARGET names, which must hold no warehouse yet.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.daily_load import FULL_VISITORS, PYTHON, check_empty, forget, place, split, synthesise
from benchmarks.measure import Measured, measure

DBT = str(Path(sys.executable).with_name("dbt"))
SLOWEST = 8


def main() -> None:
    """Parse the command line, build day by day, and print what each command took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, help="folder of a synthetic shop (default: one is made)")
    parser.add_argument("--visitors", type=int, default=FULL_VISITORS, help="of the synthetic shop")
    parser.add_argument("--copies", type=int, default=1, help="how often the history stands in the warehouse")
    parser.add_argument("--events", type=int, default=20_000, help="events of a day (default: %(default)s)")
    parser.add_argument("--days", type=int, default=3, help="how many days are built (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    parser.add_argument("--slowest", action="store_true", help="name the slowest models and tests of each build")
    args = parser.parse_args()
    if args.scratch is not None:
        args.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        check_empty()
        raw = args.raw or synthesise(folder / "raw", args.visitors)
        history, days = split(raw / "events.csv", folder, args)
        # Away from the marker that calls the folder synthetic: the days have none, and the two are never mixed.
        about = [raw / "category_tree.csv", *sorted(raw.glob("item_properties*.csv"))]
        about = [Path(shutil.copy(file, folder / file.name)) for file in about]
        try:
            steps = run(days, [history, *about], folder, slowest=args.slowest)
        finally:
            forget()
    print("\n| command | wall s | CPU s | peak GB |\n| --- | ---: | ---: | ---: |")
    for step in steps:
        print(f"| {step.name} | {step.seconds:.1f} | {step.cpu_seconds:.1f} | {step.peak_gb:.2f} |")


def run(days: list[Path], first: list[Path], folder: Path, *, slowest: bool) -> list[Measured]:
    """Load and build the history, then day after day; returns what each command took."""
    where = place(folder, "history") | {
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "FUNNELIFT_RESULTS": str(folder / "results"),
    }

    def load(files: list[Path], what: str) -> Measured:
        return measure(f"ingest load, {what}", [*PYTHON, "ingest", "load", "--raw", *map(str, files)], where)

    def dbt(command: str, what: str) -> Measured:
        step = measure(f"dbt {command}, {what}", [DBT, "--quiet", *command.split()], where)
        if slowest and command != "parse":
            tell_slowest(folder / "target" / "run_results.json")
        return step

    steps = [load(first, "history"), dbt("parse", "from nothing"), dbt("build", "everything")]
    steps += [dbt("parse", "again"), dbt("build", "nothing new")]
    for number, day in enumerate(days, 1):
        steps.append(load([day], f"day {number}"))
        # The last day without tests, to tell them apart.
        steps.append(dbt("run" if number == len(days) > 1 else "build", f"day {number}"))
    steps.append(dbt("build --full-refresh", "everything anew"))
    return steps


def tell_slowest(results: Path) -> None:
    """Print the nodes that took longest in the last dbt command."""
    nodes = json.loads(results.read_text())["results"]
    nodes.sort(key=lambda node: node["execution_time"], reverse=True)
    told = (f"{node['unique_id'].split('.')[2]} {node['execution_time']:.1f}" for node in nodes[:SLOWEST])
    print(f"    {len(nodes)} nodes; slowest (s): {', '.join(told)}")


if __name__ == "__main__":
    main()
