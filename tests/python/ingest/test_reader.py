"""The reader: every record once, with its own line number and text, however the file is cut into chunks."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingest import reader
from ingest.source import Dialect, inspect
from warehouse.errors import FunneliftError

HEADER = "a,b,c"
CELLS = st.text(st.sampled_from('xyzé ",\n'), max_size=6)


def read(path: Path, width: int = 3) -> list[tuple[int, str, list[str] | None, str | None]]:
    """Line, raw text, fields and problem of every record; plain lines are split here as the checks split them."""
    source = inspect(path)
    found = []
    for block in reader.blocks(source, Dialect(), width, set(range(width))):
        for row in block.table.to_pylist():
            if block.is_split:
                fields = [row[f"c{place}"] for place in range(width)]
                found.append((row["line"], block.raw_text([row["line"]])[0], fields, None))
                continue
            fields = row["fields"] if row["fields"] is not None or row["problem"] else row["raw"].split(",")
            found.append((row["line"], row["raw"], fields, row["problem"]))
            assert block.raw_text([row["line"]]) == [row["raw"]]
    return found


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=30), st.integers(1, 40), st.sampled_from(["\n", "\r\n"]))
@example([('"', "\n", '"\n"')], 1, "\n")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_that_csv_writes_is_read_back_with_its_line_numbers(
    tmp_path: Path, table: list[tuple[str, str, str]], chunk_bytes: int, line_end: str
) -> None:
    path = tmp_path / "table.csv"
    expected, line, text = [], 2, HEADER + "\n"
    for row in table:
        record = io.StringIO()
        csv.writer(record, lineterminator="\n").writerow(row)
        expected.append((line, record.getvalue()[:-1], list(row), None))
        line += record.getvalue().count("\n")
        text += record.getvalue()
    path.write_bytes(text.replace("\n", line_end).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "CHUNK_BYTES", chunk_bytes)
        assert read(path) == expected


@given(st.text(st.sampled_from('x,"\n'), max_size=60), st.integers(1, 40))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_line_of_any_text_is_lost_and_chunks_do_not_matter(tmp_path: Path, text: str, chunk_bytes: int) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + "\n" + text)
    whole = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "CHUNK_BYTES", chunk_bytes)
        assert read(path) == whole
    assert "\n".join(raw for _, raw, _, _ in whole) == text.removesuffix("\n")
    spans = [raw.count("\n") + 1 for _, raw, _, _ in whole]
    assert [line for line, _, _, _ in whole] == [2 + sum(spans[:index]) for index in range(len(spans))]


@given(st.text(st.sampled_from('xé,,," \n\n\r\t\0'), max_size=40), st.sampled_from(["", "\n"]))
@example('x,"x""x,",\n,"",x\n', "")
@example('x"x,x,x\n"x"x,x,x\n', "")
@example("x,x,x\n\nx,x,x\n", "")
@example("\ufeffx,x,x\n", "")
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_that_arrow_splits_are_those_of_the_closer_look(tmp_path: Path, text: str, end: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes((HEADER + "\n" + "x,y,z\n" * 3 + text + end).encode())
    quick = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader._Splitter, "block", lambda *_: None)
        assert read(path) == quick


def test_lines_without_odd_quotes_are_split_by_arrow(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + '\nx,"y, ""z""",\n1,2,3\n')
    (block,) = reader.blocks(inspect(path), Dialect(), 3, {0, 1})
    assert block.is_split
    assert block.table.to_pylist() == [{"line": 2, "c0": "x", "c1": 'y, "z"'}, {"line": 3, "c0": "1", "c1": "2"}]


def test_a_forgotten_quote_costs_one_line_and_not_the_rest_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rest = [f"{n},2,3" for n in range(3 * reader.MAX_RECORD_LINES)]
    path.write_text("\n".join([HEADER, '"oops,2,3', *rest]))
    found = read(path)
    assert found[0] == (2, '"oops,2,3', None, "bad_quoting")
    assert [raw for _, raw, _, _ in found[1:]] == rest


def test_two_forgotten_quotes_do_not_pair_up(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f'{HEADER}\n"one,2,3\n4,5,6\n"two,8,9\n"three,2,3\n4,5",6\n')
    assert [(line, problem) for line, _, _, problem in read(path)] == [
        (2, "bad_quoting"),
        (3, None),
        (4, "bad_quoting"),
        (5, "bad_quoting"),
        (6, None),
    ]


def test_a_quote_inside_a_plain_field_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f'{HEADER}\n1,27" screen,3\n')
    assert read(path) == [(2, '1,27" screen,3', ["1", '27" screen', "3"], None)]


def test_a_broken_character_breaks_its_own_line_only(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b,c\n1,\xe9,3\n4,\xc3\xa9,6\n7,\xe2\n8,9,10\n" + b'"x\n\xff",2,3\n')
    assert [(line, problem) for line, _, _, problem in read(path)] == [
        (2, "invalid_utf8"),
        (3, None),
        (4, "invalid_utf8"),
        (5, None),
        (6, "invalid_utf8"),
    ]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 100)
    monkeypatch.setattr(reader, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "table.csv"
    path.write_text(HEADER + "\n" + "x" * 5000)
    with pytest.raises(FunneliftError, match=r"table\.csv:2: a line of more than 1,000 bytes"):
        read(path)
