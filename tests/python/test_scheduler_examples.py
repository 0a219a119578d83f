"""The examples for schedulers can be read by them, and call commands that exist with options that they have."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paths import ROOT

EXAMPLES = [ROOT / "examples" / name for name in ("funnelift.crontab", "airflow_dag.py", "dagster_jobs.py")]
DAILY = ("ingest load", "ml.score", "ml.monitor", "ops backup")


def commands(example: Path) -> list[list[str]]:
    """The words of each `python -m` command, as the shell would see them."""
    found = re.findall(r"python -m ([^\n\"&|;}]+)", example.read_text())
    return [words.split() for words in found]


def test_the_crontab_has_five_fields_and_a_command_on_every_line() -> None:
    lines = [line for line in EXAMPLES[0].read_text().splitlines() if line and not line.startswith("#")]
    jobs = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    assert len(jobs) == 2
    for job in jobs:
        assert re.match(r"([\d*/,-]+ ){5}cd \S+ && ", job)
        # A bare percent sign ends a command in cron.
        assert not re.search(r"(?<!\\)%", job)
        command = job.split(" ", 5)[5].replace("\\%", "%")
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("example", EXAMPLES[1:], ids=lambda path: path.name)
def test_python_examples_parse_and_have_no_password(example: Path) -> None:
    tree = ast.parse(example.read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert any("dbt build" in text for text in texts)
    assert not [text for text in texts if re.search(r"PASSWORD=|--password", text)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_command_of_the_day_is_there_and_exists(example: Path) -> None:
    found = commands(example)
    for needed in DAILY:
        assert any(" ".join(words).startswith(needed) for words in found), needed
    for words in found:
        named = [word for word in words[:2] if not word.startswith("-")]
        usage = subprocess.run(
            [sys.executable, "-m", *named, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in usage, (words, option)
