"""An object is left on the worker's disk; a template and a lock are no data."""

from __future__ import annotations

from pathlib import Path

import pandas
from airflow.sdk import dag, task


@dag(schedule=None)
def s19():
    @task
    def convert(found: list):
        frame = pandas.DataFrame(found)
        frame.to_csv("/tmp/people.csv", index=False)  # <- SP109
        Path("/tmp/convert.lock").touch()
        return frame.to_csv(index=False)

    convert([])


s19()
