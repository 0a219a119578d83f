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
from ml.config import load_config

FULL_VISITORS = 1_400_000
LARGE_VISITORS = 10_400_000  # about 20 M events
# The steps of the whole road, ours and the plain way's.
OURS = ("ingest load", "dbt build, all models and tests", "ml.train")
PLAIN = ("plain pandas, sessions and funnels", "plain CatBoostClassifier()", "plain uplift, two CatBoostClassifier()")


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
        measure(OURS[0], [python, "-m", "ingest", "load", "--raw", str(raw)], environment),
        measure(OURS[1], [dbt, "build"], environment),
    ]
    if train:
        steps.append(measure(OURS[2], [python, "-m", "ml.train"], environment))
        steps.append(measure("dbt run, sessions and funnels only", [dbt, "run", "-s", "+session_funnels"], environment))
        steps.append(measure(PLAIN[0], [python, "-m", "benchmarks.plain_sessions", str(raw)], environment))
        steps.append(measure(PLAIN[1], [python, "-m", "benchmarks.plain_catboost"], environment))
        plain = [python, "-m", "benchmarks.plain_uplift", load_config().experiment.decision_point]
        steps.append(measure(PLAIN[2], plain, environment))
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
            counts["plain_auc"] = json.loads(_step(steps, PLAIN[1]).output.splitlines()[-1])["auc"]
    return steps, counts


def table(title: str, steps: list[Measured], counts: dict[str, float]) -> str:
    """Render one run as a markdown table."""
    held = ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.4f}" for name, value in counts.items()
    )
    lines = [f"### {title}", "", held, "", "| step | wall s | CPU s | peak GB |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {s.name} | {s.seconds:.1f} | {s.cpu_seconds:.1f} | {s.peak_gb:.2f} |" for s in steps]
    lines += [whole_road(steps)] if any(step.name in PLAIN for step in steps) else []
    return "\n".join(lines) + "\n"


def whole_road(steps: list[Measured]) -> str:
    """Say how much longer the plain way takes than ours, from raw files to uplift."""
    ours, plain = (
        [sum(getattr(_step(steps, name), field) for name in names) for field in ("seconds", "cpu_seconds")]
        for names in (OURS, PLAIN)
    )
    return (
        f"\nWhole road: {ours[0]:.0f} s (CPU {ours[1]:.0f} s); the plain way {plain[0]:.0f} s (CPU {plain[1]:.0f} s), "
        f"{plain[0] / ours[0]:.1f} times as long."
    )


def _step(steps: list[Measured], name: str) -> Measured:
    return next(step for step in steps if step.name == name)


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
