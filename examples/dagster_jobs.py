"""Funnelift in Dagster: one op per command, each after the one before, every night at three."""

import subprocess

from dagster import Definitions, In, Nothing, OpDefinition, ScheduleDefinition, job, op

PROJECT = "/srv/funnelift"
NOT_ENOUGH = 4  # of ml.monitor: no alarm, and not enough rows to evaluate all of it


def command_op(name: str, command: str, *, is_first: bool = False, good: tuple[int, ...] = (0,)) -> OpDefinition:
    """An op that runs a command in the project's environment and fails unless it exits with a good code."""

    @op(name=name, ins={} if is_first else {"before": In(Nothing)})
    def run_command() -> None:
        done = subprocess.run(["bash", "-c", f"source .venv/bin/activate && {command}"], cwd=PROJECT, check=False)
        if done.returncode not in good:
            raise RuntimeError(f"{command}: exit code {done.returncode}")

    return run_command


load = command_op("load", "python -m ingest load --raw /srv/shop/export", is_first=True)
build = command_op("build", "dbt build")
score = command_op("score", "python -m ml.score")
back_up = command_op("back_up", "python -m ops backup --out /srv/backups/$(date +%F)")
monitor = command_op("monitor", "python -m ml.monitor", good=(0, NOT_ENOUGH))


@job
def funnelift() -> None:
    """Load, build, score, back up, monitor."""
    monitor(back_up(score(build(load()))))


definitions = Definitions(jobs=[funnelift], schedules=[ScheduleDefinition(job=funnelift, cron_schedule="0 3 * * *")])
