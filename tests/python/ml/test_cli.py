"""One way to fail: whatever goes wrong is told in a line, and the exit code says so."""

import argparse
import errno
import io
import sys
from collections.abc import Callable

import pytest

from ml.cli import Finished, Progress, run
from ml.config import Config
from warehouse.errors import FunneliftError


def failing(error: BaseException) -> Callable[[Config, Progress], list[str]]:
    def command(_: Config, __: Progress) -> list[str]:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (FunneliftError("gate key failed"), 1, "error: gate key failed"),
        (OSError(errno.ENOSPC, "No space left on device", "results/x"), 1, "error: results/x: No space left on device"),
        (OSError("the pipe broke"), 1, "error: the pipe broke. What is published stays as it was"),
        (KeyboardInterrupt(), 130, "error: interrupted: what is published stays as it was"),
    ],
)
def test_every_failure_is_one_line(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(argparse.Namespace(config=None), failing(error)) == code
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err


def test_what_was_found_carries_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argparse.Namespace(config=None), lambda _, __: ["found"]) == 0
    assert run(argparse.Namespace(config=None), lambda _, __: Finished(["refused"], 3)) == 3
    assert capsys.readouterr().out == "found\nrefused\n"


def test_a_path_that_the_terminal_cannot_show_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True))
    assert run(argparse.Namespace(config=None), lambda _, __: ["Report: r\u00e9sultats/report.html"]) == 0
    assert shown.getvalue() == b"Report: r\\xe9sultats/report.html\n"
