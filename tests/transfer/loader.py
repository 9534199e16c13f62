"""A process that loads one object and can be told to hold halfway: what the test of SIGKILL kills.

Settings come as one JSON line on standard input; ``halfway`` and ``loaded N`` go to standard output.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import boto3
import psycopg
from botocore.config import Config

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.crypto import keyset
from airflow_secure_provider.crypto.keyset import KeysetDocument
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from airflow_secure_provider.model import AtRest, Evidence
from airflow_secure_provider.transfer import Options, S3Source, TableTarget, transfer

from .world import COLUMNS, CONTEXT, Watched, World


@dataclass(frozen=True)
class Settings:
    """Plain JSON types only."""

    uri: str
    mode: str
    hold_at_batch: int  # 0: do not hold
    conninfo: str
    namespace: str
    endpoint: str
    ca: str
    region: str
    access_key: str
    secret_key: str
    kms_key: str
    keyset: str

    @classmethod
    def of(cls, world: World, uri: str, mode: str, hold_at_batch: int) -> Settings:
        aws = world.lake.aws
        return cls(
            uri=uri,
            mode=mode,
            hold_at_batch=hold_at_batch,
            conninfo=world.database.conninfo(),
            namespace=next(iter(world.declared)),
            endpoint=aws.endpoint_url,
            ca=str(aws.ca_pem),
            region=aws.region,
            access_key=aws.access_key,
            secret_key=aws.secret_key,
            kms_key=world.lake.key,
            keyset=world.lake.document.to_json(),
        )

    def client(self, service: str) -> Any:
        return boto3.session.Session(self.access_key, self.secret_key, region_name=self.region).client(
            service,
            endpoint_url=self.endpoint,
            verify=self.ca,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )


def main() -> None:
    settings = Settings(**json.loads(sys.stdin.readline()))
    kms = settings.client("kms")
    wrapper = AwsKmsKeyring(settings.kms_key, kms)
    opened = keyset.unwrap(KeysetDocument.from_json(settings.keyset, "stdin"), wrapper)

    def hold(number: int) -> None:
        if number == settings.hold_at_batch:
            print("halfway", flush=True)
            time.sleep(120)

    report = transfer(
        Watched(S3Source(settings.client("s3"), lambda arn: kms, settings.uri, CONTEXT), on_batch=hold),
        from_columns(COLUMNS, "crm.customers"),
        TableTarget(lambda: psycopg.connect(settings.conninfo), "crm.customers", settings.mode),
        Options(
            keyset=opened,
            declared_at_rest={settings.namespace: AtRest("volume", evidence=Evidence.DECLARED)},
        ),
        task="dag/task/run/-1",
    )
    print(f"loaded {report.rows}", flush=True)


if __name__ == "__main__":
    main()
