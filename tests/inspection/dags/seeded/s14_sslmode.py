"""sslmode in a driver's arguments, by way of a dictionary."""

from __future__ import annotations

import psycopg
from airflow.sdk import dag, task

CRM = {
    "host": "db.example.com",
    "sslmode": "require",  # <- SP106
}
OTHER = {"host": "db.example.com", "sslmode": "verify-full", "mode": "require"}


@dag(schedule=None)
def s14():
    @task
    def look():
        with psycopg.connect(**CRM), psycopg.connect(**OTHER):
            pass

    look()


s14()
