"""`python -m ops docs`: what there is and how the last run went: dbt's documentation and the gate's Data Docs.

dbt's page is one file, its overview followed by the metrics of the last training. The gate's page is made by Great
Expectations from the result that the last `ml.train` or `ml.score` left beside the manifest.
"""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml.config import Config, load_config
from ml.data.values import GATE_RESULT
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

OVERVIEW = "doc.funnelift.__overview__"
NO_TRAINING = "\n## Last training\n\nNone yet: run `python -m ml.train`.\n"
LAST_RUN_SQL = """
select run_id, target, finished_at, champion, session_count, converting_session_count, is_synthetic
from funnelift.ml_runs
where status = 'published'
"""
METRICS_SQL = """
select model, metric, value, ci_lower, ci_upper, n_rows, 0 as is_simulated
from funnelift.model_metrics
where slice = 'overall' and run_id = ?
union all
select learner, metric, value, ci_lower, ci_upper, n_rows, is_simulated
from funnelift.uplift_metrics
where versus = ''
order by model, metric
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `python -m ops`."""
    parser = commands.add_parser("docs", help="dbt's documentation and the gate's Data Docs, under results/docs")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Write the pages; returns the exit code."""
    try:
        for path in build(load_config()):
            print(path)
    except FunneliftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build(config: Config) -> list[Path]:
    """Write the pages.

    Parameters
    ----------
    config : Config
        Where the warehouse, dbt's manifest and the results are.

    Returns
    -------
    list of Path
        dbt's page, and that of the gate where one has run.

    Raises
    ------
    FunneliftError
        When dbt fails, or the warehouse cannot be read.
    """
    folder = config.results / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"index.html": dbt_page(config)}
    gate = config.manifest.with_name(GATE_RESULT)
    if gate.exists():
        pages["gate.html"] = gate_page(json.loads(gate.read_text(encoding="utf-8")))
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")
    return [folder / name for name in pages]


def dbt_page(config: Config) -> str:
    """Let dbt document the warehouse, and join its files to one page with the metrics of the last training.

    Parameters
    ----------
    config : Config
        Where the warehouse and dbt's manifest are.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    FunneliftError
        When dbt fails.
    """
    target = config.manifest.parent
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", "docs", "generate", "--target-path", str(target)]
    if subprocess.run(command, check=False).returncode:
        raise FunneliftError("dbt could not document the warehouse: mend what it says above, then run it again")
    with open_warehouse(config) as warehouse:
        metrics = last_training(warehouse)
    manifest = json.loads(config.manifest.read_text(encoding="utf-8"))
    manifest["docs"][OVERVIEW]["block_contents"] += metrics
    catalog = json.loads((target / "catalog.json").read_text(encoding="utf-8"))
    page = (target / "index.html").read_text(encoding="utf-8")
    for name, content in (("MANIFEST", manifest), ("CATALOG", catalog)):
        # A description must not end the script that it stands in.
        page = page.replace(f'"{name}.JSON INLINE DATA"', json.dumps(content).replace("</", "<\\/"))
    return page


def last_training(warehouse: Warehouse) -> str:
    """Say in Markdown how the last training went.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    str
        A heading, a sentence and the metrics with their intervals.
    """
    if not warehouse.columns("ml_runs"):
        return NO_TRAINING
    runs = warehouse.query(LAST_RUN_SQL)
    if not runs:
        return NO_TRAINING
    last = runs[0]
    made_up = " The data are synthetic." if last["is_synthetic"] else ""
    finished = f"{last['finished_at']:%Y-%m-%d %H:%M} UTC"
    return (
        f"\n## Last training\n\nRun `{last['run_id']}` on {last['target']}, finished {finished}: "
        f"{int(last['session_count']):,} sessions, {int(last['converting_session_count']):,} of them converting; "
        f"champion {last['champion']}.{made_up} All rows of the test split.\n\n"
        + _table(warehouse.query(METRICS_SQL, [last["run_id"]]))
    )


def gate_page(result: Mapping[str, Any]) -> str:
    """Render a validation result of Great Expectations as it renders its Data Docs.

    Parameters
    ----------
    result : mapping
        What the gate wrote.

    Returns
    -------
    str
        HTML; a browser fetches its styles from the network.
    """
    core: Any = importlib.import_module("great_expectations.core.expectation_validation_result")
    renderer: Any = importlib.import_module("great_expectations.render.renderer")
    view: Any = importlib.import_module("great_expectations.render.view")
    loaded = core.expectationSuiteValidationResultSchema.load(dict(result))
    parts = ("success", "results", "suite_name", "suite_parameters", "statistics", "meta")
    outcome = core.ExpectationSuiteValidationResult(**{part: loaded[part] for part in parts})
    return str(view.DefaultJinjaPageView().render(renderer.ValidationResultsPageRenderer().render(outcome)))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    def number(value: Any) -> str:
        return "" if value is None else f"{float(value):.4f}"

    lines = ["| model | metric | value | interval | rows |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        ends = [number(row["ci_lower"]), number(row["ci_upper"])]
        interval = f"{ends[0]} to {ends[1]}" if all(ends) else ""
        value = number(row["value"])
        model = f"{row['model']} (simulated effects)" if row["is_simulated"] else row["model"]
        lines.append(f"| {model} | {row['metric']} | {value} | {interval} | {int(row['n_rows']):,} |")
    return "\n".join(lines) + "\n"
