"""Write the Power BI project anew: python -m bi [--out powerbi]."""

import argparse
from pathlib import Path

from bi.powerbi.project import write_project

FOLDER = Path(__file__).resolve().parents[1] / "powerbi"


def main() -> None:
    """Read the options and write the project."""
    parser = argparse.ArgumentParser(prog="python -m bi", description="Write the Power BI project anew.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the project (default: powerbi)")
    folder = parser.parse_args().out
    write_project(folder)
    print(f"Wrote {folder}. Open Funnelift.pbip in Power BI Desktop; docs/powerbi.md says how.")


if __name__ == "__main__":
    main()
