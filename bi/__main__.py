"""Write the Power BI project anew, or look for references in it that lead nowhere."""

import argparse
import sys
from pathlib import Path

from bi.powerbi.check import problems
from bi.powerbi.project import write_project
from bi.tables import known_columns
from warehouse.errors import FunneliftError

FOLDER = Path(__file__).resolve().parents[1] / "powerbi"


def main() -> int:
    """Read the options and write or check the project.

    Returns
    -------
    int
        0, or 1 when a check found something or a measure is not defined as it must be.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bi",
        description="Write the Power BI project anew from bi/measures/*.yml and models/bi/. docs/powerbi.md says more.",
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the project (default: powerbi)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; name references that lead nowhere, also after Desktop saved it",
    )
    options = parser.parse_args()
    if options.check:
        found = problems(options.out, known_columns())
        print("\n".join(found) or f"{options.out}: every reference leads somewhere.")
        return 1 if found else 0
    try:
        write_project(options.out)
    except FunneliftError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Wrote {options.out}. Open Funnelift.pbip in Power BI Desktop; docs/powerbi.md says how.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
