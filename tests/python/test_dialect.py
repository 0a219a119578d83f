"""What dbt itself offers a model works on MySQL and MariaDB as on DuckDB: a project of its own, with these macros."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from compiled import ROOT, Outcome, environment
from dbt.cli.main import dbtRunner
from parity import Relation, Warehouse, differences, on_duckdb, on_server
from servers import DatabaseServer

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


@dataclass(frozen=True)
class Trial:
    """A project on one engine."""

    warehouse: Warehouse
    folder: Path

    def run(self, *arguments: str, **variables: Any) -> Outcome:
        errors = list[str]()

        def listen(event: Any) -> None:
            if event.info.level == "error":
                errors.append(event.info.msg)

        command = [
            *("--quiet", "--no-use-colors", "--no-send-anonymous-usage-stats", *arguments),
            *("--project-dir", str(self.folder), "--profiles-dir", str(ROOT), "--vars", json.dumps(variables)),
            *("--target-path", str(self.folder / "target"), "--log-path", str(self.folder / "logs")),
        ]
        with environment(**self.warehouse.environment):
            outcome = dbtRunner(callbacks=[listen]).invoke(command)
        if outcome.exception:
            errors.append(str(outcome.exception))
        return Outcome(outcome.success, outcome.result, "\n".join(errors))

    def read(self, table: str) -> Relation:
        return self.warehouse.query(f"select * from funnelift.{table}")


def make_trial(warehouse: Warehouse, folder: Path, models: Mapping[str, str]) -> Trial:
    (folder / "models").mkdir(parents=True)
    project = {
        "name": "trial",
        "profile": "funnelift",
        "macro-paths": [str(ROOT / "macros")],
        "models": {"trial": {"+materialized": "table"}},
    }
    (folder / "dbt_project.yml").write_text(json.dumps(project))
    for model, sql in models.items():
        (folder / "models" / f"{model}.sql").write_text(sql, encoding="utf-8")
    return Trial(warehouse, folder)


@pytest.fixture(scope="module")
def functions(mysql_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Trial]:
    mysql_server.drop_databases()
    folder = tmp_path_factory.mktemp("functions")
    trials = (
        make_trial(on_duckdb(folder / "warehouse.duckdb"), folder / "duckdb", MODELS),
        make_trial(on_server(mysql_server), folder / "server", MODELS),
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
