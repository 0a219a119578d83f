"""`python -m ingest baseline`: recount raw files in plain pandas, as rows for `seeds/eda_baseline.csv`.

The recount shares no code with the dbt models, so that the two can be held against each other.
"""

import argparse
import csv
import sys
from pathlib import Path

import pandas as pd

SESSION_TIMEOUT_MS = 1_800_000


def recount(events: pd.DataFrame) -> dict[str, float]:
    """Count what the marts must show, from raw events alone.

    Parameters
    ----------
    events : DataFrame
        One row per raw line: timestamp (epoch ms), visitorid, event, itemid, transactionid.

    Returns
    -------
    dict
        Metric to value: counts, and the share of 30-minute sessions with a transaction.
    """
    distinct = events.drop_duplicates().sort_values(["visitorid", "timestamp"], kind="stable")
    gap = distinct.groupby("visitorid")["timestamp"].diff()
    session = (gap.isna() | (gap > SESSION_TIMEOUT_MS)).cumsum()
    cart_sessions = session[distinct["event"] == "addtocart"].nunique()
    buyers = distinct.loc[distinct["event"] == "transaction", "visitorid"].nunique()
    transaction_sessions = session[distinct["event"] == "transaction"].nunique()
    return {
        "raw_events": len(events),
        "first_event_second": int(events["timestamp"].min()) // 1000,
        "last_event_second": int(events["timestamp"].max()) // 1000,
        "events": len(distinct),
        "views": int((distinct["event"] == "view").sum()),
        "addtocarts": int((distinct["event"] == "addtocart").sum()),
        "transactions": int((distinct["event"] == "transaction").sum()),
        "visitors": distinct["visitorid"].nunique(),
        "cart_visitors": distinct.loc[distinct["event"] == "addtocart", "visitorid"].nunique(),
        "buyers": buyers,
        "buyer_rate": round(buyers / distinct["visitorid"].nunique(), 9),
        "sessions": int(session.max()),
        "cart_sessions": cart_sessions,
        "transaction_sessions": transaction_sessions,
        "conversion_rate": round(transaction_sessions / int(session.max()), 9),
    }


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ingest`."""
    parser = commands.add_parser(
        "baseline", help="recount raw RetailRocket-shaped events in pandas, as rows for seeds/eda_baseline.csv"
    )
    parser.add_argument("--raw", type=Path, required=True, metavar="DIR", help="folder that holds events.csv")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="what the seed shall call this data set")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the seed rows; returns the exit code."""
    file = args.raw / "events.csv"
    if not file.is_file():
        print(f"No {file}: --raw names a folder that holds events.csv.", file=sys.stderr)
        return 1
    events = pd.read_csv(file, dtype={"visitorid": str, "itemid": str, "transactionid": str})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for metric, value in recount(events).items():
        tolerance = "0.000000001" if metric.endswith("_rate") else "0"
        writer.writerow([args.dataset, metric, value, tolerance, "python -m ingest baseline"])
    return 0
