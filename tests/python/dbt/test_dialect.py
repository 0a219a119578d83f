"""What dbt itself offers a model works on MySQL and MariaDB as on DuckDB: a project of its own, with these macros."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from compiled import Outcome
from parity import AskedWarehouse, Relation, differences, on_duckdb, on_server
from servers import DatabaseServer
from trial import Trial, make_trial

TEXTS = [
    *("", "a", "A", "é", "e\u0301", "🛒 x", "o'brien", 'say "so"', "back\\slash", "\\", "\\n", "a\nb", "50%_", " a "),
    *("x", "x,y", "x,,y", ",x", "x,", ",", "a, b, c", "X,x", "🛒" * 300, None),
    *("1", "-12", "+7", " 8 ", "007", "1.5", "2.5", "-2.5", "1e3", ".5", "5.", "0x1F", "12abc", "NaN", "1,5", "--1"),
    *("9" * 18, "9" * 30, "2147483648", "2015-06-01", "2015-02-29", "2016-02-29", "2015-13-01", "2015-6-1", "noon"),
    *(
        "0000-00-00",
        "2015-06-01 12:34:56",
        "2015-06-01T12:34:56.789",
        "2015-06-01 25:00:00",
        "true",
        "2015-06-01 ",
        "12\n",
    ),
]
MOMENTS = [
    *("2015-06-01 00:00:00", "2015-05-31 23:59:59.999", "2015-06-07 12:34:56.789", "2015-06-08 00:00:00.001"),
    *("2015-12-31 23:59:59.999", "2016-01-01 00:00:00", "2016-02-29 12:00:00", "2015-01-31 01:02:03.004"),
    *("1969-12-31 23:59:59.999", "2038-01-19 03:14:08", "2000-02-29 00:00:00.5", None),
]
PARTS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond")
TEXT_FUNCTIONS = {
    "joined": """dbt.concat(["text", "'-'", "text"])""",
    "joined_to_number": """dbt.concat(["text", "id"])""",
    "hashed": """dbt.hash("text")""",
    "number_hashed": """dbt.hash("id")""",
    "characters": """dbt.length("text")""",
    "first_part": """dbt.split_part("text", "','", 1)""",
    "second_part": """dbt.split_part("text", "','", 2)""",
    "last_part": """dbt.split_part("text", "','", -1)""",
    "place": """dbt.position("','", "text")""",
    "replaced": """dbt.replace("text", "'x'", "'yy'")""",
    "ending": """dbt.right("text", 2)""",
    "as_bigint": """dbt.safe_cast("text", dbt.type_bigint())""",
    "as_float": """dbt.safe_cast("text", dbt.type_float())""",
    "as_numeric": """dbt.safe_cast("text", dbt.type_numeric())""",
    "as_string": """dbt.safe_cast("id", dbt.type_string())""",
    "as_date": """dbt.safe_cast("text", "date")""",
    "as_timestamp": """dbt.safe_cast("text", dbt.type_timestamp())""",
}
MOMENT_FUNCTIONS = {
    **{f"{part}_later": f'dbt.dateadd("{part}", 1, "moment")' for part in PARTS},
    **{f"{part}s_earlier": f'dbt.dateadd("{part}", -13, "moment")' for part in PARTS},
    **{f"{part}_start": f'dbt.date_trunc("{part}", "moment")' for part in PARTS[:-1]},
    **{f"{part}_end": f'dbt.last_day("moment", "{part}")' for part in ("month", "quarter", "year")},
    "computed_later": 'dbt.dateadd("day", "id + 1", "moment")',
    "day_later": 'dbt.dateadd("day", 1, "cast(moment as date)")',
    "day_start": 'dbt.date_trunc("month", "cast(moment as date)")',
}


def listed(values: Sequence[str | None]) -> str:
    """A query that gives the values as they are, by dbt's own functions for text."""
    quoted = [
        "cast(null as {{ dbt.type_string() }})"
        if value is None
        else f"{{{{ dbt.string_literal(dbt.escape_single_quotes({json.dumps(value, ensure_ascii=False)})) }}}}"
        for value in values
    ]
    return "\nunion all\n".join(f"select {number} as id, {text} as text" for number, text in enumerate(quoted))


def columns(functions: Mapping[str, str]) -> str:
    return "".join(f",\n    {{{{ {call} }}}} as {column}" for column, call in functions.items())


MODELS = {
    "texts": listed(TEXTS),
    "text_functions": f"select id{columns(TEXT_FUNCTIONS)} from {{{{ ref('texts') }}}}",
    "moments": "select id, cast(text as {{ dbt.type_timestamp() }}) as moment from (\n"
    + listed(MOMENTS)
    + ") as listed",
    "moment_functions": f"select id{columns(MOMENT_FUNCTIONS)} from {{{{ ref('moments') }}}}",
    "differences": "select a.id * 100 + b.id as id"
    + columns({f"in_{part}s": f'dbt.datediff("a.moment", "b.moment", "{part}")' for part in PARTS})
    + " from {{ ref('moments') }} as a cross join {{ ref('moments') }} as b",
    "types": """
        select
            1 as id,
            cast('0.1' as {{ dbt.type_float() }}) as a_float,
            cast('0.1' as {{ dbt.type_numeric() }}) as a_numeric,
            cast('9223372036854775807' as {{ dbt.type_bigint() }}) as a_bigint,
            cast('2147483647' as {{ dbt.type_int() }}) as an_int,
            cast(1 = 1 as {{ dbt.type_boolean() }}) as a_boolean,
            cast(12 as {{ dbt.type_string() }}) as a_string,
            cast('2015-06-01 12:34:56.789' as {{ dbt.type_timestamp() }}) as a_timestamp
    """,
    "aggregates": """
        select
            id % 3 as id,
            {{ dbt.any_value('id % 3') }} as any_of_one,
            {{ dbt.bool_or('id > 40') }} as has_large,
            {{ dbt.bool_or("text = 'A'") }} as has_a,
            {{ dbt.listagg('text', "'|'", 'order by id') }} as every_text,
            {{ dbt.listagg('text', "'|'", 'order by id desc', 2) }} as last_texts
        from {{ ref('texts') }}
        group by id % 3
    """,
    "excepted": """
        select text from {{ ref('texts') }} where id < 10
        {{ dbt.except() }}
        select lower(text) from {{ ref('texts') }} where id in (2, 3, 4)
    """,
    "intersected": """
        select text from {{ ref('texts') }}
        {{ dbt.intersect() }}
        select upper(text) from {{ ref('texts') }}
    """,
}


@pytest.fixture(scope="module")
def functions(mysql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Trial]:
    mysql_server.drop_databases()
    folder = tmp_path_factory.mktemp("functions")
    files = {f"models/{model}.sql": sql for model, sql in MODELS.items()}
    trials = (
        make_trial(on_duckdb(folder / "warehouse.duckdb"), folder / "duckdb", files),
        make_trial(on_server(mysql_server), folder / "server", files),
    )
    for trial in trials:
        outcome = trial.run("run")
        assert outcome.success, outcome.errors
    return trials


@pytest.mark.parametrize("model", MODELS)
def test_functions_give_what_they_give_on_duckdb(functions: tuple[Trial, Trial], model: str) -> None:
    key = {"excepted": ["text"], "intersected": ["text"]}.get(model, ["id"])
    told = differences(*(trial.read(model) for trial in functions), key=key)
    assert not told, "\n".join(told)


# --- tables, views, seeds, snapshots, contracts, comments, grants -----------------------------------------------------

COMMENT = "It's \"quoted\", 50%_ {done}, back\\slash \\n and \\' 🛒 é; -- no comment"
LONG = "é" * 3000
GRANTEES = ["trial_user", "trial_local@localhost", "trial_role"]
THINGS = (
    "id,name,amount,seen_at\n1,🛒 é,12.34,2015-06-01 12:34:56\n"
    '2,"back\\slash ""said"" it\'s",0.0001,\n3,,7,1969-12-31 23:59:59\n4,ab,1,\n5,AB,2,\n'
)
TYPES = {
    "id": "bigint",
    "name": "varchar(50)",
    "amount": "decimal(18, 4)",
    "seen_at": "{{ 'datetime(3)' if target.type == 'mysql' else 'timestamp' }}",
}
CONSTRAINTS = {"id": ["not_null", "primary_key"], "name": ["not_null"]}
KEY = "cast(1 as {{ dbt.type_bigint() }}) as id"
BROKEN = {
    "broken_null": f"select {KEY}, cast(null as {{{{ dbt.type_string() }}}}) as name",
    "broken_key": f"select {KEY}, 'a' as name union all select 1, 'b'",
    "broken_type": "select 'one' as id, 'a' as name",
    "broken_columns": f"select {KEY}, 'a' as title",
}


def contract(model: str, columns: Sequence[str], description: str = "", **config: Any) -> dict[str, Any]:
    return {
        "name": model,
        "description": description,
        "config": {"contract": {"enforced": True}, **config},
        "columns": [
            {
                "name": column,
                "data_type": TYPES[column],
                "description": description if column == "name" else COMMENT,
                "constraints": [{"type": kind} for kind in CONSTRAINTS.get(column, [])],
            }
            for column in columns
        ],
    }


PROPERTIES = {
    "seeds": [{"name": "things", "config": {"column_types": TYPES}}],
    "models": [
        contract("contracted", list(TYPES), LONG),
        *(contract(model, ["id", "name"], tags=["broken"]) for model in BROKEN),
        {
            "name": "shape",
            "description": COMMENT,
            "columns": [{"name": "name", "description": COMMENT}],
        },
    ],
}
FILES = {
    "seeds/things.csv": THINGS,
    "models/properties.yml": json.dumps(PROPERTIES, ensure_ascii=False),
    "models/contracted.sql": """
        select * from {{ ref('things') }} where id in (1, 2)
        {% if var('is_broken') %}union all select 3, null, 1, null{% endif %}
    """,
    "models/shape.sql": """
        {{ config(
            materialized=var('shape'), grants={'select': var('grantees')} if target.type == 'mysql' else {}
        ) }}
        select id, name from {{ ref('things') }} where id > {{ var('stage') }}
    """,
    "models/growing.sql": """
        {{ config(materialized='incremental', unique_key='id') }}
        select id, {{ dbt.concat(['name', "'!'"]) }} as name, {{ var('stage') }} as stage from {{ ref('things') }}
        where id {% if is_incremental() %}>{% else %}<={% endif %} 3 or id = {{ var('stage') }}
    """,
    "snapshots/watched.sql": """
        {% snapshot watched %}
            {{ config(target_schema='funnelift', unique_key='id', strategy='check', check_cols=['name']) }}
            select id, case when id = {{ var('stage') }} then 'changed 🛒' else name end as name
            from {{ ref('things') }}
        {% endsnapshot %}
    """,
    **{f"models/{model}.sql": sql for model, sql in BROKEN.items()},
}
STAGES: list[dict[str, Any]] = [
    {"stage": 1, "shape": "table", "grantees": GRANTEES[:2]},
    {"stage": 2, "shape": "view", "grantees": GRANTEES[1:]},
    {"stage": 3, "shape": "table", "grantees": []},
]


@dataclass(frozen=True)
class Catalog:
    """What a server knows of the relations, by name; of columns by relation and name."""

    kinds: dict[str, str]
    comments: dict[str, str]
    types: dict[str, tuple[str, str, str]]
    collations: set[str]
    readers: dict[str, set[str]]


def catalog(warehouse: AskedWarehouse) -> Catalog:
    def rows(sql: str) -> Sequence[tuple[Any, ...]]:
        return warehouse.query(f"{sql} where table_schema = 'funnelift'").rows

    tables = rows("select table_name, table_type, table_comment from information_schema.tables")
    columns = rows(
        "select concat(table_name, '.', column_name), column_comment, column_type, is_nullable, column_key, "
        "collation_name from information_schema.columns"
    )
    readers: dict[str, set[str]] = {}
    for grantee, table, privilege in rows(
        "select grantee, table_name, privilege_type from information_schema.table_privileges"
    ):
        assert privilege == "SELECT"
        user, _, host = grantee.replace("'", "").partition("@")
        readers.setdefault(table, set()).add(user if host in ("", "%") else f"{user}@{host}")
    return Catalog(
        kinds={name: kind for name, kind, _ in tables},
        comments={name: comment for name, _, comment in tables} | {name: comment for name, comment, *_ in columns},
        types={name: (kind, nullable, key) for name, _, kind, nullable, key, _ in columns},
        collations={collation for *_, collation in columns if collation},
        readers=readers,
    )


@dataclass(frozen=True)
class State:
    """What was there after a run."""

    outcome: Outcome
    relations: dict[str, Relation]
    catalog: Catalog


@pytest.fixture(scope="module")
def grantees(mysql_server: DatabaseServer) -> Iterator[None]:
    """Two users and a role on the tests' server."""
    made = ["user trial_user@'%'", "user trial_local@localhost", "role trial_role"]
    with closing(mysql_server.session()) as session:
        for grantee in made:
            session.execute(f"drop {grantee.replace(' ', ' if exists ', 1)}")
            session.execute(f"create {grantee}")
        yield
        for grantee in made:
            session.execute(f"drop {grantee}")


@pytest.fixture(scope="module")
def stages(
    mysql_server: DatabaseServer, grantees: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[State]]:
    """A project that changes from run to run, on DuckDB and on the server."""
    mysql_server.drop_databases()
    folder = tmp_path_factory.mktemp("stages")
    states: dict[str, list[State]] = {}
    for engine, warehouse in [("duckdb", on_duckdb(folder / "warehouse.duckdb")), ("server", on_server(mysql_server))]:
        trial = make_trial(warehouse, folder / engine, FILES)
        states[engine] = []
        for variables in [*STAGES, {**STAGES[-1], "is_broken": True}]:
            is_broken = variables.get("is_broken", False)
            what = (
                ["run", "--select", "tag:broken", "contracted"] if is_broken else ["build", "--exclude", "tag:broken"]
            )
            outcome = trial.run(*what, **{"is_broken": False, **variables})
            assert outcome.success is not is_broken, f"{warehouse.name}: {outcome.errors}"
            relations = {table: trial.read(table) for table in ("things", "contracted", "shape", "growing")}
            relations["watched"] = trial.read("watched", "id, name, dbt_valid_to is null as is_current")
            found = catalog(warehouse) if engine == "server" else Catalog({}, {}, {}, set(), {})
            states[engine].append(State(outcome, relations, found))
    return states


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("relation", ["things", "contracted", "shape", "growing", "watched"])
def test_relations_hold_the_same_after_each_run(stages: dict[str, list[State]], relation: str, stage: int) -> None:
    expected, found = (stages[engine][stage - 1].relations[relation] for engine in ("duckdb", "server"))
    key = ["id", "name", "is_current"] if relation == "watched" else ["id"]
    assert expected.rows
    told = differences(expected, found, key)
    assert not told, "\n".join(told)


@pytest.mark.parametrize("engine", ["duckdb", "server"])
def test_a_broken_contract_is_refused_and_the_old_table_stays(stages: dict[str, list[State]], engine: str) -> None:
    *_, before, after = stages[engine]
    refused = {result.node.name: result.message for result in after.outcome.result if result.status == "error"}
    assert set(refused) == {"contracted", *BROKEN}
    assert "title" in refused["broken_columns"]
    assert not differences(before.relations["contracted"], after.relations["contracted"], ["id"])
    assert after.catalog.kinds.keys() == before.catalog.kinds.keys()


def test_a_contract_gives_columns_their_types_and_constraints(stages: dict[str, list[State]]) -> None:
    for state in stages["server"][:3]:
        types = {name: facts for name, facts in state.catalog.types.items() if name.startswith("contracted.")}
        assert {name: kind.replace("(20)", "") for name, (kind, *_) in types.items()} == {
            "contracted.id": "bigint",
            "contracted.name": "varchar(50)",
            "contracted.amount": "decimal(18,4)",
            "contracted.seen_at": "datetime(3)",
        }
        assert types["contracted.id"][1:] == ("NO", "PRI")
        assert {name: nullable for name, (_, nullable, _) in types.items()} == {
            "contracted.id": "NO",
            "contracted.name": "NO",
            "contracted.amount": "YES",
            "contracted.seen_at": "YES",
        }


def test_descriptions_become_comments_cut_to_what_fits(stages: dict[str, list[State]]) -> None:
    # Both servers keep comments in characters of at most three bytes.
    kept = COMMENT.replace("🛒", "?")
    for state in stages["server"][:3]:
        comments = state.catalog.comments
        assert comments["contracted"] == LONG[:2048]
        assert comments["contracted.name"] == LONG[:1024]
        assert comments["contracted.id"] == comments["contracted.seen_at"] == kept
    for state in (stages["server"][0], stages["server"][2]):
        assert state.catalog.comments["shape"] == state.catalog.comments["shape.name"] == kept
        assert state.catalog.comments["shape.id"] == ""


def test_a_table_becomes_a_view_and_a_table_again(stages: dict[str, list[State]]) -> None:
    kinds = [state.catalog.kinds["shape"] for state in stages["server"][:3]]
    assert kinds == ["BASE TABLE", "VIEW", "BASE TABLE"]
    assert set(stages["server"][2].catalog.kinds) == {"things", "contracted", "shape", "growing", "watched"}


def test_grants_follow_the_settings_from_run_to_run(stages: dict[str, list[State]]) -> None:
    readers = [state.catalog.readers.get("shape", set()) for state in stages["server"]]
    assert readers == [set(GRANTEES[:2]), set(GRANTEES[1:]), set(), set()]


def test_every_text_compares_byte_by_byte(stages: dict[str, list[State]], mysql_server: DatabaseServer) -> None:
    with closing(mysql_server.session()) as session:
        assert [state.catalog.collations for state in stages["server"]] == [{session.server.collation}] * 4
