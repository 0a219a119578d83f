"""Ctrl-C where no command can answer it yet, as in the first second, when libraries are imported."""

import sys
from types import TracebackType

INTERRUPTED = 130


def quiet_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say that a command was interrupted, in one line; any other exception is shown as usual.

    Parameters
    ----------
    kind : type
        Class of the exception that ended the process.
    error : BaseException
        The exception.
    trace : traceback, optional
        Where it was raised.

    Raises
    ------
    SystemExit
        With 130, as shells know an interrupted command.
    """
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print("error: interrupted", file=sys.stderr)
    raise SystemExit(INTERRUPTED)
