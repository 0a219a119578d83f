"""JSON lines are read in two ways, one of them fast; the rows must not depend on which."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from ingest.inputs import inspect_all
from ingest.mapping_file import read_mappings
from ingest.reader import blocks
from ingest.validate import Validator
from paths import ROOT

AT = 1569888000000
PLAIN = """
columns:
  timestamp: at
  visitor: [user.id, device]
  event: what
  item: [sku, "data.items[].sku", "data.items[].parts[].sku", "other[].sku"]
  transaction: [order.id, order]
  price: ["data.items[].price", "data.items[].parts[].price", data.price]
  event_id: id
events: {view: view, buy: transaction}
ignore_other_columns: true
"""
# An order cannot be a text and an object in one structure.
STRAIGHT = PLAIN.replace("[order.id, order]", '[order.id, "tags[key=order].value"]')
WORDS = [
    "a", "", " b ", "é", "\u00a0c", "NA", '"', "\\", "{}", "[1, 2]", '{"id": "x"}', '[{"sku": "t"}]', "1e+16", "e+1",
    "3e-07", 5, -7, 1.5, 1e16, 1.25e17, 3e-7, 12345678901234567890, True, None, [], {}, [1], {"id": 4}, {"sku": "q"},
]  # fmt: skip


def record(draw: random.Random) -> dict[str, object]:
    """A line on which every kind of value stands wherever the mapping looks."""

    def word() -> object:
        return draw.choice(WORDS)

    def entry(depth: int = 0) -> object:
        if draw.random() < 0.1:
            return word()
        parts = [entry(depth + 1) for _ in range(draw.randrange(3))] if depth == 0 else word()
        return {"sku": word(), "price": draw.choice([1, 2.5, "3", word()]), "parts": parts}

    def listed() -> object:
        return word() if draw.random() < 0.2 else [entry() for _ in range(draw.randrange(4))]

    data = {"items": listed(), "price": word()}
    full: dict[str, object] = {
        "at": AT,
        "user": draw.choice([{"id": word()}, word()]),
        "device": draw.choice(["d", word()]),
        "what": draw.choice(["view", "buy", word()]),
        "sku": word(),
        "data": draw.choice([data, data, json.dumps(data), word()]),
        "other": listed(),
        "order": draw.choice([{"id": word()}, word()]),
        "tags": [{"key": draw.choice(["order", "x"]), "value": word()} for _ in range(draw.randrange(3))],
        "id": word(),
        "user.id": word(),
    }
    return {name: value for name, value in full.items() if draw.random() < 0.8}


def written(draw: random.Random) -> str:
    line = json.dumps(record(draw), ensure_ascii=draw.random() < 0.5, separators=draw.choice([None, (",", ":")]))
    if draw.random() < 0.05:
        return draw.choice(["", "  ", "null", "[1]", "5", line[:-3], " " + line, line + " x", '{"at": NaN}', "{}"])
    return line.replace('"what"', draw.choice(['"what"', '"what"', r'"\u0077hat"', '"at": 1, "what"']))


def checked(file: Path, mapping: Path, *, is_straight: bool) -> tuple[bool, list[pa.Table], int]:
    (each,) = inspect_all([file], read_mappings(mapping), [])
    tables: list[pa.Table] = []
    extra = 0
    with Validator(each.source, each.layout, AT + 1000, has_details=True) as validator:
        could = validator._can_be_straight
        validator._can_be_straight &= is_straight
        for block in blocks(each.source, each.layout.dialect, len(each.layout.header), each.layout.positions):
            result = validator.check(block)
            extra += result.extra_count
            assert result.details is not None
            tables += [result.accepted, result.rejects, result.details]
    order = [[(name, "ascending") for name in table.column_names] for table in tables]
    return could, [table.sort_by(keys) for table, keys in zip(tables, order, strict=True)], extra


@pytest.mark.parametrize(("mapping", "can_be"), [(STRAIGHT, True), (PLAIN, False)])
def test_both_ways_give_the_same_rows(tmp_path: Path, mapping: str, can_be: bool) -> None:
    draw = random.Random(15)
    file, rules = tmp_path / "events.jsonl", tmp_path / "mapping.yml"
    file.write_text("".join(written(draw) + "\n" for _ in range(5000)), encoding="utf-8")
    rules.write_text(mapping, encoding="utf-8")
    fast, slow = (checked(file, rules, is_straight=way) for way in (True, False))
    assert fast[0] is can_be
    assert sum(table.num_rows for table in slow[1][::3]) > 500
    for ours, theirs in zip(fast[1], slow[1], strict=True):
        assert ours.to_pylist() == theirs.to_pylist()
    assert fast[2] == slow[2] > 0


@pytest.mark.parametrize("name", ["ga4", "segment", "posthog", "mixpanel", "amplitude", "otto", "shopify"])
def test_the_ready_mappings_of_json_are_straight(name: str) -> None:
    (file,) = (ROOT / "examples" / "samples" / name).iterdir()
    mapping = ROOT / "examples" / f"{name}.yml"
    fast, slow = (checked(file, mapping, is_straight=way) for way in (True, False))
    assert fast[0]
    for ours, theirs in zip(fast[1], slow[1], strict=True):
        assert ours.to_pylist() == theirs.to_pylist()
