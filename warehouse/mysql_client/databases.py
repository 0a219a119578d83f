"""The databases on a server: whether they are there and take every text."""

from typing import Literal

from warehouse.errors import NotAllowedError, ServerError
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session


def check_database(session: Session, database: str) -> bool:
    """Tell whether a database is there, and refuse one that not every text fits.

    Parameters
    ----------
    session : Session
        An open session.
    database : str
        Its name.

    Returns
    -------
    bool
        False where this user sees no such database.

    Raises
    ------
    ServerError
        Its character set is not utf8mb4.
    """
    found = session.rows(
        "select default_character_set_name from information_schema.schemata where schema_name = %s", [database]
    )
    if found and found[0][0] != "utf8mb4":
        raise ServerError(
            f"{session.settings.place}: the database {database} has the character set {found[0][0]}, which not every "
            f"text fits. Run `{_database_statement('alter', session, database)}`, then the same command again"
        )
    return bool(found)


def provide_database(session: Session, database: str) -> None:
    """See that a database is there and takes every text, creating it where it is missing.

    Parameters
    ----------
    session : Session
        An open session.
    database : str
        Its name.

    Raises
    ------
    ServerError
        It is missing and this user may not create it, or its character set is not utf8mb4.
    """
    if not check_database(session, database):
        try:
            session.execute(_database_statement("create", session, database))
        except NotAllowedError:
            raise NotAllowedError(missing_database(session, database)) from None


def missing_database(session: Session, database: str) -> str:
    """Say what to do about a database that this user can neither see nor create."""
    return (
        f"{session.settings.place}: there is no database {database}, or this user may not see it, and this user may "
        f"not create it. Have an administrator run `{_database_statement('create', session, database)}` and give this "
        "user a role; `python -m ops roles` prints all of it"
    )


def _database_statement(verb: Literal["create", "alter"], session: Session, database: str) -> str:
    return f"{verb} database {name(database)} character set utf8mb4 collate {session.server.collation}"
