"""The plain way to sessions and funnels: pandas, everything in memory. Prints the counts it found as JSON."""

import json
import sys
from pathlib import Path

import pandas as pd


def main(folder: Path) -> None:
    """Sessionise the folder's events and build one funnel row a session."""
    events = pd.read_csv(folder / "events.csv").drop_duplicates()
    events = events.sort_values(["visitorid", "timestamp"])
    new_visitor = events["visitorid"] != events["visitorid"].shift()
    gap = events["timestamp"].diff()
    events["session"] = (new_visitor | (gap > 1_800_000)).cumsum()
    for step in ("view", "addtocart", "transaction"):
        events[f"{step}_at"] = events["timestamp"].where(events["event"] == step)
    sessions = events.groupby("session").agg(
        visitorid=("visitorid", "first"),
        started=("timestamp", "min"),
        ended=("timestamp", "max"),
        events=("timestamp", "size"),
        items=("itemid", "nunique"),
        first_view=("view_at", "min"),
        first_addtocart=("addtocart_at", "min"),
        first_transaction=("transaction_at", "min"),
    )
    print(
        json.dumps(
            {
                "sessions": len(sessions),
                "cart_sessions": int(sessions["first_addtocart"].notna().sum()),
                "transaction_sessions": int(sessions["first_transaction"].notna().sum()),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
