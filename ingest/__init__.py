"""Raw events in: `python -m ingest load` and `python -m ingest synth`."""

import warehouse  # noqa: F401  (before DuckDB and Arrow: see there)
