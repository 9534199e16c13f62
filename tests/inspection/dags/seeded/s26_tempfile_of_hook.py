"""An object passes through a temporary file of the worker."""

from __future__ import annotations

import tempfile

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import dag, task


@dag(schedule=None)
def s26():
    @task
    def load():
        hook = S3Hook()
        with tempfile.NamedTemporaryFile() as file:  # <- SP109
            hook.get_conn().download_fileobj("open-data", "codes.csv", file)
            hook.load_bytes(b"done", "codes.done", "open-data")

    load()


s26()
