"""Ctrl-C while a command still imports its libraries: one line, and the exit code that shells know."""

import signal
import subprocess
import sys

import pytest

from paths import ROOT
from warehouse.interrupt import quiet_interrupt

COMMANDS = ("bi", "ingest", "ml.monitor", "ml.report", "ml.rollback", "ml.score", "ml.train", "ml.uplift", "ops")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_during_the_imports_is_one_line(command: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", command, "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's job in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        # What a command imports after this takes it a hundred milliseconds and more.
        while process.stderr.readline().split()[-1:] != ["warehouse"]:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    said = [line for line in errors.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, said) == (130, ["error: interrupted"])


def test_any_other_exception_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    error = ValueError("a fault of ours")
    quiet_interrupt(ValueError, error, None)
    assert "ValueError: a fault of ours" in capsys.readouterr().err
