"""What stops a load, each with the exit code that says whose move it is."""


class LoadError(Exception):
    """The data or the warehouse does not allow the load; nothing was written."""

    exit_code = 1


class UsageError(LoadError):
    """The command, a setting or the mapping file is wrong; no data was looked at."""

    exit_code = 2
