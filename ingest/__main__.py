"""The command line: `python -m ingest map|check|load|loads|unload|synth|baseline`."""

import argparse
import io
import sys
from importlib import import_module

COMMANDS = {
    "map": "ingest.guess.command",
    "check": "ingest.check",
    "load": "ingest.load",
    "loads": "ingest.loads",
    "unload": "ingest.unload",
    "synth": "ingest.synth.command",
    "baseline": "ingest.baseline",
}


def main() -> int:
    """Parse the command line and run one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ingest", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    # Only the one asked for: what the others need, such as pandas, takes longer to import than a small file to load.
    asked = [command for command in COMMANDS if command in sys.argv[1:2]]
    for command in asked or COMMANDS:
        import_module(COMMANDS[command]).add_parser(commands)
    args = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code: int = args.run(args)
    return code


if __name__ == "__main__":
    sys.exit(main())
