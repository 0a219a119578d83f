"""Settings of the service."""

from dataclasses import dataclass
from pathlib import Path

STOP_FILE = "STOP"


@dataclass(frozen=True)
class LiveSettings:
    """What `python -m live serve` was told.

    `explore_share` of the visitors are shown by lot, the others by the policy; each arm has half of it as its lowest
    chance. A visitor is shown at most `cap_shows` offers in `cap_days`. `daily_budget` is money for a day's offers.
    """

    log: Path
    host: str = "127.0.0.1"
    port: int = 8321
    token: str | None = None
    dry_run: bool = False
    salt: str = "live-1"
    explore_share: float = 0.2
    cap_shows: int = 1
    cap_days: float = 7.0
    daily_budget: float | None = None
    close_minutes: int = 60
    refresh_seconds: float = 60.0
    stale_hours: float = 48.0
    body_bytes: int = 1_000_000
    batch_events: int = 500

    @property
    def stop_file(self) -> Path:
        """While this file exists, nothing is shown."""
        return self.log / STOP_FILE
