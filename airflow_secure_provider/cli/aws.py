"""Clients of AWS by an Airflow connection, for the commands."""

from __future__ import annotations

from typing import Any


def client(aws_conn_id: str, service: str, region: str | None = None) -> Any:
    """:raises ConfigurationError: if there is no such connection."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    from ..connections import aws_config

    hook = AwsBaseHook(aws_conn_id=aws_conn_id, client_type=service, region_name=region)
    aws_config(hook)
    return hook.get_conn()
