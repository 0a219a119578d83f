"""`.env.example` and `compose.yaml`: what they say holds for the code and for real servers."""

import argparse
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from live.serve import add_options
from paths import ROOT
from servers import DatabaseServer, require_mariadb
from warehouse.mysql_client.session import open_session

ENV_EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SETTING = r"FUNNELIFT_[A-Z_]*[A-Z]\b"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
    return content


def test_every_setting_is_in_the_example() -> None:
    """Except those of the tests' own, whose names the tests put together."""
    sources = [ROOT / "profiles.yml", ROOT / "compose.yaml", ROOT / "Makefile"]
    for folder in ("warehouse", "bi", "ingest", "ml", "live", "ops"):
        sources += [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.yml")]
    used = {name for source in sources for name in re.findall(SETTING, source.read_text(encoding="utf-8"))}
    documented = set(re.findall(rf"^#?({SETTING})=", ENV_EXAMPLE, re.MULTILINE))
    assert used
    assert used - documented == set()


def test_a_shell_reads_the_example() -> None:
    finished = subprocess.run(
        ["bash", "-euc", f"set -a; . '{ROOT / '.env.example'}'; env"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert "FUNNELIFT_TARGET=duckdb" in finished.stdout
    # No secret, not even one that many would leave as it is.
    assert "FUNNELIFT_MYSQL_PASSWORD=\n" in finished.stdout
    assert "FUNNELIFT_MYSQL_ROOT_PASSWORD=\n" in finished.stdout


def test_compose_publishes_on_this_machine_only_and_demands_passwords(compose: dict[str, Any]) -> None:
    server = compose["services"]["mysql"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    for password in ("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD"):
        assert re.fullmatch(rf"\$\{{FUNNELIFT_{password}:\?.+\}}", server["environment"][password])


def test_the_live_service_of_compose_starts_when_asked_with_a_token_and_on_this_machine_only(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    service = compose["services"]["live"]
    assert service["profiles"] == ["live"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(value.startswith("${") for name, value in service["environment"].items() if "PASSWORD" in name)
    # Without a token the container's command ends before Python is started.
    command = [part.replace("$$", "$") for part in service["command"]]
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "FUNNELIFT_LIVE_TOKEN" in refused.stderr
    environment |= {"FUNNELIFT_LIVE_TOKEN": "sesame", "FUNNELIFT_LIVE_OPTIONS": "--explore 0.5 --cap 2"}
    started = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert started[:3] == ["-m", "live", "serve"]
    parser = argparse.ArgumentParser()
    add_options(parser)
    options = parser.parse_args(started[3:])
    assert (options.host, options.port, options.explore, options.cap) == ("0.0.0.0", 8321, 0.5, 2)


def test_the_live_services_health_is_asked_where_it_answers(compose: dict[str, Any]) -> None:
    check = compose["services"]["live"]["healthcheck"]["test"][1:]
    answers = {"/readyz": 503}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        asked = [sys.executable, *(part.replace("8321", str(server.server_port)) for part in check[1:])]
        assert subprocess.run(asked, capture_output=True, check=False).returncode == 1
        answers["/readyz"] = 200
        assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
        server.shutdown()


@pytest.mark.server
def test_mariadb_knows_the_options_of_compose(compose: dict[str, Any]) -> None:
    require_mariadb()
    options = compose["services"]["mysql"]["command"]
    command = ["mariadbd", "--no-defaults", *options, "--user=root", "--verbose", "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    shown = dict(re.findall(r"^(\S+) +(\S+)$", finished.stdout, re.MULTILINE))
    assert shown["local-infile"] == "TRUE"
    assert shown["character-set-server"] == "utf8mb4"


def test_the_user_of_compose_can_make_both_databases(empty_mysql: DatabaseServer, compose: dict[str, Any]) -> None:
    user, password = "funnelift_test_local", "aA1-for-this-test"
    sql = re.sub(r"\$\{FUNNELIFT_MYSQL_USER:-funnelift\}", user, compose["configs"]["databases"]["content"])
    administrator = empty_mysql.session()
    administrator.execute(f"drop user if exists {user}")
    try:
        administrator.execute(f"create user {user} identified by '{password}'")
        for statement in sql.strip().removesuffix(";").split(";\n"):
            administrator.execute(statement)
        place = empty_mysql.settings
        session = open_session(type(place)(place.host, place.port, user, password))
        for database in ("funnelift", "funnelift_raw"):
            session.execute(f"create database {database}")
            session.execute(f"create table {database}.one (id int)")
        session.close()
    finally:
        administrator.execute(f"drop user {user}")
        administrator.close()
        empty_mysql.drop_databases()


def locked(name: str) -> dict[str, tuple[int, ...]]:
    pins = re.findall(r"^([\w.-]+)==([\d.]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {package: tuple(int(part) for part in version.strip(".").split(".")) for package, version in pins}


@pytest.mark.parametrize(
    ("package", "mended"),
    [
        ("cryptography", (50, 0, 0)),  # CVE-2026-26007, CVE-2026-69247
        ("protobuf", (6, 33, 5)),  # CVE-2026-0994
        ("urllib3", (2, 6, 3)),  # CVE-2025-66418, CVE-2025-66471, CVE-2026-21441
    ],
)
def test_the_newest_dbt_frees_what_the_older_holds_below_a_mended_version(
    package: str, mended: tuple[int, ...]
) -> None:
    assert locked("requirements.lock")[package] < mended <= locked("requirements-latest-dbt.lock")[package]


def test_the_lock_of_spark_is_the_default_one_and_spark() -> None:
    spark, default = locked("requirements-spark.lock"), locked("requirements.lock")
    assert set(spark) - set(default) == {"dbt-spark", "py4j", "pyspark", "sqlparams"}
    assert {package: spark.get(package) for package in default} == default


@pytest.mark.parametrize(
    ("told", "complaint"),
    [("17.0.15", ""), ("11.0.2", "needs Java 17; {java} is 11."), (None, "needs Java 17; {java} is missing.")],
)
def test_spark_is_set_up_with_java_17_alone(tmp_path: Path, told: str | None, complaint: str) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    if told:
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{told}\" 2025-04-15' >&2\n")
        java.chmod(0o755)
    found = subprocess.run(
        ["make", "java", f"JAVA_HOME={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode == 0) is (complaint == "")
    assert complaint.format(java=java) in found.stdout


@pytest.mark.parametrize("target", ["thrift", "databricks"])
def test_an_example_profile_of_a_platform_reads_its_secrets_from_the_environment(target: str) -> None:
    text = (ROOT / "examples" / "spark" / "profiles.yml").read_text(encoding="utf-8")
    outputs = yaml.safe_load(text)["funnelift"]["outputs"]
    place, needed = outputs[target], {"thrift": {"host", "port", "user"}, "databricks": {"host", "http_path", "token"}}
    assert needed[target] | {"type", "schema", "threads"} <= set(place)
    assert place["schema"] == "funnelift"
    for name in needed[target] - {"port"}:
        assert re.fullmatch(r"\{\{ env_var\('[A-Z_]+'\) \}\}", place[name])
    own = yaml.safe_load((ROOT / "profiles.yml").read_text(encoding="utf-8"))["funnelift"]["outputs"]["spark"]
    same = {"spark.sql.ansi.enabled": "ansi_mode", "spark.sql.session.timeZone": "timezone"}
    for setting, name in same.items():
        given = place["server_side_parameters"][setting] if target == "thrift" else place["session_properties"][name]
        assert given == own["server_side_parameters"][setting]


def test_the_lock_of_the_newest_dbt_is_that_of_the_other_without_mysqls_adapter() -> None:
    newest, other = locked("requirements-latest-dbt.lock"), locked("requirements.lock")
    assert "dbt-mysql" not in newest
    assert newest["dbt-core"] > other["dbt-core"] == (1, 7, 20)
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]:
        if (pinned := re.fullmatch(r"([\w-]+)==[\d.]+", line)) is not None:
            assert newest[pinned[1]] == other[pinned[1]]
