"""Loads on demand in a process that has everything imported: one line of JSON in, one out."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import psycopg

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.crypto import keyset
from airflow_secure_provider.crypto.keyset import KeysetDocument
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from airflow_secure_provider.model import AtRest, Evidence
from airflow_secure_provider.transfer import Options, S3Source, TableTarget, transfer
from benchmarks._object import CONTEXT, client
from benchmarks._serving import BUCKET, KEY

RESTRICTED = {"classification": "restricted"}
PLAIN: dict[str, Any] = {
    "id": {"method": "none", "type": "integer"},
    "first_name": "none",
    "last_name": "none",
    "email": "none",
    "ssn": "none",
    "phone": "none",
    "birth_date": "none",
    "postcode": "none",
    "amount": "none",
    "notes": "none",
}
PROTECTED: dict[str, Any] = {
    **PLAIN,
    "email": {"method": "tokenize", "domain": "email", **RESTRICTED},
    "ssn": {"method": "fpe", "domain": "ssn", **RESTRICTED},
    "phone": {"method": "tokenize", "domain": "phone", **RESTRICTED},
    "notes": {"method": "encrypt", "domain": "notes", "scope": "notes", **RESTRICTED},
}
CONTRACTS = {"plain": PLAIN, "protected": PROTECTED}


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    kms = client(settings, "kms", settings["kms_endpoint"])
    port = Path(settings["port_file"]).read_text(encoding="ascii")
    s3 = client(settings, "s3", f"https://127.0.0.1:{port}")
    document = KeysetDocument.from_json(settings["keyset"], "settings")
    options = Options(
        keyset=keyset.unwrap(document, AwsKmsKeyring(document.key_id, kms)),
        declared_at_rest={settings["namespace"]: AtRest("volume", evidence=Evidence.DECLARED)},
    )
    for line in sys.stdin:
        asked = json.loads(line)
        before = resource.getrusage(resource.RUSAGE_SELF)
        report = transfer(
            S3Source(s3, lambda arn: kms, f"s3://{BUCKET}/{asked.get('key', KEY)}", CONTEXT),
            from_columns(CONTRACTS[asked["contract"]], asked["table"]),
            TableTarget(lambda: psycopg.connect(settings["conninfo"]), asked["table"]),
            options,
            task="bench",
        )
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        answer = {"rows": report.rows, "seconds": report.seconds, "cpu": cpu, "timings": dict(report.timings)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
