"""The ground floor: the only Python that knows engines."""

import sys
from contextlib import suppress
from importlib import import_module

from warehouse.interrupt import quiet_interrupt

# While Python looks for the module of `python -m`, the command's name is not there yet.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = quiet_interrupt

# Loaded after DuckDB or Arrow, the driver's C part may find no room left for its thread-local storage ("cannot allocate
# memory in static TLS block"), so every package that can need it imports this one first.
with suppress(ImportError):
    import_module("_mysql_connector")
