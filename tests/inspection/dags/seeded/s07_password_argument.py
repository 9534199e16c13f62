"""A password for a driver, in code; one by Jinja, one out of a connection."""

from __future__ import annotations

import psycopg
from airflow.sdk import Variable, dag, task
from airflow.sdk.bases.hook import BaseHook


@dag(schedule=None)
def s07():
    @task
    def look():
        psycopg.connect(host="db.example.com", password="Winter-2026", sslmode="verify-full")  # <- SP104

    @task(templates_dict={"password": "{{ conn.crm.password }}"})
    def look_well():
        found = BaseHook.get_connection("crm")
        psycopg.connect(host=found.host, password=found.password, sslmode="verify-full")
        psycopg.connect(host=found.host, password=Variable.get("crm_password"), sslmode="verify-full")

    look()
    look_well()


s07()
