"""The live service on a MySQL or MariaDB server: the same features as the server's own mart."""

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiled import ROOT
from live.compile import Compiled
from live.log import EVENTS
from live.service import KEPT
from live.settings import LiveSettings
from live_server import SECONDS, Client, lines, running
from ml.config import Config, load_config
from ml.report.live import read_live
from servers import DatabaseServer, free_port
from warehouse.open import open_warehouse

COMPARED = 40
TOKEN = "sesame-4711"
CONTAINER = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["live"]
ARMS_SQL = """
insert into funnelift.stg_treatment_assignments
    (visitor_id, assignment_count, treatment, stratum, propensity, has_conflict, assigned_ms, assigned_at)
select visitor_id, 1, mod(min(decided_ms), 2), 'policy holds', 0.5, 0, min(decided_ms), min(decided_at)
from funnelift.session_features where decision_point = 'engaged' group by visitor_id
"""
MEANS_SQL = """
select assignments.treatment, count(*) as visitors, sum(features.is_mature) as n,
    avg(case when features.is_mature = 1 then features.has_transaction end) as mean
from funnelift.stg_treatment_assignments as assignments
inner join funnelift.session_features as features
    on assignments.visitor_id = features.visitor_id and assignments.assigned_ms = features.decided_ms
where features.decision_point = 'engaged'
group by assignments.treatment
"""


def run(server: DatabaseServer, folder: Path, *command: str) -> None:
    places = {"DBT_TARGET_PATH": str(folder / "target"), "DBT_LOG_PATH": str(folder / "logs")}
    outcome = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **server.environment, **places},
        check=False,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def is_same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, float) and theirs is not None:
        return math.isclose(mine, float(theirs), rel_tol=1e-12, abs_tol=0)
    return bool(mine == theirs)


def test_features_are_those_of_the_servers_mart(
    empty_mysql: DatabaseServer,
    live_models: Compiled,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python, raw = sys.executable, str(tmp_path / "raw")
    run(empty_mysql, tmp_path, python, "-m", "ingest", "synth", "--out", raw, "--visitors", "600")
    run(empty_mysql, tmp_path, python, "-m", "ingest", "load", "--raw", raw)
    run(empty_mysql, tmp_path, str(Path(python).with_name("dbt")), "--quiet", "build")
    for name, value in empty_mysql.environment.items():
        monkeypatch.setenv(name, value)
    places = {"target": "mysql", "manifest": tmp_path / "target" / "manifest.json", "results": tmp_path / "results"}
    config = load_config(None, places, environment={})
    own = tmp_path_factory.getbasetemp()
    shutil.copytree((own if worker_id == "master" else own.parent) / "live_models", tmp_path / "results" / KEPT)
    with open_warehouse(config) as warehouse:
        rows = warehouse.query("select * from funnelift.session_features")
    full = {(row["session_id"], row["decision_point"]): row for row in rows}
    visitors = sorted({row["visitor_id"] for row in rows})[:COMPARED]
    with running(config, LiveSettings(tmp_path / "log")) as (service, client):
        known = service.known
        assert known is not None
        found = known.shop.features(visitors, 0).to_pylist()
        answer = client.send({"visitorid": visitors[0], "event": "view", "itemid": rows[0]["item_id"]})
    assert answer[0] == 200
    assert {(row["session_id"], row["decision_point"]) for row in found} == {
        key for key, row in full.items() if row["visitor_id"] in visitors
    }
    for row in found:
        theirs = full[(row["session_id"], row["decision_point"])]
        assert [name for name in row if name != "is_mature" and not is_same(row[name], theirs[name])] == []
    check_report(empty_mysql, config)
    check_container(empty_mysql, tmp_path, {"visitorid": visitors[0], "event": "view", "itemid": rows[0]["item_id"]})


def check_report(server: DatabaseServer, config: Config) -> None:
    """The page Live reads the same SQL as on DuckDB."""
    session = server.session()
    session.execute(ARMS_SQL)
    session.commit()
    session.close()
    with open_warehouse(config) as warehouse:
        live = read_live(warehouse, config)
        means = {row["treatment"]: row for row in warehouse.query(MEANS_SQL)}
    assert live is not None
    last = live["looks"][-1]
    assert last["n"] == sum(row["n"] for row in means.values()) > 20
    assert last["effect"] == pytest.approx(float(means[1]["mean"]) - float(means[0]["mean"]), abs=1e-4)
    assert sum(day["Shown"] for day in live["days"]) == means[1]["visitors"]


def check_container(server: DatabaseServer, folder: Path, event: dict[str, Any]) -> None:
    """What compose.yaml starts, as a process on a port of its own: its command, environment, health check and end."""
    port = free_port()
    given = server.environment | {
        "FUNNELIFT_LIVE_TOKEN": TOKEN,
        "FUNNELIFT_LIVE_OPTIONS": f"--host 127.0.0.1 --port {port}",
    }
    assert given.keys() <= CONTAINER["environment"].keys()
    assert CONTAINER["ports"][0].endswith(f":{LiveSettings(Path()).port}")
    # The image has the environment that the tests have; in the container the project's own folders are mounted.
    environment = {**CONTAINER["environment"], **given, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    environment |= {"DBT_TARGET_PATH": str(folder / "target"), "FUNNELIFT_RESULTS": str(folder / "results")}
    command = [part.replace("$$", "$") for part in CONTAINER["command"]]
    health = [part.replace("8321", str(port)) for part in CONTAINER["healthcheck"]["test"][1:]]
    deadline = time.monotonic() + SECONDS
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as started:
        try:
            while subprocess.run(health, env=environment, check=False, stderr=subprocess.DEVNULL).returncode:
                assert started.poll() is None, "the service ended"
                assert time.monotonic() < deadline, "the service did not get healthy"
                time.sleep(0.2)
            assert Client(port).send(event)[0] == 401
            assert Client(port, TOKEN).send(event)[0] == 200
        finally:
            started.terminate()
            said = started.communicate(timeout=float(CONTAINER["stop_grace_period"].removesuffix("s")))[1].decode()
    log = folder / "results" / "live"
    assert [line["visitorid"] for line in lines(log, EVENTS)] == [event["visitorid"]], said
    assert list(log.rglob("*.open")) == []
    assert TOKEN not in said
