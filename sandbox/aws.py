"""S3, KMS, STS and Secrets Manager over TLS, on this machine and in memory (moto)."""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, Process, clean_environment

_START_SECONDS = 60.0
# Checksums only where S3 insists: otherwise boto3 sends a body whose length is not stated, which a large PUT
# to moto does not survive.
_CONFIG: dict[str, Any] = {
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "s3": {"addressing_style": "path"},
    "retries": {"max_attempts": 2, "mode": "standard"},
    "connect_timeout": 5,
    "proxies": {},
}


class Aws:
    """moto's services at one address. It checks no signature: do not use it to test who may do what."""

    region = "eu-central-1"

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.ca_pem = authority.ca_pem
        self.access_key = f"AKIA{secrets.token_hex(8).upper()}"
        self.secret_key = secrets.token_urlsafe(30)
        self.endpoint_url = ""
        self._directory = directory.resolve()
        self._authority = authority
        self._owned = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        certificate, key = self._authority.server("aws")
        port_file = self._directory / "port"
        port_file.unlink(missing_ok=True)
        with contextlib.ExitStack() as owned:
            process = owned.enter_context(
                Process(
                    "AWS (moto)",
                    [
                        sys.executable,
                        "-m",
                        "sandbox.aws_server",
                        certificate.resolve(),
                        key.resolve(),
                        port_file,
                    ],
                    log=self._directory / "aws.log",
                    environment=clean_environment(self._directory / "home"),
                    directory=REPOSITORY,
                    grace_seconds=1.0,
                )
            )
            process.wait_until_ready(port_file.exists, _START_SECONDS)
            self.endpoint_url = f"https://127.0.0.1:{port_file.read_text(encoding='ascii')}"
            self._owned = owned.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()

    def client(self, service: str, **settings: Any) -> Any:
        """
        A boto3 client that takes nothing from the environment or from ``~/.aws``.

        :param settings: of ``Session.client``, over what is set here, such as ``verify`` or ``config``.
        """
        session = boto3.session.Session(self.access_key, self.secret_key, region_name=self.region)
        here = {"endpoint_url": self.endpoint_url, "verify": str(self.ca_pem), "config": Config(**_CONFIG)}
        return session.client(service, **{**here, **settings})

    def airflow_connection(self) -> dict[str, Any]:
        """An Airflow connection to it, as in ``AIRFLOW_CONN_…`` once dumped to JSON."""
        return {
            "conn_type": "aws",
            "login": self.access_key,
            "password": self.secret_key,
            "extra": {
                "endpoint_url": self.endpoint_url,
                "region_name": self.region,
                "verify": str(self.ca_pem),
                "config_kwargs": _CONFIG,
            },
        }
