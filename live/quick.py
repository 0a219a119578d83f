"""The same SQL on SQLite, which starts a query in microseconds: DuckDB takes as long for one event as for a thousand.

Nothing is written a second time. dbt's SQL is plain enough for both; what differs is put right in its text and by a few
functions. SQLite has no decimals, so visitors with amounts that doubles could round go to DuckDB.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

from ingest.raw_tables import RAW_TABLES
from live.chain import (
    ATTRIBUTES,
    CATEGORIES,
    CLOCK,
    DEMAND,
    EVENT_ITEMS,
    FEATURES,
    ITEMS,
    OF_DAYS,
    PRICES,
    RAW_EVENTS,
    SHOWN,
    Chain,
    OfDays,
    Rows,
    typed_table,
)
from warehouse.sqlite import UNITS, UnportableError, add_functions, in_units, portable

if TYPE_CHECKING:
    import pyarrow as pa

FILLED = (ITEMS, ATTRIBUTES, CLOCK, DEMAND, PRICES, CATEGORIES)
# The shop's events, beside those of the visitors at hand.
SHOP_EVENT_ITEMS = f"shop_{EVENT_ITEMS}"
# More rows than this are quicker in DuckDB.
MOST_ROWS = 10_000
# Up to this sum doubles add amounts without losing a ten-thousandth.
MOST_AMOUNT = 10**9
EPOCH = date(1970, 1, 1)


class QuickChain:
    """A chain that runs on SQLite what SQLite can run exactly, and all else on DuckDB.

    Parameters
    ----------
    exact : Chain
        The models on DuckDB.

    Raises
    ------
    UnportableError
        When SQLite cannot run these models.
    """

    def __init__(self, exact: Chain) -> None:
        self._exact, self._is_running = exact, False
        self._connection = sqlite3.connect(
            ":memory:", check_same_thread=False, isolation_level=None, cached_statements=256
        )
        add_functions(self._connection)
        compiled = exact.compiled
        self._types: dict[str, dict[str, pa.DataType]] = {}
        for table in (RAW_EVENTS, *FILLED, *exact.by_visitor):
            self._create(table, exact.schema(f"{'funnelift_raw' if table in RAW_TABLES else 'funnelift'}.{table}"))
        self._create(SHOP_EVENT_ITEMS, exact.schema(f"funnelift.{EVENT_ITEMS}"), amounts="integer")
        self._models = [(name, self._insert(name, portable(compiled[name].sql))) for name in exact.by_visitor]
        self._days = (
            f"select {', '.join(OF_DAYS)} from {EVENT_ITEMS} inner join ({portable(compiled.days_sql)}) as days "
            "using (event_key) inner join int_visitors using (visitor_key)"
        )
        self._of_shop = {
            name: portable(compiled[name].sql).replace(EVENT_ITEMS, SHOP_EVENT_ITEMS) for name in (DEMAND, PRICES)
        }
        self._of_shop[PRICES] = in_units(self._of_shop[PRICES])
        self._check()

    def _create(self, table: str, schema: "pa.Schema", amounts: str = "real") -> None:
        import pyarrow as pa

        def affinity(kind: "pa.DataType") -> str:
            if pa.types.is_string(kind):
                return "text"
            if pa.types.is_decimal(kind):
                return amounts
            return "real" if pa.types.is_floating(kind) else "integer"

        self._types[table] = {field.name: field.type for field in schema}
        columns = ", ".join(f'"{field.name}" {affinity(field.type)}' for field in schema)
        self._connection.execute(f"create table {table} ({columns})")

    def _insert(self, table: str, sql: str) -> str:
        columns = ", ".join(f'"{column}"' for column in self._types[table])
        return f"insert into {table} ({columns}) select {columns} from ({sql})"

    def _check(self) -> None:
        """Plan everything once: what SQLite does not know, it says here."""
        try:
            for sql in (*(sql for _, sql in self._models), self._days, *self._of_shop.values()):
                self._connection.execute(f"explain {sql}")
        except sqlite3.Error as error:
            raise UnportableError(str(error)) from None

    @property
    def exact(self) -> Chain:
        """The models on DuckDB."""
        return self._exact

    def categories(self, tree: "pa.Table", prices: "pa.Table") -> "pa.Table":
        """Work out dim_category, as `Chain.categories`."""
        return self._exact.categories(tree, prices)

    def set_clock(self, high_water_mark_ms: int) -> None:
        """Say what time it is for the data."""
        self._exact.set_clock(high_water_mark_ms)
        self._connection.execute(f"delete from {CLOCK}")
        self._connection.execute(f"insert into {CLOCK} (high_water_mark_ms) values (?)", [high_water_mark_ms])

    def of_shop(self, model: str, slices: "Sequence[pa.Table]", own: Sequence[tuple[Any, ...]]) -> Rows:
        """Work out item demand or usual prices, as `Chain.of_shop`."""
        if sum(map(len, slices)) + len(own) > MOST_ROWS:
            return self._exact.of_shop(model, slices, own)
        self._connection.execute(f"delete from {SHOP_EVENT_ITEMS}")
        for part in slices:
            columns = [part[name].to_pylist() for name in SHOWN]
            self._fill(SHOP_EVENT_ITEMS, Rows(SHOWN, list(zip(*columns, strict=True))), UNITS)
        self._fill(SHOP_EVENT_ITEMS, Rows(SHOWN, own), UNITS)
        found = self._connection.execute(self._of_shop[model])
        return Rows(tuple(column[0] for column in found.description), found.fetchall())

    def run(self, given: Mapping[str, Rows], of_days: OfDays) -> "pa.Table":
        """Run the models on the visitors at hand, as `Chain.run`."""
        if self._is_running or not is_exact(given):
            return self._exact.run(given, of_days)
        names = [name for name, _ in self._models]
        first = names.index(EVENT_ITEMS) + 1
        with self._rolled_back():
            for table, rows in given.items():
                self._fill(table, rows)
            for _, sql in self._models[:first]:
                self._connection.execute(sql)
            for table, rows in of_days(self._connection.execute(self._days).fetchall()).items():
                self._fill(table, rows)
            for _, sql in self._models[first:]:
                self._connection.execute(sql)
            found = self._connection.execute(f"select * from {FEATURES}").fetchall()
        return typed_table(Rows(tuple(self._types[FEATURES]), found), list(self._types[FEATURES].values()))

    def _fill(self, table: str, rows: Rows, units: int = 1) -> None:
        if not rows.values:
            return
        import pyarrow as pa

        types = self._types[table]
        columns = []
        for name, values in zip(rows.columns, zip(*rows.values, strict=True), strict=True):
            if pa.types.is_decimal(types[name]):
                values = tuple(None if value is None else _held(value, units) for value in values)
            elif pa.types.is_date(types[name]):
                values = tuple((value - EPOCH).days if isinstance(value, date) else value for value in values)
            columns.append(values)
        names, places = ", ".join(f'"{name}"' for name in rows.columns), ", ".join("?" * len(rows.columns))
        self._connection.executemany(f"insert into {table} ({names}) values ({places})", zip(*columns, strict=True))

    @contextmanager
    def _rolled_back(self) -> Iterator[None]:
        self._connection.execute("begin")
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            self._connection.execute("rollback")


def _held(value: float, units: int) -> float:
    """An amount as SQLite holds it: a double, or so many units."""
    return float(value) if units == 1 else round(value * units)


def is_exact(given: Mapping[str, Rows]) -> bool:
    """Whether doubles hold all amounts of some visitors exactly, and there are not too many rows.

    Parameters
    ----------
    given : mapping of str to Rows
        Rows of raw_events and int_item_attributes.

    Returns
    -------
    bool
        False where a quantity is no whole number, or what a visitor did may add up to too much.
    """
    events, facts = given[RAW_EVENTS], given[ATTRIBUTES]
    if len(events.values) > MOST_ROWS:
        return False
    quantities = _amounts(events, "quantity")
    if any(value % 1 for value in quantities):
        return False
    price = max((*_amounts(events, "price"), *_amounts(facts, "price")), default=0)
    of_visitor = events.columns.index("visitorid")
    most = max(Counter(row[of_visitor] for row in events.values).values(), default=0)
    return price * max(quantities, default=1) * most < MOST_AMOUNT


def _amounts(rows: Rows, name: str) -> set[float]:
    if name not in rows.columns:
        return set()
    place = rows.columns.index(name)
    return {float(row[place]) for row in rows.values if row[place] is not None}
