"""`python -m ops check` on a real server: what is fine, what is wrong, and that the advice given mends it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe

import pytest

from ops.roles import statements
from paths import ROOT
from servers import DatabaseServer, environment_of, free_port, start_private_mariadb
from warehouse.errors import ServerError
from warehouse.mysql_client.server import check_version, read_version
from warehouse.mysql_client.session import Session
from warehouse.mysql_client.settings import Settings

STEPS = [
    *("connection", "user", "version", "TLS", "local_infile", "primary keys"),
    *("database funnelift_raw", "database funnelift"),
]


def check(settings: Settings, *options: str, code: int, **environment: str) -> dict[str, tuple[str, str]]:
    """Run the command; returns kind and text by step, in order."""
    done = subprocess.run(
        [sys.executable, "-m", "ops", "check", *options],
        env=os.environ | environment_of(settings) | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    findings = [re.fullmatch(r"(ok|wrong|advice) +([\w ]+): (.*)", line) for line in done.stdout.splitlines()]
    assert all(findings), done.stdout
    return {found[2]: (found[1], found[3]) for found in findings if found}


def steps(found: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {step: kind for step, (kind, _) in found.items() if kind != "advice"}


@pytest.fixture
def administrator(empty_mysql: DatabaseServer) -> Iterator[Session]:
    session = empty_mysql.session()
    yield session
    session.close()


@pytest.fixture
def limited(administrator: Session) -> Iterator[Settings]:
    """A user who may log in and no more."""
    user, password = "funnelift_test_limited", f"{token_urlsafe(16)}-aA1"
    administrator.execute(f"drop user if exists {user}")
    administrator.execute(f"create user {user} identified by %s", [password])
    yield replace(administrator.settings, user=user, password=password)
    administrator.execute(f"drop user {user}")


@pytest.mark.parametrize(
    ("text", "is_mariadb", "version", "is_new_enough"),
    [
        ("9.7.4-2", False, (9, 7, 4), True),
        ("8.0.17", False, (8, 0, 17), True),
        ("8.0.16-commercial", False, (8, 0, 16), False),
        ("8.0.36-28.1", False, (8, 0, 36), True),
        ("5.7.44-log", False, (5, 7, 44), False),
        ("10.11.19-MariaDB-0+deb12u1", True, (10, 11, 19), True),
        ("10.6.0-MariaDB", True, (10, 6, 0), True),
        ("10.5.29-MariaDB-ubu2004", True, (10, 5, 29), False),
        ("5.5.5-10.6.12-MariaDB-log", True, (10, 6, 12), True),
        ("11.8.2-MariaDB", True, (11, 8, 2), True),
        ("unheard of", False, (0, 0, 0), False),
    ],
)
def test_the_version_is_read_and_an_old_one_refused(
    text: str, is_mariadb: bool, version: tuple[int, int, int], is_new_enough: bool
) -> None:
    server = read_version(text)
    assert (server.is_mariadb, server.version) == (is_mariadb, version)
    if is_new_enough:
        check_version(server, Settings())
        return
    with pytest.raises(ServerError) as refusal:
        check_version(server, Settings())
    assert f"the server is {text}, too old" in str(refusal.value)
    assert ("MariaDB 10.6.0 or newer" if is_mariadb else "MySQL 8.0.17 or newer") in str(refusal.value)


def test_a_server_that_is_fit_passes_every_step_and_is_left_as_it_was(administrator: Session) -> None:
    before = administrator.rows("show databases")
    found = check(administrator.settings, code=0)
    assert steps(found) == dict.fromkeys(STEPS, "ok")
    assert administrator.server.text in found["version"][1]
    assert found["TLS"][1] == ("on" if administrator.is_encrypted else "off: not offered")
    assert found["database funnelift"][1] == "not there yet; this user may create it"
    assert administrator.rows("show databases") == before
    for database in ("funnelift", "funnelift_raw"):
        administrator.execute(f"create database {database} character set utf8mb4")
    found = check(administrator.settings, code=0)
    assert found["database funnelift_raw"][1] == "there, utf8mb4"
    assert administrator.rows(
        "select count(*) from information_schema.tables where table_schema like 'funnelift%'"
    ) == [(0,)]


def test_a_server_that_is_down(administrator: Session) -> None:
    found = check(replace(administrator.settings, port=free_port()), code=1)
    assert steps(found) == {"connection": "wrong"}
    assert "no MySQL or MariaDB server answers" in found["connection"][1]


def test_a_wrong_password(limited: Settings) -> None:
    found = check(replace(limited, password="not-the-password"), code=1)
    assert steps(found) == {"connection": "wrong"}
    assert "refuses this user or password" in found["connection"][1]
    assert "not-the-password" not in str(found)


def test_a_setting_that_cannot_work(administrator: Session) -> None:
    found = check(administrator.settings, code=1, FUNNELIFT_MYSQL_SSL_MODE="maybe")
    assert "FUNNELIFT_MYSQL_SSL_MODE: 'maybe' is none of" in found["connection"][1]


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("fork-8", "the server calls its version 'fork-8', which MySQL's driver cannot read"),
        ("11.8.3-MariaDB-ubu2404", "MariaDB 11.8.3-MariaDB-ubu2404"),
        ("10.11.6-MariaDB-proxied", "MariaDB 10.11.6-MariaDB-proxied"),
    ],
)
def test_what_a_server_calls_its_version(tmp_path: Path, version: str, says: str) -> None:
    """Newer MariaDBs, and proxies, no longer say 5.5.5 first; then the driver takes them for MySQL."""
    server = start_private_mariadb(tmp_path, f"--version={version}")
    try:
        readable = version != "fork-8"
        found = check(server.settings, code=int(not readable))
        assert says in found["version" if readable else "connection"][1]
        loads = [sys.executable, "-m", "ingest", "loads"]
        done = subprocess.run(loads, env=os.environ | server.environment, cwd=ROOT, capture_output=True, text=True)
        # A server on which nothing was loaded yet has no loads to list.
        assert ("nothing is loaded there yet" if readable else says) in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    finally:
        server.stop()


def test_encryption_that_is_demanded_and_not_offered(administrator: Session) -> None:
    if administrator.is_encrypted:
        pytest.skip("this server offers TLS")
    found = check(administrator.settings, code=1, FUNNELIFT_MYSQL_SSL_MODE="required")
    assert found["TLS"][0] == "wrong"
    assert "offers no TLS" in found["TLS"][1]


def test_a_database_that_may_not_be_created(administrator: Session, limited: Settings) -> None:
    # An underscore of a grant stands for any character, unless it is escaped; the server knows.
    administrator.execute(rf"grant create on `funnelift\_raw`.* to {limited.user}")
    found = check(limited, code=1)
    assert found["database funnelift_raw"] == ("ok", "not there yet; this user may create it")
    kind, text = found["database funnelift"]
    assert kind == "wrong"
    assert "this user may not create it" in text
    administrator.execute(text[text.index("create database") : text.index("` and give")])
    administrator.execute(f"grant select on funnelift.* to {limited.user}")
    assert found.keys() >= set(STEPS)
    assert steps(check(limited, code=0)) == dict.fromkeys(STEPS, "ok")


@pytest.mark.parametrize("stage", ["loader", "transformer", "ml", "bi_reader"])
def test_a_role_passes_its_own_stage(administrator: Session, limited: Settings, stage: str) -> None:
    script = statements("funnelift_test")
    role = f"funnelift_test_{stage}"
    try:
        for statement in script:
            administrator.execute(statement)
        administrator.execute(f"grant {role} to {limited.user}")
        verb = "for" if administrator.server.is_mariadb else "to"
        administrator.execute(f"set default role {role} {verb} {limited.user}")
        check(limited, "--stage", stage, code=0)
        check(limited, "--stage", "loader", code=0 if stage in ("loader", "transformer") else 1)
    finally:
        for statement in script:
            if statement.startswith("create role"):
                administrator.execute(statement.replace("create role if not exists", "drop role if exists"))


def test_a_database_that_is_not_utf8mb4(administrator: Session) -> None:
    administrator.execute("create database funnelift character set latin1")
    found = check(administrator.settings, code=1)
    kind, text = found["database funnelift"]
    assert kind == "wrong"
    assert "has the character set latin1" in text
    administrator.execute(text[text.index("alter database") : text.index("`, then")])
    assert check(administrator.settings, code=0)["database funnelift"] == ("ok", "there, utf8mb4")


def test_local_infile_off(administrator: Session, empty_mysql: DatabaseServer) -> None:
    if not empty_mysql.is_private:
        pytest.skip("changes a setting of the server, so it needs one of the tests' own")
    administrator.execute("set global local_infile = 0")
    try:
        kind, text = check(administrator.settings, code=1)["local_infile"]
        assert kind == "wrong"
        check(administrator.settings, "--stage", "transformer", code=0)
        administrator.execute(text[text.index("set global") : text.index("`, and")])
        assert check(administrator.settings, code=0)["local_infile"] == ("ok", "on")
    finally:
        administrator.execute("set global local_infile = 1")


def test_slow_settings_are_advised_against_and_no_failure(administrator: Session, empty_mysql: DatabaseServer) -> None:
    if not empty_mysql.is_private:
        pytest.skip("changes a setting of the server, so it needs one of the tests' own")
    assert "innodb_flush_log_at_trx_commit" not in check(administrator.settings, code=0)
    administrator.execute("set global innodb_flush_log_at_trx_commit = 1")
    try:
        found = check(administrator.settings, code=0)
    finally:
        administrator.execute("set global innodb_flush_log_at_trx_commit = 2")
    advised = {step: text for step, (kind, text) in found.items() if kind == "advice"}
    assert advised.keys() == {"innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit"}
    assert advised["innodb_buffer_pool_size"].startswith("512 MB")
