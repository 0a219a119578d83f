"""The command line: `python -m live serve`."""

import argparse
import sys
from importlib import import_module

COMMANDS = {"serve": "live.serve", "replay": "live.replay"}


def main() -> int:
    """Parse the command line and run one command; returns its exit code."""
    asked = [command for command in COMMANDS if command in sys.argv[1:2]]
    if asked:
        return int(import_module(COMMANDS[asked[0]]).main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m live", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.parse_args()
    return 2


if __name__ == "__main__":
    sys.exit(main())
