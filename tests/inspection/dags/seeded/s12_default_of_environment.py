"""A default that works everywhere is a secret that everybody has."""

from __future__ import annotations

import os

from airflow.sdk import dag, task

PASSWORD_FILE = os.environ.get("CRM_PASSWORD_FILE", "/run/secrets/crm_password")


@dag(schedule=None)
def s12():
    @task
    def look(password=os.environ.get("CRM_PASSWORD", "letmein2026")):  # <- SP104
        return len(password)

    look()


s12()
