"""A private key in a text, and the certificate beside it."""

from __future__ import annotations

from airflow.sdk import dag, task

CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBszCCAVmgAwIBAgIUQ1
-----END CERTIFICATE-----"""
KEY = """-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIBvn
-----END EC PRIVATE KEY-----"""  # the place is where the text begins


@dag(schedule=None)
def s25():
    @task
    def sign():
        return len(KEY) + len(CERTIFICATE)

    sign()


s25()
