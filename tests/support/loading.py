"""A throw-away warehouse and raw folder for the loader's tests."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingest import load

EVENTS_HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
GOOD_LINE = "1437926001434,79,view,450209,\n"
ASSIGNMENTS_HEADER = "visitorid,assigned_at,treatment\n"
REES46_HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"


@dataclass
class Outcome:
    """Exit code and everything the command printed."""

    code: int
    output: str


@dataclass
class Shop:
    """A raw folder, a warehouse path and the command between them."""

    raw: Path
    warehouse: Path
    capture: Callable[[], str]

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(self, *paths: Path, options: list[str] | None = None) -> Outcome:
        parser = argparse.ArgumentParser()
        load.add_parser(parser.add_subparsers())
        raw = [str(path) for path in paths or (self.raw,)]
        args = parser.parse_args(["load", "--raw", *raw, *(options or [])])
        code = args.run(args)
        return Outcome(code, self.capture())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            return connection.execute(query).fetchall()

    def rejects(self) -> list[tuple[Any, ...]]:
        return self.rows("select line, reason, raw_text from funnelift_raw.raw_rejects order by file, line")

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table: what "as it was" means."""
        if not self.warehouse.exists():
            return {}
        tables = self.rows("select schema_name || '.' || table_name from duckdb_tables() order by 1")
        found = {name: self.rows(f"select * from {name} order by all") for (name,) in tables}
        return {name: rows for name, rows in found.items() if rows}


def make_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    """A shop with nothing in it; FUNNELIFT_DUCKDB_PATH points at its warehouse."""
    raw, warehouse = tmp_path / "raw", tmp_path / "warehouse.duckdb"
    raw.mkdir()
    monkeypatch.setenv("FUNNELIFT_DUCKDB_PATH", str(warehouse))
    monkeypatch.delenv("FUNNELIFT_TARGET", raising=False)

    def capture() -> str:
        captured = capsys.readouterr()
        return captured.out + captured.err

    return Shop(raw, warehouse, capture)
