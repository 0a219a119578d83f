"""A table's contract, as its yml states it: what a row is, its columns, who reads it and who writes it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.errors import FunneliftError
from warehouse.settings import PROJECT
from warehouse.yaml_files import read_yaml

if TYPE_CHECKING:
    import pyarrow as pa

PARAMETERS = re.compile(r"(?P<name>[a-z]+)(?:\((?P<numbers>\d+(?:, \d+)?)\))?")


@dataclass(frozen=True)
class Column:
    """One column: its type has the same name on every engine, such as varchar(64), integer or timestamp."""

    name: str
    data_type: str
    is_nullable: bool = False
    description: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def longest(self) -> int | None:
        """Characters that a bounded text has room for; None for every other type."""
        name, numbers = _parsed(self.data_type)
        return numbers[0] if name == "varchar" and numbers else None

    @property
    def arrow_type(self) -> "pa.DataType":
        """Type of the column in Arrow."""
        import pyarrow as pa

        name, numbers = _parsed(self.data_type)
        plain = {
            "varchar": pa.string(),
            "text": pa.string(),
            "integer": pa.int32(),
            "bigint": pa.int64(),
            "double": pa.float64(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us"),
        }
        if name == "decimal" and len(numbers) == 2:
            return pa.decimal128(*numbers)
        if name not in plain:
            raise FunneliftError(
                f"column {self.name} has the data_type {self.data_type!r}; known are {', '.join(plain)} and "
                "decimal(precision, scale). Correct the table's yml in models/"
            )
        return plain[name]


@dataclass(frozen=True)
class Contract:
    """What a table of the schema funnelift promises to whoever reads it.

    `grain` names the columns that tell its rows apart and is empty for a table of one row; `found_by` names columns by
    which rows are looked up beside it; `layer` is the folder of its yml; `readers` and `written_by` name roles of
    `python -m ops roles`.
    """

    name: str
    layer: str
    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    readers: tuple[str, ...] = ()
    written_by: str | None = None
    found_by: tuple[str, ...] = ()

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    @property
    def schema(self) -> "pa.Schema":
        """The columns in Arrow."""
        import pyarrow as pa

        return pa.schema([pa.field(column.name, column.arrow_type, column.is_nullable) for column in self.columns])

    def check_table(self, existing: Sequence[str]) -> None:
        """Refuse a table that was written under another contract.

        Parameters
        ----------
        existing : sequence of str
            The table's columns; none when there is no table.

        Raises
        ------
        FunneliftError
            When they are not the contract's.
        """
        if existing and list(existing) != self.column_names:
            raise FunneliftError(
                f"funnelift.{self.name} was written by another version (columns {', '.join(existing)}): rename or drop "
                "it, then run `dbt build` and `python -m ml.train`"
            )

    def cast(self, rows: "pa.Table") -> "pa.Table":
        """Give rows the contract's order of columns, types and nullability.

        Parameters
        ----------
        rows : pyarrow.Table
            The contract's columns in any order and in types that lose nothing by the cast.

        Returns
        -------
        pyarrow.Table
            The rows; texts with a dictionary keep it.

        Raises
        ------
        FunneliftError
            When a column is missing or surplus, a value does not fit its type, or there is a null where none may be.
        """
        import pyarrow as pa

        found, promised = set(rows.column_names), set(self.column_names)
        if found != promised or len(rows.column_names) != len(promised):
            raise FunneliftError(
                f"rows of {self.name} lack {sorted(promised - found) or 'nothing'} that its "
                f"contract names, and have {sorted(found - promised) or 'nothing'} that it does not. {self._where}"
            )
        arrays = [self._cast_column(column, rows.column(column.name)) for column in self.columns]
        schema = pa.schema(
            [
                pa.field(column.name, array.type, column.is_nullable)
                for column, array in zip(self.columns, arrays, strict=True)
            ]
        )
        return pa.Table.from_arrays(arrays, schema=schema)

    def _cast_column(self, column: Column, values: "pa.ChunkedArray") -> "pa.ChunkedArray":
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted, has_dictionary = column.arrow_type, pa.types.is_dictionary(values.type)
        if (values.type.value_type if has_dictionary else values.type) != wanted:
            try:
                values, has_dictionary = values.cast(wanted), False
            except pa.ArrowException as error:
                raise FunneliftError(
                    f"{self.name}.{column.name} is {column.data_type}, and its values are "
                    f"{values.type}: {error}. {self._where}"
                ) from None
        if values.null_count and not column.is_nullable:
            raise FunneliftError(
                f"{self.name}.{column.name} has {values.null_count} nulls and may have none. {self._where}"
            )
        if column.longest is not None:
            texts = [chunk.dictionary if has_dictionary else chunk for chunk in values.chunks]
            longest = max((pc.max(pc.utf8_length(text)).as_py() or 0 for text in texts), default=0)
            if longest > column.longest:
                raise FunneliftError(
                    f"{self.name}.{column.name} has room for {column.longest} characters, and "
                    f"a text has {longest}. {self._where}"
                )
        return values

    @property
    def _where(self) -> str:
        return f"The contract is the table's yml in models/{self.layer}"


class Contracts(dict[str, Contract]):
    """Contracts by the table's name; asked for one that is not there, they say where they were read."""

    def __init__(self, contracts: Iterable[Contract], source: Path) -> None:
        super().__init__({contract.name: contract for contract in contracts})
        self.source = source

    def __missing__(self, name: str) -> Contract:
        raise FunneliftError(f"{self.source} knows no model {name}: run `dbt build` in the project first")

    def of_layer(self, *layers: str) -> list[Contract]:
        """Return the contracts of some layers, in the order of the tables' names."""
        return [self[name] for name in sorted(self) if self[name].layer in layers]


def read_contracts(manifest: Path) -> Contracts:
    """Read the contracts of all models and seeds from dbt's manifest.

    Parameters
    ----------
    manifest : Path
        dbt's `manifest.json`.

    Returns
    -------
    Contracts
        The contracts.

    Raises
    ------
    FunneliftError
        When there is no manifest or it cannot be read.
    """
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        contracts = [
            _contract(node, node["fqn"][1] if node["resource_type"] == "model" else "seeds", node["config"])
            for node in content["nodes"].values()
            if node["resource_type"] in ("model", "seed")
        ]
    except FileNotFoundError:
        raise FunneliftError(
            f"no dbt manifest at {manifest}: run `dbt build` first, or name it with --manifest"
        ) from None
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise FunneliftError(f"cannot read the dbt manifest {manifest} ({error}): run `dbt build` again") from None
    return Contracts(contracts, manifest)


def read_project(folder: Path = PROJECT) -> Contracts:
    """Read the same contracts from the project's own files, for what runs before any dbt.

    Parameters
    ----------
    folder : Path
        The folder with dbt_project.yml.

    Returns
    -------
    Contracts
        The contracts.
    """
    settings = read_yaml(folder / "dbt_project.yml")
    layers = settings["models"][settings["name"]]
    contracts = []
    for path in sorted([*(folder / "models").rglob("*.yml"), *(folder / "seeds").glob("*.yml")]):
        described = read_yaml(path)
        layer = path.relative_to(folder / "models").parts[0] if (folder / "models") in path.parents else "seeds"
        settings_of = layers.get(layer, {}) if layer != "seeds" else {}
        for node in [*described.get("models", []), *described.get("seeds", [])]:
            own = settings_of.get(node["name"], {}).get("+meta", {})
            meta = settings_of.get("+meta", {}) | own | _meta(node)
            contracts.append(_contract(node, layer, {"meta": meta}))
    return Contracts(contracts, folder)


def _contract(node: Mapping[str, Any], layer: str, config: Mapping[str, Any]) -> Contract:
    meta = config.get("meta", {})
    grain = tuple(meta.get("grain", ()))
    columns = node.get("columns", ())
    return Contract(
        name=node["name"],
        layer=layer,
        description=_plain(node.get("description")),
        grain=grain,
        columns=tuple(
            _column(column, grain, meta) for column in (columns.values() if isinstance(columns, dict) else columns)
        ),
        readers=tuple(meta.get("readers", ())),
        written_by=meta.get("written_by"),
        found_by=tuple(meta.get("found_by", ())),
    )


def _column(column: Mapping[str, Any], grain: tuple[str, ...], of_table: Mapping[str, Any]) -> Column:
    meta = _meta(column)
    # What dbt builds may hold nulls wherever no test forbids them; ml writes none where the yml does not say so.
    may_be_null = meta.get("nullable", "written_by" not in of_table)
    return Column(
        name=column["name"],
        data_type=column.get("data_type") or "",
        is_nullable=may_be_null and column["name"] not in grain,
        description=_plain(column.get("description")),
        meta=meta,
    )


def _meta(described: Mapping[str, Any]) -> dict[str, Any]:
    """The meta of a node or column, where older and newer versions of dbt have it."""
    return {**(described.get("meta") or {}), **((described.get("config") or {}).get("meta") or {})}


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


@cache
def _parsed(data_type: str) -> tuple[str, tuple[int, ...]]:
    parsed = PARAMETERS.fullmatch(data_type)
    if parsed is None:
        return "", ()
    return parsed["name"], tuple(int(number) for number in (parsed["numbers"] or "").split(",") if number)
