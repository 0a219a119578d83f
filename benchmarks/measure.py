"""Run a command as a process of its own and account for it."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measured:
    """What one finished process took: wall and CPU seconds, and its peak resident memory in GB."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_gb: float
    output: str


def measure(name: str, command: list[str], environment: dict[str, str]) -> Measured:
    """Run a command from the project's root and wait for it.

    Parameters
    ----------
    name : str
        What the table calls it.
    command : list of str
        Program and arguments.
    environment : dict of str
        Settings on top of the present environment.

    Returns
    -------
    Measured
        Figures from the operating system's own accounting of the finished process.

    Raises
    ------
    SystemExit
        When the command fails; its output goes to the screen.
    """
    print(f"... {name}", flush=True)
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise SystemExit(f"{name} failed with exit code {process.returncode}:\n{output}")
    return Measured(name, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, output)
