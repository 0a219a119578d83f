"""The project as a user runs it: real files in, `dbt build`, and documentation that says what is there."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from compiled import CATALOG, Outcome, create_raw_tables, parsed_project, read, run_dbt
from paths import ROOT
from warehouse.contract import read_project
from worlds import read_retailrocket

MARTS = {
    "sessions",
    "session_funnels",
    "session_features",
    "funnel_daily",
    "funnel_dropoff",
    "dim_date",
    "dim_category",
    "dataset_summary",
}
FOLDERS = ("models", "seeds", "macros", "analyses", "tests")
YAML_FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.yml"))


@dataclass(frozen=True)
class Built:
    """A warehouse after `dbt build`, closed."""

    database: Path
    outcome: Outcome
    manifest: dict[str, Any]

    def tables(self) -> dict[str, Any]:
        """Every relation's columns and rows, rows in a fixed order."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            names = connection.execute(
                "select table_name from information_schema.tables where table_schema = 'funnelift'"
            )
            found = {}
            for (name,) in names.fetchall():
                cursor = connection.execute(f'select * from funnelift."{name}"')
                found[name] = [column[0] for column in cursor.description], sorted(map(repr, cursor.fetchall()))
            return found


def build(database: Path) -> Built:
    outcome = run_dbt("build", database=database)
    manifest = json.loads((database.parent / "target" / "manifest.json").read_text())
    return Built(database, outcome, manifest)


@pytest.fixture(scope="module")
def sample(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The RetailRocket sample, loaded by the project's own loader and built by dbt."""
    database = tmp_path_factory.mktemp("sample") / f"{CATALOG}.duckdb"
    subprocess.run(
        [sys.executable, "-m", "ingest", "load", "--raw", str(shared_data / "retailrocket_sample")],
        cwd=ROOT,
        env={**os.environ, "FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(database)},
        check=True,
    )
    return build(database)


def documented() -> dict[str, dict[str, Any]]:
    found = [model for path in YAML_FILES for model in yaml.safe_load(path.read_text()).get("models", [])]
    assert len({model["name"] for model in found}) == len(found), "a model is documented twice"
    return {model["name"]: model for model in found}


def nodes(built: Built, kind: str) -> list[dict[str, Any]]:
    return [node for node in built.manifest["nodes"].values() if node["resource_type"] == kind]


def test_the_sample_builds_and_every_test_passes(sample: Built) -> None:
    assert sample.outcome.success, sample.outcome.errors
    statuses = Counter(str(result.status) for result in sample.outcome.result)
    assert set(statuses) <= {"success", "pass", "warn"}, statuses
    # Order ids of the sample were written as floats, which a build tells.
    doubts = [result.node.name for result in sample.outcome.result if str(result.status) == "warn"]
    assert doubts == ["assert_data_look_right"]
    assert "ids of orders end in .0" in sample.outcome.warnings


def test_every_declared_test_ran(sample: Built) -> None:
    declared = {node["unique_id"] for node in nodes(sample, "test")}
    ran = {result.node.unique_id for result in sample.outcome.result if result.node.resource_type == "test"}
    assert ran == declared
    tested = Counter(parent for key in ran for parent in sample.manifest["nodes"][key]["depends_on"]["nodes"])
    assert all(tested[f"model.funnelift.{mart}"] > 0 for mart in MARTS), tested
    # Counted in the files too: dbt 1.7 passes over what it does not know without a word.
    generic = sum(
        len(place.get("tests", [])) for model in documented().values() for place in [model, *model.get("columns", [])]
    )
    assert len(ran) >= generic + len(list((ROOT / "tests").rglob("*.sql"))) > 0


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_no_yaml_key_that_dbt_ignores(path: Path) -> None:
    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    assert not keys(yaml.safe_load(path.read_text())) & {"data_tests", "unit_tests"}


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_arguments_of_tests_stand_where_newer_dbt_wants_them(path: Path) -> None:
    described = yaml.safe_load(path.read_text())
    owners = [*described.get("models", []), *described.get("seeds", [])]
    tests = [
        test for owner in owners for place in [owner, *owner.get("columns", [])] for test in place.get("tests", [])
    ]
    with_settings = [settings for test in tests if isinstance(test, dict) for settings in test.values()]
    assert all(settings.keys() <= {"arguments", "name", "config"} for settings in with_settings)


def test_every_model_says_what_a_row_is(sample: Built) -> None:
    models = documented()
    assert {node["name"] for node in nodes(sample, "model")} == set(models)
    assert set(models) >= MARTS
    silent = [name for name, model in models.items() if "one row" not in model.get("description", "").lower()]
    assert not silent


def test_every_table_states_its_grain_and_has_one_test_of_its_rules(sample: Built) -> None:
    contracts = read_project()
    described = nodes(sample, "model") + nodes(sample, "seed")
    assert {node["name"] for node in described} == set(contracts)
    # They are part of what reads them, and their duplicates have no key.
    tables = [node for node in described if node["config"]["materialized"] != "ephemeral"]
    ephemeral = {node["name"] for node in described} - {node["name"] for node in tables}
    assert ephemeral == {"stg_events", "stg_item_properties", "stg_refunds"}
    assert {node["name"] for node in tables if "grain" not in node["config"]["meta"]} == set()
    generic = [node for node in nodes(sample, "test") if "test_metadata" in node]
    tested = {node["attached_node"] for node in generic if node["test_metadata"]["name"] == "rules"}
    assert tested == {node["unique_id"] for node in tables}
    # A test that states rules would have them all in its name.
    assert {node["name"].rstrip("_") for node in generic} == {
        f"{node['test_metadata']['name']}_{node['attached_node'].split('.')[-1]}" for node in generic
    }
    for contract in contracts.values():
        assert set(contract.grain) <= set(contract.column_names), contract.name


def test_every_rule_of_the_yml_is_asked_of_the_table(sample: Built) -> None:
    tests = (result.node for result in sample.outcome.result if result.node.resource_type == "test")
    asked = {node.name: node.compiled_code for node in tests}
    rules, references = 0, 0
    for name, model in documented().items():
        for test in model.get("tests", []):
            ((kind, settings),) = test.items() if isinstance(test, dict) else [(test, {})]
            claims = settings.get("arguments", {})
            if kind == "references":
                named = [f"references {column} to" for column in claims]
                references += len(named)
            else:
                named = [
                    f"{rule} {', '.join(claim) if isinstance(claim, list) else claim}"
                    for rule, about in claims.items()
                    for claim in about
                    if "{{" not in claim
                ]
                named += [
                    f"grain {', '.join(grain)}" if (grain := model["config"]["meta"]["grain"]) else "grain, one row"
                ]
                rules += len(named)
            sql = asked[settings.get("name", f"{kind}_{name}_")]
            unasked = [text for text in named if "'" + text.replace("'", "''") not in sql]
            assert not unasked, name
    assert rules > 400
    assert references > 10


@pytest.mark.end_to_end
def test_a_broken_table_is_named_with_its_rules(sample: Built, tmp_path: Path) -> None:
    database = tmp_path / f"{CATALOG}.duckdb"
    shutil.copyfile(sample.database, database)
    with duckdb.connect(str(database)) as connection:
        connection.execute("insert into funnelift.dataset_summary from funnelift.dataset_summary")
        connection.execute("insert into funnelift.dim_date from funnelift.dim_date limit 1")
        connection.execute("update funnelift.session_features set decision_hour = 24 where decision_hour = 23")
        connection.execute("delete from funnelift.dim_category where is_root = 1")
    outcome = run_dbt("test", "--select", "test_type:generic", database=database, manifest=parsed_project().deepcopy())
    broken = {str(result.node.name) for result in outcome.result if result.status != "pass"}
    assert broken == {
        *(f"rules_{name}" for name in ("dataset_summary", "dim_date", "session_features")),
        *("references_dim_category", "references_sessions", "rules_bi_dates_", "rules_bi_status_"),
    }
    for complaint in (
        "dataset_summary breaks 1 rule of its yml:\n    - grain, one row: 1 row\n",
        "dim_date breaks 1 rule of its yml:\n    - grain date_day: 2 rows\n",
        "session_features breaks 1 rule of its yml:\n    - accepted_range decision_hour, max_value 23: ",
        "sessions breaks 1 rule of its yml:\n    - references entry_root_category_id to dim_category.category_id: ",
    ):
        assert complaint in outcome.errors


def test_contracts_are_enforced_on_what_people_build_on(sample: Built) -> None:
    enforced = {node["name"] for node in nodes(sample, "model") if node["contract"]["enforced"]}
    assert enforced == {contract.name for contract in read_project().of_layer("marts", "bi", "predictions")}


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ("replicate, 1 as more", "and has more too much. Rename or drop the table, run `dbt build` again"),
        ("* exclude (replicate), replicate", "its columns stand in the order n_control, "),
    ],
)
def test_a_prediction_table_of_another_version_is_named(tmp_path: Path, columns: str, complaint: str) -> None:
    database, name = tmp_path / f"{CATALOG}.duckdb", "ab_test_simulation"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
    assert run_dbt("run", "--select", name, database=database).success
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"create or replace table funnelift.{name} as select {columns} from funnelift.{name}")
    outcome = run_dbt("run", "--full-refresh", "--select", name, database=database)
    assert not outcome.success
    assert "ab_test_simulation was written by another version: it" in outcome.errors.replace('"', "")
    assert complaint in outcome.errors


TAGS = {
    "sessions": {"dataset_summary", "dim_category", "dim_date", "sessions"},
    "funnel": {"funnel_daily", "funnel_dropoff", "session_funnels"},
    "features": {"session_features"},
    "bi": {path.stem for path in (ROOT / "models" / "bi").glob("*.sql")},
    "predictions": {path.stem for path in (ROOT / "models" / "predictions").glob("*.sql")},
    "build": {path.stem for path in (ROOT / "models" / "build").glob("*.sql")},
}
# What a build tells about itself to those who read what it built.
ABOUT_BUILDS = {"build_plan", "built_loads", "last_build", "visitor_changes"}


def test_what_each_tag_selects(sample: Built) -> None:
    found: dict[str, set[str]] = {}
    for node in nodes(sample, "model"):
        for tag in node["tags"]:
            found.setdefault(tag, set()).add(node["name"])
    assert found == TAGS
    assert set().union(*TAGS.values()) >= MARTS


@pytest.mark.end_to_end
def test_a_tag_builds_with_its_parents(tmp_path: Path) -> None:
    database = tmp_path / f"{CATALOG}.duckdb"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
    outcome = run_dbt("run", "--select", "+tag:funnel", database=database, manifest=parsed_project().deepcopy())
    assert outcome.success, outcome.errors
    built = {result.node.name for result in outcome.result if result.node.resource_type == "model"}
    assert built >= TAGS["funnel"] | {"int_session_totals"}
    assert not built & (TAGS["features"] | TAGS["bi"])


def test_every_model_has_a_group_with_an_owner(sample: Built) -> None:
    owned = {group["name"] for group in sample.manifest["groups"].values() if group["owner"]["name"]}
    assert {node["config"]["group"] for node in nodes(sample, "model")} <= owned
    public = {node["name"] for node in nodes(sample, "model") if node["access"] == "public"}
    assert public == set().union(*TAGS.values()) - TAGS["build"] | ABOUT_BUILDS


def test_every_column_is_documented_and_exists(sample: Built) -> None:
    tables = sample.tables()
    for name, model in documented().items():
        described = {column["name"] for column in model["columns"] if column.get("description", "").strip()}
        if name in tables:  # ephemeral models are no tables
            assert described == set(tables[name][0]), name


def test_the_feature_mart_says_which_columns_are_features() -> None:
    columns = documented()["session_features"]["columns"]
    meta = {column["name"]: column.get("meta", {}) for column in columns}
    features = {name: facts for name, facts in meta.items() if facts.get("role") == "feature"}
    assert 35 <= len(features) <= 50
    assert {facts["group"] for facts in features.values()} == {"context", "session", "item", "history"}
    assert {facts["kind"] for facts in features.values()} == {"numeric", "categorical"}
    short = [facts["short"] for facts in features.values()]
    assert len(set(short)) == len(features)
    assert max(map(len, short)) <= 25
    others = {name: facts.get("role") for name, facts in meta.items() if name not in features}
    assert set(others.values()) == {"id", "label", "time", "status"}
    assert [name for name, role in others.items() if role == "label"] == ["has_transaction"]


def test_the_sample_has_the_counts_of_a_plain_recount(sample: Built, shared_data: Path) -> None:
    world = read_retailrocket(shared_data / "retailrocket_sample")
    assert len(world.events) == 2771
    expected = world.reference().summary()
    assert expected["event_count"] == 2771 - 1, "the file has one exact duplicate"
    assert expected["visitor_count"] == 1500
    with duckdb.connect(str(sample.database), read_only=True) as connection:
        (summary,) = read(connection, "dataset_summary", []).values()
        (raw,) = connection.execute("select count(*) from funnelift_raw.raw_events").fetchone() or ()
    assert {name: summary[name] for name in expected} == expected
    assert (raw, summary["is_synthetic"]) == (2771, False)


def test_a_shop_whose_revenue_was_all_paid_back_has_prices(sample: Built, tmp_path: Path) -> None:
    database = tmp_path / f"{CATALOG}.duckdb"
    shutil.copyfile(sample.database, database)
    has_prices = "select has_prices, missing like '%No prices%' from funnelift.bi_status"
    with duckdb.connect(str(database)) as connection:
        assert connection.execute(has_prices).fetchone() == (0, True)
        connection.execute("update funnelift.dataset_summary set refunded_value = 5")
        assert connection.execute(has_prices).fetchone() == (1, False)


@pytest.mark.end_to_end
def test_a_second_build_changes_nothing(sample: Built) -> None:
    before = sample.tables()
    again = build(sample.database)
    assert again.outcome.success, again.outcome.errors
    about_itself = {"build_loads", "build_plan", "last_build"}
    assert without(again.tables(), about_itself) == without(before, about_itself)
    assert again.tables()["last_build"] != before["last_build"]


def test_a_changed_setting_makes_every_table_anew_unless_rows_do_not_depend_on_it(sample: Built) -> None:
    with duckdb.connect(str(sample.database), read_only=True) as connection:
        (settings_json,) = connection.execute("select settings_json from funnelift.build_plan").fetchone() or ("{}",)
    settings = json.loads(settings_json)
    known = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    clocks = {"clock_gap_days", "clock_straggler_share", "clock_tolerance_seconds"}
    others = {"build_wait_seconds", "cut_category_branches", "eda_dataset", "full_build_share"}
    assert known.keys() - settings.keys() == clocks | others


def without(tables: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: rows for name, rows in tables.items() if name not in names}
