"""The command line: `python -m ingest load|synth|baseline`."""

import argparse
import sys

from ingest import baseline, load, synth


def main() -> int:
    """Parse the command line and run one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ingest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    load.add_parser(commands)
    synth.add_parser(commands)
    baseline.add_parser(commands)
    args = parser.parse_args()
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
