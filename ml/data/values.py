"""The gate of values: nulls, ranges and accepted values, by Great Expectations."""

import importlib
import json
import logging
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import isnan
from typing import Any

import numpy as np

from ml.config import Config
from ml.data.features import IDENTITY, MART, NONE, STATUSES, Mart
from ml.data.gates import REBUILD, GateError
from ml.data.rows import Dataset
from warehouse.base import Warehouse

# Beside dbt's manifest, as dbt keeps the results of its own tests; `python -m ops docs` makes a page of it.
GATE_RESULT = "gate_result.json"
COLUMNS_AT_ONCE = 4


def check_values(data: Dataset, mart: Mart, config: Config) -> int:
    """Check nulls, ranges and accepted values with Great Expectations.

    Parameters
    ----------
    data : Dataset
        All rows of the feature mart.
    mart : Mart
        Roles of the columns.
    config : Config
        Ranges and features that are never null.

    Returns
    -------
    int
        Number of expectations met.

    Raises
    ------
    GateError
        When one is not; all that are not are named.
    """
    nulls = {name: data.identity.column(name).null_count for name in data.identity.column_names}
    nulls["decision_point"] = int((np.asarray(data.decision_point) == NONE).sum())
    for name, count in nulls.items():
        if count:
            raise GateError("nulls", f"nulls in {name}", 0, count, REBUILD)
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    expectations = _expectations(data, mart, config)
    outcome = _validate(data, mart, expectations)
    # Not write_json: an infinite value is what a gate may have found.
    config.manifest.with_name(GATE_RESULT).write_text(json.dumps(outcome.to_json_dict()), encoding="utf-8")
    broken = [_describe(result) for result in outcome.results if not result.success]
    if broken:
        first, *others = broken
        faults = "; ".join(f"{what}: expected {want}, found {got}" for what, want, got in others)
        also = f" Also: {faults}." if others else ""
        remedy = f"Correct the events or the mart, then `dbt build`; ranges are settings of ml/config.yml.{also}"
        raise GateError("values", *first, remedy)
    return len(expectations)


def expectations_met(warehouse: Warehouse, mart: Mart, config: Config) -> int | None:
    """Check the same by the engine's own SQL: of each column the lowest value, the highest, and whether one is null.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    mart : Mart
        Roles of the columns.
    config : Config
        Ranges and features that are never null.

    Returns
    -------
    int or None
        Number of expectations met; None where one is not, and `check_values` on the rows says which, and how often.
    """
    flags, names = (mart.label, *STATUSES), (*IDENTITY, "decided_ms")
    unnamed = " or ".join(f"{name} is null" for name in names)
    foreign = " or ".join(f"{name} is null or {name} not in (0, 1)" for name in flags)
    asked = [f"min({name}), max({name}), count({name})" for name in mart.numeric]
    of_each = [
        f"{found} as {kind}_{place}"
        for place, each in enumerate(asked)
        for kind, found in zip(("lowest", "highest", "known"), each.split(", "), strict=True)
    ]
    (row,) = warehouse.query(
        f"select count(*) as row_count, sum(case when {unnamed} or {foreign} then 1 else 0 end) as bad_count, "
        f"min(decided_ms) as first_ms, {', '.join(of_each)} from funnelift.{MART}"
    )
    # To an engine NaN is the highest value, and so hides it; to the gate of the rows it is a null.
    hides = any(value is not None and isnan(value) for name, value in row.items() if name.startswith("highest_"))
    if row["bad_count"] or hides or not row["row_count"]:
        return None
    try:
        return check_values(_extremes(row, mart), mart, config)
    except GateError:
        return None


def _extremes(row: Mapping[str, Any], mart: Mart) -> Dataset:
    """Three rows with the lowest values, the highest, and nulls where a column has any."""
    import pandas as pd
    import pyarrow as pa

    columns = {}
    for place, name in enumerate(mart.numeric):
        lowest, highest, known = (row[f"{kind}_{place}"] for kind in ("lowest", "highest", "known"))
        ends = [np.nan if value is None else float(value) for value in (lowest, highest)]
        columns[name] = np.array([*ends, np.nan if known < row["row_count"] else ends[0]], np.float32)
    inputs = pd.DataFrame(columns).assign(**{name: pd.Categorical(["any"] * 3) for name in mart.categorical})
    flags, any_id = np.zeros(3, np.int8), pa.array(["any"] * 3)
    return Dataset(
        identity=pa.table(dict.fromkeys(IDENTITY, any_id)),
        inputs=inputs,
        label=flags,
        decided_ms=np.full(3, row["first_ms"] or 0, np.int64),
        is_mature=flags,
        is_new_visitor=flags,
        visitor=np.zeros(3, np.int32),
    )


def _expectations(data: Dataset, mart: Mart, config: Config) -> list[Any]:
    gxe: Any = importlib.import_module("great_expectations.expectations")

    expectations: list[Any] = [gxe.ExpectTableRowCountToBeBetween(min_value=1)]
    for name in (mart.label, *STATUSES):
        expectations.append(gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[0, 1]))
    expectations.append(gxe.ExpectColumnMinToBeBetween(column="decided_ms", min_value=0))
    for name in mart.numeric:
        low, high = _range_of(name, config)
        # A feature that this shop cannot fill has no lowest value; whether it may be empty is the next question.
        if not np.isnan(data.inputs[name].to_numpy()).all():
            expectations.append(gxe.ExpectColumnMinToBeBetween(column=name, min_value=low))
            expectations.append(gxe.ExpectColumnMaxToBeBetween(column=name, max_value=high))
        if any(fnmatchcase(name, pattern) for pattern in config.never_null):
            expectations.append(gxe.ExpectColumnValuesToNotBeNull(column=name))
        data.let_go()
    return expectations


def _validate(data: Dataset, mart: Mart, expectations: list[Any]) -> Any:
    import pandas as pd

    gx: Any = importlib.import_module("great_expectations")

    checked = {
        mart.label: data.label,
        "decided_ms": data.decided_ms,
        "is_mature": data.is_mature,
        "is_new_visitor": data.is_new_visitor,
    }
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("marts").add_dataframe_asset(MART)
    whole = asset.add_batch_definition_whole_dataframe("all")
    # Great Expectations copies the whole table to look at the values of one column, so it gets a few columns at a time.
    numeric = mart.numeric
    groups = [numeric[start : start + COLUMNS_AT_ONCE] for start in range(0, len(numeric), COLUMNS_AT_ONCE)]
    outcomes = []
    for frame in (pd.DataFrame(checked), *(data.inputs[names] for names in groups)):
        own = [each for each in expectations if getattr(each, "column", mart.label) in frame.columns]
        suite = gx.ExpectationSuite(MART, expectations=own)
        outcomes.append(whole.get_batch({"dataframe": frame}).validate(suite, result_format="BASIC"))
        data.let_go()
    return _joined(outcomes)


def _joined(outcomes: list[Any]) -> Any:
    """Put validation results of parts of one table together."""
    results = [result for outcome in outcomes for result in outcome.results]
    met, number = sum(result.success for result in results), len(results)
    statistics = {
        "evaluated_expectations": number,
        "successful_expectations": met,
        "unsuccessful_expectations": number - met,
        "success_percent": 100 * met / number,
    }
    first = outcomes[0]
    return type(first)(success=met == number, results=results, suite_name=MART, statistics=statistics, meta=first.meta)


def _range_of(name: str, config: Config) -> tuple[float, float]:
    for entry in config.ranges:
        if fnmatchcase(name, entry.pattern):
            return entry.low, entry.high
    return 0.0, float(np.finfo(np.float32).max)


def _describe(result: Any) -> tuple[str, str, object]:
    settings = result.expectation_config.kwargs
    kind = result.expectation_config.type
    found = result.result
    low, high = settings.get("min_value"), settings.get("max_value")
    if "not_be_null" in kind:
        return f"nulls in {settings['column']}", "0", found.get("unexpected_count", "some")
    if "value_set" in settings:
        values = sorted(set(found.get("partial_unexpected_list", [])))
        return f"values of {settings['column']} (-1: null)", f"{settings['value_set']}", f"also {values}"
    bounds = f"at least {low:g}" if high is None else f"at most {high:g}"
    what = "rows" if "row_count" in kind else f"{'lowest' if high is None else 'highest'} value"
    return f"{what} of {settings.get('column', MART)}", bounds, found.get("observed_value")
