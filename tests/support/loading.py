"""A throw-away warehouse and raw folder for the loader's tests."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingest import load
from ingest.raw_tables import RAW_TABLES
from servers import DatabaseServer
from warehouse.mysql_client.session import RUN_LOCKS

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


@dataclass
class AnyShop:
    """A shop on one of the engines."""

    shop: Shop
    target: str
    server: DatabaseServer | None = None

    def write(self, name: str, content: str | bytes) -> Path:
        return self.shop.write(name, content)

    def load(self, *paths: Path, options: list[str] | None = None) -> Outcome:
        return self.shop.load(*paths, options=options)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.server is None:
            return self.shop.rows(query)
        session = self.server.session()
        try:
            return session.rows(query)
        finally:
            session.close()

    def execute(self, *statements: str) -> None:
        """Change the warehouse behind the commands' back."""
        if self.server is None:
            with duckdb.connect(self.shop.warehouse) as connection:
                for statement in statements:
                    connection.execute(statement)
            return
        session = self.server.session()
        try:
            for statement in statements:
                session.execute(statement)
            session.commit()
        finally:
            session.close()

    def tables(self) -> set[str]:
        """The raw tables, and what a killed command may have left beside them."""
        query = "select table_name from information_schema.tables where table_schema = 'funnelift_raw'"
        return {str(name) for (name,) in self.rows(query)} - {RUN_LOCKS}

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every raw table, in an order of its own."""
        found = {}
        for table in sorted(self.tables() & set(RAW_TABLES)):
            columns = ", ".join(column.name for column in RAW_TABLES[table])
            rows = self.rows(f"select {columns} from funnelift_raw.{table}")
            found[table] = sorted(rows, key=lambda row: [(value is not None, value) for value in row])
        return found


def make_any_shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AnyShop:
    """A shop on the engine that the fixture's parameter names; commands go there by the environment."""
    shop = make_shop(tmp_path, monkeypatch, capsys)
    if request.param == "duckdb":
        return AnyShop(shop, "duckdb")
    server: DatabaseServer = request.getfixturevalue("empty_mysql")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return AnyShop(shop, "mysql", server)
