"""Compile session_features and all that it reads: dbt's own SQL is the one definition of the features.

It runs as a process of its own (`python -m live.compile FOLDER VARS`), for dbt keeps its settings and files open.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingest.raw_tables import RAW_TABLES
from warehouse.errors import FunneliftError
from warehouse.settings import PROJECT

# The catalog and the schemas that the SQL names; the database in memory has the same ones.
CATALOG = "live"
RESULT = "compiled.json"
# What the models say of an event's day and of its kind, asked by queries of our own.
DAYS = "select event_key, {{ local_day_number('event_ms') }} as day_number from {{ ref('int_event_items') }}"
KINDS = "select event_rank, {{ event_kind('event_rank') }} as event_type from {{ ref('int_event_items') }}"


@dataclass(frozen=True)
class CompiledModel:
    """One model: its name, its relation, its SQL, and the models that it reads."""

    name: str
    relation: str
    sql: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Compiled:
    """The models in the order in which they can run; queries for the day and the kind of events."""

    models: tuple[CompiledModel, ...]
    days_sql: str
    kinds_sql: str

    def __getitem__(self, name: str) -> CompiledModel:
        return next(model for model in self.models if model.name == name)


def compile_features(settings: Mapping[str, Any], kept: Path) -> Compiled:
    """Compile the feature mart and its ancestors as a full build of them would run.

    Parameters
    ----------
    settings : mapping
        dbt's vars of the build that the marts come from; those that name raw tables do not count.
    kept : Path
        Folder in which what was compiled is kept: the same models and settings are not compiled again.

    Returns
    -------
    Compiled
        SQL for DuckDB, on tables of the catalog `live`.

    Raises
    ------
    FunneliftError
        When dbt fails.
    """
    # Only what differs from the project's own settings: a build notes all of them.
    usual = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8")).get("vars", {})
    chosen = {
        name: value
        for name, value in settings.items()
        if not name.startswith("raw_") and (name not in usual or usual[name] != value)
    }
    path = kept / f"compiled-{_fingerprint(chosen)}.json"
    if not path.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            _compile_in(Path(scratch), chosen).replace(path)
    found = json.loads(path.read_text(encoding="utf-8"))
    models = tuple(
        CompiledModel(entry["name"], entry["relation"], entry["sql"], tuple(entry["needs"]))
        for entry in found["models"]
    )
    return Compiled(models, found["days_sql"], found["kinds_sql"])


def _fingerprint(settings: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    files = [path for folder in ("models", "macros") for path in (PROJECT / folder).rglob("*") if path.is_file()]
    for path in sorted([*files, PROJECT / "dbt_project.yml", Path(__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compile_in(folder: Path, settings: Mapping[str, Any]) -> Path:
    _make_database(folder / f"{CATALOG}.duckdb")
    places = {
        "FUNNELIFT_TARGET": "duckdb",
        "FUNNELIFT_DUCKDB_PATH": str(folder / f"{CATALOG}.duckdb"),
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    done = subprocess.run(
        [sys.executable, "-m", "live.compile", str(folder), json.dumps(settings)],
        cwd=PROJECT, env={**os.environ, **places}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise FunneliftError(f"dbt could not compile session_features: {(done.stderr or done.stdout)[-2000:]}")
    return folder / RESULT


def _make_database(path: Path) -> None:
    """Make raw tables without rows, and a build whose events have ids of the shop's own."""
    import duckdb

    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema funnelift; create schema funnelift_raw")
        for table, columns in RAW_TABLES.items():
            typed = ", ".join(f"{column.name} {column.data_type}" for column in columns)
            connection.execute(f"create table funnelift_raw.{table} ({typed})")
        connection.execute(
            "create table funnelift.build_plan as select 'live' as build_id, 1 as build_number, 1 as is_full, "
            "0 as is_continued, 1 as has_event_ids"
        )


def main(arguments: Sequence[str]) -> int:
    """Compile in this process, and write what came of it into the folder."""
    from dbt.cli.main import dbtRunner

    folder, settings = Path(arguments[0]), arguments[1]
    options = ["--full-refresh", "--target", "duckdb", "--vars", settings, "--project-dir", str(PROJECT)]
    options += ["--profiles-dir", str(PROJECT)]
    parsed = dbtRunner().invoke(["--quiet", "parse", *options[1:]])
    if not parsed.success:
        raise SystemExit(str(parsed.exception or "dbt parse failed"))
    manifest: Any = parsed.result
    runner = dbtRunner(manifest=manifest)
    # Without the tests, which dbt would choose with the models.
    chosen = ["--select", "+session_features", "--exclude", "resource_type:test", "resource_type:seed"]
    nodes = {result.node.unique_id: result.node for result in _compiled(runner, [*chosen, *options])}
    queries = [_compiled(runner, ["--inline", sql, *options])[0].node.compiled_code for sql in (DAYS, KINDS)]
    models = [
        {"name": node.name, "relation": node.relation_name, "sql": node.compiled_code, "needs": _needs(node, nodes)}
        for node in nodes.values()
        if node.config.materialized != "ephemeral" and "build" not in node.fqn
    ]
    text = json.dumps({"models": _in_order(models), "days_sql": queries[0], "kinds_sql": queries[1]})
    (folder / RESULT).write_text(text, encoding="utf-8")
    return 0


def _compiled(runner: Any, arguments: list[str]) -> Any:
    outcome = runner.invoke(["--quiet", "compile", *arguments])
    if not outcome.success:
        raise SystemExit(str(outcome.exception or outcome.result))
    return list(outcome.result)


def _needs(node: Any, nodes: Mapping[str, Any]) -> list[str]:
    """The models that stand in a node's SQL, those inside ephemeral ones included."""
    found = set[str]()
    for parent in (nodes[key] for key in node.depends_on.nodes if key in nodes):
        if parent.config.materialized == "ephemeral":
            found |= set(_needs(parent, nodes))
        elif "build" not in parent.fqn:
            found.add(parent.name)
    return sorted(found)


def _in_order(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from graphlib import TopologicalSorter

    named = {model["name"]: model for model in models}
    return [named[name] for name in TopologicalSorter({name: named[name]["needs"] for name in named}).static_order()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
