"""Shops that do or do not change after a training: predictions and features in a real DuckDB, in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from ml.cli import Progress
from ml.config import Config
from ml.data.features import Feature, Mart
from ml.drift.periods import periods_of
from ml.drift.scored import read_compared
from ml.monitor import Drift, find_drift
from warehouse.duckdb import DuckDBWarehouse

KEY = ("session_id", "decision_point")
MART = Mart(
    features=tuple(
        Feature(name, "item", kind, f"{name}.")
        for kind, names in {
            "numeric": ("price", "views", "is_sale", "decision_weekday"),
            "categorical": ("brand", "decision_point"),
        }.items()
        for name in names
    ),
    label="has_transaction",
    columns=(),
)
DAY_MS = 86_400_000
TRAINED_DAY, NEW_DAYS = 16_600, 28
Change = Callable[[pd.DataFrame, np.random.Generator], None]


class Silent(Progress):
    """Shows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._console.quiet = True


@dataclass(frozen=True)
class Shop:
    """How many visitors the test split and the time since have; `changes` is what happened in between."""

    before: int = 1500
    since: int = 500

    def rows(self, rng: np.random.Generator, visitors: int, first_day: int) -> pd.DataFrame:
        """Rows of visitors who differ, and whose own rows do not differ much."""
        visitor = np.repeat(np.arange(visitors), rng.geometric(0.4, visitors))
        wish, n = rng.normal(size=visitors)[visitor], len(visitor)
        probability = 1 / (1 + np.exp(2.7 - 1.2 * wish - 0.5 * rng.normal(size=n)))
        day = first_day + rng.integers(0, NEW_DAYS, n)
        frame = pd.DataFrame(
            {
                "price": np.where(rng.random(n) < 0.05, np.nan, np.exp(wish + rng.normal(size=n))),
                "views": rng.poisson(1 + np.exp(wish / 2)),
                "is_sale": (rng.random(visitors) < 0.03)[visitor].astype(int),
                "decision_weekday": (day + 3) % 7 + 1,
                "brand": np.where(
                    rng.random(n) < 0.1, None, np.char.add("b", (rng.zipf(1.6, visitors)[visitor] % 200).astype(str))
                ),
                "decision_point": np.where(np.arange(n) % 3 == 0, "engaged", "landing"),
                "has_transaction": (rng.random(n) < probability).astype(int),
                "probability": probability,
                "visitor_id": np.char.add(f"v{first_day}-", visitor.astype(str)),
                "day": day,
            }
        )
        return frame.assign(session_id=[f"{first_day}-{number}" for number in range(n)], is_mature=1)

    def drift(self, seed: int, config: Config, change: Change | None = None) -> Drift:
        """Make the shop, let it change, and look for drift."""
        rng = np.random.default_rng(seed)
        before, since = self.rows(rng, self.before, TRAINED_DAY), self.rows(rng, self.since, TRAINED_DAY + NEW_DAYS)
        if change:
            change(since, rng)
        rows = pd.concat([before.assign(dataset_split="test"), since.assign(dataset_split="new")])
        with duckdb.connect(":memory:") as connection:
            connection.execute("create schema funnelift")
            connection.register("frame", rows)
            connection.execute(
                f"create table funnelift.session_features as select * exclude (probability, dataset_split, day), "
                f"day::bigint * {DAY_MS} as decided_ms, date '1970-01-01' + day::integer as decided_date from frame"
            )
            connection.execute(
                "create table funnelift.conversion_predictions as "
                "select session_id, decision_point, probability, dataset_split from frame"
            )
            compared = read_compared(DuckDBWarehouse(connection), MART, KEY, config.monitoring, 2**62)
        return find_drift(compared, periods_of(compared.current, config.monitoring), MART, config, Silent())
