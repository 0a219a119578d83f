"""Both databases to files and back; views stand apart, because they can only be made once their tables are there."""

from contextlib import suppress
from pathlib import Path

from warehouse.errors import ServerError
from warehouse.mysql_client.databases import provide_database
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import RUN_LOCKS, Session

DATABASES = ("funnelift_raw", "funnelift")
NEW, OLD = "__new", "__old"
BUILD = "select build_id from funnelift.build_plan union all select build_id from funnelift.last_build"


def write_files(session: Session, folder: Path) -> None:
    """Write the tables and the views of each database to files of their own.

    Parameters
    ----------
    session : Session
        Beside which no load and no training works.
    folder : Path
        Where the files go.

    Raises
    ------
    ServerError
        There is nothing to back up, a `dbt build` was at work, or the server's tool fails.
    """
    # It imports Arrow, which who only looks at the server does without.
    from warehouse.mysql_client.dump import dump

    before = _build(session)
    if not any(_relations(session, database) for database in DATABASES):
        raise ServerError(f"{session.settings.place}: nothing is loaded there yet, so there is nothing to back up")
    for database in DATABASES:
        for kind, ending in (("BASE TABLE", "tables"), ("VIEW", "views")):
            # What a killed run has left beside the tables is nobody's.
            names = [one for one in _relations(session, database, kind) if not one.endswith((NEW, OLD))]
            dump(session, database, names, folder / f"{database}.{ending}.sql.zst")
    if len(set(before)) > 1 or _build(session) != before:
        raise ServerError(
            f"{session.settings.place}: a `dbt build` is at work or was interrupted, so the marts do not belong "
            "together: run it to its end, then back up"
        )


def read_files(session: Session, folder: Path, *, replace: bool) -> None:
    """Put the tables of the files in the place of those that are there.

    Parameters
    ----------
    session : Session
        Beside which no load and no training works.
    folder : Path
        What `write_files` wrote.
    replace : bool
        Whether tables that are there make way.

    Raises
    ------
    ServerError
        There are tables already, the user may not create databases, or the server's tool fails.
    """
    from warehouse.mysql_client.dump import replay

    if not replace and any(_relations(session, database) for database in DATABASES):
        raise ServerError(
            f"{session.settings.place}: there is a warehouse already: --replace puts the backup in its place"
        )
    for database in DATABASES:
        _drop(session, database)
        provide_database(session, database)
        provide_database(session, database + NEW)
        provide_database(session, database + OLD)
        replay(session, database + NEW, folder / f"{database}.tables.sql.zst")
    _swap(session)
    for database in DATABASES:
        for view in _relations(session, database, "VIEW"):
            session.execute(f"drop view {name(database, view)}")
        replay(session, database, folder / f"{database}.views.sql.zst")
        with suppress(ServerError):
            _drop(session, database)


def _swap(session: Session) -> None:
    moves = []
    for database in DATABASES:
        new = _relations(session, database + NEW)
        for table in new:
            # A new table has no statistics, and without them the next build may take ten times as long.
            session.rows(f"analyze table {name(database + NEW, table)}")
        for view in set(_relations(session, database, "VIEW")) & set(new):
            session.execute(f"drop view {name(database, view)}")
        old = _relations(session, database, "BASE TABLE")
        moves += [f"{name(database, table)} to {name(database + OLD, table)}" for table in old]
        moves += [f"{name(database + NEW, table)} to {name(database, table)}" for table in new]
    if moves:
        session.execute(f"rename table {', '.join(moves)}")


def _build(session: Session) -> list[tuple[object, ...]]:
    """The build that is at work and the last one that ended; nothing before the first build."""
    if {"build_plan", "last_build"} <= set(_relations(session, "funnelift")):
        found = session.rows(BUILD)
        session.commit()
        return found
    return []


def _relations(session: Session, database: str, kind: str = "%") -> list[str]:
    """Tables, views, or both, of a database; the names of its locks are this server's own."""
    found = session.rows(
        "select table_name from information_schema.tables where table_schema = %s and table_type like %s "
        "and table_name <> %s order by table_name",
        [database, kind, RUN_LOCKS],
    )
    session.commit()
    return [str(one) for (one,) in found]


def _drop(session: Session, database: str) -> None:
    """Clear up what this restore, or one that was killed, has left beside the database."""
    for ending in (NEW, OLD):
        session.execute(f"drop database if exists {name(database + ending)}")
