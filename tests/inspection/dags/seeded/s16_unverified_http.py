"""An API whose certificate nobody checks."""

from __future__ import annotations

import requests
from airflow.sdk import dag, task


@dag(schedule=None)
def s16():
    @task
    def fetch():
        requests.get("https://api.example.com/v1/codes", verify=False, timeout=10)  # <- SP107
        requests.get("https://api.example.com/v1/codes", verify="/etc/ssl/private-ca.pem", timeout=10)
        requests.get("https://api.example.com/v1/codes", stream=False, timeout=10)

    fetch()


s16()
