"""Failures that a user can act on, and those of a database server."""


class FunneliftError(Exception):
    """A failure that the user can act on; its message says what is wrong and what to do."""

    exit_code = 1


class UsageError(FunneliftError):
    """An option, a setting or a mapping file is wrong; no data was looked at."""

    exit_code = 2


class ServerError(FunneliftError):
    """A fault of the server, or on the way to it, that the user can act on; never holds a password."""


class NotAllowedError(ServerError):
    """This user may not do that."""


class RepeatedKeyError(ServerError):
    """Two rows have the same key."""


class ConnectionLostError(ServerError):
    """The server, or the way to it, went away in the middle; what was not committed is undone."""
