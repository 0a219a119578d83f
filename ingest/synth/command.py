"""`python -m ingest synth`: a synthetic shop in RetailRocket's file layout."""

import argparse
import sys
from pathlib import Path

from ingest.synth.files import LEAST_VISITORS, SynthError, synthesise


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the `synth` command.

    Parameters
    ----------
    commands : argparse sub-parsers
        Where to add it.
    """
    parser = commands.add_parser(
        "synth",
        help="write a synthetic shop in RetailRocket's file layout",
        description="Write synthetic events, item properties and a category tree, calibrated to published RetailRocket "
        "figures (docs/synthetic.md). Equal visitors and seed give byte-identical files.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; empty, new or an earlier output")
    parser.add_argument("--visitors", type=int, required=True, help=f"number of visitors, at least {LEAST_VISITORS}")
    parser.add_argument("--seed", type=int, default=42, help="0 or more (default 42)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the `synth` command.

    Parameters
    ----------
    args : argparse.Namespace
        `out`, `visitors` and `seed`.

    Returns
    -------
    int
        Exit code: 0 written, 1 not writable, 2 refused.
    """
    try:
        counts = synthesise(args.out, args.visitors, args.seed)
    except SynthError as error:
        print(f"synth: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"synth: cannot write to --out {args.out}: {error}", file=sys.stderr)
        return 1
    print(
        f"Wrote SYNTHETIC data to {args.out}: {counts['events']:,} events of {counts['visitors']:,} visitors, "
        f"{counts['item_properties']:,} item property rows, {counts['categories']:,} categories "
        f"(seed {counts['seed']}).",
        file=sys.stderr,
    )
    return 0
