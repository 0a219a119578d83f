"""`python -m benchmarks.uplift_speed`: the uplift and policy parts on every session, beside two default CatBoost fits.

Needs a built warehouse and its manifest (FUNNELIFT_DUCKDB_PATH, DBT_TARGET_PATH), and writes uplift tables into it. The
decision point landing holds nearly every session, so it is the most that one experiment can be.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import yaml

from benchmarks.measure import measure


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the uplift and policy parts.")
    parser.add_argument("--decision-point", default="landing")
    parser.add_argument("--skip-plain", action="store_true", help="without the plain way, which takes ten minutes")
    options = parser.parse_args()
    python = sys.executable
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "settings.yml"
        settings.write_text(yaml.safe_dump({"experiment": {"decision_point": options.decision_point}}))
        train = [python, "-m", "ml.train", "--config", str(settings)]
        environment = {"FUNNELIFT_RESULTS": str(Path(scratch) / "results")}
        steps = [
            measure("ml.train --only uplift", [*train, "--only", "uplift"], environment),
            measure("ml.train --only policy", [*train, "--only", "policy"], environment),
        ]
        if not options.skip_plain:
            plain = [python, "-m", "benchmarks.plain_uplift", options.decision_point]
            steps.append(measure("two default CatBoost fits", plain, environment))
    for step in steps:
        print(json.dumps(asdict(step) | {"output": step.output.splitlines()[-1:]}))


if __name__ == "__main__":
    main()
