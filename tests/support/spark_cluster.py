"""A Spark cluster for tests: a master and two workers on loopback, of the virtual environment of `make setup-spark`."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paths import ROOT
from servers import free_port, lacking

PYTHON = ROOT / ".venv-spark" / "bin" / "python"
WORKERS, START_SECONDS = 2, 120
# Java's first compiler alone is quick to start, but gets 48 MB for what it compiles, which a whole build can fill.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
# Small data, many short queries: compiling them, to Java and from there to machine code, would cost more than it saves.
QUICK = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.executor.memory": "512m",
    "spark.executor.extraJavaOptions": QUICK_JAVA,
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


@dataclass
class Cluster:
    """A master and workers that run, and the variables with which a session works on them."""

    folder: Path
    master: str
    variables: Mapping[str, str]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {**self.variables, "FUNNELIFT_SPARK_MASTER": self.master, "FUNNELIFT_SPARK_SHUFFLE_PARTITIONS": "2"}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a daemon of Spark; its log has its number."""
        (home,) = (ROOT / ".venv-spark" / "lib").glob("python3.*/site-packages/pyspark")
        command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1"]
        with (self.folder / f"{len(self.daemons)}.log").open("wb") as log:
            daemon = subprocess.Popen(
                [*command, *arguments], env=self.variables, stdout=log, stderr=log, cwd=self.folder
            )
        self.daemons.append(daemon)
        return daemon

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker of one core."""
        work = str(self.folder / f"work{len(self.daemons)}")
        place = ("--webui-port", "0", "--work-dir", work, self.master)
        return self.start("worker.Worker", "--cores", "1", "--memory", "1g", *place)

    def await_workers(self, number: int) -> None:
        """Wait until the master has seen so many workers since it started."""
        log, deadline = self.folder / "0.log", time.monotonic() + START_SECONDS
        while log.read_text(encoding="utf-8").count("Registering worker") < number:
            if time.monotonic() > deadline or self.daemons[0].poll() is not None:
                raise RuntimeError(f"the Spark cluster did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.2)


@contextmanager
def start_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a master and its workers, each with one core."""
    require_spark()
    (folder / "conf").mkdir()
    (folder / "conf" / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in QUICK.items()))
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SPARK_")}
    variables |= {
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "128m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA,
        "JDK_JAVA_OPTIONS": QUICK_JAVA,
    }
    port = str(free_port())
    cluster = Cluster(folder, f"spark://127.0.0.1:{port}", variables)
    try:
        cluster.start("master.Master", "--port", port, "--webui-port", "0")
        for _ in range(WORKERS):
            cluster.start_worker()
        cluster.await_workers(WORKERS)
        yield cluster
    finally:
        for daemon in reversed(cluster.daemons):
            daemon.terminate()
            daemon.wait(START_SECONDS)
