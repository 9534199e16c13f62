"""A database's URI with its password."""

from __future__ import annotations

from airflow.sdk import dag, task
from sqlalchemy import create_engine

USER, HOST = "etl", "db.example.com"


@dag(schedule=None)
def s13():
    @task
    def copy(password: str):
        create_engine(f"postgresql://{USER}:tr0ub4dor@{HOST}/crm?sslmode=verify-full")  # <- SP105
        create_engine(f"postgresql+psycopg://{USER}:{password}@{HOST}:5432/crm?sslmode=verify-full")
        create_engine("postgresql+psycopg://db.example.com/crm?sslmode=verify-full&user=a@b.example")

    copy("{{ conn.crm.password }}")


s13()
