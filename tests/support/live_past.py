"""A trained shop whose warehouse does not know its last events yet."""

import os
import shutil
from pathlib import Path
from typing import Any

import duckdb

from live.service import KEPT
from live.settings import LiveSettings
from ml.config import Config, load_config
from synthetic_shop import SyntheticShop

# All events with FUNNELIFT_REPLAYED=1000000.
REPLAYED = int(os.environ.get("FUNNELIFT_REPLAYED", "700"))


class Past:
    """A copy of a trained shop whose warehouse does not know the last events; they are to be sent."""

    def __init__(self, shop: SyntheticShop, folder: Path) -> None:
        self.shop, self.folder = shop, folder
        self.warehouse, self.results = folder / "warehouse.duckdb", folder / "results"
        shutil.copy(shop.trained, self.warehouse)
        shutil.copytree(shop.folder / "results", self.results)
        with duckdb.connect(self.warehouse) as connection:
            self.events = self._cut(connection)

    def _cut(self, connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
        found = connection.execute(
            "select event_ms, visitor_id, event_rank, item_id, transaction_id from funnelift.int_events "
            "join funnelift.int_visitors using (visitor_key) join funnelift.int_items using (item_key) "
            "where event_ms >= (select min(event_ms) from (select event_ms from funnelift.int_events "
            "order by event_ms desc limit ?)) "
            "order by event_ms, event_key",
            [REPLAYED],
        ).fetchall()
        kinds = ["view", "addtocart", "transaction", "removefromcart"]
        sent = []
        for ms, visitor, rank, item, order in found:
            event = {"timestamp": ms, "visitorid": visitor, "event": kinds[rank - 1], "itemid": item}
            sent.append(event if order is None else {**event, "transactionid": order})
        first = sent[0]["timestamp"]
        for table in ("int_event_items", "int_events"):
            connection.execute(f"delete from funnelift.{table} where event_ms >= {first}")
        return sent

    @property
    def config(self) -> Config:
        places = {
            "duckdb_path": self.warehouse, "results": self.results, "manifest": self.shop.target / "manifest.json",
        }  # fmt: skip
        return load_config(self.shop.folder / "quick.json", places, environment={})

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FUNNELIFT_TARGET": "duckdb",
            "FUNNELIFT_DUCKDB_PATH": str(self.warehouse),
            "FUNNELIFT_RESULTS": str(self.results),
            "DBT_TARGET_PATH": str(self.shop.target),
        }

    def settings(self, name: str, models: Path) -> LiveSettings:
        """Settings with a log of that name; what was compiled before need not be again."""
        shutil.copytree(models, self.results / KEPT, dirs_exist_ok=True)
        return LiveSettings(self.folder / name, refresh_seconds=0.2)

    def published(self, table: str) -> dict[tuple[str, str], dict[str, Any]]:
        with duckdb.connect(self.shop.trained, read_only=True) as connection:
            rows = connection.execute(f"from funnelift.{table}").to_arrow_table().to_pylist()
        return {(row["session_id"], row["decision_point"]): row for row in rows}
