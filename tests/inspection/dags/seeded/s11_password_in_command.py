"""A password in a shell command; the same by the environment is none."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("s11", schedule=None):
    BashOperator(
        task_id="vacuum",
        bash_command="PGPASSWORD=s3cr3t-of-etl psql -h db.example.com -c 'VACUUM'",  # <- SP104
    )
    BashOperator(
        task_id="analyze", bash_command='PGPASSWORD="$CRM_PASSWORD" psql -h db.example.com -c ANALYZE'
    )
    BashOperator(task_id="check", bash_command="PGPASSWORD={{ conn.crm.password }} psql -c 'SELECT 1'")
