"""One load in a process of its own, which then tells how much memory it ever had."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
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

COLUMNS = {
    "id": "none",
    "email": {"method": "tokenize", "domain": "person-email", "classification": "restricted"},
    "ssn": {"method": "tokenize", "classification": "restricted"},
    "birth_date": {"method": "encrypt", "type": "date", "classification": "confidential"},
    "amount": "none",
    "notes": {"method": "encrypt"},
}


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    session = boto3.session.Session(
        settings["access_key"], settings["secret_key"], region_name=settings["region"]
    )

    def client(service: str, endpoint: str) -> Any:
        config = Config(s3={"addressing_style": "path"}, proxies={})
        return session.client(service, endpoint_url=endpoint, verify=settings["ca"], config=config)

    kms = client("kms", settings["kms_endpoint"])
    port = Path(settings["port_file"]).read_text(encoding="ascii")
    s3 = client("s3", f"https://127.0.0.1:{port}")
    document = KeysetDocument.from_json(settings["keyset"], "settings")
    report = transfer(
        S3Source(s3, lambda arn: kms, "s3://lake/customers.csv", {"dataset": "crm.customers"}),
        from_columns(COLUMNS, "crm.customers"),
        TableTarget(lambda: psycopg.connect(settings["conninfo"]), "crm.customers"),
        Options(
            keyset=keyset.unwrap(document, AwsKmsKeyring(document.key_id, kms)),
            declared_at_rest={settings["namespace"]: AtRest("volume", evidence=Evidence.DECLARED)},
        ),
        task="bench",
    )
    answer = {
        "rows": report.rows,
        "bytes_read": report.bytes_read,
        "seconds": report.seconds,
        "timings": dict(report.timings),
        "rss_kib": peak_rss_kib(),
        "airflow": "airflow" in sys.modules,
    }
    print(json.dumps(answer))


def peak_rss_kib() -> int:
    """VmHWM: the most memory that this process ever had resident."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.M)
    if found is None:
        raise RuntimeError("/proc/self/status has no VmHWM")
    return int(found[1])


if __name__ == "__main__":
    main(sys.argv[1])
