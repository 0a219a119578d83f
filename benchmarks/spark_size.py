"""`python -m benchmarks.spark_size`: what a number of events costs on Spark, beside DuckDB.

A synthetic shop is loaded, built, trained on and scored as users do it, each command a process of its own. Wall and CPU
seconds and memory are those of the command and all that it started; shuffled and spilled bytes come from Spark's event
log. On the cluster that FUNNELIFT_SPARK_MASTER names, its workers' seconds and memory come from there too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.daily_load import FULL_VISITORS, split, synthesise
from benchmarks.measure import ROOT

SPARK = ROOT / ".venv-spark" / "bin" / "python"
STEPS = ("load", "build", "train", "score")
SETTINGS = {
    "spark.eventLog.enabled": "true",
    "spark.eventLog.logStageExecutorMetrics": "true",
    "spark.executor.processTreeMetrics.enabled": "true",
}
SLOWEST = 12
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Step:
    """What one command took."""

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_gb: float = 0.0
    spark: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Parse the command line, run the steps on each engine, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, help="folder of a synthetic shop (default: one is made)")
    parser.add_argument("--visitors", type=int, default=FULL_VISITORS, help="of the synthetic shop")
    parser.add_argument("--copies", type=int, default=1, help="how often its visitors and events are there")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS, help="what is run")
    parser.add_argument("--engines", nargs="+", default=["duckdb", "spark"], choices=["duckdb", "spark"])
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    args = parser.parse_args()
    if args.scratch is not None:
        args.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as scratch:
        folder = Path(scratch)
        raw = args.raw or synthesise(folder / "raw", args.visitors)
        files = [raw / "category_tree.csv", *sorted(raw.glob("item_properties*.csv"))]
        files = [Path(shutil.copy(file, folder / file.name)) for file in files]
        copies = argparse.Namespace(copies=args.copies, events=0, days=0)
        history, _ = split(raw / "events.csv", folder, copies)
        with history.open("rb") as lines:
            events = sum(1 for _ in lines) - 1
        print("\n| engine | command | wall s | CPU s | µs CPU an event | peak GB | shuffled B an event | spilled GB |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for engine in args.engines:
            home = folder / engine
            home.mkdir()
            for step in run(engine, args.steps, [*map(str, files), str(history)], home):
                row = [f"{step.seconds:.0f}", f"{step.cpu_seconds:.0f}", f"{step.cpu_seconds / events * 1e6:.1f}"]
                row += [f"{step.peak_gb:.2f}", f"{step.spark['shuffled'] / events:.0f}"]
                print(f"| {engine} | {step.name} | {' | '.join(row)} | {step.spark['spilled'] / 1e9:.2f} |", flush=True)
            print(
                f"{engine}: {size(home / 'warehouse') / events:.0f} bytes an event in the warehouse's files", flush=True
            )
            shutil.rmtree(home)


def run(engine: str, steps: list[str], files: list[str], home: Path) -> Iterator[Step]:
    """Run the commands one after the other; yields what each took."""
    python = SPARK if engine == "spark" else Path(sys.executable)
    dbt = str(python.with_name("dbt"))
    commands = {
        "load": [str(python), "-m", "ingest", "load", "--raw", *files],
        "build": [dbt, "--quiet", "build"],
        "train": [str(python), "-m", "ml.train"],
        "score": [str(python), "-m", "ml.score"],
    }
    (home / "warehouse").mkdir()
    (home / "events").mkdir()
    logged = SETTINGS | {"spark.eventLog.dir": (home / "events").as_uri(), "spark.local.dir": str(home / "local")}
    (home / "conf").mkdir()
    (home / "conf" / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in logged.items()))
    where = {
        "FUNNELIFT_TARGET": engine,
        "FUNNELIFT_DUCKDB_PATH": str(home / "warehouse" / "warehouse.duckdb"),
        "FUNNELIFT_SPARK_WAREHOUSE": str(home / "warehouse"),
        "FUNNELIFT_RESULTS": str(home / "results"),
        "SPARK_CONF_DIR": str(home / "conf"),
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "logs"),
    }
    for name in steps:
        step = follow(name, commands[name], where)
        for log in sorted((home / "events").glob("*")):
            step.spark += told(log)
            log.unlink()
        on_cluster = not os.environ.get("FUNNELIFT_SPARK_MASTER", "local").startswith("local")
        step.cpu_seconds += step.spark["cpu"] / 1e9 if on_cluster else 0
        step.peak_gb = max(step.peak_gb, step.spark["memory"] / 1e9)
        if name == "build":
            tell_slowest(home / "target" / "run_results.json")
        yield step


def follow(name: str, command: list[str], where: dict[str, str]) -> Step:
    """Run a command; what it and its children have taken is looked at twice a second."""
    step, began = Step(name), time.perf_counter()
    seconds: dict[int, float] = {}
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            memory = 0.0
            for pid, cpu, resident in family(process.pid):
                seconds[pid] = max(seconds.get(pid, 0.0), cpu)
                memory += resident
            step.peak_gb = max(step.peak_gb, memory / 1e9)

    looking = threading.Thread(target=look)
    looking.start()
    said = process.communicate()[0]
    ended.set()
    looking.join()
    step.seconds, step.cpu_seconds = time.perf_counter() - began, sum(seconds.values())
    if process.returncode != 0:
        raise SystemExit(f"{name} failed with exit code {process.returncode}:\n{said[-5000:]}")
    return step


def family(root: int) -> Iterator[tuple[int, float, int]]:
    """A process and all that it started: number, CPU seconds and resident bytes of each that lives."""
    parents, found = dict[int, int](), dict[int, tuple[float, int]]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        found[pid] = ((int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE)
    for pid in found:
        above = pid
        while above not in (root, 0) and above in parents:
            above = parents[above]
        if above == root:
            yield pid, *found[pid]


def told(log: Path) -> Counter[str]:
    """What Spark's event log says: CPU of tasks, bytes shuffled and spilled, jobs, and the largest process."""
    counted: Counter[str] = Counter()
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["Event"] == "SparkListenerJobStart":
                counted["jobs"] += 1
            elif event["Event"] == "SparkListenerStageExecutorMetrics":
                memory = event["Executor Metrics"]["ProcessTreeJVMRSSMemory"]
                counted["memory"] = max(counted["memory"], memory)
            elif event["Event"] == "SparkListenerTaskEnd" and (metrics := event.get("Task Metrics")):
                counted["tasks"] += 1
                counted["cpu"] += metrics["Executor CPU Time"]
                counted["shuffled"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
                counted["spilled"] += metrics["Disk Bytes Spilled"]
    return counted


def tell_slowest(results: Path) -> None:
    """Print the models and tests that took longest."""
    nodes = json.loads(results.read_text())["results"]
    nodes.sort(key=lambda node: node["execution_time"], reverse=True)
    names = (f"{node['unique_id'].split('.')[2]} {node['execution_time']:.1f}" for node in nodes[:SLOWEST])
    whole = sum(node["execution_time"] for node in nodes)
    print(f"    {len(nodes)} nodes, {whole:.0f} s in all; slowest (s): {', '.join(names)}", flush=True)


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
