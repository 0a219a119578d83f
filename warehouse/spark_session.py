"""A Spark session on the warehouse: what modelling commands read and publish there.

Rows cross between Spark and this process as Parquet files in the warehouse folder. So the driver holds none of them,
and workers write and read in parallel.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from uuid import uuid4
from zipfile import ZIP_DEFLATED, ZipFile

from warehouse.base import SCHEMA, Among, Joined, Publication
from warehouse.contract import Contract
from warehouse.crossing import read_files, write_file
from warehouse.errors import FunneliftError
from warehouse.settings import PROJECT
from warehouse.workers import (
    ADDED,
    CHANGED,
    OLD,
    SAME,
    STATE,
    Handed,
    Make,
    Remade,
    Remaking,
    WarehouseWithWorkers,
)
from warehouse.yaml_files import read_yaml

if TYPE_CHECKING:
    import pyarrow as pa

CROSSING, NEW = "crossing", "__new"
# pyspark has no types of its own for what is used here, and is installed where Spark is set up alone.
Frame = Any
T = TypeVar("T")
R = TypeVar("R")


class SparkMarts(WarehouseWithWorkers):
    """An open session. No other process has the warehouse meanwhile: one Derby database says what Spark knows of it."""

    settings_names = "FUNNELIFT_SPARK_WAREHOUSE"
    swaps_together = False
    has_transactions = False
    has_primary_keys = False

    def __init__(self, session: Any, folder: Path) -> None:
        self._session, self._folder = session, folder

    @classmethod
    @contextmanager
    def open_folder(cls, folder: Path) -> Iterator[Self]:
        """Start a session on the warehouse in a folder, and end it with the block.

        Parameters
        ----------
        folder : Path
            The warehouse's folder.

        Yields
        ------
        SparkMarts
            The open warehouse.

        Raises
        ------
        FunneliftError
            When there is no warehouse, no Spark, or another process has it.
        """
        if not folder.is_dir():
            raise FunneliftError(f"no warehouse at {folder} (FUNNELIFT_SPARK_WAREHOUSE): load and build first")
        _prepare()
        from pyspark.sql import SparkSession

        builder = cast(Any, SparkSession.builder).enableHiveSupport()
        for name, value in session_settings().items():
            builder = builder.config(name, value)
        try:
            session = builder.getOrCreate()
            session.catalog.databaseExists(SCHEMA)
        except Exception as error:
            raise FunneliftError(
                f"no Spark session on {folder}: {_first_line(error)}. Another process may have the warehouse"
            ) from None
        crossing = folder / CROSSING / uuid4().hex
        try:
            crossing.mkdir(parents=True)
            yield cls(session, crossing)
        finally:
            session.stop()
            shutil.rmtree(crossing, ignore_errors=True)

    def columns(self, table: str, schema: str = SCHEMA) -> list[str]:
        """See Warehouse."""
        if not self._session.catalog.tableExists(f"{_quoted(schema)}.{_quoted(table)}"):
            return []
        return list(self._table(table, schema).columns)

    def query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """See Warehouse."""
        found = self._session.sql(sql, args=list(values)) if values else self._session.sql(sql)
        return [row.asDict() for row in _without_zone(found).collect()]

    def read(
        self, table: str, columns: Sequence[str], among: Among | None = None, schema: str = SCHEMA
    ) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """See Warehouse; the workers write the rows to files, which are read here a batch at a time."""
        rows = self._table(table, schema)
        if among is not None:
            other = self._table(among.table).where(f"{_quoted(among.number)} > {int(among.above)}")
            rows = rows.join(other.select(among.key), among.key, "leftsemi")
        return self._fetched(rows.select(*columns))

    def read_joined(self, table: str, columns: Sequence[str], other: Joined) -> Iterator["pa.RecordBatch"]:
        """See Warehouse."""
        chosen = self._table(other.table)
        chosen = chosen.where(chosen[other.where].isin(list(other.values)))
        chosen = chosen.select(*dict.fromkeys((*other.key, *other.columns)))
        rows = self._table(table).select(*dict.fromkeys((*other.key, *columns)))
        renamed = {name: f"{name}__other" for name in other.columns if name in rows.columns and name not in other.key}
        for name, new in renamed.items():
            chosen = chosen.withColumnRenamed(name, new)
        joined = rows.join(chosen, list(other.key))
        _, batches = self._fetched(joined.select(*columns, *(renamed.get(name, name) for name in other.columns)))
        for batch in batches:
            yield batch.rename_columns([*columns, *other.columns])

    def remake(self, remaking: Remaking) -> Remade:
        """See WarehouseWithWorkers; rows go from worker to worker, and this process has none of them."""
        from pyspark.sql.functions import lit

        contract = remaking.contract
        old = _without_zone(self._shape_of(contract.name).select(*contract.column_names))
        shape = old.withColumn(STATE, lit(SAME)).schema
        make = _Typed(remaking.make, _arrow_schema(shape))
        self._send_code(remaking.make)
        rows, before = self._chosen(remaking), old.withColumnsRenamed({name: OLD + name for name in old.columns})
        both = rows.join(before, [rows[name] == before[OLD + name] for name in contract.grain], "left")
        place, made = self._written(both.mapInArrow(make, shape))
        found = {row[STATE]: row["count"] for row in made.groupBy(STATE).count().collect()}
        added, changed, same = (found.get(state, 0) for state in (ADDED, CHANGED, SAME))
        return Remade(contract, place, added=added, changed=changed, removed=old.count() - changed - same)

    def gather(self, handed: Handed) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """See WarehouseWithWorkers."""
        return self._fetched(self._handed(handed))

    def make(self, contract: Contract, handed: Handed) -> Publication:
        """See WarehouseWithWorkers; rows go from worker to worker, and this process has none of them."""
        shape = _without_zone(self._shape_of(contract.name).select(*contract.column_names)).schema
        place, made = self._written(self._handed(handed, shape))
        return Publication(contract, contract.schema.empty_table(), place=place, placed=made.count())

    @contextmanager
    def spread(self, table: str, columns: Sequence[str], only: tuple[str, int], by: str) -> Iterator[Path]:
        """See WarehouseWithWorkers."""
        rows, place = self._table(table), self._folder / uuid4().hex
        rows.where(rows[only[0]] == only[1]).select(*columns).write.partitionBy(by).parquet(str(place))
        yield place
        shutil.rmtree(place, ignore_errors=True)

    def each(self, tasks: "pa.Table", make: Make, schema: "pa.Schema") -> "pa.Table":
        """See WarehouseWithWorkers; one task each, so that a worker's memory holds one at a time."""
        import pyarrow as pa

        self._send_code(make)
        rows = self._sent(tasks).repartition(max(1, len(tasks)))
        found = rows.mapInArrow(_Typed(make, schema), _shape(schema))
        return pa.Table.from_batches(self._fetched(found)[1], schema)

    def publish(self, publications: Sequence[Publication]) -> None:
        """See Warehouse; all tables are written beside the old ones, which then go one after the other."""
        for publication in publications:
            if not self.columns(publication.name) and self.columns(publication.name + NEW):
                # A run was killed when the old table had gone; the new one was whole before that.
                self._rename(publication.name)
            publication.check_columns(self.columns(publication.name))
        for publication in publications:
            self._write(publication)
        for publication in publications:
            self._rename(publication.name)

    def _table(self, table: str, schema: str = SCHEMA) -> Frame:
        return self._session.table(f"{_quoted(schema)}.{_quoted(table)}")

    def _handed(self, handed: Handed, shape: Any = None) -> Frame:
        rows = _without_zone(self._table(handed.table).select(*handed.columns))
        shape = shape or (rows.schema if handed.schema is None else _shape(handed.schema))
        self._send_code(handed.make)
        return rows.mapInArrow(_Typed(handed.make, _arrow_schema(shape)), shape)

    def _chosen(self, remaking: Remaking) -> Frame:
        rows = self._table(remaking.table)
        if remaking.only is not None:
            column, value = remaking.only
            rows = rows.where(rows[column] == value)
        return _without_zone(rows.select(*remaking.columns))

    def _written(self, rows: Frame) -> tuple[str, Frame]:
        """Let the workers write rows to files; returns the folder, and the rows as they stand there."""
        place = str(self._folder / uuid4().hex)
        rows.write.parquet(place)
        return place, self._session.read.parquet(place)

    def _send_code(self, function: object) -> None:
        """Send the workers the packages that a function needs: its own, and this one."""
        archive = self._folder / "code.zip"
        if not archive.exists():
            _pack_code(function, archive)
            self._session.sparkContext.addPyFile(str(archive))

    def _fetched(self, rows: Frame) -> tuple[int, Iterator["pa.RecordBatch"]]:
        """Let the workers write rows to files; the files are gone when all batches have been taken."""
        place = self._folder / uuid4().hex
        _without_zone(rows).write.parquet(str(place))
        return read_files(place)

    def _sent(self, rows: "pa.Table") -> Frame:
        """Rows of this process as Spark reads them."""
        place = self._folder / uuid4().hex
        place.mkdir()
        write_file(rows, place / "part.parquet")
        return self._session.read.parquet(str(place))

    def _write(self, publication: Publication) -> None:
        """Write a table's rows, those that stay of the old one included, under its new name."""
        contract, key = publication.contract, list(publication.key)
        place = publication.place
        rows = self._sent(publication.rows) if place is None else self._session.read.parquet(place)
        rows = rows.select(*contract.column_names)
        if publication.append and self.columns(publication.name):
            old = self._table(publication.name)
            if publication.removes is not None:
                old = old.join(self._sent(publication.removes), key, "leftanti")
            rows = _without_zone(old.select(*contract.column_names)).unionByName(rows)
        if key:
            self._check_key(publication.name, rows, key)
        types = {field.name: field.dataType.simpleString() for field in self._shape_of(publication.name).schema}
        rows = rows.selectExpr(*(f"cast({_quoted(name)} as {types[name]}) as {_quoted(name)}" for name in types))
        new = publication.name + NEW
        self._drop(new)
        writer = rows.write.format(os.environ.get("FUNNELIFT_SPARK_FORMAT", "parquet"))
        writer.saveAsTable(f"{SCHEMA}.{_quoted(new)}")

    def _rename(self, table: str) -> None:
        """Give the new table the place of the old one."""
        self._drop(table)
        self._session.sql(f"alter table {SCHEMA}.{_quoted(table + NEW)} rename to {SCHEMA}.{_quoted(table)}")

    def _drop(self, table: str) -> None:
        """Drop a table, and the folder that a killed run left in its place: Spark makes no table where one is."""
        self._session.sql(f"drop table if exists {SCHEMA}.{_quoted(table)}")
        (place,) = self._session.sql(f"describe database {SCHEMA}").where("info_name = 'Location'").collect()
        path = self._session._jvm.org.apache.hadoop.fs.Path(place["info_value"], table)
        path.getFileSystem(self._session._jsc.hadoopConfiguration()).delete(path, True)

    def _shape_of(self, table: str) -> Frame:
        """The table that `dbt build` made, whose columns have the contract's types."""
        if not self.columns(table):
            raise FunneliftError(f"no table funnelift.{table}: run `dbt build` first")
        return self._table(table)

    def _check_key(self, table: str, rows: Frame, key: list[str]) -> None:
        """Spark keeps no keys, so they are looked at before anything is replaced."""
        broken = rows.groupBy(*key).count()
        condition = " or ".join(["count > 1", *(f"{_quoted(column)} is null" for column in key)])
        if found := broken.where(condition).take(1):
            values = ", ".join(f"{column} = {found[0][column]}" for column in key)
            raise FunneliftError(f"nothing was published, a key is broken: {table} has {values} twice, or nothing")


def on_workers(make: Callable[[T], R], items: Sequence[T], folder: Path, *, code_of: object) -> list[R]:
    """Let workers of the cluster call a function for some items, at the same time.

    Parameters
    ----------
    make : callable
        What is sent to the workers.
    items : sequence
        What it is called with: each item is a task.
    folder : Path
        Where the code for the workers may lie meanwhile.
    code_of : object
        A function or an instance of whose package the workers need the code too.

    Returns
    -------
    list
        What it returned for each item.

    Raises
    ------
    FunneliftError
        Spark is not here, the cluster cannot be reached, or a task failed again and again.
    """
    _prepare()
    from pyspark import SparkConf, SparkContext

    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "code.zip"
    _pack_code(code_of, archive)
    try:
        context = SparkContext(conf=SparkConf().setAll(list(session_settings().items())))
        try:
            context.addPyFile(str(archive))
            return list(context.parallelize(items, len(items)).map(make).collect())
        finally:
            context.stop()
    except Exception as error:
        told = re.findall(r"^\w[\w.]*(?:Error|Exception|Interrupt): .*", str(error), re.MULTILINE)
        raise FunneliftError(f"Spark's workers failed: {(told or [_first_line(error)])[0][:300]}") from error


def _prepare() -> None:
    """Refuse where Spark is not set up; let workers run the Python of this environment, if nothing names another."""
    if find_spec("pyspark") is None:
        raise FunneliftError(
            "Spark is not in this environment: run `make setup-spark` and activate .venv-spark (docs/spark.md)"
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


def _pack_code(function: object, archive: Path) -> None:
    """Pack the packages that a function needs on a worker: its own, and this one."""
    with ZipFile(archive, "w", ZIP_DEFLATED) as packed:
        for package in {_package(function), _package(_pack_code)}:
            for file in sorted((PROJECT / package).rglob("*.py")):
                packed.write(file, file.relative_to(PROJECT))


def _package(function: object) -> str:
    return str(function.__module__).partition(".")[0]


class _Typed:
    """Calls a function on a worker, and gives what it returns the types that Spark was told."""

    def __init__(self, make: Make, schema: "pa.Schema") -> None:
        self._make, self._schema = make, schema

    def __call__(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        for batch in self._make(batches):
            yield from pa.Table.from_batches([batch]).cast(self._schema).to_batches()


def _arrow_schema(shape: Any) -> "pa.Schema":
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(shape)


def _shape(schema: "pa.Schema") -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def session_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Read the settings of dbt's session from profiles.yml, so that both have the same.

    Parameters
    ----------
    environment : mapping
        Environment variables.

    Returns
    -------
    dict of str to str
        Setting to its value.
    """
    from jinja2 import Environment

    jinja = Environment(autoescape=False)
    jinja.filters["as_number"] = str
    names = {
        "env_var": lambda name, default="": environment.get(name, default),
        "flags": SimpleNamespace(PROFILES_DIR=str(PROJECT)),
    }
    settings = read_yaml(PROJECT / "profiles.yml")["funnelift"]["outputs"]["spark"]["server_side_parameters"]
    return {name: jinja.from_string(str(value)).render(names) for name, value in settings.items()}


def _without_zone(rows: Frame) -> Frame:
    """Times as the clock of the session, UTC, shows them: Spark would hand moments over in the machine's own zone."""
    from pyspark.sql.functions import col
    from pyspark.sql.types import TimestampType

    times = [field.name for field in rows.schema if isinstance(field.dataType, TimestampType)]
    return rows.withColumns({name: col(_quoted(name)).cast("timestamp_ntz") for name in times}) if times else rows


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
