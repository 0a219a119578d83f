"""`python -m benchmarks.keys`: do whole-number keys pay in the session windows? Text against integer, same rows."""

import statistics
import time

import duckdb

EVENTS = """
create table events as
select
    (hash(i) % 1400000)::varchar as visitor_text,
    (hash(i) % 1400000)::bigint as visitor_number,
    1430622000000 + (hash(i, 1) % 11923000000)::bigint as event_ms,
    1 + (hash(i, 2) % 3)::integer as event_rank,
    (hash(i, 3) % 235000)::varchar as item_id
from range(2750000) as t (i)
"""
WINDOWS = """
create or replace table numbered as
select
    {key}, event_ms,
    row_number() over in_order as event_number,
    lag(event_ms) over in_order as previous_ms
from events
window in_order as (partition by {key} order by event_ms, event_rank, item_id)
"""


def main() -> None:
    """Time both in turn, five times, and print medians and their ratio."""
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    connection.execute(EVENTS)
    seconds: dict[str, list[float]] = {"visitor_text": [], "visitor_number": []}
    for _ in range(5):
        for key, taken in seconds.items():
            started = time.perf_counter()
            connection.execute(WINDOWS.format(key=key))
            taken.append(time.perf_counter() - started)
    text, number = (statistics.median(taken) for taken in seconds.values())
    print(f"windows over 2.75 M events: text key {text:.2f} s, integer key {number:.2f} s, ratio {text / number:.2f}")


if __name__ == "__main__":
    main()
