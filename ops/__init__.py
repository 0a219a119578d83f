"""Running Funnelift: checking a server, and who may do what there. Imports anyone, imported by no one."""

import warehouse  # noqa: F401  (before DuckDB and Arrow: see there)
