"""What the benchmarks of `ml` on a server share: a database of their own, and the fastest of several turns."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, open_session
from warehouse.mysql_client.settings import Settings

DATABASE = "funnelift_bench"


@contextmanager
def scratch_database() -> Iterator[Session]:
    """Make the database on the server that FUNNELIFT_MYSQL_* name, and drop it at the end.

    Yields
    ------
    Session
        A session that may load rows.
    """
    session = open_session(Settings.from_environment(), local_infile=True)
    if session.rows("select 1 from information_schema.schemata where schema_name = %s", [DATABASE]):
        raise SystemExit(f"{session.settings.place} has a database {DATABASE} already: drop it, or name another server")
    session.execute(
        f"create database {name(DATABASE)} character set utf8mb4 collate {session.server.collation}",
    )
    try:
        yield session
    finally:
        session.execute(f"drop database {name(DATABASE)}")
        session.close()


def take_turns(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Run every way in turn, several times, and print what each took.

    Parameters
    ----------
    ways : mapping of str to callable
        Name and what to run.
    repeats : int
        How often each is run.

    Returns
    -------
    dict of str to float
        Seconds that the fastest run of each way took.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - started)
    for way, each in seconds.items():
        print(f"{way}: {min(each):.2f} s (all: {', '.join(f'{one:.2f}' for one in each)})", flush=True)
    return {way: min(each) for way, each in seconds.items()}
