"""Arms of a real experiment, given to visitors of a small shop, and its tables as anyone reads them."""

from collections.abc import Sequence

import duckdb
import numpy as np
import pandas as pd

import ml_mart
from training import Place


def table(place: Place, name: str) -> pd.DataFrame:
    with duckdb.connect(place.folder / "warehouse.duckdb", read_only=True) as connection:
        rows: pd.DataFrame = connection.execute(f"select * from funnelift.{name} order by all").df()
    return rows


def give_assignments(place: Place, treated_share: float = 0.5, seed: int = 0, design: str = "null | null") -> None:
    """Assign every visitor but one in ten an arm before the shop opened; nobody is treated, so nothing changes."""
    with duckdb.connect(place.folder / "warehouse.duckdb") as connection:
        visitors = connection.execute("select distinct visitor_id from funnelift.session_features").df()["visitor_id"]
        rng = np.random.default_rng(seed)
        arms = pd.DataFrame({"visitor_id": np.sort(visitors)})
        arms["treatment"] = (rng.random(len(arms)) < treated_share).astype(np.int32)
        arms["assigned_ms"] = ml_mart.START_MS - 1
        arms["has_conflict"] = np.int32(0)
        arms = arms[rng.random(len(arms)) < 0.9]
        connection.register("arms", arms)
        stratum, chance = design.split(" | ")
        connection.execute(
            f"create or replace table funnelift.stg_treatment_assignments as select *, cast({stratum} as varchar) as "
            f"stratum, cast({chance} as double) as propensity, cast(null as varchar) as offer from arms"
        )


def give_offers(place: Place, offers: Sequence[str], seed: int = 0) -> None:
    """Deal the control and some offers to the assigned visitors, in equal shares."""
    give_assignments(place, seed=seed)
    arms = table(place, "stg_treatment_assignments").sort_values("visitor_id", ignore_index=True)
    code = np.random.default_rng(seed).integers(0, len(offers) + 1, len(arms))
    arms["treatment"] = (code > 0).astype(np.int32)
    arms["offer"] = pd.Series([None, *offers], dtype=object)[code].to_numpy()
    with duckdb.connect(place.folder / "warehouse.duckdb") as connection:
        connection.register("arms", arms.astype({"stratum": "object", "offer": "object"}))
        connection.execute(
            "create or replace table funnelift.stg_treatment_assignments as select * replace "
            "(cast(stratum as varchar) as stratum, cast(offer as varchar) as offer) from arms"
        )
