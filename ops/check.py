"""`python -m ops check`: can Funnelift work on the server that FUNNELIFT_MYSQL_* name? One line per step."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ops.roles import DATABASE, RAW_DATABASE, ROLES
from warehouse.errors import ConnectionLostError, FunneliftError, NotAllowedError, ServerError
from warehouse.mysql_client.databases import check_database, missing_database
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session, check_encryption, check_local_infile
from warehouse.mysql_client.settings import Settings

NEEDED_DATABASES = {
    "loader": (RAW_DATABASE,),
    "transformer": (RAW_DATABASE, DATABASE),
    "ml": (DATABASE,),
    "bi_reader": (DATABASE,),
}
STAGES_THAT_LOAD = ("loader", "ml")
ENOUGH_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """What one step found: good, wrong, or only slower than need be."""

    kind: Literal["ok", "wrong", "advice"]
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind:<8}{self.what}: {self.text}"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ops`.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands.
    """
    parser = commands.add_parser(
        "check",
        help="check the MySQL or MariaDB server",
        description="Check, step by step, that Funnelift can work on the server of FUNNELIFT_MYSQL_HOST, _PORT, _USER "
        "and _PASSWORD: it answers, lets the user in, is new enough, has local_infile on, and both databases are there "
        "or can be created, with texts in utf8mb4. What is wrong is said with what mends it. Nothing is changed.",
        epilog="Exit codes: 0 all is usable (advice is about speed only); 1 something is wrong.",
    )
    parser.add_argument("--stage", choices=ROLES, help="only what this stage needs, for a user who has its role")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and print.

    Parameters
    ----------
    args : argparse.Namespace
        The options of add_parser.

    Returns
    -------
    int
        Exit code: 0 all is usable, 1 something is wrong.
    """
    code = 0
    for finding in check([args.stage] if args.stage else ROLES):
        print(finding, flush=True)
        if finding.kind == "wrong":
            code = 1
    return code


def check(stages: Sequence[str] = ROLES) -> Iterator[Finding]:
    """Go through the steps, as far as they can be gone.

    Parameters
    ----------
    stages : sequence of str
        What the server is to be used for.

    Yields
    ------
    Finding
        One per step, in order; none after a step without which the others make no sense.
    """
    try:
        settings = Settings.from_environment()
        session = Session(settings, local_infile=True)
    except FunneliftError as error:
        yield Finding("wrong", "connection", str(error))
        return
    with closing(session):
        yield Finding("ok", "connection", f"{settings.host}:{settings.port} answers")
        yield Finding("ok", "user", f"{settings.user} is let in")
        yield Finding("ok", "version", f"{'MariaDB' if session.server.is_mariadb else 'MySQL'} {session.server.text}")
        try:
            for what, step in _steps(session, stages):
                yield _tried(what, step)
            yield from _advice(session)
        except ConnectionLostError as error:
            yield Finding("wrong", "connection", str(error))


def _steps(session: Session, stages: Sequence[str]) -> Iterator[tuple[str, Callable[[], str]]]:
    """What each step is called, and the question, which answers with what is good or raises ServerError."""
    yield "TLS", partial(_encryption, session)
    if set(stages) & set(STAGES_THAT_LOAD):
        yield "local_infile", partial(_local_infile, session)
    if set(stages) - {"bi_reader"}:
        yield "primary keys", partial(_primary_keys, session)
    for database in dict.fromkeys(one for stage in stages for one in NEEDED_DATABASES[stage]):
        yield f"database {database}", partial(_database, session, database)


def _tried(what: str, step: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", what, step())
    except ConnectionLostError:
        raise
    except ServerError as error:
        return Finding("wrong", what, str(error))


def _encryption(session: Session) -> str:
    check_encryption(session)
    if session.is_encrypted:
        return "on"
    return "off, as FUNNELIFT_MYSQL_SSL_MODE says" if session.settings.ssl_mode == "disabled" else "off: not offered"


def _local_infile(session: Session) -> str:
    check_local_infile(session)
    return "on"


def _primary_keys(session: Session) -> str:
    """Only MySQL has the setting, and managed servers like to set it."""
    if _variables(session).get("sql_require_primary_key") == "ON":
        raise ServerError(
            f"{session.settings.place}: the server refuses tables without a primary key, and raw tables and "
            "marts have none. Have it take them: `set global sql_require_primary_key = off`"
        )
    return "not required of every table"


def _database(session: Session, database: str) -> str:
    if check_database(session, database):
        return "there, utf8mb4"
    if not _may_create(session, database):
        raise ServerError(missing_database(session, database))
    return "not there yet; this user may create it"


def _may_create(session: Session, database: str) -> bool:
    """Grants come from users, roles and patterns; only the server knows their sum.

    It looks at them before it finds that no table can have a column twice, so asking creates nothing.
    """
    try:
        session.execute(f"create table {name(database, 'funnelift_check')} (twice int, twice int)")
    except NotAllowedError:
        return False
    except ConnectionLostError:
        raise
    except ServerError:
        pass
    return True


def _advice(session: Session) -> Iterator[Finding]:
    found = _variables(session)
    buffer_bytes = int(found["innodb_buffer_pool_size"])
    if buffer_bytes < ENOUGH_BYTES:
        yield Finding(
            "advice",
            "innodb_buffer_pool_size",
            f"{buffer_bytes >> 20} MB: what does not fit is read from disk again and again. Better: "
            f"{_configure('innodb_buffer_pool_size', '1G')}, or more",
        )
    if found["innodb_flush_log_at_trx_commit"] == "1":
        yield Finding(
            "advice",
            "innodb_flush_log_at_trx_commit",
            "1: every commit waits for the disk. If a power failure may cost the last second, as the same commands can "
            f"be run again: {_configure('innodb_flush_log_at_trx_commit', '2')}",
        )


def _configure(variable: str, value: str) -> str:
    return f"`{variable} = {value}` under [mysqld] in the server's configuration"


def _variables(session: Session) -> dict[str, str]:
    return dict(
        session.rows(
            "show global variables where variable_name in "
            "('innodb_buffer_pool_size', 'innodb_flush_log_at_trx_commit', 'sql_require_primary_key')"
        )
    )
