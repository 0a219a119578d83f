"""The command line: `python -m ops backup|check|docs|restore|retain|roles|serve`."""

import argparse
import sys

from ops import backup, check, docs, retain, roles, serve


def main() -> int:
    """Parse the command line and run one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    backup.add_parser(commands)
    check.add_parser(commands)
    docs.add_parser(commands)
    retain.add_parser(commands)
    roles.add_parser(commands)
    serve.add_parser(commands)
    args = parser.parse_args()
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
