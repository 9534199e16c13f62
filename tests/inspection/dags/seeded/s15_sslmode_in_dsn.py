"""sslmode in a connection string."""

from __future__ import annotations

import psycopg
from airflow.sdk import dag, task


@dag(schedule=None)
def s15():
    @task
    def look():
        psycopg.connect("host=db.example.com dbname=crm user=etl sslmode=verify-ca")  # <- SP106
        psycopg.connect("host=db.example.com dbname=crm user=etl sslmode=verify-full")

    look()


s15()
