"""Hostile input: whatever files, mappings, vars and settings say, commands answer in words and do no more than asked.

`make fuzz` runs the same with FUZZ_ROUNDS times as many inputs.
"""

import gzip
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.console import Console

from compiled import create_raw_tables, environment, parsed_project, run_dbt
from compiled import settings as dbt_vars
from ingest.check import check
from ingest.guess.command import propose
from ingest.load import load
from ingest.mapping_file import read_mappings
from ml.config import load_config
from paths import ROOT
from warehouse.errors import FunneliftError

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))
EXAMPLES = ROOT / "examples"
SAMPLES = sorted(path for path in (EXAMPLES / "samples").rglob("*") if path.is_file())
MAPPINGS = sorted(EXAMPLES.glob("*.yml"))
# What breaks programs: other languages' syntax, numbers at their limits, characters that are none.
NASTY = [
    "", " ", "'", '"', "''; drop table raw_events; --", "$p_0", "{fields}", "{{ 1 // 0 }}", "{% raw %}", "%s", "\\",
    "\\N", "\0", "\ufeff", "\ud7ff", "é" * 200, "a" * 129, "[]", "items[]", "a[].b[].c[]", "a[b=c]", "..", ".",
    "-1", "1e999", "NaN", "9" * 40, "0x1F", "1,5", "1.5.5", "true", "null", "~", "*", "&a", "!!python/object:os.system",
    "2024-02-30", "%Y%Q", "epoch_s", "[" * 50, "{" * 50, "../../etc/passwd", "=cmd()", "\x1b[31m", "CON", "select",
    "\u2028", "utf-16", "rot13", "view", "Europe/Berlin",
]  # fmt: skip
VALUES = st.sampled_from(
    [
        *NASTY,
        None,
        True,
        False,
        0,
        -1,
        1,
        2**63,
        1.5,
        float("nan"),
        float("inf"),
        [],
        {},
        [""],
        ["view"],
        {"a": "b"},
        [[]],
    ]
)
SETTINGS = settings(
    max_examples=25 * ROUNDS,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
VARS = dbt_vars()


def answered(work: Callable[[], object]) -> bool:
    """Whether it was done; a refusal in words is as good."""
    refusal = None
    try:
        work()
    except FunneliftError as error:
        refusal = str(error)
    assert refusal is None or (refusal.strip() and "Traceback" not in refusal)
    return refusal is None


def quiet() -> Console:
    return Console(file=StringIO())


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with some of its bytes replaced, doubled, cut out or put elsewhere."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(start + draw(st.sampled_from([0, 1, 2, 20, 500])), len(content))
        new = draw(
            st.one_of(st.sampled_from(NASTY).map(lambda text: text.encode(errors="replace")), st.binary(max_size=6))
        )
        content = content[:start] + new * draw(st.sampled_from([1, 1, 1, 3])) + content[end:]
    return gzip.compress(content) if draw(st.integers(0, 9)) == 0 else content


@st.composite
def altered(draw: st.DrawFn, content: Any) -> Any:
    """Settings with one value somewhere in them replaced, or a key taken out or added."""
    if isinstance(content, dict) and content and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(content, key=str)))
        return content | {key: draw(altered(content[key]))}
    if isinstance(content, list) and content and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        return [*content[:place], draw(altered(content[place])), *content[place + 1 :]]
    if isinstance(content, dict) and draw(st.booleans()):
        return content | {draw(st.sampled_from(NASTY)): draw(VALUES)}
    return draw(VALUES)


@seed(1)
@SETTINGS
@given(st.data())
def test_files(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(SAMPLES))
    content = data.draw(damaged(sample.read_bytes()))
    mapping = EXAMPLES / f"{sample.parent.name}.yml"
    with TemporaryDirectory() as folder:
        file, warehouse = Path(folder) / sample.name, Path(folder) / "warehouse.duckdb"
        file.write_bytes(content)
        is_fine = answered(lambda: check([file], quiet(), mapping, 1.0))
        with environment(FUNNELIFT_DUCKDB_PATH=str(warehouse), FUNNELIFT_TARGET="duckdb"):
            is_loaded = answered(lambda: load([file], quiet(), mapping_path=mapping, max_reject_rate=1.0))
        assert is_loaded == is_fine
        if is_loaded:
            with duckdb.connect(warehouse) as connection:
                counts = connection.execute(
                    "select sum(line_count - accepted_count - rejected_count - ignored_count), sum(accepted_count) = "
                    "(select count(*) from funnelift_raw.raw_events) from funnelift_raw.raw_loads"
                ).fetchall()
            assert counts == [(0, True)]


@seed(2)
@SETTINGS
@given(st.data())
def test_first_mappings_of_any_file_can_be_read(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(SAMPLES))
    content = data.draw(damaged(sample.read_bytes()))
    with TemporaryDirectory() as folder:
        file, mapping = Path(folder) / f"shop{sample.suffix}", Path(folder) / "mapping.yml"
        file.write_bytes(content)

        def proposed() -> None:
            text, _ = propose([file], quiet())
            if text:
                mapping.write_text(text, encoding="utf-8")
                read_mappings(mapping)
                check([file], quiet(), mapping, 1.0)

        answered(proposed)


@seed(3)
@SETTINGS
@given(st.data())
def test_mappings(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(MAPPINGS))
    folder = EXAMPLES / "samples" / path.stem
    if data.draw(st.booleans()):
        content = data.draw(damaged(path.read_bytes()))
    else:
        said = data.draw(altered(yaml.safe_load(path.read_text())))
        content = yaml.safe_dump(said, allow_unicode=True).encode(errors="replace")
    with TemporaryDirectory() as scratch:
        mapping = Path(scratch) / "mapping.yml"
        mapping.write_bytes(content)
        answered(lambda: check([folder], quiet(), mapping, 1.0))


@seed(4)
@SETTINGS
@given(st.sampled_from(sorted(VARS)).flatmap(lambda name: st.tuples(st.just(name), altered(VARS[name]))))
def test_vars(change: tuple[str, Any]) -> None:
    name, value = change
    with TemporaryDirectory() as folder:
        database = Path(folder) / "warehouse.duckdb"
        with duckdb.connect(database) as connection:
            create_raw_tables(connection)
        outcome = run_dbt(
            "run-operation", "config_check", database=database, manifest=parsed_project(), **{name: value}
        )
        with duckdb.connect(database) as connection:
            tables = connection.execute(
                "select count(*) from duckdb_tables() where table_name = 'raw_events'"
            ).fetchall()
    assert tables == [(1,)]
    # What looks like a template dbt takes for one, and says so in its own words.
    assert outcome.success or name in outcome.errors or "{" in str(value)
    assert "Traceback" not in outcome.errors


@seed(5)
@SETTINGS
@given(st.data())
def test_settings_of_ml(data: st.DataObject) -> None:
    path = ROOT / "ml" / "config.yml"
    if data.draw(st.booleans()):
        content = data.draw(damaged(path.read_bytes()))
    else:
        content = yaml.safe_dump(data.draw(altered(yaml.safe_load(path.read_text())))).encode(errors="replace")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yml"
        file.write_bytes(content)
        answered(lambda: load_config(file))


def test_fuzzing_sees_a_failure_that_is_not_in_words() -> None:
    with pytest.raises(KeyError):
        answered(lambda: {}["key"])
