"""The marts that ml reads, copied from DuckDB to a MySQL or MariaDB server with the types that dbt gives them there."""

from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse.mysql_client.names import name
from warehouse.mysql_client.session import Session

MONEY = ("carted_value_so_far", "revenue")


def copy(session: Session, warehouse: Path) -> None:
    """Copy every table of the schema funnelift into a new database funnelift."""
    collation = session.server.collation
    session.execute(f"create database funnelift character set utf8mb4 collate {collation}")
    with duckdb.connect(warehouse, read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables() where schema_name = 'funnelift'").fetchall()
        for (table,) in tables:
            rows = connection.execute(f"from funnelift.{table}").to_arrow_table()
            columns = ", ".join(f"{name(field.name)} {_type(field, collation)}" for field in rows.schema)
            session.execute(f"create table {name('funnelift', table)} ({columns})")
            session.load(name("funnelift", table), rows)
            session.commit()


def _type(field: pa.Field, collation: str) -> str:
    if field.name in MONEY:
        return "decimal(18, 4)"
    if pa.types.is_string(field.type):
        return f"varchar(160) character set utf8mb4 collate {collation}"
    if pa.types.is_timestamp(field.type):
        return "datetime(3)"
    return {pa.date32(): "date", pa.int32(): "int", pa.int64(): "bigint", pa.float64(): "double"}[field.type]
