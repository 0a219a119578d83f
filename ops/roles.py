"""`python -m ops roles`: the SQL that makes both databases and the roles, each with what its stage needs and no more.

A role's tables are those the project itself names: the raw tables of ingest, the sources of dbt, and the tables whose
contracts name the role as a reader (meta.readers) or as the writer (meta.written_by). The script is printed, not run,
because only an administrator can and should run it.
"""

import argparse
from collections.abc import Iterable

import yaml

from warehouse.base import RAW_SCHEMA, SCHEMA
from warehouse.contract import read_project
from warehouse.errors import ServerError
from warehouse.mysql import NEW, OLD
from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import COLLATION, RUN_LOCKS
from warehouse.settings import PROJECT

SOURCES = PROJECT / "models" / "staging" / "_staging__sources.yml"
DATABASE, RAW_DATABASE = SCHEMA, RAW_SCHEMA
ROLES = ("loader", "transformer", "ml", "bi_reader")
# MySQL's limit for the name of a role or user; MariaDB's is longer.
LONGEST_NAME = 32

# RENAME TABLE takes alter and drop on the old name, create and insert on the new one; a swap makes each table both. ml
# also deletes single rows, of sessions that are no more.
SWAP = "select, insert, create, drop, alter"
# What was loaded can be taken out again.
LOAD = f"{SWAP}, delete"
# Whoever can read the locks' names can take them, so readers can not.
LOCKS = "select, insert, create"
BUILD = "select, insert, update, delete, create, drop, alter, index, create view, show view"

HEADER = """\
-- Funnelift's databases and roles, for MySQL 8+ and MariaDB 10.6+; safe to repeat. An administrator runs it:
--     python -m ops roles | mysql --comments -h HOST -u ADMINISTRATOR -p
"""


def statements(prefix: str = DATABASE) -> list[str]:
    """Write the statements that make the databases and the roles.

    Parameters
    ----------
    prefix : str
        What the roles' names start with.

    Returns
    -------
    list of str
        One SQL statement each, without a semicolon, in the order in which to run them.

    Raises
    ------
    ServerError
        No role can be named so.
    """
    loader, transformer, ml, reader = (_role(prefix, role) for role in ROLES)
    return [
        *(
            f"create database if not exists {name(database)} character set utf8mb4 collate {COLLATION}"
            for database in (DATABASE, RAW_DATABASE)
        ),
        *(f"create role if not exists {role}" for role in (loader, transformer, ml, reader)),
        *_on_tables(LOAD, RAW_DATABASE, _with_twins(_raw_tables()), loader),
        *_on_tables(LOCKS, RAW_DATABASE, [RUN_LOCKS], loader),
        # Retention asks whether all that is loaded is built.
        *_select_on_tables(DATABASE, _read_by("loader"), loader),
        *_select_on_tables(RAW_DATABASE, _sources(), transformer),
        # The one grant on a whole database. In such a grant an underscore in the name stands for any character, except
        # under MySQL's partial_revokes, so only a name without one means the same everywhere.
        f"grant {BUILD} on {name(DATABASE)}.* to {transformer}",
        *_select_on_tables(DATABASE, _read_by("ml"), ml),
        *_on_tables(f"{SWAP}, delete", DATABASE, _with_twins(_written_by("ml")), ml),
        *_on_tables(LOCKS, DATABASE, [RUN_LOCKS], ml),
        *_select_on_tables(DATABASE, _read_by("bi_reader"), reader),
    ]


def example_users(prefix: str = DATABASE) -> list[str]:
    """Write the statements that make one user a role, each with a place for a password.

    Parameters
    ----------
    prefix : str
        What the roles' names start with.

    Returns
    -------
    list of str
        One SQL statement each, without a semicolon.

    Raises
    ------
    ServerError
        No role or user can be named so.
    """
    made = []
    for role in ROLES:
        user = f"{_role(prefix, role, '_user')}@'%'"
        made += [
            f"create user {user} identified by '<password>'",
            f"grant {_role(prefix, role)} to {user}",
            # The one statement in which the servers differ.
            f"set default role {_role(prefix, role)} /*!80017 to */ /*M!100600 for */ {user}",
        ]
    return made


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to `python -m ops`.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The subcommands.
    """
    parser = commands.add_parser(
        "roles",
        help="print the SQL that makes the databases and a role for each stage",
        description="Print the SQL that makes the databases funnelift and funnelift_raw, and the roles loader (python "
        "-m ingest load), transformer (dbt build), ml (python -m ml.train, ml.score) and bi_reader (Power BI), with "
        "what each needs and no more. Nothing is run: an administrator pipes it into the mysql or mariadb client. "
        "Safe to repeat, and to be repeated after an update that brings new tables.",
    )
    parser.add_argument(
        "--prefix", type=_prefix, default=DATABASE, help="start of the roles' names (default: %(default)s)"
    )
    parser.add_argument("--users", action="store_true", help="also print, commented out, how to make a user a role")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script.

    Parameters
    ----------
    args : argparse.Namespace
        The options of add_parser.

    Returns
    -------
    int
        Exit code.
    """
    print(HEADER)
    for statement in statements(args.prefix):
        print(f"{statement};")
    if args.users:
        print("\n-- A user a role, for instance. Put a password in each, take away the dashes, run:")
        for statement in example_users(args.prefix):
            print(f"-- {statement};")
    return 0


def _prefix(text: str) -> str:
    try:
        example_users(text)
    except ServerError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _role(prefix: str, role: str, suffix: str = "") -> str:
    whole = f"{prefix}_{role}{suffix}"
    if len(whole) > LONGEST_NAME:
        raise ServerError(f"{whole!r} is too long: MySQL takes names of at most {LONGEST_NAME} characters for roles")
    return name(whole)


def _on_tables(privileges: str, database: str, tables: Iterable[str], role: str) -> list[str]:
    return [f"grant {privileges} on {name(database, table)} to {role}" for table in tables]


def _select_on_tables(database: str, tables: Iterable[str], role: str) -> list[str]:
    # Both servers refuse a grant on a table that is not there yet, unless it holds the right to create it.
    return [
        statement
        for table in tables
        for statement in (
            f"grant select, create on {name(database, table)} to {role}",
            f"revoke create on {name(database, table)} from {role}",
        )
    ]


def _with_twins(tables: Iterable[str]) -> list[str]:
    return [f"{table}{twin}" for table in tables for twin in ("", NEW, OLD)]


def _raw_tables() -> list[str]:
    from ingest.raw_tables import RAW_TABLES

    return list(RAW_TABLES)


def _sources() -> list[str]:
    described = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))
    return [table["name"] for source in described["sources"] for table in source["tables"]]


def _read_by(role: str) -> list[str]:
    return sorted(contract.name for contract in read_project().values() if role in contract.readers)


def _written_by(role: str) -> list[str]:
    return sorted(contract.name for contract in read_project().values() if role == contract.written_by)
