"""An endpoint without TLS."""

from __future__ import annotations

import requests
from airflow.sdk import Asset, dag, task

API = "http://api.internal.example.com/v1"  # <- SP108
METADATA = "http://127.0.0.1:9000/health"


@dag(schedule=None, doc_md="See http://wiki.example.com/crm")
def s18():
    @task(outlets=[Asset("http://api.internal.example.com/v1/people")])
    def fetch():
        """Reads http://api.internal.example.com."""
        requests.get(f"{API}/codes", timeout=10)
        requests.get(METADATA, timeout=1)

    fetch()


s18()
