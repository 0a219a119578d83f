"""Funnelift in Airflow 3: one task per command, each after the one before; an Airflow connection holds the password.

Every command may be repeated, so retries need no clearing up. Monitoring: 3 is drift and fails the task, 4 is "not
enough to evaluate all of it" and skips it.
"""

import datetime as dt

from airflow import DAG
from airflow.providers.standard.operators.bash import BashOperator

PROJECT = "/srv/funnelift"
COMMANDS = {
    "load": "python -m ingest load --raw /srv/shop/export",
    "build": "dbt build",
    "score": "python -m ml.score",
    "back_up": "python -m ops backup --out /srv/backups/{{ ds }}",
    "monitor": "python -m ml.monitor",
}

with DAG(
    "funnelift",
    schedule="0 3 * * *",
    start_date=dt.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": dt.timedelta(minutes=10)},
) as dag:
    before = None
    for name, command in COMMANDS.items():
        task = BashOperator(
            task_id=name,
            bash_command=f"source .venv/bin/activate && {command}",
            cwd=PROJECT,
            env={"FUNNELIFT_MYSQL_PASSWORD": "{{ conn.funnelift.password }}"},
            append_env=True,
            skip_on_exit_code=4,
        )
        if before is not None:
            before >> task
        before = task
