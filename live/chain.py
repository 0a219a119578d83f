"""The marts' SQL on the visitors at hand: an in-memory DuckDB whose tables are filled, read and emptied again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import duckdb

from ingest.raw_tables import RAW_TABLES
from live.compile import CATALOG, Compiled

if TYPE_CHECKING:
    import pyarrow as pa

# What is of the whole shop, and comes from it ready made. Everything else works by visitor and runs here.
ITEMS, ATTRIBUTES, CLOCK = "int_items", "int_item_attributes", "int_clock"
DEMAND, PRICES, CATEGORIES = "int_item_demand_daily", "int_category_price_daily", "dim_category"
OF_SHOP = ("stg_categories", "stg_loads", ITEMS, ATTRIBUTES, CLOCK, DEMAND, PRICES, CATEGORIES)
EVENT_ITEMS, FEATURES = "int_event_items", "session_features"
# The shop's events stand in a schema of their own, beside those of the visitors at hand.
SHOP_SCHEMA = "shop"
RAW_EVENTS = "raw_events"


class Chain:
    """Tables of all the models, empty between two runs, and their SQL, planned once.

    A run fills the tables in one transaction and rolls it back: nothing grows, and no plan gets out of date.

    Parameters
    ----------
    compiled : Compiled
        The models.
    high_water_mark_ms : int
        The data's clock, epoch milliseconds.
    """

    def __init__(self, compiled: Compiled, high_water_mark_ms: int) -> None:
        self._compiled, self._is_running = compiled, False
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        # Statistics of empty tables would make a plan for empty tables.
        self._connection.execute(
            "set TimeZone = 'UTC'; set preserve_insertion_order = false; "
            "set disabled_optimizers = 'statistics_propagation,compressed_materialization'; "
            f"attach ':memory:' as {CATALOG}; use {CATALOG}; "
            f"create schema funnelift; create schema funnelift_raw; create schema {SHOP_SCHEMA}"
        )
        for table, columns in RAW_TABLES.items():
            typed = ", ".join(f"{column.name} {column.data_type}" for column in columns)
            self._connection.execute(f"create table funnelift_raw.{table} ({typed})")
        for model in compiled.models:
            self._connection.execute(f"create table {model.relation} as {model.sql}")
        for table in (EVENT_ITEMS, PRICES):
            self._connection.execute(f"create table {SHOP_SCHEMA}.{table} as from funnelift.{table}")
        self.set_clock(high_water_mark_ms)
        self._by_visitor = [model.name for model in compiled.models if model.name not in OF_SHOP]
        self._prepare()

    def _prepare(self) -> None:
        for name in self._by_visitor:
            model = self._compiled[name]
            columns = ", ".join(self._columns(name))
            self._connection.execute(
                f"prepare run_{name} as insert into {model.relation} ({columns}) select {columns} from ({model.sql})"
            )
        self._connection.execute(
            "prepare run_days as select visitors.visitor_id, event_items.*, days.day_number "
            f"from funnelift.{EVENT_ITEMS} as event_items "
            f"inner join ({self._compiled.days_sql}) as days on event_items.event_key = days.event_key "
            "inner join funnelift.int_visitors as visitors on event_items.visitor_key = visitors.visitor_key"
        )
        for name in (DEMAND, PRICES):
            self._connection.execute(f"prepare run_{name} as {self._on_shop(name, EVENT_ITEMS)}")

    def _columns(self, table: str) -> list[str]:
        described = self._connection.execute(f"describe funnelift.{table}").fetchall()
        return [f'"{row[0]}"' for row in described]

    def _on_shop(self, name: str, table: str) -> str:
        """A model's SQL, reading one table of the shop's in place of that of the visitors at hand."""
        relation = self._compiled[table].relation
        return self._compiled[name].sql.replace(relation, relation.replace('"funnelift"', f'"{SHOP_SCHEMA}"'))

    def kinds(self, most: int = 100) -> list[str]:
        """The kinds of event in the order of their ranks, from 1 on."""
        with self._rolled_back():
            self._connection.execute(
                f"insert into funnelift.{EVENT_ITEMS} by name select number as event_rank "
                f"from range(1, {most}) as numbers(number)"
            )
            found = self._connection.execute(
                f"select event_type from ({self._compiled.kinds_sql}) where event_type is not null order by event_rank"
            ).fetchall()
        return [kind for (kind,) in found]

    def set_clock(self, high_water_mark_ms: int) -> None:
        """Say what time it is for the data."""
        self._connection.execute(f"delete from funnelift.{CLOCK}")
        self._connection.execute(
            f"insert into funnelift.{CLOCK} by name select 0 as early_event_count, 0 as late_event_count, "
            "0 as first_plausible_ms, cast(? as bigint) as high_water_mark_ms",
            [high_water_mark_ms],
        )

    def attributes(self, properties: "pa.Table", items: "pa.Table") -> "pa.Table":
        """Work out the facts of items over time.

        Parameters
        ----------
        properties : pyarrow.Table
            Rows of raw_item_properties.
        items : pyarrow.Table
            Keys and ids of all items.

        Returns
        -------
        pyarrow.Table
            Rows of int_item_attributes, in the order of item_key.
        """
        with self._rolled_back():
            self._fill("funnelift_raw.raw_item_properties", properties)
            self._fill(f"funnelift.{ITEMS}", items)
            found: pa.Table = self._connection.execute(
                f"select * from ({self._compiled[ATTRIBUTES].sql}) order by item_key"
            ).to_arrow_table()
        return found

    def categories(self, tree: "pa.Table", prices: "pa.Table") -> "pa.Table":
        """Work out dim_category of the tree and of the categories that events name, inside a run or outside."""
        with self._rolled_back():
            self._connection.execute(f"truncate funnelift.stg_categories; truncate {SHOP_SCHEMA}.{PRICES}")
            self._fill("funnelift.stg_categories", tree)
            self._fill(f"{SHOP_SCHEMA}.{PRICES}", prices)
            found: pa.Table = self._connection.execute(self._on_shop(CATEGORIES, PRICES)).to_arrow_table()
        return found

    def of_shop(self, model: str, event_items: "pa.Table") -> "pa.Table":
        """Work out item demand or usual prices from the shop's events, inside a run.

        Parameters
        ----------
        model : str
            `DEMAND` or `PRICES`.
        event_items : pyarrow.Table
            Rows of int_event_items, of all visitors.

        Returns
        -------
        pyarrow.Table
            The model's rows.
        """
        self._connection.execute(f"truncate {SHOP_SCHEMA}.{EVENT_ITEMS}")
        self._fill(f"{SHOP_SCHEMA}.{EVENT_ITEMS}", event_items)
        found: pa.Table = self._connection.execute(f"execute run_{model}").to_arrow_table()
        return found

    def run(
        self, given: "Mapping[str, pa.Table]", of_days: "Callable[[pa.Table], Mapping[str, pa.Table]]"
    ) -> "pa.Table":
        """Run the models on the visitors at hand.

        Parameters
        ----------
        given : mapping of str to pyarrow.Table
            Rows of raw_events, int_items and int_item_attributes.
        of_days : callable
            Gets the rows of int_event_items, each with its visitor_id and day_number; returns the rows of demand,
            prices and categories that they look up.

        Returns
        -------
        pyarrow.Table
            Rows of session_features.
        """
        first = self._by_visitor.index(EVENT_ITEMS) + 1
        with self._rolled_back():
            for table, rows in given.items():
                self._fill(f"{'funnelift_raw' if table == RAW_EVENTS else 'funnelift'}.{table}", rows)
            for name in self._by_visitor[:first]:
                self._connection.execute(f"execute run_{name}")
            for table, rows in of_days(self._connection.execute("execute run_days").to_arrow_table()).items():
                self._fill(f"funnelift.{table}", rows)
            for name in self._by_visitor[first:]:
                self._connection.execute(f"execute run_{name}")
            found: pa.Table = self._connection.execute(f"from funnelift.{FEATURES}").to_arrow_table()
        return found

    def _fill(self, table: str, rows: "pa.Table") -> None:
        if rows.num_rows:
            # DuckDB finds the variable by its name, which leaves the catalog, and so all plans, as they are.
            live_incoming = rows  # noqa: F841
            self._connection.execute(f"insert into {table} by name select * from live_incoming")

    @contextmanager
    def _rolled_back(self) -> Iterator[None]:
        """One transaction that leaves nothing; inside another one it is part of that."""
        if self._is_running:
            yield
            return
        self._connection.execute("begin")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            with suppress(duckdb.TransactionException):
                self._connection.execute("rollback")
