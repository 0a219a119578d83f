"""A Spark cluster for tests: a master and two workers on loopback, of the virtual environment of `make setup-spark`."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from paths import ROOT
from servers import free_port, lacking

PYTHON = ROOT / ".venv-spark" / "bin" / "python"
WORKERS, START_SECONDS = 2, 120
# Small data, many short queries: compiling them, to Java and from there to machine code, would cost more than it saves.
QUICK = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.executor.memory": "512m",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}


def java() -> str | None:
    """The java that Spark takes, if there is one of version 17."""
    home = os.environ.get("JAVA_HOME")
    found = f"{home}/bin/java" if home else shutil.which("java")
    if found is None:
        return None
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    return found if re.search(r'version "17\.', told) else None


def require_spark() -> None:
    """Skip where Spark is not set up; under CI that is a failure."""
    if not PYTHON.is_file():
        lacking("no Spark in .venv-spark: run make setup-spark")
    if java() is None:
        lacking("no Java 17 on this machine: install openjdk-17-jre-headless, or name its folder by JAVA_HOME")


@contextmanager
def start_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a master and its workers, each with one core; yields the variables with which a session works on them."""
    require_spark()
    (home,) = (ROOT / ".venv-spark" / "lib").glob("python3.*/site-packages/pyspark")
    (folder / "conf").mkdir()
    (folder / "conf" / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in QUICK.items()))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SPARK_")}
    environment |= {
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "128m",
        "SPARK_DAEMON_JAVA_OPTS": "-XX:TieredStopAtLevel=1",
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
    }
    master = f"spark://127.0.0.1:{free_port()}"
    daemons: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1"]
        with (folder / f"{len(daemons)}.log").open("wb") as log:
            daemons.append(
                subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=log, cwd=folder)
            )

    try:
        start("master.Master", "--port", master.rpartition(":")[2], "--webui-port", "0")
        for number in range(WORKERS):
            work = str(folder / f"work{number}")
            start("worker.Worker", "--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", work, master)
        await_text(folder / "0.log", ["Registering worker"] * WORKERS, daemons)
        yield {**environment, "FUNNELIFT_SPARK_MASTER": master, "FUNNELIFT_SPARK_SHUFFLE_PARTITIONS": "2"}
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(START_SECONDS)


def await_text(log: Path, wanted: Sequence[str], daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until a daemon's log says something as often as it is wanted."""
    deadline = time.monotonic() + START_SECONDS
    while log.read_text(encoding="utf-8").count(wanted[0]) < len(wanted):
        if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
            raise RuntimeError(f"the Spark cluster did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
        time.sleep(0.2)
