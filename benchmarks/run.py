"""`python -m benchmarks.run`: the whole road at full scale beside the plain ways, then at 20 M events."""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import duckdb

from benchmarks.measure import ROOT, Measured, measure

FULL_VISITORS = 1_400_000
LARGE_VISITORS = 10_400_000  # about 20 M events


def road(visitors: int, place: Path, train: bool) -> tuple[list[Measured], dict[str, float]]:
    """Synthesise, load, build and, if asked, train; returns what each took and what the marts hold."""
    raw, warehouse, results = place / "raw", place / "bench.duckdb", place / "results"
    environment = {
        "FUNNELIFT_DUCKDB_PATH": str(warehouse),
        "FUNNELIFT_RESULTS": str(results),
        "DBT_TARGET_PATH": str(place / "target"),
        "DBT_LOG_PATH": str(place / "logs"),
    }
    python, dbt = sys.executable, str(Path(sys.executable).with_name("dbt"))
    steps = [
        measure(
            "ingest synth",
            [python, "-m", "ingest", "synth", "--out", str(raw), "--visitors", str(visitors)],
            environment,
        ),
        measure("ingest load", [python, "-m", "ingest", "load", "--raw", str(raw)], environment),
        measure("dbt build, all models and tests", [dbt, "build"], environment),
    ]
    if train:
        steps.append(measure("ml.train", [python, "-m", "ml.train"], environment))
        steps.append(measure("dbt run, sessions and funnels only", [dbt, "run", "-s", "+session_funnels"], environment))
        steps.append(
            measure(
                "plain pandas, sessions and funnels", [python, "-m", "benchmarks.plain_sessions", str(raw)], environment
            )
        )
        steps.append(measure("plain CatBoostClassifier()", [python, "-m", "benchmarks.plain_catboost"], environment))
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        row = connection.execute(
            "select event_count, session_count, (select count(*) from funnelift.session_features) "
            "from funnelift.dataset_summary"
        ).fetchone()
        counts = dict(zip(("events", "sessions", "feature_rows"), row or (), strict=True))
        if train:
            champion = connection.execute(
                "select value from funnelift.model_metrics join funnelift.ml_runs using (run_id) "
                "where metric = 'auc_roc' and slice = 'overall' and model = champion"
            ).fetchone()
            counts["champion_auc"] = champion[0] if champion else float("nan")
            counts["plain_auc"] = json.loads(steps[-1].output.splitlines()[-1])["auc"]
    return steps, counts


def table(title: str, steps: list[Measured], counts: dict[str, float]) -> str:
    """Render one run as a markdown table."""
    held = ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4f}" for name, value in counts.items()
    )
    lines = [f"### {title}", "", held, "", "| step | wall s | CPU s | peak GB |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {s.name} | {s.seconds:.1f} | {s.cpu_seconds:.1f} | {s.peak_gb:.2f} |" for s in steps]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the command line, run, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=FULL_VISITORS)
    parser.add_argument("--skip-large", action="store_true", help="leave out the run at 20 M events")
    parser.add_argument("--large-only", action="store_true", help="only the run at 20 M events")
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    args = parser.parse_args()

    runs: list[tuple[str, int, bool]] = []
    if not args.large_only:
        runs.append((f"{args.visitors:,} synthetic visitors", args.visitors, True))
    if not args.skip_large:
        runs.append((f"{LARGE_VISITORS:,} synthetic visitors", LARGE_VISITORS, False))
    report = []
    for title, visitors, train in runs:
        place = Path(tempfile.mkdtemp(prefix="bench-", dir=args.scratch))
        try:
            steps, counts = road(visitors, place, train)
        finally:
            shutil.rmtree(place)
        print(table(title, steps, counts), flush=True)
        report.append({"title": title, "counts": counts, "steps": [asdict(s) | {"output": None} for s in steps]})
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results" / "benchmarks.json").write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
