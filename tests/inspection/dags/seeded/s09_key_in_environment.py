"""Keys of a cloud account in the environment of a command."""

from __future__ import annotations

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "{{ conn.aws_default.login }}",
    "AWS_SECRET_ACCESS_KEY": "u8Vq3nLrT0xWbY7cZ5dKf2gHj4mPsA6eRtN1oQiE",  # <- SP104
    "IMAGE_DIGEST": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}

with DAG("s09", schedule=None):
    BashOperator(task_id="sync", bash_command="aws s3 ls s3://open-data/", env=ENVIRONMENT)
