"""The marts' SQL on the visitors at hand: an in-memory DuckDB whose tables are filled, read and emptied again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

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
# What item demand and usual prices are worked out from, of an event; and what is asked of the visitors' own events.
SHOWN = ("item_key", "event_rank", "is_repeated_order", "category_id", "price", "event_ms")
OF_DAYS = ("visitor_id", *SHOWN, "day_number")
CENT = Decimal("0.0001")


class Rows(NamedTuple):
    """Rows of a table: the names of some columns, and for each row their values."""

    columns: tuple[str, ...]
    values: Sequence[tuple[Any, ...]]


OfDays = Callable[[Sequence[tuple[Any, ...]]], Mapping[str, Rows]]


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
        self.compiled, self._is_running = compiled, False
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
        self.by_visitor = [model.name for model in compiled.models if model.name not in OF_SHOP]
        self._schemas: dict[str, pa.Schema] = {}
        self._prepare()

    def _prepare(self) -> None:
        for name in self.by_visitor:
            model = self.compiled[name]
            columns = ", ".join(f'"{column}"' for column in self.schema(f"funnelift.{name}").names)
            self._connection.execute(
                f"prepare run_{name} as insert into {model.relation} ({columns}) select {columns} from ({model.sql})"
            )
        self._connection.execute(
            f"prepare run_days as select {', '.join(OF_DAYS)} "
            f"from funnelift.{EVENT_ITEMS} as event_items "
            f"inner join ({self.compiled.days_sql}) as days using (event_key) "
            "inner join funnelift.int_visitors as visitors using (visitor_key)"
        )
        for name in (DEMAND, PRICES):
            self._connection.execute(f"prepare run_{name} as {self._on_shop(name, EVENT_ITEMS)}")

    def schema(self, table: str) -> "pa.Schema":
        """The columns of a table, with their Arrow types."""
        if table not in self._schemas:
            self._schemas[table] = self._connection.execute(f"from {table} limit 0").to_arrow_table().schema
        return self._schemas[table]

    def _on_shop(self, name: str, table: str) -> str:
        """A model's SQL, reading one table of the shop's in place of that of the visitors at hand."""
        relation = self.compiled[table].relation
        return self.compiled[name].sql.replace(relation, relation.replace('"funnelift"', f'"{SHOP_SCHEMA}"'))

    def kinds(self, most: int = 100) -> list[str]:
        """The kinds of event in the order of their ranks, from 1 on."""
        with self._rolled_back():
            self._connection.execute(
                f"insert into funnelift.{EVENT_ITEMS} by name select number as event_rank "
                f"from range(1, {most}) as numbers(number)"
            )
            found = self._connection.execute(
                f"select event_type from ({self.compiled.kinds_sql}) where event_type is not null order by event_rank"
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
                f"select * from ({self.compiled[ATTRIBUTES].sql}) order by item_key"
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

    def of_shop(self, model: str, slices: "Sequence[pa.Table]", own: Sequence[tuple[Any, ...]]) -> Rows:
        """Work out item demand or usual prices from the shop's events, inside a run.

        Parameters
        ----------
        model : str
            `DEMAND` or `PRICES`.
        slices : sequence of pyarrow.Table
            Rows of int_event_items.
        own : sequence of tuple
            Further ones, the columns in the order of `SHOWN`.

        Returns
        -------
        Rows
            The model's rows.
        """
        self._connection.execute(f"truncate {SHOP_SCHEMA}.{EVENT_ITEMS}")
        for part in slices:
            self._fill(f"{SHOP_SCHEMA}.{EVENT_ITEMS}", part.select(list(SHOWN)))
        self._fill_rows(f"{SHOP_SCHEMA}.{EVENT_ITEMS}", Rows(SHOWN, own))
        found = self._connection.execute(f"execute run_{model}")
        return Rows(tuple(column[0] for column in found.description or ()), found.fetchall())

    def run(self, given: Mapping[str, Rows], of_days: OfDays) -> "pa.Table":
        """Run the models on the visitors at hand.

        Parameters
        ----------
        given : mapping of str to Rows
            Rows of raw_events, int_items and int_item_attributes.
        of_days : callable
            Gets the columns `OF_DAYS` of the visitors' events; returns the rows of demand, prices and categories that
            they look up.

        Returns
        -------
        pyarrow.Table
            Rows of session_features.
        """
        first = self.by_visitor.index(EVENT_ITEMS) + 1
        with self._rolled_back():
            for table, rows in given.items():
                self._fill_rows(f"{'funnelift_raw' if table == RAW_EVENTS else 'funnelift'}.{table}", rows)
            for name in self.by_visitor[:first]:
                self._connection.execute(f"execute run_{name}")
            for table, rows in of_days(self._connection.execute("execute run_days").fetchall()).items():
                self._fill_rows(f"funnelift.{table}", rows)
            for name in self.by_visitor[first:]:
                self._connection.execute(f"execute run_{name}")
            found: pa.Table = self._connection.execute(f"from funnelift.{FEATURES}").to_arrow_table()
        return found

    def _fill_rows(self, table: str, rows: Rows) -> None:
        if rows.values:
            schema = self.schema(table)
            self._fill(table, typed_table(rows, [schema.field(name).type for name in rows.columns]))

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


def typed_table(rows: Rows, types: "Sequence[pa.DataType]") -> "pa.Table":
    """Rows as Arrow has them; an amount may come as the double that is nearest to it."""
    import pyarrow as pa

    columns = []
    given = zip(*rows.values, strict=True) if rows.values else [()] * len(types)
    for values, kind in zip(given, types, strict=True):
        if pa.types.is_decimal(kind):
            values = tuple(Decimal(value).quantize(CENT) if isinstance(value, float) else value for value in values)
        columns.append(pa.array(values, kind))
    return pa.table(columns, names=list(rows.columns))
