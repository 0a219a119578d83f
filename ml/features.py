"""Which columns are features, label, ids, time and status: read from dbt's metadata, nowhere repeated."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.config import FunneliftError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MART = "session_features"
NONE = "(none)"
IDENTITY = ("session_id", "decision_point", "visitor_id", "decided_at")
STATUSES = ("is_mature", "is_new_visitor")


@dataclass(frozen=True)
class Feature:
    """One model input: its name, group (context, session, item, history), kind and description."""

    name: str
    group: str
    kind: str
    description: str


@dataclass(frozen=True)
class Mart:
    """What dbt's manifest says about the feature mart."""

    features: tuple[Feature, ...]
    label: str
    columns: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of all features, in the order of the models' inputs."""
        return [feature.name for feature in self.features]

    @property
    def numeric(self) -> list[str]:
        """Names of the numeric features."""
        return [feature.name for feature in self.features if feature.kind == "numeric"]

    @property
    def categorical(self) -> list[str]:
        """Names of the categorical features."""
        return [feature.name for feature in self.features if feature.kind == "categorical"]


@dataclass(frozen=True)
class Dataset:
    """Rows of the feature mart, ordered by (decided_ms, session_id, decision_point).

    `identity` holds the id columns as Arrow; `inputs` the features (float32 and categories, nulls of a
    category as its own level); the arrays hold one value a row, -1 for a null, which the gate refuses.
    """

    identity: "pa.Table"
    inputs: "pd.DataFrame"
    label: npt.NDArray[np.int8]
    decided_ms: npt.NDArray[np.int64]
    is_mature: npt.NDArray[np.int8]
    is_new_visitor: npt.NDArray[np.int8]
    visitor: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def decision_point(self) -> "pd.Categorical":
        """Decision point of each row."""
        points: pd.Categorical = self.inputs["decision_point"].array
        return points

    def fingerprint(self) -> str:
        """Return a SHA-256 over everything a model can learn from."""
        digest = hashlib.sha256()
        for array in (self.decided_ms, self.label, self.is_mature, self.visitor):
            digest.update(array.tobytes())
        for name, column in self.inputs.items():
            digest.update(str(name).encode())
            if column.dtype == "category":
                digest.update("\0".join(column.cat.categories).encode())
                digest.update(column.cat.codes.to_numpy().tobytes())
            else:
                digest.update(np.ascontiguousarray(column.to_numpy()).data)
        return digest.hexdigest()


def read_mart(manifest: Path) -> Mart:
    """Read the roles of the feature mart's columns from dbt's manifest.

    Parameters
    ----------
    manifest : Path
        dbt's `manifest.json`.

    Returns
    -------
    Mart
        Features (numeric, then categorical, each in the order of the properties file), label and all columns.

    Raises
    ------
    FunneliftError
        When the manifest is missing, or lacks the mart or the roles.
    """
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FunneliftError(
            f"no dbt manifest at {manifest}: run `dbt build` first, or name it with --manifest"
        ) from None
    except (OSError, ValueError) as error:
        raise FunneliftError(f"cannot read the dbt manifest {manifest} ({error}): run `dbt build` again") from None
    nodes = [
        node
        for node in content.get("nodes", {}).values()
        if node.get("resource_type") == "model" and node.get("name") == MART
    ]
    if not nodes:
        raise FunneliftError(f"{manifest} knows no model {MART}: run `dbt build` in the project first")
    node = nodes[0]
    roles: dict[str, list[str]] = {}
    features = []
    for name, column in node["columns"].items():
        meta = column.get("meta", {})
        roles.setdefault(str(meta.get("role")), []).append(name)
        if meta.get("role") == "feature":
            if meta.get("kind") not in ("numeric", "categorical") or not meta.get("group"):
                raise FunneliftError(
                    f"{MART}.{name}: a feature's meta needs kind numeric or categorical, and a group; got {meta}. "
                    "Correct the mart's properties file and run `dbt build`"
                )
            features.append(Feature(name, meta["group"], meta["kind"], column.get("description") or name))
    columns = tuple(name for names in roles.values() for name in names)
    missing = sorted({*IDENTITY, *STATUSES, "decided_ms"} - set(columns))
    if "decision_point" not in {feature.name for feature in features if feature.kind == "categorical"}:
        missing.append("decision_point as a categorical feature")
    if missing or len(roles.get("label", [])) != 1 or not features:
        raise FunneliftError(
            f"{manifest}: {MART} needs features, one label and the columns {', '.join(missing) or 'it has'}; found "
            f"{len(features)} features and labels {roles.get('label', [])}. Run `dbt build` with this project's models"
        )
    features.sort(key=lambda feature: feature.kind, reverse=True)
    return Mart(tuple(features), roles["label"][0], columns)


def check_columns(mart: Mart, columns: Iterable[str]) -> None:
    """Refuse a manifest that does not describe the table in the warehouse.

    Parameters
    ----------
    mart : Mart
        What the manifest says.
    columns : iterable of str
        Columns that the table has.

    Raises
    ------
    FunneliftError
        When the manifest names a column that the table lacks, or the reverse.
    """
    described, found = set(mart.columns), set(columns)
    if not found:
        raise FunneliftError(f"no table funnelift.{MART} in the warehouse: run `dbt build` first")
    if described != found:
        raise FunneliftError(
            f"the dbt manifest is stale: {MART} lacks {sorted(described - found) or 'nothing'} that it describes, and "
            f"has {sorted(found - described) or 'nothing'} that it does not. Run `dbt build`"
        )


def build_dataset(batches: Iterable["pa.RecordBatch"], rows: int, mart: Mart) -> Dataset:
    """Turn Arrow batches of the mart into compact, ordered model inputs.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        All rows, in any order.
    rows : int
        How many rows will come.
    mart : Mart
        Roles of the columns.

    Returns
    -------
    Dataset
        One row a session and decision point.

    Raises
    ------
    FunneliftError
        When another number of rows came.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = np.empty((len(mart.numeric), rows), dtype=np.float32)
    decided_ms = np.empty(rows, dtype=np.int64)
    flags = np.empty((3, rows), dtype=np.int8)
    texts: list[pa.RecordBatch] = []
    categories: dict[str, list[pa.DictionaryArray]] = {name: [] for name in mart.categorical}
    filled = 0
    for batch in batches:
        end = filled + batch.num_rows
        if end > rows:
            raise FunneliftError(f"{MART} grew while it was read: expected {rows} rows. Run again")
        for target, name in zip(numbers, mart.numeric, strict=True):
            target[filled:end] = _to_float32(batch.column(name))
        for flag, name in zip(flags, (mart.label, *STATUSES), strict=True):
            flag[filled:end] = pc.fill_null(batch.column(name).cast(pa.int8()), -1)
        decided_ms[filled:end] = pc.fill_null(batch.column("decided_ms"), -1)
        for name, parts in categories.items():
            parts.append(pc.fill_null(batch.column(name), NONE).dictionary_encode())
        # Taking copies the rows; a selection would keep the engine's whole batch, all columns of it, in memory.
        texts.append(batch.select(["session_id", "visitor_id", "decided_at"]).take(pa.array(np.arange(batch.num_rows))))
        filled = end
    if filled != rows:
        raise FunneliftError(f"{MART} shrank while it was read: expected {rows} rows, got {filled}. Run again")
    if not rows:
        raise FunneliftError(f"{MART} is empty: load events with `python -m ingest load`, then run `dbt build`")

    table = pa.Table.from_batches(texts)
    points = _to_categories(categories.pop("decision_point"))
    keys = pa.table({"ms": decided_ms, "session": table.column("session_id"), "point": points.codes})
    positions = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
    # One column at a time: the whole matrix twice would be the largest thing in memory.
    for row in numbers:
        row[:] = row[positions]
    inputs = pd.DataFrame(numbers.T, columns=mart.numeric, copy=False)
    points = points.take(positions)
    for name in mart.categorical:
        inputs[name] = points if name == "decision_point" else _to_categories(categories.pop(name)).take(positions)
    del texts, keys
    table = table.take(pa.array(positions))
    levels = pa.array(points.categories.tolist(), pa.string())
    table = table.append_column("decision_point", pa.DictionaryArray.from_arrays(points.codes.astype(np.int32), levels))
    flags = flags[:, positions]
    return Dataset(
        identity=table.select(list(IDENTITY)),
        inputs=inputs,
        label=flags[0],
        decided_ms=decided_ms[positions],
        is_mature=flags[1],
        is_new_visitor=flags[2],
        visitor=to_codes(table.column("visitor_id")),
    )


def to_codes(column: "pa.ChunkedArray") -> npt.NDArray[np.int32]:
    """Number the different texts of a column in the order in which they first come.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        Texts.

    Returns
    -------
    array of int
        One number a row, from 0 on.
    """
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(column.combine_chunks(), NONE).dictionary_encode().indices.to_numpy())


def _to_float32(column: "pa.Array") -> npt.NDArray[np.float32]:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32))


def _to_categories(parts: "list[pa.DictionaryArray]") -> "pd.Categorical":
    import pandas as pd
    import pyarrow as pa

    unified = pa.chunked_array(parts).unify_dictionaries()
    levels = np.array(unified.chunk(0).dictionary.to_pylist(), dtype=object)
    order = np.argsort(levels)
    rank = np.empty(len(levels), dtype=np.int32)
    rank[order] = np.arange(len(levels), dtype=np.int32)
    codes = np.concatenate([rank[chunk.indices.to_numpy()] for chunk in unified.chunks])
    coded: pd.Categorical = pd.Categorical.from_codes(codes, categories=pd.Index(levels[order]))
    return coded
