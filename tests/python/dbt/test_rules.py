"""The one test of a table's rules: it finds each rule that is broken, and dbt's own output names it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from parity import AskedWarehouse, on_duckdb, on_server
from servers import DatabaseServer
from trial import make_trial

COLUMNS = ("id", "is_on", "amount", "size", "kind", "parent_id")
KINDS = ["a", "it's"]
ROWS: list[tuple[int | str | None, ...]] = [
    (1, 1, 5, 1, "a", 1),
    (2, 0, 5, 1, "a", None),
    (2, 2, -5, 9, "it's", 2),
    (3, None, None, 0, "b", 7),
    (4, 1, 5, None, None, 8),
    (None, 1, 6, 2, "it's", 2),
]
RULES: dict[str, Any] = {
    "never_null": ["is_on", "parent_id"],
    "zero_or_one": ["is_on"],
    "never_negative": ["amount"],
    "accepted_range": {"size": {"min_value": 1, "max_value": 8}, "amount": {"max_value": 6}},
    "accepted_values": {"kind": KINDS, "is_on": [0, 1]},
    "expression_is_true": ["amount >= size", "kind <> 'c' or kind is null"],
    "unique": [["kind", "size"], ["size"]],
}
REFERENCES = {
    "parent_id": {"to": "ref('parents')", "field": "id"},
    "is_on": {"to": "ref('parents')", "field": "id"},
    "id": {"to": "ref('broken')", "field": "id"},
}
# By hand, from the rows; what is not broken is not named.
COMPLAINTS = {
    "never_null is_on": 1,
    "never_null parent_id": 1,
    "zero_or_one is_on": 1,
    "never_negative amount": 1,
    "accepted_range size, min_value 1": 1,
    "accepted_range size, max_value 8": 1,
    "accepted_values kind, a or it's": 1,
    "accepted_values is_on, 0 or 1": 1,
    "expression_is_true amount >= size": 3,
    "grain id": 3,
    "unique kind, size": 2,
    "unique size": 2,
}
LOST = {"references parent_id to parents.id": 2, "references is_on to parents.id": 1}


def query(rows: list[tuple[int | str | None, ...]]) -> str:
    """A view of the rows; a table would have its grain as the key on some engines, and refuse the duplicates."""

    def literal(column: str, value: int | str | None) -> str:
        if value is None:
            return (
                "cast(null as {{ dbt.type_string() }})" if column == "kind" else "cast(null as {{ dbt.type_bigint() }})"
            )
        return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"

    selects = [
        ", ".join(f"{literal(column, value)} as {column}" for column, value in zip(COLUMNS, row, strict=True))
        for row in rows
    ]
    return " union all ".join(f"select {select}" for select in selects)


def described(name: str, grain: list[str], rules: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    tests = [{"rules": {"name": f"rules_{name}", "arguments": rules or {}, "config": config}}]
    if name == "broken":
        tests.append({"references": {"name": "references_broken", "arguments": REFERENCES}})
    return {"name": name, "config": {"materialized": "view", "meta": {"grain": grain}}, "tests": tests}


FILES = {
    "models/parents.sql": "select 1 as id union all select 2",
    "models/broken.sql": query(ROWS),
    "models/behind.sql": "select id from {{ ref('broken') }} where id = 1",
    "models/kept.sql": query(ROWS[:1]),
    "models/doubted.sql": query(ROWS[:2]),
    "models/two_rows.sql": "select id from {{ ref('parents') }}",
    "models/no_row.sql": "select id from {{ ref('parents') }} where id > 2",
    "models/one_row.sql": "select id from {{ ref('parents') }} where id = 2",
    "models/properties.yml": json.dumps(
        {
            "models": [
                described("parents", ["id"]),
                described("broken", ["id"], RULES),
                described("behind", ["id"]),
                described("kept", ["id"], RULES),
                described("doubted", ["id"], RULES, severity="warn"),
                *(described(name, []) for name in ("two_rows", "no_row", "one_row")),
            ]
        }
    ),
}


@pytest.fixture(params=["duckdb", "server"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> AskedWarehouse:
    """Each engine; the server only where the test is asked for it."""
    if request.param == "duckdb":
        return on_duckdb(tmp_path / "warehouse.duckdb")
    server: DatabaseServer = request.getfixturevalue("mysql_server")
    server.drop_databases()
    return on_server(server)


def named(messages: str, table: str) -> list[dict[str, int]]:
    """Each message's rules that are broken, with the rows that break each."""
    told = re.findall(rf"{table} breaks (\d+) rules? of its yml:\n((?: +- .*\n?)+)", messages)
    found = [re.findall(r" +- (.*): (\d+) rows?$", rules, re.MULTILINE) for _, rules in told]
    assert [len(rules) for rules in found] == [int(count) for count, _ in told]
    return [{rule: int(rows) for rule, rows in rules} for rules in found]


@pytest.mark.end_to_end
def test_a_build_names_every_broken_rule(warehouse: AskedWarehouse, tmp_path: Path) -> None:
    outcome = make_trial(warehouse, tmp_path / "project", FILES).run("build")
    assert not outcome.success
    statuses = {result.node.name: str(result.status) for result in outcome.result}
    assert sorted(named(outcome.errors, "broken"), key=len) == [LOST, COMPLAINTS]
    assert named(outcome.errors, "two_rows") == named(outcome.errors, "no_row") == [{"grain, one row": 1}]
    tests = {name: status for name, status in statuses.items() if name.startswith(("rules_", "references_"))}
    assert tests == {
        **dict.fromkeys(["rules_parents", "rules_kept", "rules_one_row"], "pass"),
        **dict.fromkeys(["rules_broken", "references_broken", "rules_two_rows", "rules_no_row"], "error"),
        "rules_doubted": "warn",
        "rules_behind": "skipped",
    }
    assert statuses["behind"] == "skipped", "what reads a table whose rules are broken is not built"
    # Severity stays dbt's: a warning names the rule as an error does.
    (doubts,) = named(outcome.warnings, "doubted")
    assert doubts == {"never_null parent_id": 1, "unique kind, size": 2, "unique size": 2}


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (described("kept", ["id"], {"never_nul": ["id"]}), "There is no rule called never_nul"),
        ({"name": "kept", "tests": ["rules"]}, "states no grain"),
    ],
)
def test_a_rule_that_nobody_would_check_is_an_error(tmp_path: Path, model: dict[str, Any], complaint: str) -> None:
    files = {"models/kept.sql": query(ROWS[:1]), "models/properties.yml": json.dumps({"models": [model]})}
    outcome = make_trial(on_duckdb(tmp_path / "warehouse.duckdb"), tmp_path / "project", files).run("build")
    assert not outcome.success
    assert complaint in outcome.errors
