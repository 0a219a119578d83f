"""What people read: the one definition of every number on the four pages."""

import warehouse  # noqa: F401  (before DuckDB and Arrow: see there)
