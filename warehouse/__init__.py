"""The ground floor: the only Python that knows engines."""

from contextlib import suppress
from importlib import import_module

# Loaded after DuckDB or Arrow, the driver's C part may find no room left for its thread-local storage ("cannot allocate
# memory in static TLS block"), so every package that can need it imports this one first.
with suppress(ImportError):
    import_module("_mysql_connector")
