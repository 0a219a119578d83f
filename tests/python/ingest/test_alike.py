"""Blocks of which something is known of all cells are checked by shorter queries, which find the same."""

import itertools
import random
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ingest import reader, validate
from ingest.alike import has_bare_numbers, shape
from ingest.contract import recognise
from ingest.inputs import inspect
from ingest.mapping import Mapping
from ingest.reader import blocks
from ingest.validate import Checked, Validator

HEADER = "at,who,what,sku,cost,units,order\n"
NOW_MS = 1_600_000_000_000
MAPPING = Mapping.model_validate(
    {
        "columns": {"timestamp": "at", "visitor": "who", "event": "what", "item": "sku", "price": "cost"}
        | {"quantity": "units", "transaction": "order"},
        "time_format": "iso",
        "events": {"view": "view", "buy": "transaction", "back": "refund"},
        "refunds": "net",
    }
)
TIMES = ["2019-10-01 00:00:07 UTC", "2019-13-01 00:00:07 UTC", "1969-10-01 00:00:07 UTC", "2099-10-01 00:00:07 UTC"]
OTHER_TIMES = ["2019-10-01T00:00:07Z", "2019-10-01T00:00:07", "2019-10-01 00:00:07+02:00", "2019-10-01 1:00 Z", ""]
NUMBERS = ["", "0", "12.5", ".5", "1.1.1", "+1", "9" * 16]
OTHER_NUMBERS = ["1e3", "1_0", "1e0.", "x"]
UNTRIMMED = ["-1", "-x", " 1"]
IDS = ["v", "a b", "", "v" * 128, "v" * 129]
OTHER_IDS = ["é", " v", "-v", "v ", "é" * 128, "é" * 129]


def test_a_shorter_query_finds_what_the_whole_one_finds(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + "2019-10-01 00:00:07 UTC,v,view,i,1,1,o\n")
    source = inspect(path)
    layout = recognise(source, MAPPING)
    splitter = reader._Splitter(layout.dialect, len(layout.header), layout.positions)
    draw = random.Random(1)
    looks = set()
    with Validator(source, layout, NOW_MS) as validator, Validator(source, layout, NOW_MS) as whole:
        whole._look = lambda block: validate._Look(block.is_split)  # type: ignore[method-assign]
        for odd_times, odd_numbers, odd_ids in itertools.product([False, True], repeat=3):
            cells = [TIMES + OTHER_TIMES * odd_times, IDS + OTHER_IDS * odd_ids, ["view", "buy", "back", "x"]]
            cells += [
                IDS + OTHER_IDS * odd_ids,
                *[NUMBERS + OTHER_NUMBERS * odd_numbers + UNTRIMMED * odd_ids] * 2,
                IDS,
            ]
            for _ in range(3):
                lines = [",".join(map(draw.choice, cells)) + "\n" for _ in range(100)]
                block = splitter.block("".join(lines).encode(), len(lines), 1, 0)
                assert block is not None
                looks.add(validator._look(block))
                assert contents(validator.check(block)) == contents(whole.check(block))
    assert len(looks) == 5


def contents(checked: Checked) -> list[object]:
    return [checked.accepted.to_pylist(), checked.rejects.to_pylist(), checked.ignored_count]


@pytest.mark.parametrize(
    ("cost", "time", "look"),
    [
        ("1.5", "2019-10-01 00:00:07 UTC", (True, True, True, True)),
        ("1e5", "2019-10-01 00:00:07 UTC", (True, True, True, False)),
        ("1.5", "2019-10-01 00:00:07", (True, True, False, True)),
        ("-1.5", "2019-10-01 00:00:07 UTC", (True, False, False, False)),
        ('"1.5"', "2019-10-01 00:00:07 UTC", (True, False, False, False)),
    ],
)
def test_a_block_looks_as_its_cells_do(tmp_path: Path, cost: str, time: str, look: tuple[bool, ...]) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + f"{time},v,view,i,{cost},1,\n" * 3)
    source = inspect(path)
    layout = recognise(source, MAPPING)
    (block,) = blocks(source, layout.dialect, len(layout.header), layout.positions)
    with Validator(source, layout, NOW_MS) as validator:
        assert validator._look(block)[: len(look)] == look


def test_a_shape_is_what_differs_in_digits_alone() -> None:
    texts = ["".join(characters) for size in (0, 1, 2) for characters in itertools.product("/09:;", repeat=size)]
    for first, second in itertools.product(texts, repeat=2):
        is_alike = re.sub("[0-9]", "9", first) == re.sub("[0-9]", "9", second)
        for column in ([[first, second]], [[first, first], [], [second]]):
            assert shape(pa.chunked_array(column, pa.string())) == ((first or None) if is_alike else None)
    assert shape(pa.chunked_array([pa.array(["x", "10"])[1:]])) == "10"
    assert shape(pa.chunked_array([["1" * 9] * 100_000 + ["1" * 8 + "x"]])) is None


def test_spaces_minuses_and_empty_lines_are_seen_wherever_a_part_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, characters in itertools.product((2, 3), itertools.product("x, -\n", repeat=5)):
        monkeypatch.setattr(reader, "_CACHED_BYTES", size)
        text = "".join(characters) + "\n"
        has_empty_line, is_bare = reader._neighbours(text.encode(), b",")
        assert has_empty_line == ("\n\n" in text)
        assert has_empty_line or is_bare == (not re.search(r"(^|[,\n])[ -]| [,\n]", text))


def test_a_cast_reads_bare_numbers_as_the_whole_check_does() -> None:
    texts = ["".join(characters) for size in range(7) for characters in itertools.product("01.+", repeat=size)]
    column = pa.chunked_array([texts])
    assert has_bare_numbers(column)
    decimal, checked_decimal = validate._DECIMAL.format(text="t"), validate._CHECKED_DECIMAL.format(text="t")
    numbers = pa.table({"t": column})  # noqa: F841
    assert not duckdb.sql(f"select t from numbers where {decimal} is distinct from {checked_decimal}").fetchall()


@pytest.mark.parametrize("text", ["1e5", "1_000", "-1", " 1", "1,5", "é"])
def test_a_text_with_anything_else_is_no_bare_number(text: str) -> None:
    assert not has_bare_numbers(pa.chunked_array([["1", text], ["", "2"]]))
