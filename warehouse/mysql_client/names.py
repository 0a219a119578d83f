"""Names of databases, tables, columns and roles as SQL takes them."""

import re

from warehouse.errors import ServerError

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def name(*parts: str) -> str:
    """Write a name, such as a database and a table of it, as SQL takes it.

    Parameters
    ----------
    *parts : str
        Letters, digits and underscores each.

    Returns
    -------
    str
        The parts in backticks, joined by dots.

    Raises
    ------
    ServerError
        A part has other characters.
    """
    for part in parts:
        if not IDENTIFIER.fullmatch(part):
            raise ServerError(f"{part!r} is not a usable name: letters, digits and underscores only, at most 64")
    return ".".join(f"`{part}`" for part in parts)
